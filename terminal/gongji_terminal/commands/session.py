"""What every command has in common: its settings, its journal, its voice, and how it ends (docs/terminal.md)."""

from __future__ import annotations

import argparse
import getpass
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Protocol, TypeAlias

from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal import views
from gongji_terminal.client import Reversed, Terminal, system_now
from gongji_terminal.config import Config
from gongji_terminal.failures import TerminalRefusal, Unanswered
from gongji_terminal.journal import Entry, Journal, ShownPlan
from gongji_terminal.nameless import nameless
from gongji_terminal.visits import OpenVisits
from gongji_terminal.voice import Voice, plain


class Exit(IntEnum):
    """How a command ends; a program may rely on these numbers."""

    DONE = 0
    REFUSED = 1  # The service said no: nothing was taken.
    USAGE = 2  # The command line, the settings or a file is wrong: nothing was sent.
    REPLANNED = 3  # Nothing was taken; there is a new plan to consent to.
    UNANSWERED = 4  # Not known. The journal has it: `resume` finds out.
    REVERSED = 5  # Stopped or taken back for good; to pay, plan again.
    DIFFERENCES = 6  # A reconciliation found some.
    BUSY = 7  # Another command moves money with this journal.
    INTERRUPTED = 130  # Ctrl-C. What was on its way is in the journal.


class Wrong(Exception):  # noqa: N818  What a person has to put right.
    """The command line or a file is wrong; the text says how."""


@dataclass(frozen=True, slots=True)
class Session:
    """A command at work."""

    config: Config
    voice: Voice
    journal: Journal
    terminal: Terminal
    visits: OpenVisits


Run: TypeAlias = Callable[[Session, argparse.Namespace], Awaitable[Exit]]


class AddParser(Protocol):
    """Where a command is added: argparse's subparsers with the options that every command has."""

    def __call__(self, name: str, run: Run, *, help: str) -> argparse.ArgumentParser:  # noqa: A002  As argparse has it.
        """The parser of a new command."""


@asynccontextmanager
async def session(config: Config, voice: Voice) -> AsyncIterator[Session]:
    """Journal and channels, closed at the end. Nothing is connected before the first call."""
    async with (
        opened_journal(config.journal) as journal,
        Terminal.connected(
            settlement_address=config.settlement,
            identity_address=config.identity,
            journal=journal,
            fixmedins_code=config.fixmedins_code,
            terminal_no=config.terminal_no,
            number=config.number,
            patience=config.patience,
            tls=config.tls,
        ) as terminal,
    ):
        yield Session(config, voice, journal, terminal, OpenVisits(config.journal))


@asynccontextmanager
async def opened_journal(path: Path) -> AsyncIterator[Journal]:
    """The journal, closed at the end; Wrong if the file is none or cannot be written."""
    journal = Journal(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        await journal.__aenter__()
    except (OSError, sqlite3.Error) as problem:
        await journal.close()
        raise Wrong(f"the journal {path} cannot be opened: {problem}") from None
    try:
        yield journal
    finally:
        await journal.close()


async def show_plan(at: Session, plan: pb.Plan, *, care: str, mdtrt_id: str, replaces: str = "") -> None:
    """Keeps a plan that is shown now, so that `pay` finds it."""
    shown = ShownPlan(plan.plan_id, at.config.fixmedins_code, care, mdtrt_id, nameless(plan), replaces)
    await at.journal.keep_plan(shown, now=system_now())


def told(
    at: Session,
    outcome: pb.Settlement | pb.Replan | Reversed,
    *,
    mdtrt_id: str = "",
    already: bool = False,
) -> Exit:
    """Says how a request of money ended."""
    voice = at.voice
    match outcome:
        case pb.Settlement():
            document = {"outcome": "settled", "already": already, "settlement": plain(outcome)}
            voice.answer(document, views.settlement(voice, outcome))
            return Exit.DONE
        case pb.Replan():
            document = {
                "outcome": "replanned",
                "reason": outcome.reason,
                "plan": plain(outcome.plan),
                "mdtrt_id": mdtrt_id,
            }
            voice.answer(document, views.replan(voice, outcome, mdtrt_id=mdtrt_id))
            return Exit.REPLANNED
        case Reversed():
            refund = None if outcome.refund is None else plain(outcome.refund)
            lines = [voice.of(f"已冲正  {outcome.msgid}", f"Reversed  {outcome.msgid}")]
            if outcome.refund is None:
                lines.append(
                    voice.of(
                        "  未扣款；此请求不会再被执行。", "  Nothing is taken; this request can never be done any more."
                    )
                )
            else:
                lines += views.settlement(voice, outcome.refund)
            voice.answer({"outcome": "reversed", "msgid": outcome.msgid, "refund": refund}, lines)
            return Exit.REVERSED


def refused(voice: Voice, refusal: TerminalRefusal) -> Exit:
    """Says that the service said no."""
    document = {
        "outcome": "refused",
        "reason": refusal.reason,
        "zh": refusal.text_zh,
        "en": refusal.text_en,
        "retry": refusal.retry.value,
        "cashier": refusal.advice.cashier,
        "integrator": refusal.advice.integrator,
        "metadata": refusal.metadata,
    }
    voice.answer(document, views.refusal(voice, refusal))
    return Exit.REFUSED


def unanswered(voice: Voice, silence: Unanswered, entry: Entry | None = None) -> Exit:
    """Says that nothing came back; ``entry`` is the request whose end is not known."""
    msgid = "" if entry is None else entry.msgid
    document = {
        "outcome": "unanswered",
        "code": silence.code.name,
        "reason": silence.reason,
        "msgid": msgid,
        "trace_id": silence.trace_id,
    }
    voice.answer(document, views.silence(voice, silence, msgid=msgid))
    return Exit.UNANSWERED


def secret(prompt: str) -> str:
    """Something that must not stand on a command line, where everybody on the machine can read it."""
    value = getpass.getpass(f"{prompt}: ") if sys.stdin.isatty() else sys.stdin.readline()
    if not (value := value.strip()):
        raise Wrong(f"{prompt}: nothing was given")
    return value
