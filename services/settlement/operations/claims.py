"""Claims: filed, decided by officers, appealed against once, ordered to be paid out.

What a claim comes to is ``assessing``'s to say; ``charging`` and the saga take the family's part of it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from datetime import datetime
from functools import partial
from uuid import UUID

from chassis import telemetry
from chassis.outbox import put_driver
from kernel.clock import business_date
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, PsnNo
from kernel.money import Fen
from services.settlement.domain.bill import Bill, check_bill
from services.settlement.domain.claim import (
    Assessment,
    Claim,
    ClaimAsked,
    ClaimState,
    already_taken,
    check_appeal,
    check_care,
    check_fits,
    check_officer,
    check_same_assessment,
    check_undecided,
    claim_key,
    is_answered,
    wants_second_look,
)
from services.settlement.domain.payment import request_hash
from services.settlement.domain.plan import PlanLeg
from services.settlement.domain.wallet import refuse_merged
from services.settlement.operations import charging
from services.settlement.operations.assessing import Pooled, amount_of, family_part, pooled_part
from services.settlement.operations.payments import RACES_MAX
from services.settlement.operations.wallets import Room
from services.settlement.saga.payment import REFUSED_STATES, Payment
from services.settlement.saga.requests import patient_busy_failure
from services.settlement.store import claims as store
from services.settlement.store import payments as payment_store
from services.settlement.store import projections as projected
from services.settlement.store.claims import Approval, PayoutOrder
from services.settlement.store.payments import Connection
from services.settlement.wire.events import claim_decided


class _MovedOnError(Exception):
    """Somebody was faster: the claim, or the claimant's year, is not what this approval was judged by."""


@dataclass(frozen=True, slots=True)
class _Shares:
    """What an approved claim comes to."""

    pooled: Pooled
    family_fen: Fen
    attempt: int
    """Which of the claim's approvals it is, where the family gives something."""

    @property
    def fund_fen(self) -> Fen:
        """What the funds pay."""
        return self.pooled.burden.fund_pay_sumamt


async def submit(room: Room, *, asked: ClaimAsked, now: datetime) -> Claim:
    """A new claim, or the one that this very request has filed.

    Refusals in this order: those of ``check_bill`` and ``check_care``; KEY_REUSED_WITH_OTHER_CONTENT; PERSON_UNKNOWN,
    PERSON_MERGED, CLAIMANT_NOT_INSURED; INSTITUTION_UNKNOWN; CLAIM_SETTLED_AT_DESK; CLAIM_INVOICE_CLAIMED.
    """
    check_bill(asked.bill)
    check_care(asked.care_on, today=business_date(now))
    content = _content(asked)
    async with room.desk.database.driver_transaction() as connection:
        if (found := await store.find(connection, asked.claim_id)) is not None:
            return _same(found, content)
        person = (await projected.people(connection, [asked.psn_no], now=now)).get(asked.psn_no)
        if person is None:
            raise Failure(Kind.NOT_FOUND, "PERSON_UNKNOWN", field="psn_no")
        refuse_merged(person, "psn_no")
        if person.enrolment is None:
            raise Failure(Kind.PRECONDITION, "CLAIMANT_NOT_INSURED")
        institution, _ = await projected.find_institution(connection, asked.fixmedins_code, now=now)
        if institution is None:
            raise Failure(Kind.NOT_FOUND, "INSTITUTION_UNKNOWN")
        await _check_not_settled(connection, asked)
        area = person.enrolment.insuplc_admdvs
        is_new = await store.insert(connection, asked, area=area, content=content)
        claim = await store.find(connection, asked.claim_id)
        if claim is None:
            raise Failure(Kind.EXISTS, "CLAIM_INVOICE_CLAIMED")
    return claim if is_new else _same(claim, content)


async def view(room: Room, *, claim_id: UUID) -> Claim:
    """A claim as it stands. CLAIM_UNKNOWN."""
    async with room.desk.database.driver_connection() as connection:
        return _known(await store.find(connection, claim_id))


async def queue(
    room: Room, *, area: AdmDvs, states: frozenset[ClaimState], after: tuple[datetime, UUID] | None, size: int
) -> tuple[list[Claim], bool]:
    """A page of an area's claims in these states, the oldest first, and whether there are more."""
    async with room.desk.database.driver_connection() as connection:
        found = await store.page(connection, area=area, states=states, after=after, limit=size + 1)
    return found[:size], len(found) > size


async def refuse(room: Room, *, claim_id: UUID, opter: str, cause: str) -> Claim:
    """An officer refuses it. The same officer's same word again changes nothing.

    Refusals in this order: CLAIM_UNKNOWN, CLAIM_ALREADY_DECIDED, CLAIM_NEEDS_ANOTHER_OFFICER, CLAIM_ALREADY_TAKEN.
    """
    async with room.desk.database.driver_transaction() as connection:
        claim = _known(await store.locked(connection, claim_id))
        if is_answered(claim, approved=False, opter=opter):
            return claim
        check_undecided(claim)
        check_officer(claim, opter)
        _, standing = await _taken_before(connection, claim)
        if standing is not None:
            raise already_taken(standing.amount_fen)
        await store.refuse(connection, claim, opter=opter, cause=cause)
        await _tell(connection, claim, approved=False)
        return _known(await store.find(connection, claim_id))


async def approve(room: Room, *, claim_id: UUID, assessment: Assessment, now: datetime) -> Claim:
    """An officer approves it; with the last approval the family's part is taken, all of it or nothing.

    What was taken by an approval that a restore has lost is this one's. Refusals in this order: CLAIM_UNKNOWN,
    CLAIM_ALREADY_DECIDED, CLAIM_NEEDS_ANOTHER_OFFICER, CLAIM_SETTLED_AT_DESK; those of ``pooled_part`` and of
    ``family_part``; CLAIM_COMES_TO_NOTHING, CLAIM_ALREADY_TAKEN, CLAIM_ASSESSMENT_DIFFERS; PATIENT_BUSY while the
    claimant's year moves on; those of ``charging.outcome``: what a ledger refuses is approved anew, when the accounts
    are read again.
    """
    for _ in range(RACES_MAX):
        try:
            return await _judged_as_seen(room, claim_id, assessment, now)
        except _MovedOnError:
            continue
    raise patient_busy_failure()


async def _judged_as_seen(room: Room, claim_id: UUID, assessment: Assessment, now: datetime) -> Claim:
    claim = await view(room, claim_id=claim_id)
    if is_answered(claim, approved=True, opter=assessment.opter):
        return await _settled(room, claim)
    _judge(claim, assessment)
    async with room.desk.database.driver_connection() as connection:
        await _check_not_settled(connection, claim.asked)
        attempt, standing = await _taken_before(connection, claim)
    pooled = await pooled_part(room, claim, assessment, now)
    legs = await family_part(room, claim, pooled, now) if standing is None else standing.legs
    shares = _Shares(pooled, amount_of(legs), attempt)
    check_fits(claim, fund_fen=shares.fund_fen, family_fen=shares.family_fen, is_taken=standing is not None)
    is_first = wants_second_look(claim)
    record = partial(_approved, claim_id=claim_id, assessment=assessment, shares=shares, is_first=is_first)
    if is_first or not legs:
        async with room.desk.database.driver_transaction() as connection:
            await record(connection, None)
        return await view(room, claim_id=claim_id)
    if standing is not None:
        await charging.outcome(room.engine, standing, standing.request_hash)
        async with room.desk.database.driver_transaction() as connection:
            await record(connection, standing)
        return await view(room, claim_id=claim_id)
    await charging.begin(
        room.engine,
        key=claim_key(claim, attempt),
        content=_taken(claim, legs),
        psn_no=claim.asked.psn_no,
        legs=legs,
        beside=record,
    )
    return await view(room, claim_id=claim_id)


async def appeal(room: Room, *, claim_id: UUID, psn_no: PsnNo, objection: str) -> Claim:
    """The claimant objects to a refusal, once; the same words again change nothing.

    Refusals in this order: CLAIM_UNKNOWN (also another's), CLAIM_NOT_REFUSED, CLAIM_APPEALED, CLAIM_INVOICE_CLAIMED.
    """
    async with room.desk.database.driver_transaction() as connection:
        claim = _known(await store.locked(connection, claim_id))
        if psn_no != claim.asked.psn_no and claim.asked.psn_no not in await projected.numbers_of(connection, psn_no):
            raise _unknown()
        if claim.appeal == objection:
            return claim
        check_appeal(claim)
        if not await store.lock_invoice(connection, claim):
            raise Failure(Kind.EXISTS, "CLAIM_INVOICE_CLAIMED")
        await store.appeal(connection, claim, objection)
        return _known(await store.find(connection, claim_id))


async def order_payout(room: Room, *, order_id: UUID, area: AdmDvs, opter: str) -> PayoutOrder:
    """What an area has to pay out, in one order; the same request is the same order, line by line.

    Refusals: KEY_REUSED_WITH_OTHER_CONTENT; CLAIMS_NONE_PAYABLE.
    """
    async with room.desk.database.driver_transaction() as connection:
        await store.lock_order(connection, area)
        if (found := await store.find_order(connection, order_id)) is not None:
            if found.area != area:
                raise Failure(Kind.INVALID, "KEY_REUSED_WITH_OTHER_CONTENT", request_id=str(order_id))
            return found
        lines = await store.payable(connection, area)
        if not lines:
            raise Failure(Kind.PRECONDITION, "CLAIMS_NONE_PAYABLE")
        order = PayoutOrder(order_id, area, lines, hashlib.sha256(csv_of(order_id, area, lines)).digest())
        await store.insert_order(connection, order, opter=opter)
    return order


def csv_of(order_id: UUID, area: AdmDvs, lines: tuple[store.PayoutLine, ...]) -> bytes:
    """The order as its file has it: UTF-8, lines ended by a newline, amounts in fen."""
    head = "payout_order_id,area,claim_id,psn_no,fund_fen,family_fen,total_fen\n"
    rows = (
        f"{order_id},{area},{each.claim_id},{each.psn_no},{each.fund_fen},{each.family_fen},{each.total_fen}\n"
        for each in lines
    )
    return "".join([head, *rows]).encode()


def _judge(claim: Claim, assessment: Assessment) -> None:
    check_undecided(claim)
    check_officer(claim, assessment.opter)


async def _approved(
    connection: Connection,
    begun: Payment | None,
    *,
    claim_id: UUID,
    assessment: Assessment,
    shares: _Shares,
    is_first: bool,
) -> None:
    """Beside the payment, if there is one: whoever decides second finds it decided.

    ``is_first``: it was judged as the first approval of two. Where it is not that any more, nothing is written.
    """
    claim = _known(await store.locked(connection, claim_id))
    _judge(claim, assessment)
    if wants_second_look(claim) is not is_first:
        raise _MovedOnError
    burden = shares.pooled.burden
    if not shares.pooled.is_computed:
        check_same_assessment(claim, assessment)
    if is_first:
        await store.approve_first(
            connection, claim, assessment, act_pay_dedc=burden.act_pay_dedc, hifp_pay=burden.hifp_pay
        )
        return
    await _lock_year(connection, claim, shares.pooled)
    # Again, under that lock: since the first look the visit may have been settled, and the year read after it.
    await _check_not_settled(connection, claim.asked)
    await store.approve(
        connection,
        claim,
        assessment,
        Approval(
            act_pay_dedc=burden.act_pay_dedc,
            hifp_pay=burden.hifp_pay,
            fund_fen=shares.fund_fen,
            family_fen=shares.family_fen,
            payment_id=None if begun is None else begun.payment_id,
            attempt=claim.attempt if begun is None else shares.attempt,
            year=shares.pooled.year,
            use=shares.pooled.use,
        ),
    )
    if begun is None:
        await _tell(connection, claim, approved=True)


async def _lock_year(connection: Connection, claim: Claim, pooled: Pooled) -> None:
    """Until the transaction ends the year of care is this approval's; what was planned by it before is stale.

    Where a table has computed the figures, by the year as it stands: _MovedOnError if it has moved on since,
    PATIENT_BUSY while a settlement is under way that will use something of it.
    """
    if pooled.use is None and not pooled.is_computed:
        return
    # The record before the year, as a merge locks them.
    counts_for = await projected.locked_merged_into(connection, claim.asked.psn_no) or claim.asked.psn_no
    if counts_for != pooled.counts_for:
        raise _MovedOnError
    version = await store.lock_year(connection, counts_for, pooled.year)
    if pooled.is_computed:
        if version != pooled.version:
            raise _MovedOnError
        if await store.is_settling(connection, counts_for, pooled.year):
            raise patient_busy_failure()
    if pooled.use is not None:
        await payment_store.move_patient_on(connection, counts_for, pooled.year)


async def _tell(connection: Connection, claim: Claim, *, approved: bool) -> None:
    event = claim_decided(
        claim.asked.claim_id,
        claim.asked.psn_no,
        version=len(claim.decisions) + 1,
        approved=approved,
        occurred_at=await payment_store.now(connection),
        traceparent=telemetry.traceparent(),
    )
    await put_driver(connection, [event])


async def _settled(room: Room, claim: Claim) -> Claim:
    """The claim once its payment is decided, which goes on whoever asked for it."""
    if claim.payment_id is None:
        return claim
    async with room.desk.database.driver_connection() as connection:
        payment = await payment_store.by_id(connection, claim.payment_id)
    if payment is None:
        raise LookupError(f"the payment of claim {claim.asked.claim_id} is missing")
    await charging.outcome(room.engine, payment, payment.request_hash)
    return await view(room, claim_id=claim.asked.claim_id)


async def _check_not_settled(connection: Connection, asked: ClaimAsked) -> None:
    """CLAIM_SETTLED_AT_DESK, where the papers' mdtrt_id is that of a settlement of the desk which stands."""
    setl_id = await store.settled_at_desk(connection, asked) if asked.mdtrt_id else None
    if setl_id is not None:
        raise Failure(Kind.PRECONDITION, "CLAIM_SETTLED_AT_DESK", setl_id=str(setl_id))


async def _taken_before(connection: Connection, claim: Claim) -> tuple[int, Payment | None]:
    """Which approval comes next, counted from 1, and what stands for it: a restore may lose a claim's last approvals.

    Those of which nothing came are passed over; what was taken by one, or may be, is that one's.
    """
    attempt = claim.attempt + 1
    while (found := await payment_store.by_key(connection, claim_key(claim, attempt))) is not None:
        if found.state not in REFUSED_STATES:
            return attempt, found
        attempt += 1
    return attempt, None


def _content(asked: ClaimAsked) -> bytes:
    amounts = (getattr(asked.bill, amount.name) for amount in fields(Bill))
    papers = (part for each in asked.documents for part in (each.kind, each.sha256, each.bytes_count))
    return request_hash(
        "claim",
        asked.psn_no,
        asked.fixmedins_code,
        asked.invoice_no,
        asked.med_type,
        *amounts,
        *papers,
        asked.care_on.isoformat(),
        asked.mdtrt_id,
    )


def _taken(claim: Claim, legs: tuple[PlanLeg, ...]) -> bytes:
    parts: list[str | bytes | int] = ["claim", claim.asked.claim_id.bytes, claim.attempt]
    for leg in legs:
        parts += [leg.role.value, leg.psn_no, leg.area, leg.past_fen, leg.current_fen]
    return request_hash(*parts)


def _same(claim: Claim, content: bytes) -> Claim:
    if claim.content != content:
        raise Failure(Kind.INVALID, "KEY_REUSED_WITH_OTHER_CONTENT", request_id=str(claim.asked.claim_id))
    return claim


def _known(claim: Claim | None) -> Claim:
    if claim is None:
        raise _unknown()
    return claim


def _unknown() -> Failure:
    return Failure(Kind.NOT_FOUND, "CLAIM_UNKNOWN")
