"""Databases on one PostgreSQL server, made and dropped by name, whoever runs the server."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg

SUPERUSER: Final = "gongji"
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")


class Databases:
    """A server on which databases can be made; ``url`` tells how to reach one of them."""

    def url(self, database: str) -> str:
        """``postgresql://…`` of a database on this server, whether it exists yet or not."""
        raise NotImplementedError

    async def create_database(self, name: str, *, template: str | None = None) -> str:
        """Makes the database if it is not there, and tells its URL.

        It is empty, or a copy of ``template``, which nobody may be connected to just then.
        """
        source = "" if template is None else f' TEMPLATE "{_checked(template)}"'
        # Two at once: the loser sees the name taken, in the catalogue's index at the latest.
        with suppress(asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
            await self._execute(f'CREATE DATABASE "{_checked(name)}"{source}')
        return self.url(name)

    async def drop_database(self, name: str) -> None:
        """Drops the database if it is there, cutting whoever still uses it."""
        await self._execute(f'DROP DATABASE IF EXISTS "{_checked(name)}" WITH (FORCE)')

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self.url("postgres"))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


class NamedServer(Databases):
    """A server that runs already, reached by the URL of one of its databases; its user may create databases."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._parts = urlsplit(url)

    def url(self, database: str) -> str:
        """The URL it was given, with the database's name in place of its own."""
        # urlunsplit drops the empty authority's slashes in "postgresql:///x", so the path is put in by hand.
        rest = urlunsplit(("", "", "", self._parts.query, ""))
        return f"{self._parts.scheme}://{self._parts.netloc}/{database}{rest}"


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        message = f"a database name is lower case letters, digits and _, at most 63; got {name!r}"
        raise ValueError(message)
    return name
