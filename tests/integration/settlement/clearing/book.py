"""Payments of months long past, written as their rows would stand: no process is needed to clear them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final
from uuid import UUID

from chassis.db import Database
from kernel.clock import SHANGHAI
from kernel.ids import AdmDvs, PaymentId, PsnNo, time_ordered_uuid
from services.settlement.domain.payment import GIVING_BACK, PREMIUM_INFNO
from services.settlement.domain.plan import PlanLeg, leg_document
from services.settlement.domain.split import Role

URUMQI: Final = "650100"
HAMI: Final = "650500"
HANGZHOU: Final = "330100"
REVOCATION_OF: Final = {"2207": "2208", "2102": "2103", "2304": "2305"}
_PAYMENT: Final = """
INSERT INTO payments (payment_id, kind, state, fixmedins_code, infno, msgid, request_hash, psn_no, year, plan_id,
                      original_id, legs, amount_fen, epoch, created_at, deadline_at, accept_by, pending_at, decided_at,
                      finished_at)
VALUES ($1, $2, $3, $4, $5, $6, sha256($6::text::bytea), '650100000000001', 2025, $7, $8, $9, $10, 1, $11, $12, $13,
        $14, $15, $16)"""
_PLAN: Final = """
INSERT INTO plans (plan_id, digest, psn_no, year, patient_version, fixmedins_code, infno, legs, amount_fen, document,
                   created_at, expires_at)
VALUES ($1, sha256('plan'), '650100000000001', 2025, 0, $2, '2206', '[]', 0, $3, $4::timestamptz,
        $4::timestamptz + interval '10 minutes')"""


def at(day: str, time: str = "12:00:00") -> datetime:
    """That instant in Asia/Shanghai: ``at("2025-03-31", "23:59:59.999999")``."""
    return datetime.fromisoformat(f"{day}T{time}").replace(tzinfo=SHANGHAI)


def leg(role: Role, area: str, past_fen: int, current_fen: int = 0) -> PlanLeg:
    """Somebody's share; its number follows from its place."""
    return PlanLeg(0, role, PsnNo("650100000000001"), AdmDvs(area), past_fen, current_fen, None, 0, ())


@dataclass
class Written:
    """A payment of the book."""

    payment_id: PaymentId
    kind: str
    at: datetime
    fixmedins_code: str
    infno: str
    legs: tuple[PlanLeg, ...]
    insured: str = URUMQI
    fund_fen: int = 0
    original: Written | None = None


@dataclass
class Book:
    """Writes payments into one settlement database."""

    database: Database
    random: Random = field(default_factory=lambda: Random(7))
    written: list[Written] = field(default_factory=list)

    async def settled(
        self,
        when: datetime,
        *legs: PlanLeg,
        institution: str = "H65010000001",
        infno: str = "2207",
        insured: str = URUMQI,
        fund_fen: int = 0,
        state: str = "DONE",
    ) -> Written:
        """A settlement that was decided then."""
        numbered = _numbered(legs)
        new = Written(self._id(when), "SETTLE", when, institution, infno, numbered, insured, fund_fen)
        document = {
            "visit": {"insuplc_admdvs": insured, "insutype": "310"},
            "amounts": {"fund_pay_sumamt": fund_fen},
            "legs": [leg_document(one) for one in numbered],
        }
        async with self.database.driver_connection() as connection:
            await connection.execute(_PLAN, new.payment_id, institution, json.dumps(document), when)
        await self._write(new, state, plan_id=new.payment_id)
        return new

    async def revoked(self, original: Written, when: datetime, *, state: str = "DONE") -> Written:
        """The revocation of a settlement, decided then."""
        new = Written(
            self._id(when),
            "REFUND",
            when,
            original.fixmedins_code,
            REVOCATION_OF[original.infno],
            original.legs,
            original.insured,
            original.fund_fen,
            original,
        )
        await self._write(new, state, original_id=original.payment_id)
        return new

    async def transferred(self, when: datetime, *legs: PlanLeg, state: str = "DONE") -> Written:
        """A transfer or a move that was accepted then."""
        numbered = _numbered(legs)
        new = Written(self._id(when), "TRANSFER", when, numbered[0].area, "TRANSFER", numbered)
        await self._write(new, state)
        return new

    async def charged(self, when: datetime, *legs: PlanLeg, area: str, state: str = "DONE") -> Written:
        """A premium of that area that was paid then."""
        new = Written(self._id(when), "CHARGE", when, area, PREMIUM_INFNO, _numbered(legs))
        await self._write(new, state)
        return new

    async def given_back(self, charge: Written, when: datetime) -> Written:
        """A charge's refund, decided then."""
        infno = charge.infno + GIVING_BACK
        new = Written(self._id(when), "REFUND", when, charge.fixmedins_code, infno, charge.legs, original=charge)
        await self._write(new, "DONE", original_id=charge.payment_id)
        return new

    async def becomes(self, payment: Written, state: str, *, decided: datetime | None = None) -> None:
        """An open payment moves on; one that was not decided is, at that instant."""
        async with self.database.driver_connection() as connection:
            await connection.execute(
                """UPDATE payments SET state = $2::text, decided_at = coalesce(decided_at, $3::timestamptz),
                                       finished_at = CASE WHEN $2::text IN ('DONE', 'CLOSED') THEN now() END,
                                       reason = CASE WHEN $2::text IN ('ABORTED', 'CLOSED') THEN 'TEST' ELSE '' END
                    WHERE payment_id = $1""",
                payment.payment_id,
                state,
                decided,
            )

    async def lines(self, period: str) -> list[dict[str, Any]]:
        """The lines of a period, as their rows stand."""
        async with self.database.driver_connection() as connection:
            rows = await connection.fetch("SELECT * FROM clearing_lines WHERE period = $1 ORDER BY line_no", period)
        return [dict(row) for row in rows]

    def _id(self, when: datetime) -> PaymentId:
        return PaymentId(time_ordered_uuid(when, self.random))

    async def _write(
        self, new: Written, state: str, *, plan_id: UUID | None = None, original_id: UUID | None = None
    ) -> None:
        voted = new.kind in {"SETTLE", "TRANSFER", "CHARGE"}
        asked = new.kind == "TRANSFER" and state in {"COMMITTED", "DONE"}
        began = new.at - timedelta(milliseconds=5) if voted else new.at
        async with self.database.driver_connection() as connection:
            await connection.execute(
                _PAYMENT,
                new.payment_id,
                new.kind,
                state,
                new.fixmedins_code,
                new.infno,
                str(new.payment_id),
                plan_id,
                original_id,
                json.dumps([leg_document(one) for one in new.legs]),
                sum(one.amount_fen for one in new.legs if not one.role.is_receiving),
                began,
                new.at + timedelta(seconds=8) if voted else None,
                new.at + timedelta(hours=6) if new.kind == "TRANSFER" else None,
                new.at if asked else None,
                None if state == "TRYING" else new.at,
                new.at if state == "DONE" else None,
            )
        self.written.append(new)


def _numbered(legs: Sequence[PlanLeg]) -> tuple[PlanLeg, ...]:
    return tuple(replace(one, leg_no=number) for number, one in enumerate(legs, start=1))
