"""A named server's URL leads to any of its databases."""

from __future__ import annotations

import pytest

from ops.embedded.databases import NamedServer


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("postgresql://u:p@db.example:5432/postgres", "postgresql://u:p@db.example:5432/gongji_family"),
        ("postgresql://u@/postgres?host=/run/pg", "postgresql://u@/gongji_family?host=/run/pg"),
        ("postgresql:///postgres?host=/run/pg", "postgresql:///gongji_family?host=/run/pg"),
        ("postgresql://db/x?sslmode=require", "postgresql://db/gongji_family?sslmode=require"),
    ],
)
def test_only_the_database_changes(given: str, expected: str) -> None:
    """User, host, port and options stay as they were given."""
    assert NamedServer(given).url("gongji_family") == expected


@pytest.mark.parametrize("name", ['x"; DROP TABLE y', "Gongji", "", "1a", "a" * 64])
async def test_an_odd_name_is_refused_before_anything_is_sent(name: str) -> None:
    """A database's name cannot carry SQL."""
    with pytest.raises(ValueError, match="a database name is lower case"):
        await NamedServer("postgresql://nowhere/x").create_database(name)
