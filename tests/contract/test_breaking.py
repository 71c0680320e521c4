"""What was released stays understood: each kind of breaking change is refused and named, each harmless one passes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

import pytest

from tools.release_contract import PROTOS, REASONS, broken, last_released, release

RELEASED: Final = last_released()
SETTLEMENT: Final = Path("gongji/settlement/v1/settlement.proto")
EVENTS: Final = Path("gongji/settlement/v1/events.proto")
NOTIFY: Final = Path("gongji/notify/v1/notify.proto")
LEDGER: Final = Path("gongji/ledger/v1/ledger.proto")
REVERSE: Final = "  rpc ReverseTransaction(ReverseTransactionRequest) returns (ReverseTransactionResponse);\n"
PLAN_ID: Final = "string plan_id = 2 [(buf.validate.field).string.uuid = true];"
MDTRT_ID: Final = "string mdtrt_id = 6 [(buf.validate.field).string.pattern ="
OPTIONAL_NOTE: Final = "  string note = 901 [(buf.validate.field).string.max_len = 30];\n"
REQUIRED_NOTE: Final = '  string note = 901 [(buf.validate.field).string.pattern = "^[0-9]{1,3}$"];\n'


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the protos to change."""
    target = tmp_path / "protos"
    shutil.copytree(PROTOS, target, ignore=shutil.ignore_patterns("gen", "__pycache__"))
    (target / REASONS).parent.mkdir(parents=True)
    shutil.copyfile(PROTOS / REASONS, target / REASONS)
    return target


def change(copy: Path, file: Path, old: str, new: str) -> None:
    """Writes the one for the other, where it stands first."""
    text = (copy / file).read_text(encoding="utf-8")
    assert old in text
    (copy / file).write_text(text.replace(old, new, 1), encoding="utf-8")


def test_the_contract_in_the_tree_breaks_nothing_that_was_released() -> None:
    """Whoever was built against the last release is understood by what is here."""
    assert broken(PROTOS, RELEASED) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        (SETTLEMENT, "bytes plan_digest = 3", "bytes plan_digest = 9", "plan_digest"),
        (SETTLEMENT, "int64 psn_cash_pay = 19;", "string psn_cash_pay = 19;", "psn_cash_pay"),
        (SETTLEMENT, "int64 psn_cash_pay = 19;", "repeated int64 psn_cash_pay = 19;", "psn_cash_pay"),
        (SETTLEMENT, "int64 psn_cash_pay = 19;", "int64 psn_cash = 19;", "psn_cash_pay"),
        (SETTLEMENT, "  int64 psn_cash_pay = 19;\n", "", 'field "19"'),
        (SETTLEMENT, REVERSE, "", "ReverseTransaction"),
        (SETTLEMENT, REVERSE, REVERSE.replace("(ReverseT", "(stream ReverseT", 1), "ReverseTransaction"),
        (SETTLEMENT, "  INFNO_2103 = 2103; // 药店结算撤销.\n", "", "2103"),
        (SETTLEMENT, "SETTLEMENT_STATE_REVERSED = 4", "SETTLEMENT_STATE_TAKEN_BACK = 4", "SETTLEMENT_STATE_REVERSED"),
        (SETTLEMENT, "  SettlementState state = 1; // REVERSED.", "  Replan state = 1;", "state"),
        (NOTIFY, "package gongji.notify.v1;", "package gongji.notify.v2;", "gongji.notify.v1"),
        (EVENTS, "    BillSettled bill_settled = 5;", "    BillSettled bill_settled = 77;", "bill_settled"),
        (LEDGER, "message CommandBatch {", "message Commands {", "CommandBatch"),
        (SETTLEMENT, f"{MDTRT_ID} " + '"^[0-9A-Za-z_-]{1,30}$"', f"{MDTRT_ID} " + '"^[0-9]{1,30}$"', "mdtrt_id"),
        (SETTLEMENT, "max_len: 4096", "max_len: 1024", "ec_token"),
        (SETTLEMENT, "Bill bill = 7 [(buf", REQUIRED_NOTE + "  Bill bill = 7 [(buf", "note"),
        (SETTLEMENT, PLAN_ID, PLAN_ID + "\n  Plan plan = 901 [(buf.validate.field).required = true];", "SettleRequest"),
        (SETTLEMENT, "      2303\n", "      2302\n", "infno"),
    ],
    ids=[
        *("field renumbered", "type changed", "made a list", "field renamed", "field removed", "RPC removed"),
        *("RPC made a stream", "enum value removed", "enum value renamed", "message type changed", "package changed"),
        *("event renumbered", "message renamed", "pattern changed", "text shortened", "new field without default"),
        *("new field required", "value no longer taken"),
    ],
)
def test_a_breaking_change_is_refused_and_named(copy: Path, file: Path, old: str, new: str, told: str) -> None:
    """Whatever a released terminal or service would stumble over is an error that names it."""
    change(copy, file, old, new)
    assert [line for line in broken(copy, RELEASED) if told in line]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  Bill bill = 7 [(buf", OPTIONAL_NOTE + "  Bill bill = 7 [(buf"),
        ("Bill bill = 7", "optional string note = 901 [(buf.validate.field).string.min_len = 1];\n  Bill bill = 7"),
        ("  INFNO_2103 = 2103;", "  INFNO_2199 = 2199;\n  INFNO_2103 = 2103;"),
        ("max_len: 4096", "max_len: 8192"),
        (REVERSE, REVERSE + REVERSE.replace("ReverseTransaction(", "ReverseAgain(")),
        ("      2303\n", "      2303,\n      2304\n"),
    ],
    ids=["new field", "new field that may be absent", "new enum value", "longer text", "new RPC", "value more"],
)
def test_what_only_adds_passes(copy: Path, old: str, new: str) -> None:
    """A field, value, RPC or room more, and a rule that lets more in, break nobody."""
    change(copy, SETTLEMENT, old, new)
    assert broken(copy, RELEASED) == []


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (lambda reasons: reasons.pop("PLAN_STALE"), "PLAN_STALE: a released reason is gone"),
        (lambda reasons: reasons["PLAN_STALE"].update(code="INTERNAL"), "PLAN_STALE: code was"),
        (lambda reasons: reasons["PLAN_STALE"].update(retry="same_request"), "PLAN_STALE: retry was"),
    ],
    ids=["gone", "another status", "another advice"],
)
def test_a_reason_that_programs_decide_by_stays(copy: Path, changed: Any, told: str) -> None:  # noqa: ANN401  A lambda.
    """A refusal keeps its name, its gRPC status and its advice on retrying; its texts may be said better."""
    reasons = json.loads((copy / REASONS).read_text(encoding="utf-8"))
    reasons["PLAN_STALE"]["zh"] = "另一种说法"
    (copy / REASONS).write_text(json.dumps(reasons), encoding="utf-8")
    assert broken(copy, RELEASED) == []
    changed(reasons)
    (copy / REASONS).write_text(json.dumps(reasons), encoding="utf-8")
    (line,) = broken(copy, RELEASED)
    assert line.startswith(told)


def test_a_release_is_held_against_itself(copy: Path) -> None:
    """What is released is what is in the tree, in the folder of its version."""
    shutil.rmtree(copy / "released")
    folder = release(copy)
    assert (folder.name, broken(copy, folder)) == ("0.1.0", [])
    assert last_released(copy) == folder
