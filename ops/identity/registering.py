"""A file of people is registered and enrolled, a row each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from chassis.rpc.client import channel
from gongji.identity.v1 import identity_pb2 as pb
from gongji.identity.v1 import person_pb2
from gongji.identity.v1.identity_pb2_grpc import IdentityServiceStub
from kernel.callers import Caller
from kernel.failures import Failure, Kind
from ops.batchfile.progress import Done
from ops.batchfile.taking import CALL_TIMEOUT_S, Answer, Intake, take_file

if TYPE_CHECKING:
    from gongji.identity.v1.identity_pb2_grpc import IdentityServiceAsyncStub
    from ops.batchfile.view import View

COLUMNS: Final = (
    "psn_cert_type",
    "certno",
    "psn_name",
    "brdy",
    "gend",
    "psn_no",
    "insutype",
    "insuplc_admdvs",
    "psn_type",
)
NEEDED: Final = ("psn_cert_type", "certno", "psn_name")
_KINDS: Final = {
    name.removeprefix("CERTIFICATE_TYPE_"): value for name, value in person_pb2.CertificateType.items() if value
}


async def register_file(path: Path, *, address: str, caller: Caller, in_flight: int, view: View) -> Done:
    """Registers every line; how many were new, known, refused. Failures as ``take_file``."""
    async with channel(address, call_timeout_s=CALL_TIMEOUT_S, caller=caller) as opened:
        stub: IdentityServiceAsyncStub = IdentityServiceStub(opened)

        async def send(rows: Sequence[pb.PersonRow]) -> Answer:
            answers = (await stub.RegisterPeople(pb.RegisterPeopleRequest(rows=rows), timeout=CALL_TIMEOUT_S)).answers
            refused = [(place, each.reason, each.field) for place, each in enumerate(answers) if each.reason]
            existed = sum(each.existed for each in answers if not each.reason)
            return Answer(len(rows) - len(refused) - existed, existed, refused)

        return await take_file(path, Intake(COLUMNS, NEEDED, _row, send), in_flight=in_flight, view=view)


def _row(cells: Mapping[str, str]) -> pb.PersonRow:
    rest = {column: text.strip() for column, text in cells.items()}
    kind = _KINDS.get(rest.pop("psn_cert_type"))
    if kind is None:
        raise Failure(Kind.INVALID, "CERTIFICATE_KIND_UNKNOWN", field="psn_cert_type")
    return pb.PersonRow(psn_cert_type=kind, **rest)
