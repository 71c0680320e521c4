"""SQL of the projections: newer versions in; out what is known of people, institutions, bindings, keys."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, array, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import AdmDvs, AuthorisationId, FixmedinsCode, PsnNo
from kernel.policy import CareLevel
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

Told = TypeVar("Told")
Key = TypeVar("Key", bound=Hashable)

IN_SERVICE: Final = "ACTIVE"
OUT_OF_SERVICE: Final = "RETIRED"
BEFORE_A_RESTORE: Final = 0
"""The version of what was known before identity was restored: the next word counts, whatever its version."""


async def save_people(
    connection: AsyncConnection, told: Sequence[tuple[ProjectedPerson, int]]
) -> list[ProjectedPerson]:
    """These people, their enrolments and sanctions, each as of its version; nothing of one known as new or newer.

    Those of them that were saved.
    """
    people = _newest(told, lambda person: person.psn_no)
    rows = [
        {
            "psn_no": person.psn_no,
            "version": version,
            "name_masked": person.name_masked,
            "brdy": person.brdy,
            "merged_into": person.merged_into,
            "deceased": person.deceased,
        }
        for person, version in people.values()
    ]
    saved = await _save(connection, PERSONS, rows)
    newer = [people[row.psn_no][0] for row in saved]
    enrolments = [
        {
            "psn_no": person.psn_no,
            "insutype": enrolment.insutype,
            "insuplc_admdvs": enrolment.insuplc_admdvs,
            "psn_insu_stas": enrolment.psn_insu_stas,
            "psn_type": enrolment.psn_type,
        }
        for person in newer
        for enrolment in person.enrolments
    ]
    sanctions = [
        {
            "sanction_id": sanction.sanction_id,
            "psn_no": person.psn_no,
            "from_at": sanction.from_at,
            "to_at": sanction.to_at,
        }
        for person in newer
        for sanction in person.sanctions
    ]
    await _replace(connection, ENROLMENTS.c.psn_no, [person.psn_no for person in newer], enrolments)
    await _replace(connection, SANCTIONS.c.psn_no, [row.psn_no for row in saved if _counts_on(row)], sanctions)
    return newer


async def save_institutions(connection: AsyncConnection, told: Sequence[tuple[ProjectedInstitution, int]]) -> None:
    """These institutions and their sanctions, as above."""
    institutions = _newest(told, lambda each: each.institution.fixmedins_code)
    rows = [
        {
            "fixmedins_code": each.institution.fixmedins_code,
            "version": version,
            "state": each.institution.state.value,
            "wallet_capable": each.institution.wallet_capable,
            "inpatient": each.institution.inpatient,
            "agreement_from": each.institution.agreement_from,
            "agreement_to": each.institution.agreement_to,
            "level": None if each.institution.level is None else each.institution.level.value,
        }
        for each, version in institutions.values()
    ]
    saved = await _save(connection, INSTITUTIONS, rows)
    newer = [institutions[row.fixmedins_code][0] for row in saved]
    sanctions = [
        {
            "sanction_id": sanction.sanction_id,
            "fixmedins_code": each.institution.fixmedins_code,
            "from_at": sanction.from_at,
            "to_at": sanction.to_at,
        }
        for each in newer
        for sanction in each.sanctions
    ]
    codes = [row.fixmedins_code for row in saved if _counts_on(row)]
    await _replace(connection, INSTITUTION_SANCTIONS.c.fixmedins_code, codes, sanctions)


async def save_terminals(connection: AsyncConnection, told: Sequence[tuple[Terminal, int]]) -> None:
    """These terminals, as above."""
    rows = [
        {
            "fixmedins_code": terminal.fixmedins_code,
            "terminal_no": terminal.terminal_no,
            "version": version,
            "state": IN_SERVICE if terminal.in_service else OUT_OF_SERVICE,
            "sign_no": terminal.sign_no,
            "sign_ends_at": terminal.sign_ends_at,
        }
        for terminal, version in _newest(told, lambda each: (each.fixmedins_code, each.terminal_no)).values()
    ]
    await _save(connection, TERMINALS, rows)


async def save_signing_keys(connection: AsyncConnection, told: Sequence[tuple[SigningKey, int]]) -> None:
    """These keys, as above."""
    rows = [
        {
            "kid": key.kid,
            "version": version,
            "public_key": key.public_key,
            "not_before_at": key.not_before,
            "not_after_at": key.not_after,
        }
        for key, version in _newest(told, lambda each: each.kid).values()
    ]
    await _save(connection, SIGNING_KEYS, rows)


async def save_bindings(connection: AsyncConnection, told: Sequence[tuple[ProjectedBinding, int]]) -> None:
    """These bindings, as above."""
    rows = [
        {
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
        for binding, version in _newest(told, lambda each: each.binding_id).values()
    ]
    await _save(connection, BINDINGS, rows)


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
UPDATE {table} SET version = {BEFORE_A_RESTORE}
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


INSTITUTION_COLUMNS: Final = """i.state, i.wallet_capable, i.inpatient, i.agreement_from, i.agreement_to, i.level,
       EXISTS (SELECT FROM institution_sanctions AS s
               WHERE s.fixmedins_code = ANY (ARRAY[i.fixmedins_code]) AND s.from_at <= {now} AND {now} < s.to_at),
       t.state, t.sign_no, t.sign_ends_at"""
_INSTITUTION: Final = f"""
SELECT {INSTITUTION_COLUMNS.format(now="$2")}
FROM institutions AS i
LEFT JOIN terminals AS t ON t.fixmedins_code = $1 AND t.terminal_no = $3
WHERE i.fixmedins_code = $1"""  # noqa: S608  Constants.
BINDING_COLUMNS: Final = "funder_psn_no, state, cause, relation, deduct_order, bound_at, authorisation_id, funder_area"
_BINDINGS_OF: Final = f"""
SELECT DISTINCT ON (funder_psn_no) {BINDING_COLUMNS}
FROM bindings WHERE beneficiary_psn_no = $1 ORDER BY funder_psn_no, bound_at DESC, binding_id DESC"""  # noqa: S608  As above.
PERSON_COLUMNS: Final = """p.psn_no, p.name_masked, p.merged_into, p.deceased, p.brdy, e.insutype, e.insuplc_admdvs,
       e.psn_insu_stas, e.psn_type,
       EXISTS (SELECT FROM sanctions AS s
               WHERE s.psn_no = ANY (ARRAY[p.psn_no]) AND s.from_at <= {now} AND {now} < s.to_at)"""
_PEOPLE: Final = f"""
SELECT {PERSON_COLUMNS.format(now="$2")}
FROM persons AS p LEFT JOIN enrolments AS e ON e.psn_no = ANY (ARRAY[p.psn_no]) WHERE p.psn_no = ANY($1::text[])"""  # noqa: S608  As above.
_MERGED_INTO: Final = "SELECT merged_into FROM persons WHERE psn_no = $1 FOR SHARE"
_DOUBLES: Final = "SELECT psn_no FROM persons WHERE merged_into = $1 ORDER BY psn_no"
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
    return institution_in(row, fixmedins_code, terminal_no)


def institution_in(
    row: Sequence[Any] | None, fixmedins_code: FixmedinsCode, terminal_no: str
) -> tuple[Institution | None, Terminal | None]:
    """What stands in the columns of an institution and its terminal; none and none where there is no row."""
    if row is None:
        return None, None
    state, wallet_capable, inpatient, agreement_from, agreement_to, level, sanctioned, *of_terminal = row
    institution = Institution(
        fixmedins_code,
        InstitutionState(state),
        wallet_capable,
        inpatient=inpatient,
        agreement_from=agreement_from,
        agreement_to=agreement_to,
        sanctioned=sanctioned,
        level=None if level is None else CareLevel(level),
    )
    terminal_state, sign_no, sign_ends_at = of_terminal
    if terminal_state is None:
        return institution, None
    return institution, Terminal(fixmedins_code, terminal_no, terminal_state == IN_SERVICE, sign_no, sign_ends_at)


async def bindings_of(connection: Any, beneficiary: PsnNo) -> list[KnownBinding]:  # noqa: ANN401  Untyped driver.
    """The latest binding of each funder with this beneficiary, ended ones too."""
    return bindings_in(await connection.fetch(_BINDINGS_OF, beneficiary))


def bindings_in(rows: Sequence[Sequence[Any]]) -> list[KnownBinding]:
    """The bindings in rows of their columns."""
    return [
        KnownBinding(
            funder=PsnNo(funder),
            state=BindingState(state),
            cause=cause,
            relation=relation,
            order=order,
            bound_at=bound_at,
            authorisation_id=None if authorisation_id is None else AuthorisationId(authorisation_id),
            funder_area=AdmDvs(area),
        )
        for funder, state, cause, relation, order, bound_at, authorisation_id, area in rows
    ]


async def people(connection: Any, psn_nos: Collection[PsnNo], *, now: datetime) -> Mapping[PsnNo, KnownPerson]:  # noqa: ANN401  Untyped driver.
    """Those of the persons that are known, with their enrolments, and whether a sanction is in force at ``now``."""
    return people_in(await connection.fetch(_PEOPLE, list(psn_nos), now))


def people_in(rows: Sequence[Sequence[Any]]) -> dict[PsnNo, KnownPerson]:
    """The persons in rows of their columns, of which there is one for each enrolment."""
    found: dict[PsnNo, KnownPerson] = {}
    for psn_no, name_masked, merged_into, deceased, brdy, insutype, area, psn_insu_stas, psn_type, sanctioned in rows:
        enrolments: tuple[Enrolment, ...] = ()
        if insutype is not None:
            enrolments = (Enrolment(insutype, AdmDvs(area), psn_insu_stas, psn_type),)
        if psn_no in found:
            enrolments = (*found[psn_no].enrolments, *enrolments)
        found[psn_no] = KnownPerson(psn_no, name_masked, enrolments, sanctioned, merged_into, deceased, brdy)
    return found


async def locked_merged_into(connection: Any, psn_no: PsnNo) -> PsnNo | None:  # noqa: ANN401  Untyped driver.
    """The number that counts instead of this one, if it is a double; nobody merges it until the transaction ends."""
    found: PsnNo | None = await connection.fetchval(_MERGED_INTO, psn_no)
    return found


async def numbers_of(connection: Any, psn_no: PsnNo) -> list[PsnNo]:  # noqa: ANN401  Untyped driver.
    """This number, and those that identity has found to be doubles of it."""
    return [psn_no, *(PsnNo(row["psn_no"]) for row in await connection.fetch(_DOUBLES, psn_no))]


async def find_signing_key(connection: Any, kid: str) -> SigningKey | None:  # noqa: ANN401  Untyped driver.
    """The key that identity announced under this name."""
    row = await connection.fetchrow(_SIGNING_KEY, kid)
    return None if row is None else SigningKey(kid, *row)


def _newest(told: Sequence[tuple[Told, int]], key_of: Callable[[Told], Key]) -> dict[Key, tuple[Told, int]]:
    """Of each aggregate the newest alone: one statement changes a row once."""
    newest: dict[Key, tuple[Told, int]] = {}
    for fact, version in told:
        key = key_of(fact)
        if key not in newest or newest[key][1] < version:
            newest[key] = fact, version
    return newest


def _names(table: sa.Table) -> list[str]:
    return [each.name for each in table.columns]


def _newer_rows(table: sa.Table) -> sa.Executable:
    """Writes the rows of one array for each column that are newer than what stands there; answers their keys.

    In the order of the keys, so that two who write the same rows do not wait for each other.
    """
    told = (
        sa.func.unnest(
            *(sa.cast(sa.bindparam(f"of_{each.name}"), ARRAY(each.type)) for each in table.columns), type_=sa.Text
        )
        .table_valued(*(sa.column(each.name, each.type) for each in table.columns), name="told")
        .render_derived()
    )
    keys = [each.name for each in table.primary_key]
    statement = insert(table).from_select(_names(table), sa.select(told).order_by(*(told.c[key] for key in keys)))
    return statement.on_conflict_do_update(
        index_elements=keys,
        set_={name: statement.excluded[name] for name in _names(table) if name not in keys},
        where=table.c.version < statement.excluded.version,
    ).returning(*table.primary_key, _version_before(table))


def _version_before(table: sa.Table) -> sa.Label[int | None]:
    """As the statement found it: what it reads does not show what it writes."""
    before = table.alias("before")
    written = {key.name: sa.literal_column(f"{table.name}.{key.name}", key.type) for key in table.primary_key}
    same = (before.c[name] == sa.any_(array([column])) for name, column in written.items())
    return sa.select(before.c.version).where(*same).scalar_subquery().label("version_before")


def _counts_on(row: sa.Row[Any]) -> bool:
    """Whether what stands of it goes with its old version.

    What counts from before a restore may be a sanction that identity has lost: it stands until identity, told of it
    anew, says more of whom it is imposed on.
    """
    return bool(row.version_before != BEFORE_A_RESTORE)


_NEWER_ROWS: Final = {table: _newer_rows(table) for table in (PERSONS, INSTITUTIONS, TERMINALS, SIGNING_KEYS, BINDINGS)}


async def _save(
    connection: AsyncConnection, table: sa.Table, rows: Sequence[Mapping[str, object]]
) -> Sequence[sa.Row[Any]]:
    """Writes those of the rows whose version is newer than what stands there, in one statement.

    Their keys, and the version that stood there.
    """
    if not rows:
        return []
    columns = {f"of_{name}": [row[name] for row in rows] for name in _names(table)}
    return (await connection.execute(_NEWER_ROWS[table], columns)).all()


async def _replace(
    connection: AsyncConnection,
    owner: sa.Column[Any],
    owners: Collection[str],
    rows: Sequence[Mapping[str, object]],
) -> None:
    """What stands under these owners goes, and these rows come."""
    if owners:
        of_these = sa.any_(sa.cast(sa.literal(sorted(owners), ARRAY(sa.Text)), ARRAY(sa.Text)))
        await connection.execute(sa.delete(owner.table).where(owner == of_these))
    if rows:
        statement = insert(owner.table)
        keys = [each.name for each in owner.table.primary_key]
        changed = {name: statement.excluded[name] for name in _names(owner.table) if name not in keys}
        await connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed), rows)
