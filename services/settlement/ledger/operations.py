"""The ledger's one write: a batch of commands, carried out all at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias
from uuid import UUID

from prometheus_client import Counter

from chassis.db import Database, is_transient, violated_constraint
from chassis.faults import fault_point
from chassis.telemetry import REGISTRY, logger
from services.settlement.ledger.domain.commands import Reply, Request, identity_of
from services.settlement.ledger.domain.deciding import apply_all
from services.settlement.ledger.domain.model import Alarm
from services.settlement.ledger.store.loading import load
from services.settlement.ledger.store.locking import AreaWriter
from services.settlement.ledger.store.sweeping import end_quarantine, put_in_quarantine
from services.settlement.ledger.store.writing import write

_log = logger("ledger")

Quarantined: TypeAlias = set[tuple[str, UUID]]
"""Kind and id of the commands in quarantine, as far as this process knows."""

_PROBLEM_LENGTH_MAX: Final = 500
ALARMS: Final = Counter(
    "gongji_ledger_alarms", "Contradictions that no rule can mend.", ["area", "kind"], registry=REGISTRY
)
COMMANDS: Final = Counter("gongji_ledger_commands", "Commands carried out.", ["area"], registry=REGISTRY)
QUARANTINED: Final = Counter(
    "gongji_ledger_quarantined", "Commands that failed technically.", ["area"], registry=REGISTRY
)


async def execute(
    *, writer: AreaWriter, requests: Sequence[Request], quarantined: Quarantined | None = None
) -> list[Reply | None]:
    """Carries out the requests, one after the other, and commits them together; the replies, once that is done.

    A request without a reply (None) has to be asked again: if the database is out of reach nobody gets one; if the
    batch fails for any other reason it is run again one by one, and the request that fails by itself is put into
    quarantine while the others live (protocol, "Batches"). ``quarantined`` is kept up to date with that.
    """
    known: Quarantined = quarantined if quarantined is not None else set()
    if not requests:
        return []
    try:
        replies: list[Reply | None] = [*await _run(writer, requests)]
    except Exception as error:  # noqa: BLE001  What cannot be done together is tried alone; then it is named.
        if is_transient(error):
            _log.warning("the ledger is out of reach", area=writer.area, problem=type(error).__name__)
            return [None] * len(requests)
        replies = await _one_by_one(writer, requests, known)
    await _end_quarantine(writer.database, requests, replies, known)
    return replies


async def _run(writer: AreaWriter, requests: Sequence[Request]) -> list[Reply]:
    """One batch, one commit. Raises whatever went wrong; then nothing has happened, unless the commit was lost."""
    area = writer.area
    async with writer.writing() as connection:
        loaded = await load(connection, area, [request.command for request in requests])
        after, outcomes = apply_all(loaded.state, requests, now=loaded.now)
        _fault_points(requests, "before_commit")
        await write(connection, area, loaded.state, after, outcomes, now=loaded.now)
    _fault_points(requests, "after_commit")
    COMMANDS.labels(area).inc(len(requests))
    traces = sorted({request.trace_id for request in requests if request.trace_id})
    _log.info("commands carried out", area=area, commands=len(requests), traces=traces)
    for request, outcome in zip(requests, outcomes, strict=True):
        report_alarms(area, outcome.alarms, trace_id=request.trace_id)
    return [outcome.reply for outcome in outcomes]


def _fault_points(requests: Sequence[Request], moment: str) -> None:
    """``ledger.try.before_commit`` and its like, one for each kind of command in the batch."""
    for kind in dict.fromkeys(identity_of(request.command)[0] for request in requests):
        fault_point(f"ledger.{kind.lower()}.{moment}")


async def _one_by_one(writer: AreaWriter, requests: Sequence[Request], known: Quarantined) -> list[Reply | None]:
    replies: list[Reply | None] = []
    for request in requests:
        try:
            replies += await _run(writer, [request])
        except Exception as error:  # noqa: BLE001  It belongs to this one command, which is kept for a person.
            if not is_transient(error):
                await _put_in_quarantine(writer, request, error, known)
            replies.append(None)
    return replies


async def _put_in_quarantine(writer: AreaWriter, request: Request, error: Exception, known: Quarantined) -> None:
    area = writer.area
    kind, command_id = identity_of(request.command)
    constraint = violated_constraint(error)
    problem = f"{type(error).__name__}: {constraint}" if constraint else f"{type(error).__name__}: {error}"
    QUARANTINED.labels(area).inc()
    told = {"command": kind, "command_id": str(command_id), "problem": constraint or type(error).__name__}
    _log.error(
        "a command failed and is in quarantine",
        area=area,
        trace_id=request.trace_id,
        exc_info=error,
        **told,
    )
    known.add((kind, command_id))
    try:
        async with writer.database.driver_transaction() as connection:
            await put_in_quarantine(
                connection,
                command_kind=kind,
                command_id=command_id,
                command=repr(request.command),
                problem=problem[:_PROBLEM_LENGTH_MAX],
            )
            fault_point("ledger.quarantine.before_commit")
        fault_point("ledger.quarantine.after_commit")
    except Exception as lost:
        if not is_transient(lost):
            raise
        _log.warning("the quarantine is out of reach", area=area, problem=type(lost).__name__)


async def _end_quarantine(
    database: Database, requests: Sequence[Request], replies: Sequence[Reply | None], known: Quarantined
) -> None:
    if not known:
        return
    answered = {
        identity_of(request.command) for request, reply in zip(requests, replies, strict=True) if reply is not None
    }
    if passed := answered & known:
        try:
            async with database.driver_transaction() as connection:
                await end_quarantine(connection, list(passed))
                fault_point("ledger.quarantine_end.before_commit")
            fault_point("ledger.quarantine_end.after_commit")
        except Exception as error:
            if not is_transient(error):
                raise
        else:
            known -= passed


def report_alarms(area: str, alarms: Iterable[Alarm], *, trace_id: str = "") -> None:
    """Says each alarm in the log and in the metrics; the alarms table keeps them."""
    for alarm in alarms:
        ALARMS.labels(area, alarm.kind.value).inc()
        told = {"alarm": alarm.kind.value, "subject_id": str(alarm.subject_id), "trace_id": trace_id}
        _log.error("alarm", area=area, **told)
