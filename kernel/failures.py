"""The one way this system says no: a ``Failure`` with a kind, a reason and harmless metadata.

A failure is raised beside the rule it speaks for and crosses every wire unchanged: ``chassis.rpc`` maps its kind to a
gRPC status and its reason to ``google.rpc.ErrorInfo``, and maps both back into the same class on the other side.
The texts a person reads are not here: they stand in the reason catalogue of the contract
(``protos/gongji/*/v1``: reasons.yaml, or reasons/ by topic), one entry for each reason, in zh-CN and in English.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

REASON_PATTERN: Final = re.compile(r"[A-Z][A-Z0-9_]{2,62}")


class Kind(Enum):
    """What sort of no it is; the comment says who acts next."""

    INVALID = "INVALID_ARGUMENT"  # The caller corrects the request; the state of the world does not matter.
    UNAUTHENTICATED = "UNAUTHENTICATED"  # The caller presents a valid credential.
    FORBIDDEN = "PERMISSION_DENIED"  # Nobody retries: this caller may not do this.
    NOT_FOUND = "NOT_FOUND"  # The caller checks the name it used.
    EXISTS = "ALREADY_EXISTS"  # The caller asks for what exists already.
    PRECONDITION = "FAILED_PRECONDITION"  # A person changes the world first; the same request may pass later.
    CONFLICT = "ABORTED"  # The caller reads again and repeats from an earlier step.
    EXHAUSTED = "RESOURCE_EXHAUSTED"  # The caller waits for the limit's next period.
    UNAVAILABLE = "UNAVAILABLE"  # The caller sends the same request again, with back-off.
    DEADLINE = "DEADLINE_EXCEEDED"  # The caller asks what became of it before doing anything else.


class Failure(Exception):  # noqa: N818  A refusal is an answer, not an error; "Failure" is the field's and the design's word.
    """A refusal: ``kind`` says who acts next, ``reason`` names the rule (UPPER_SNAKE), ``metadata`` gives the facts.

    Metadata may hold amounts in fen, codes, field names and opaque ids, never an ID number, a name, a phone number,
    a credential or a token: it is logged and shown.
    """

    def __init__(self, kind: Kind, reason: str, /, **metadata: str | int) -> None:
        if not REASON_PATTERN.fullmatch(reason):
            message = f"a reason is UPPER_SNAKE, got {reason!r}"
            raise ValueError(message)
        super().__init__(kind, reason)
        self.kind = kind
        self.reason = reason
        self.metadata: dict[str, str] = {key: str(value) for key, value in metadata.items()}

    def __str__(self) -> str:
        facts = " ".join(f"{key}={value}" for key, value in sorted(self.metadata.items()))
        return f"{self.reason} ({facts})" if facts else self.reason

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Failure):
            return NotImplemented
        return (self.kind, self.reason, self.metadata) == (other.kind, other.reason, other.metadata)

    def __hash__(self) -> int:
        return hash((self.kind, self.reason))
