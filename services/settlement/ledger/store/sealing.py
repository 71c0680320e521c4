"""The chain over the entries: each block holds a digest of its entries and of the block before it.

What an entry's digest is taken of, so that anybody can take it again (`gongji verify` does, with code of its own):
``entry_no|source_id|leg_no|kind|book|part|amount_fen|balance_after_fen|microseconds of booked_at|=psn_no`` in UTF-8,
``~`` for what is null. A block's digest is SHA-256 over the digest before it, block_no and the microseconds of
sealed_at (eight bytes each, big-endian), and the SHA-256 of each of its entries in order. Before the first block
stands the SHA-256 of ``gongji entry chain <area>``.

**Why the newest entry that is seen is a safe horizon.** Whoever writes entries holds the area's lock (protocol rule 10)
when it draws their numbers and until their commit can be seen: a writer lets go of it only after the server has said
that they are committed, and a session that breaks off ends its statement first. So numbers become visible in order:
whoever sees an entry sees every lower number that will ever be, and a lower number that is missing belongs to a write
that was rolled back. An entry that turns up behind the horizon was not written by a ledger. For the same reason sealing
needs a lock of its own only, and no writer ever waits for it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from services.settlement.ledger.store.sets import Connection

SEAL_LOCK_CLASS: Final = 0x676A7365
"""The first key of the advisory lock under which one process seals at a time ("gjse"); the second is the area."""
CHAIN_BEGINS: Final = "gongji entry chain {area}"
ENTRY_DIGEST_BYTES: Final = 8
"""Kept of each entry's digest in its block: enough to name what was changed; the block's own digest proves it."""

_TRY_LOCK: Final = """
    SELECT pg_try_advisory_xact_lock($1, $2), set_config('enable_bitmapscan', 'off', true)
"""
_SEAL: Final = f"""
    WITH last AS (
        SELECT block_no, last_entry_no, digest FROM entry_blocks ORDER BY block_no DESC LIMIT 1
    ), pending AS MATERIALIZED (
        SELECT * FROM entries WHERE entry_no > coalesce((SELECT last_entry_no FROM last), 0) ORDER BY entry_no LIMIT $2
    ), due AS (
        SELECT count(*) >= $2 OR min(booked_at) <= clock_timestamp() - $3::interval AS yes FROM pending
    ), digested AS (
        SELECT entry_no, sha256(convert_to(concat_ws('|',
                   entry_no, source_id, leg_no, kind, book, coalesce(part, '~'), amount_fen,
                   coalesce(balance_after_fen::text, '~'), (extract(epoch FROM booked_at) * 1000000)::bigint,
                   coalesce('=' || psn_no, '~')), 'UTF8')) AS digest
        FROM pending WHERE (SELECT yes FROM due)
    ), head AS MATERIALIZED (
        SELECT coalesce((SELECT block_no FROM last), 0) + 1 AS block_no, clock_timestamp() AS sealed_at,
               coalesce((SELECT digest FROM last), sha256(convert_to($1, 'UTF8'))) AS previous_digest
    )
    INSERT INTO entry_blocks (block_no, first_entry_no, last_entry_no, entries, sealed_at, previous_digest, digest,
                              entry_nos, entry_digests)
    SELECT head.block_no, min(entry_no), max(entry_no), count(*), head.sealed_at, head.previous_digest,
           sha256(head.previous_digest || int8send(head.block_no)
                  || int8send((extract(epoch FROM head.sealed_at) * 1000000)::bigint)
                  || string_agg(digest, ''::bytea ORDER BY entry_no)),
           array_agg(entry_no ORDER BY entry_no),
           string_agg(substring(digest FROM 1 FOR {ENTRY_DIGEST_BYTES}), ''::bytea ORDER BY entry_no)
    FROM digested, head GROUP BY head.block_no, head.sealed_at, head.previous_digest
    RETURNING entries
"""  # noqa: S608  Constants only.
_OLDEST_UNSEALED: Final = """
    SELECT coalesce(extract(epoch FROM clock_timestamp() - (
        SELECT booked_at FROM entries WHERE entry_no > coalesce((SELECT max(last_entry_no) FROM entry_blocks), 0)
        ORDER BY entry_no LIMIT 1)), 0)::float8
"""


async def seal_block(connection: Connection, area: str, *, entries_max: int, after: timedelta) -> int:
    """Seals the oldest entries into one block, if ``entries_max`` wait or one is older than ``after``; how many.

    0 also while another process seals this area. It must run in a transaction of its own (READ COMMITTED: the second
    statement sees what the last holder of the lock has committed).
    """
    if not await connection.fetchval(_TRY_LOCK, SEAL_LOCK_CLASS, int(area)):
        return 0
    return await connection.fetchval(_SEAL, CHAIN_BEGINS.format(area=area), entries_max, after) or 0


async def unsealed_for_s(connection: Connection) -> float:
    """The age of the oldest entry that is in no block yet; 0 if there is none."""
    age_s: float = await connection.fetchval(_OLDEST_UNSEALED)
    return age_s
