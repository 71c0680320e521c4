"""Rounds over a whole system: every ledger by itself, then coordinator and ledgers against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from uuid import UUID

import asyncpg

from chassis.db import DRIVER_ERRORS
from ops.places import Places
from ops.verify.across import Followed, check_across
from ops.verify.chain import check_chain
from ops.verify.claims import check_claims
from ops.verify.clearing import check_clearing
from ops.verify.days import check_days
from ops.verify.journal import check_journal
from ops.verify.ledger import Changed, Subject, changed_between, check_ledger, head_of
from ops.verify.report import Head, Report
from ops.verify.stays import check_stays
from ops.verify.years import check_years

CONNECT_MAX_S: Final = 5.0
STATEMENT_MAX_S: Final = 300.0
"""Only the sums over all authorisations come near it, and only in a ledger of very many payments."""
_NOT_IN_THIS_ROUND: Final = "not in a round that looks at changes only"


@dataclass
class _Seen:
    """How far a ledger was read: its newest entry, what was held, and the head of its chain."""

    entry_no: int
    held: frozenset[UUID]
    head: Head | None = None


@dataclass
class Audit:
    """Looks at one system again and again: whole, or at what has changed since the round before. Writes nothing.

    The system may go on working meanwhile; why nothing that merely moves is reported, the parts say themselves
    (``ledger``: one statement, one snapshot; ``across``: what cannot change back, in the right order).
    """

    places: Places
    journals: Sequence[Path] = ()
    anchors: Mapping[str, Head] = field(default_factory=dict)
    """Heads of chains by area that were kept elsewhere."""
    _seen: dict[str, _Seen] = field(default_factory=dict)
    _followed: Followed | None = None

    async def round(self, *, whole: bool = True) -> Report:
        """Every invariant, counted. The first round is whole in any case.

        A ledger that does not answer stops the audit of its own area only, and the next round is whole. Raises
        ``DRIVER_ERRORS`` if another database cannot be read, or one goes away meanwhile; ValueError if one
        is a copy of another.
        """
        report = Report()
        whole = whole or self._followed is None
        async with AsyncExitStack() as stack:
            coordinator = await _connected(stack, self.places.coordinator_url)
            ledgers = {}
            for area, url in sorted(self.places.ledger_urls.items()):
                try:
                    ledgers[area] = await _connected(stack, url)
                except DRIVER_ERRORS as problem:
                    report.unreadable[area] = f"{type(problem).__name__}: {problem}".splitlines()[0]
            seen, touched = {}, {}
            for area, ledger in ledgers.items():
                seen[area], touched[area] = await self._look_at(ledger, area, report, whole=whole)
            followed = await check_across(
                coordinator, ledgers, report, before=None if whole else self._followed, touched=touched
            )
            if whole:
                await check_clearing(coordinator, report)
                await check_years(coordinator, report)
                await check_stays(coordinator, report)
                await check_claims(coordinator, report)
                await check_days(coordinator, report)
            for journal in self.journals:
                await check_journal(journal, coordinator, report)
        if not self.journals:
            report.skipped["I7"] = "no terminal's journal was given (--journal FILE)"
        if not whole:
            for name in ("I10", "I11", "CLEARED", "YEAR", "STAY", "CLAIM"):
                report.skipped[name] = _NOT_IN_THIS_ROUND
        # Kept only now: a round that could not be finished, or not over everything, is done again.
        self._seen, self._followed = seen, None if report.unreadable else followed
        return report

    async def _look_at(
        self, ledger: asyncpg.Connection, area: str, report: Report, *, whole: bool
    ) -> tuple[_Seen, set[UUID]]:
        """One ledger by itself; how far it was read, and the payments and credits it has touched since."""
        before = self._seen.get(area, _Seen(0, frozenset()))
        entry_no = await head_of(ledger)
        changed = Changed() if whole else await changed_between(ledger, before.entry_no, entry_no, before.held)
        await check_ledger(ledger, area, report, changed=None if whole else changed)
        head = await check_chain(
            ledger, area, report, since=None if whole else before.head, anchor=self.anchors.get(area)
        )
        touched = {key[0] for subject in (Subject.SOURCE, Subject.BRANCH) for key in changed.keys[subject]}
        held = await ledger.fetch("SELECT payment_id FROM branches WHERE state = 'HELD'") if whole else None
        now_held = {row[0] for row in held} if held is not None else {key[0] for key in changed.keys[Subject.HOLD]}
        return _Seen(entry_no, frozenset(now_held), head), touched


async def verify(places: Places, *, journals: Sequence[Path] = (), anchors: Mapping[str, Head] | None = None) -> Report:
    """One whole round over everything: ConnectionError if a ledger does not answer. Nothing is written."""
    report = await Audit(places, journals, anchors or {}).round()
    if report.unreadable:
        raise ConnectionError(f"not every ledger could be read: {report.unreadable}")
    return report


async def _connected(stack: AsyncExitStack, url: str) -> asyncpg.Connection:
    connection = await asyncpg.connect(
        url,
        timeout=CONNECT_MAX_S,
        command_timeout=STATEMENT_MAX_S + CONNECT_MAX_S,
        server_settings={
            "application_name": "gongji-verify",
            "default_transaction_read_only": "on",
            "statement_timeout": str(int(STATEMENT_MAX_S * 1_000)),
            "jit": "off",
        },
    )
    stack.push_async_callback(connection.close)
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        raise ValueError("one of the databases is a standby: what it shows lags behind; give the primaries")
    return connection
