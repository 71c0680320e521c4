"""Claims: filed, decided by officers, appealed against once, ordered to be paid out.

What a family gives is what it would have given at the desk, by the same ``split``; ``charging`` and the saga take it.
The pooled fund's part is the officer's to state, from the area's core system.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from datetime import datetime
from functools import partial
from uuid import UUID

from chassis import telemetry
from chassis.outbox import put_driver
from kernel.clock import business_date, business_month, business_year
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, PsnNo
from kernel.money import Fen
from kernel.policy import ExternalBenefit
from services.settlement.domain.bill import Bill, burden_of, check_bill
from services.settlement.domain.claim import (
    Assessment,
    Claim,
    ClaimAsked,
    ClaimState,
    check_appeal,
    check_officer,
    check_same_assessment,
    check_undecided,
    claim_key,
    is_answered,
    wants_second_look,
)
from services.settlement.domain.payment import request_hash
from services.settlement.domain.plan import PlanLeg
from services.settlement.domain.split import split
from services.settlement.domain.visit import circle_of, questions_of, visit_of
from services.settlement.domain.wallet import refuse_merged
from services.settlement.operations import charging
from services.settlement.operations.payments import RACES_MAX
from services.settlement.operations.planning import read_areas
from services.settlement.operations.wallets import Room
from services.settlement.saga.payment import Payment
from services.settlement.store import claims as store
from services.settlement.store import payments as payment_store
from services.settlement.store import plans
from services.settlement.store import projections as projected
from services.settlement.store.claims import PayoutOrder
from services.settlement.store.payments import Connection
from services.settlement.wire.events import claim_decided

_GIVEN = ExternalBenefit()


class _MovedOnError(Exception):
    """Another officer was faster: the claim is not what this approval was judged by."""


@dataclass(frozen=True, slots=True)
class _Shares:
    """What an approved claim comes to."""

    fund_fen: Fen
    legs: tuple[PlanLeg, ...]

    @property
    def family_fen(self) -> Fen:
        """What accounts and wallets give."""
        return sum(leg.amount_fen for leg in self.legs)


async def submit(room: Room, *, asked: ClaimAsked, now: datetime) -> Claim:
    """A new claim, or the one that this very request has filed.

    Refusals in this order: those of ``check_bill``; KEY_REUSED_WITH_OTHER_CONTENT; PERSON_UNKNOWN, PERSON_MERGED,
    CLAIMANT_NOT_INSURED; INSTITUTION_UNKNOWN; CLAIM_INVOICE_CLAIMED.
    """
    check_bill(asked.bill)
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

    Refusals in this order: CLAIM_UNKNOWN, CLAIM_ALREADY_DECIDED, CLAIM_NEEDS_ANOTHER_OFFICER.
    """
    async with room.desk.database.driver_transaction() as connection:
        claim = _known(await store.locked(connection, claim_id))
        if is_answered(claim, approved=False, opter=opter):
            return claim
        check_undecided(claim)
        check_officer(claim, opter)
        await store.refuse(connection, claim, opter=opter, cause=cause)
        await _tell(connection, claim, approved=False)
        return _known(await store.find(connection, claim_id))


async def approve(room: Room, *, claim_id: UUID, assessment: Assessment, now: datetime) -> Claim:
    """An officer approves it; with the last approval the family's part is taken, all of it or nothing.

    Refusals in this order: CLAIM_UNKNOWN, CLAIM_ALREADY_DECIDED, CLAIM_NEEDS_ANOTHER_OFFICER, CLAIM_ASSESSMENT_DIFFERS;
    those of ``burden_of`` and of ``visit_of``; CLAIM_COMES_TO_NOTHING; those of ``charging.outcome``: what a ledger
    refuses is approved anew, when the accounts are read again.
    """
    for _ in range(RACES_MAX):
        try:
            return await _judged_as_seen(room, claim_id, assessment, now)
        except _MovedOnError:
            continue
    raise AssertionError("an approval lost every race, though a claim goes from hand to hand a few times at most")


async def _judged_as_seen(room: Room, claim_id: UUID, assessment: Assessment, now: datetime) -> Claim:
    claim = await view(room, claim_id=claim_id)
    if is_answered(claim, approved=True, opter=assessment.opter):
        return await _settled(room, claim)
    _judge(claim, assessment)
    shares = await _shares(room, claim, _assessed(claim.asked.bill, assessment), now)
    if not shares.fund_fen + shares.family_fen:
        raise Failure(Kind.PRECONDITION, "CLAIM_COMES_TO_NOTHING")
    is_first = wants_second_look(claim)
    record = partial(_approved, claim_id=claim_id, assessment=assessment, shares=shares, is_first=is_first)
    if shares.legs and not is_first:
        payment = await charging.begin(
            room.engine,
            key=claim_key(claim),
            content=_taken(claim, shares.legs),
            psn_no=claim.asked.psn_no,
            legs=shares.legs,
            beside=record,
        )
        taken = await view(room, claim_id=claim_id)
        if taken.payment_id == payment.payment_id:
            return taken
        # A restore has lost the approval and not what it took; shares that came out otherwise were refused above.
        async with room.desk.database.driver_transaction() as connection:
            await record(connection, payment)
        return await view(room, claim_id=claim_id)
    async with room.desk.database.driver_transaction() as connection:
        await record(connection, None)
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
    check_same_assessment(claim, assessment)


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
    if is_first:
        await store.approve_first(connection, claim, assessment)
        return
    await store.approve(
        connection,
        claim,
        assessment,
        fund_fen=shares.fund_fen,
        family_fen=shares.family_fen,
        payment_id=None if begun is None else begun.payment_id,
    )
    if begun is None:
        await _tell(connection, claim, approved=True)


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


async def _shares(room: Room, claim: Claim, bill: Bill, now: datetime) -> _Shares:
    """By the policies, balances and bindings of today; nothing of the family's while the claimant is suspended."""
    asked = claim.asked
    async with room.desk.database.driver_connection() as connection:
        institution, _ = await projected.find_institution(connection, asked.fixmedins_code, now=now)
        bindings = await projected.bindings_of(connection, asked.psn_no)
        people = await projected.people(connection, [asked.psn_no, *(each.funder for each in bindings)], now=now)
        patient_year = await plans.patient_at(connection, psn_no=asked.psn_no, year=business_year(now))
    if institution is None:
        raise Failure(Kind.NOT_FOUND, "INSTITUTION_UNKNOWN")
    burden = burden_of(bill, _GIVEN)
    claimant = people.get(asked.psn_no)
    if claimant is None or claimant.sanctioned or claimant.merged_into is not None or claimant.deceased:
        return _Shares(burden.fund_pay_sumamt, ())
    circle, enrolment = circle_of(asked.psn_no, people, bindings)
    paused = room.desk.freshness.is_stale
    questions = questions_of(circle, enrolment, paused=paused, wallet_area=patient_year.wallet_area)
    readings = await read_areas(room.desk.ledgers, questions, frozenset(), month=business_month(now))
    visit = visit_of(
        circle,
        enrolment,
        institution=institution,
        bill=bill,
        readings=readings,
        year=business_year(now),
        paused=paused,
        wallet_area=patient_year.wallet_area,
    )
    parted = split(visit, room.desk.policies.on(business_date(now)), benefit=_GIVEN)
    legs = tuple(
        PlanLeg(
            leg_no,
            source.role,
            source.psn_no,
            source.area,
            source.past_fen,
            source.current_fen,
            source.authorisation_id,
            source.floor_fen,
            tuple(sorted(source.floor_parts, key=lambda part: part.value)),
        )
        for leg_no, source in enumerate(parted.contributions, start=1)
    )
    return _Shares(parted.burden.fund_pay_sumamt, legs)


def _assessed(bill: Bill, assessment: Assessment) -> Bill:
    """The bill as the papers say, with what the pooled fund pays as the officer says; no other fund pays a claim."""
    parts = ("medfee_sumamt", "fulamt_ownpay_amt", "overlmt_selfpay", "preselfpay_amt", "inscp_scp_amt")
    amounts = {name: getattr(bill, name) for name in parts}
    return Bill(**amounts, act_pay_dedc=assessment.act_pay_dedc, hifp_pay=assessment.hifp_pay)


def _content(asked: ClaimAsked) -> bytes:
    amounts = (getattr(asked.bill, amount.name) for amount in fields(Bill))
    papers = (part for each in asked.documents for part in (each.kind, each.sha256, each.bytes_count))
    return request_hash(
        "claim", asked.psn_no, asked.fixmedins_code, asked.invoice_no, asked.med_type, *amounts, *papers
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
