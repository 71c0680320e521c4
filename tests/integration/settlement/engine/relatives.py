"""Relatives with accounts and wallets, and identity as they need it: a server of its contract that says what is set.

Time is an argument: a test says on which day and at what hour somebody asks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from typing import Any, Final
from uuid import UUID, uuid4

import grpc

from chassis.rpc.client import channel
from gongji.identity.v1 import attestations_pb2, attestations_pb2_grpc, kinship_pb2, kinship_pb2_grpc, person_pb2
from kernel.clock import SHANGHAI, business_date
from kernel.ids import AdmDvs, PsnNo
from kernel.money import Fen
from kernel.policy import PolicyBook
from services.settlement.clients import Identity
from services.settlement.domain.split import Role
from services.settlement.domain.wallet import Gift, Opening, TransferShown, Wallet
from services.settlement.operations import giving, wallets
from services.settlement.operations.engine import Engine
from services.settlement.operations.planning import Desk
from services.settlement.operations.refusing import Refusals
from services.settlement.operations.wallets import Room
from tests.integration.settlement.engine.world import HAMI, NEVER_STALE, URUMQI, World

LANZHOU: Final = AdmDvs("620100")
"""An area without wallets here."""
POLICIES: Final = {
    "xinjiang.yaml": {"area": "650000", "policy": {"wallet": True}},
    "gansu.yaml": {"area": "620000", "policy": {"wallet": False}},
}
_PERSON: Final = "INSERT INTO persons (psn_no, version, name_masked, brdy) VALUES ($1, 1, $2, '1980-05-01')"
_SANCTION: Final = """
INSERT INTO sanctions (psn_no, sanction_id, from_at, to_at)
VALUES ($1, $2, now() - interval '1 day', now() + interval '2 days')"""
_ENROLMENT: Final = "INSERT INTO enrolments (psn_no, insutype, insuplc_admdvs, psn_insu_stas) VALUES ($1, $2, $3, '1')"


class _Kinship(kinship_pb2_grpc.KinshipServiceServicer):
    def __init__(self) -> None:
        self.relations: dict[tuple[str, str], person_pb2.Relation.ValueType] = {}
        self.reasons: dict[tuple[str, str], str] = {}

    async def VerifyKinship(self, request: Any, context: Any) -> kinship_pb2.VerifyKinshipResponse:  # noqa: ANN401, ARG002, N802  Generated.
        pair = (request.psn_no, request.other_psn_no)
        return kinship_pb2.VerifyKinshipResponse(
            relation=self.relations.get(pair, person_pb2.RELATION_UNSPECIFIED),
            reason="" if pair in self.relations else self.reasons.get(pair, "NO_CHAIN"),
        )


class _Attestations(attestations_pb2_grpc.AttestationServiceServicer):
    def __init__(self) -> None:
        self.used: dict[str, tuple[str, str]] = {}

    async def UseAttestation(self, request: Any, context: Any) -> attestations_pb2.UseAttestationResponse:  # noqa: ANN401, N802  Generated.
        use = (request.psn_no, request.used_for)
        if self.used.setdefault(request.attestation_id, use) != use:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "used for something else")
        return attestations_pb2.UseAttestationResponse()


@dataclass
class Relatives:
    """People of the world's areas, and what they do with wallets."""

    town: World
    room: Room
    kinship: _Kinship
    attestations: _Attestations
    now: datetime = field(default_factory=lambda: at("10:00"))

    async def person(
        self, *, area: AdmDvs = HAMI, insutype: str = "310", own: Fen = 0, wallet_at: AdmDvs | None = None
    ) -> PsnNo:
        """Somebody with so much past-year money in his account, and a wallet if an area for it is named."""
        psn_no = self.town.patient()
        async with self.town.database.driver_connection() as connection:
            await connection.execute(_PERSON, psn_no, f"某{psn_no[-2:]}")
            await connection.execute(_ENROLMENT, psn_no, insutype, area)
        if own:
            await self.town.credit(self.room.engine, psn_no, area, Role.OWN, own)
        if wallet_at is not None:
            await self.opens(psn_no, wallet_at)
        return psn_no

    async def pair(self, *, own: Fen = 500_000) -> tuple[PsnNo, PsnNo]:
        """A parent with so much in Hami, and a child with a wallet in Ürümqi."""
        giver, receiver = await self.person(own=own), await self.person(area=URUMQI, wallet_at=URUMQI)
        self.related(giver, receiver)
        return giver, receiver

    async def dies(self, psn_no: PsnNo) -> None:
        """Identity has told of a death."""
        await self.town.forget("UPDATE persons SET deceased = true WHERE psn_no = $1", psn_no)

    async def is_sanctioned(self, psn_no: PsnNo) -> None:
        """Identity has told of a sanction in force."""
        await self.town.forget(_SANCTION, psn_no, uuid4())

    def related(self, psn_no: PsnNo, other: PsnNo) -> None:
        """The first is a parent of the second."""
        self.kinship.relations[(psn_no, other)] = person_pb2.RELATION_PARENT
        self.kinship.relations[(other, psn_no)] = person_pb2.RELATION_CHILD

    async def opens(self, psn_no: PsnNo, area: AdmDvs, **changes: Any) -> Wallet:  # noqa: ANN401  Any field.
        """A wallet, opened by its person unless said otherwise."""
        fields = {"wallet_id": uuid4(), "psn_no": psn_no, "area": area, "opener": None, "attestation_id": uuid4()}
        return await wallets.open_wallet(self.room, asked=Opening(**{**fields, **changes}), now=self.now)

    async def moves(self, psn_no: PsnNo, area: AdmDvs, request_id: UUID | None = None) -> Wallet:
        """The wallet is used elsewhere from now on."""
        return await wallets.change_area(
            self.room, request_id=request_id or uuid4(), psn_no=psn_no, area=area, now=self.now
        )

    async def gives(
        self,
        giver: PsnNo,
        receiver: PsnNo,
        amount_fen: Fen = 1_000,
        *,
        now: datetime | None = None,
        **changes: Any,  # noqa: ANN401  Any field.
    ) -> TransferShown:
        """A transfer out of the giver's account, unless said otherwise."""
        fields = {"request_id": uuid4(), "giver": giver, "source": Role.OWN, "receiver": receiver}
        gift = Gift(**{**fields, "amount_fen": amount_fen, **changes})
        return await giving.transfer(self.room, gift=gift, now=now or self.now)

    async def money(self, psn_no: PsnNo) -> dict[tuple[AdmDvs, str], Fen]:
        """What stands in each of a person's accounts, by area and kind; fails if any of it is held."""
        found = {}
        for area, ledger in self.town.ledgers.items():
            async with ledger.driver_connection() as connection:
                for row in await connection.fetch(
                    "SELECT kind, past_fen, held_past_fen FROM accounts WHERE psn_no = $1", psn_no
                ):
                    assert row["held_past_fen"] == 0, f"money is held in {area}"
                    found[(area, row["kind"])] = int(row["past_fen"])
        return {where: fen for where, fen in found.items() if fen}


def at(clock: str) -> datetime:
    """That time of today in Asia/Shanghai, told in UTC."""
    return datetime.combine(business_date(datetime.now(UTC)), time.fromisoformat(clock), SHANGHAI).astimezone(UTC)


@asynccontextmanager
async def relatives_of(town: World, engine: Engine) -> AsyncIterator[Relatives]:
    """Identity's server, and a room that asks it."""
    server = grpc.aio.server()
    kinship, attestations = _Kinship(), _Attestations()  # type: ignore[abstract]  # What is not asked for here is missing.
    kinship_pb2_grpc.add_KinshipServiceServicer_to_server(kinship, server)
    attestations_pb2_grpc.add_AttestationServiceServicer_to_server(attestations, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with channel(f"127.0.0.1:{port}", caller=None, call_timeout_s=60) as identity:
            book = PolicyBook.of_documents(POLICIES)
            desk = Desk(town.database, engine.ledgers, book, NEVER_STALE, Refusals(town.database))
            yield Relatives(town, Room(desk, engine, Identity(identity)), kinship, attestations)
    finally:
        await server.stop(None)
