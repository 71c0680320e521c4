"""The map between failures and statuses, without a wire."""

from __future__ import annotations

import pytest
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # It publishes no types.

from chassis.rpc.catalogue import texts_of
from chassis.rpc.failures import code_of, failure_of_status, internal_status, status_of
from chassis.rpc.interceptors import checked_request
from gongji.family.v1 import family_pb2
from gongji.identity.v1 import identity_pb2
from kernel.failures import Failure, Kind


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_survives_the_map(kind: Kind) -> None:
    """A failure of any kind is the same failure after it has been a status, and its code is the kind's."""
    failure = Failure(kind, "SERVICE_BUSY", field="medfee_sumamt", limit_fen=200000)
    assert failure_of_status(status_pb2.Status.FromString(status_of(failure).SerializeToString())) == failure
    assert code_of(failure).name == kind.value


def test_a_status_carries_both_languages_and_the_field() -> None:
    """Texts come from the catalogue, zh-CN first; an invalid field is also a BadRequest."""
    failure = Failure(Kind.INVALID, "AMOUNT_OUT_OF_RANGE", field="past_fen")
    texts: dict[str, str] = {}
    fields: list[str] = []
    for detail in status_of(failure).details:
        localized, bad = error_details_pb2.LocalizedMessage(), error_details_pb2.BadRequest()
        if detail.Unpack(localized):
            texts[localized.locale] = localized.message
        elif detail.Unpack(bad):
            fields = [violation.field for violation in bad.field_violations]
    known = texts_of("AMOUNT_OUT_OF_RANGE")
    assert known.zh.startswith("金额")
    assert list(texts.items()) == [("zh-CN", known.zh), ("en", known.en)]
    assert fields == ["past_fen"]


def test_a_reason_that_we_do_not_know_still_crosses() -> None:
    """A newer peer's reason has a general text and keeps its name."""
    failure = Failure(Kind.CONFLICT, "SOMETHING_OF_TOMORROW", plan="x")
    assert failure_of_status(status_of(failure)) == failure
    assert texts_of("SOMETHING_OF_TOMORROW").en == "The request was refused."


def test_a_fault_of_ours_is_no_failure() -> None:
    """INTERNAL carries the trace id and is not turned into a refusal on the other side."""
    assert failure_of_status(internal_status("abc")) is None


def test_a_broken_rule_is_told_by_field_and_rule_and_never_by_value() -> None:
    """REQUEST_INVALID names the first field and rule, and lists the others; what was sent is nowhere."""
    request = identity_pb2.RegisterPersonRequest(certno="650103198503124518" * 2, psn_no="secret")
    with pytest.raises(Failure) as refused:
        checked_request(request)
    failure = refused.value
    assert (failure.kind, failure.reason) == (Kind.INVALID, "REQUEST_INVALID")
    told = f"{failure.metadata['field']}:{failure.metadata['rule']}, {failure.metadata['more']}"
    assert "certno:string.max_len" in told
    assert "psn_no:string.pattern" in told
    assert "6501" not in str(failure)
    assert "secret" not in str(failure)


def test_a_rule_inside_a_list_is_told_with_its_place() -> None:
    """The path of a nested field has the item's index."""
    from gongji.ledger.v1 import ledger_pb2  # noqa: PLC0415  Only this test reads the ledger's contract.

    batch = ledger_pb2.CommandBatch()
    batch.commands.add()
    with pytest.raises(Failure) as refused:
        checked_request(batch)
    told = " ".join(refused.value.metadata.values())
    assert "commands[0]." in told


def test_a_long_request_is_refused_for_the_first_broken_rule_alone() -> None:
    """Twenty thousand bad items are not collected: that would stop everybody else's work for seconds."""
    request = family_pb2.SetDeductOrderRequest(beneficiary_psn_no="1" * 10, funder_psn_nos=["x"] * 20_000)
    with pytest.raises(Failure) as refused:
        checked_request(request)
    assert refused.value.metadata == {"field": "funder_psn_nos", "rule": "repeated.max_items"}
