"""The rows of one settlement, in SQL, as the floor and the peers write them: tables, indexes and checks are ours.

``{s}`` is a schema with its dot or nothing; ``{payment}``, ``{leg_nos}`` … are how the contender hands in a value. Each
text is one statement. What Gongji writes besides (its plan, the seal of the entries, which events are published) is
its own affair and left out here: that is in the others' favour.
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from bench.population import BALANCE_FEN, BILL_FEN, FUNDERS, HOSPITAL, SHARE_FEN, Population, authorisation_id, utc_now

PLANNED_BY_KEY: Final = {
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
"""What Gongji's own hot connections ask of the server (ADR 16): given to everyone it is compared with."""
PLANNED_BY_KEY_OPTIONS: Final = " ".join(f"-c {name}={value}" for name, value in PLANNED_BY_KEY.items())
"""The same in libpq's words, for its ``options`` and for PGOPTIONS."""

LEGS: Final = """
SELECT * FROM unnest({leg_nos}, {psn_nos}, {authorisations}) AS q (leg_no, psn_no, authorisation_id)"""
"""A payment's legs in one area, each of a third of the bill."""

_BRANCH: Final = """
    INSERT INTO {{s}}branches (payment_id, state, digest, created_at, decided_at, inquire_at, next_inquire_at,
                             fixmedins_code, setl_id, care_area, origin)
    SELECT {{payment}}, '{state}', decode(md5({{payment}}::text), 'hex'), now(), {decided},
           now() + '10 s', now() + '10 s',
           '{hospital}', {{payment}}::text, '{area}', convert_to(repeat('o', 256), 'UTF8')
    WHERE EXISTS (SELECT FROM taken)"""
_LEGS_KEPT: Final = """
    INSERT INTO {s}branch_legs (payment_id, leg_no, psn_no, account_kind, role, past_fen, current_fen, year,
        authorisation_id, floor_fen, floor_past, floor_current, refunded_fen, after_past_fen, after_current_fen,
        after_held_past_fen, after_held_current_fen, after_year)
    SELECT {payment}, leg_no, psn_no, 'PERSONAL', 'FUNDER', 0, fen, year, authorisation_id, 0, true, true, 0,
           past_fen, current_fen, held_past_fen, held_current_fen, year FROM taken"""
_BOOKED: Final = """
    INSERT INTO {s}entries (source_id, leg_no, kind, book, psn_no, part, amount_fen, balance_after_fen, booked_at)
    SELECT {payment}, leg_no, 'PAYMENT', 'PERSONAL', psn_no, 'CURRENT', -fen, current_fen, now() FROM taken
    UNION ALL
    SELECT {payment}, 0, 'PAYMENT', 'CLEARING', NULL, NULL, sum(fen)::bigint, NULL, now() FROM taken
    HAVING count(*) > 0"""
_ACCOUNT_AFTER: Final = f"""
    RETURNING l.leg_no, l.psn_no, l.authorisation_id, {SHARE_FEN}::bigint AS fen, a.year, a.past_fen, a.current_fen,
              a.held_past_fen, a.held_current_fen"""
_MAY_PAY: Final = f"""a.psn_no = l.psn_no AND a.kind = 'PERSONAL' AND a.state = 'OPEN' AND NOT a.frozen
        AND a.current_fen - a.held_current_fen >= {SHARE_FEN}"""
_MAY_USE: Final = f"""u.authorisation_id = l.authorisation_id AND u.state = 'OPEN'
        AND (u.authorised_fen IS NULL OR u.used_fen + u.held_fen + {SHARE_FEN} <= u.authorised_fen)"""
_BOTH: Final = "SELECT least((SELECT count(*) FROM taken), (SELECT count(*) FROM used)) AS legs"
"""As many legs as passed both checks; fewer than were asked for is a refusal, and the contender rolls back."""

_CODES: Final = {"hospital": HOSPITAL, "area": HOSPITAL[1:7]}

TAKE: Final = f"""WITH legs AS ({{legs}}), taken AS (
    UPDATE {{s}}accounts a SET current_fen = a.current_fen - {SHARE_FEN} FROM legs l WHERE {_MAY_PAY} {_ACCOUNT_AFTER}
), used AS (
    UPDATE {{s}}authorisations u SET used_fen = u.used_fen + {SHARE_FEN} FROM legs l WHERE {_MAY_USE} RETURNING 1
), branch AS ({_BRANCH.format(state="CONFIRMED", decided="now()", **_CODES)}
), kept AS ({_LEGS_KEPT}
), booked AS ({_BOOKED}
) {_BOTH}"""
"""One area's whole part at once: balances, used amounts, branch, legs, entries with their contra side."""

HOLD: Final = f"""WITH legs AS ({{legs}}), taken AS (
    UPDATE {{s}}accounts a SET held_current_fen = a.held_current_fen + {SHARE_FEN} FROM legs l
    WHERE {_MAY_PAY} {_ACCOUNT_AFTER}
), used AS (
    UPDATE {{s}}authorisations u SET held_fen = u.held_fen + {SHARE_FEN} FROM legs l WHERE {_MAY_USE} RETURNING 1
), branch AS ({_BRANCH.format(state="HELD", decided="NULL::timestamptz", **_CODES)}
), kept AS ({_LEGS_KEPT}
) {_BOTH}"""
"""A saga's first step in one area."""

CONFIRM: Final = f"""WITH legs AS ({{legs}}), branch AS (
    UPDATE {{s}}branches SET state = 'CONFIRMED', decided_at = now() WHERE payment_id = {{payment}} AND state = 'HELD'
    RETURNING 1
), taken AS (
    UPDATE {{s}}accounts a SET held_current_fen = a.held_current_fen - {SHARE_FEN},
        current_fen = a.current_fen - {SHARE_FEN}
    FROM legs l WHERE a.psn_no = l.psn_no AND a.kind = 'PERSONAL' AND EXISTS (SELECT FROM branch) {_ACCOUNT_AFTER}
), used AS (
    UPDATE {{s}}authorisations u SET held_fen = u.held_fen - {SHARE_FEN}, used_fen = u.used_fen + {SHARE_FEN}
    FROM legs l WHERE u.authorisation_id = l.authorisation_id AND EXISTS (SELECT FROM branch) RETURNING 1
), booked AS ({_BOOKED}
) {_BOTH}"""
"""A saga's last step in one area."""

CANCEL: Final = f"""WITH legs AS ({{legs}}), branch AS (
    UPDATE {{s}}branches SET state = 'CANCELLED', decided_at = now() WHERE payment_id = {{payment}} AND state = 'HELD'
    RETURNING 1
), taken AS (
    UPDATE {{s}}accounts a SET held_current_fen = a.held_current_fen - {SHARE_FEN}
    FROM legs l WHERE a.psn_no = l.psn_no AND a.kind = 'PERSONAL' AND EXISTS (SELECT FROM branch) {_ACCOUNT_AFTER}
), used AS (
    UPDATE {{s}}authorisations u SET held_fen = u.held_fen - {SHARE_FEN}
    FROM legs l WHERE u.authorisation_id = l.authorisation_id AND EXISTS (SELECT FROM branch) RETURNING 1
) {_BOTH}"""
"""The undoing of HOLD."""

_PAYMENT: Final = f"""
    INSERT INTO {{{{s}}}}payments (payment_id, kind, state, fixmedins_code, infno, msgid, request_hash, psn_no, year,
        plan_id, legs, amount_fen, epoch, traceparent, created_at, deadline_at, next_drive_at, balances_after,
        decided_at)
    SELECT {{{{payment}}}}, 'SETTLE', '{{state}}', '{HOSPITAL}', '2207', {{{{msgid}}}},
           sha256(convert_to({{{{msgid}}}}, 'UTF8')), {{{{psn_no}}}}, extract(year FROM now())::smallint,
           {{{{payment}}}}, {{{{document}}}}::jsonb, {BILL_FEN}, 1,
           '00-00000000000000000000000000000000-0000000000000000-01', now(), now() + '8 s', now() + '8 s',
           {{balances}}, {{decided}}"""
_BALANCES: Final = (
    "'["
    + ", ".join(
        f"[{number}, 0, {BALANCE_FEN}, 0, {SHARE_FEN}, {utc_now().year}, false]" for number in range(1, FUNDERS + 1)
    )
    + "]'::jsonb"
)
_OUTBOX: Final = """
    INSERT INTO {s}outbox (event_id, aggregate, version, subject, payload, traceparent, occurred_at)
    SELECT gen_random_uuid(), 'payment:' || {payment}::text, 1, 'bill_settled', convert_to(repeat('e', 384), 'UTF8'),
           '00-00000000000000000000000000000000-0000000000000000-01', now()"""
_MOVED: Final = """
    INSERT INTO {s}patient_years (psn_no, year, version) SELECT psn_no, year, 1 FROM decided
    ON CONFLICT (psn_no, year) DO UPDATE SET version = patient_years.version + 1"""

BEGIN: Final = _PAYMENT.format(state="TRYING", balances="NULL::jsonb", decided="NULL::timestamptz")
"""The payment before anything is held."""

DECIDE: Final = (
    f"WITH decided AS ({_PAYMENT.format(state='COMMITTED', balances=_BALANCES, decided='now()')}"
    f"\n    RETURNING psn_no, year\n), moved AS ({_MOVED}\n) {_OUTBOX} FROM decided"
)
"""The decision row, the patient's year and the event, where the payment was not written before."""

FINISH: Final = f"""WITH decided AS (
    UPDATE {{s}}payments SET state = 'DONE', decided_at = clock_timestamp(), finished_at = clock_timestamp(),
        balances_after = {_BALANCES}
    WHERE payment_id = {{payment}} AND state = 'TRYING' RETURNING psn_no, year
), moved AS ({_MOVED}
) {_OUTBOX} FROM decided"""
"""The payment's end, where BEGIN has written it."""


@dataclass(frozen=True, slots=True)
class Payment:
    """One settlement of a family's next bill, as a peer hands it to the statements."""

    payment_id: UUID
    msgid: str
    psn_no: str
    document: str
    leg_nos: dict[str, list[int]]
    """By area, as the next two."""
    psn_nos: dict[str, list[str]]
    authorisations: dict[str, list[UUID]]


def payment_of(population: Population, family: int) -> Payment:
    """A payment with a fresh id (of version 7, as ours)."""
    moment_ms = time.time_ns() // 1_000_000
    payment_id = UUID(int=(moment_ms << 80 | 0x7 << 76 | 0x2 << 62) | secrets.randbits(62) | secrets.randbits(12) << 64)
    leg_nos: dict[str, list[int]] = {}
    psn_nos: dict[str, list[str]] = {}
    authorisations: dict[str, list[UUID]] = {}
    documents = []
    for place in range(FUNDERS):
        area, psn_no, key = population.funder_area(family, place), population.funder_no(family, place), place + 1
        leg_nos.setdefault(area, []).append(key)
        psn_nos.setdefault(area, []).append(psn_no)
        authorisations.setdefault(area, []).append(authorisation_id(family, place))
        documents.append(_document(area, key, psn_no, str(authorisation_id(family, place))))
    return Payment(
        payment_id=payment_id,
        msgid=str(payment_id)[:30],
        psn_no=population.patient_no(family),
        document=f"[{', '.join(documents)}]",
        leg_nos=leg_nos,
        psn_nos=psn_nos,
        authorisations=authorisations,
    )


def _document(area: str, leg_no: int, psn_no: str, authorisation: str) -> str:
    return json.dumps(
        {
            "area": area,
            "role": "FUNDER",
            "leg_no": leg_no,
            "psn_no": psn_no,
            "past_fen": 0,
            "floor_fen": 0,
            "current_fen": SHARE_FEN,
            "floor_parts": ["past", "current"],
            "authorisation_id": authorisation,
        }
    )


def document_in_sql(population: Population, psn_nos: list[str], authorisations: list[str]) -> str:
    """The legs' document as an expression of SQL, over the expressions of its persons and authorisations."""
    documents = [_document(population.funder_area(0, place), place + 1, "%s", "%s") for place in range(FUNDERS)]
    pairs = [part for pair in zip(psn_nos, authorisations, strict=True) for part in pair]
    return f"format('[{', '.join(documents)}]', {', '.join(pairs)})"
