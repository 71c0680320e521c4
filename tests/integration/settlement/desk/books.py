"""An institution of a test's own, and its books as its software would keep them: from our answers alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from gongji.settlement.v1 import reconciliation_pb2 as pb
from gongji.settlement.v1 import settlement_pb2
from gongji.settlement.v1.reconciliation_pb2_grpc import ReconciliationServiceStub
from gongji_terminal import Care, Terminal
from kernel.clock import business_date
from tests.integration.settlement.desk.town import CALL_S, Town, bill, token

CLR_TYPE: Final = "11"
INSUTYPE: Final = "310"
AMOUNTS: Final = [amount.name for amount in pb.StatementAmounts.DESCRIPTOR.fields]
ROWS_MAX: Final = 300


def day_before(day: str, days: int = 1) -> str:
    """The civil day so many before."""
    return (datetime.fromisoformat(day) - timedelta(days=days)).date().isoformat()


def row_of(told: settlement_pb2.Settlement) -> pb.StatementRow:
    """The row that an answer makes in the institution's books."""
    return pb.StatementRow(
        setl_id=told.setl_id,
        infno=str(told.key.infno) if told.HasField("key") else "",
        msgid=told.key.msgid,
        refd_setl_flag=bool(told.original_setl_id),
        insutype=told.insutype,
        clr_type=CLR_TYPE,
        amounts=pb.StatementAmounts(**{name: getattr(told.amounts, name) for name in AMOUNTS}),
    )


@dataclass
class Shop:
    """A hospital that keeps books."""

    town: Town
    code: str
    rows: list[pb.StatementRow] = field(default_factory=list)
    settlements: list[settlement_pb2.Settlement] = field(default_factory=list)

    @classmethod
    async def opened(cls, town: Town) -> Shop:
        """A designated hospital of this test alone, with somebody signed in at its T01."""
        code = f"H650100{next(town.numbers) + 10_000:05d}"
        await town.opens(code)
        return cls(town, code)

    @property
    def day(self) -> str:
        """The civil day in Asia/Shanghai to which the first record belongs."""
        return business_date(self.settlements[0].setl_time.ToDatetime(tzinfo=UTC)).isoformat()

    @property
    def reconciliation(self) -> Any:  # noqa: ANN401  The stub's own type exists for the type checker alone.
        """ReconciliationService, raw."""
        return ReconciliationServiceStub(self.town.channel)

    async def pays(self, terminal: Terminal, patient: str, total_fen: int) -> settlement_pb2.Settlement:
        """A bill that is settled, and noted."""
        plan = await terminal.pre_settle(
            care=Care.OUTPATIENT,
            psn_no=patient,
            ec_token=token(patient, fixmedins_code=self.code),
            mdtrt_id="m1",
            bill=bill(total_fen),
        )
        told = await terminal.settle(plan, care=Care.OUTPATIENT)
        assert isinstance(told, settlement_pb2.Settlement)
        self.note(told)
        return told

    def note(self, told: settlement_pb2.Settlement) -> None:
        """Into the books."""
        self.settlements.append(told)
        self.rows.append(row_of(told))

    async def reverses(self, told: settlement_pb2.Settlement) -> settlement_pb2.Settlement:
        """A settlement taken back by 2601, and noted."""
        request = settlement_pb2.ReverseTransactionRequest(
            fixmedins_code=self.code, oinfno=told.key.infno, omsgid=told.key.msgid
        )
        refund: settlement_pb2.Settlement = (await self.town.desk.ReverseTransaction(request, timeout=CALL_S)).refund
        self.note(refund)
        return refund

    async def totals(self, rows: Iterable[pb.StatementRow] | None = None, **changes: Any) -> pb.ReconcileTotalResponse:  # noqa: ANN401  Any field.
        """3201 of the day with what these rows come to, the books' unless given."""
        stated: dict[tuple[str, str], pb.StatementTotal] = {}
        for row in self.rows if rows is None else rows:
            key = (row.insutype, row.clr_type)
            total = stated.setdefault(
                key, pb.StatementTotal(insutype=key[0], clr_type=key[1], amounts=pb.StatementAmounts())
            )
            total.fixmedins_setl_cnt += 1
            total.refd_setl_cnt += row.refd_setl_flag
            for name in AMOUNTS:
                setattr(total.amounts, name, getattr(total.amounts, name) + getattr(row.amounts, name))
        days = (
            {}
            if changes.keys() >= {"stmt_begndate", "stmt_enddate"}
            else dict.fromkeys(("stmt_begndate", "stmt_enddate"), self.day)
        )
        fields: dict[str, Any] = {**days, **changes}
        request = pb.ReconcileTotalRequest(fixmedins_code=self.code, totals=stated.values(), **fields)
        answer: pb.ReconcileTotalResponse = await self.reconciliation.ReconcileTotal(request, timeout=CALL_S)
        return answer

    async def details(
        self, rows: Sequence[pb.StatementRow] | None = None, *, day: str | None = None, rows_cnt: int | None = None
    ) -> pb.ReconcileDetailResponse:
        """3202 of a day, the books' unless given, with these rows, the books' unless given."""
        sent = self.rows if rows is None else rows
        parts = upload(self.code, day or self.day, sent, rows_cnt=len(sent) if rows_cnt is None else rows_cnt)
        answer: pb.ReconcileDetailResponse = await self.reconciliation.ReconcileDetail(parts, timeout=CALL_S)
        return answer

    async def differences(self, day: str | None = None, state: int = 0) -> list[pb.Difference]:
        """The difference file of a day."""
        request = pb.StreamDifferencesRequest(fixmedins_code=self.code, stmt_date=day or self.day, state=state)  # type: ignore[arg-type]  # An enum's number.
        found: list[pb.Difference] = []
        async for part in self.reconciliation.StreamDifferences(request, timeout=CALL_S):
            found += part.differences
        return found

    async def moved_back(self, setl_id: str, days: int = 1) -> None:
        """As if a record had been decided so many days sooner."""
        async with self.town.database.driver_connection() as connection:
            await connection.execute(
                "UPDATE payments SET decided_at = decided_at - $2 * interval '1 day' WHERE payment_id = $1::text::uuid",
                setl_id,
                days,
            )


async def upload(
    code: str, day: str, rows: Sequence[pb.StatementRow], *, rows_cnt: int
) -> AsyncIterator[pb.ReconcileDetailRequest]:
    """The messages of an upload."""
    yield pb.ReconcileDetailRequest(
        header=pb.ReconcileDetailHeader(fixmedins_code=code, stmt_date=day, rows_cnt=rows_cnt)
    )
    for start in range(0, len(rows), ROWS_MAX):
        yield pb.ReconcileDetailRequest(rows=pb.StatementRows(rows=rows[start : start + ROWS_MAX]))
