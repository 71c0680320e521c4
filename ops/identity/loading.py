"""A batch file of the civil registry is loaded, a row each; the room keeps its certificates as blind indexes alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from chassis.rpc.client import channel
from gongji.identity.v1 import kinship_pb2 as pb
from gongji.identity.v1.kinship_pb2_grpc import KinshipServiceStub
from kernel.callers import Caller
from kernel.failures import Failure, Kind
from ops.batchfile.progress import Done
from ops.batchfile.taking import CALL_TIMEOUT_S, Answer, Intake, take_file

if TYPE_CHECKING:
    from gongji.identity.v1.kinship_pb2_grpc import KinshipServiceAsyncStub
    from ops.batchfile.view import View

COLUMNS: Final = ("kind", "certno_a", "certno_b", "from_date", "to_date")
NEEDED: Final = ("kind", "certno_a", "certno_b")
_LONGEST: Final = {"kind": 32, "certno_a": 64, "certno_b": 64, "from_date": 32, "to_date": 32}
"""As the contract has it: a longer cell would refuse its whole batch."""


async def load_registry_file(path: Path, *, address: str, caller: Caller, in_flight: int, view: View) -> Done:
    """Loads every line; how many said something new, nothing new, or were refused. Failures as ``take_file``."""
    async with channel(address, call_timeout_s=CALL_TIMEOUT_S, caller=caller) as opened:
        stub: KinshipServiceAsyncStub = KinshipServiceStub(opened)

        async def send(rows: Sequence[pb.RegistryRow]) -> Answer:
            request = pb.LoadRegistryRowsRequest(rows=rows)
            answer = await stub.LoadRegistryRows(request, timeout=CALL_TIMEOUT_S)
            refused = [(each.row, each.reason, each.field) for each in answer.refused]
            return Answer(answer.taken, answer.known, refused)

        return await take_file(path, Intake(COLUMNS, NEEDED, _row, send), in_flight=in_flight, view=view)


def _row(cells: Mapping[str, str]) -> pb.RegistryRow:
    for column, length_max in _LONGEST.items():
        if len(cells.get(column, "")) > length_max:
            raise Failure(Kind.INVALID, "LINE_MALFORMED", field=column)
    return pb.RegistryRow(**{column: text.strip() for column, text in cells.items()})
