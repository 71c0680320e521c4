"""The chain over a ledger's entries: what was changed, removed or slipped in after it was sealed, found and named.

The ledger seals in SQL (``services.settlement.ledger.store.sealing`` says what a digest is taken of); here the digests
are taken again in code of its own, from the rows as they are. Sealed rows never change in a sound ledger, so what is
read may be read in any order and at any time. A block says with its digest that its entries are wrong, and with the
short digest of each which one; what an entry was before is tried out from what legs and neighbours say, and told only
if its digest proves it.

A chain that somebody has sealed anew from end to end agrees with itself. Only a head that was kept elsewhere (an
anchor) tells it from the one that was there before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from itertools import pairwise
from typing import Any, Final, TypeAlias

import asyncpg

from ops.verify.ledger import BELOW_ALL
from ops.verify.report import Head, Report

BLOCKS_TOGETHER: Final = 16
DIGEST_BYTES: Final = 8
"""Kept of each entry's digest in its block."""
SEAL_OVERDUE_S: Final = 60
"""Entries older than this that are in no block are told of: no process seals this ledger."""

_BLOCKS: Final = """
    SELECT block_no, last_entry_no, sealed_at, (extract(epoch FROM sealed_at) * 1000000)::bigint AS sealed_us,
           previous_digest, digest, first_entry_no, entry_nos, entry_digests
      FROM entry_blocks WHERE block_no > $1 ORDER BY block_no LIMIT $2
"""
_DIGEST_OF: Final = "SELECT digest FROM entry_blocks WHERE block_no = $1"
_ENTRIES: Final = """
    SELECT entry_no, source_id::text AS source_id, leg_no, kind, book, part, amount_fen, balance_after_fen,
           (extract(epoch FROM booked_at) * 1000000)::bigint AS booked_us, psn_no
      FROM entries WHERE entry_no > $1 AND entry_no <= $2 ORDER BY entry_no
"""
_UNSEALED: Final = """
    SELECT count(*) FROM (
        SELECT FROM entries WHERE entry_no > $1 AND booked_at < clock_timestamp() - make_interval(secs => $2)
        LIMIT 100000) overdue
"""
_LEG_AMOUNTS: Final = """
    SELECT past_fen, current_fen FROM branch_legs WHERE payment_id = $1::text::uuid AND (leg_no = $2 OR $2 = 0)
    UNION ALL
    SELECT past_fen, current_fen FROM credit_legs WHERE credit_id = $1::text::uuid AND (leg_no = $2 OR $2 = 0)
"""
_NEIGHBOURS: Final = """
    (SELECT balance_after_fen AS before_fen FROM entries
      WHERE psn_no = $1 AND book = $2 AND part = $3 AND entry_no < $4 ORDER BY entry_no DESC LIMIT 1)
    UNION ALL
    (SELECT balance_after_fen - amount_fen - $5 FROM entries
      WHERE psn_no = $1 AND book = $2 AND part = $3 AND entry_no > $4 ORDER BY entry_no LIMIT 1)
"""

Entry: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """How far a chain has been followed."""

    block_no: int = 0
    last_entry_no: int = BELOW_ALL
    digest: bytes = b""

    @staticmethod
    def before(area: str) -> Place:
        """Where the chain of an area begins; entries with numbers below its first belong to its first block too."""
        return Place(digest=sha256(f"gongji entry chain {area}".encode()).digest())

    @staticmethod
    def at(head: Head) -> Place:
        """Where a head was seen."""
        return Place(head.block_no, head.last_entry_no, bytes.fromhex(head.digest))


async def check_chain(
    connection: asyncpg.Connection, area: str, report: Report, *, since: Head | None = None, anchor: Head | None = None
) -> Head | None:
    """Follows the chain from its beginning, or on from a head that was seen before; its head now, None if it is empty.

    ``anchor`` is a head that was kept elsewhere: the chain must still lead through it.
    """
    await _check_kept(connection, area, since, "that was seen a round before", report)
    if anchor != since:
        await _check_kept(connection, area, anchor, "of the anchor", report)
    place = Place.before(area) if since is None else Place.at(since)
    head = since
    while blocks := await connection.fetch(_BLOCKS, place.block_no, BLOCKS_TOGETHER):
        entries = await connection.fetch(_ENTRIES, place.last_entry_no, blocks[-1]["last_entry_no"])
        rest = iter(entries)
        following = next(rest, None)
        for block in blocks:
            mine: list[Entry] = []
            while following is not None and following["entry_no"] <= block["last_entry_no"]:
                mine.append(following)
                following = next(rest, None)
            await _check_block(connection, area, place, block, mine, report)
            place = Place(block["block_no"], block["last_entry_no"], block["digest"])
            head = Head(place.block_no, block["last_entry_no"], place.digest.hex(), _told(block["sealed_at"]))
    overdue = await connection.fetchval(_UNSEALED, place.last_entry_no, SEAL_OVERDUE_S)
    report.open(f"entries of ledger {area} that nobody has sealed for over {SEAL_OVERDUE_S} s", overdue)
    if head is not None:
        report.heads[area] = head
    return head


async def _check_kept(connection: asyncpg.Connection, area: str, head: Head | None, which: str, report: Report) -> None:
    if head is None:
        return
    report.checked("CHAIN")
    digest = await connection.fetchval(_DIGEST_OF, head.block_no)
    if digest is None:
        report.violated(
            "CHAIN",
            f"ledger {area}: block {head.block_no} {which} is gone: the chain was cut, or the ledger was restored",
        )
    elif digest.hex() != head.digest:
        report.violated(
            "CHAIN", f"ledger {area}: block {head.block_no} is not the one {which}: the chain was written anew"
        )


async def _check_block(
    connection: asyncpg.Connection, area: str, place: Place, block: Entry, entries: Sequence[Entry], report: Report
) -> None:
    report.checked("CHAIN", len(entries))
    name = f"ledger {area} block {block['block_no']}"
    if missing := block["block_no"] - place.block_no - 1:
        report.violated("CHAIN", f"{name}: {missing} blocks before it are missing")
        entries = [entry for entry in entries if entry["entry_no"] >= block["first_entry_no"]]
    elif block["previous_digest"] != place.digest:
        report.violated("CHAIN", f"{name} does not continue block {place.block_no}: one of them was written anew")
    digests = [digest_of(entry) for entry in entries]
    sealed = dict(zip(block["entry_nos"], _parted(block["entry_digests"]), strict=False))
    intact = block_digest(block, digests) == block["digest"]
    if intact and _listed(block) == _listed_of(entries, digests):
        return
    found = {entry["entry_no"]: entry for entry in entries}
    named = [no for no in sealed if no not in found] + [no for no in found if no not in sealed]
    changed = [
        (entry, sealed[entry["entry_no"]])
        for entry, digest in zip(entries, digests, strict=True)
        if sealed.get(entry["entry_no"], digest[:DIGEST_BYTES]) != digest[:DIGEST_BYTES]
    ]
    if intact or not (named or changed):
        report.violated("CHAIN", f"{name} was written anew: its digest does not agree with what it lists")
        return
    for no in sorted(named):
        what = "was slipped in after" if no in found else "was removed after"
        told = f": {_described(found[no])}" if no in found else ""
        report.violated("CHAIN", f"ledger {area} entry {no} {what} block {block['block_no']} was sealed{told}")
    for entry, digest in changed:
        was = await _what_it_was(connection, entry, digest, [other for other, _ in changed])
        report.violated(
            "CHAIN",
            f"ledger {area} entry {entry['entry_no']} was changed after block {block['block_no']} was sealed at"
            f" {_told(block['sealed_at'])}: {was} ({_described(entry)})",
        )


def digest_of(entry: Entry) -> bytes:
    """The digest of one entry, as the ledger takes it when it seals."""
    (entry_no, source_id, leg_no, kind, book, part, amount_fen, balance_fen, booked_us, psn_no) = entry.values()
    text = (
        f"{entry_no}|{source_id}|{leg_no}|{kind}|{book}|{'~' if part is None else part}|{amount_fen}|"
        f"{'~' if balance_fen is None else balance_fen}|{booked_us}|{'~' if psn_no is None else '=' + psn_no}"
    )
    return sha256(text.encode()).digest()


def block_digest(block: Entry, digests: Sequence[bytes]) -> bytes:
    """The digest that a block with these entries must have."""
    head = block["block_no"].to_bytes(8, "big", signed=True) + block["sealed_us"].to_bytes(8, "big", signed=True)
    return sha256(block["previous_digest"] + head + b"".join(digests)).digest()


def _listed(block: Entry) -> tuple[int, int, list[int], bytes]:
    """What a block says of its entries beside its digest."""
    return (block["first_entry_no"], block["last_entry_no"], list(block["entry_nos"]), block["entry_digests"])


def _listed_of(entries: Sequence[Entry], digests: Sequence[bytes]) -> tuple[int, int, list[int], bytes] | None:
    """The same of the entries as they are."""
    if not entries:
        return None
    numbers = [entry["entry_no"] for entry in entries]
    return (numbers[0], numbers[-1], numbers, b"".join(digest[:DIGEST_BYTES] for digest in digests))


async def _what_it_was(connection: asyncpg.Connection, entry: Entry, digest: bytes, changed: Sequence[Entry]) -> str:
    """What differs, if some likely earlier content has the sealed digest."""
    for other in changed:
        if digest_of({**other, "entry_no": entry["entry_no"]})[:DIGEST_BYTES] == digest:
            return f"what it said stands under entry {other['entry_no']} now"
    legs = await connection.fetch(_LEG_AMOUNTS, entry["source_id"], entry["leg_no"])
    before: list[int] = []
    if entry["psn_no"] is not None:
        key = (entry["psn_no"], entry["book"], entry["part"], entry["entry_no"])
        neighbours = await connection.fetch(_NEIGHBOURS, *key, 0)
        before = [row["before_fen"] for row in neighbours]
    for amount_fen, balance_fen in _likely(entry, legs, before):
        if digest_of({**entry, "amount_fen": amount_fen, "balance_after_fen": balance_fen})[:DIGEST_BYTES] == digest:
            was = {"amount_fen": amount_fen, "balance_after_fen": balance_fen}
            return "; ".join(f"{name} was {fen}" for name, fen in was.items() if entry[name] != fen)
    return "what it said before cannot be told"


def _likely(entry: Entry, legs: Sequence[Entry], before: Sequence[int]) -> Iterator[tuple[int, int | None]]:
    """Amounts and balances that the entry may have had, by its payment's legs and the entries beside it."""
    fens = {fen for leg in legs for fen in (leg["past_fen"], leg["current_fen"], leg["past_fen"] + leg["current_fen"])}
    fens |= {sum(leg["past_fen"] + leg["current_fen"] for leg in legs)}
    amounts = [entry["amount_fen"], *(sign * fen for fen in sorted(fens) for sign in (1, -1))]
    for amount_fen in amounts:
        yield amount_fen, entry["balance_after_fen"]
        if entry["balance_after_fen"] is not None:
            yield amount_fen, entry["balance_after_fen"] - entry["amount_fen"] + amount_fen
            for balance_fen in before:
                yield amount_fen, balance_fen
                yield amount_fen, balance_fen + amount_fen


def _parted(digests: bytes) -> list[bytes]:
    edges = range(0, len(digests) + 1, DIGEST_BYTES)
    return [digests[start:end] for start, end in pairwise(edges)]


def _described(entry: Entry) -> str:
    booked = f"{entry['kind']} of {entry['source_id']} leg {entry['leg_no']}, {entry['book']}"
    return f"{booked}: {entry['amount_fen']} fen, balance after it {entry['balance_after_fen']}"


def _told(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
