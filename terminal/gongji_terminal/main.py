"""``gongji-terminal``: a cashier's day as commands, for people and (``--json``) for programs.

argparse, because the base install is the contract and this client alone: nothing else may come along.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NoReturn

from gongji_terminal import config as settings
from gongji_terminal.alone import Busy, CannotLock
from gongji_terminal.commands import closing_day, looking, paying, resuming, setting_up, simulating, visiting
from gongji_terminal.commands.session import Exit, Run, Wrong, refused, session, unanswered
from gongji_terminal.failures import TerminalRefusal, Unanswered
from gongji_terminal.voice import Voice

DESCRIPTION: Final = "A terminal of Gongji (医保个人账户家庭共济) for hospital and pharmacy systems."
STUB: Final = "stub"
LISTINGS: Final = frozenset({"journal", "statement"})
"""Who reads them may stop reading."""
ENDS: Final = (
    "Exit codes: 0 done · 1 refused, nothing was taken · 2 command line, settings or a file wrong · 3 a new plan to "
    "consent to · 4 no answer, `resume` finds out · 5 reversed · 6 differences · 7 busy · 130 ctrl-C."
)


class _Parser(argparse.ArgumentParser):
    """A wrong command line ends like whatever else is wrong, so that `--json` is JSON then too."""

    def error(self, message: str) -> NoReturn:
        raise Wrong(f"{self.format_usage()}{self.prog}: {message}")


def parser() -> argparse.ArgumentParser:
    """Every command with its options."""
    every = _Parser(add_help=False)
    every.add_argument(
        "--config",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help=f"the settings (default: ${settings.VARIABLE} or {settings.FILE})",
    )
    every.add_argument(
        "--json",
        action="store_true",
        dest="as_json",
        default=argparse.SUPPRESS,
        help="answers as JSON, a line each; amounts in fen",
    )
    every.add_argument("--lang", choices=settings.LANGUAGES, default=argparse.SUPPRESS, help="Chinese or English")
    top = _Parser(prog="gongji-terminal", description=DESCRIPTION, epilog=ENDS, parents=[every])
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add_parser(name: str, run: Run, *, help: str) -> argparse.ArgumentParser:  # noqa: A002  As argparse has it.
        made = commands.add_parser(name, help=help, description=help, parents=[every])
        made.set_defaults(run=run)
        return made

    setting_up.add_config(
        commands.add_parser("config", help="write or check the settings", description="The settings.", parents=[every])
    )
    for part in (setting_up, visiting, paying, resuming, looking, closing_day):
        part.add(add_parser)
    a_day = "a day of many terminals against a system of this machine; its books must balance"
    simulating.add_simulate(commands.add_parser(simulating.SIMULATE, help=a_day, description=a_day, parents=[every]))
    commands.add_parser(STUB, help="a server for developers that answers what the case files say", add_help=False)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point; the exit code is one of ``Exit``."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == [STUB]:
        return _stub(words[1:])
    voice = Voice(language=_language(None, None), as_json="--json" in words)
    try:
        given = _parsed(words)
    except Wrong as wrong:
        return int(_wrong(voice, str(wrong)))
    given.config = getattr(given, "config", None)
    voice = Voice(language=_language(given, None), as_json=getattr(given, "as_json", False))
    try:
        return int(_done(given, voice))
    except (Wrong, settings.ConfigWrong, CannotLock, Busy) as end:
        return int(_ended(voice, end))
    except (TerminalRefusal, Unanswered, sqlite3.Error, KeyboardInterrupt) as end:
        return int(_ended(voice, end))
    except Exception as unforeseen:  # noqa: BLE001  A traceback ends with 1, which says that nothing was taken.
        return int(_cut_short(given, unforeseen))


def _cut_short(given: argparse.Namespace, problem: Exception) -> Exit:
    """The answer could not be said, or the disk failed after it came: what was done is in the journal alone.

    Its text may hold what a person typed, so only its kind is told.
    """
    with suppress(OSError, ValueError):
        # What waits for an output that takes nothing may not be flushed into it at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(problem, BrokenPipeError) and given.command in LISTINGS:
        return Exit.DONE
    with suppress(OSError):
        sys.stderr.write(
            f"gongji-terminal: cut short by {type(problem).__name__}; what was done: gongji-terminal resume\n"
        )
    return Exit.UNANSWERED


def _parsed(words: Sequence[str]) -> argparse.Namespace:
    """As argparse has it; a bill's NAME=VALUE may stand anywhere, also after options."""
    top = parser()
    given, further = top.parse_known_args(words)
    if any(word.startswith("-") or "=" not in word for word in further) or (further and not hasattr(given, "amounts")):
        top.error(f"unrecognized arguments: {' '.join(further)}")
    if further:
        given.amounts += further
    return given


def _stub(words: Sequence[str]) -> int:
    """The stub server has options of its own and needs an extra of ours."""
    try:
        from gongji_terminal import stub  # noqa: PLC0415  The base install lacks what it needs.
    except ModuleNotFoundError as missing:
        sys.stderr.write(f"gongji-terminal: {missing.name} is not installed: pip install 'gongji-terminal[stub]'\n")
        return int(Exit.USAGE)
    return stub.main(words)


def _ended(voice: Voice, end: BaseException) -> Exit:
    """Says why a command did not do what it was asked for."""
    match end:
        case TerminalRefusal():
            return refused(voice, end)
        case Unanswered():
            return unanswered(voice, end)
        case Busy():
            text = voice.of("另一条命令正在使用本日志，请稍后再试", "another command moves money with this journal")
            voice.answer({"outcome": "busy"}, [text])
            return Exit.BUSY
        case sqlite3.Error():
            text = voice.of(
                f"日志无法写入（{end}）；修复后请运行 gongji-terminal resume 查明结果",
                f"the journal cannot be written ({end}); once it can, `gongji-terminal resume` finds out what was done",
            )
            voice.answer({"outcome": "unanswered", "reason": "JOURNAL_FAILED", "code": "", "msgid": ""}, [text])
            return Exit.UNANSWERED
        case KeyboardInterrupt():
            voice.remark(
                "已中断；已发出的请求在日志中：gongji-terminal resume",
                "Interrupted. What was sent is in the journal: gongji-terminal resume",
            )
            if voice.as_json:
                voice.answer({"outcome": "interrupted"}, [])
            return Exit.INTERRUPTED
        case _:
            return _wrong(voice, str(end))


def script() -> None:
    """What the installed command calls."""
    sys.exit(main())


def _done(given: argparse.Namespace, voice: Voice) -> Exit:
    if given.command == "config":
        return setting_up.configure(voice, given)
    if given.command == simulating.SIMULATE:
        return simulating.simulate(voice, given)
    if given.command == STUB:
        raise Wrong("`stub` comes first: gongji-terminal stub --help")
    config = settings.read(settings.find_file(given.config))
    voice.language = _language(given, config)
    return asyncio.run(_run(config, voice, given))


async def _run(config: settings.Config, voice: Voice, given: argparse.Namespace) -> Exit:
    try:
        opened = session(config, voice)
    except (OSError, ValueError) as problem:
        raise Wrong(str(problem)) from None
    async with opened as at:
        done: Exit = await given.run(at, given)
        return done


def _wrong(voice: Voice, text: str) -> Exit:
    if voice.as_json:
        voice.answer({"outcome": "wrong", "text": text}, [])
    else:
        sys.stderr.write(f"gongji-terminal: {text}\n")
    return Exit.USAGE


def _language(
    given: argparse.Namespace | None, config: settings.Config | None, environment: Mapping[str, str] = os.environ
) -> str:
    """As asked for, as the settings say, English where the system speaks it, else Chinese."""
    asked: Any = getattr(given, "lang", None) or (config.language if config else None)
    if asked:
        return str(asked)
    spoken = environment.get("LC_ALL") or environment.get("LANG") or ""
    return "en" if spoken.startswith("en") else "zh"
