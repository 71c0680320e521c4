"""Tariffs, filings and the premiums' payments: statements on the raw connection.

A payment's state is its row's (``store.payments``); ``ended_at`` only says that another may be made in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from kernel.ids import AdmDvs, PaymentId, PsnNo
from kernel.money import Fen
from kernel.values import value
from services.settlement.domain.payment import Key
from services.settlement.domain.premium import PremiumShown, PremiumState, Tariff, named_by
from services.settlement.domain.split import Role
from services.settlement.saga.payment import REFUSED_STATES, Payment, State
from services.settlement.store.payments import Connection

_TARIFF_COLUMNS: Final = "area, year, amount_fen, opens_on, closes_on, revocable_until, opter"
_TARIFF: Final = f"SELECT {_TARIFF_COLUMNS} FROM premium_tariffs WHERE area = $1 AND year = $2"  # noqa: S608  Constants.
_TARIFF_HELD: Final = f"{_TARIFF} FOR SHARE"
_TARIFF_LOCKED: Final = f"{_TARIFF} FOR UPDATE"
_TARIFFS: Final = f"SELECT {_TARIFF_COLUMNS} FROM premium_tariffs WHERE area = $1 ORDER BY year DESC"  # noqa: S608  Constants.
_SET_TARIFF: Final = f"""
INSERT INTO premium_tariffs ({_TARIFF_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (area, year) DO UPDATE SET amount_fen = excluded.amount_fen, opens_on = excluded.opens_on,
    closes_on = excluded.closes_on, revocable_until = excluded.revocable_until, opter = excluded.opter, set_at = now()
"""  # noqa: S608  Constants.
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"
_IS_PAID: Final = "SELECT EXISTS (SELECT FROM premium_payments WHERE area = $1 AND year = $2)"


async def find_tariff(connection: Connection, area: AdmDvs, year: int) -> Tariff | None:
    """What an area asks for a year; None if it has not said."""
    return _tariff(await connection.fetchrow(_TARIFF, area, year))


async def held_tariff(connection: Connection, area: AdmDvs, year: int) -> Tariff | None:
    """As ``find_tariff``; nobody changes it until the transaction ends."""
    return _tariff(await connection.fetchrow(_TARIFF_HELD, area, year))


async def locked_tariff(connection: Connection, area: AdmDvs, year: int) -> Tariff | None:
    """As ``find_tariff``; until the transaction ends nobody else sets it, be it there or not, nor pays by it."""
    await connection.execute(_LOCK, f"premium_tariffs {area} {year}")
    return _tariff(await connection.fetchrow(_TARIFF_LOCKED, area, year))


async def tariffs(connection: Connection, area: AdmDvs) -> list[Tariff]:
    """Those of an area, the latest year first."""
    return [Tariff(*row) for row in await connection.fetch(_TARIFFS, area)]


async def set_tariff(connection: Connection, tariff: Tariff) -> None:
    """From now on the area asks for this."""
    await connection.execute(
        _SET_TARIFF,
        tariff.area,
        tariff.year,
        tariff.amount_fen,
        tariff.opens_on,
        tariff.closes_on,
        tariff.revocable_until,
        tariff.opter,
    )


async def is_paid_by(connection: Connection, area: AdmDvs, year: int) -> bool:
    """Whether anybody has ever begun to pay by this tariff."""
    paid: bool = await connection.fetchval(_IS_PAID, area, year)
    return paid


def _tariff(row: Any) -> Tariff | None:  # noqa: ANN401  Untyped driver.
    return None if row is None else Tariff(*row)


# Filings.

_FILE: Final = """
INSERT INTO premium_filings (filing_id, payer_psn_no, insured_psn_no, opter) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING"""
_LIVE_FILING: Final = """
SELECT filing_id FROM premium_filings
WHERE payer_psn_no = ANY ($1::text[]) AND insured_psn_no = ANY ($2::text[]) AND ended_at IS NULL LIMIT 1"""
_FILING: Final = "SELECT payer_psn_no, insured_psn_no FROM premium_filings WHERE filing_id = $1"
_END_FILING: Final = """
UPDATE premium_filings SET ended_at = now(), ended_by = $2 WHERE filing_id = $1 AND ended_at IS NULL"""


async def file_payer(
    connection: Connection, *, filing_id: UUID, payer: PsnNo, insured: PsnNo, opter: str
) -> tuple[PsnNo, PsnNo] | None:
    """Records a filing, unless the pair has one; whom the request has filed, now or before, None if it has nobody."""
    await connection.execute(_FILE, filing_id, payer, insured, opter)
    row = await connection.fetchrow(_FILING, filing_id)
    return None if row is None else (PsnNo(row["payer_psn_no"]), PsnNo(row["insured_psn_no"]))


async def live_filing(connection: Connection, payer: Sequence[PsnNo], insured: Sequence[PsnNo]) -> UUID | None:
    """The filing by which one person, by any of his numbers, may pay for the other."""
    found: UUID | None = await connection.fetchval(_LIVE_FILING, payer, insured)
    return found


async def end_filing(connection: Connection, filing_id: UUID, *, opter: str) -> bool:
    """Whether there is such a filing; it has ended from now on, or had before."""
    await connection.execute(_END_FILING, filing_id, opter)
    return await connection.fetchrow(_FILING, filing_id) is not None


# Payments.

_LIVE: Final = """
SELECT m.payment_id, p.state FROM premium_payments m JOIN payments p ON p.payment_id = ANY (ARRAY[m.payment_id])
WHERE m.insured_psn_no = ANY ($1::text[]) AND m.year = $2 AND m.ended_at IS NULL"""
_END: Final = "UPDATE premium_payments SET ended_at = now() WHERE payment_id = $1 AND ended_at IS NULL"
_RECORD: Final = """
INSERT INTO premium_payments (payment_id, request_id, payer_psn_no, insured_psn_no, year, area, source, relation,
                              amount_fen, ended_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, CASE WHEN $10::boolean THEN now() END)
ON CONFLICT (payment_id) DO NOTHING"""
_END_ALL: Final = """
UPDATE premium_payments SET ended_at = now() WHERE insured_psn_no = $1 AND year = $2 AND ended_at IS NULL"""
_STAND: Final = """
UPDATE premium_payments SET ended_at = NULL WHERE payment_id = (
    SELECT m.payment_id FROM premium_payments m JOIN payments p ON p.payment_id = ANY (ARRAY[m.payment_id])
    WHERE m.insured_psn_no = $1 AND m.year = $2 AND p.state IN ('TRYING', 'COMMITTED', 'DONE')
        AND NOT EXISTS (SELECT FROM payments r WHERE r.original_id = ANY (ARRAY[m.payment_id]))
    ORDER BY p.state = 'TRYING', m.payment_id LIMIT 1)"""
_BY_REQUEST: Final = """
SELECT payment_id FROM premium_payments WHERE payer_psn_no = ANY ($1::text[]) AND request_id = $2
ORDER BY payer_psn_no <> $3 LIMIT 1"""
_OF_PAYER: Final = "SELECT area, year FROM premium_payments WHERE payment_id = $1 AND payer_psn_no = ANY ($2::text[])"
_SHOWN: Final = """
SELECT t.payment_id, t.payer_psn_no = ANY ($1::text[]) AS is_payer, t.payer_psn_no, t.insured_psn_no,
       coalesce(i.name_masked, '') AS insured_name, t.relation, t.year, t.area, t.amount_fen, t.source, p.state,
       p.reason, p.created_at, p.decided_at, r.decided_at AS revoked_at
FROM page t JOIN payments p ON p.payment_id = ANY (ARRAY[t.payment_id])
LEFT JOIN payments r ON r.original_id = ANY (ARRAY[t.payment_id])
LEFT JOIN persons i ON i.psn_no = ANY (ARRAY[t.insured_psn_no])
ORDER BY t.payment_id DESC"""
_PAGE: Final = f"""
WITH page AS (
    (SELECT * FROM premium_payments WHERE payer_psn_no = ANY ($1::text[]) AND ($2::uuid IS NULL OR payment_id < $2)
     ORDER BY payment_id DESC LIMIT $3)
    UNION
    (SELECT * FROM premium_payments WHERE insured_psn_no = ANY ($1::text[]) AND ($2::uuid IS NULL OR payment_id < $2)
     ORDER BY payment_id DESC LIMIT $3)
    ORDER BY payment_id DESC LIMIT $3
) {_SHOWN}"""  # noqa: S608  Constants.
_ONE: Final = f"""
WITH page AS (SELECT * FROM premium_payments WHERE payment_id = $2 AND payer_psn_no = ANY ($1::text[])) {_SHOWN}"""  # noqa: S608  Constants.

LIST_AT_ONCE: Final = 5_000
"""How many lines of a list of payers are read at once: some 400 KB of text."""
LIST_HEADER: Final = "area,year,premium_id,insured_psn_no,amount_fen,paid_on\n"
_UNDER_WAY: Final = """
SELECT count(*) FROM premium_payments m JOIN payments p ON p.payment_id = ANY (ARRAY[m.payment_id])
WHERE m.area = $1 AND m.year = $2 AND m.ended_at IS NULL AND p.state = 'TRYING'"""
_PAID: Final = """
SELECT t.payment_id, t.amount_fen, p.state IN ('COMMITTED', 'DONE') AND NOT EXISTS (
           SELECT FROM payments r WHERE r.original_id = ANY (ARRAY[t.payment_id])) AS is_paid,
       concat_ws(',', t.area, t.year, t.payment_id, t.insured_psn_no, t.amount_fen,
                 to_char(p.decided_at AT TIME ZONE 'Asia/Shanghai', 'YYYY-MM-DD')) AS line
FROM (SELECT * FROM premium_payments WHERE area = $1 AND year = $2 AND ($3::uuid IS NULL OR payment_id > $3)
      ORDER BY payment_id LIMIT $4) t
JOIN payments p ON p.payment_id = ANY (ARRAY[t.payment_id])
ORDER BY t.payment_id"""


@value
class PaidPage:
    """Some lines of an area's list of payers; ``last`` is where the next page goes on, None after the last one."""

    text: str
    count: int
    total_fen: Fen
    last: UUID | None


async def lock_premium(connection: Connection, insured: PsnNo, year: int) -> None:
    """Until the transaction ends nobody else begins to pay this person's premium of that year, or takes it back."""
    await connection.execute(_LOCK, f"premiums {insured} {year}")


async def live(connection: Connection, insured: Sequence[PsnNo], year: int) -> list[tuple[PaymentId, State]]:
    """The payments that stand in the way of another, by all numbers of the insured, each with its state."""
    rows = await connection.fetch(_LIVE, insured, year)
    return [(PaymentId(row["payment_id"]), State(row["state"])) for row in rows]


async def end(connection: Connection, payment_id: PaymentId) -> None:
    """Another payment may be made in its place."""
    await connection.execute(_END, payment_id)


async def record(connection: Connection, payment: Payment, *, relation: str, ended: bool = False) -> None:
    """A premium beside its payment, whose key and legs say all of it but what the payer is to the insured."""
    named = named_by(payment.key)
    await connection.execute(
        _RECORD,
        payment.payment_id,
        named.request_id,
        named.payer,
        named.insured,
        named.year,
        named.area,
        payment.legs[0].role.value,
        relation,
        payment.amount_fen,
        ended,
    )


async def judge_anew(connection: Connection, key: Key) -> None:
    """Which payment of this person and year stands in another's way, found anew from the payments' rows.

    For a restore, which makes rows in an order of its own.
    """
    named = named_by(key)
    await connection.execute(_END_ALL, named.insured, named.year)
    await connection.execute(_STAND, named.insured, named.year)


async def by_request(connection: Connection, numbers: Sequence[PsnNo], asked: UUID) -> PaymentId | None:
    """The payment that a payer's request has begun, under the first of his numbers if under several."""
    found: PaymentId | None = await connection.fetchval(_BY_REQUEST, numbers, asked, numbers[0])
    return found


async def tariff_named(
    connection: Connection, payment_id: PaymentId, numbers: Sequence[PsnNo]
) -> tuple[AdmDvs, int] | None:
    """By which tariff a payer's payment was made; None if he made none with this id."""
    row = await connection.fetchrow(_OF_PAYER, payment_id, numbers)
    return None if row is None else (AdmDvs(row["area"]), row["year"])


async def page(
    connection: Connection, numbers: Sequence[PsnNo], *, before: UUID | None, size: int
) -> list[PremiumShown]:
    """So many premiums of a person, paid by or for any of his numbers, the latest first, before that one."""
    return [_shown(row) for row in await connection.fetch(_PAGE, numbers, before, size)]


async def under_way_count(connection: Connection, area: AdmDvs, year: int) -> int:
    """How many of an area's payments of a year are undecided."""
    count: int = await connection.fetchval(_UNDER_WAY, area, year)
    return count


async def page_of_paid(connection: Connection, area: AdmDvs, year: int, *, after: UUID | None) -> PaidPage:
    """The next premiums of an area's year that are paid and were not taken back, oldest first, as lines of the list."""
    rows = await connection.fetch(_PAID, area, year, after, LIST_AT_ONCE)
    paid = [row for row in rows if row["is_paid"]]
    return PaidPage(
        text="".join([f"{row['line']}\n" for row in paid]),
        count=len(paid),
        total_fen=sum(row["amount_fen"] for row in paid),
        last=rows[-1]["payment_id"] if len(rows) == LIST_AT_ONCE else None,
    )


async def shown(connection: Connection, payment_id: PaymentId, *, to: Sequence[PsnNo]) -> PremiumShown | None:
    """One premium as its payer sees it; None if he is not the payer."""
    row = await connection.fetchrow(_ONE, to, payment_id)
    return None if row is None else _shown(row)


def state_of(state: State, *, is_revoked: bool) -> PremiumState:
    """Where a premium stands, by its payment's state and whether that has a refund."""
    if state is State.TRYING:
        return PremiumState.PAYING
    if state in REFUSED_STATES:
        return PremiumState.REFUSED
    return PremiumState.REVOKED if is_revoked else PremiumState.PAID


def _shown(row: Any) -> PremiumShown:  # noqa: ANN401  Untyped driver.
    return PremiumShown(
        premium_id=row["payment_id"],
        is_payer=row["is_payer"],
        payer=PsnNo(row["payer_psn_no"]),
        insured=PsnNo(row["insured_psn_no"]),
        insured_name=row["insured_name"],
        relation=row["relation"],
        year=row["year"],
        area=AdmDvs(row["area"]),
        amount_fen=row["amount_fen"],
        source=Role(row["source"]),
        state=state_of(State(row["state"]), is_revoked=row["revoked_at"] is not None),
        cause=row["reason"],
        begun_at=row["created_at"],
        decided_at=row["decided_at"],
        revoked_at=row["revoked_at"],
    )
