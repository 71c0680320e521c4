"""What risk events are made of: what settlement told, which credentials were shown where, which were refused."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import FixmedinsCode, PsnNo
from services.identity.domain.risk import (
    BuyRefunded,
    Evidence,
    PharmacyBuy,
    RiskKind,
    Showing,
    ShownForAnother,
    Subject,
)
from services.identity.store.arrays import any_of
from services.identity.tables.credentials import REFUSED_DECODINGS
from services.identity.tables.risk import CREDENTIAL_REFUSALS, PHARMACY_BUYS, REFUNDED_BUYS, RISK_SWEEPS

_TRAVELLERS: Final = sa.text("""
    SELECT DISTINCT n.psn_no
    FROM (
        SELECT psn_no, fixmedins_code, terminal_no, used_at AS at
        FROM used_codes WHERE used_at >= :since AND used_at <= :until
        UNION ALL
        SELECT psn_no, fixmedins_code, terminal_no, last_at
        FROM refused_decodings WHERE minute >= CAST(:since AS timestamptz) - interval '1 minute' AND psn_no <> ''
        UNION ALL
        SELECT presented_psn_no, fixmedins_code, terminal_no, refused_at
        FROM credential_refusals WHERE judged_at >= :since
    ) AS n
    WHERE EXISTS (
        SELECT 1 FROM used_codes o
        WHERE o.psn_no = n.psn_no
        AND o.used_at BETWEEN n.at - CAST(:span AS interval) AND n.at + CAST(:span AS interval)
        AND (o.fixmedins_code, o.terminal_no) <> (n.fixmedins_code, n.terminal_no)
    ) OR EXISTS (
        SELECT 1 FROM refused_decodings o
        WHERE o.psn_no = n.psn_no AND o.psn_no <> ''
        AND o.minute BETWEEN n.at - CAST(:span AS interval) AND n.at + CAST(:span AS interval)
        AND (o.fixmedins_code, o.terminal_no) <> (n.fixmedins_code, n.terminal_no)
    )""")
"""Those who showed a credential just now and, not long from it, one at another terminal: few of many."""
_SHOWINGS: Final = sa.text("""
    SELECT s.psn_no, s.key, s.at, s.fixmedins_code, s.terminal_no,
        coalesce(t.longitude_udeg, i.longitude_udeg) AS longitude_udeg,
        coalesce(t.latitude_udeg, i.latitude_udeg) AS latitude_udeg
    FROM (
        SELECT psn_no, 'used:' || jti AS key, used_at AS at, fixmedins_code, terminal_no
        FROM used_codes WHERE psn_no = ANY(CAST(:psn_nos AS text[])) AND used_at BETWEEN :since AND :until
        UNION ALL
        SELECT r.psn_no, 'refused:' || f.which || ':' || r.fixmedins_code || '/' || r.terminal_no || '/' || r.reason
            || '/' || CAST(extract(epoch FROM r.minute) AS bigint), f.at, r.fixmedins_code, r.terminal_no
        FROM refused_decodings r, LATERAL (VALUES ('first', r.first_at), ('last', r.last_at)) AS f (which, at)
        WHERE r.psn_no = ANY(CAST(:psn_nos AS text[])) AND r.psn_no <> '' AND r.minute BETWEEN :since AND :until
        UNION ALL
        SELECT presented_psn_no, 'settlement:' || event_id, refused_at, fixmedins_code, terminal_no
        FROM credential_refusals
        WHERE presented_psn_no = ANY(CAST(:psn_nos AS text[])) AND refused_at BETWEEN :since AND :until
    ) AS s
    LEFT JOIN institutions i ON i.fixmedins_code = s.fixmedins_code
    LEFT JOIN terminals t ON t.fixmedins_code = s.fixmedins_code AND t.terminal_no = s.terminal_no""")
_REFUSED_NEAR: Final = sa.text("""
    SELECT r.minute, r.fixmedins_code, r.terminal_no, r.reason, r.psn_no, r.refusals, r.last_at
    FROM refused_decodings r
    WHERE r.minute BETWEEN :since AND :until AND (
        r.psn_no = ANY(CAST(:psn_nos AS text[])) AND r.psn_no <> ''
        OR r.fixmedins_code || '/' || r.terminal_no = ANY(CAST(:places AS text[])) AND r.fixmedins_code <> ''
    )""")


async def keep_shown_for_another(connection: AsyncConnection, refusal: ShownForAnother) -> None:
    """Keeps what settlement told; told again, it is kept once."""
    await connection.execute(
        insert(CREDENTIAL_REFUSALS)
        .values(
            event_id=refusal.event_id,
            patient_psn_no=refusal.patient,
            presented_psn_no=refusal.presented,
            fixmedins_code=refusal.fixmedins_code,
            terminal_no=refusal.terminal_no,
            reason=refusal.reason,
            refused_at=refusal.refused_at,
        )
        .on_conflict_do_nothing()
    )


async def keep_buy(connection: AsyncConnection, buy: PharmacyBuy) -> None:
    """Keeps what settlement told; told again, it is kept once."""
    await connection.execute(
        insert(PHARMACY_BUYS)
        .values(
            setl_id=buy.setl_id,
            psn_no=buy.funder,
            patient_psn_no=buy.patient,
            fixmedins_code=buy.fixmedins_code,
            settled_at=buy.settled_at,
        )
        .on_conflict_do_nothing()
    )


async def keep_refund(connection: AsyncConnection, refund: BuyRefunded) -> None:
    """Keeps that a bill does not count, whether or not it was heard of."""
    await connection.execute(
        insert(REFUNDED_BUYS).values(setl_id=refund.setl_id, refunded_at=refund.refunded_at).on_conflict_do_nothing()
    )


async def take_sweep(connection: AsyncConnection, kind: RiskKind) -> datetime | None:
    """Up to when this kind was judged; None while another replica judges it. The row stays locked."""
    statement = sa.select(RISK_SWEEPS.c.read_to).where(RISK_SWEEPS.c.kind == kind.value)
    found: datetime | None = await connection.scalar(statement.with_for_update(skip_locked=True))
    return found


async def end_sweep(connection: AsyncConnection, kind: RiskKind, *, read_to: datetime) -> None:
    """Notes up to when this kind is judged now."""
    await connection.execute(sa.update(RISK_SWEEPS).where(RISK_SWEEPS.c.kind == kind.value).values(read_to=read_to))


async def take_unjudged_refusals(connection: AsyncConnection, *, limit: int, now: datetime) -> list[ShownForAnother]:
    """So many refusals of settlement that nobody judged yet; they are judged by the end of this transaction."""
    waiting = (
        sa.select(CREDENTIAL_REFUSALS.c.event_id)
        .where(CREDENTIAL_REFUSALS.c.judged_at.is_(None))
        .order_by(CREDENTIAL_REFUSALS.c.refused_at)
        .limit(limit)
    )
    rows = await connection.execute(
        sa.update(CREDENTIAL_REFUSALS)
        .where(CREDENTIAL_REFUSALS.c.event_id.in_(waiting))
        .values(judged_at=now)
        .returning(*CREDENTIAL_REFUSALS.c)
    )
    return [
        ShownForAnother(
            event_id=row.event_id,
            patient=PsnNo(row.patient_psn_no),
            presented=PsnNo(row.presented_psn_no),
            fixmedins_code=row.fixmedins_code,
            terminal_no=row.terminal_no,
            reason=row.reason,
            refused_at=row.refused_at,
        )
        for row in rows
    ]


async def take_unjudged_buys(connection: AsyncConnection, *, limit: int, now: datetime) -> list[tuple[PsnNo, datetime]]:
    """The funders and times of so many bills that nobody judged yet; as above."""
    waiting = (
        sa.select(PHARMACY_BUYS.c.setl_id, PHARMACY_BUYS.c.psn_no)
        .where(PHARMACY_BUYS.c.judged_at.is_(None))
        .order_by(PHARMACY_BUYS.c.settled_at)
        .limit(limit)
    )
    rows = await connection.execute(
        sa.update(PHARMACY_BUYS)
        .where(sa.tuple_(PHARMACY_BUYS.c.setl_id, PHARMACY_BUYS.c.psn_no).in_(waiting))
        .values(judged_at=now)
        .returning(PHARMACY_BUYS.c.psn_no, PHARMACY_BUYS.c.settled_at)
    )
    return [(PsnNo(row.psn_no), row.settled_at) for row in rows]


async def buys_since(
    connection: AsyncConnection, funders: Collection[PsnNo], since: datetime
) -> dict[Subject, list[Evidence]]:
    """The small pharmacy bills of these funders since then whose money did not go back."""
    refunded = sa.exists().where(REFUNDED_BUYS.c.setl_id == PHARMACY_BUYS.c.setl_id)
    rows = await connection.execute(
        sa.select(PHARMACY_BUYS)
        .where(PHARMACY_BUYS.c.psn_no == any_of(funders))
        .where(PHARMACY_BUYS.c.settled_at >= since)
        .where(~refunded)
    )
    found: dict[Subject, list[Evidence]] = {}
    for row in rows:
        evidence = Evidence(
            key=str(row.setl_id),
            at=row.settled_at,
            fixmedins_code=row.fixmedins_code,
            setl_id=row.setl_id,
            patient=PsnNo(row.patient_psn_no),
        )
        found.setdefault(Subject(psn_no=PsnNo(row.psn_no)), []).append(evidence)
    return found


async def travellers(connection: AsyncConnection, *, since: datetime, until: datetime, span: timedelta) -> set[PsnNo]:
    """Who showed a credential in this time and, within ``span`` of it, one at another terminal."""
    rows = await connection.execute(_TRAVELLERS, {"since": since, "until": until, "span": span})
    return {PsnNo(found) for found in rows.scalars()}


async def showings(
    connection: AsyncConnection, people: Collection[PsnNo], *, since: datetime, until: datetime
) -> dict[PsnNo, list[Showing]]:
    """Where each of these people's credentials were shown in this time, taken or refused."""
    rows = await connection.execute(_SHOWINGS, {"psn_nos": sorted(people), "since": since, "until": until})
    found: dict[PsnNo, list[Showing]] = {}
    for row in rows:
        showing = Showing(row.key, row.at, row.fixmedins_code, row.terminal_no, row.longitude_udeg, row.latitude_udeg)
        found.setdefault(PsnNo(row.psn_no), []).append(showing)
    return found


async def refused_in(connection: AsyncConnection, *, since: datetime, until: datetime) -> set[Subject]:
    """The terminals where, and the people whose, codes or cards were refused in this time, as far as known."""
    rows = await connection.execute(
        sa.select(REFUSED_DECODINGS.c.fixmedins_code, REFUSED_DECODINGS.c.terminal_no, REFUSED_DECODINGS.c.psn_no)
        .where(REFUSED_DECODINGS.c.minute.between(since, until))
        .distinct()
    )
    found = set()
    for row in rows:
        found |= _subjects(row.fixmedins_code, row.terminal_no, row.psn_no)
    return found


async def refusals_near(
    connection: AsyncConnection, subjects: Collection[Subject], *, since: datetime, until: datetime
) -> dict[Subject, list[Evidence]]:
    """The refusals about each of these subjects in this time, minute by minute."""
    rows = await connection.execute(
        _REFUSED_NEAR,
        {
            "psn_nos": sorted(each.psn_no for each in subjects if each.psn_no is not None),
            "places": sorted(
                f"{each.fixmedins_code}/{each.terminal_no}" for each in subjects if each.fixmedins_code is not None
            ),
            "since": since,
            "until": until,
        },
    )
    found: dict[Subject, list[Evidence]] = {}
    for row in rows:
        evidence = Evidence(
            key=f"{row.fixmedins_code}/{row.terminal_no}/{row.reason}/{row.psn_no}/{int(row.minute.timestamp())}",
            at=row.last_at,
            fixmedins_code=row.fixmedins_code,
            terminal_no=row.terminal_no,
            reason=row.reason,
            occurrences=row.refusals,
        )
        for subject in _subjects(row.fixmedins_code, row.terminal_no, row.psn_no) & set(subjects):
            found.setdefault(subject, []).append(evidence)
    return found


async def forget(connection: AsyncConnection, *, before: datetime) -> None:
    """Deletes what settlement told so long ago that it cannot count any more; what was told to an officer stays."""
    for column in (
        CREDENTIAL_REFUSALS.c.refused_at,
        PHARMACY_BUYS.c.settled_at,
        REFUNDED_BUYS.c.refunded_at,
    ):
        await connection.execute(sa.delete(column.table).where(column < before))


def _subjects(fixmedins_code: str, terminal_no: str, psn_no: str) -> set[Subject]:
    found = set()
    if psn_no:
        found.add(Subject(psn_no=PsnNo(psn_no)))
    if fixmedins_code:
        found.add(Subject(fixmedins_code=FixmedinsCode(fixmedins_code), terminal_no=terminal_no))
    return found
