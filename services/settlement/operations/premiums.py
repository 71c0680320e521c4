"""Premiums: tariffs and filings are kept, who may pay for whom is judged; ``charging`` and the saga move the money.

That a person's year is paid once is judged beside the payment's own row, one after another for each person and year.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from chassis import telemetry
from chassis.outbox import put_driver
from kernel.clock import business_date, business_year
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, PaymentId, PsnNo
from services.settlement.domain.payment import Key
from services.settlement.domain.plan import PlanLeg
from services.settlement.domain.premium import (
    PremiumAsked,
    PremiumShown,
    PremiumState,
    Tariff,
    check_due,
    check_fixed,
    check_policy,
    check_revocable,
    check_tariff,
    leg_of_premium,
    paying_area,
    resident_area,
    tariff_of,
)
from services.settlement.domain.visit import KnownPerson
from services.settlement.domain.wallet import Wallet, check_living, refuse_merged
from services.settlement.operations import charging
from services.settlement.operations.planning import reading_of
from services.settlement.operations.wallets import Room, proven_relation
from services.settlement.saga.payment import REFUSED_STATES, Payment, State
from services.settlement.saga.requests import in_progress_failure, mutual_aid_paused_failure
from services.settlement.store import payments as payment_store
from services.settlement.store import premiums as store
from services.settlement.store import projections as projected
from services.settlement.store import wallets
from services.settlement.store.payments import Connection
from services.settlement.wire.events import premium_revoked


@dataclass(frozen=True, slots=True)
class _Known:
    """What is on record of both people; ``filing`` is what one of them has filed to pay for the other."""

    payer: KnownPerson
    wallet: Wallet | None
    insured: KnownPerson
    filing: UUID | None


@dataclass(frozen=True, slots=True)
class _Judged:
    """A payment that may begin."""

    key: Key
    leg: PlanLeg
    area: AdmDvs
    """Whose premium it is."""
    relation: str


async def set_tariff(room: Room, *, tariff: Tariff, now: datetime) -> Tariff:
    """An area asks for this from now on.

    Refusals in this order: PREMIUM_TARIFF_DATES_WRONG, POLICY_AREA_UNKNOWN, those of ``check_fixed``.
    """
    check_tariff(tariff)
    today = business_date(now)
    async with room.desk.database.driver_transaction() as connection:
        room.desk.policies.on(today).for_area(tariff.area)
        known = await store.locked_tariff(connection, tariff.area, tariff.year)
        is_paid = await store.is_paid_by(connection, tariff.area, tariff.year)
        check_fixed(tariff, known, is_paid=is_paid, today=today)
        await store.set_tariff(connection, tariff)
    return tariff


async def list_tariffs(room: Room, *, area: AdmDvs) -> list[Tariff]:
    """What an area asks or has asked for, the latest year first."""
    async with room.desk.database.driver_connection() as connection:
        return await store.tariffs(connection, area)


async def file_payer(room: Room, *, filing_id: UUID, payer: PsnNo, insured: PsnNo, opter: str) -> UUID:
    """备案: from now on the one may pay for the other where that is wanted first; the filing that stands.

    Refusals: PAYER_IS_INSURED; KEY_REUSED_WITH_OTHER_CONTENT.
    """
    if payer == insured:
        raise Failure(Kind.INVALID, "PAYER_IS_INSURED", field="insured_psn_no")
    async with room.desk.database.driver_connection() as connection:
        filed = await store.file_payer(connection, filing_id=filing_id, payer=payer, insured=insured, opter=opter)
        if filed is None:
            return await store.live_filing(connection, [payer], [insured]) or filing_id
    if filed != (payer, insured):
        raise Failure(Kind.INVALID, "KEY_REUSED_WITH_OTHER_CONTENT", request_id=str(filing_id))
    return filing_id


async def end_filing(room: Room, *, filing_id: UUID, opter: str) -> None:
    """Ends a filing, once. PREMIUM_FILING_UNKNOWN."""
    async with room.desk.database.driver_connection() as connection:
        if not await store.end_filing(connection, filing_id, opter=opter):
            raise Failure(Kind.NOT_FOUND, "PREMIUM_FILING_UNKNOWN")


async def due(room: Room, *, insured: PsnNo, year: int, now: datetime) -> tuple[Tariff, PremiumState | None]:
    """What a person owes for a year, and where its payment stands, None if there is none.

    Refusals in this order: PERSON_UNKNOWN, PERSON_MERGED, INSURED_NOT_RESIDENT, PREMIUM_TARIFF_UNKNOWN.
    """
    async with room.desk.database.driver_connection() as connection:
        person = _person((await projected.people(connection, [insured], now=now)).get(insured), "insured_psn_no")
        refuse_merged(person, "insured_psn_no")
        area = resident_area(person)
        tariff = tariff_of(await store.find_tariff(connection, area, year), area, year)
        live = await store.live(connection, await projected.numbers_of(connection, insured), year)
    standing = [state for _, state in live if state not in REFUSED_STATES]
    return tariff, store.state_of(standing[0], is_revoked=False) if standing else None


async def pay(room: Room, *, asked: PremiumAsked, now: datetime) -> PremiumShown:
    """Pays one person's premium of one year. The same request again is the same payment, whatever the day.

    Refusals in this order: KEY_REUSED_WITH_OTHER_CONTENT; PERSON_UNKNOWN, PERSON_MERGED and PERSON_DECEASED (payer,
    then insured); PAYER_SANCTIONED; INSURED_NOT_RESIDENT; PREMIUM_TARIFF_UNKNOWN; those of ``check_due``,
    ``paying_area`` and ``check_policy``; for a relative MUTUAL_AID_PAUSED and KINSHIP_NOT_PROVEN; AREA_UNREACHABLE;
    those of ``leg_of_premium``; PREMIUM_ALREADY_PAID, PREMIUM_BEING_PAID; those of ``charging.outcome``.
    """
    found = await _found(room, asked.payer, asked.request_id)
    if found is None:
        judged = await _judged(room, asked, now)
        payment = await charging.begin(
            room.engine,
            key=judged.key,
            content=asked.content,
            psn_no=asked.payer,
            legs=(judged.leg,),
            beside=lambda connection, begun: _recorded(connection, begun, asked, judged, now),
        )
    else:
        payment = await charging.outcome(room.engine, found, asked.content)
    return await _shown(room, payment.payment_id, asked.payer)


async def what_became(room: Room, *, payer: PsnNo, request_id: UUID) -> PremiumShown:
    """A payment as it stands now. PREMIUM_UNKNOWN; COORDINATOR_RESTORING while what is unknown may only be lost."""
    found = await _found(room, payer, request_id)
    if found is None:
        raise _unknown()
    return await _shown(room, found.payment_id, payer)


async def revoke(room: Room, *, payer: PsnNo, premium_id: PaymentId, now: datetime) -> PremiumShown:
    """Takes a payment back, whole, to where it came from. The same again is answered the same, on any day.

    Refusals in this order: PREMIUM_UNKNOWN, PAYMENT_IN_PROGRESS, PREMIUM_NOT_PAID, PREMIUM_FINAL.
    """
    async with room.desk.database.driver_connection() as connection:
        numbers = await projected.numbers_of(connection, payer)
        named = await store.tariff_named(connection, premium_id, numbers)
        if named is None:
            raise _unknown()
        tariff = tariff_of(await store.find_tariff(connection, *named), *named)
    await charging.give_back(
        room.engine,
        charge_id=premium_id,
        check=lambda _: check_revocable(tariff, today=business_date(now)),
        beside=_taken_back,
        unknown="PREMIUM_UNKNOWN",
        not_paid="PREMIUM_NOT_PAID",
    )
    return await _shown(room, premium_id, payer)


async def list_premiums(
    room: Room, *, psn_no: PsnNo, before: UUID | None, size: int
) -> tuple[list[PremiumShown], bool]:
    """So many premiums paid by or for a person, the latest first, and whether more follow."""
    async with room.desk.database.driver_connection() as connection:
        numbers = await projected.numbers_of(connection, psn_no)
        page = await store.page(connection, numbers, before=before, size=size + 1)
    return page[:size], len(page) > size


async def _judged(room: Room, asked: PremiumAsked, now: datetime) -> _Judged:
    day = business_date(now)
    known = await _known(room, asked, now)
    for person, field in ((known.payer, "payer_psn_no"), (known.insured, "insured_psn_no")):
        refuse_merged(person, field)
        check_living(person, field)
    if known.payer.sanctioned:
        raise Failure(Kind.PRECONDITION, "PAYER_SANCTIONED")
    area = resident_area(known.insured)
    async with room.desk.database.driver_connection() as connection:
        tariff = tariff_of(await store.find_tariff(connection, area, asked.year), area, asked.year)
    check_due(tariff, amount_fen=asked.amount_fen, today=day)
    paid_in = paying_area(asked, known.payer, known.wallet)
    policy = room.desk.policies.on(day).for_area(paid_in)
    check_policy(asked, policy, paid_in, is_filed=known.filing is not None)
    relation = ""
    if not asked.is_own:
        if room.desk.freshness.is_stale:
            raise mutual_aid_paused_failure()
        relation = await proven_relation(room, asked.payer, asked.insured, now=now)
    [balance], _ = await room.desk.ledgers.balances(paid_in, [(asked.payer, asked.source)])
    reading = reading_of(balance) if balance.exists else None
    leg = leg_of_premium(asked, reading, policy, area=paid_in, year=business_year(now))
    return _Judged(asked.key(area), leg, area, relation)


async def _known(room: Room, asked: PremiumAsked, now: datetime) -> _Known:
    async with room.desk.database.driver_connection() as connection:
        people = await projected.people(connection, [asked.payer, asked.insured], now=now)
        wallet = (await wallets.find(connection, [asked.payer])).get(asked.payer)
        payer_numbers = await projected.numbers_of(connection, asked.payer)
        insured_numbers = await projected.numbers_of(connection, asked.insured)
        filing = await store.live_filing(connection, payer_numbers, insured_numbers)
    return _Known(
        payer=_person(people.get(asked.payer), "payer_psn_no"),
        wallet=wallet,
        insured=_person(people.get(asked.insured), "insured_psn_no"),
        filing=filing,
    )


async def _recorded(
    connection: Connection, begun: Payment, asked: PremiumAsked, judged: _Judged, now: datetime
) -> None:
    """Notes whose year it pays; a ``Failure`` keeps it from beginning. Race-free: one at a time for person and year."""
    await store.lock_premium(connection, asked.insured, asked.year)
    if await store.by_request(connection, await projected.numbers_of(connection, asked.payer), asked.request_id):
        # The same request under another key: the insured's area has changed just now. Asked again, it is found.
        raise in_progress_failure(begun)
    numbers = await projected.numbers_of(connection, asked.insured)
    for payment_id, state in await store.live(connection, numbers, asked.year):
        if state is State.TRYING:
            raise Failure(Kind.CONFLICT, "PREMIUM_BEING_PAID")
        if state not in REFUSED_STATES:
            raise Failure(Kind.PRECONDITION, "PREMIUM_ALREADY_PAID")
        await store.end(connection, payment_id)
    tariff = await store.held_tariff(connection, judged.area, asked.year)
    check_due(tariff_of(tariff, judged.area, asked.year), amount_fen=asked.amount_fen, today=business_date(now))
    await store.record(connection, begun, relation=judged.relation)


async def _taken_back(connection: Connection, refund: Payment) -> None:
    """Beside the refund: another payment may be made, and both are told."""
    if refund.original_id is None or refund.decided_at is None:
        raise AssertionError("a refund without its charge")
    await store.end(connection, refund.original_id)
    event = premium_revoked(refund, occurred_at=refund.decided_at, traceparent=telemetry.traceparent())
    await put_driver(connection, [event])


async def _found(room: Room, payer: PsnNo, request_id: UUID) -> Payment | None:
    room.engine.check_serving()
    async with room.desk.database.driver_connection() as connection:
        numbers = await projected.numbers_of(connection, payer)
        premium_id = await store.by_request(connection, numbers, request_id)
        return None if premium_id is None else await payment_store.by_id(connection, premium_id)


async def _shown(room: Room, premium_id: PaymentId, payer: PsnNo) -> PremiumShown:
    async with room.desk.database.driver_connection() as connection:
        shown = await store.shown(connection, premium_id, to=await projected.numbers_of(connection, payer))
    if shown is None:
        raise _unknown()
    return shown


def _unknown() -> Failure:
    return Failure(Kind.NOT_FOUND, "PREMIUM_UNKNOWN")


def _person(known: KnownPerson | None, field: str) -> KnownPerson:
    if known is None:
        raise Failure(Kind.NOT_FOUND, "PERSON_UNKNOWN", field=field)
    return known
