"""Wallets: opened by a person or a proven relative, shown, used in another area (domain §3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from chassis import telemetry
from chassis.faults import fault_point
from chassis.outbox import put_driver
from kernel.clock import business_date
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, PsnNo
from kernel.policy import WalletLimits
from services.settlement.clients import Balance, Identity
from services.settlement.domain.split import Role
from services.settlement.domain.visit import KnownPerson
from services.settlement.domain.wallet import (
    Opening,
    Wallet,
    check_living,
    check_wallet_area,
    home_of,
    refuse_merged,
    wallet_of,
)
from services.settlement.operations.engine import Engine
from services.settlement.operations.planning import Desk
from services.settlement.store import projections as projected
from services.settlement.store import wallets as store
from services.settlement.store.payments import Connection
from services.settlement.store.wallets import UnderWay
from services.settlement.wire.events import wallet_changed

UNDECIDED_MAX: Final = timedelta(days=7)
"""More than a transfer may wait for its receiver; what began before that is decided."""


@dataclass(frozen=True, slots=True)
class Room:
    """What wallets work with: the desk's things, the engine that moves the money, and identity."""

    desk: Desk
    engine: Engine
    identity: Identity


@dataclass(frozen=True, slots=True)
class WalletView:
    """A wallet with what is in it and on its way, and what its person may still transfer on this day."""

    wallet: Wallet
    balance: Balance
    under_way: UnderWay
    limits: WalletLimits
    left_today: int
    former_areas: Sequence[AdmDvs] = ()


async def open_wallet(room: Room, *, asked: Opening, now: datetime) -> Wallet:
    """A new wallet, or the one that this very request has opened.

    The opener's face is used for it once; a relative must be proven one. Refusals in this order:
    KEY_REUSED_WITH_OTHER_CONTENT; WALLET_EXISTS; POLICY_AREA_UNKNOWN; WALLET_NOT_IN_AREA; PERSON_UNKNOWN;
    PERSON_MERGED; PERSON_DECEASED; KINSHIP_NOT_PROVEN; AREA_UNREACHABLE; those of identity for the attestation.
    """
    async with room.desk.database.driver_connection() as connection:
        if (opened := await _opened(connection, asked)) is not None:
            return opened
        people = await projected.people(connection, [asked.psn_no], now=now)
    policies = room.desk.policies.on(business_date(now))
    check_wallet_area(policies.for_area(asked.area), asked.area)
    if asked.psn_no not in people:
        raise Failure(Kind.NOT_FOUND, "PERSON_UNKNOWN", field="psn_no")
    refuse_merged(people[asked.psn_no], "psn_no")
    check_living(people[asked.psn_no], "psn_no")
    if asked.opener is not None:
        await proven_relation(room, asked.opener, asked.psn_no, now=now)
    if (silence := await _silence(room, asked.area, asked.psn_no)) is not None:
        raise silence
    await room.identity.use_face(asked.attestation_id, asked.shown, wallet_id=asked.wallet_id)
    wallet = Wallet(wallet_id=asked.wallet_id, psn_no=asked.psn_no, area=asked.area, opener=asked.opener, opened_at=now)
    async with room.desk.database.driver_transaction() as connection:
        if await projected.locked_merged_into(connection, asked.psn_no) is not None:
            # Identity has merged it just now: a wallet that stood before would have been taken over with it.
            raise Failure(Kind.PRECONDITION, "PERSON_MERGED", field="psn_no")
        if not await store.insert(connection, wallet, attestation_id=asked.attestation_id):
            opened = await _opened(connection, asked)
            if opened is None:
                raise AssertionError("a wallet can neither be opened nor found")
            return opened
        for area in _elsewhere(people[asked.psn_no], wallet):
            await store.follow(connection, move_id=room.engine.new_id(), psn_no=asked.psn_no, from_area=area)
        await put_driver(connection, [wallet_changed(wallet, occurred_at=now, traceparent=telemetry.traceparent())])
        fault_point("settlement.wallet_open.before_commit")
    fault_point("settlement.wallet_open.after_commit")
    return wallet


async def view_wallet(room: Room, *, psn_no: PsnNo, now: datetime) -> WalletView:
    """A wallet as it stands. WALLET_UNKNOWN; AREA_UNREACHABLE while the ledger that keeps its money is silent."""
    day = business_date(now)
    async with room.desk.database.driver_connection() as connection:
        wallet = wallet_of((await store.find(connection, [psn_no])).get(psn_no))
        people = await projected.people(connection, [psn_no], now=now)
        numbers = await projected.numbers_of(connection, psn_no)
        begun = await store.of_day(connection, numbers, day)
        former = await store.former_areas(connection, numbers)
        under_way = await store.under_way(connection, numbers, since=day - UNDECIDED_MAX)
    home = home_of(people.get(psn_no, KnownPerson(psn_no, "", (), sanctioned=False)), wallet)
    limits = room.desk.policies.on(day).for_area(home).wallet_limits
    [balance], _ = await room.desk.ledgers.balances(wallet.area, [(psn_no, Role.WALLET)])
    return WalletView(wallet, balance, under_way, limits, max(limits.per_day - begun, 0), former)


async def change_area(room: Room, *, request_id: UUID, psn_no: PsnNo, area: AdmDvs, now: datetime) -> Wallet:
    """The wallet as it is used from now on; the same request again changes nothing.

    Its money follows (``following``), as does all that comes back to the old area later. Refusals in this order:
    WALLET_UNKNOWN; KEY_REUSED_WITH_OTHER_CONTENT; PERSON_MERGED; PERSON_DECEASED; POLICY_AREA_UNKNOWN;
    WALLET_NOT_IN_AREA; AREA_UNREACHABLE.
    """
    policies = room.desk.policies.on(business_date(now))
    silence = await _silence(room, area, psn_no)  # Asked before the wallet is locked, told behind all else.
    async with room.desk.database.driver_transaction() as connection:
        wallet = wallet_of(await store.locked(connection, psn_no))
        changed = await store.changed_by(connection, request_id)
        if changed is not None:
            _check_same((psn_no, area), changed, request_id)
            return wallet
        # Behind the wallet's lock: whoever takes it over waits for it, so what is merged by now is seen here.
        person = (await projected.people(connection, [psn_no], now=now)).get(psn_no)
        refuse_merged(person, "psn_no")
        if person is not None:
            check_living(person, "psn_no")
        check_wallet_area(policies.for_area(area), area)
        if silence is not None:
            raise silence
        moved = replace(wallet, area=area, version=wallet.version + 1)
        await store.set_area(connection, moved, request_id=request_id, now=now)
        if area != wallet.area:
            move_id = room.engine.new_id()
            await store.follow(connection, move_id=move_id, psn_no=psn_no, from_area=wallet.area)
        await put_driver(connection, [wallet_changed(moved, occurred_at=now, traceparent=telemetry.traceparent())])
        fault_point("settlement.wallet_area.before_commit")
    fault_point("settlement.wallet_area.after_commit")
    return moved


async def _silence(room: Room, area: AdmDvs, psn_no: PsnNo) -> Failure | None:
    """AREA_UNREACHABLE where no ledger answers that could keep the wallet's money: it is down, or no such area is."""
    try:
        await room.desk.ledgers.balances(area, [(psn_no, Role.WALLET)])
    except Failure as failure:
        return failure
    return None


async def proven_relation(room: Room, psn_no: PsnNo, other: PsnNo, *, now: datetime) -> str:
    """What one person is to the other today; KINSHIP_NOT_PROVEN with what identity says to it (``because``)."""
    relation, reason = await room.identity.kinship(psn_no, other, on=business_date(now))
    if not relation:
        raise Failure(Kind.PRECONDITION, "KINSHIP_NOT_PROVEN", because=reason)
    return relation


def _elsewhere(person: KnownPerson, wallet: Wallet) -> list[AdmDvs]:
    """Where money of this wallet may lie from before it was opened: bills looked for it where he was insured."""
    return sorted({enrolment.insuplc_admdvs for enrolment in person.enrolments} - {wallet.area})


async def _opened(connection: Connection, asked: Opening) -> Wallet | None:
    """The wallet that this request has opened; None if the person has none.

    KEY_REUSED_WITH_OTHER_CONTENT if the request did something else, WALLET_EXISTS if another has opened it.
    """
    changed = await store.changed_by(connection, asked.wallet_id)
    if changed is not None:
        _check_same((asked.psn_no, asked.area), changed, asked.wallet_id)
    wallet = (await store.find(connection, [asked.psn_no])).get(asked.psn_no)
    if wallet is None:
        return None
    if wallet.wallet_id != asked.wallet_id:
        raise Failure(Kind.EXISTS, "WALLET_EXISTS")
    if wallet.opener != asked.opener:
        raise _reused(asked.wallet_id)
    return wallet


def _check_same(asked: tuple[PsnNo, AdmDvs], found: tuple[PsnNo, AdmDvs], request_id: UUID) -> None:
    if asked != found:
        raise _reused(request_id)


def _reused(request_id: UUID) -> Failure:
    return Failure(Kind.INVALID, "KEY_REUSED_WITH_OTHER_CONTENT", request_id=str(request_id))
