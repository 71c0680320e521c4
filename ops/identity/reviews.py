"""The officer's queue of kinship facts at the command line: what waits, and what is decided about it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.json_format import MessageToDict
from rich.console import Console
from rich.markup import escape

from chassis.rpc.client import channel
from gongji.identity.v1 import kinship_pb2 as pb
from gongji.identity.v1 import person_pb2
from gongji.identity.v1.kinship_pb2_grpc import KinshipServiceStub
from kernel.callers import Caller
from kernel.clock import SHANGHAI

if TYPE_CHECKING:
    from gongji.identity.v1.kinship_pb2_grpc import KinshipServiceAsyncStub

PAGE_SIZE: Final = 200
CALL_TIMEOUT_S: Final = 30.0
DECISIONS: Final = {
    "verify": person_pb2.KINSHIP_FACT_STATE_VERIFIED,
    "reject": person_pb2.KINSHIP_FACT_STATE_REJECTED,
    "revoke": person_pb2.KINSHIP_FACT_STATE_REVOKED,
}
_SAID: Final = {
    person_pb2.KINSHIP_FACT_KIND_PARENT_OF: "is a parent of",
    person_pb2.KINSHIP_FACT_KIND_MARRIED_TO: "is married to",
    person_pb2.KINSHIP_FACT_KIND_SIBLING_OF: "is a sibling of",
}


async def waiting(address: str, *, caller: Caller, count_max: int) -> list[pb.KinshipFact]:
    """The facts that wait for an officer, the one that has waited longest first; each look is on record."""
    found: list[pb.KinshipFact] = []
    token = ""
    async with _opened(address, caller) as stub:
        while len(found) < count_max:
            page = min(PAGE_SIZE, count_max - len(found))
            request = pb.ListReviewsRequest(page_size=page, page_token=token)
            answer = await stub.ListReviews(request, timeout=CALL_TIMEOUT_S)
            found += answer.facts
            token = answer.next_page_token
            if not token:
                break
    return found


async def decided(address: str, *, caller: Caller, fact_id: str, decision: str, opter: str, cause: str) -> str:
    """The fact's state after an officer's decision, one of DECISIONS; refusals as ReviewKinshipFact's."""
    request = pb.ReviewKinshipFactRequest(fact_id=fact_id, state=DECISIONS[decision], opter=opter, cause=cause)
    async with _opened(address, caller) as stub:
        answer = await stub.ReviewKinshipFact(request, timeout=CALL_TIMEOUT_S)
    return person_pb2.KinshipFactState.Name(answer.state).removeprefix("KINSHIP_FACT_STATE_")


def as_json(facts: list[pb.KinshipFact]) -> list[dict[str, Any]]:
    """For machines: the contract's fields by their names."""
    return [MessageToDict(fact, preserving_proto_field_name=True) for fact in facts]


def show(facts: list[pb.KinshipFact], out: Console) -> None:
    """A block for each fact: since when and by whose word it waits, what it says of whom, what proves it."""
    for fact in facts:
        since = fact.submitted_time.ToDatetime(tzinfo=SHANGHAI)
        dates = "".join(f" {word} {day}" for word, day in (("from", fact.from_date), ("to", fact.to_date)) if day)
        days = "".join(
            f", {word} {day}" for word, day in (("issued", fact.issued_on), ("expires", fact.expires_on)) if day
        )
        evidence = pb.Evidence.Name(fact.evidence).removeprefix("EVIDENCE_")
        finding = pb.RegistryFinding.Name(fact.finding).removeprefix("REGISTRY_FINDING_")
        asked = "the registry was not asked" if not fact.finding else f"the registry: {finding}"
        by = f", submitted by {escape(fact.submitted_by)}" if fact.submitted_by else ""
        out.print(f"[bold]{fact.fact_id}[/] since {since:%Y-%m-%d %H:%M}{by}", soft_wrap=True)
        out.print(f"    {_party(fact.person)} {_SAID[fact.kind]} {_party(fact.other)}{dates}", soft_wrap=True)
        out.print(f"    {evidence}{days}; {asked}", soft_wrap=True)
    out.print(f"{len(facts):,} shown")


def _party(party: pb.KinshipParty) -> str:
    return f"{escape(party.name_masked)} ({party.psn_no}, born {party.brdy})"


@asynccontextmanager
async def _opened(address: str, caller: Caller) -> AsyncIterator[KinshipServiceAsyncStub]:
    async with channel(address, call_timeout_s=CALL_TIMEOUT_S, caller=caller) as opened:
        yield KinshipServiceStub(opened)
