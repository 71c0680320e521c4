"""Day's end on the wire: totals, rows and differences into values and back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Final
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from gongji.settlement.v1 import reconciliation_pb2 as pb
from kernel.failures import Failure, Kind
from kernel.ids import FixmedinsCode
from services.settlement.domain.reconciliation import (
    AMOUNTS,
    NOTHING,
    Amounts,
    Decision,
    DifferenceKind,
    DifferenceState,
    Group,
    GroupCompared,
    Period,
    Record,
    Total,
    period_of,
)
from services.settlement.operations.reconciling import Announced, Compared, DayView
from services.settlement.store.differences import Count, Difference

_KINDS: Final = {kind: pb.DifferenceKind.Value(f"DIFFERENCE_KIND_{kind.value}") for kind in DifferenceKind}
_STATES: Final = {state: pb.DifferenceState.Value(f"DIFFERENCE_STATE_{state.value}") for state in DifferenceState}
_ASKED: Final = {number: state for state, number in _STATES.items()}
_SHOWN: Final = (DifferenceState.OPEN, DifferenceState.EXPLAINED, DifferenceState.RESOLVED)


def period_asked(request: pb.ReconcileTotalRequest, *, now: datetime) -> Period:
    """The period of totals; refusals as ``period_of``."""
    return period_of(request.stmt_begndate, request.stmt_enddate, now=now, fields=("stmt_begndate", "stmt_enddate"))


def day_asked(stmt_date: str, *, now: datetime) -> Period:
    """One day; refusals as ``period_of``."""
    return period_of(stmt_date, stmt_date, now=now, fields=("stmt_date", "stmt_date"))


def stated_totals(messages: Iterable[pb.StatementTotal]) -> list[tuple[Group, Total]]:
    """What an institution's books come to, by group."""
    return [
        (
            Group(message.insutype, message.clr_type),
            Total(message.fixmedins_setl_cnt, message.refd_setl_cnt, _amounts(message.amounts)),
        )
        for message in messages
    ]


async def announced(parts: AsyncIterator[pb.ReconcileDetailRequest], *, now: datetime) -> Announced:
    """The header with which an upload begins; UPLOAD_WITHOUT_HEADER (INVALID) if it begins otherwise."""
    async for first in parts:
        if first.WhichOneof("part") != "header":
            break
        header = first.header
        return Announced(FixmedinsCode(header.fixmedins_code), day_asked(header.stmt_date, now=now), header.rows_cnt)
    raise Failure(Kind.INVALID, "UPLOAD_WITHOUT_HEADER")


async def rows_in(parts: AsyncIterator[pb.ReconcileDetailRequest]) -> AsyncIterator[Sequence[Record]]:
    """The rows behind the header, part by part; UPLOAD_WITH_TWO_HEADERS (INVALID)."""
    async for part in parts:
        if part.WhichOneof("part") != "rows":
            raise Failure(Kind.INVALID, "UPLOAD_WITH_TWO_HEADERS")
        yield [_record(row) for row in part.rows.rows]


def decision_of(request: pb.ResolveDifferenceRequest) -> Decision:
    """An officer's word."""
    return Decision(_ASKED[request.state], request.cause, request.opter)


def states_asked(state: pb.DifferenceState.ValueType) -> Sequence[DifferenceState]:
    """Those of a difference file; unspecified: all that are still shown."""
    return _SHOWN if state == pb.DIFFERENCE_STATE_UNSPECIFIED else (_ASKED[state],)


def state_listed(state: pb.DifferenceState.ValueType) -> DifferenceState:
    """The one that officers list; unspecified: what is open."""
    return DifferenceState.OPEN if state == pb.DIFFERENCE_STATE_UNSPECIFIED else _ASKED[state]


def total_response(groups: Sequence[GroupCompared], period: Period, *, now: datetime) -> pb.ReconcileTotalResponse:
    """3201: group by group, and whether all of them balance."""
    return pb.ReconcileTotalResponse(
        stmt_rslt=_rslt(balanced=all(group.is_balanced for group in groups)),
        groups=[
            pb.GroupResult(
                insutype=each.group.insutype,
                clr_type=each.group.clr_type,
                stmt_rslt=_rslt(balanced=each.is_balanced),
                ours=_total(each.group, each.ours),
                theirs=_total(each.group, each.theirs),
            )
            for each in groups
        ],
        as_of_time=_timestamp(now),
        provisional=period.is_provisional(now),
    )


def detail_response(compared: Compared, period: Period) -> pb.ReconcileDetailResponse:
    """3202: how the day stands now."""
    return pb.ReconcileDetailResponse(
        upload_id=str(compared.upload_id),
        stmt_rslt=_rslt(balanced=not _are_open(compared.counts)),
        theirs_cnt=compared.theirs_cnt,
        ours_cnt=compared.ours_cnt,
        differences=_counts(compared.counts),
        existed=compared.existed,
        as_of_time=_timestamp(compared.compared_at),
        provisional=period.is_provisional(compared.compared_at),
    )


def day_response(view: DayView, period: Period, *, now: datetime) -> pb.GetReconciliationResponse:
    """A day as both sides know it."""
    message = pb.GetReconciliationResponse(
        ours=_totals(view.ours), differences=_counts(view.counts), provisional=period.is_provisional(now)
    )
    if view.latest is not None:
        message.stmt_rslt = _rslt(balanced=not _are_open(view.counts))
        message.upload_id = str(view.latest.upload_id)
        message.compared_time.CopyFrom(_timestamp(view.latest.compared_at))
        message.theirs_cnt = view.latest.rows_cnt
    return message


def difference_message(difference: Difference) -> pb.Difference:
    """A difference with what either side has; no money of a bill beyond what both sides compare."""
    found = difference.found
    record = found.theirs or (None if found.ours is None else found.ours.record)
    message = pb.Difference(
        difference_id=str(difference.difference_id),
        fixmedins_code=difference.fixmedins_code,
        stmt_date=difference.day.isoformat(),
        kind=_KINDS[found.kind],
        state=_STATES[difference.state],
        fields=found.fields,
        found_time=_timestamp(difference.found_at),
        changed_time=_timestamp(difference.changed_at),
        cause="" if difference.decision is None else difference.decision.cause,
        opter="" if difference.decision is None else difference.decision.opter,
    )
    if record is not None:
        message.setl_id = "" if record.setl_id is None else str(record.setl_id)
        message.infno, message.msgid = record.infno, record.msgid
    if found.theirs is not None:
        message.theirs.CopyFrom(_row(found.theirs))
    if found.ours is not None:
        message.ours_state = found.ours.standing.value
        message.ours_stmt_date = "" if found.ours.day is None else found.ours.day.isoformat()
        if found.ours.record is not None:
            message.ours.CopyFrom(_row(found.ours.record))
    return message


def page_end(request: pb.ListDifferencesRequest, difference: Difference) -> tuple[str, str]:
    """The parts of the token of a page that ends with this difference; ``after_of`` reads them."""
    last = difference.found.record_id if request.fixmedins_code else difference.difference_id
    return difference.day.isoformat(), str(last)


def after_of(parts: tuple[str, ...] | None) -> tuple[date, UUID] | None:
    """Where a page goes on; before everything for the first one; None if a token of ours says no such thing."""
    if parts is None:
        return date.min, UUID(int=0)
    try:
        return date.fromisoformat(parts[0]), UUID(parts[1])
    except ValueError:
        return None


def _record(row: pb.StatementRow) -> Record:
    return Record(
        setl_id=UUID(row.setl_id) if row.setl_id else None,
        infno=row.infno,
        msgid=row.msgid,
        is_refund=row.refd_setl_flag,
        insutype=row.insutype,
        clr_type=row.clr_type,
        amounts=_amounts(row.amounts),
    )


def _row(record: Record) -> pb.StatementRow:
    return pb.StatementRow(
        setl_id="" if record.setl_id is None else str(record.setl_id),
        infno=record.infno,
        msgid=record.msgid,
        refd_setl_flag=record.is_refund,
        insutype=record.insutype,
        clr_type=record.clr_type,
        amounts=_amounts_message(record.amounts),
    )


def _totals(totals: Mapping[Group, Total]) -> list[pb.StatementTotal]:
    return [_total(group, totals[group]) for group in sorted(totals)]


def _total(group: Group, total: Total = NOTHING) -> pb.StatementTotal:
    return pb.StatementTotal(
        insutype=group.insutype,
        clr_type=group.clr_type,
        fixmedins_setl_cnt=total.count,
        refd_setl_cnt=total.refunds,
        amounts=_amounts_message(total.amounts),
    )


def _counts(counts: Iterable[Count]) -> list[pb.DifferenceCount]:
    return [pb.DifferenceCount(kind=_KINDS[it.kind], state=_STATES[it.state], cnt=it.cnt) for it in counts]


def _are_open(counts: Iterable[Count]) -> bool:
    return any(count.state is DifferenceState.OPEN for count in counts)


def _rslt(*, balanced: bool) -> pb.StmtRslt.ValueType:
    return pb.STMT_RSLT_BALANCED if balanced else pb.STMT_RSLT_UNBALANCED


def _amounts(message: pb.StatementAmounts) -> Amounts:
    return Amounts(*(getattr(message, name) for name in AMOUNTS))


def _amounts_message(amounts: Amounts) -> pb.StatementAmounts:
    return pb.StatementAmounts(**{name: getattr(amounts, name) for name in AMOUNTS})


def _timestamp(instant: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(instant)
    return timestamp
