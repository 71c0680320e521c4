"""Every commit and every send of settlement and its ledger has fault points, and every fault point has cells."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from services.settlement.clients import _FAULT_NAMES
from services.settlement.ledger.domain.commands import _IDENTITIES
from tests.fault.matrix.cells import CELLS, DOZEN, NAMES
from tests.fault.matrix.table import LINES

ROOT: Final = Path(__file__).resolve().parents[3]
SOURCES: Final = (*sorted((ROOT / "services/settlement").rglob("*.py")), *sorted((ROOT / "chassis").glob("*.py")))
FAMILY: Final = tuple(sorted((ROOT / "services/family").rglob("*.py")))
"""Has fault points where bindings are made, ended and follow; not at each of its transactions."""
POINT_CALLS: Final = frozenset({"fault_point", "awaited_fault_point", "_fault_points"})
DATABASE_CALLS: Final = frozenset({"driver_transaction", "driver_connection", "transaction"})
SEND_CALLS: Final = frozenset({"request", "publish", "ack"})

MADE_UP: Final[Mapping[str, frozenset[str]]] = {
    "{point}.before_send": frozenset(f"{name}.before_send" for name in _FAULT_NAMES.values()),
    "{point}.after_reply": frozenset(f"{name}.after_reply" for name in _FAULT_NAMES.values()),
    "ledger.{kind.lower()}.{moment}": frozenset(
        f"ledger.{kind.lower()}.{moment}"
        for kind, _ in _IDENTITIES.values()
        for moment in ("before_commit", "after_commit")
    ),
}
"""What the points are whose names are put together at run time."""

WITHOUT_POINTS: Final[Mapping[str, str]] = {
    # It only reads.
    "services/settlement/operations/crediting.py _refusals": "reads",
    "services/settlement/operations/inquiring.py inquire": "reads; what it writes goes through decide",
    "services/settlement/operations/moving.py _free_now": "reads",
    "services/settlement/operations/moving.py _transferred": "reads; what it writes goes through transfers",
    "services/settlement/operations/giving.py _asked": "reads",
    "services/settlement/operations/giving.py _who_counts": "reads",
    "services/settlement/operations/giving.py _found": "reads",
    "services/settlement/operations/giving.py _known": "reads",
    "services/settlement/operations/giving.py _shown": "reads",
    "services/settlement/operations/giving.py list_transfers": "reads",
    "services/settlement/operations/giving.py withdraw": "reads; what it writes goes through decide",
    "services/settlement/operations/giving.py accept": "has what is looked for by the clock looked for sooner",
    "services/settlement/operations/wallets.py view_wallet": "reads",
    "services/settlement/operations/clearing.py view": "reads",
    "services/settlement/operations/clearing.py list_runs": "reads",
    "services/settlement/operations/clearing.py list_pairs": "reads",
    "services/settlement/operations/clearing.py exported": "reads",
    "services/settlement/operations/clearing.py trace": "reads",
    "services/settlement/operations/claims.py submit": "one transaction under a request id, asked for again",
    "services/settlement/operations/claims.py refuse": "one transaction that an officer asks for again",
    "services/settlement/operations/claims.py appeal": "as before, by the claimant",
    "services/settlement/operations/claims.py order_payout": "one transaction under a request id, asked for again",
    "services/settlement/operations/claims.py _judged_as_seen": "as refuse; what it takes goes through charging",
    "services/settlement/operations/claims.py view": "reads",
    "services/settlement/operations/claims.py queue": "reads",
    "services/settlement/operations/claims.py _settled": "reads; what it writes goes through charging",
    "services/settlement/operations/assessing.py pooled_part": "reads",
    "services/settlement/operations/assessing.py family_part": "reads",
    "services/settlement/operations/premiums.py list_tariffs": "reads",
    "services/settlement/operations/premiums.py due": "reads",
    "services/settlement/operations/premiums.py revoke": "reads; what it writes goes through charging",
    "services/settlement/operations/premiums.py list_premiums": "reads",
    "services/settlement/operations/premiums.py _judged": "reads",
    "services/settlement/operations/premiums.py _known": "reads",
    "services/settlement/operations/premiums.py _found": "reads",
    "services/settlement/operations/premiums.py _shown": "reads",
    "services/settlement/operations/premium_list.py paid_list": "reads",
    "services/settlement/operations/premium_list.py _check_stands": "reads",
    "services/settlement/operations/payments.py look_up": "reads",
    "services/settlement/operations/reconciling.py _check_institution": "reads",
    "services/settlement/operations/reconciling.py _our_totals": "reads",
    "services/settlement/operations/reconciling.py view_day": "reads",
    "services/settlement/operations/reconciling.py differences_of_day": "reads",
    "services/settlement/operations/reconciling.py list_differences": "reads",
    "services/settlement/operations/returning.py _revocable": "reads",
    "services/settlement/operations/payments.py _plan_of": "reads",
    "services/settlement/operations/payments.py _check_not_lost": "reads",
    "services/settlement/operations/payments.py _check_mutual_aid": "reads",
    "services/settlement/operations/projecting.py last_heard": "reads",
    "services/settlement/operations/transfers.py _voted": "reads; what it writes goes through decide",
    "services/settlement/recovery.py watch_standing": "reads",
    "services/settlement/app.py serve": "reads",
    "chassis/clock.py sync": "reads",
    "chassis/migrate.py _version_of": "reads",
    "services/settlement/operations/planning.py check_institution": "reads",
    "services/settlement/operations/planning.py known_around": "reads",
    "services/settlement/operations/visiting.py bill_lines": "reads",
    "services/settlement/operations/projecting.py snapshot_is_taken": "reads",
    "services/settlement/operations/rows.py read": "reads",
    "services/settlement/ledger/consumer.py _read_together": "reads",
    "services/settlement/store/plans.py load": "reads",
    "services/settlement/ledger/store/locking.py _held": "takes the area's lock and writes nothing",
    # Its caller has the points.
    "services/settlement/store/plans.py insert": "its points are around it, in _planned",
    "services/settlement/operations/company.py _batcher": "reads, or stores plans for _planned, which has points",
    "services/settlement/operations/company.py together": "as before: a function inside it",
    "services/settlement/operations/company.py alone": "as before",
    "chassis/outbox.py _publish": "its points are around it, in _publish_batch",
    "chassis/bus.py request": "each caller has its own points",
    "chassis/bus.py publish": "each caller has its own points",
    # One statement without a message beside it, done again at every start or by the clock, the same in any number.
    "services/settlement/ledger/app.py keep": "notes the area, at every start",
    "services/settlement/ledger/app.py serve": "as keep, which is a function inside it",
    "services/settlement/operations/projecting.py _note_heard": "notes how recently identity was heard, by the clock",
    "services/settlement/operations/projecting.py begin_anew": "identity is asked from the beginning, by the clock",
    "services/settlement/operations/projecting.py _forget_some": "as before, and the same in any number",
    "services/settlement/operations/premiums.py set_tariff": "one row without a message; the officer sets it again",
    "services/settlement/operations/premiums.py file_payer": "as before, under the same request",
    "services/settlement/operations/premiums.py end_filing": "as before",
    "services/settlement/operations/refusing.py tell": "one event without a change beside it; a refused request again",
    "chassis/outbox.py purge": "deletes what is a week old, by the clock",
    "chassis/inbox.py _purge": "deletes what is 15 days old, by the clock",
    "services/settlement/operations/reconciling.py forget": "deletes what is kept no longer, by the clock",
    # Elsewhere.
    "services/settlement/ledger/recovery.py _call_for_unknown": "only after a restore, whose drills have their tests",
    "chassis/inbox.py _bury": "the ninth failure of one event; whoever dies here is given the event again",
    "chassis/migrate.py migrate": "migrations run before the process serves, with tests of their own",
    "chassis/migrate.py _validate": "as before; cut off, it is done at the next start",
    "chassis/db.py wait_until_reachable": "asks whether the database is there",
    "chassis/db.py driver_transaction": "what a transaction is",
    "chassis/db.py snapshot": "what a transaction that only reads is",
}
"""Where something is committed or sent without fault points of its own, and why that is right."""

WITHOUT_CELLS: Final[Mapping[str, str]] = {
    "settlement.clearing.before_commit": "no month of its worlds is over; clearing/test_killed.py has it",
    "settlement.clearing.after_commit": "as before",
    "ledger.charge.before_commit": "carried out by `gongji restore` itself, never by the ledger's process",
    "ledger.charge.after_commit": "as before",
    "ledger.release_suspense.before_commit": "carried out by the operator's command itself, as before",
    "ledger.release_suspense.after_commit": "as before",
    "settlement.ending_anew.before_commit": "a second death beside a ledger that is away; test_endings.py has it",
    "settlement.ending_anew.after_commit": "as before",
    "ledger.turn_account.before_commit": "carried out by the year-end job itself, whose test stops it anywhere",
    "ledger.turn_account.after_commit": "as before",
}
"""Fault points that no process can be brought to yet, and why."""


def functions() -> Iterator[tuple[str, ast.AsyncFunctionDef | ast.FunctionDef]]:
    """Every function of the sources with its name: ``path name``."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef):
                yield f"{path.relative_to(ROOT)} {node.name}", node


def called(node: ast.AST) -> set[str]:
    """The names of what is called in it, without what they belong to."""
    functions_called = (call.func for call in ast.walk(node) if isinstance(call, ast.Call))
    return {
        function.attr if isinstance(function, ast.Attribute) else function.id
        for function in functions_called
        if isinstance(function, ast.Attribute | ast.Name)
    }


def points() -> Iterator[str]:
    """Every fault point of the sources."""
    for path in (*SOURCES, *FAMILY):
        if path.name == "faults.py":
            continue
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and called(call) & {"fault_point", "awaited_fault_point"}:
                yield from named(call, path)


def named(call: ast.Call, path: Path) -> Iterator[str]:
    """The points that one call may be."""
    if not (isinstance(call.func, ast.Name) and call.func.id in {"fault_point", "awaited_fault_point"}):
        return
    name = call.args[0]
    if isinstance(name, ast.Constant):
        yield str(name.value)
    else:
        text = ast.unparse(name).removeprefix("f").strip("'\"")
        assert text in MADE_UP, f"{path.relative_to(ROOT)}: nobody knows what {text} may be; see MADE_UP"
        yield from MADE_UP[text]


def has_points(node: ast.AST, having: set[str]) -> bool:
    """Whether it passes fault points, by itself or in a function that it calls."""
    return bool(called(node) & (POINT_CALLS | having))


def without(calls: Callable[[set[str]], bool]) -> set[str]:
    """The functions that do such calls and pass no fault point."""
    found = set()
    everything = list(functions())
    having = {(name.partition(" ")[0], node.name) for name, node in everything if has_points(node, set())}
    for name, node in everything:
        beside = {function for path, function in having if path == name.partition(" ")[0]}
        if calls(called(node)) and not has_points(node, beside):
            found.add(name)
    return found


def test_every_fault_point_has_cells_and_every_cell_a_fault_point() -> None:
    """A new point in the source without a line in the table fails here, and so does a line whose point is gone."""
    covered = {line.point for line in LINES} | {line.again for line in LINES}
    assert sorted(set(points()) - covered - WITHOUT_CELLS.keys()) == [], "fault points without a line in the table"
    assert sorted((covered | WITHOUT_CELLS.keys()) - set(points())) == [], "lines whose point is gone"


def test_every_transaction_and_every_send_passes_fault_points() -> None:
    """A new transaction or send without them needs a reason in WITHOUT_POINTS; a reason nobody needs is taken out."""
    bare = without(lambda names: bool(names & DATABASE_CALLS)) | without(lambda names: bool(names & SEND_CALLS))
    assert sorted(bare - WITHOUT_POINTS.keys()) == [], "commits or sends without fault points"
    assert sorted(WITHOUT_POINTS.keys() - bare) == [], "reasons that nobody needs any more"


def test_names_tell_cells_apart_and_the_dozen_is_among_them() -> None:
    """`--cell NAME` plays exactly one."""
    assert len(NAMES) == len(CELLS)
    assert len(set(DOZEN)) == 12
    assert set(DOZEN) <= set(CELLS)
