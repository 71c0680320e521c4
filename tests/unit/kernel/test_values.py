"""Values that are made by the thousand behave as frozen dataclasses do, but for what mypy looks after."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kernel.values import value


@value
class Point:
    """A value as any other."""

    x: int
    y: int = 0


@value
class Named:
    """A value whose hash is its own."""

    name: str
    rest: tuple[int, ...] = ()

    def __hash__(self) -> int:
        return 7


def test_values_are_equal_and_hashed_by_their_fields() -> None:
    """Two made alike are one key; a copy with another field is another."""
    assert Point(1) == Point(1, 0)
    assert {Point(1): "found"}[Point(1, 0)] == "found"
    assert replace(Point(1), y=2) == Point(1, 2) != Point(1)


def test_a_hash_of_the_classs_own_stays() -> None:
    """It tells what is looked at first; equality still looks at every field."""
    assert hash(Named("a")) == 7
    assert Named("a") != Named("b")


def test_a_value_has_the_fields_that_were_written_and_no_others() -> None:
    """A name that is misspelt is refused while the program runs, too."""
    with pytest.raises(AttributeError):
        setattr(Point(1), "z", 3)  # noqa: B010  What mypy would refuse otherwise.
