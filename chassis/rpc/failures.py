"""The one map between ``Failure`` and ``google.rpc.Status``, both ways.

On the wire a failure is: the gRPC code of its kind, the English text as message, ErrorInfo (reason, domain ``gongji``,
metadata), LocalizedMessage in zh-CN and en, BadRequest when the metadata names fields, and what an ``Answered`` shows.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Final, cast

import grpc
from google.protobuf.any_pb2 import Any as PackedMessage
from google.protobuf.message import Message
from google.rpc import (  # type: ignore[import-untyped]  # It publishes no types.
    code_pb2,
    error_details_pb2,
    status_pb2,
)

from chassis.rpc.catalogue import texts_of
from kernel.failures import REASON_PATTERN, Failure, Kind

DOMAIN: Final = "gongji"
DETAILS_KEY: Final = "grpc-status-details-bin"
INTERNAL_TEXT: Final = "Something went wrong on our side; the trace id finds it in our log."
INTERNAL_REASON: Final = "INTERNAL"
_CODE_OF: Final = {kind: grpc.StatusCode[kind.value] for kind in Kind}
_NUMBER_OF: Final = {kind: code_pb2.Code.Value(kind.value) for kind in Kind}
_KIND_OF: Final = {number: kind for kind, number in _NUMBER_OF.items()}
_TOO_LARGE: Final = "larger than max"

Trailers = tuple[tuple[str, str | bytes], ...]


class Answered(Failure):
    """A refusal that shows what stands instead: ``shown`` travels among the details, whoever does not know it skips it.

    A status travels in trailers, of which transports take little: ``shown`` must be small.
    """

    def __init__(self, refusal: Failure, shown: Message) -> None:
        super().__init__(refusal.kind, refusal.reason, **refusal.metadata)
        self.shown = shown


class PeerError(Exception):
    """The other side had a fault of its own (INTERNAL and the like): no refusal, so it is an INTERNAL of ours too."""

    def __init__(self, code: str, trace_id: str) -> None:
        super().__init__(f"the called service answered {code}; its trace id is {trace_id or 'not told'}")
        self.trace_id = trace_id


def code_of(failure: Failure) -> grpc.StatusCode:
    """The gRPC code of a failure's kind."""
    return _CODE_OF[failure.kind]


def status_of(failure: Failure) -> status_pb2.Status:
    """The whole failure as ``google.rpc.Status``, for trailers and for messages that carry a failure."""
    status = status_pb2.Status(code=_NUMBER_OF[failure.kind], message=texts_of(failure.reason).en)
    status.details.add().Pack(
        error_details_pb2.ErrorInfo(reason=failure.reason, domain=DOMAIN, metadata=failure.metadata)
    )
    status.details.extend(_localized(failure.reason))
    if failure.kind is Kind.INVALID and "field" in failure.metadata:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=failure.metadata["field"],
            description=failure.metadata.get("rule", failure.reason),
            reason=failure.reason,
        )
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(failure, Answered):
        status.details.add().Pack(failure.shown)
    return status


def trailers_of(status: status_pb2.Status) -> Trailers:
    """The trailing metadata in which a rich status travels."""
    return ((DETAILS_KEY, status.SerializeToString()),)


def internal_status(trace_id: str) -> status_pb2.Status:
    """What a caller is told about a fault of ours: a fixed text and the trace id, nothing else."""
    status = status_pb2.Status(code=code_pb2.INTERNAL, message=INTERNAL_TEXT)
    status.details.add().Pack(
        error_details_pb2.ErrorInfo(reason=INTERNAL_REASON, domain=DOMAIN, metadata={"trace_id": trace_id})
    )
    return status


def failure_of_status(status: status_pb2.Status) -> Failure | None:
    """The failure that a rich status carries; None if it carries none of ours."""
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR) and detail.Unpack(info) and info.domain == DOMAIN:
            kind = _KIND_OF.get(status.code)
            if kind is None or not REASON_PATTERN.fullmatch(info.reason):
                return None
            return Failure(kind, info.reason, **dict(info.metadata))
    return None


def error_of_call(error: grpc.aio.AioRpcError) -> Failure | PeerError:
    """What a failed call means: the other side's own failure, a failure of the way there, or a fault over there."""
    status = _rich_status(cast("Iterable[tuple[str, str | bytes]] | None", error.trailing_metadata()))
    code: grpc.StatusCode = error.code()
    if status is not None and (failure := failure_of_status(status)) is not None:
        return failure
    match code:
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return Failure(Kind.DEADLINE, "ANSWER_UNKNOWN")
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED:
            return Failure(Kind.UNAVAILABLE, "SERVICE_UNAVAILABLE")
        case grpc.StatusCode.RESOURCE_EXHAUSTED if _TOO_LARGE in (error.details() or ""):
            # Far above our own limit the transport refuses by itself, before any code of ours has seen the call.
            return Failure(Kind.INVALID, "MESSAGE_TOO_LARGE")
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return Failure(Kind.UNAVAILABLE, "SERVICE_BUSY")
        case _:
            return PeerError(code.name, _trace_id_of(status))


def _rich_status(trailers: Iterable[tuple[str, str | bytes]] | None) -> status_pb2.Status | None:
    # Read by hand: grpcio-status refuses a status whose text differs from the call's, which proxies may change.
    for key, value in trailers or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            status: status_pb2.Status = status_pb2.Status.FromString(value)
            return status
    return None


def _trace_id_of(status: status_pb2.Status | None) -> str:
    info = error_details_pb2.ErrorInfo()
    for detail in status.details if status is not None else ():
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR) and detail.Unpack(info):
            return str(info.metadata.get("trace_id", ""))
    return ""


@cache
def _localized(reason: str) -> tuple[PackedMessage, ...]:
    texts = texts_of(reason)
    packed = []
    for locale, text in (("zh-CN", texts.zh), ("en", texts.en)):
        message = PackedMessage()
        message.Pack(error_details_pb2.LocalizedMessage(locale=locale, message=text))
        packed.append(message)
    return tuple(packed)
