"""What was cleared between areas: every share of every month that was run in one line, and nothing else (CLEARED).

The shares are worked out anew from the payments' own rows by the domain's functions, one payment after another; the
runs were written by one set-based statement. Both must say the same. The ledgers' side of the same money is I3.

A run that is written while this looks is left aside: what is compared is what the runs seen first say, which never
changes. A payment that was carried by the last of them may meanwhile be in a line of the next one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final
from uuid import UUID

import asyncpg
import orjson

from kernel.ids import AdmDvs, PsnNo
from ops.verify.report import Report
from services.settlement.domain.clearing import (
    Period,
    PooledPart,
    Share,
    shares_of_bill,
    shares_of_charge,
    shares_of_transfer,
)
from services.settlement.domain.payment import Key, area_of, is_of_charge
from services.settlement.domain.plan import PlanLeg
from services.settlement.domain.split import Role
from services.settlement.store.clearing import file_of

NAME: Final = "CLEARED"
CHUNK_SIZE: Final = 2_000
_FIRST: Final = UUID(int=0)
_ROLES: Final = {role.value: role for role in Role}

_RUNS: Final = "SELECT period, starts_at, ends_at, lines_count, lines_sha256 FROM clearing_runs ORDER BY starts_at"
_CARRIED: Final = "SELECT payment_id FROM clearing_carried WHERE period = $1"
_PAYMENTS: Final = """
    SELECT p.payment_id, p.kind, p.state, p.fixmedins_code, p.infno, p.msgid, p.legs,
           l.document -> 'visit' ->> 'insuplc_admdvs' AS insuplc_admdvs,
           (l.document -> 'amounts' ->> 'fund_pay_sumamt')::bigint AS fund_pay_sumamt
      FROM payments p LEFT JOIN payments o ON o.payment_id = p.original_id
      LEFT JOIN plans l ON l.plan_id = coalesce(p.plan_id, o.plan_id)
     WHERE p.payment_id > $1 AND p.kind IN ('SETTLE', 'REFUND', 'TRANSFER', 'CHARGE')
       AND p.state IN ('COMMITTED', 'DONE') AND p.decided_at < $2
     ORDER BY p.payment_id LIMIT $3"""
_LINES: Final = """
    SELECT payment_id, leg_no, part, debtor_area, creditor_area, amount_fen FROM clearing_lines
     WHERE payment_id = ANY($1) AND period <= $2"""
_STRANGE_LINES: Final = """
    SELECT l.payment_id, l.period, l.line_no FROM clearing_lines l
      JOIN clearing_runs r USING (period) LEFT JOIN payments p USING (payment_id)
     WHERE l.period <= $1
       AND (p.payment_id IS NULL OR p.state <> 'DONE' OR p.decided_at >= r.ends_at
            OR l.business_date <> (p.decided_at AT TIME ZONE 'Asia/Shanghai')::date
            OR l.original_id IS DISTINCT FROM p.original_id
            OR p.decided_at < r.starts_at AND r.period <> $2 AND NOT EXISTS (
                SELECT FROM clearing_carried c JOIN clearing_runs before USING (period)
                 WHERE before.ends_at = r.starts_at AND c.payment_id = l.payment_id))
     ORDER BY l.period, l.line_no LIMIT 100"""
_WITHOUT_RUN: Final = """
    SELECT DISTINCT period FROM clearing_lines l
     WHERE l.period <= $1 AND NOT EXISTS (SELECT FROM clearing_runs r WHERE r.period = l.period)"""
_OTHER_PAIRS: Final = """
    SELECT period, debtor_area, creditor_area FROM (
        SELECT period, debtor_area, creditor_area, part, clr_type, count(*) FILTER (WHERE amount_fen > 0) AS charges,
               sum(amount_fen) FILTER (WHERE amount_fen > 0) AS charged,
               count(*) FILTER (WHERE amount_fen < 0) AS refunds,
               -sum(amount_fen) FILTER (WHERE amount_fen < 0) AS refunded
          FROM clearing_lines WHERE period = $1 GROUP BY 1, 2, 3, 4, 5) l
      FULL JOIN (SELECT * FROM clearing_pairs WHERE period = $1) s
     USING (period, debtor_area, creditor_area, part, clr_type)
     WHERE (l.charges, coalesce(l.charged, 0), l.refunds, coalesce(l.refunded, 0))
           IS DISTINCT FROM (s.charges_count, s.charged_fen::numeric, s.refunds_count, s.refunded_fen::numeric)"""

Owed = Mapping[int, tuple[str, str, str, int]]
"""(part, debtor, creditor, fen) by leg."""


async def check_clearing(coordinator: asyncpg.Connection, report: Report) -> None:
    """Every month that was run, from its payments to its lines and back, its statements and its file."""
    runs = await coordinator.fetch(_RUNS)
    if not runs:
        report.skipped[NAME] = "no period was run yet"
        return
    for before, after in pairwise(runs):
        if before["ends_at"] != after["starts_at"]:
            report.violated(NAME, f"between {before['period']} and {after['period']} a period was left out")
    for run in runs:
        await _check_run(coordinator, run, report)
    last = runs[-1]
    for row in await coordinator.fetch(_WITHOUT_RUN, last["period"]):
        report.violated(NAME, f"there are lines of {row['period']}, which was not run")
    for row in await coordinator.fetch(_STRANGE_LINES, last["period"], runs[0]["period"]):
        where = f"line {row['line_no']} of {row['period']}"
        report.violated(NAME, f"payment {row['payment_id']} was not there to be cleared when {where} was written")
    await _check_payments(coordinator, last, report)


async def _check_run(coordinator: asyncpg.Connection, run: asyncpg.Record, report: Report) -> None:
    """Its file and its statements follow from its lines."""
    digest, breaks = hashlib.sha256(), 0
    async for part in file_of(coordinator, Period.of(run["starts_at"])):
        digest.update(part)
        breaks += part.count(b"\n")
    report.checked(NAME, breaks)  # The header counts for the run.
    if (digest.digest(), breaks - 1) != (run["lines_sha256"], run["lines_count"]):
        report.violated(NAME, f"the lines of {run['period']} are not those that were run")
    for row in await coordinator.fetch(_OTHER_PAIRS, run["period"]):
        pair = f"{row['debtor_area']} owes {row['creditor_area']}"
        report.violated(NAME, f"what {pair} for {row['period']} is not what its lines come to")


async def _check_payments(coordinator: asyncpg.Connection, last: asyncpg.Record, report: Report) -> None:
    """What was decided before the end of the last period that was run is in lines, or carried by it."""
    carried = {row["payment_id"] for row in await coordinator.fetch(_CARRIED, last["period"])}
    after = _FIRST
    while rows := await coordinator.fetch(_PAYMENTS, after, last["ends_at"], CHUNK_SIZE):
        after = rows[-1]["payment_id"]
        lines: dict[UUID, dict[int, tuple[str, str, str, int]]] = {}
        for line in await coordinator.fetch(_LINES, [row["payment_id"] for row in rows], last["period"]):
            owed = (line["part"], line["debtor_area"], line["creditor_area"], line["amount_fen"])
            lines.setdefault(line["payment_id"], {})[line["leg_no"]] = owed
        _compare(rows, lines, carried, report)


def _compare(rows: Sequence[asyncpg.Record], lines: Mapping[UUID, Owed], carried: set[UUID], report: Report) -> None:
    report.checked(NAME, len(rows))
    for row in rows:
        payment_id = row["payment_id"]
        found = lines.get(payment_id, {})
        if not found and payment_id in carried:
            report.open("payments that the next clearing counts", 1)
        elif row["state"] != "DONE":
            report.violated(NAME, f"payment {payment_id} is open, its month is cleared, and no run looks for it")
        elif found != _owed(row):
            report.violated(NAME, f"payment {payment_id} is cleared otherwise than its shares say")


def _owed(row: asyncpg.Record) -> Owed:
    """What a payment makes areas owe each other, as its own row says."""
    return {
        share.leg_no: (share.part.value, share.debtor_area, share.creditor_area, share.amount_fen)
        for share in _shares(row)
        if share.is_between_areas
    }


def _leg(document: Mapping[str, Any]) -> PlanLeg:
    """What shares are made of; to read the rest of a leg as well costs as much again, for millions of them."""
    return PlanLeg(
        leg_no=document["leg_no"],
        role=_ROLES[document["role"]],
        psn_no=PsnNo(document["psn_no"]),
        area=AdmDvs(document["area"]),
        past_fen=document["past_fen"],
        current_fen=document["current_fen"],
        authorisation_id=None,
        floor_fen=0,
        floor_parts=(),
    )


def _shares(row: asyncpg.Record) -> tuple[Share, ...]:
    documents: Any = orjson.loads(row["legs"]) if isinstance(row["legs"], str) else row["legs"]
    legs = [_leg(document) for document in documents]
    if row["kind"] == "TRANSFER":
        return shares_of_transfer(row["payment_id"], legs)
    if is_of_charge(Key(row["fixmedins_code"], row["infno"], row["msgid"])):
        paid_area = AdmDvs(row["fixmedins_code"])
        return shares_of_charge(row["payment_id"], legs, paid_area=paid_area, is_refund=row["kind"] == "REFUND")
    pooled = PooledPart(AdmDvs(row["insuplc_admdvs"] or ""), row["fund_pay_sumamt"] or 0)
    care = area_of(row["fixmedins_code"])
    return shares_of_bill(row["payment_id"], legs, pooled, area_of_care=care, is_refund=row["kind"] == "REFUND")
