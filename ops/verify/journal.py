"""I7: what a terminal was told, as its journal keeps it, is what the coordinator has stored."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import asyncpg

from ops.verify.report import Report

_TOLD: Final = "SELECT fixmedins_code, infno, msgid, state, setl_id, refund_setl_id FROM requests ORDER BY written_at"
_STORED: Final = """
    SELECT p.payment_id::text, p.kind, p.state, r.payment_id::text AS refund_id
      FROM payments p LEFT JOIN payments r ON r.original_id = p.payment_id
     WHERE p.fixmedins_code = $1 AND p.infno = $2 AND p.msgid = $3
"""
_PAID: Final = frozenset({"COMMITTED", "DONE"})


async def check_journal(file: Path, coordinator: asyncpg.Connection, report: Report) -> None:
    """Every request of the journal against its row. ValueError if the file is no journal."""
    for told in _read(file):
        stored = await coordinator.fetchrow(_STORED, told["fixmedins_code"], told["infno"], told["msgid"])
        if told["state"] == "WRITTEN":
            report.open("requests without an answer in the journal", 1)
            continue
        report.checked("I7")
        if not _agrees(told, stored):
            found = "nothing" if stored is None else f"{stored['kind']} {stored['state']} {stored['payment_id']}"
            report.violated(
                "I7", f"{told['infno']} {told['msgid']}: told {told['state']} {told['setl_id']}, stored is {found}"
            )


def _agrees(told: sqlite3.Row, stored: asyncpg.Record | None) -> bool:
    """Whether what was said and what is stored can both be true now. States move on, but never back."""
    paid = stored is not None and stored["state"] in _PAID and stored["kind"] in {"SETTLE", "REFUND"}
    match told["state"]:
        case "SETTLED":
            refunded = not told["refund_setl_id"] or (
                stored is not None and stored["refund_id"] == told["refund_setl_id"]
            )
            return stored is not None and paid and stored["payment_id"] == told["setl_id"] and refunded
        case "REVERSED":
            return stored is not None and (not paid or stored["refund_id"] is not None)
        case _:  # REPLANNED, REFUSED: nothing was taken; a request refused at the door has no row.
            return not paid


def _read(file: Path) -> list[sqlite3.Row]:
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            return connection.execute(_TOLD).fetchall()
    except sqlite3.Error as error:
        raise ValueError(f"{file} is no terminal's journal: {error}") from None
