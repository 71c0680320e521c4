"""`simulate`: a day of many terminals against a running system, and whether its books balance at the end."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from pathlib import Path
from typing import Any, Final

from gongji_terminal.client import system_now
from gongji_terminal.commands.session import Exit
from gongji_terminal.simulation.books import Books, compared
from gongji_terminal.simulation.day import SHOWN_EVERY_S, TELLS_EVERY_S, Day, Told
from gongji_terminal.simulation.town import read
from gongji_terminal.voice import Voice, table, yuan

SIMULATE: Final = "simulate"
MINUTE_S: Final = 60.0
STATES: Final = {
    "settled": ("办成", "done after all"),
    "reversed": ("已冲正", "reversed"),
    "refused": ("被拒绝", "refused"),
    "replanned": ("需新方案", "a new plan"),
    "written": ("仍未知", "still not known"),
}


def add_simulate(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("town", type=Path, metavar="TOWN", help="the file that `gongji town` wrote")
    parser.add_argument("--institutions", type=int, default=5, metavar="N", help="how many of the town's (5)")
    parser.add_argument("--terminals", type=int, default=20, metavar="N", help="how many in all of them together (20)")
    parser.add_argument("--minutes", type=_positive, default=2.0, metavar="M", help="how long the day is (2)")
    parser.add_argument(
        "--pause", type=_not_negative, default=1.0, metavar="S", help="seconds between a terminal's patients (1)"
    )
    parser.add_argument(
        "--crash-every",
        type=_not_negative,
        default=20.0,
        metavar="S",
        help="about so often all the terminals of an institution are killed (20; 0: never)",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="the same chances again; the system answers as it will")
    parser.add_argument(
        "--journals", type=Path, metavar="FOLDER", help="where the journals are kept (default: TOWN.journals)"
    )


def simulate(voice: Voice, arguments: argparse.Namespace) -> Exit:
    """Plays the day, reconciles it and tells the summary."""
    town = read(arguments.town).part(institutions=arguments.institutions, terminals=arguments.terminals)
    seed = arguments.seed if arguments.seed is not None else random.randrange(1_000_000)  # noqa: S311  Chance.
    on_screen = sys.stderr.isatty()
    day = Day(
        file=arguments.town.resolve(),
        town=town,
        folder=(arguments.journals or arguments.town.with_name(arguments.town.name + ".journals")).resolve(),
        seconds=arguments.minutes * MINUTE_S,
        pause_s=arguments.pause,
        crash_every_s=arguments.crash_every,
        chance=random.Random(seed),  # noqa: S311  As above.
        show=lambda told, seconds: _progress(voice, told, seconds, on_screen=on_screen),
        shown_every_s=SHOWN_EVERY_S if on_screen else TELLS_EVERY_S,
    )
    return asyncio.run(_play(voice, day, seed))


async def _play(voice: Voice, day: Day, seed: int) -> Exit:
    began = system_now()
    told = await day.play()
    if sys.stderr.isatty() and not voice.as_json:
        sys.stderr.write("\n")
    voice.remark("一天结束，正在对账", "The day is over; the books are compared")
    books = await compared(day.town, day.folder, since=began, until=system_now(), resumed=told.resumed)
    done = _ends(told, books)
    voice.answer(_document(told, books, seed, done), _summary(voice, told, books, seed, done))
    return done


def _ends(told: Told, books: Books) -> Exit:
    if books.unbalanced:
        return Exit.DIFFERENCES
    if books.left_open:
        return Exit.UNANSWERED
    if told.problems or not books.paid:
        return Exit.REFUSED  # A day on which nothing was paid shows nothing.
    return Exit.DONE


def _progress(voice: Voice, told: Told, seconds: float, *, on_screen: bool) -> None:
    counts = told.counts
    line = f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}  " + voice.of(
        f"已付 {counts['paid']}  撤销 {counts['revoked']}  冲正 {counts['reversed']}  拒绝 {counts['refused']}  "
        f"无答复 {counts['silent']}  终端断电 {counts['died']}  机构断电 {counts['killed']}",
        f"paid {counts['paid']}  revoked {counts['revoked']}  reversed {counts['reversed']}  "
        f"refused {counts['refused']}  no answer {counts['silent']}  terminals died {counts['died']}  "
        f"institutions killed {counts['killed']}",
    )
    if on_screen and not voice.as_json:
        sys.stderr.write(f"\r{line}\x1b[K")
        sys.stderr.flush()
    else:
        voice.remark(line, line)


def _document(told: Told, books: Books, seed: int, done: Exit) -> dict[str, Any]:
    counts = {name: told.counts[name] for name in ("refused", "replanned", "silent", "died", "killed")}
    return {
        "outcome": "simulated",
        "balanced": done is Exit.DONE,
        "seed": seed,
        **vars(books),
        **counts,
        "refusals": dict(told.refusals),
        "resumed": len(told.resumed),
        "slowest_s": told.slowest_s,
        "problems": told.problems,
    }


def _summary(voice: Voice, told: Told, books: Books, seed: int, done: Exit) -> list[str]:
    of, counts = voice.of, told.counts
    why = ", ".join(f"{reason} {count}" for reason, count in told.refusals.most_common())
    became = ", ".join(f"{of(*STATES.get(state, (state, state)))} {count}" for state, count in books.unanswered.items())
    rows = [
        (of("已付", "bills paid"), str(books.paid), of("金额", "together") + f" {yuan(books.paid_fen)}"),
        (of("其中账户", "of it from accounts"), "", yuan(books.from_accounts_fen)),
        (of("撤销", "revoked"), str(books.revoked), ""),
        (of("冲正退款", "reversed, money back"), str(books.reversed), ""),
        (of("冲正未付", "reversed, nothing was paid"), str(books.stopped), ""),
        (of("退回", "given back"), "", yuan(books.returned_fen)),
        (of("新方案", "new plans"), str(counts["replanned"]), ""),
        (of("拒绝", "refused"), str(counts["refused"]), why),
        (of("起初无答复", "no answer at first"), str(books.unanswered.total()), became),
        (of("断电", "power failures"), str(counts["died"] + counts["killed"]), _failures(voice, told)),
        (of("最慢答复", "slowest answer"), f"{told.slowest_s:.1f} s", ""),
        (of("未了结", "left open"), str(books.left_open), ""),
        (of("差异", "differences"), str(books.differences), ""),
    ]
    said = of("平", "balanced") if done is Exit.DONE else of("不平", "not in order")
    title = of(f"模拟日（种子 {seed}）：{said}", f"The simulated day (seed {seed}): {said}")
    found = [f"  {row.get('kind')}  {row.get('setl_id')}" for row in books.shown]
    return [title, *("  " + line for line in table(rows, right=frozenset({1}))), *found, *told.problems]


def _failures(voice: Voice, told: Told) -> str:
    died, killed = told.counts["died"], told.counts["killed"]
    return voice.of(f"终端 {died}，机构 {killed}", f"terminals {died}, whole institutions {killed}")


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("must be more than 0")
    return number


def _not_negative(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError("must be 0 or more")
    return number
