"""Corrections: requested by a person, decided by an officer; what is granted changes the record in the same moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Final, assert_never
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.db import Database
from kernel.clock import business_date
from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from kernel.randomness import Randomness
from services.identity.domain import correction as rules
from services.identity.domain import particulars
from services.identity.domain.certificate import Sex, parsed_certificate
from services.identity.domain.correction import (
    Correction,
    CorrectionEvidence,
    CorrectionField,
    CorrectionState,
    Recorded,
    SeenCorrection,
    Wanted,
)
from services.identity.domain.person import Person, writable
from services.identity.domain.sealing import NONCE_BYTES, Sealed, Seals
from services.identity.operations import lookups
from services.identity.operations.drawn import new_bytes, new_id
from services.identity.operations.kinship_ground import locked_ground
from services.identity.operations.particulars import Writing, apply_certificate, apply_update
from services.identity.operations.sealed import certno_of, name_of
from services.identity.store import corrections as store
from services.identity.store import people
from services.identity.store.corrections import SealedCorrection
from services.identity.store.lookups import numbers_of

REQUESTED: Final = "CORRECTION_REQUESTED"
LISTED: Final = "CORRECTIONS_LISTED"
DECIDED: Final = "CORRECTION_DECIDED"
"""Purposes in the audit."""


async def request_correction(
    *,
    database: Database,
    seals: Seals,
    psn_no: PsnNo,
    wanted: Wanted,
    evidence: CorrectionEvidence,
    asked_by: str,
    now: datetime,
    randomness: Randomness,
) -> SeenCorrection:
    """The correction that waits from now on; the one that asks for the same already, if there is one.

    PERSON_UNKNOWN (NOT_FOUND), PERSON_MERGED (PRECONDITION), CORRECTION_WAITING (EXISTS, with its correction_id:
    something else is wanted of the same field), then as ``check_wanted``.
    """
    async with lookups.on_record(database, purpose=REQUESTED, asked_by=asked_by, now=now) as (connection, met):
        met.add(psn_no)
        person = writable(await people.load_person(connection, psn_no, lock=True))
        sealed = await store.waiting_correction(connection, psn_no, wanted.field)
        if sealed is not None:
            waiting = _opened(sealed, seals)
            if rules.same_wanted(waiting.correction.wanted, wanted):
                return waiting
            correction_id = str(waiting.correction.correction_id)
            raise Failure(Kind.EXISTS, "CORRECTION_WAITING", field="value", correction_id=correction_id)
        today = business_date(now)
        rules.check_wanted(wanted, await _recorded(connection, person, seals, today=today), today=today)
        correction = Correction(
            correction_id=new_id(now, randomness),
            psn_no=psn_no,
            wanted=wanted,
            evidence=evidence,
            state=CorrectionState.REQUESTED,
            requested_by=asked_by,
            requested_at=now,
        )
        value = seals.seal(
            wanted.value.encode(), place=_place(correction.correction_id), nonce=new_bytes(randomness, NONCE_BYTES)
        )
        await store.insert_correction(connection, correction, value)
        return SeenCorrection(correction, person.name_masked)


async def list_corrections(
    *,
    database: Database,
    seals: Seals,
    psn_no: PsnNo | None,
    state: CorrectionState | None,
    after: UUID | None,
    size: int,
    asked_by: str,
    now: datetime,
) -> tuple[Sequence[SeenCorrection], bool]:
    """A page of corrections, oldest first, from behind this one, and whether more follow; all on it were looked up.

    Those of doubles that were merged into the person are among his.
    """
    async with database.transaction() as connection:
        numbers = None if psn_no is None else await numbers_of(connection, psn_no)
        found = await store.corrections_after(connection, after, psn_nos=numbers, state=state, limit=size + 1)
        page = [_opened(each, seals) for each in found[:size]]
        whom = {*(each.correction.psn_no for each in page), *(numbers or [])}
        await lookups.record(connection, whom, purpose=LISTED, asked_by=asked_by, now=now)
        return page, len(found) > size


async def decide_correction(
    *,
    database: Database,
    seals: Seals,
    correction_id: UUID,
    state: CorrectionState,
    opter: str,
    cause: str,
    read: str,
    asked_by: str,
    now: datetime,
    randomness: Randomness,
) -> SeenCorrection:
    """The correction as an officer decided it; the same decision again changes nothing.

    CORRECTION_UNKNOWN (NOT_FOUND), then as ``checked_wanted`` for what the officer ``read`` on the document and as
    ``check_decision``, then, to grant, the refusals of the change itself (``apply_update``, ``apply_certificate``).
    A refusal leaves the correction waiting.
    """
    async with lookups.on_record(database, purpose=DECIDED, asked_by=asked_by, now=now) as (connection, met):
        psn_no = _known(await store.load_correction(connection, correction_id)).psn_no
        met.add(psn_no)
        if state is CorrectionState.GRANTED:
            # Before the correction's lock, as whoever merges the person takes them.
            await locked_ground(connection, {psn_no})
        seen = _opened(_known(await store.load_correction(connection, correction_id, lock=True)), seals)
        before = seen.correction
        if before.state is state:
            return seen
        wanted, today = before.wanted, business_date(now)
        understood = None
        if state is CorrectionState.GRANTED and read:
            understood = rules.checked_wanted(wanted.field, read, wanted.kind, today=today, where="value_on_evidence")
        rules.check_decision(before, state, cause=cause, read=understood)
        name_masked = seen.name_masked
        if state is CorrectionState.GRANTED:
            writing = Writing(
                opter=opter, cause=f"correction:{correction_id}", now=now, seals=seals, randomness=randomness
            )
            name_masked = (await _apply(connection, before, writing)).name_masked
        await store.decide_correction(connection, correction_id, state, opter=opter, cause=cause, now=now)
        return SeenCorrection(replace(before, state=state, opter=opter, cause=cause, decided_at=now), name_masked)


async def _apply(connection: AsyncConnection, correction: Correction, writing: Writing) -> Person:
    """Changes the record as the person asked."""
    wanted, psn_no = correction.wanted, correction.psn_no
    if wanted.kind is not None:
        certificate = parsed_certificate(wanted.kind, wanted.value, today=business_date(writing.now))
        return await apply_certificate(
            connection, psn_no=psn_no, certificate=certificate, wanted=particulars.Wanted(), writing=writing
        )
    match wanted.field:
        case CorrectionField.NAME:
            update = particulars.Wanted(name=wanted.value)
        case CorrectionField.BIRTH_DATE:
            update = particulars.Wanted(brdy=date.fromisoformat(wanted.value))
        case CorrectionField.SEX:
            update = particulars.Wanted(sex=Sex(wanted.value))
        case CorrectionField.CERTIFICATE:
            raise RuntimeError("a certificate is wanted without its kind; the table does not hold such a row")
        case _:
            assert_never(wanted.field)
    return await apply_update(connection, psn_no=psn_no, wanted=update, writing=writing)


async def _recorded(connection: AsyncConnection, person: Person, seals: Seals, *, today: date) -> Recorded:
    sealed = await people.sealed_person(connection, person.psn_no)
    certificate = parsed_certificate(sealed.kind, certno_of(sealed, seals=seals), today=today)
    return Recorded(certificate, name_of(sealed, seals=seals), person.brdy, person.sex)


def _known(found: SealedCorrection | None) -> SealedCorrection:
    if found is None:
        raise Failure(Kind.NOT_FOUND, "CORRECTION_UNKNOWN", field="correction_id")
    return found


def opened_value(correction_id: UUID, value: Sealed, *, seals: Seals) -> str:
    """What somebody asked for, read."""
    return seals.open(value, place=_place(correction_id)).decode()


def _opened(sealed: SealedCorrection, seals: Seals) -> SeenCorrection:
    value = opened_value(sealed.correction_id, sealed.value, seals=seals)
    return SeenCorrection(sealed.opened(value), sealed.name_masked)


def _place(correction_id: UUID) -> str:
    return f"corrections/{correction_id}/value"
