"""``python -m tests.fault.by_hand``: puts faults into a copy of the source, one at a time; some proof must notice each.

The model and the simulation have broken decisions of their own, made of the parts that they are given. Here the text
of production code itself is changed, as a person would who errs; the proofs do not know of it. A fault that no proof
notices, and one whose place in the source is no longer found, fail the run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

ROOT: Final = Path(__file__).resolve().parents[2]
COPIED: Final = ("chassis", "kernel", "ops", "policies", "protos", "services", "terminal", "tests", "pyproject.toml")
IGNORED: Final = shutil.ignore_patterns("__pycache__", "*.egg-info", ".hypothesis", ".pytest_cache")
PROOF_MAX_S: Final = 300.0
TAIL_LINES: Final = 30
FAILED: Final = 1
"""What a proof ends with that has found a fault; pytest without tests, for one, ends with another number."""
SLIPS: Final = ("NameError", "ImportError", "ModuleNotFoundError", "SyntaxError")
"""What a fault says that was written wrongly: that nobody must take for its being noticed."""

SAGA: Final = "services/settlement/saga"
LEDGER: Final = "services/settlement/ledger"


@dataclass(frozen=True, slots=True)
class Proof:
    """A command that must succeed on the source as it is, and is hoped to fail on a broken one."""

    name: str
    command: tuple[str, ...]


MODEL: Final = Proof("model", ("-m", "pytest", "-q", "-x", "tests/model/test_model.py", "-k", "no_rule_breaks"))
SIMULATION: Final = Proof("simulation", ("-m", "tests.fault.simulate", "--seeds", "0:60"))
PROCESSES: Final = Proof(
    "processes",
    ("-m", "pytest", "-q", "-x", "-m", "not long", "tests/fault/test_requests_race.py",
     "tests/fault/test_messages_late.py", "tests/fault/test_two_coordinators.py",
     "tests/integration/ledger/test_process.py"),
)  # fmt: skip
ENGINE: Final = Proof("engine", ("-m", "pytest", "-q", "-x", "tests/integration/settlement/engine/test_transfers.py"))
PURE: Final = (MODEL, SIMULATION)


@dataclass(frozen=True, slots=True)
class Fault:
    """An error somebody could make in ``file``: ``right``, found there exactly once, becomes ``wrong``."""

    name: str
    rule: str
    file: str
    right: str
    wrong: str
    proofs: tuple[Proof, ...] = PURE


FAULTS: Final = (
    Fault(
        "a reversal of an unknown key leaves no tombstone",
        "rule 3",
        f"{SAGA}/requests.py",
        "return Bury(tombstone(original_key, payment_id=new_id))",
        "return AlreadyStopped()",
    ),
    Fault(
        "CONFIRM is sent before the decision is durable",
        "rule 1",
        f"{SAGA}/coordinator.py",
        "return Drive(drive.payment, drive.areas, drive.replies, is_writing=True), [write]",
        "early = [Send(drive.payment, area, Order.CONFIRM) for area in drive.areas]\n"
        "    told = early if write.to is State.COMMITTED else []\n"
        "    return Drive(drive.payment, drive.areas, drive.replies, is_writing=True), [write, *told]",
    ),
    Fault(
        "OK is answered before the decision is durable",
        "rule 1",
        f"{SAGA}/coordinator.py",
        "return Drive(drive.payment, drive.areas, drive.replies, is_writing=True), [write]",
        "told = [Answer(applied(drive.payment, write))] if write.to is State.COMMITTED else []\n"
        "    return Drive(drive.payment, drive.areas, drive.replies, is_writing=True), [write, *told]",
    ),
    Fault(
        "the ledger ends holds at their deadline",
        "rule 2",
        f"{LEDGER}/recovery.py",
        "        if decided:\n            await self._consumer.write(decided)",
        "        from services.settlement.ledger.domain.commands import Cancel\n"
        "        await self._consumer.write(tuple(Request(Cancel(payment_id)) for payment_id in asked))",
        (PROCESSES,),
    ),
    Fault(
        "an inquiry about a committed payment is answered CANCEL",
        "rule 7",
        f"{SAGA}/requests.py",
        "return Decision.CONFIRM",
        "return Decision.CANCEL",
    ),
    Fault(
        "a refund is credited while its original is still held",
        "Refund",
        f"{LEDGER}/domain/crediting.py",
        "original = confirm(draft, original)",
        "pass",
    ),
    Fault(
        "a CANCEL before its TRY leaves nothing behind",
        "rule 5",
        f"{LEDGER}/domain/holding.py",
        "draft.put_branch(Branch(command.payment_id, BranchState.BLOCKED, created_at=now, decided_at=now))",
        "pass",
    ),
    Fault(
        "a TRY after its CANCEL is answered HELD",
        "rule 5",
        f"{LEDGER}/domain/holding.py",
        'refusal = Refusal("PAYMENT_CANCELLED")\n            return draft.outcome('
        "BranchReply(stored.payment_id, BranchState.REFUSED, refusal=refusal))",
        "return draft.outcome(BranchReply(stored.payment_id, BranchState.HELD))",
    ),
    Fault(
        "a payment is DONE though a ledger has not booked it",
        "rule 8",
        f"{SAGA}/coordinator.py",
        "    if silent:\n        return None\n    told",
        "    told",
    ),
    Fault(
        "the decision is written without comparing the state",
        "rule 1",
        "services/settlement/store/payments.py",
        "WHERE p.payment_id = ANY (ARRAY[q.payment_id]) AND p.state = q.expected",
        "WHERE p.payment_id = ANY (ARRAY[q.payment_id])",
        (ENGINE,),
    ),
    Fault(
        "what comes back is not given back to its month",
        "I9",
        f"{LEDGER}/domain/crediting.py",
        "draft.put_use(authorisation.with_returned(leg.amount.total), original.month)",
        "draft.put_authorisation(authorisation.with_returned(leg.amount.total))",
        (SIMULATION,),
    ),
    Fault(
        "a hold does not look at what its month has used",
        "I9",
        f"{LEDGER}/domain/holding.py",
        '    ("MONTH_LIMIT_EXCEEDED", _month_limit_exceeded),\n',
        "",
        (SIMULATION,),
    ),
)


class BrokenProofError(Exception):
    """The proof has not judged: nothing was collected, or the fault's own text does not run."""


class MisplacedFaultError(Exception):
    """The source has moved on: the fault's place is not there, or there more than once."""


def put_in(fault: Fault, tree: Path) -> None:
    """Changes the file; raises MisplacedFaultError unless there is exactly one place for it."""
    file = tree / fault.file
    text = file.read_text(encoding="utf-8")
    if (places := text.count(fault.right)) != 1:
        raise MisplacedFaultError(f"{fault.name}: {places} places in {fault.file}")
    file.write_text(text.replace(fault.right, fault.wrong), encoding="utf-8")


def noticed_by(fault: Fault | None, proofs: Sequence[Proof]) -> dict[str, str]:
    """Runs the proofs over a copy with the fault (None: as it is); by the name of each that failed, its last lines."""
    with tempfile.TemporaryDirectory(prefix="gongji-by-hand-") as folder:
        tree = Path(folder)
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, tree / name, ignore=IGNORED)
            else:
                shutil.copy2(ROOT / name, tree / name)
        if fault is not None:
            put_in(fault, tree)
        failed = {}
        for proof in proofs:
            ended = subprocess.run(  # noqa: S603  Our own commands.
                [sys.executable, *proof.command],
                cwd=tree,
                env=os.environ
                | {"PYTHONPATH": os.pathsep.join([folder, f"{folder}/protos/gen", f"{folder}/terminal"])},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=PROOF_MAX_S,
                check=False,
            )
            said = "\n".join(ended.stdout.splitlines()[-TAIL_LINES:])
            if ended.returncode not in {0, FAILED} or any(slip in said for slip in SLIPS):
                raise BrokenProofError(f"{proof.name} could not judge (exit code {ended.returncode}):\n{said}")
            if ended.returncode == FAILED:
                failed[proof.name] = said
        return failed


def main(arguments: Sequence[str] | None = None, out: TextIO = sys.stdout) -> int:
    """Prints a line a fault; 1 if one was not noticed, or if the untouched copy fails a proof."""
    parser = argparse.ArgumentParser(prog="python -m tests.fault.by_hand", description=__doc__)
    parser.add_argument("--only", default="", help="the faults with these words in their name")
    parser.add_argument("--workers", type=int, default=1, help="faults at a time (default %(default)s)")
    parser.add_argument("--show", action="store_true", help="print the last lines of what the proofs said")
    asked = parser.parse_args(arguments)
    faults = [fault for fault in FAULTS if asked.only in fault.name]
    if not faults:
        parser.error(f"no fault has {asked.only!r} in its name")
    began, missed = time.perf_counter(), 0
    untouched = noticed_by(None, tuple(dict.fromkeys(proof for fault in faults for proof in fault.proofs)))
    for name, said in untouched.items():
        print(f"{name} fails without any fault:\n{said}", file=out)
    with ThreadPoolExecutor(asked.workers) as pool:
        found = pool.map(lambda fault: noticed_by(fault, fault.proofs), faults)
        for fault, failed in zip(faults, found, strict=True):
            missed += not failed
            verdict = f"noticed by {', '.join(failed)}" if failed else "NOT NOTICED"
            print(f"{fault.name} ({fault.rule}): {verdict}", file=out, flush=True)
            if asked.show:
                for said in failed.values():
                    print(said, file=out)
    print(
        f"faults put into the source {len(faults)}, not noticed {missed}; {time.perf_counter() - began:.0f} s", file=out
    )
    return 1 if missed or untouched else 0


if __name__ == "__main__":
    sys.exit(main())
