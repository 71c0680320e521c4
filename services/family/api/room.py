"""What every face of family works with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias
from uuid import UUID

import grpc

from chassis.db import Database
from chassis.rpc.client import CALLER
from chassis.rpc.interceptors import header
from gongji.family.v1 import counter_pb2
from kernel.callers import parsed_caller
from kernel.clock import Clock, business_date
from kernel.ids import time_ordered_uuid
from kernel.policy import Policies, PolicySet
from kernel.randomness import Randomness
from services.family import wire
from services.family.clients import Identity, Ledgers
from services.family.domain.counter import Counter
from services.family.operations.people import People

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What the calls work with."""

    database: Database
    identity: Identity
    ledgers: Ledgers
    policies: Policies
    people: People
    clock: Clock
    randomness: Randomness
    invitation_days: int

    def policies_now(self) -> PolicySet:
        """The policies of this civil day."""
        return self.policies.on(business_date(self.clock.now()))

    def new_id(self) -> UUID:
        """An id that no other has; those made later come later in order."""
        return time_ordered_uuid(self.clock.now(), self.randomness)


class MadeAtACounter(Protocol):
    """A request that may have been made at a counter."""

    @property
    def counter(self) -> counter_pb2.Counter:
        """The officer and what he saw."""
        ...


NOBODY: Final = "unauthenticated"
"""Stands for a caller who declares nothing."""


def asked_by(context: Context) -> str:
    """Who asks, for the audit, as he declares it; whether it is true nobody checks until callers sign in.

    CALLER_MALFORMED (INVALID) of a declaration that has no known form.
    """
    declared = header(context, CALLER)
    return NOBODY if declared is None else str(parsed_caller(declared))


def counter_of(request: MadeAtACounter) -> Counter | None:
    """The officer of a request; None if it was made in a person's own app."""
    return wire.counter_of(request.counter) if request.HasField("counter") else None  # type: ignore[attr-defined]  # Every message has it.
