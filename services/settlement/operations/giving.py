"""Transfers between relatives: who may give what to whom is judged here; ``transfers`` and the saga move the money.

What is counted for a giver's day is judged beside the transfer's own row, one after another for one giver.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID, uuid5

from kernel.clock import business_date, business_year
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, PaymentId, PsnNo
from kernel.policy import PolicySet, RegionPolicy
from services.settlement.domain.payment import Key, transfer_key
from services.settlement.domain.plan import PlanLeg
from services.settlement.domain.split import Role
from services.settlement.domain.visit import KnownPerson
from services.settlement.domain.wallet import (
    Gift,
    TransferShown,
    Wallet,
    accept_by,
    check_accepts,
    check_day,
    check_gift,
    check_living,
    check_wallet_area,
    floor_of,
    home_of,
    parts_of,
    refuse_merged,
    source_area,
)
from services.settlement.operations import transfers
from services.settlement.operations.planning import reading_of
from services.settlement.operations.wallets import Room, proven_relation
from services.settlement.saga.payment import Payment
from services.settlement.saga.requests import check_same_request, in_progress_failure, mutual_aid_paused_failure
from services.settlement.store import payments as payment_store
from services.settlement.store import projections as projected
from services.settlement.store import wallets as store
from services.settlement.store.payments import Connection


@dataclass(frozen=True, slots=True)
class _Known:
    """What is on record of both people."""

    giver: KnownPerson
    giver_wallet: Wallet | None
    receiver: KnownPerson | None
    receiver_wallet: Wallet | None
    begun_today: int


@dataclass(frozen=True, slots=True)
class _Judged:
    """A transfer that may begin."""

    key: Key
    legs: tuple[PlanLeg, ...]
    accept_by: datetime
    policy: RegionPolicy
    relation: str


async def transfer(room: Room, *, gift: Gift, now: datetime) -> TransferShown:
    """Holds the giver's money and asks the receiver. The same request again is the same transfer, whatever the hour.

    Refusals in this order: RECEIVER_IS_ONESELF; KEY_REUSED_WITH_OTHER_CONTENT; PERSON_UNKNOWN, PERSON_MERGED and
    PERSON_DECEASED (the giver); GIVER_SANCTIONED; those of ``source_area``; WALLET_NOT_IN_AREA (the giver's); those of
    ``check_gift`` and ``check_day``; MUTUAL_AID_PAUSED; KINSHIP_NOT_PROVEN; PERSON_MERGED, PERSON_UNKNOWN,
    PERSON_DECEASED (the receiver); RECEIVER_SANCTIONED, RECEIVER_HAS_NO_WALLET, WALLET_NOT_IN_AREA (the receiver's);
    AREA_UNREACHABLE (either's ledger is silent); those of ``parts_of``; those of ``transfers.begin``.
    """
    if gift.giver == gift.receiver:
        raise Failure(Kind.INVALID, "RECEIVER_IS_ONESELF", field="receiver_psn_no")
    found = await _found(room, gift.giver, gift.request_id)
    if found is None:
        judged = await _judged(room, gift, now)
        payment = await transfers.begin(
            room.engine,
            key=judged.key,
            giver=gift.giver,
            legs=judged.legs,
            accept_by=judged.accept_by,
            beside=lambda connection, begun: _recorded(connection, begun, gift, judged, business_date(now)),
        )
    else:
        taken, received = (gift.source, gift.giver, gift.amount_fen), (Role.RECEIVER, gift.receiver, gift.amount_fen)
        check_same_request(found, transfers.content_of(gift.giver, taken, received))
        payment = await transfers.begin(
            room.engine, key=found.key, giver=gift.giver, legs=found.legs, accept_by=found.accept_by or now
        )
    return await _shown(room, payment.payment_id, to=gift.giver)


async def accept(room: Room, *, transfer_id: PaymentId, receiver: PsnNo) -> TransferShown:
    """The receiver takes the money, at any hour.

    Refusals in this order: TRANSFER_UNKNOWN; while it is not decided, those of ``check_accepts``: what has become of
    him since it was given counts, and the money returns in its time; those of ``transfers.accept``. What has become of
    the giver does not count: he has given.
    """
    asked = await _asked(room, transfer_id, receiver)
    shown = await _shown(room, transfer_id, to=receiver)
    if shown.decided_at is None and not shown.is_given:
        check_accepts(await _who_counts(room, receiver))
    accepted = await transfers.accept(room.engine, payment_id=transfer_id, receiver=asked)
    [area] = [leg.area for leg in accepted.legs if leg.role is Role.RECEIVER]
    async with room.desk.database.driver_connection() as connection:
        # Should the wallet be used elsewhere by now, the money follows it at once, not at the next look.
        await store.look_again(connection, psn_no=asked, area=area)
    return await _shown(room, transfer_id, to=receiver)


async def decline(room: Room, *, transfer_id: PaymentId, receiver: PsnNo) -> TransferShown:
    """The receiver does not want the money. Failures: those of ``transfers.decline``."""
    asked = await _asked(room, transfer_id, receiver)
    await transfers.decline(room.engine, payment_id=transfer_id, receiver=asked)
    return await _shown(room, transfer_id, to=receiver)


async def withdraw(room: Room, *, giver: PsnNo, request_id: UUID, now: datetime) -> TransferShown | None:
    """The giver takes a transfer back; None of one that had never begun, and never will (protocol rule 3).

    PERSON_UNKNOWN; those of ``transfers.withdraw``.
    """
    found = await _found(room, giver, request_id)
    if found is None:
        async with room.desk.database.driver_connection() as connection:
            people = await projected.people(connection, [giver], now=now)
            wallet = (await store.find(connection, [giver])).get(giver)
        home = home_of(_person(people.get(giver), "giver_psn_no"), wallet)
        await transfers.withdraw(room.engine, key=_key(home, giver, request_id))
        found = await _found(room, giver, request_id)
        return None if found is None else await _shown(room, found.payment_id, to=giver)
    await transfers.withdraw(room.engine, key=found.key)
    return await _shown(room, found.payment_id, to=giver)


async def list_transfers(
    room: Room, *, psn_no: PsnNo, before: UUID | None, size: int
) -> tuple[list[TransferShown], bool]:
    """So many transfers of a person, the latest first, and whether more follow."""
    async with room.desk.database.driver_connection() as connection:
        numbers = await projected.numbers_of(connection, psn_no)
        page = await store.page(connection, numbers, before=before, size=size + 1)
    return page[:size], len(page) > size


async def _judged(room: Room, gift: Gift, now: datetime) -> _Judged:
    day = business_date(now)
    policies = room.desk.policies.on(day)
    known = await _known(room, gift, now)
    refuse_merged(known.giver, "giver_psn_no")
    check_living(known.giver, "giver_psn_no")
    if known.giver.sanctioned:
        raise Failure(Kind.PRECONDITION, "GIVER_SANCTIONED")
    area = source_area(gift, known.giver, known.giver_wallet)
    home = home_of(known.giver, known.giver_wallet)
    policy = policies.for_area(home)
    check_wallet_area(policy, home)
    check_gift(gift, policy.wallet_limits, now=now)
    check_day(known.begun_today, policy.wallet_limits)
    if room.desk.freshness.is_stale:
        raise mutual_aid_paused_failure()
    # Before anything is told of the receiver: what he has is his relatives' business alone.
    relation = await proven_relation(room, gift.giver, gift.receiver, now=now)
    receiver = _receiving(known, policies)
    # The receiver's ledger is asked whether it answers, not what he has: a vote that is waited for in vain would count.
    ([balance], _), _ = await asyncio.gather(
        room.desk.ledgers.balances(area, [(gift.giver, gift.source)]),
        room.desk.ledgers.balances(receiver.area, [(gift.receiver, Role.WALLET)]),
    )
    past, current = parts_of(gift, reading_of(balance) if balance.exists else None, policy, year=business_year(now))
    kept_fen, kept_in = floor_of(gift, policy)
    legs = (
        PlanLeg(1, gift.source, gift.giver, area, past, current, None, kept_fen, kept_in),
        PlanLeg(2, Role.RECEIVER, gift.receiver, receiver.area, gift.amount_fen, 0, None, 0, ()),
    )
    return _Judged(
        _key(home, gift.giver, gift.request_id), legs, accept_by(now, policy.wallet_limits), policy, relation
    )


async def _known(room: Room, gift: Gift, now: datetime) -> _Known:
    pair = [gift.giver, gift.receiver]
    async with room.desk.database.driver_connection() as connection:
        people = await projected.people(connection, pair, now=now)
        wallets = await store.find(connection, pair)
        numbers = await projected.numbers_of(connection, gift.giver)
        begun = await store.of_day(connection, numbers, business_date(now))
    return _Known(
        giver=_person(people.get(gift.giver), "giver_psn_no"),
        giver_wallet=wallets.get(gift.giver),
        receiver=people.get(gift.receiver),
        receiver_wallet=wallets.get(gift.receiver),
        begun_today=begun,
    )


def _receiving(known: _Known, policies: PolicySet) -> Wallet:
    """The receiver's wallet, if it may receive."""
    refuse_merged(known.receiver, "receiver_psn_no")
    receiver = _person(known.receiver, "receiver_psn_no")
    check_living(receiver, "receiver_psn_no")
    if receiver.sanctioned:
        raise Failure(Kind.PRECONDITION, "RECEIVER_SANCTIONED")
    wallet = known.receiver_wallet
    if wallet is None:
        raise Failure(Kind.PRECONDITION, "RECEIVER_HAS_NO_WALLET")
    check_wallet_area(policies.for_area(wallet.area), wallet.area)
    return wallet


async def _recorded(connection: Connection, begun: Payment, gift: Gift, judged: _Judged, day: date) -> None:
    """Counts the transfer for its day; a ``Failure`` keeps it from beginning. Race-free: one at a time for a giver."""
    await store.lock_giver(connection, gift.giver)
    numbers = await projected.numbers_of(connection, gift.giver)
    if await store.by_request(connection, numbers, gift.request_id) is not None:
        # The same request under another key: the giver's insurance has moved just now. Asked again, it is found.
        raise in_progress_failure(begun)
    check_day(await store.of_day(connection, numbers, day), judged.policy.wallet_limits)
    await store.record(connection, gift, payment_id=begun.payment_id, relation=judged.relation, day=day)


async def _found(room: Room, giver: PsnNo, request_id: UUID) -> Payment | None:
    room.engine.check_serving()
    async with room.desk.database.driver_connection() as connection:
        numbers = await projected.numbers_of(connection, giver)
        transfer_id = await store.by_request(connection, numbers, request_id)
        return None if transfer_id is None else await payment_store.by_id(connection, transfer_id)


async def _asked(room: Room, transfer_id: PaymentId, by: PsnNo) -> PsnNo:
    """The number of this person whose yes or no a transfer waits for: his own, or that of a double of his.

    TRANSFER_UNKNOWN: among others, money that follows its own wallet is nobody's to accept or decline.
    """
    async with room.desk.database.driver_connection() as connection:
        receiver = await store.receiver(connection, transfer_id)
        numbers = await projected.numbers_of(connection, by)
    if receiver is None:
        raise Failure(Kind.NOT_FOUND, "TRANSFER_UNKNOWN")
    return receiver if receiver in numbers else by


async def _who_counts(room: Room, psn_no: PsnNo) -> KnownPerson:
    """The person with this number as he stands now; of a double, under the number that counts."""
    async with room.desk.database.driver_connection() as connection:
        now = await payment_store.now(connection)
        person = _person((await projected.people(connection, [psn_no], now=now)).get(psn_no), "receiver_psn_no")
        counts = person.merged_into
        return person if counts is None else (await projected.people(connection, [counts], now=now)).get(counts, person)


async def _shown(room: Room, transfer_id: PaymentId, *, to: PsnNo) -> TransferShown:
    async with room.desk.database.driver_connection() as connection:
        numbers = await projected.numbers_of(connection, to)
        shown = await store.shown(connection, transfer_id, to=numbers)
    if shown is None:
        raise Failure(Kind.NOT_FOUND, "TRANSFER_UNKNOWN")
    return shown


def _person(known: KnownPerson | None, field: str) -> KnownPerson:
    if known is None:
        raise Failure(Kind.NOT_FOUND, "PERSON_UNKNOWN", field=field)
    return known


def _key(home: AdmDvs, giver: PsnNo, request_id: UUID) -> Key:
    """Whoever knows another's request id can neither take its transfer back nor be kept from using the id himself."""
    return transfer_key(home, str(uuid5(request_id, giver)))
