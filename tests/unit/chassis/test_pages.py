"""Tokens of pages."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.rpc.pages import (
    PAGE_SIZE_DEFAULT,
    PAGE_SIZE_MAX,
    id_of,
    malformed,
    page_size,
    parts_of,
    token_of,
)
from kernel.failures import Failure, Kind

PART = st.text(st.characters(codec="ascii", exclude_characters="|", exclude_categories=["Cc"]), max_size=20)


@given(st.lists(PART, min_size=1, max_size=4))
def test_a_token_brings_back_what_was_put_into_it(parts: list[str]) -> None:
    """Whatever the parts are, the token gives the same ones, unless it says nothing at all."""
    token = token_of(*parts)
    assert parts_of(token, len(parts)) == (tuple(parts) if token else None)


@given(st.text(max_size=200), st.integers(1, 4))
def test_a_token_of_somebody_elses_making_is_refused_or_read(text: str, count: int) -> None:
    """Nothing but parts or the one refusal comes out of any text."""
    try:
        parts = parts_of(text, count)
    except Failure as failure:
        assert failure == malformed()  # noqa: PT017  Parts are as good an answer.
    else:
        assert parts is None or len(parts) == count


@pytest.mark.parametrize("token", ["!", "a", "AA=A", token_of("one"), "é", "AAAA"])
def test_a_foreign_token_is_refused(token: str) -> None:
    """No base64, another number of parts, control characters: refused by name."""
    with pytest.raises(Failure) as refused:
        parts_of(token, 2, field="page_token")
    assert refused.value == Failure(Kind.INVALID, "PAGE_TOKEN_MALFORMED", field="page_token")


def test_a_part_that_cannot_be_brought_back_is_an_error() -> None:
    """A part with the separator, or one that is too long, is our own mistake and seen at once."""
    with pytest.raises(ValueError, match="separator"):
        token_of("a|b")
    with pytest.raises(ValueError, match="longer"):
        token_of("a" * 200)


def test_a_page_has_the_usual_size_unless_asked() -> None:
    """0 is the usual size, and nobody gets more than the greatest."""
    assert [page_size(asked) for asked in (0, 1, PAGE_SIZE_MAX, PAGE_SIZE_MAX + 1)] == [
        PAGE_SIZE_DEFAULT,
        1,
        PAGE_SIZE_MAX,
        PAGE_SIZE_MAX,
    ]


def test_an_id_is_brought_back_and_nothing_else() -> None:
    """A token of one id gives that id, an empty one the first page, any other text the refusal."""
    assert id_of(token_of(str(UUID(int=7)))) == UUID(int=7)
    assert id_of("") is None
    with pytest.raises(Failure) as refused:
        id_of(token_of("seven"))
    assert refused.value == malformed()
