"""What this terminal does not know yet: reversals that wait, and requests of its own without an answer."""

from __future__ import annotations

import argparse
from typing import Any

from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal import views
from gongji_terminal.alone import Busy, alone_with
from gongji_terminal.answers import is_silence
from gongji_terminal.client import Outcome, Reversed
from gongji_terminal.commands.session import AddParser, Exit, Session, show_plan
from gongji_terminal.failures import TerminalRefusal, Unanswered
from gongji_terminal.journal import Entry, QueuedReversal
from gongji_terminal.voice import plain, table

Ended = list[tuple[Entry | QueuedReversal, Outcome | TerminalRefusal | Unanswered]]


def add(add_parser: AddParser) -> None:
    """`resume`."""
    add_parser(
        "resume", _resume, help="after a crash or without network: find out about every request without an answer"
    )


async def _resume(at: Session, _: argparse.Namespace) -> Exit:
    with alone_with(at.config.journal):
        ended = await resume(at)
    rows = [(what.msgid, views.word(at.voice, views.TRANSACTIONS, what.infno), _said(at, how)) for what, how in ended]
    document = {"outcome": "resumed", "requests": [_document(what, how) for what, how in ended]}
    at.voice.answer(document, table(rows) or [at.voice.of("没有未得到答复的请求", "Every request has its answer")])
    return Exit.UNANSWERED if any(_is_open(how) for _, how in ended) else Exit.DONE


async def resume(at: Session) -> Ended:
    """Reversals first, for they are somebody's will; nothing more is tried once a service is silent. Alone."""
    sent = await at.terminal.send_reversals()
    ended: Ended = [*sent]
    if any(is_silence(how) for _, how in sent if not isinstance(how, Reversed)):
        return ended
    found = await at.terminal.find_out()
    for entry, how in found:
        if isinstance(how, pb.Replan):
            await _keep_offered(at, entry, how)
    return [*ended, *found]


def _is_open(how: Outcome | TerminalRefusal | Unanswered) -> bool:
    return isinstance(how, TerminalRefusal | Unanswered) and how.is_open


async def _keep_offered(at: Session, entry: Entry, offered: pb.Replan) -> None:
    """The new plan can be paid like any other that was shown."""
    asked = pb.SettleRequest.FromString(entry.request).plan_id
    for old in await at.journal.plans_like(asked):
        await show_plan(at, offered.plan, care=old.care, mdtrt_id=old.mdtrt_id, replaces=old.plan_id)


async def resume_quietly(at: Session) -> None:
    """Before something new: what is left of before, if nobody works on it right now; a person hears what came of it."""
    if not await at.journal.unanswered() and not await at.journal.reversals_queued():
        return
    try:
        with alone_with(at.config.journal, wait_s=0):
            ended = await resume(at)
    except Busy:
        return
    remark_on(at, ended)


def remark_on(at: Session, ended: Ended) -> None:
    """Tells a person what came of earlier requests."""
    for what, how in ended:
        name = views.word(at.voice, views.TRANSACTIONS, what.infno)
        at.voice.remark(
            f"先前的请求 {what.msgid}（{name}）：{_said(at, how)}",
            f"Earlier request {what.msgid} ({name}): {_said(at, how)}",
        )


def _said(at: Session, how: Outcome | TerminalRefusal | Unanswered) -> str:
    of = at.voice.of
    match how:
        case pb.Settlement():
            return of(f"已办成，结算ID {how.setl_id}", f"done, setl_id {how.setl_id}")
        case pb.Replan():
            return of(
                f"未扣款，需确认新方案 {how.plan.plan_id[-views.SHORT :]}",
                f"nothing taken; new plan {how.plan.plan_id[-views.SHORT :]}",
            )
        case Reversed():
            back = (
                of("已冲正，款已退回", "reversed, the money went back")
                if how.refund
                else of("已冲正，未扣款", "reversed, nothing was taken")
            )
            return back if how.refund is None else f"{back} {how.refund.setl_id}"
        case TerminalRefusal():
            return f"{how.reason} {of(how.text_zh, how.text_en)}"
        case Unanswered():
            return of("仍无答复", "still no answer") + f" {how.reason or how.code.name}"


def _document(what: Entry | QueuedReversal, how: Outcome | TerminalRefusal | Unanswered) -> dict[str, Any]:
    document: dict[str, Any] = {"infno": what.infno, "msgid": what.msgid, "reversal": isinstance(what, QueuedReversal)}
    match how:
        case pb.Settlement():
            return {**document, "outcome": "settled", "settlement": plain(how)}
        case pb.Replan():
            return {**document, "outcome": "replanned", "reason": how.reason, "plan": plain(how.plan)}
        case Reversed():
            return {**document, "outcome": "reversed", "refund": None if how.refund is None else plain(how.refund)}
        case TerminalRefusal():
            return {**document, "outcome": "refused", "reason": how.reason}
        case Unanswered():
            return {**document, "outcome": "unanswered", "reason": how.reason, "code": how.code.name}
