"""What a call can end with beside its answer: a refusal with its reason and texts, or nothing that can be believed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib import resources
from typing import Final, TypeVar, cast

import grpc
from google.protobuf.any_pb2 import Any as PackedMessage
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # It publishes no types.

from gongji.settlement.v1 import settlement_pb2 as pb

Detail = TypeVar("Detail", bound=Message)

DOMAIN: Final = "gongji"
DETAILS_KEY: Final = "grpc-status-details-bin"
_UNDECIDED_CODES: Final = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNKNOWN,
    }
)
"""After these the request may or may not have been done."""


class Retry(Enum):
    """Whether sending again helps, as the catalogue of reasons says."""

    NEVER = "never"
    SAME_REQUEST = "same_request"  # The same bytes again, with back-off.
    AFTER_CHANGE = "after_change"  # After a person has changed something.
    NEW_REQUEST = "new_request"  # A new request with a new msgid.


@dataclass(frozen=True, slots=True)
class Advice:
    """The catalogue's entry of a reason: what is shown and what each person does."""

    retry: Retry
    zh: str
    en: str
    cashier: str
    integrator: str


UNKNOWN_REASON: Final = Advice(
    Retry.NEVER, "请求未被受理。", "The request was refused.", "Ask the operator.", "Update the contract package."
)
"""For a reason that the service knows and this release of the contract does not."""


class TerminalRefusal(Exception):  # noqa: N818  A refusal is an answer, not an error.
    """The service said no: ``reason`` names the rule, ``text_zh`` and ``text_en`` are for people's eyes."""

    def __init__(
        self,
        reason: str,
        code: grpc.StatusCode,
        metadata: dict[str, str] | None = None,
        standing: pb.Settlement | None = None,
        *,
        by_service: bool = True,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code
        self.metadata = metadata or {}
        self.standing = standing  # What stands, of a request that cannot be reversed any more.
        self.by_service = by_service  # Else whoever stands in between said so: nobody has judged the request.
        self.advice = advice_on(reason)

    def __str__(self) -> str:
        return f"{self.reason}: {self.text_en}"

    @property
    def text_zh(self) -> str:
        """What the cashier or the family reads."""
        return self.advice.zh

    @property
    def text_en(self) -> str:
        """The same in English."""
        return self.advice.en

    @property
    def retry(self) -> Retry:
        """Whether sending again helps."""
        return self.advice.retry

    @property
    def is_open(self) -> bool:
        """Whether the same request may be done later all the same."""
        return self.retry is Retry.SAME_REQUEST or not self.by_service


class Unanswered(Exception):  # noqa: N818  As above: it says what is not known.
    """No answer that can be believed: the request may or may not have been done. ``reason`` is empty if none came."""

    def __init__(self, code: grpc.StatusCode, reason: str = "", trace_id: str = "") -> None:
        super().__init__(code.name, reason)
        self.code = code
        self.reason = reason
        self.trace_id = trace_id
        self.is_open: Final = True

    def __str__(self) -> str:
        return f"no answer ({self.reason or self.code.name})"


def failure_of(error: grpc.aio.AioRpcError) -> TerminalRefusal | Unanswered:
    """What a failed call means for whoever sent it."""
    code: grpc.StatusCode = error.code()
    details = _details(error)
    info = next((info for info in _unpacked(details, error_details_pb2.ErrorInfo) if info.domain == DOMAIN), None)
    reason = "" if info is None else info.reason
    metadata = {} if info is None else dict(info.metadata)
    if code in _UNDECIDED_CODES:
        return Unanswered(code, reason, metadata.get("trace_id", ""))
    standing = next(_unpacked(details, pb.Settlement), None)
    return TerminalRefusal(reason or code.name, code, metadata, standing, by_service=info is not None)


def advice_on(reason: str) -> Advice:
    """The catalogue's entry of a reason, or a general one."""
    return _catalogue().get(reason, UNKNOWN_REASON)


def catalogue_entry(reason: str) -> dict[str, str]:
    """The catalogue's entry as it stands there, its gRPC code too; KeyError if there is none."""
    return _entries()[reason]


def is_reason(reason: str) -> bool:
    """Whether the catalogue has it."""
    return reason in _entries()


@cache
def _catalogue() -> dict[str, Advice]:
    return {
        reason: Advice(Retry(entry["retry"]), entry["zh"], entry["en"], entry["cashier"], entry["integrator"])
        for reason, entry in _entries().items()
    }


@cache
def _entries() -> dict[str, dict[str, str]]:
    content = resources.files("gongji.common.v1").joinpath("reasons.json").read_text(encoding="utf-8")
    entries: dict[str, dict[str, str]] = json.loads(content)
    return entries


def _details(error: grpc.aio.AioRpcError) -> list[PackedMessage]:
    """Read by hand, because a proxy may have changed the text that grpcio-status compares."""
    trailers = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ())
    for key, value in trailers:
        if key == DETAILS_KEY and isinstance(value, bytes):
            return list(status_pb2.Status.FromString(value).details)
    return []


def _unpacked(details: Iterable[PackedMessage], kind: Callable[[], Detail]) -> Iterator[Detail]:
    """Those of the details that are of this kind."""
    for detail in details:
        message = kind()
        if detail.Is(cast("Descriptor", message.DESCRIPTOR)) and detail.Unpack(message):
            yield message
