"""The day's end: the institution's books beside the desk's."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import date
from pathlib import Path
from typing import Final

from gongji.settlement.v1 import reconciliation_pb2 as pb
from gongji_terminal.commands.looking import day_of
from gongji_terminal.commands.session import AddParser, Exit, Session, Wrong, opened_journal
from gongji_terminal.journal import Journal
from gongji_terminal.reconciling import ROWS_MAX, Reconciler
from gongji_terminal.voice import Voice, enum_word, padded, plain, table, yuan

KINDS: Final = {
    "ONLY_OURS": ("仅中心有", "the desk alone has it"),
    "ONLY_THEIRS": ("仅机构有", "this institution alone has it"),
    "AMOUNT": ("金额不一致", "other amounts"),
    "STATE": ("状态不一致", "another state"),
}
DIFFERENCE_STATES: Final = {
    "OPEN": ("待处理", "open"),
    "CLEARED": ("已消除", "cleared"),
    "EXPLAINED": ("已说明", "explained"),
    "RESOLVED": ("已处理", "resolved"),
}
HEADINGS: Final = (
    ("险种", "insutype"),
    ("清算类别", "clr_type"),
    ("", ""),
    ("笔数", "records"),
    ("总额", "bill"),
    ("基金", "fund"),
    ("账户", "accounts"),
    ("现金", "cash"),
)
KIND_COLUMNS: Final = 16


def add(add_parser: AddParser) -> None:
    """`reconcile`."""
    parser = add_parser(
        "reconcile", _reconcile, help="3201 and 3202: a day's books of this institution beside the desk's"
    )
    parser.add_argument(
        "--day", type=day_of, default="today", metavar="DAY", help="yyyy-MM-dd, today (default), yesterday"
    )
    parser.add_argument(
        "--journal",
        type=Path,
        action="append",
        default=[],
        dest="journals",
        metavar="FILE",
        help="of another terminal of this institution; again for each of them",
    )
    parser.add_argument("--details", action="store_true", help="record by record even where the totals agree")


async def _reconcile(at: Session, arguments: argparse.Namespace) -> Exit:
    day: date = arguments.day
    for file in arguments.journals:
        if not file.is_file():
            raise Wrong(f"{file} is no file")
    async with AsyncExitStack() as stack:
        others = [await stack.enter_async_context(opened_journal(file)) for file in arguments.journals]
        await _warn(at, [at.journal, *others])
        books = Reconciler(at.terminal.settlement_channel, [at.journal, *others], at.config.fixmedins_code)
        totals = await books.totals(day)
        compared = await books.compare_totals(day, totals)
        count = sum(total.fixmedins_setl_cnt for total in totals)
        balanced = compared.stmt_rslt == pb.STMT_RSLT_BALANCED
        at.voice.answer(
            {"outcome": "totals", "day": day.isoformat(), **plain(compared)}, _totals(at.voice, day, compared)
        )
        if balanced and not arguments.details:
            return Exit.DONE
        if count > ROWS_MAX:
            raise Wrong(f"{count} records in a day are more than the desk takes: {ROWS_MAX}")
        return await _details(at.voice, books, day, count)


async def _details(voice: Voice, books: Reconciler, day: date, count: int) -> Exit:
    """Record by record, with the difference file printed as it comes."""
    answer = await books.compare_records(day, count=count, sent=_progress(voice, count))
    balanced = answer.stmt_rslt == pb.STMT_RSLT_BALANCED
    said = _judged(voice, balanced=balanced)
    title = voice.of(
        f"明细对账：机构 {answer.theirs_cnt} 笔，中心 {answer.ours_cnt} 笔，{said}",
        f"Records: {answer.theirs_cnt} here, {answer.ours_cnt} at the desk, {said}",
    )
    voice.answer({"outcome": "records", "day": day.isoformat(), **plain(answer)}, [title])
    async for difference in books.differences(day):
        voice.answer({"outcome": "difference", **plain(difference)}, [_difference(voice, difference)])
    return Exit.DONE if balanced else Exit.DIFFERENCES


async def _warn(at: Session, journals: list[Journal]) -> None:
    """What has no answer yet is missing here, and may stand there."""
    waiting = sum([len(await journal.unanswered()) + len(await journal.reversals_queued()) for journal in journals])
    if waiting:
        at.voice.remark(
            f"注意：{waiting} 笔请求未得到答复，请先运行 gongji-terminal resume",
            f"Mind: {waiting} requests have no answer yet; first run gongji-terminal resume",
        )


def _totals(voice: Voice, day: date, compared: pb.ReconcileTotalResponse) -> list[str]:
    of = voice.of
    said = _judged(voice, balanced=compared.stmt_rslt == pb.STMT_RSLT_BALANCED)
    lines = [of(f"{day} 对总账：{said}", f"{day} totals: {said}")]
    rows = [tuple(of(*words) for words in HEADINGS)]
    for group in compared.groups:
        same = group.stmt_rslt == pb.STMT_RSLT_BALANCED
        for whose, total in ((of("机构", "here"), group.theirs), (of("中心", "desk"), group.ours)):
            sums = total.amounts
            amounts = (sums.medfee_sumamt, sums.fund_pay_sumamt, sums.acct_pay, sums.psn_cash_pay)
            rows.append((group.insutype, group.clr_type, whose, str(total.fixmedins_setl_cnt), *map(yuan, amounts)))
            if same:
                break
    lines += ["  " + line for line in table(rows, right=frozenset({3, 4, 5, 6, 7}))] if compared.groups else []
    if compared.provisional:
        lines.append(of("  该日尚未结束，之后仍可能有新的记录", "  the day is not over; more may come"))
    return lines


def _judged(voice: Voice, *, balanced: bool) -> str:
    return voice.of("平", "balanced") if balanced else voice.of("不平", "not balanced")


def _difference(voice: Voice, difference: pb.Difference) -> str:
    kind = enum_word(pb.DifferenceKind.DESCRIPTOR, difference.kind)
    state = enum_word(pb.DifferenceState.DESCRIPTOR, difference.state)
    said = padded(voice.of(*KINDS.get(kind, (kind, kind))), KIND_COLUMNS)
    stands = voice.of(*DIFFERENCE_STATES.get(state, (state, state)))
    return f"  {said}  {difference.setl_id or difference.msgid}  {stands}  {' '.join(difference.fields)}".rstrip()


def _progress(voice: Voice, count: int) -> Callable[[int], None]:
    """A line that a person sees move; nothing where no person looks."""
    shown = not voice.as_json and sys.stderr.isatty() and count > 0

    def sent(gone: int) -> None:
        if shown:
            end = "\n" if gone >= count else ""
            sys.stderr.write("\r" + voice.of(f"上传 {gone}/{count}", f"sent {gone}/{count}") + end)
            sys.stderr.flush()

    return sent
