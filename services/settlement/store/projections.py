"""SQL of the projections: newer versions in; out what one PreSettle needs, in a few statements on one connection."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import AdmDvs, AuthorisationId, FixmedinsCode, PsnNo
from services.settlement.domain.credential import SigningKey
from services.settlement.domain.facts import Caught, ProjectedBinding, ProjectedInstitution, ProjectedPerson
from services.settlement.domain.visit import (
    BindingState,
    Enrolment,
    Institution,
    InstitutionState,
    KnownBinding,
    KnownPerson,
    Terminal,
)
from services.settlement.tables.projections import (
    BINDINGS,
    ENROLMENTS,
    INSTITUTION_SANCTIONS,
    INSTITUTIONS,
    PERSONS,
    PROJECTION_SOURCES,
    SANCTIONS,
    SIGNING_KEYS,
    TERMINALS,
)

IN_SERVICE: Final = "ACTIVE"
OUT_OF_SERVICE: Final = "RETIRED"


async def save_person(connection: AsyncConnection, person: ProjectedPerson, version: int) -> None:
    """The person, enrolments and sanctions as of this version; nothing if a newer or the same is known."""
    values = {"psn_no": person.psn_no, "version": version, "name_masked": person.name_masked, "brdy": person.brdy}
    if not await _save(connection, PERSONS, values, key=("psn_no",)):
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


async def save_institution(connection: AsyncConnection, told: ProjectedInstitution, version: int) -> None:
    """The institution and its sanctions as of this version, unless a newer or the same is known."""
    institution = told.institution
    values = {
        "fixmedins_code": institution.fixmedins_code,
        "version": version,
        "state": institution.state.value,
        "wallet_capable": institution.wallet_capable,
        "inpatient": institution.inpatient,
        "agreement_from": institution.agreement_from,
        "agreement_to": institution.agreement_to,
    }
    if not await _save(connection, INSTITUTIONS, values, key=("fixmedins_code",)):
        return
    code = INSTITUTION_SANCTIONS.c.fixmedins_code
    await connection.execute(sa.delete(INSTITUTION_SANCTIONS).where(code == institution.fixmedins_code))
    if told.sanctions:
        sanctions = [
            {
                "sanction_id": sanction.sanction_id,
                "fixmedins_code": institution.fixmedins_code,
                "from_at": sanction.from_at,
                "to_at": sanction.to_at,
            }
            for sanction in told.sanctions
        ]
        await connection.execute(sa.insert(INSTITUTION_SANCTIONS), sanctions)


async def save_terminal(connection: AsyncConnection, terminal: Terminal, version: int) -> None:
    """The terminal as of this version, unless a newer or the same is known."""
    values = {
        "fixmedins_code": terminal.fixmedins_code,
        "terminal_no": terminal.terminal_no,
        "version": version,
        "state": IN_SERVICE if terminal.in_service else OUT_OF_SERVICE,
        "sign_no": terminal.sign_no,
        "sign_ends_at": terminal.sign_ends_at,
    }
    await _save(connection, TERMINALS, values, key=("fixmedins_code", "terminal_no"))


async def save_signing_key(connection: AsyncConnection, key: SigningKey, version: int) -> None:
    """The key as of this version, unless a newer or the same is known."""
    values = {
        "kid": key.kid,
        "version": version,
        "public_key": key.public_key,
        "not_before_at": key.not_before,
        "not_after_at": key.not_after,
    }
    await _save(connection, SIGNING_KEYS, values, key=("kid",))


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
    await _save(connection, BINDINGS, values, key=("binding_id",))


async def snapshot_taken(connection: AsyncConnection, source: str) -> bool:
    """Whether this source's snapshot has been read whole."""
    found = await connection.scalar(sa.select(PROJECTION_SOURCES.c.source).where(PROJECTION_SOURCES.c.source == source))
    return found is not None


async def note_snapshot(connection: AsyncConnection, source: str) -> None:
    """From now on this source's stream suffices."""
    statement = insert(PROJECTION_SOURCES).values(source=source, snapshot_at=sa.func.now())
    await connection.execute(statement.on_conflict_do_nothing())


_HEARD: Final = """
INSERT INTO projection_freshness AS known (source, cursor, as_of, asked_at)
VALUES ($1, $2, $3, clock_timestamp() - make_interval(secs => $4))
ON CONFLICT (source) DO UPDATE SET
    cursor = greatest(known.cursor, excluded.cursor),
    as_of = greatest(known.as_of, excluded.as_of),
    asked_at = CASE WHEN known.asked_at > clock_timestamp() THEN excluded.asked_at
                    ELSE greatest(known.asked_at, excluded.asked_at) END"""
"""The greatest of each: what another replica has heard since is as true, unless the clock was set back meanwhile."""
_BEGIN_ANEW: Final = """
INSERT INTO projection_freshness (source, cursor, as_of, asked_at) VALUES ($1, 0, to_timestamp(0), to_timestamp(0))
ON CONFLICT (source) DO UPDATE SET cursor = 0"""
_PASSED: Final = {
    kind: f"""
UPDATE {table} SET version = 0
WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE version > 0 LIMIT $1))"""  # noqa: S608  Our own names.
    for kind, table in {
        "person": "persons",
        "institution": "institutions",
        "terminal": "terminals",
        "key": "signing_keys",
    }.items()
}
"""What identity tells of, by the kind of aggregate: no version of it counts as passed any more."""
OF_IDENTITY: Final = tuple(_PASSED)
_FRESHNESS: Final = """
SELECT cursor, extract(epoch FROM clock_timestamp() - asked_at)::float8 AS age_s
FROM projection_freshness WHERE source = $1"""


async def note_heard(connection: Any, source: str, caught: Caught, *, asked_s_ago: float) -> None:  # noqa: ANN401  Untyped driver.
    """Everything up to here stands in our tables; it was asked for so long ago."""
    await connection.execute(_HEARD, source, caught.cursor, caught.as_of, asked_s_ago)


async def forget_cursor(connection: Any, source: str) -> None:  # noqa: ANN401  Untyped driver.
    """The source is asked from its beginning the next time; how recently it was heard stays as it is."""
    await connection.execute(_BEGIN_ANEW, source)


async def forget_versions(connection: Any, kind: str, *, rows_max: int) -> int:  # noqa: ANN401  Untyped driver.
    """Whatever identity says next of an aggregate of this kind is newer; so many rows at once, how many there were."""
    said: str = await connection.execute(_PASSED[kind], rows_max)
    return int(said.rpartition(" ")[2])


async def heard(connection: Any, source: str) -> tuple[int, float] | None:  # noqa: ANN401  Untyped driver.
    """The cursor to go on from, and how many seconds ago the source was heard; None if it never was.

    Infinitely long ago if the clock says that it is to come.
    """
    row = await connection.fetchrow(_FRESHNESS, source)
    if row is None:
        return None
    # The clock went back since: nobody can tell for how long nothing was heard.
    return row["cursor"], row["age_s"] if row["age_s"] >= 0 else math.inf


_INSTITUTION: Final = """
SELECT i.state, i.wallet_capable, i.inpatient, i.agreement_from, i.agreement_to,
       EXISTS (SELECT FROM institution_sanctions AS s
               WHERE s.fixmedins_code = ANY (ARRAY[i.fixmedins_code]) AND s.from_at <= $2 AND $2 < s.to_at)
           AS sanctioned,
       t.state AS terminal_state, t.sign_no, t.sign_ends_at
FROM institutions AS i
LEFT JOIN terminals AS t ON t.fixmedins_code = $1 AND t.terminal_no = $3
WHERE i.fixmedins_code = $1"""
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


async def find_institution(
    connection: Any,  # noqa: ANN401  Untyped driver.
    fixmedins_code: FixmedinsCode,
    *,
    now: datetime,
    terminal_no: str = "",
) -> tuple[Institution | None, Terminal | None]:
    """The institution as identity last told of it, whether a sanction is in force at ``now``, and its terminal."""
    row = await connection.fetchrow(_INSTITUTION, fixmedins_code, now, terminal_no)
    if row is None:
        return None, None
    institution = Institution(
        fixmedins_code,
        InstitutionState(row["state"]),
        row["wallet_capable"],
        inpatient=row["inpatient"],
        agreement_from=row["agreement_from"],
        agreement_to=row["agreement_to"],
        sanctioned=row["sanctioned"],
    )
    if row["terminal_state"] is None:
        return institution, None
    in_service = row["terminal_state"] == IN_SERVICE
    return institution, Terminal(fixmedins_code, terminal_no, in_service, row["sign_no"], row["sign_ends_at"])


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


async def _save(
    connection: AsyncConnection, table: sa.Table, values: Mapping[str, object], *, key: tuple[str, ...]
) -> bool:
    """Writes the row if its version is newer than what stands there; whether it was."""
    statement = insert(table).values(dict(values))
    statement = statement.on_conflict_do_update(
        index_elements=list(key),
        set_={name: statement.excluded[name] for name in values if name not in key},
        where=table.c.version < statement.excluded.version,
    )
    written = await connection.execute(statement.returning(table.c.version))
    return written.first() is not None
