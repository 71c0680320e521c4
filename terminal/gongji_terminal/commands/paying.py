"""What moves money: pay, revoke, reverse. One at a time, and never twice for one plan."""

from __future__ import annotations

import argparse
import re
from typing import Final

import grpc

from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal.alone import alone_with
from gongji_terminal.care import Care, care_settled_by
from gongji_terminal.client import Outcome
from gongji_terminal.commands.resuming import remark_on, resume
from gongji_terminal.commands.session import AddParser, Exit, Session, Wrong, show_plan, told, unanswered
from gongji_terminal.failures import TerminalRefusal, Unanswered
from gongji_terminal.journal import PLAN_NAMED_MIN, Entry, EntryState, PlanAsked, ShownPlan

MSGID: Final = re.compile(r"[HP][1-9][0-9]{10}[0-9]{18}")
SETL_ID: Final = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
ENDING: Final = re.compile(f"[0-9a-f-]{{{PLAN_NAMED_MIN},36}}")
REVERSIBLE: Final = [infno for care in Care for infno in (care.settle, care.revoke)]


def add(add_parser: AddParser) -> None:
    """`pay`, `revoke` and `reverse`."""
    parser = add_parser("pay", _pay, help="2207 / 2102 / 2304: pay exactly the plan that was shown")
    parser.add_argument("plan", metavar="PLAN", help="its plan_id, or the end of it that was shown")
    parser.add_argument("--another", action="store_true", help="although this visit has a settlement that stands")
    parser = add_parser("revoke", _revoke, help="2208 / 2103 / 2305: take a whole settlement back")
    parser.add_argument("setl_id", metavar="SETL_ID")
    parser = add_parser("reverse", _reverse, help="2601: stop a request, or give back what it paid; from any terminal")
    parser.add_argument("msgid", metavar="MSGID")
    parser.add_argument("--infno", choices=REVERSIBLE, help="which transaction it is, if this journal does not know it")
    parser.add_argument("--later", action="store_true", help="only write the wish down; `resume` sends it")


async def _pay(at: Session, arguments: argparse.Namespace) -> Exit:
    shown = await _find_plan(at, arguments.plan)
    with alone_with(at.config.journal):
        remark_on(at, await resume(at))
        if (earlier := await at.journal.of_plan(shown.plan_id)) is not None:
            return await _stands(at, shown, earlier)
        paid = await at.journal.paid_of_visit(fixmedins_code=shown.fixmedins_code, mdtrt_id=shown.mdtrt_id)
        care = Care[shown.care]
        if paid and care is not Care.INPATIENT and not arguments.another:
            raise Wrong(
                at.voice.of(
                    f"此次就诊已结算，结算ID {paid[-1].setl_id}；如确需再结一笔，请加 --another",
                    f"this visit is paid, setl_id {paid[-1].setl_id}; if another bill of it is meant: --another",
                )
            )
        try:
            outcome = await at.terminal.settle(pb.Plan.FromString(shown.plan), care=care, once=True)
        except PlanAsked as asked:
            return await _stands(at, shown, asked.entry)
        except Unanswered as silence:
            return unanswered(at.voice, silence, await at.journal.of_plan(shown.plan_id))
        return await _paid(at, shown, outcome)


async def _paid(at: Session, shown: ShownPlan, outcome: Outcome) -> Exit:
    if isinstance(outcome, pb.Replan):
        await show_plan(at, outcome.plan, care=shown.care, mdtrt_id=shown.mdtrt_id, replaces=shown.plan_id)
    elif isinstance(outcome, pb.Settlement):
        at.visits.end(shown.mdtrt_id)
    return told(at, outcome, mdtrt_id=shown.mdtrt_id)


async def _stands(at: Session, shown: ShownPlan, earlier: Entry) -> Exit:
    """The plan was asked for before: what came of that is the answer, and nothing is sent."""
    match earlier.state:
        case EntryState.SETTLED:
            at.visits.end(shown.mdtrt_id)
            at.voice.remark("此方案已付清，未再次扣款：", "This plan is paid already; nothing was taken again:")
            return told(at, pb.Settlement.FromString(earlier.answer), already=True)
        case EntryState.REPLANNED:
            return await _paid(at, shown, pb.Replan.FromString(earlier.answer))
        case _:
            # `resume` was just here and could not end it: whatever the desk says now, it may still come to be done.
            try:
                found = await at.terminal.get(infno=earlier.infno, msgid=earlier.msgid)
            except (TerminalRefusal, Unanswered) as failure:
                return unanswered(at.voice, Unanswered(failure.code, failure.reason), earlier)
            if found.settlement.state == pb.SETTLEMENT_STATE_SETTLED:
                return told(at, found.settlement)
            return unanswered(at.voice, Unanswered(grpc.StatusCode.UNAVAILABLE), earlier)


async def _find_plan(at: Session, ending: str) -> ShownPlan:
    if not ENDING.fullmatch(ending):
        raise Wrong(
            at.voice.of(
                "请给出方案编号的末尾（至少 6 位）", "name a plan by the end of its plan_id, six characters at least"
            )
        )
    match await at.journal.plans_like(ending):
        case [shown]:
            if shown.fixmedins_code == at.config.fixmedins_code:
                return shown
        case [_, _]:
            raise Wrong(at.voice.of(f"以 {ending} 结尾的方案不止一个", f"more than one plan ends with {ending}"))
    raise Wrong(
        at.voice.of(
            f"本终端没有出示过以 {ending} 结尾的方案", f"this terminal has shown no plan that ends with {ending}"
        )
    )


async def _revoke(at: Session, arguments: argparse.Namespace) -> Exit:
    if not SETL_ID.fullmatch(arguments.setl_id):
        raise Wrong(f"{arguments.setl_id} is no setl_id")
    with alone_with(at.config.journal):
        remark_on(at, await resume(at))
        back = await at.journal.taken_back_by(arguments.setl_id)
        found = await at.terminal.get(setl_id=back.setl_id if back else arguments.setl_id)
        if back is not None:
            at.voice.remark("此结算先前已退回：", "This settlement was taken back before:")
            return told(at, found.settlement, already=True)
        try:
            care = care_settled_by(str(int(found.settlement.key.infno)))
        except ValueError as wrong:
            raise Wrong(str(wrong)) from None
        try:
            outcome = await at.terminal.revoke(arguments.setl_id, care=care)
        except Unanswered as silence:
            return unanswered(at.voice, silence, next(reversed(await at.journal.unanswered()), None))
        return told(at, outcome)


async def _reverse(at: Session, arguments: argparse.Namespace) -> Exit:
    msgid = arguments.msgid
    if not MSGID.fullmatch(msgid) or not msgid.startswith(at.config.fixmedins_code):
        raise Wrong(f"{msgid} is no msgid of this institution: {at.config.fixmedins_code} and 18 digits")
    entry = await at.journal.of_msgid(msgid)
    infno = arguments.infno or (entry.infno if entry else "")
    if not infno:
        raise Wrong(
            at.voice.of(
                "本日志中没有此报文；请用 --infno 指明交易编号",
                "this journal has no such request; say which transaction it is: --infno",
            )
        )
    with alone_with(at.config.journal):
        queued = await at.terminal.want_reversed(infno=infno, msgid=msgid)
        if not arguments.later:
            try:
                told(at, await at.terminal.reverse(infno=infno, msgid=msgid))
            except (TerminalRefusal, Unanswered) as failure:
                if not failure.is_open:
                    raise
                why = failure.reason or failure.code.name
                at.voice.remark(f"没有答复：{why}", f"No answer: {why}")
            else:
                return Exit.DONE
        document = {"outcome": "queued", "infno": queued.infno, "msgid": queued.msgid}
        line = at.voice.of(
            f"冲正 {msgid} 已排队；网络恢复后运行：gongji-terminal resume",
            f"The reversal of {msgid} waits; once the network is back: gongji-terminal resume",
        )
        at.voice.answer(document, [line])
        return Exit.DONE if arguments.later else Exit.UNANSWERED
