"""Looking back: what became of a request, the journal, a day's statement, a patient's slip."""

from __future__ import annotations

import argparse
from datetime import date, datetime, time, timedelta
from typing import Final
from uuid import UUID

from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal import slip, views
from gongji_terminal.client import system_now
from gongji_terminal.commands.paying import MSGID, REVERSIBLE
from gongji_terminal.commands.session import AddParser, Exit, Session, Wrong
from gongji_terminal.journal import EntryState
from gongji_terminal.msgid import SHANGHAI
from gongji_terminal.records import Record
from gongji_terminal.voice import enum_word, padded, plain, table, yuan

SUMS: Final = ("medfee_sumamt", "fund_pay_sumamt", "own_pay", "wallet_pay", "acct_mulaid_pay", "psn_cash_pay")
HEADINGS: Final = (
    ("总额", "bill"),
    ("基金", "fund"),
    ("本人账户", "own"),
    ("钱包", "wallet"),
    ("共济", "family"),
    ("现金", "cash"),
)
COLUMN: Final = 12
MSGID_COLUMNS: Final = (30, 18, 14)


def day_of(text: str) -> date:
    """yyyy-MM-dd, `today` or `yesterday`, in Asia/Shanghai."""
    today = system_now().astimezone(SHANGHAI).date()
    match text:
        case "today":
            return today
        case "yesterday":
            return today - timedelta(days=1)
        case _:
            try:
                return date.fromisoformat(text)
            except ValueError:
                raise argparse.ArgumentTypeError(f"{text} is no day: yyyy-MM-dd, today or yesterday") from None


def add(add_parser: AddParser) -> None:
    """`ask`, `journal`, `statement` and `slip`."""
    parser = add_parser("ask", _ask, help="what became of a payment, by its setl_id or the request's msgid")
    parser.add_argument("what", metavar="SETL_ID|MSGID")
    parser.add_argument("--infno", choices=REVERSIBLE, help="of a msgid that this journal does not know")
    parser = add_parser("journal", _journal, help="the requests that this terminal wrote, oldest first")
    parser.add_argument("--day", type=day_of, metavar="DAY", help="of one day alone: yyyy-MM-dd, today, yesterday")
    parser.add_argument(
        "--state", choices=[state.value.lower() for state in EntryState], help="`written` has no answer yet"
    )
    parser = add_parser(
        "statement", _statement, help="a day's settlements and refunds with their sums, from the journal"
    )
    parser.add_argument(
        "--day", type=day_of, default="today", metavar="DAY", help="yyyy-MM-dd, today (default), yesterday"
    )
    parser = add_parser("slip", _slip, help="the patient's slip of a settlement, for a receipt printer")
    parser.add_argument("setl_id", metavar="SETL_ID")
    parser.add_argument(
        "--columns", type=int, default=slip.COLUMNS, metavar="N", help="the paper's width (default: %(default)s)"
    )


async def _ask(at: Session, arguments: argparse.Namespace) -> Exit:
    if MSGID.fullmatch(arguments.what):
        entry = await at.journal.of_msgid(arguments.what)
        infno = arguments.infno or (entry.infno if entry else "")
        if not infno:
            raise Wrong(
                at.voice.of(
                    "本日志中没有此报文；请用 --infno 指明交易编号",
                    "this journal has no such request; say which transaction it is: --infno",
                )
            )
        found = await at.terminal.get(infno=infno, msgid=arguments.what)
    else:
        found = await at.terminal.get(setl_id=_setl_id(arguments.what))
    state = enum_word(pb.SettlementState.DESCRIPTOR, found.settlement.state)
    lines = views.settlement(at.voice, found.settlement)
    if found.refusal_reason:
        lines.append(f"  {found.refusal_reason}")
    if state in views.NEXT:
        lines.append("  " + at.voice.of(*views.NEXT[state]))
    at.voice.answer({"outcome": "found", "state": state, **plain(found)}, lines)
    return Exit.DONE


async def _journal(at: Session, arguments: argparse.Namespace) -> Exit:
    since = None if arguments.day is None else datetime.combine(arguments.day, time(), SHANGHAI)
    until = None if since is None else since + timedelta(days=1)
    state = None if arguments.state is None else EntryState(arguments.state.upper())
    count = 0
    async for page in at.journal.pages(since=since, until=until, state=state):
        for entry in page:
            row = views.entry_row(at.voice, entry)
            document = {
                "msgid": entry.msgid,
                "infno": entry.infno,
                "state": entry.state.value.lower(),
                "attempts": entry.attempts,
                "setl_id": entry.setl_id,
                "original_setl_id": entry.original_setl_id,
                "refund_setl_id": entry.refund_setl_id,
                "reason": entry.reason,
                "written_at": entry.written_at,
            }
            at.voice.answer(document, table([row], widths=MSGID_COLUMNS))
        count += len(page)
    at.voice.remark(f"共 {count} 笔", "1 request" if count == 1 else f"{count} requests")
    for queued in await at.journal.reversals_queued():
        at.voice.remark(f"冲正 {queued.msgid} 等待发送", f"The reversal of {queued.msgid} waits to be sent")
    return Exit.DONE


async def _statement(at: Session, arguments: argparse.Namespace) -> Exit:
    voice = at.voice
    sums = dict.fromkeys(SUMS, 0)
    settled = returned = 0
    header = [voice.of("时间", "time"), voice.of("就诊", "visit"), *(voice.of(*words) for words in HEADINGS)]
    if not voice.as_json:
        voice.answer({}, [f"{at.config.fixmedins_code}  {arguments.day}", _columns(header)])
    async for page in at.journal.day(fixmedins_code=at.config.fixmedins_code, day=arguments.day):
        for record in page:
            voice.answer(_record(record), [_columns([record.setl_time[11:19], record.mdtrt_id, *_amounts(record)])])
            returned += bool(record.original_setl_id)
            settled += not record.original_setl_id
            for name in SUMS:
                sums[name] += getattr(record, name)
    total = voice.of(f"结算 {settled} 笔，退回 {returned} 笔", f"{settled} paid, {returned} back")
    voice.answer(
        {"day": arguments.day.isoformat(), "settled": settled, "returned": returned, "sums": sums},
        [_columns([total, "", *(yuan(fen) for fen in sums.values())], merged=True)],
    )
    return Exit.DONE


async def _slip(at: Session, arguments: argparse.Namespace) -> Exit:
    if arguments.columns < slip.COLUMNS_MIN:
        raise Wrong(f"a slip needs {slip.COLUMNS_MIN} columns at least")
    found = await at.terminal.get(setl_id=_setl_id(arguments.setl_id))
    if not found.settlement.HasField("amounts"):
        raise Wrong(at.voice.of("此请求没有付款，没有凭证可打印", "nothing was paid by it, so there is no slip"))
    lines = slip.slip(at.voice, found.settlement, columns=arguments.columns)
    at.voice.answer({"outcome": "slip", "lines": lines, "settlement": plain(found.settlement)}, lines)
    return Exit.DONE


def _record(record: Record) -> dict[str, object]:
    return {
        "setl_id": record.setl_id,
        "original_setl_id": record.original_setl_id,
        "infno": record.infno,
        "msgid": record.msgid,
        "mdtrt_id": record.mdtrt_id,
        "insutype": record.insutype,
        "clr_type": record.clr_type,
        "setl_time": record.setl_time,
        **{name: getattr(record, name) for name in (*SUMS, "acct_pay")},
    }


def _amounts(record: Record) -> list[str]:
    return [yuan(getattr(record, name)) for name in SUMS]


def _columns(cells: list[str], *, merged: bool = False) -> str:
    """Time, visit and the amounts; the last line's words take the room of the first two."""
    first = [padded(cells[0], 32)] if merged else [padded(cells[0], 8), padded(cells[1], 22)]
    return "  ".join([*first, *(padded(cell, COLUMN, right=True) for cell in cells[2:])]).rstrip()


def _setl_id(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise Wrong(f"{text} is neither a setl_id nor a msgid") from None
