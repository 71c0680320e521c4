"""The case files as such: none that a consumer needs is missing, none is ambiguous, the stub keeps its precedence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import grpc
import pytest

from gongji.family.v1.events_pb2 import FamilyEvent
from gongji.identity.v1.credentials_pb2 import DecodeCredentialRequest
from gongji.settlement.v1 import settlement_pb2 as pb
from gongji.settlement.v1.events_pb2 import SettlementEvent
from gongji.settlement.v1.settlement_pb2_grpc import SettlementServiceStub
from gongji_terminal.failures import TerminalRefusal, failure_of
from gongji_terminal.stub import Stub, main, methods, serving, stubbed
from gongji_terminal.stub_cases import Case, CaseWrong, Differs, made_up, read_case
from services.identity.consumer import SUBJECTS
from services.settlement.consumer.events import FAMILY_SUBJECTS, IDENTITY_SUBJECTS
from tests.contract.case_files import CASES, ROOMS, TERMINALS

METHODS: Final = methods()
OF_TERMINALS: Final = ("SettlementService", "VisitService", "ReconciliationService", "ReturnService")
"""Services that a terminal calls, whole."""
OF_PEOPLE: Final = ("PremiumService", "ClaimService", "ClearingService")
"""Services that a person's app and an officer's commands call, whole."""
FAMILY_HEARS: Final = ("identity.person_changed", "identity.kinship_changed", "settlement.bill_settled")
EVENTS_HEARD: Final = {
    "settlement": {
        *(f"identity.{kind}" for kind in IDENTITY_SUBJECTS),
        *(f"family.{kind}" for kind in FAMILY_SUBJECTS),
    },
    "identity": {f"settlement.{kind}" for kind in SUBJECTS},
    "family": {*FAMILY_HEARS, "settlement.bill_refunded", "settlement.account_moved"},
    "notify": {
        *("identity.person_changed", "identity.risk_event_raised"),
        *(f"family.{field.name}" for field in FamilyEvent.DESCRIPTOR.oneofs_by_name["fact"].fields),
        *(f"settlement.{field.name}" for field in SettlementEvent.DESCRIPTOR.oneofs_by_name["fact"].fields),
    },
}
"""What each room follows, as its consumers say."""
EVENTS_WITHOUT: Final = {
    "family settlement.account_moved": "a move of accounts: tests/integration/family/test_moves.py",
    "notify family.member_left": "tests/integration/notify",
    "notify family.founder_changed": "tests/integration/notify",
    "notify identity.risk_event_raised": "raised by the clock: tests/e2e/test_misuse.py",
    "notify settlement.wallet_changed": "tests/e2e/test_wallets.py",
    "notify settlement.transfer_changed": "tests/e2e/test_wallets.py",
    "notify settlement.account_closed": "tests/e2e/test_moving.py",
    "notify settlement.account_moved": "tests/e2e/test_moving.py",
    "notify settlement.credential_refused": "notify tells nobody of it",
}
CALLS_WITHOUT: Final = {
    "ReconciliationService/ListDifferences": "for officers: cases/officer/02_differences.yaml",
    "ReconciliationService/ResolveDifference": "for officers: cases/officer/02_differences.yaml",
}
"""Calls that no case makes yet, with the reason; an entry that is not needed any more fails."""


def strings(value: Any) -> Iterator[str]:  # noqa: ANN401  A part of a file.
    """Every text in it."""
    match value:
        case dict():
            for inner in value.values():
                yield from strings(inner)
        case list():
            for inner in value:
                yield from strings(inner)
        case str():
            yield value


def test_every_event_that_a_room_follows_has_a_case_of_that_room() -> None:
    """Subject, headers and payload of each event stand in a file of each room that consumes it, or a reason does."""
    heard = {f"{room} {subject}" for room, subjects in EVENTS_HEARD.items() for subject in subjects}
    stated = {f"{case.consumer} {step.event['subject']}" for case in CASES for step in case.steps if step.event}
    assert heard - stated == EVENTS_WITHOUT.keys()
    assert stated <= heard


def offered_by(*services: str) -> set[str]:
    """Every method of these."""
    return {path.rpartition(".")[2] for path, method in METHODS.items() if method.containing_service.name in services}


def made_in(cases: Iterable[Case]) -> set[str]:
    """Every method that one of these calls."""
    return {step.call.rpartition(".")[2] for case in cases for step in case.steps if step.is_call}


def test_every_call_of_a_terminal_has_a_case() -> None:
    """No method of the desk is left to itself."""
    assert offered_by(*OF_TERMINALS) - made_in(TERMINALS) == CALLS_WITHOUT.keys()


def test_every_call_of_a_persons_app_and_of_an_officer_has_a_case() -> None:
    """Premiums, claims and clearing, and of reconciliation what is no terminal's."""
    officers = {call for call in CALLS_WITHOUT if call.startswith("ReconciliationService/")}
    assert (offered_by(*OF_PEOPLE) | officers) - made_in(ROOMS) == set()


def test_every_gRPC_call_of_a_case_is_of_the_contract() -> None:  # noqa: N802  Its name.
    """A case calls what there is; commands of ledgers and inquiries go over NATS."""
    calls = {step.call for case in CASES for step in case.steps if step.is_call}
    assert {call for call in calls if not call.startswith(("ledger/", "settlement/"))} <= METHODS.keys()


def test_a_person_is_of_one_case_alone() -> None:
    """So that the order of cases changes nothing, and the stub knows the case by the patient."""
    people = Counter(state["person"]["psn_no"] for case in CASES for state in case.given if "person" in state)
    assert [psn_no for psn_no, count in people.items() if count > 1] == []


def test_no_first_request_is_that_of_two_cases() -> None:
    """The stub never has to choose between two new dialogues by their order alone."""
    first = Counter(
        (step.call, str(sorted(strings(stubbed(step.request, case)))))
        for case in TERMINALS
        for step in [next(step for step in case.steps if step.is_call)]
        if step.method != "SignIn"
    )
    assert [call for call, count in first.items() if count > 1] == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("says: x\nsteps: [{call: a/B, request: {a: $b}}]", "neither sent nor made: b"),
        ("says: x\nsteps: [{call: a/B, refusal: {reason: NO_SUCH}}]", "no reason of this contract: NO_SUCH"),
        ("says: x\nsteps: [{call: a/B, ask: {}}]", "ask"),
        ("says: x\nwhat: y\nsteps: []", "unknown keys what"),
        ("steps: []", "says"),
        ("{", "line"),
        ("- x", "integer"),
    ],
)
def test_a_wrong_case_file_is_named_with_what_is_wrong(tmp_path: Path, content: str, told: str) -> None:
    """Its writer reads the file's name and the fault, not a traceback; the stub then does not start."""
    file = tmp_path / "hospital" / "wrong.yaml"
    file.parent.mkdir()
    file.write_text(content, encoding="utf-8")
    with pytest.raises(CaseWrong, match=str(file)) as wrong:
        read_case(file)
    assert told in str(wrong.value)
    assert main(["--cases", str(tmp_path)]) == 2


def test_a_folder_without_cases_does_not_start_the_stub(tmp_path: Path) -> None:
    """Exit 2."""
    assert main(["--cases", str(tmp_path), "--list"]) == 2


def test_the_list_shows_every_case(capsys: pytest.CaptureFixture[str]) -> None:
    """What a reader of --list sees: each case with what it says."""
    assert main(["--list"]) == 0
    shown = capsys.readouterr().out
    assert [case.name for case in TERMINALS if case.says not in shown] == []


# The stub's precedence ------------------------------------------------------------------------------------------------


def visit_of(case: Case, **changes: Any) -> pb.PreSettleRequest:  # noqa: ANN401  Any field.
    """The case's PreSettle."""
    (stated, *_) = [step.request for step in case.steps if step.method == "PreSettle"]
    bill = pb.Bill(**{**stated["bill"], **changes.pop("bill", {})})
    return pb.PreSettleRequest(**{**stated, "ec_token": "any", "mdtrt_id": "M1", "bill": bill, **changes})


def case_of(name: str) -> Case:
    """A hospital's case by its name."""
    (case,) = [case for case in TERMINALS if case.name == name]
    return case


async def test_a_request_that_no_case_states_names_the_nearest_and_the_field() -> None:
    """UNIMPLEMENTED, and a developer reads what to change."""
    paid = case_of("04_reversed_after_it_paid")
    async with serving([paid]) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        desk: Any = SettlementServiceStub(channel)
        await desk.PreSettle(visit_of(paid), timeout=60)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await desk.PreSettle(visit_of(paid, bill={"oth_pay": 7}), timeout=60)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "hospital/04_reversed_after_it_paid: bill.oth_pay: stated None, found '7'" in (refused.value.details() or "")


async def test_a_refusal_of_the_stub_has_the_texts_and_the_status_of_the_catalogue() -> None:
    """The reference client cannot tell it from that of the service."""
    wrong = case_of("11_sum_wrong")
    async with serving(TERMINALS) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        desk: Any = SettlementServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await desk.PreSettle(visit_of(wrong), timeout=60)
    failure = failure_of(refused.value)
    assert isinstance(failure, TerminalRefusal)
    assert (failure.reason, failure.code) == ("BILL_DOES_NOT_ADD_UP", grpc.StatusCode.INVALID_ARGUMENT)
    assert failure.metadata == {"parts_fen": "900", "stated_fen": "1000"}
    assert refused.value.details() == failure.text_en


def asked(stub: Stub, method: str, message: Any) -> Any:  # noqa: ANN401  Any message.
    """What the stub answers."""
    (answer,) = stub.answers(METHODS[f"gongji.settlement.v1.SettlementService/{method}"], [message])
    return answer


def test_the_same_look_before_and_after_a_revocation_is_told_two_states() -> None:
    """A step that changes something is never skipped: asked twice before, the stub says SETTLED twice."""
    stub, case = Stub(TERMINALS), case_of("01_bill_paid_by_three")
    decode = DecodeCredentialRequest(
        code="650100900000001",
        fixmedins_code="H65010000017",
        terminal_no="T01",
        business_type="01301",
        mdtrt_id="M1",
    )
    decoded: Any
    (decoded,) = stub.answers(METHODS["gongji.identity.v1.CredentialService/DecodeCredential"], [decode])
    plan = asked(stub, "PreSettle", visit_of(case, ec_token=decoded.ec_token)).plan
    key = pb.RequestKey(fixmedins_code="H65010000017", infno=pb.INFNO_2207, msgid="H65010000017202611221000000101")
    settle = pb.SettleRequest(key=key, plan_id=plan.plan_id, plan_digest=plan.digest)
    settled = asked(stub, "Settle", settle).settlement
    look = pb.GetSettlementRequest(fixmedins_code="H65010000017", setl_id=settled.setl_id)
    before = [asked(stub, "GetSettlement", look).settlement.state for _ in range(3)]
    revocation_key = pb.RequestKey(
        fixmedins_code="H65010000017", infno=pb.INFNO_2208, msgid="H65010000017202611221000000102"
    )
    asked(stub, "RevokeSettle", pb.RevokeSettleRequest(key=revocation_key, setl_id=settled.setl_id))
    revocation_key.msgid = "H65010000017202611221000000103"
    with pytest.raises(Exception, match="ALREADY_REVOKED"):
        asked(stub, "RevokeSettle", pb.RevokeSettleRequest(key=revocation_key, setl_id=settled.setl_id))
    after = asked(stub, "GetSettlement", look).settlement.state
    assert (before, after) == ([pb.SETTLEMENT_STATE_SETTLED] * 3, pb.SETTLEMENT_STATE_REVOKED)


def test_two_dialogues_of_one_case_do_not_mix() -> None:
    """Each terminal of a developer's has its own plan; a plan of the one is not paid under the other's digest."""
    stub, case = Stub(TERMINALS), case_of("04_reversed_after_it_paid")
    first, second = [asked(stub, "PreSettle", visit_of(case, mdtrt_id=made_up("visit"))).plan for _ in range(2)]
    assert first.plan_id != second.plan_id
    key = pb.RequestKey(fixmedins_code="H65010000017", infno=pb.INFNO_2207, msgid="H65010000017202611221000000101")
    paid = [
        asked(stub, "Settle", pb.SettleRequest(key=key, plan_id=plan.plan_id, plan_digest=plan.digest)).settlement
        for plan in (first, second)
    ]
    assert paid[0].setl_id != paid[1].setl_id
    with pytest.raises(Differs):
        asked(stub, "Settle", pb.SettleRequest(key=key, plan_id=first.plan_id, plan_digest=second.digest))
