"""Each command of a restore from its first look to its last: show, ask, do, tell."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final
from uuid import UUID

from ops.consent import agreed
from ops.payments.view import console
from ops.places import Places
from ops.restore import beginning, comparing, healing, replaying, view
from ops.restore.comparing import Comparison, Difference
from ops.sources import CannotMendError, Sources, opened
from services.settlement.saga.restoring import Verdict

_ASKED: Final = {True: Verdict.ABORT, False: Verdict.COMMIT}
"""By what is asked for (commit): the verdict that forbids it."""


async def begin(places: Places, *, operator: str, reason: str, yes: bool) -> None:
    """`restore begin`."""
    out = console()
    async with opened(places) as sources:
        before = await beginning.read(sources)
        view.show_begin(before, list(sources.ledgers), out)
        consent = agreed(operator=operator, reason=reason, yes=yes)
        row = await beginning.begin(sources, consent, before=before)
    out.print(
        f"[bold]the coordinator restores[/], epoch {row.epoch}. Settlement processes notice within a second. Next: "
        "`gongji restore compare`, then `gongji restore finish`, then start the settlement processes anew once",
        soft_wrap=True,
    )


async def compare(places: Places, *, restored_areas: Collection[str], quiet: bool) -> Comparison:
    """`restore compare`."""
    async with opened(places) as sources:
        _check_areas(sources, restored_areas)
        comparison = await comparing.compare(sources, restored_areas=restored_areas)
    if not quiet:
        view.show_comparison(comparison, console())
    return comparison


async def finish(places: Places, *, restored_areas: Collection[str], operator: str, reason: str, yes: bool) -> int:
    """`restore finish`; how many payments and credits are left to a person."""
    out = console()
    async with opened(places) as sources:
        _check_areas(sources, restored_areas)
        row = await beginning.restoring(sources)
        await sources.fence(row.epoch)
        comparison = await comparing.compare(sources, restored_areas=restored_areas)
        if unread := [item for item in comparison.items if "NOT READ" in item.found.values()]:
            areas = sorted({area for item in unread for area in item.found})
            raise CannotMendError(f"payments concern ledgers that are not given: {', '.join(areas)}")
        view.show_comparison(comparison, out)
        view.show_risks(out)
        consent = agreed(operator=operator, reason=reason, yes=yes, question="Carry this out and serve again?")
        problems = await healing.heal(sources, comparison, consent)
        after = await comparing.compare(sources, restored_areas=restored_areas)
        # What is a person's keeps nobody else waiting: an unknown payment is held or booked whatever is decided here.
        explained = problems.keys() | {item.payment_id for item in after.items if item.verdict is Verdict.UNCLEAR}
        if lost := [item for item in after.of(*healing.HEALED_BY_FINISH) if item.payment_id not in explained]:
            view.show_left(after, problems.values(), out)
            raise CannotMendError(f"{len(lost)} of them are still there; the coordinator goes on restoring")
        left = len(problems.keys() | {item.payment_id for item in after.items})
        until = await beginning.finish(sources, consent, row=row, left=left)
    view.show_left(after, problems.values(), out)
    out.print(
        f"[bold]the coordinator serves again[/]; requests made before {until.astimezone():%Y-%m-%d %H:%M:%S} that are "
        "unknown here are refused. Start the settlement processes anew once, then run `gongji verify`",
        soft_wrap=True,
    )
    return left


async def decide(
    places: Places,
    payment_id: UUID,
    *,
    commit: bool,
    operator: str,
    reason: str,
    yes: bool,
    restored_areas: Collection[str] = (),
) -> None:
    """`restore decide`."""
    out = console()
    async with opened(places) as sources:
        _check_areas(sources, restored_areas)
        item = await healing.unclear_item(sources, payment_id, restored_areas=restored_areas)
        view.show_item(item, out)
        if item.verdict in {_ASKED[commit], Verdict.CONTRADICTION}:
            raise CannotMendError(f"the ledgers prove the opposite ({item.would}); nothing was changed")
        to = "COMMITTED, then confirmed at every ledger" if commit else "ABORTED, then released at every ledger"
        out.print(f"to be changed: its row becomes {to}; one row is added to operator_actions", soft_wrap=True)
        consent = agreed(operator=operator, reason=reason, yes=yes, question="Decide it so, for ever?")
        await healing.decide(sources, item, consent, commit=commit)
    out.print("decided; recovery tells the ledgers. See `gongji payments explain`", soft_wrap=True)


async def replay(places: Places, area: str, *, operator: str, reason: str, yes: bool) -> int:
    """`restore replay`; how much a person must look at."""
    out = console()
    async with opened(places) as sources:
        _check_areas(sources, [area])
        before = await comparing.compare(sources)
        prepared = await replaying.prepare(sources, area, before)
        refused: list[str] = []
        if prepared.commands:
            view.show_replay(prepared, out)
            consent = agreed(operator=operator, reason=reason, yes=yes, question="Carry this out?")
            refused = await replaying.carry_out(sources, prepared, consent)
        after = await comparing.compare(sources)
    missing = [item for item in after.of(Difference.MISSING_CHARGE, Difference.MISSING_CREDIT) if area in item.found]
    view.show_left(Comparison(missing), refused, out)
    for what in prepared.unknowable:
        out.print(f"[yellow]not replayed:[/] {what}", soft_wrap=True)
    if not (missing or refused):
        out.print(f"[green]ledger {area} has everything that the coordinator knows[/]; now run `gongji verify`")
    return len(missing) + len(refused) + len(prepared.unknowable)


def _check_areas(sources: Sources, areas: Collection[str]) -> None:
    if unknown := [area for area in areas if area not in sources.ledgers]:
        raise CannotMendError(f"no ledger is known of area {', '.join(unknown)}")
