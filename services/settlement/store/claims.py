"""Claims, their decisions and the orders of payout: statements on the raw connection."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import astuple, fields
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from kernel.clock import business_date, business_midnight
from kernel.ids import AdmDvs, FixmedinsCode, PaymentId, PsnNo
from kernel.money import Fen
from kernel.values import value
from services.settlement.domain.benefit_case import YearUse
from services.settlement.domain.bill import Bill
from services.settlement.domain.claim import Assessment, Claim, ClaimAsked, ClaimState, Decision, Document, Stored
from services.settlement.saga.payment import State
from services.settlement.store.payments import Connection
from services.settlement.tables.claims import WAITING
from services.settlement.tables.payments import ON_BOOKS

ORDER_LINES_MAX: Final = 1_000
SETTLED_WITHIN: Final = timedelta(days=2)
"""A bill of this day was settled at the desk that much sooner or later, if it was; of a stay whenever it was."""
_INSERT: Final = """
INSERT INTO claims (claim_id, psn_no, area, fixmedins_code, invoice_no, med_type, bill, documents, content, care_on,
                    mdtrt_id)
VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb, $8::jsonb, $9, $10, $11) ON CONFLICT DO NOTHING RETURNING claim_id"""
_FIND: Final = """
SELECT c.*, p.state AS payment_state FROM claims c
LEFT JOIN payments p ON p.payment_id = ANY (ARRAY[c.payment_id]) WHERE c.claim_id = $1"""
_LOCKED: Final = f"{_FIND} FOR UPDATE OF c"
_PAGE: Final = """
SELECT * FROM (
    SELECT c.*, p.state AS payment_state,
           CASE WHEN c.state <> 'APPROVED' THEN c.state
                WHEN p.state IS NULL OR p.state IN ('COMMITTED', 'DONE') THEN 'PAYABLE'
                WHEN p.state = 'TRYING' THEN 'PAYING' ELSE 'NOT_TAKEN' END AS stands
      FROM claims c LEFT JOIN payments p ON p.payment_id = ANY (ARRAY[c.payment_id])
     WHERE c.area = $1 AND {} AND ($3::timestamptz IS NULL OR (c.submitted_at, c.claim_id) > ($3, $4::uuid))
) found WHERE stands = ANY ($2::text[]) ORDER BY submitted_at, claim_id LIMIT $5"""
"""``stands`` is ``Claim.state``. Where only claims are asked for with which something is still to be done, the
statement says so (``claims_waiting``): in time nearly all of an area's claims are ordered or refused."""
_PAGE_WAITING: Final = _PAGE.format(f"c.{WAITING}")
_PAGE_ANY: Final = _PAGE.format("true")
_ENDED: Final = frozenset({ClaimState.ORDERED, ClaimState.REFUSED})
_DECISIONS: Final = """
SELECT claim_id, approved, opter, cause, decided_at FROM claim_decisions WHERE claim_id = ANY ($1::uuid[])
ORDER BY claim_id, decision_no"""
_DECIDE: Final = """
INSERT INTO claim_decisions (claim_id, decision_no, approved, opter, cause) VALUES ($1, $2, $3, $4, $5)"""
_MOVE: Final = "UPDATE claims SET state = $2 WHERE claim_id = $1"
_ASSESS: Final = "UPDATE claims SET state = $2, act_pay_dedc = $3, hifp_pay = $4 WHERE claim_id = $1"
_APPROVE: Final = """
UPDATE claims SET state = 'APPROVED', act_pay_dedc = $2, hifp_pay = $3, fund_fen = $4, family_fen = $5, payment_id = $6,
    attempt = $7, use_year = $8, use_insutype = $9, use_pool = $10, use_deductible_fen = $11, use_fund_fen = $12,
    use_large_fen = $13 WHERE claim_id = $1"""
_FIRST_VERSION: Final = "INSERT INTO patient_years (psn_no, year, version) VALUES ($1, $2, 0) ON CONFLICT DO NOTHING"
_LOCK_YEAR: Final = "SELECT version FROM patient_years WHERE psn_no = $1 AND year = $2 FOR UPDATE"
_SETTLING: Final = """
SELECT EXISTS (SELECT FROM payments p
               WHERE p.psn_no = ANY ($1::text || ARRAY(SELECT psn_no FROM persons WHERE merged_into = $1))
                   AND p.year = $2
                   AND p.kind = 'SETTLE' AND p.state = 'TRYING' AND p.quarantine <> 'RESTORED_UNCLEAR')"""
_SETTLED: Final = f"""
SELECT p.payment_id FROM payments p JOIN plans l ON l.plan_id = ANY (ARRAY[p.plan_id])
WHERE p.fixmedins_code = $2 AND {ON_BOOKS} AND p.kind = 'SETTLE' AND p.decided_at >= $4 AND p.decided_at < $5
    AND p.psn_no = ANY (SELECT psn_no FROM numbers) AND l.document #>> '{{visit,mdtrt_id}}' = $3
    AND (SELECT r.payment_id FROM payments r WHERE r.original_id = p.payment_id) IS NULL
UNION ALL
SELECT p.payment_id FROM stay_settlements s JOIN payments p ON p.payment_id = ANY (ARRAY[s.payment_id])
WHERE s.psn_no = ANY (SELECT psn_no FROM numbers) AND s.fixmedins_code = $2 AND s.mdtrt_id = $3
    AND p.state IN ('COMMITTED', 'DONE')
    AND (SELECT r.payment_id FROM payments r WHERE r.original_id = p.payment_id) IS NULL
LIMIT 1"""  # noqa: S608  Constants.
_SETTLED_AT_DESK: Final = f"""
WITH counts AS (SELECT coalesce((SELECT merged_into FROM persons WHERE psn_no = $1), $1) AS psn_no),
numbers AS (
    SELECT psn_no FROM counts UNION SELECT d.psn_no FROM persons d JOIN counts c ON d.merged_into = c.psn_no
)
{_SETTLED}"""  # noqa: S608  Constants.
_APPEAL: Final = "UPDATE claims SET state = 'SUBMITTED', appeal = $2 WHERE claim_id = $1"
_INVOICE: Final = """
SELECT claim_id FROM claims WHERE fixmedins_code = $1 AND invoice_no = $2 AND state <> 'REFUSED'"""
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('claims ' || $1, 0))"


@value
class Approval:
    """What an approval writes: the figures, in fen, and what it uses of which year; ``use`` None if nothing."""

    act_pay_dedc: Fen
    hifp_pay: Fen
    fund_fen: Fen
    family_fen: Fen
    payment_id: PaymentId | None
    """What takes the family's part; None where there is none."""
    attempt: int
    year: int
    use: YearUse | None


async def insert(connection: Connection, asked: ClaimAsked, *, area: AdmDvs, content: bytes) -> bool:
    """Whether the claim is new; False if its id or its invoice has one. No appeal takes that invoice up meanwhile."""
    await connection.execute(_LOCK, f"{asked.fixmedins_code} {asked.invoice_no}")
    documents = [[each.kind, each.sha256.hex(), each.bytes_count] for each in asked.documents]
    inserted = await connection.fetchval(
        _INSERT,
        asked.claim_id,
        asked.psn_no,
        area,
        asked.fixmedins_code,
        asked.invoice_no,
        asked.med_type,
        json.dumps({amount.name: getattr(asked.bill, amount.name) for amount in fields(Bill)}),
        json.dumps(documents),
        content,
        asked.care_on,
        asked.mdtrt_id,
    )
    return inserted is not None


async def find(connection: Connection, claim_id: UUID) -> Claim | None:
    """A claim as it stands; None if there is none."""
    return next(iter(await _claims(connection, await connection.fetch(_FIND, claim_id))), None)


async def page(
    connection: Connection,
    *,
    area: AdmDvs,
    states: Collection[ClaimState],
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> list[Claim]:
    """An area's claims in these states, the oldest first."""
    named = [state.value for state in states]
    return await _claims(
        connection, await connection.fetch(page_statement(states), area, named, *(after or (None, None)), limit)
    )


def page_statement(states: Collection[ClaimState]) -> str:
    """What reads a page of claims in these states: $1 area, $2 states, $3 and $4 after which claim, $5 how many."""
    return _PAGE_WAITING if _ENDED.isdisjoint(states) else _PAGE_ANY


async def locked(connection: Connection, claim_id: UUID) -> Claim | None:
    """As ``find``; nobody else decides it until the transaction ends."""
    return next(iter(await _claims(connection, await connection.fetch(_LOCKED, claim_id))), None)


async def lock_invoice(connection: Connection, claim: Claim) -> bool:
    """Whether no other claim of this invoice stands; until the transaction ends none is taken up again beside it."""
    asked = claim.asked
    await connection.execute(_LOCK, f"{asked.fixmedins_code} {asked.invoice_no}")
    other = await connection.fetchval(_INVOICE, asked.fixmedins_code, asked.invoice_no)
    return other is None or other == asked.claim_id


async def refuse(connection: Connection, claim: Claim, *, opter: str, cause: str) -> None:
    """Keeps an officer's refusal; its invoice is free for another claim."""
    await _decided(connection, claim, approved=False, opter=opter, cause=cause)
    await connection.execute(_MOVE, claim.asked.claim_id, Stored.REFUSED.value)


async def approve_first(
    connection: Connection, claim: Claim, assessment: Assessment, *, act_pay_dedc: Fen, hifp_pay: Fen
) -> None:
    """Keeps the first of two approvals and its figures; another officer decides next (SECOND_LOOK)."""
    await _decided(connection, claim, approved=True, opter=assessment.opter, cause=assessment.cause)
    await connection.execute(_ASSESS, claim.asked.claim_id, Stored.SECOND_LOOK.value, act_pay_dedc, hifp_pay)


async def approve(connection: Connection, claim: Claim, assessment: Assessment, approval: Approval) -> None:
    """It is approved. A trigger counts what it uses of its year, whose lock the caller holds (``lock_year``)."""
    await _decided(connection, claim, approved=True, opter=assessment.opter, cause=assessment.cause)
    use = approval.use
    await connection.execute(
        _APPROVE,
        claim.asked.claim_id,
        approval.act_pay_dedc,
        approval.hifp_pay,
        approval.fund_fen,
        approval.family_fen,
        approval.payment_id,
        approval.attempt,
        *((None,) * 6 if use is None else (approval.year, *astuple(use))),
    )


async def lock_year(connection: Connection, psn_no: PsnNo, year: int) -> int:
    """The version of a person's year, which nobody else moves on until the transaction ends."""
    await connection.execute(_FIRST_VERSION, psn_no, year)
    version: int = await connection.fetchval(_LOCK_YEAR, psn_no, year)
    return version


async def is_settling(connection: Connection, psn_no: PsnNo, year: int) -> bool:
    """Whether a settlement of that year is under way, under this number or a double of it."""
    found: bool = await connection.fetchval(_SETTLING, psn_no, year)
    return found


async def settled_at_desk(connection: Connection, asked: ClaimAsked) -> PaymentId | None:
    """A settlement of the claimed visit that stands: by its mdtrt_id, near the day of the bill, or of its stay."""
    begins = business_midnight(asked.care_on) - SETTLED_WITHIN
    ends = begins + 2 * SETTLED_WITHIN + timedelta(days=1)
    found: PaymentId | None = await connection.fetchval(
        _SETTLED_AT_DESK, asked.psn_no, asked.fixmedins_code, asked.mdtrt_id, begins, ends
    )
    return found


async def appeal(connection: Connection, claim: Claim, objection: str) -> None:
    """The claimant objects; an officer decides anew."""
    await connection.execute(_APPEAL, claim.asked.claim_id, objection)


async def _decided(connection: Connection, claim: Claim, *, approved: bool, opter: str, cause: str) -> None:
    number = len(claim.decisions) + 1
    await connection.execute(_DECIDE, claim.asked.claim_id, number, approved, opter, cause)


async def _claims(connection: Connection, rows: Sequence[Any]) -> list[Claim]:
    if not rows:
        return []
    decisions: dict[UUID, list[Decision]] = {}
    for claim_id, *decision in await connection.fetch(_DECISIONS, [row["claim_id"] for row in rows]):
        decisions.setdefault(claim_id, []).append(Decision(*decision))
    return [_claim(row, decisions.get(row["claim_id"], [])) for row in rows]


def _claim(row: Any, decisions: Sequence[Decision]) -> Claim:  # noqa: ANN401  Untyped driver.
    return Claim(
        asked=ClaimAsked(
            claim_id=row["claim_id"],
            psn_no=PsnNo(row["psn_no"]),
            fixmedins_code=FixmedinsCode(row["fixmedins_code"]),
            invoice_no=row["invoice_no"],
            med_type=row["med_type"],
            bill=Bill(**row["bill"]),
            documents=tuple(Document(kind, bytes.fromhex(digest), size) for kind, digest, size in row["documents"]),
            care_on=row["care_on"] or business_date(row["submitted_at"]),
            mdtrt_id=row["mdtrt_id"],
        ),
        content=row["content"],
        area=AdmDvs(row["area"]),
        stored=Stored(row["state"]),
        attempt=row["attempt"],
        payment_id=row["payment_id"],
        payment_state=None if row["payment_state"] is None else State(row["payment_state"]),
        act_pay_dedc=row["act_pay_dedc"],
        hifp_pay=row["hifp_pay"],
        fund_fen=row["fund_fen"],
        family_fen=row["family_fen"],
        appeal=row["appeal"],
        payout_order_id=row["payout_order_id"],
        submitted_at=row["submitted_at"],
        decisions=tuple(decisions),
    )


# Orders of payout.

_ORDER: Final = "SELECT area, total_fen, sha256 FROM payout_orders WHERE order_id = $1"
_INSERT_ORDER: Final = """
INSERT INTO payout_orders (order_id, area, opter, lines_count, total_fen, sha256) VALUES ($1, $2, $3, $4, $5, $6)"""
_LOCK_ORDER: Final = "SELECT pg_advisory_xact_lock(hashtextextended('payout_orders ' || $1, 0))"
_PAYABLE: Final = """
SELECT c.claim_id, c.psn_no, c.fund_fen, c.family_fen FROM claims c
LEFT JOIN payments p ON p.payment_id = ANY (ARRAY[c.payment_id])
WHERE c.area = $1 AND c.state = 'APPROVED' AND (c.payment_id IS NULL OR p.state IN ('COMMITTED', 'DONE'))
ORDER BY c.claim_id LIMIT $2 FOR UPDATE OF c"""
_ORDERED: Final = """
UPDATE claims SET state = 'ORDERED', payout_order_id = $2 WHERE claim_id = ANY ($1::uuid[])"""
_LINES: Final = """
SELECT claim_id, psn_no, fund_fen, family_fen FROM claims WHERE payout_order_id = $1 ORDER BY claim_id"""


@value
class PayoutLine:
    """What one claimant gets: out of the funds, and out of his family's accounts."""

    claim_id: UUID
    psn_no: PsnNo
    fund_fen: Fen
    family_fen: Fen

    @property
    def total_fen(self) -> Fen:
        """Both together."""
        return self.fund_fen + self.family_fen


@value
class PayoutOrder:
    """What an area pays out at once; ``sha256`` is that of its CSV."""

    order_id: UUID
    area: AdmDvs
    lines: tuple[PayoutLine, ...]
    sha256: bytes


async def lock_order(connection: Connection, area: AdmDvs) -> None:
    """Until the transaction ends nobody else orders for this area."""
    await connection.execute(_LOCK_ORDER, area)


async def find_order(connection: Connection, order_id: UUID) -> PayoutOrder | None:
    """An order with its lines; None if there is none."""
    row = await connection.fetchrow(_ORDER, order_id)
    if row is None:
        return None
    lines = tuple(PayoutLine(*line) for line in await connection.fetch(_LINES, order_id))
    return PayoutOrder(order_id, AdmDvs(row["area"]), lines, row["sha256"])


async def payable(connection: Connection, area: AdmDvs) -> tuple[PayoutLine, ...]:
    """The claims of an area that may be paid out, up to ``ORDER_LINES_MAX``, locked, in the order of their ids."""
    return tuple(PayoutLine(*row) for row in await connection.fetch(_PAYABLE, area, ORDER_LINES_MAX))


async def insert_order(connection: Connection, order: PayoutOrder, *, opter: str) -> None:
    """The order, and its claims in it."""
    total_fen = sum(line.total_fen for line in order.lines)
    await connection.execute(
        _INSERT_ORDER, order.order_id, order.area, opter, len(order.lines), total_fen, order.sha256
    )
    await connection.execute(_ORDERED, [line.claim_id for line in order.lines], order.order_id)
