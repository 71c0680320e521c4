"""What the terminal was told of money that moved: a row for each settlement, revocation and refund, by its day.

The rows are what a day's statement and a reconciliation are made of. They outlive what becomes of the request: a bill
that was paid and taken back is two rows, each on the day of its own ``setl_time`` in Asia/Shanghai.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import UTC, date
from typing import Final

from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal.msgid import SHANGHAI

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS records (
    fixmedins_code text NOT NULL,
    setl_day text NOT NULL,
    setl_id text NOT NULL PRIMARY KEY,
    original_setl_id text NOT NULL,
    infno text NOT NULL,
    msgid text NOT NULL,
    mdtrt_id text NOT NULL,
    psn_no text NOT NULL,
    med_type text NOT NULL,
    insutype text NOT NULL,
    clr_type text NOT NULL,
    setl_time text NOT NULL,
    medfee_sumamt integer NOT NULL,
    fund_pay_sumamt integer NOT NULL,
    acct_pay integer NOT NULL,
    acct_mulaid_pay integer NOT NULL,
    psn_cash_pay integer NOT NULL,
    wallet_pay integer NOT NULL,
    own_pay integer NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS records_by_day ON records (fixmedins_code, setl_day, setl_id);
CREATE INDEX IF NOT EXISTS records_taking_back ON records (original_setl_id) WHERE original_setl_id <> '';
CREATE INDEX IF NOT EXISTS records_by_visit ON records (fixmedins_code, mdtrt_id);
"""


CLR_TYPES: Final = {"2102": "41", "2103": "41", "2207": "11", "2208": "11", "2304": "21", "2305": "21"}
"""清算类别 by the transaction: 11 outpatient, 21 inpatient, 41 pharmacy."""
REVERSAL: Final = "2601"


@dataclass(frozen=True, slots=True)
class Record:
    """One settlement, or with negative amounts (fen) what took one back."""

    fixmedins_code: str
    setl_day: str
    setl_id: str
    original_setl_id: str
    infno: str
    msgid: str
    mdtrt_id: str
    psn_no: str
    med_type: str
    insutype: str
    clr_type: str
    setl_time: str
    medfee_sumamt: int
    fund_pay_sumamt: int
    acct_pay: int
    acct_mulaid_pay: int
    psn_cash_pay: int
    wallet_pay: int
    own_pay: int
    """From the patient's own account; ``acct_pay`` may hold the relatives' part as well."""


_COLUMNS: Final = ", ".join(field.name for field in fields(Record))
_MARKS: Final = ", ".join("?" for _ in fields(Record))


def record_of(settlement: pb.Settlement, *, reversed_infno: str = "", reversed_msgid: str = "") -> Record:
    """The row of a settlement that was made; of a reversal's refund with the key that was reversed, for it has none."""
    amounts = settlement.amounts
    has_key = settlement.HasField("key")
    infno = str(int(settlement.key.infno)) if has_key else reversed_infno
    time = settlement.setl_time.ToDatetime(tzinfo=UTC).astimezone(SHANGHAI)
    return Record(
        fixmedins_code=settlement.fixmedins_code,
        setl_day=time.date().isoformat(),
        setl_id=settlement.setl_id,
        original_setl_id=settlement.original_setl_id,
        infno=infno if has_key else REVERSAL,
        msgid=settlement.key.msgid if has_key else reversed_msgid,
        mdtrt_id=settlement.mdtrt_id,
        psn_no=settlement.psn_no,
        med_type=settlement.med_type,
        insutype=settlement.insutype,
        clr_type=settlement.clr_type or CLR_TYPES.get(infno, ""),
        setl_time=time.isoformat(timespec="seconds"),
        medfee_sumamt=amounts.medfee_sumamt,
        fund_pay_sumamt=amounts.fund_pay_sumamt,
        acct_pay=amounts.acct_pay,
        acct_mulaid_pay=amounts.acct_mulaid_pay,
        psn_cash_pay=amounts.psn_cash_pay,
        wallet_pay=amounts.wallet_pay,
        own_pay=amounts.own_past_fen + amounts.own_current_fen,
    )


def keep(connection: sqlite3.Connection, record: Record) -> None:
    """Writes the row down; it never changes afterwards."""
    values = tuple(getattr(record, field.name) for field in fields(Record))
    connection.execute(f"INSERT INTO records ({_COLUMNS}) VALUES ({_MARKS}) ON CONFLICT DO NOTHING", values)  # noqa: S608  Constants.


def of_day(connection: sqlite3.Connection, *, fixmedins_code: str, day: date, after: str, limit: int) -> list[Record]:
    """The rows of a day with a greater setl_id than ``after``, in its order, so many at most."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM records WHERE fixmedins_code = ? AND setl_day = ? AND setl_id > ? "  # noqa: S608  Constants.
        "ORDER BY setl_id LIMIT ?",
        (fixmedins_code, day.isoformat(), after, limit),
    )
    return [Record(*row) for row in rows]


def of_visit(connection: sqlite3.Connection, *, fixmedins_code: str, mdtrt_id: str) -> Iterator[Record]:
    """What was settled of a visit and not taken back since, as far as this journal knows."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM records AS paid WHERE fixmedins_code = ? AND mdtrt_id = ? AND original_setl_id = '' "  # noqa: S608  Constants.
        "AND NOT EXISTS (SELECT 1 FROM records AS back WHERE back.original_setl_id = paid.setl_id) ORDER BY setl_time",
        (fixmedins_code, mdtrt_id),
    )
    return (Record(*row) for row in rows)


def taking_back(connection: sqlite3.Connection, setl_id: str) -> Record | None:
    """The row of what took this settlement back, None if nothing did as far as this journal knows."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM records WHERE original_setl_id = ? AND original_setl_id <> ''",  # noqa: S608  Constants.
        (setl_id,),
    ).fetchone()
    return None if row is None else Record(*row)


def find(connection: sqlite3.Connection, setl_id: str) -> Record | None:
    """The row of this setl_id, None if the terminal was never told of it."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM records WHERE setl_id = ?", (setl_id,)).fetchone()  # noqa: S608  Constants.
    return None if row is None else Record(*row)
