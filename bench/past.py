"""Settlements of the past, written by the million: in waves of families that take turns, a bill for each.

They are the rows that a finished settlement leaves behind but for its plan and its event, with ids of version 7 in the
order of the waves. The ledgers' processes seal the entries once they run; `gongji verify` goes over it all afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import asyncpg

from bench.population import BILL_FEN, FUNDERS, HOSPITAL, SHARE_FEN, Population, authorisation_in_sql, utc_now
from bench.rows import document_in_sql

FAMILIES_AT_ONCE: Final = 20_000
WAVES_A_VACUUM: Final = 10
_FIRST_MS: Final = 1_760_000_000_000
_WAVE_MS: Final = 1_000_000
_AT: Final = f"to_timestamp(({_FIRST_MS} + $3::int8 * {_WAVE_MS} + f) / 1000.0)"
_ID: Final = (
    f"(overlay(lpad(to_hex({_FIRST_MS} + $3::int8 * {_WAVE_MS} + f), 12, '0') placing"
    f" '-' || substr(lpad(to_hex({_FIRST_MS} + $3::int8 * {_WAVE_MS} + f), 12, '0'), 9) from 9)"
    " || '-7000-8000-' || lpad(to_hex(f), 12, '0'))::uuid"
)
_FAMILIES: Final = "generate_series($1::int8, $2::int8) AS f"


def _person(population: Population, place: int) -> str:
    return f"('{population.funder_area(0, place)}' || lpad(f::text, 8, '0') || '{place + 1}')"


def _key(place: int) -> str:
    return f"({authorisation_in_sql('f', place)})"


def _coordinator(population: Population) -> list[str]:
    places = range(FUNDERS)
    document = document_in_sql(
        population, [_person(population, place) for place in places], [_key(place) for place in places]
    )
    patient = f"('{population.areas[0]}' || lpad(f::text, 8, '0') || '0')"
    balances = f"'[[1, 0, 0, 0, 0, {utc_now().year}, false]]'::jsonb"
    return [
        f"""INSERT INTO payments (payment_id, kind, state, fixmedins_code, infno, msgid, request_hash, psn_no, year,
                plan_id, legs, amount_fen, epoch, traceparent, created_at, deadline_at, next_drive_at, balances_after,
                decided_at, finished_at)
            SELECT {_ID}, 'SETTLE', 'DONE', '{HOSPITAL}', '2207', substr({_ID}::text, 1, 30) || f,
                sha256(convert_to(f::text, 'UTF8')), {patient}, extract(year FROM now())::int2, {_ID},
                {document}::jsonb, {BILL_FEN}, 1, '', {_AT}, {_AT}, {_AT}, {balances}, {_AT}, {_AT} FROM {_FAMILIES}""",
        f"""INSERT INTO patient_years (psn_no, year, version)
            SELECT {patient}, extract(year FROM now())::int2, 1 FROM {_FAMILIES} WHERE $3::int8 >= 0
            ON CONFLICT (psn_no, year) DO UPDATE SET version = patient_years.version + 1""",
    ]


def _ledger(population: Population, area: str) -> list[str]:
    places = [place for place in range(FUNDERS) if population.funder_area(0, place) == area]
    rows = ", ".join(f"({place + 1}::int2, {_person(population, place)}, {_key(place)}::uuid)" for place in places)
    legs = f"{_FAMILIES} CROSS JOIN LATERAL (VALUES {rows}) AS l (leg_no, psn_no, authorisation_id)"
    return [
        f"""UPDATE accounts a SET current_fen = a.current_fen - {SHARE_FEN} FROM {legs}
            WHERE a.psn_no = l.psn_no AND a.kind = 'PERSONAL' AND $3::int8 >= 0""",
        f"""UPDATE authorisations u
            SET used_fen = u.used_fen + {SHARE_FEN}, authorised_fen = u.authorised_fen + {SHARE_FEN}
            FROM {legs} WHERE u.authorisation_id = l.authorisation_id AND $3::int8 >= 0""",
        f"""INSERT INTO branches (payment_id, state, digest, created_at, decided_at, inquire_at, next_inquire_at,
                fixmedins_code, setl_id, care_area, origin)
            SELECT {_ID}, 'CONFIRMED', decode(md5(f::text), 'hex'), {_AT}, {_AT}, {_AT}, {_AT}, '{HOSPITAL}',
                {_ID}::text, '{HOSPITAL[1:7]}', convert_to(repeat('o', 256), 'UTF8') FROM {_FAMILIES}""",
        f"""INSERT INTO branch_legs (payment_id, leg_no, psn_no, account_kind, role, past_fen, current_fen, year,
                authorisation_id, floor_fen, floor_past, floor_current, refunded_fen, after_past_fen, after_current_fen,
                after_held_past_fen, after_held_current_fen, after_year)
            SELECT {_ID}, l.leg_no, l.psn_no, 'PERSONAL', 'FUNDER', 0, {SHARE_FEN}, a.year, l.authorisation_id, 0, true,
                true, 0, 0, a.current_fen + {SHARE_FEN}, 0, {SHARE_FEN}, a.year
            FROM {legs} JOIN accounts a ON a.psn_no = l.psn_no AND a.kind = 'PERSONAL'""",
        f"""INSERT INTO entries (source_id, leg_no, kind, book, psn_no, part, amount_fen, balance_after_fen, booked_at)
            SELECT {_ID}, l.leg_no, 'PAYMENT', 'PERSONAL', l.psn_no, 'CURRENT', -{SHARE_FEN}, a.current_fen, {_AT}
            FROM {legs} JOIN accounts a ON a.psn_no = l.psn_no AND a.kind = 'PERSONAL'
            UNION ALL SELECT {_ID}, 0, 'PAYMENT', 'CLEARING', NULL, NULL, {SHARE_FEN * len(places)}, NULL, {_AT}
            FROM {_FAMILIES}""",
    ]


async def write_past(
    population: Population, *, settlement_url: str, ledger_urls: Mapping[str, str], families: int, settlements: int
) -> None:
    """So many settlements over these families of two areas, evenly. Nothing may run on the databases meanwhile."""
    statements = {settlement_url: _coordinator(population)}
    statements |= {url: _ledger(population, area) for area, url in ledger_urls.items()}
    # Side by side: the server works on them in processes of their own.
    await asyncio.gather(*(_written(url, texts, families, settlements) for url, texts in statements.items()))


async def _written(url: str, texts: Sequence[str], families: int, settlements: int) -> None:
    connection = await asyncpg.connect(url)
    try:
        written = wave = 0
        while written < settlements:
            low = written % families
            high = min(low + FAMILIES_AT_ONCE, families, low + settlements - written) - 1
            async with connection.transaction():
                for text in texts:
                    await connection.execute(text, low, high, wave)
            written, wave = written + high - low + 1, wave + 1
            if wave % WAVES_A_VACUUM == 0:
                await connection.execute("VACUUM accounts" if "accounts" in texts[0] else "VACUUM patient_years")
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


async def write_idle_accounts(ledger_urls: Mapping[str, str], *, accounts: int) -> None:
    """Fills each area up to so many accounts: of people without money or relatives, whom nobody ever asks for."""

    async def filled_up(area: str, url: str) -> None:
        connection = await asyncpg.connect(url)
        try:
            missing = accounts - await connection.fetchval("SELECT count(*) FROM accounts")
            await connection.execute(
                "INSERT INTO accounts (psn_no, kind, year, past_fen, current_fen, held_past_fen, held_current_fen,"
                " frozen, state) SELECT $1 || lpad(n::text, 8, '0') || '9', 'PERSONAL', extract(year FROM now()), 0, 0,"
                " 0, 0, false, 'OPEN' FROM generate_series(1, $2::int8) AS n",
                area,
                missing,
            )
            await connection.execute("VACUUM ANALYZE accounts")
        finally:
            await connection.close()

    await asyncio.gather(*(filled_up(area, url) for area, url in ledger_urls.items()))


async def database_bytes(url: str) -> int:
    """What a database takes on the disk, without the log."""
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval("SELECT pg_database_size(current_database())"))
    finally:
        await connection.close()
