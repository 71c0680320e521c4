"""SQL of the projections: newer versions in; out what one PreSettle needs, in a few statements on one connection."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import AdmDvs, AuthorisationId, FixmedinsCode, PsnNo
from services.settlement.domain.credential import SigningKey
from services.settlement.domain.facts import ProjectedBinding, ProjectedPerson
from services.settlement.domain.visit import (
    BindingState,
    Enrolment,
    Institution,
    InstitutionState,
    KnownBinding,
    KnownPerson,
)
from services.settlement.tables.projections import (
    BINDINGS,
    ENROLMENTS,
    INSTITUTIONS,
    PERSONS,
    PROJECTION_SOURCES,
    SANCTIONS,
    SIGNING_KEYS,
)


async def save_person(connection: AsyncConnection, person: ProjectedPerson, version: int) -> None:
    """The person, enrolments and sanctions as of this version; nothing if a newer or the same is known."""
    values = {"psn_no": person.psn_no, "version": version, "name_masked": person.name_masked, "brdy": person.brdy}
    if not await _save(connection, PERSONS, values, key="psn_no"):
        return
    for table in (ENROLMENTS, SANCTIONS):
        await connection.execute(sa.delete(table).where(table.c.psn_no == person.psn_no))
    if person.enrolments:
        enrolments = [
            {
                "psn_no": person.psn_no,
                "insutype": enrolment.insutype,
                "insuplc_admdvs": enrolment.insuplc_admdvs,
                "psn_insu_stas": enrolment.psn_insu_stas,
            }
            for enrolment in person.enrolments
        ]
        await connection.execute(sa.insert(ENROLMENTS), enrolments)
    if person.sanctions:
        sanctions = [
            {
                "sanction_id": sanction.sanction_id,
                "psn_no": person.psn_no,
                "from_at": sanction.from_at,
                "to_at": sanction.to_at,
            }
            for sanction in person.sanctions
        ]
        await connection.execute(sa.insert(SANCTIONS), sanctions)


async def save_institution(connection: AsyncConnection, institution: Institution, version: int) -> None:
    """The institution as of this version, unless a newer or the same is known."""
    values = {
        "fixmedins_code": institution.fixmedins_code,
        "version": version,
        "state": institution.state.value,
        "wallet_capable": institution.wallet_capable,
    }
    await _save(connection, INSTITUTIONS, values, key="fixmedins_code")


async def save_signing_key(connection: AsyncConnection, key: SigningKey, version: int) -> None:
    """The key as of this version, unless a newer or the same is known."""
    values = {
        "kid": key.kid,
        "version": version,
        "public_key": key.public_key,
        "not_before_at": key.not_before,
        "not_after_at": key.not_after,
    }
    await _save(connection, SIGNING_KEYS, values, key="kid")


async def save_binding(connection: AsyncConnection, binding: ProjectedBinding, version: int) -> None:
    """The binding as of this version, unless a newer or the same is known."""
    values = {
        "binding_id": binding.binding_id,
        "version": version,
        "funder_psn_no": binding.funder_psn_no,
        "beneficiary_psn_no": binding.beneficiary_psn_no,
        "state": binding.state.value,
        "cause": binding.cause,
        "relation": binding.relation,
        "authorised_fen": binding.authorised_fen,
        "deduct_order": binding.deduct_order,
        "bound_at": binding.bound_at,
        "authorisation_id": binding.authorisation_id,
        "funder_area": binding.funder_area,
    }
    await _save(connection, BINDINGS, values, key="binding_id")


async def snapshot_taken(connection: AsyncConnection, source: str) -> bool:
    """Whether this source's snapshot has been read whole."""
    found = await connection.scalar(sa.select(PROJECTION_SOURCES.c.source).where(PROJECTION_SOURCES.c.source == source))
    return found is not None


async def note_snapshot(connection: AsyncConnection, source: str) -> None:
    """From now on this source's stream suffices."""
    statement = insert(PROJECTION_SOURCES).values(source=source, snapshot_at=sa.func.now())
    await connection.execute(statement.on_conflict_do_nothing())


_INSTITUTION: Final = "SELECT state, wallet_capable FROM institutions WHERE fixmedins_code = $1"
_BINDINGS_OF: Final = """
SELECT DISTINCT ON (funder_psn_no) funder_psn_no, state, cause, relation, deduct_order, bound_at, authorisation_id,
       funder_area
FROM bindings WHERE beneficiary_psn_no = $1 ORDER BY funder_psn_no, bound_at DESC, binding_id DESC"""
_PEOPLE: Final = """
SELECT p.psn_no, p.name_masked, e.insutype, e.insuplc_admdvs, e.psn_insu_stas,
       EXISTS (SELECT FROM sanctions AS s
               WHERE s.psn_no = ANY (ARRAY[p.psn_no]) AND s.from_at <= $2 AND $2 < s.to_at) AS sanctioned
FROM persons AS p LEFT JOIN enrolments AS e ON e.psn_no = ANY (ARRAY[p.psn_no]) WHERE p.psn_no = ANY($1::text[])"""
_SIGNING_KEY: Final = "SELECT public_key, not_before_at, not_after_at FROM signing_keys WHERE kid = $1"


async def find_institution(connection: Any, fixmedins_code: FixmedinsCode) -> Institution | None:  # noqa: ANN401  Untyped driver.
    """The institution as identity last told of it."""
    row = await connection.fetchrow(_INSTITUTION, fixmedins_code)
    if row is None:
        return None
    return Institution(fixmedins_code, InstitutionState(row["state"]), row["wallet_capable"])


async def bindings_of(connection: Any, beneficiary: PsnNo) -> list[KnownBinding]:  # noqa: ANN401  Untyped driver.
    """The latest binding of each funder with this beneficiary, ended ones too."""
    return [
        KnownBinding(
            funder=PsnNo(row["funder_psn_no"]),
            state=BindingState(row["state"]),
            cause=row["cause"],
            relation=row["relation"],
            order=row["deduct_order"],
            bound_at=row["bound_at"],
            authorisation_id=None if row["authorisation_id"] is None else AuthorisationId(row["authorisation_id"]),
            funder_area=AdmDvs(row["funder_area"]),
        )
        for row in await connection.fetch(_BINDINGS_OF, beneficiary)
    ]


async def people(connection: Any, psn_nos: Collection[PsnNo], *, now: datetime) -> Mapping[PsnNo, KnownPerson]:  # noqa: ANN401  Untyped driver.
    """Those of the persons that are known, with their enrolments, and whether a sanction is in force at ``now``."""
    found: dict[PsnNo, KnownPerson] = {}
    for row in await connection.fetch(_PEOPLE, list(psn_nos), now):
        psn_no = PsnNo(row["psn_no"])
        enrolments: tuple[Enrolment, ...] = ()
        if row["insutype"] is not None:
            enrolments = (Enrolment(row["insutype"], AdmDvs(row["insuplc_admdvs"]), row["psn_insu_stas"]),)
        if psn_no in found:
            enrolments = (*found[psn_no].enrolments, *enrolments)
        found[psn_no] = KnownPerson(psn_no, row["name_masked"], enrolments, row["sanctioned"])
    return found


async def find_signing_key(connection: Any, kid: str) -> SigningKey | None:  # noqa: ANN401  Untyped driver.
    """The key that identity announced under this name."""
    row = await connection.fetchrow(_SIGNING_KEY, kid)
    return None if row is None else SigningKey(kid, row["public_key"], row["not_before_at"], row["not_after_at"])


async def _save(connection: AsyncConnection, table: sa.Table, values: Mapping[str, object], *, key: str) -> bool:
    """Writes the row if its version is newer than what stands there; whether it was."""
    statement = insert(table).values(dict(values))
    statement = statement.on_conflict_do_update(
        index_elements=[key],
        set_={name: statement.excluded[name] for name in values if name != key},
        where=table.c.version < statement.excluded.version,
    )
    written = await connection.execute(statement.returning(table.c[key]))
    return written.first() is not None
