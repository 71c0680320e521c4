"""亲情账户: wards added with the faces of both, removed by either, and asked for when a code is issued."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from chassis.db import Database
from kernel.clock import business_date
from kernel.ids import PsnNo
from services.identity.domain import ward as rules
from services.identity.domain.attestation import Purpose, attestation_used
from services.identity.domain.holder import Holder, check_holder
from services.identity.domain.ward import Ward
from services.identity.operations import attestations, lookups
from services.identity.operations.kinship import verify_kinship
from services.identity.store import wards as store
from services.identity.store.holders import load_holder, load_holders
from services.identity.store.wards import WardChange

ADDED: Final = "WARD_ADDED"
LISTED: Final = "WARDS_LISTED"
"""Purposes in the audit."""


async def add_ward(
    *,
    database: Database,
    guardian: PsnNo,
    ward: PsnNo,
    guardian_attestation_id: UUID,
    ward_attestation_id: UUID | None,
    asked_by: str,
    now: datetime,
) -> Ward:
    """The ward. Added again he is added anew, with the faces shown now; the same request again changes nothing.

    Refusals in this order: as ``check_holder`` of each (with the field), WARD_NOT_RELATED, WARD_CONSENT_MISSING,
    WARDS_TOO_MANY; as ``check_use`` of the guardian's attestation (purpose ADD_WARD) and of the ward's (BE_WARD);
    ATTESTATION_USED (PRECONDITION) for faces that added somebody who was removed since.
    """
    async with lookups.refusals_on_record(database, purpose=ADDED, asked_by=asked_by, now=now) as met:
        met.add(ward)
        async with database.transaction() as connection:
            _check_both(await load_holders(connection, {guardian, ward}), guardian, ward)
        await _check_related(database, guardian=guardian, ward=ward, now=now)
    async with lookups.on_record(database, purpose=ADDED, asked_by=asked_by, now=now) as (connection, met):
        met.add(ward)
        holders = await load_holders(connection, {guardian, ward}, lock=True)
        _check_both(holders, guardian, ward)
        rules.check_consent(holders[ward].brdy, consented=ward_attestation_id is not None, today=business_date(now))
        known = await store.wards_of(connection, guardian)
        if all(each.ward_psn_no != ward for each in known):
            rules.check_room(len(known))
        used_for = f"ward:{guardian}/{ward}"
        faces = [
            await attestations.use(
                connection,
                attestation_id=guardian_attestation_id,
                psn_no=guardian,
                purpose=Purpose.ADD_WARD,
                used_for=used_for,
                now=now,
            )
        ]
        if ward_attestation_id is not None:
            faces.append(
                await attestations.use(
                    connection,
                    attestation_id=ward_attestation_id,
                    psn_no=ward,
                    purpose=Purpose.BE_WARD,
                    used_for=used_for,
                    now=now,
                )
            )
        if all(face.used_for is None for face in faces):
            await store.save_ward(
                connection,
                guardian,
                ward,
                guardian_attestation_id=guardian_attestation_id,
                ward_attestation_id=ward_attestation_id,
                now=now,
            )
            await store.note(connection, guardian, ward, WardChange.ADDED, asked_by=asked_by, now=now)
        elif not await store.stands_by(connection, guardian, ward, guardian_attestation_id, ward_attestation_id):
            raise attestation_used()
        return rules.known_ward(await store.load_ward(connection, guardian, ward))


async def remove_ward(*, database: Database, guardian: PsnNo, ward: PsnNo, asked_by: str, now: datetime) -> None:
    """The guardian may no longer show the ward's code; whoever has none, has none then as well."""
    async with database.transaction() as connection:
        if await store.delete_ward(connection, guardian, ward):
            await store.note(connection, guardian, ward, WardChange.REMOVED, asked_by=asked_by, now=now)


async def list_wards(*, database: Database, guardian: PsnNo, asked_by: str, now: datetime) -> list[Ward]:
    """A guardian's wards; as ``check_holder``. That they were looked up is on record."""
    async with lookups.on_record(database, purpose=LISTED, asked_by=asked_by, now=now) as (connection, met):
        met.add(guardian)
        check_holder(await load_holder(connection, guardian), field="guardian_psn_no")
        wards = await store.wards_of(connection, guardian)
        met.update({ward.ward_psn_no for ward in wards})
    return wards


async def check_shows(*, database: Database, guardian: PsnNo, ward: PsnNo, now: datetime) -> None:
    """Whether the guardian may show the ward's code at this moment.

    Refusals in this order: as ``check_holder`` of each, WARD_UNKNOWN, WARD_CONSENT_MISSING (he is fourteen by now),
    WARD_NOT_RELATED (the fact has fallen on which it rested).
    """
    today = business_date(now)
    async with database.transaction() as connection:
        _check_both(await load_holders(connection, {guardian, ward}), guardian, ward, ward_field="psn_no")
        known = rules.known_ward(await store.load_ward(connection, guardian, ward))
    rules.check_consent(known.brdy, consented=known.consented, today=today)
    await _check_related(database, guardian=guardian, ward=ward, now=now)


def _check_both(holders: dict[PsnNo, Holder], guardian: PsnNo, ward: PsnNo, *, ward_field: str = "ward_psn_no") -> None:
    check_holder(holders.get(guardian), field="guardian_psn_no")
    check_holder(holders.get(ward), field=ward_field)


async def _check_related(database: Database, *, guardian: PsnNo, ward: PsnNo, now: datetime) -> None:
    found = await verify_kinship(database=database, psn_no=ward, other_psn_no=guardian, now=now)
    rules.check_relation(found.relation)
