"""What a failed call means at the terminal: a refusal with its texts, or nothing that can be believed."""

from __future__ import annotations

import json
from importlib import resources
from typing import Final

import grpc
import pytest

from chassis.rpc.failures import internal_status, status_of, trailers_of
from gongji_terminal.failures import Retry, TerminalRefusal, Unanswered, advice_on, failure_of
from kernel.failures import Failure, Kind

CATALOGUE: Final = json.loads(resources.files("gongji.common.v1").joinpath("reasons.json").read_text(encoding="utf-8"))


def call_failed(code: grpc.StatusCode, failure: Failure | None = None, *, text: str = "") -> grpc.aio.AioRpcError:
    """A failed call as grpc raises it; the text is what a proxy on the way may have made of it."""
    trailers = () if failure is None else trailers_of(status_of(failure))
    return grpc.aio.AioRpcError(
        code,
        initial_metadata=grpc.aio.Metadata(),
        trailing_metadata=grpc.aio.Metadata(*trailers),
        details=text,
        debug_error_string="",
    )


def test_a_refusal_comes_with_its_reason_facts_and_texts() -> None:
    """Reason, metadata and both texts are those of the catalogue, whatever a proxy did to the status text."""
    failure = Failure(Kind.INVALID, "BILL_DOES_NOT_ADD_UP", field="medfee_sumamt", parts_fen=900)
    refusal = failure_of(call_failed(grpc.StatusCode.INVALID_ARGUMENT, failure, text="rewritten by a proxy"))
    assert isinstance(refusal, TerminalRefusal)
    assert (refusal.reason, refusal.metadata["parts_fen"]) == ("BILL_DOES_NOT_ADD_UP", "900")
    assert refusal.text_zh == CATALOGUE["BILL_DOES_NOT_ADD_UP"]["zh"]
    assert refusal.text_en in str(refusal)


@pytest.mark.parametrize("name", ["CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "UNKNOWN"])
def test_after_these_codes_nothing_is_known(name: str) -> None:
    """With or without a reason, the request may have been done, so it is no refusal."""
    code = grpc.StatusCode[name]
    assert isinstance(failure_of(call_failed(code)), Unanswered)
    busy = failure_of(call_failed(code, Failure(Kind.UNAVAILABLE, "PAYMENT_IN_PROGRESS")))
    assert isinstance(busy, Unanswered)
    assert busy.reason == "PAYMENT_IN_PROGRESS"


def test_a_fault_of_the_service_gives_the_trace_id() -> None:
    """INTERNAL tells what the operator needs to find it."""
    error = grpc.aio.AioRpcError(
        grpc.StatusCode.INTERNAL,
        initial_metadata=grpc.aio.Metadata(),
        trailing_metadata=grpc.aio.Metadata(*trailers_of(internal_status("f" * 32))),
        details="",
        debug_error_string="",
    )
    found = failure_of(error)
    assert isinstance(found, Unanswered)
    assert found.trace_id == "f" * 32


def test_a_refusal_without_our_details_is_told_by_its_code() -> None:
    """A gateway's own refusal is still a refusal."""
    refusal = failure_of(call_failed(grpc.StatusCode.PERMISSION_DENIED))
    assert isinstance(refusal, TerminalRefusal)
    assert (refusal.reason, refusal.retry) == ("PERMISSION_DENIED", Retry.NEVER)


@pytest.mark.parametrize("reason", sorted(CATALOGUE))
def test_every_reason_of_the_catalogue_can_be_advised_on(reason: str) -> None:
    """Each entry has a retry hint that this client knows and texts for people."""
    advice = advice_on(reason)
    assert advice.retry.value == CATALOGUE[reason]["retry"]
    assert advice.zh
    assert advice.en
    assert advice.cashier
