"""One run over a whole system: every ledger by itself, then coordinator and ledgers against each other."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg

from ops.places import Places
from ops.verify.across import check_across
from ops.verify.journal import check_journal
from ops.verify.ledger import check_ledger
from ops.verify.report import Report


async def verify(places: Places, *, journals: Sequence[Path] = ()) -> Report:
    """Every invariant, counted. The system may go on working meanwhile; nothing is written."""
    report = Report()
    async with AsyncExitStack() as stack:
        coordinator = await _connected(stack, places.coordinator_url)
        ledgers = {area: await _connected(stack, url) for area, url in places.ledger_urls.items()}
        for area, ledger in ledgers.items():
            # One snapshot for a ledger's own sums; none for the comparison across, whose order of reading matters.
            async with ledger.transaction(isolation="repeatable_read", readonly=True):
                await check_ledger(ledger, area, report)
        await check_across(coordinator, ledgers, report)
        for journal in journals:
            await check_journal(journal, coordinator, report)
    if not journals:
        report.skipped["I7"] = "no terminal's journal was given (--journal FILE)"
    return report


async def _connected(stack: AsyncExitStack, url: str) -> asyncpg.Connection:
    connection = await asyncpg.connect(url, server_settings={"default_transaction_read_only": "on"})
    stack.push_async_callback(connection.close)
    return connection
