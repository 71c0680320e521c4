"""How the demo looks: headings, short sentences, small tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.table import Table

from gongji.notify.v1 import notify_pb2
from kernel.money import Fen, yuan_text
from ops.verify.command import show
from ops.verify.report import Report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gongji.settlement.v1 import settlement_pb2
    from ops.embedded.world import Running

MONEY_TOPICS: Final = frozenset(
    {
        notify_pb2.TOPIC_ACCOUNT_PAID,
        notify_pb2.TOPIC_BILL_PAID,
        notify_pb2.TOPIC_ACCOUNT_CREDITED,
        notify_pb2.TOPIC_ACCOUNT_FROZEN,
        notify_pb2.TOPIC_ACCOUNT_UNFROZEN,
    }
)
_ROLE_WORDS: Final = {"own": "own account 本人个人账户", "wallet": "own wallet 医保钱包", "cash": "cash 现金"}
_RELATIONS: Final = {
    "SPOUSE": "wife 配偶",
    "PARENT": "mother 父母",
    "CHILD": "child 子女",
    "SIBLING": "sibling 兄弟姐妹",
}


def _yuan(amount_fen: Fen) -> str:
    return f"{yuan_text(amount_fen)} 元"


def _table(*columns: tuple[str, str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for heading, justify in columns:
        table.add_column(heading, justify=justify, no_wrap=True)  # type: ignore[arg-type]  # rich's own literals.
    return table


class View:
    """What the demo says, in order."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.problems: list[str] = []

    def title(self) -> None:
        """What this is."""
        self._console.print("[bold]Gongji 共济[/] · a family pays a bill together, all or nothing\n")

    def chapter(self, mark: str, words: str) -> None:
        """A new part of the story."""
        self._console.print(f"\n[bold cyan]{mark}[/] [bold]{words}[/]", highlight=False)

    def say(self, words: str) -> None:
        """One sentence."""
        self._console.print(f"  {words}", highlight=False)

    def good(self, words: str) -> None:
        """Something is as it must be."""
        self._console.print(f"  [green]✓[/] {words}", highlight=False)

    def require(self, holds: bool, words: str) -> None:  # noqa: FBT001  A condition and its name, like assert.
        """Something must be so; if not, the demo ends with exit code 1."""
        if holds:
            self.good(words)
        else:
            self.wrong(words)

    def wrong(self, words: str) -> None:
        """Something is not as it must be."""
        self.problems.append(words)
        self._console.print(f"  [bold red]✗ not so:[/] {words}", highlight=False)

    @contextmanager
    def waiting(self, words: str) -> Iterator[None]:
        """Something takes a moment."""
        with self._console.status(words):
            yield

    def processes(self, running: Iterable[Running]) -> None:
        """What runs where."""
        table = _table(("process", "left"), ("pid", "right"), ("address", "left"))
        for one in running:
            table.add_row(one.name, str(one.pid), one.address)
        self._console.print(table)

    def people(self, rows: Iterable[Sequence[str]]) -> None:
        """Who they are and what they have."""
        table = _table(
            ("", "left"),
            ("insured in", "left"),
            ("历年 past", "right"),
            ("当年 current", "right"),
            ("授权 allowed", "right"),
        )
        for row in rows:
            table.add_row(*row)
        self._console.print(table)

    def bill(self, amounts: settlement_pb2.ResultAmounts) -> None:
        """The bill down to what the person bears."""
        self.say(
            f"bill 医疗费总额 [bold]{_yuan(amounts.medfee_sumamt)}[/], of which the fund pays "
            f"{_yuan(amounts.fund_pay_sumamt)}; the person bears [bold]{_yuan(amounts.psn_part_amt)}[/]"
        )

    def split(
        self,
        amounts: settlement_pb2.ResultAmounts,
        funders: Iterable[settlement_pb2.FunderShare],
        skipped: Iterable[settlement_pb2.SkippedFunder] = (),
    ) -> None:
        """Who pays it, from which part, in which area."""
        table = _table(
            ("who pays", "left"), ("area", "left"), ("历年", "right"), ("当年", "right"), ("together", "right")
        )
        own_fen = amounts.own_past_fen + amounts.own_current_fen
        if own_fen:
            table.add_row(
                _ROLE_WORDS["own"],
                "",
                yuan_text(amounts.own_past_fen),
                yuan_text(amounts.own_current_fen),
                _yuan(own_fen),
            )
        if amounts.wallet_pay:
            table.add_row(_ROLE_WORDS["wallet"], "", "", "", _yuan(amounts.wallet_pay))
        for funder in funders:
            table.add_row(
                f"{_RELATIONS.get(funder.relation, funder.relation)} {funder.name_masked}",
                funder.area,
                yuan_text(funder.past_fen),
                yuan_text(funder.current_fen),
                _yuan(funder.past_fen + funder.current_fen),
            )
        for left_out in skipped:
            table.add_row(f"[dim]left out: {left_out.name_masked}[/]", "", "", "", f"[yellow]{left_out.reason}[/]")
        table.add_row(_ROLE_WORDS["cash"], "", "", "", _yuan(amounts.psn_cash_pay))
        self._console.print(table)

    def messages(self, name: str, messages: Sequence[notify_pb2.Message]) -> None:
        """One person's inbox, oldest first: what concerns money; the rest is counted."""
        money = [message for message in messages if message.topic in MONEY_TOPICS]
        self._console.print(
            f"  [bold]{name}[/] [dim](and {len(messages) - len(money)} about the group and its bindings)[/]",
            highlight=False,
        )
        for message in money:
            self._console.print(f"    {message.text_zh}", highlight=False)
        if money:
            self._console.print(f"    [dim]the last one in English: {money[-1].text_en}[/]", highlight=False)

    def report(self, report: Report) -> None:
        """Every invariant, counted."""
        show(report, self._console)
        if report.violations:
            self.problems.append(f"{report.violations} violations")

    def end(self, seconds: float) -> None:
        """How it went."""
        if self.problems:
            self._console.print(f"\n[bold red]{len(self.problems)} things are not as they must be[/]", highlight=False)
        else:
            self._console.print(
                f"\n[bold green]All is as it must be[/] [dim]({seconds:.0f} s)[/]. "
                "Next: `make up` keeps it running; README.md shows how a terminal calls it.",
                highlight=False,
            )
