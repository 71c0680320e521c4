"""Decodings, many in each statement: what is on record of desks and people, which codes were used, what was refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from kernel.ids import AdmDvs, PsnNo
from services.identity.domain.certificate import Sex
from services.identity.domain.decoding import Desk, Found, RefusedDecoding, Shown
from services.identity.domain.institution import InstitutionState, TerminalStanding, TerminalState
from services.identity.domain.person import Enrolment, InsuranceStatus, Insutype, Person
from services.identity.domain.sanction import Sanction

_READ: Final = """
SELECT i.state AS institution_state, i.agreement_from, i.agreement_to, t.state AS terminal_state, t.sign_ends_at,
    p.psn_no, p.name_masked, p.brdy, p.gend, p.version, p.death_date, p.merged_into, p.real_name_at,
    ARRAY(SELECT e.insutype || e.insuplc_admdvs || e.psn_insu_stas FROM enrolments e
        WHERE e.psn_no = a.psn_no ORDER BY e.insutype) AS enrolments,
    EXISTS (SELECT FROM sanctions s WHERE s.psn_no = a.psn_no) AS is_sanctioned
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS a (fixmedins_code, terminal_no, psn_no, position)
LEFT JOIN institutions i ON i.fixmedins_code = a.fixmedins_code
LEFT JOIN terminals t ON t.fixmedins_code = a.fixmedins_code AND t.terminal_no = a.terminal_no
LEFT JOIN persons p ON p.psn_no = a.psn_no
ORDER BY a.position"""
_SANCTIONS: Final = """
SELECT psn_no, sanction_id, from_at, to_at, basis_clause, decision_no, organ, lifted_at FROM sanctions
WHERE psn_no = ANY ($1::text[]) ORDER BY sanction_id"""
_USE: Final = """
WITH asked AS (
    SELECT * FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
        $10::text[], $11::bytea[], $12::text[], $13::text[], $14::text[]) AS a (jti, token_jti, psn_no,
        fixmedins_code, terminal_no, mdtrt_cert_type, business_type, mdtrt_id, shown_by, agent_sealed, agent_key_id,
        trace_id, caller)
), used AS (
    INSERT INTO used_codes (jti, token_jti, psn_no, fixmedins_code, terminal_no, mdtrt_cert_type, business_type,
        mdtrt_id, shown_by, agent_sealed, agent_key_id, used_at)
    SELECT jti, token_jti, psn_no, fixmedins_code, terminal_no, mdtrt_cert_type, business_type, mdtrt_id, shown_by,
        agent_sealed, agent_key_id, $1::timestamptz FROM asked ORDER BY jti
    ON CONFLICT (jti) DO NOTHING RETURNING token_jti
), looked AS (
    INSERT INTO lookups (psn_no, purpose, asked_by, trace_id, looked_up_at)
    SELECT asked.psn_no, $15::text, asked.caller, asked.trace_id, $1::timestamptz FROM asked JOIN used USING (token_jti)
)
SELECT token_jti FROM used"""
_USED_BY: Final = """
SELECT u.token_jti FROM unnest($1::uuid[], $2::uuid[]) AS a (jti, token_jti)
JOIN used_codes u ON u.jti = a.jti AND u.token_jti = a.token_jti"""
_REFUSED: Final = """
INSERT INTO refused_decodings AS r
    (minute, fixmedins_code, terminal_no, reason, psn_no, refusals, jti, first_at, last_at)
SELECT date_trunc('minute', $1::timestamptz), coalesce(i.fixmedins_code, ''), coalesce(t.terminal_no, ''), a.reason,
    a.psn_no, sum(a.refusals), (array_agg(a.jti) FILTER (WHERE a.jti IS NOT NULL))[1], $1::timestamptz, $1::timestamptz
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::bigint[])
    AS a (fixmedins_code, terminal_no, reason, psn_no, jti, refusals)
LEFT JOIN institutions i ON i.fixmedins_code = a.fixmedins_code
LEFT JOIN terminals t ON t.fixmedins_code = a.fixmedins_code AND t.terminal_no = a.terminal_no
GROUP BY 2, 3, 4, 5 ORDER BY 2, 3, 4, 5
ON CONFLICT (minute, fixmedins_code, terminal_no, reason, psn_no) DO UPDATE SET
    refusals = r.refusals + excluded.refusals, jti = coalesce(excluded.jti, r.jti),
    last_at = greatest(r.last_at, excluded.last_at)"""
_INSUTYPE: Final = slice(0, 3)
_AREA: Final = slice(3, 9)
_STATUS: Final = slice(9, None)
"""Where they stand in the word that ``_READ`` makes of an enrolment; the contract fixes the length of each."""


async def read(connection: Any, asked: Sequence[tuple[Desk, PsnNo | None]]) -> list[Found]:  # noqa: ANN401  Untyped driver.
    """What is on record of each desk and person, in the order asked."""
    rows = await connection.fetch(
        _READ,
        [desk.fixmedins_code for desk, _ in asked],
        [desk.terminal_no for desk, _ in asked],
        [psn_no for _, psn_no in asked],
    )
    sanctions = await _sanctions(connection, sorted({row["psn_no"] for row in rows if row["is_sanctioned"]}))
    return [_found(row, sanctions) for row in rows]


async def use(connection: Any, shown: Sequence[Shown], *, purpose: str, now: datetime) -> set[object]:  # noqa: ANN401  As above.
    """The ``token_jti`` of each that is the first use of its code; their look-ups are on record with them.

    No code may stand twice in ``shown``. Of two uses at once, the second waits for the first and then loses; codes are
    used in the order of their ids, so that two batches never wait for each other.
    """
    columns = zip(
        *(
            (
                each.jti,
                each.token_jti,
                each.psn_no,
                each.desk.fixmedins_code,
                each.desk.terminal_no,
                each.mdtrt_cert_type.value,
                each.business_type,
                each.mdtrt_id,
                each.shown_by,
                None if each.agent is None else each.agent.content,
                None if each.agent is None else each.agent.key_id,
                each.trace_id,
                each.desk.caller,
            )
            for each in shown
        ),
        strict=True,
    )
    rows = await connection.fetch(_USE, now, *map(list, columns), purpose)
    return {row["token_jti"] for row in rows}


async def used_by(connection: Any, shown: Sequence[Shown]) -> set[object]:  # noqa: ANN401  As above.
    """The ``token_jti`` of each that has used its code."""
    rows = await connection.fetch(_USED_BY, [each.jti for each in shown], [each.token_jti for each in shown])
    return {row["token_jti"] for row in rows}


async def keep_refused(connection: Any, refused: Sequence[RefusedDecoding], *, now: datetime) -> None:  # noqa: ANN401  As above.
    """Counts refusals: one row for each minute, desk, reason and person, so that a flood of rubbish stays small."""
    counted = Counter(
        (each.desk.fixmedins_code, each.desk.terminal_no, each.reason, each.psn_no or "") for each in refused
    )
    last = {
        (each.desk.fixmedins_code, each.desk.terminal_no, each.reason, each.psn_no or ""): each.jti for each in refused
    }
    columns = zip(*((*key, last[key], count) for key, count in counted.items()), strict=True)
    await connection.execute(_REFUSED, now, *map(list, columns))


async def _sanctions(connection: Any, psn_nos: list[str]) -> dict[str, list[Sanction]]:  # noqa: ANN401  As above.
    found: dict[str, list[Sanction]] = {}
    if psn_nos:
        for row in await connection.fetch(_SANCTIONS, psn_nos):
            sanction = Sanction(
                sanction_id=row["sanction_id"],
                from_at=row["from_at"],
                to_at=row["to_at"],
                basis_clause=row["basis_clause"],
                decision_no=row["decision_no"],
                organ=row["organ"],
                lifted_at=row["lifted_at"],
            )
            found.setdefault(row["psn_no"], []).append(sanction)
    return found


def _found(row: Any, sanctions: dict[str, list[Sanction]]) -> Found:  # noqa: ANN401  As above.
    state, agreement_from, agreement_to, terminal_state, sign_ends_at, psn_no, name, brdy, gend, version, *more = row
    death_date, merged_into, real_name_at, enrolments, _ = more
    standing = TerminalStanding(
        None if state is None else _INSTITUTION_STATES[state],
        agreement_from,
        agreement_to,
        None if terminal_state is None else _TERMINAL_STATES[terminal_state],
        sign_ends_at,
    )
    if psn_no is None:
        return Found(standing, None)
    person = Person(
        psn_no=PsnNo(psn_no),
        name_masked=name,
        brdy=brdy,
        sex=_SEXES[gend],
        enrolments=tuple(_enrolment(text) for text in enrolments),
        sanctions=tuple(sanctions.get(psn_no, ())),
        version=version,
        death_date=death_date,
        merged_into=merged_into,
        real_name_at=real_name_at,
    )
    return Found(standing, person)


def _enrolment(text: str) -> Enrolment:
    return Enrolment(_INSUTYPES[text[_INSUTYPE]], AdmDvs(text[_AREA]), _STATUSES[text[_STATUS]])


# By a look into a dict; asking an Enum for its member costs as much as all the rest of a row.
_INSTITUTION_STATES: Final = {each.value: each for each in InstitutionState}
_TERMINAL_STATES: Final = {each.value: each for each in TerminalState}
_SEXES: Final = {each.value: each for each in Sex}
_INSUTYPES: Final = {each.value: each for each in Insutype}
_STATUSES: Final = {each.value: each for each in InsuranceStatus}
