"""The ids that a population's rows have in common."""

from __future__ import annotations

import re
from uuid import UUID

import pytest

from bench import floor, past, rows
from bench.population import Population, authorisation_id, authorisation_in_sql, utc_now


@pytest.mark.parametrize(("family", "place"), [(0, 0), (7, 2), (11_999, 1)])
def test_an_authorisation_has_the_same_id_in_sql_and_in_python(family: int, place: int) -> None:
    """Its head as it stands in the expression, its tail as the expression computes it."""
    found = re.fullmatch(r"'([-0-9a-f]+)' \|\| lpad\(to_hex\((\d+) \* 4 \+ (\d)\), 12, '0'\)",
                         authorisation_in_sql(str(family), place))  # fmt: skip
    assert found is not None
    head, number, plus = found.groups()
    assert UUID(f"{head}{int(number) * 4 + int(plus):012x}") == authorisation_id(family, place)


def test_statements_know_the_year_they_are_sent_in() -> None:
    """Those of the peers, of the floor and of the past, as an account's row has it."""
    texts = [rows.DECIDE, floor.script(Population()), past._coordinator(Population())[0]]
    years = [set(re.findall(r", (\d{4}), false\]", text)) for text in texts]
    assert years == [{str(utc_now().year)}] * 3
