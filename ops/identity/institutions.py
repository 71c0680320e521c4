"""A file of institutions and their terminals is registered: a row for each terminal, or for an institution alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Final

from chassis.rpc.client import channel
from gongji.identity.v1 import institutions_pb2 as pb
from gongji.identity.v1 import person_pb2
from gongji.identity.v1.institutions_pb2_grpc import InstitutionServiceStub
from kernel.callers import Caller
from kernel.failures import Failure, Kind
from ops.batchfile.lines import Survey, UnusableFileError, read_lines
from ops.batchfile.progress import Done
from ops.batchfile.taking import CALL_TIMEOUT_S, Answer, Intake, take_file

if TYPE_CHECKING:
    from gongji.identity.v1.institutions_pb2_grpc import InstitutionServiceAsyncStub
    from ops.batchfile.view import View

OPERATOR: Final = "operator:"
NEEDED: Final = ("fixmedins_code", "fixmedins_name")
DESCRIBING: Final = (
    *NEEDED,
    "level",
    "agreement_from_date",
    "agreement_to_date",
    "capabilities",
    "wallet_capable",
    "longitude",
    "latitude",
    "admdvs",
)
COLUMNS: Final = (*DESCRIBING, "terminal_no", "terminal_name")
_PLACE: Final = ("longitude", "latitude", "admdvs")
_CELL_LENGTH_MAX: Final = 200
_UDEG: Final = Decimal(1_000_000)
_UDEG_MAX: Final = 2**31 - 1
_YES_NO: Final = {"1": True, "0": False, "": False}
_LEVELS: Final = {"": 0} | {
    name.removeprefix("INSTITUTION_LEVEL_"): value for name, value in person_pb2.InstitutionLevel.items() if value
}
_CAPABILITIES: Final = {
    name.removeprefix("INSTITUTION_CAPABILITY_"): value
    for name, value in person_pb2.InstitutionCapability.items()
    if value
}
_OF_THE_ROW: Final = frozenset({Kind.INVALID, Kind.PRECONDITION, Kind.NOT_FOUND})
"""A refusal of these kinds is the row's own; every other one is of all rows."""


@dataclass(frozen=True, slots=True)
class InstitutionRow:
    """One line: an institution as its columns describe it, and the terminal that the line adds, if any."""

    institution: person_pb2.Institution
    columns: frozenset[str]
    """Those of the file: what none of them tells stays as it is known."""
    terminal_no: str = ""
    terminal_name: str = ""

    def ByteSize(self) -> int:  # noqa: N802  As messages have it.
        """What its calls take, about."""
        return self.institution.ByteSize() + len(self.terminal_no) + len(self.terminal_name)


@dataclass(frozen=True, slots=True)
class _Known:
    """What identity knows of an institution before the row is said."""

    institution: person_pb2.Institution | None
    terminals: Mapping[str, person_pb2.Terminal]
    """By number, those out of service too."""


async def register_institutions_file(path: Path, *, address: str, caller: Caller, in_flight: int, view: View) -> Done:
    """Registers every line; how many were new, known, refused. Failures as ``take_file``.

    UnusableFileError, before anything is sent, where two lines contradict each other.
    """
    opter = caller.removeprefix(OPERATOR)
    async with channel(address, call_timeout_s=CALL_TIMEOUT_S, caller=caller) as opened:
        stub: InstitutionServiceAsyncStub = InstitutionServiceStub(opened)

        async def send(rows: Sequence[InstitutionRow]) -> Answer:
            known: dict[str, _Known] = {}
            refused: list[tuple[int, str, str]] = []
            existed = 0
            for place, row in enumerate(rows):
                try:
                    existed += await _said(stub, row, known, opter=opter)
                except Failure as failure:
                    if failure.kind not in _OF_THE_ROW:
                        raise
                    column = str(failure.metadata.get("field", "")).removeprefix("institution.")
                    refused.append((place, failure.reason, column))
            return Answer(len(rows) - len(refused) - existed, existed, refused)

        intake = Intake(COLUMNS, NEEDED, institution_row, send, check=check_agreement)
        return await take_file(path, intake, in_flight=in_flight, view=view)


def institution_row(cells: Mapping[str, str]) -> InstitutionRow:
    """The line as it is sent; LINE_MALFORMED (metadata: the column) where a cell is not what its column holds."""
    told = {column: text.strip() for column, text in cells.items()}
    for column, text in told.items():
        if len(text) > _CELL_LENGTH_MAX:
            raise _malformed(column)
    if told.get("terminal_name") and not told.get("terminal_no"):
        raise _malformed("terminal_no")
    institution = person_pb2.Institution(
        fixmedins_code=told["fixmedins_code"],
        fixmedins_name=told["fixmedins_name"],
        agreement_from_date=told.get("agreement_from_date", ""),
        agreement_to_date=told.get("agreement_to_date", ""),
        level=_LEVELS.get(told.get("level", ""), -1),  # type: ignore[arg-type]  # Refused below.
        wallet_capable=_YES_NO.get(told.get("wallet_capable", ""), False),
    )
    if told.get("level", "") not in _LEVELS:
        raise _malformed("level")
    if told.get("wallet_capable", "") not in _YES_NO:
        raise _malformed("wallet_capable")
    for name in told.get("capabilities", "").split():
        if name not in _CAPABILITIES:
            raise _malformed("capabilities")
        institution.capabilities.append(_CAPABILITIES[name])
    if any(told.get(column) for column in _PLACE):
        institution.place.longitude_udeg = _udeg(told, "longitude")
        institution.place.latitude_udeg = _udeg(told, "latitude")
        institution.place.admdvs = told.get("admdvs", "")
    return InstitutionRow(institution, frozenset(told), told.get("terminal_no", ""), told.get("terminal_name", ""))


def check_agreement(path: Path, found: Survey, columns: Sequence[str]) -> None:
    """Every line of one institution describes it alike, and no terminal stands in two lines; UnusableFileError."""
    described: dict[str, tuple[int, tuple[str, ...]]] = {}
    terminals: dict[tuple[str, str], int] = {}
    for number, cells in _rows(path, found, columns):
        code, terminal_no = cells["fixmedins_code"], cells.get("terminal_no", "")
        told = tuple(cells.get(column, "") for column in DESCRIBING)
        first, before = described.setdefault(code, (number, told))
        if told != before:
            raise UnusableFileError(
                f"lines {first:,} and {number:,} describe the same institution differently; nothing was registered"
            )
        if (earlier := terminals.setdefault((code, terminal_no), number)) != number:
            raise UnusableFileError(
                f"lines {earlier:,} and {number:,} are the same institution's same terminal; nothing was registered"
            )


def _rows(path: Path, found: Survey, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    for line in read_lines(path, found.encoding, columns):
        if line.cells is not None:
            yield line.number, {column: text.strip() for column, text in line.cells.items()}


async def _said(
    stub: InstitutionServiceAsyncStub, row: InstitutionRow, asked: dict[str, _Known], *, opter: str
) -> bool:
    """Says the row; whether all that it names was known before. Failures of the two calls."""
    code = row.institution.fixmedins_code
    if code not in asked:
        known = await _known(stub, code)
        await stub.RegisterInstitution(
            pb.RegisterInstitutionRequest(institution=merged(row, known.institution), opter=opter)
        )
        asked[code] = known
    known = asked[code]
    if not row.terminal_no:
        return known.institution is not None
    terminal = known.terminals.get(row.terminal_no)
    if terminal is not None and terminal.state == person_pb2.TERMINAL_STATE_RETIRED:
        return True  # Somebody decided so, and registering would take it into service again.
    name = row.terminal_name or (row.terminal_no if terminal is None else terminal.terminal_name)
    place = terminal.place if terminal is not None and terminal.HasField("place") else None
    await stub.RegisterTerminal(
        pb.RegisterTerminalRequest(
            fixmedins_code=code, terminal_no=row.terminal_no, terminal_name=name, place=place, opter=opter
        )
    )
    return terminal is not None


def merged(row: InstitutionRow, known: person_pb2.Institution | None) -> person_pb2.Institution:
    """The institution as the file tells it. A new one is designated; what is decided of a known one stays."""
    wanted = person_pb2.Institution()
    wanted.CopyFrom(row.institution)
    if known is None:
        wanted.state = person_pb2.INSTITUTION_STATE_DESIGNATED
        return wanted
    wanted.state = known.state
    for column in ("level", "agreement_from_date", "agreement_to_date", "wallet_capable"):
        if column not in row.columns:
            setattr(wanted, column, getattr(known, column))
    if "capabilities" not in row.columns:
        wanted.capabilities.extend(known.capabilities)
    if known.HasField("place") and not row.columns.intersection(_PLACE):
        wanted.place.CopyFrom(known.place)
    return wanted


async def _known(stub: InstitutionServiceAsyncStub, code: str) -> _Known:
    try:
        institution = (await stub.GetInstitution(pb.GetInstitutionRequest(fixmedins_code=code))).institution
    except Failure as failure:
        if failure.reason != "INSTITUTION_UNKNOWN":
            raise
        return _Known(None, {})
    terminals: dict[str, person_pb2.Terminal] = {}
    request = pb.ListTerminalsRequest(fixmedins_code=code)
    while True:
        page = await stub.ListTerminals(request)
        terminals |= {terminal.terminal_no: terminal for terminal in page.terminals}
        if not page.next_page_token:
            return _Known(institution, terminals)
        request.page_token = page.next_page_token


def _udeg(told: Mapping[str, str], column: str) -> int:
    try:
        degrees = Decimal(told.get(column, ""))
        udeg = int(degrees * _UDEG) if degrees.is_finite() and abs(degrees) <= _UDEG_MAX / _UDEG else None
    except InvalidOperation:
        raise _malformed(column) from None
    if udeg is None:
        raise _malformed(column)
    return udeg


def _malformed(column: str) -> Failure:
    return Failure(Kind.INVALID, "LINE_MALFORMED", field=column)
