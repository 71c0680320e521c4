"""CounterService: what officers did at the counter."""

from __future__ import annotations

from typing import Final

from chassis.rpc import pages
from chassis.rpc.pages import page_size
from chassis.rpc.server import RpcServer
from gongji.family.v1 import counter_pb2
from gongji.family.v1.counter_pb2_grpc import CounterServiceServicer, add_CounterServiceServicer_to_server
from kernel.ids import PsnNo
from services.family import wire
from services.family.api.room import Context, Room, asked_by
from services.family.domain.counter import Done, Lookup, WantedDeeds
from services.family.operations import counter

_NUMBER_END: Final = 2**63


class CounterApi(CounterServiceServicer):
    """Serves ``gongji.family.v1.CounterService``; refusals are raised by the operations and mapped by the chassis."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def add_to(self, server: RpcServer) -> None:
        """Hangs this servicer into a server."""
        server.add(add_CounterServiceServicer_to_server, self)

    async def ListCounterDeeds(
        self, request: counter_pb2.ListCounterDeedsRequest, context: Context
    ) -> counter_pb2.ListCounterDeedsResponse:
        page, more = await counter.list_deeds(
            database=self._room.database,
            wanted=_wanted(request),
            before=_number(request.page_token),
            size=page_size(request.page_size),
            asked_by=asked_by(context),
            now=self._room.clock.now(),
        )
        return counter_pb2.ListCounterDeedsResponse(
            deeds=[_deed(done) for done in page],
            next_page_token=_token(page[-1].deed_no) if more else "",
        )

    async def ListDeedLookups(
        self, request: counter_pb2.ListDeedLookupsRequest, _: Context
    ) -> counter_pb2.ListDeedLookupsResponse:
        page, more = await counter.list_lookups(
            database=self._room.database,
            psn_no=PsnNo(request.psn_no),
            before=_number(request.page_token),
            size=page_size(request.page_size),
        )
        return counter_pb2.ListDeedLookupsResponse(
            lookups=[_lookup(lookup) for lookup in page],
            next_page_token=_token(page[-1].lookup_no) if more else "",
        )


def _wanted(request: counter_pb2.ListCounterDeedsRequest) -> WantedDeeds:
    """Which deeds are asked for. DATE_MALFORMED, USES_PERIOD_REVERSED."""
    return WantedDeeds(
        psn_no=PsnNo(request.psn_no) if request.psn_no else None,
        opter=request.opter,
        deed=request.deed,
        subject=request.subject,
        period=wire.period_of(request),
    )


def _deed(done: Done) -> counter_pb2.CounterDeed:
    """A deed as officers read it."""
    return counter_pb2.CounterDeed(
        deed_no=done.deed_no,
        deed=done.deed,
        subject=done.subject,
        opter=done.counter.opter,
        second_opter=done.counter.second_opter or "",
        documents=[
            counter_pb2.SeenDocument(
                psn_no=seen.psn_no,
                kind=counter_pb2.DocumentKind.Value(f"DOCUMENT_KIND_{seen.kind.value}"),
                seen_time=wire.timestamp(seen.seen_at),
            )
            for seen in done.counter.documents
        ],
        done_time=wire.timestamp(done.done_at),
    )


def _lookup(lookup: Lookup) -> counter_pb2.DeedLookup:
    """Who has read of a person."""
    return counter_pb2.DeedLookup(asked_by=lookup.asked_by, looked_time=wire.timestamp(lookup.looked_at))


def _token(number: int) -> str:
    """The page token of a list behind the entry with this number."""
    return pages.token_of(str(number))


def _number(token: str) -> int | None:
    """The number that a page ended with; None for the first page. PAGE_TOKEN_MALFORMED (INVALID)."""
    parts = pages.parts_of(token, 1)
    if parts is None:
        return None
    if not (parts[0].isascii() and parts[0].isdecimal() and 0 < int(parts[0]) < _NUMBER_END):
        raise pages.malformed()
    return int(parts[0])
