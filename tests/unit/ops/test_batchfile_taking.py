"""A file on its way to a service that comes and goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from rich.console import Console

from gongji.identity.v1 import identity_pb2 as pb
from kernel.failures import Failure, Kind
from ops.batchfile import taking
from ops.batchfile.progress import report_of
from ops.batchfile.taking import BATCH_ROWS_MAX, Answer, Intake, take_file
from ops.batchfile.view import View

LINES = 3 * BATCH_ROWS_MAX + 7


class Service:
    """Takes rows, refuses every hundredth, and is away as often as it is told to."""

    def __init__(self, *away: Failure) -> None:
        self.away = list(away)
        self.taken: set[str] = set()

    async def send(self, rows: Sequence[pb.PersonRow]) -> Answer:
        """Every second time that it is away, the rows were taken and the answer was lost."""
        if self.away:
            failure = self.away.pop()
            if len(self.away) % 2:
                self._take(rows)
            raise failure
        before = len(self.taken)
        self._take(rows)
        refused = [(place, "NAME_MALFORMED", "psn_name") for place, row in enumerate(rows) if _is_wrong(row)]
        new = len(self.taken) - before
        return Answer(new, len(rows) - new - len(refused), refused)

    def _take(self, rows: Sequence[pb.PersonRow]) -> None:
        self.taken |= {row.certno for row in rows if not _is_wrong(row)}


def _is_wrong(row: pb.PersonRow) -> bool:
    return row.certno.endswith("00")


def _row(cells: Mapping[str, str]) -> pb.PersonRow:
    return pb.PersonRow(certno=cells["certno"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of a thousand and some lines."""
    path = tmp_path / "people.csv"
    path.write_text("certno\n" + "".join(f"{number}\n" for number in range(1, LINES + 1)))
    return path


async def take(path: Path, service: Service) -> tuple[int, int, int]:
    """How many were new, known, refused."""
    intake = Intake(("certno",), ("certno",), _row, service.send)
    done = await take_file(path, intake, in_flight=3, view=View(Console(quiet=True), quiet=True))
    return done.new, done.existed, done.refused


@pytest.mark.parametrize("kind", [Kind.UNAVAILABLE, Kind.DEADLINE, Kind.CONFLICT])
async def test_a_service_that_restarts_is_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind) -> None:
    """Each line is taken or reported once, whether the answer or the question was lost."""
    monkeypatch.setattr(taking, "RETRY_PAUSE_MIN_S", 0.001)
    service = Service(*[Failure(kind, "SERVICE_UNAVAILABLE")] * 6)
    new, existed, refused = await take(path, service)
    assert len(service.taken) == new + existed == LINES - refused
    lines = report_of(path).read_text(encoding="utf-8-sig").splitlines()[1:]
    assert [int(line.split(",")[0]) for line in lines] == [1 + number for number in range(100, LINES, 100)]


async def test_a_service_that_stays_away_ends_the_run_where_it_stood(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run goes on there: what was answered is not sent again."""
    monkeypatch.setattr(taking, "RETRY_PAUSE_MIN_S", 0.001)
    monkeypatch.setattr(taking, "GIVE_UP_S", 0.01)
    service = Service()
    service.away = [Failure(Kind.UNAVAILABLE, "SERVICE_UNAVAILABLE")] * 10_000
    with pytest.raises(Failure, match="SERVICE_UNAVAILABLE"):
        await take(path, service)
    service.away = []
    new, existed, refused = await take(path, service)
    assert new + existed + refused == LINES
