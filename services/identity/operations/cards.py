"""Cards: issued, activated by their holders, reported lost, and their PINs tried, changed and unlocked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.db import Database
from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from kernel.randomness import Randomness
from services.identity.domain import card as rules
from services.identity.domain.attestation import Purpose
from services.identity.domain.card import HELD, SALT_BYTES, Activation, Card, CardState, Pin
from services.identity.domain.decoding import NOWHERE, Desk
from services.identity.domain.holder import Holder, check_holder, person_unknown
from services.identity.domain.person import living, writable
from services.identity.domain.sealing import NONCE_BYTES, Seals
from services.identity.operations import attestations, lookups
from services.identity.operations.decoding import Decoder
from services.identity.operations.drawn import new_bytes, new_id
from services.identity.operations.pins import Pins
from services.identity.operations.sealed import certno_of
from services.identity.store import cards as store
from services.identity.store import people
from services.identity.store.cards import CardChange
from services.identity.store.holders import load_holder

ISSUED: Final = "CARD_ISSUED"
ACTIVATION: Final = "CARD_ACTIVATION"
LISTED: Final = "CARDS_LISTED"
"""Purposes in the audit."""
HOLDER: Final = "holder"
"""Who changed a PIN that he knew."""


@dataclass(frozen=True, slots=True)
class CardRoom:
    """What cards are worked with."""

    database: Database
    seals: Seals
    pins: Pins
    decoder: Decoder
    """Judges the desk at which a card is used, and keeps refusals."""
    randomness: Randomness


async def issue_card(
    room: CardRoom, *, psn_no: PsnNo, card_no: str, opter: str, asked_by: str, now: datetime
) -> tuple[Card, bool]:
    """The card, and whether it was on record before.

    Refusals in this order: as ``check_holder``; EXISTS CARD_NO_TAKEN, CARD_ALREADY_HELD (he holds another one); by its
    state CARD_LOST, CARD_ENDED: a card that was given up is not issued again.
    """
    index = room.seals.card_index(card_no)
    card_id = new_id(now, room.randomness)
    card = Card(card_id, psn_no, rules.masked_card_no(card_no), CardState.ISSUED, issued_at=now)
    sealed = room.seals.seal(card_no.encode(), place=_place(card_id), nonce=new_bytes(room.randomness, NONCE_BYTES))
    async with lookups.on_record(room.database, purpose=ISSUED, asked_by=asked_by, now=now) as (connection, met):
        met.add(psn_no)
        check_holder(await load_holder(connection, psn_no, lock=True))
        known = await store.card_of_number(connection, index)
        if known is not None:
            return _same_card(known, psn_no), True
        if await store.held_card(connection, psn_no) is not None:
            raise Failure(Kind.EXISTS, "CARD_ALREADY_HELD", field="psn_no")
        if not await store.insert_card(connection, card, sealed=sealed, card_no_index=index, opter=opter):
            raise Failure(Kind.EXISTS, "CARD_NO_TAKEN", field="card_no")  # Just now, to somebody else.
        await store.note(connection, card_id, CardChange.ISSUED, opter=opter, now=now)
    return card, False


async def begin_activation(room: CardRoom, *, card_no: str, desk: Desk, now: datetime) -> Activation:
    """The accounts linked with a card that is not active yet; the look-up is on record.

    Refusals in this order: as ``check_decodes``; CARD_UNKNOWN, as ``check_can_be_activated``, as ``check_holder``.
    """
    async with _at_desk(room, desk, card_no=card_no, now=now), room.database.transaction() as connection:
        card = rules.known_card(await store.card_of_number(connection, room.seals.card_index(card_no)))
        activation = await _activation(connection, rules.check_can_be_activated(card))
        await lookups.record(connection, [card.psn_no], purpose=ACTIVATION, asked_by=desk.caller, now=now)
    return activation


async def activate_card(
    room: CardRoom, *, card_no: str, digest: str, pin: str, attestation_id: UUID, desk: Desk, now: datetime
) -> Card:
    """The active card.

    Refusals in this order: as ``check_decodes``; CARD_UNKNOWN, as ``check_can_be_activated``, as ``check_holder``,
    ACTIVATION_STALE; as ``check_use`` of the attestation (purpose ACTIVATE_CARD); PIN_TRIVIAL, SERVICE_BUSY,
    PIN_PEPPER_MISSING. So whether a PIN is a piece of the holder's ID number is told to nobody but him.
    """
    index = room.seals.card_index(card_no)
    async with _at_desk(room, desk, card_no=card_no, now=now):
        async with room.database.transaction() as connection:
            card = rules.check_can_be_activated(rules.known_card(await store.card_of_number(connection, index)))
            rules.check_digest(digest, (await _activation(connection, card)).digest)
            used_for = f"card:{card.card_id}"
            await attestations.check(
                connection,
                attestation_id=attestation_id,
                psn_no=card.psn_no,
                purpose=Purpose.ACTIVATE_CARD,
                used_for=used_for,
                now=now,
            )
            await _check_pin(connection, room.seals, card.psn_no, pin, field="pin")
        made = await room.pins.made(card.card_id, pin, salt=new_bytes(room.randomness, SALT_BYTES))
        async with room.database.transaction() as connection:
            # The person before the card, as everywhere; his enrolments stand still while they are compared.
            await people.load_person(connection, card.psn_no, lock=True)
            locked = rules.known_card(await store.card_of_number(connection, index, lock=True))
            activation = await _activation(connection, rules.check_can_be_activated(locked))
            rules.check_digest(digest, activation.digest)
            await attestations.use(
                connection,
                attestation_id=attestation_id,
                psn_no=card.psn_no,
                purpose=Purpose.ACTIVATE_CARD,
                used_for=used_for,
                now=now,
            )
            await store.activate(connection, card.card_id, made, place=desk.caller, now=now)
            await store.note(connection, card.card_id, CardChange.ACTIVATED, opter=desk.caller, now=now)
            return rules.known_card(await store.card_of_number(connection, index))


async def report_lost(room: CardRoom, *, psn_no: PsnNo, card_id: UUID | None, opter: str, now: datetime) -> Card:
    """The person's card of this id, or the one that he holds, lost from now on; again: no change.

    Without an id a report that is sent again after another card was issued loses that one. CARD_UNKNOWN (no such card
    of his); by its state CARD_ENDED.
    """
    async with room.database.transaction() as connection:
        card = await _reported_card(connection, psn_no, card_id)
        if card.state is CardState.LOST:
            return card
        if card.state not in HELD:
            return rules.check_active(card)
        await store.end_card(connection, card.card_id, CardState.LOST, opter=opter, cause="LOST", now=now)
        await store.note(connection, card.card_id, CardChange.LOST, opter=opter, now=now)
        return rules.known_card(await store.card_of_id(connection, card.card_id))


async def _reported_card(connection: AsyncConnection, psn_no: PsnNo, card_id: UUID | None) -> Card:
    if card_id is not None:
        card = await store.card_of_id(connection, card_id, lock=True)
        return rules.known_card(card if card is not None and card.psn_no == psn_no else None, field="card_id")
    held = await store.held_card(connection, psn_no, lock=True)
    return held or rules.known_card(await store.last_card(connection, psn_no), field="psn_no")


async def list_cards(
    room: CardRoom, *, psn_no: PsnNo, before: UUID | None, size: int, asked_by: str, now: datetime
) -> tuple[list[Card], bool]:
    """So many of a person's cards, newest first, and whether more follow; PERSON_UNKNOWN. The look-up is on record."""
    async with room.database.transaction() as connection:
        if await load_holder(connection, psn_no) is None:
            raise person_unknown()
        found = await store.cards_before(connection, psn_no, before, limit=size + 1)
        await lookups.record(connection, [psn_no], purpose=LISTED, asked_by=asked_by, now=now)
    return found[:size], len(found) > size


async def holder_of(room: CardRoom, *, card_no: str) -> PsnNo | None:
    """Whose card it is, whatever its state: for what is kept of refusals."""
    async with room.database.transaction() as connection:
        card = await store.card_of_number(connection, room.seals.card_index(card_no))
    return None if card is None else card.psn_no


async def try_pin(room: CardRoom, *, card_no: str, pin: str) -> Card:
    """The active card, if this is its PIN; the try counts before the PIN is looked at (five wrong ones lock).

    Refusals in this order: CARD_UNKNOWN; as ``check_active``; PIN_LOCKED; UNAVAILABLE SERVICE_BUSY, PIN_PEPPER_MISSING;
    PIN_WRONG. What is refused before PIN_WRONG is no try, and what needs no look at a PIN waits for no turn.
    """
    index = room.seals.card_index(card_no)
    async with room.database.transaction() as connection:
        _check_can_be_tried(await store.card_of_number(connection, index))
    async with room.pins.turn() as make:
        async with room.database.transaction() as connection:
            card = await store.begin_try(connection, index)
            if card is None:
                _check_can_be_tried(await store.card_of_number(connection, index))
                raise rules.pin_locked()
        kept = _kept(card)
        made = await make(card.card_id, pin, kept.salt)
    if not rules.is_right(kept, made):
        raise rules.pin_wrong(card.pin_tries)
    async with room.database.transaction() as connection:
        if not await store.end_tries(connection, card.card_id, kept):
            # Lost, or another PIN, since the try began.
            rules.check_active(rules.known_card(await store.card_of_number(connection, index)))
            raise rules.pin_wrong(card.pin_tries)
    return card


async def change_pin(room: CardRoom, *, card_no: str, pin: str, new_pin: str, now: datetime) -> None:
    """Another PIN; refusals as ``try_pin``, then PIN_UNCHANGED, PIN_TRIVIAL. One that may be misuse is kept."""
    async with _refusals_kept(room, NOWHERE, card_no=card_no):
        card = await try_pin(room, card_no=card_no, pin=pin)
        if pin == new_pin:
            raise Failure(Kind.INVALID, "PIN_UNCHANGED", field="new_pin")
        async with room.database.transaction() as connection:
            await _check_pin(connection, room.seals, card.psn_no, new_pin, field="new_pin")
        made = await room.pins.made(card.card_id, new_pin, salt=new_bytes(room.randomness, SALT_BYTES))
        async with room.database.transaction() as connection:
            locked = rules.known_card(await store.card_of_number(connection, room.seals.card_index(card_no), lock=True))
            if rules.check_active(locked).pin != card.pin:
                raise rules.pin_wrong(card.pin_tries)  # Changed since it was tried.
            await store.set_pin(connection, card.card_id, made)
            await store.note(connection, card.card_id, CardChange.PIN_CHANGED, opter=HOLDER, now=now)


async def unlock_pin(
    room: CardRoom, *, psn_no: PsnNo, attestation_id: UUID, new_pin: str, opter: str, cause: str, now: datetime
) -> Card:
    """The card with its tries begun anew, and another PIN unless ``new_pin`` is empty. A face does that once.

    Refusals in this order: as ``check_holder``; CARD_UNKNOWN, as ``check_active``; as ``check_use`` of the attestation
    (purpose UNLOCK_PIN); PIN_TRIVIAL, SERVICE_BUSY, PIN_PEPPER_MISSING. The same request again is ATTESTATION_USED:
    if it were taken, whoever knows of one face would have five tries as often as he likes.
    """
    used_for = f"unlock:{new_id(now, room.randomness)}"
    async with room.database.transaction() as connection:
        card = await _active_card_of(connection, psn_no)
        await attestations.check(
            connection,
            attestation_id=attestation_id,
            psn_no=psn_no,
            purpose=Purpose.UNLOCK_PIN,
            used_for=used_for,
            now=now,
        )
        if new_pin:
            await _check_pin(connection, room.seals, psn_no, new_pin, field="new_pin")
    made = None
    if new_pin:
        made = await room.pins.made(card.card_id, new_pin, salt=new_bytes(room.randomness, SALT_BYTES))
    async with room.database.transaction() as connection:
        locked = await _active_card_of(connection, psn_no, lock=True)
        if locked.card_id != card.card_id:
            raise Failure(Kind.NOT_FOUND, "CARD_UNKNOWN", field="psn_no")  # Lost and issued anew meanwhile.
        await attestations.use(
            connection,
            attestation_id=attestation_id,
            psn_no=psn_no,
            purpose=Purpose.UNLOCK_PIN,
            used_for=used_for,
            now=now,
        )
        await store.set_pin(connection, card.card_id, made)
        await store.note(connection, card.card_id, CardChange.PIN_UNLOCKED, opter=opter, cause=cause, now=now)
        return await _active_card_of(connection, psn_no)


@asynccontextmanager
async def _at_desk(room: CardRoom, desk: Desk, *, card_no: str, now: datetime) -> AsyncIterator[None]:
    """What is done with a card at this desk; refusals as ``check_decodes``, kept like all that follow."""
    async with _refusals_kept(room, desk, card_no=card_no):
        await room.decoder.check_desk(desk, now=now)
        yield


@asynccontextmanager
async def _refusals_kept(room: CardRoom, where: Desk, *, card_no: str) -> AsyncIterator[None]:
    """Keeps what is refused of a card, as ``Presentation.decode`` does: whoever tries cards out is noticed."""
    try:
        yield
    except Failure as failure:
        holder = await holder_of(room, card_no=card_no)
        await room.decoder.keep_refused(failure, where, psn_no=holder, jti=None)
        raise


async def _active_card_of(connection: AsyncConnection, psn_no: PsnNo, *, lock: bool = False) -> Card:
    holder: Holder = check_holder(await load_holder(connection, psn_no))
    card = await store.held_card(connection, holder.psn_no, lock=lock)
    card = card or await store.last_card(connection, holder.psn_no)
    return rules.check_active(rules.known_card(card, field="psn_no"))


async def _activation(connection: AsyncConnection, card: Card) -> Activation:
    person = living(writable(await people.load_person(connection, card.psn_no), field="card_no"), field="card_no")
    accounts = rules.linked_accounts(person.enrolments)
    return Activation(person.name_masked, accounts, rules.digest_of(card, person.name_masked, accounts))


async def _check_pin(connection: AsyncConnection, seals: Seals, psn_no: PsnNo, pin: str, *, field: str) -> None:
    holder = check_holder(await load_holder(connection, psn_no))
    sealed = await people.sealed_person(connection, psn_no)
    rules.check_pin(pin, brdy=holder.brdy, certno=certno_of(sealed, seals=seals), field=field)


def _check_can_be_tried(card: Card | None) -> None:
    rules.check_not_locked(rules.check_active(rules.known_card(card)))


def _same_card(card: Card, psn_no: PsnNo) -> Card:
    if card.psn_no != psn_no:
        raise Failure(Kind.EXISTS, "CARD_NO_TAKEN", field="card_no")
    return card if card.state in rules.HELD else rules.check_active(card)


def _kept(card: Card) -> Pin:
    if card.pin is None:
        raise RuntimeError("an active card without a PIN; the table refuses one")
    return card.pin


def _place(card_id: UUID) -> str:
    return f"cards/{card_id}"
