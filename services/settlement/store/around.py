"""What is known around the patients at the desks: one statement, however many of them there are.

All of it is read in one moment: of whom identity merges meanwhile, either the version of the year is another or the
merger is known here (domain §1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from kernel.ids import FixmedinsCode, PsnNo
from kernel.values import value
from services.settlement.domain.credential import SigningKey
from services.settlement.domain.visit import Institution, KnownBinding, KnownPerson, Terminal
from services.settlement.store.plans import PATIENT_COLUMNS, PatientYear, patient_year_in
from services.settlement.store.projections import (
    BINDING_COLUMNS,
    INSTITUTION_COLUMNS,
    PERSON_COLUMNS,
    bindings_in,
    institution_in,
    people_in,
)

_AROUND: Final = f"""
SELECT (SELECT ROW ({INSTITUTION_COLUMNS.format(now="q.now")})
        FROM institutions AS i
        LEFT JOIN terminals AS t ON t.fixmedins_code = q.fixmedins_code AND t.terminal_no = q.terminal_no
        WHERE i.fixmedins_code = q.fixmedins_code),
       ROW ({PATIENT_COLUMNS.format(psn_no="q.psn_no", year="q.year")}),
       ARRAY(SELECT ROW ({BINDING_COLUMNS})
             FROM (SELECT DISTINCT ON (funder_psn_no) {BINDING_COLUMNS}
                   FROM bindings WHERE beneficiary_psn_no = q.psn_no
                   ORDER BY funder_psn_no, bound_at DESC, binding_id DESC) AS latest),
       ARRAY(SELECT ROW ({PERSON_COLUMNS.format(now="q.now")})
             FROM persons AS p LEFT JOIN enrolments AS e ON e.psn_no = ANY (ARRAY[p.psn_no])
             WHERE p.psn_no = ANY (
                 q.psn_no || ARRAY(SELECT funder_psn_no FROM bindings WHERE beneficiary_psn_no = q.psn_no))),
       (SELECT ROW (public_key, not_before_at, not_after_at) FROM signing_keys WHERE kid = q.kid)
FROM unnest($1::text[], $2::text[], $3::text[], $4::smallint[], $5::timestamptz[], $6::text[])
     WITH ORDINALITY AS q (fixmedins_code, terminal_no, psn_no, year, now, kid, n)
ORDER BY q.n"""  # noqa: S608  Constants.


@value
class AskedAround:
    """A patient at a desk; ``kid`` names the key of his token."""

    fixmedins_code: FixmedinsCode
    terminal_no: str
    psn_no: PsnNo
    year: int
    now: datetime
    """For which sanctions are judged."""
    kid: str


@value
class Around:
    """What the projections say around one patient; None and nothing of whom and what they do not know."""

    institution: Institution | None
    terminal: Terminal | None
    patient_year: PatientYear
    bindings: list[KnownBinding]
    people: Mapping[PsnNo, KnownPerson]
    """The patient and whoever ever paid for him."""
    key: SigningKey | None


async def around(connection: Any, asked: Sequence[AskedAround]) -> list[Around]:  # noqa: ANN401  Untyped driver.
    """What is known around each of them, in the order asked."""
    columns = [
        [it.fixmedins_code for it in asked],
        [it.terminal_no for it in asked],
        [it.psn_no for it in asked],
        [it.year for it in asked],
        [it.now for it in asked],
        [it.kid for it in asked],
    ]
    rows = await connection.fetch(_AROUND, *columns)
    return [_around(it, row) for it, row in zip(asked, rows, strict=True)]


def _around(asked: AskedAround, row: Any) -> Around:  # noqa: ANN401  Untyped driver.
    of_institution, of_year, bindings, people, key = row
    institution, terminal = institution_in(of_institution, asked.fixmedins_code, asked.terminal_no)
    return Around(
        institution,
        terminal,
        patient_year_in(of_year),
        bindings_in(bindings),
        people_in(people),
        None if key is None else SigningKey(asked.kid, *key),
    )
