"""AccountService: money in, freeze, balance and statement of accounts that live in their area's ledger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from chassis.rpc.interceptors import Context
from chassis.rpc.server import RpcServer
from gongji.settlement.v1 import account_pb2 as pb
from gongji.settlement.v1.account_pb2_grpc import AccountServiceServicer, add_AccountServiceServicer_to_server
from kernel.clock import Clock
from kernel.ids import AdmDvs, PsnNo
from kernel.policy import known_area
from services.settlement.clients import Balance
from services.settlement.operations import accounts, holders
from services.settlement.operations.engine import Engine
from services.settlement.operations.planning import Desk
from services.settlement.wire import accounts as wire

ENTRIES_DEFAULT: Final = 100


@dataclass(frozen=True, slots=True)
class AccountApi(AccountServiceServicer):
    """The accounts as officers and batch jobs use them."""

    desk: Desk
    engine: Engine
    clock: Clock

    def add_to(self, server: RpcServer) -> None:
        """Registers this face with the server."""
        server.add(add_AccountServiceServicer_to_server, self)

    async def CreditAccount(self, request: pb.CreditAccountRequest, _: Context) -> pb.CreditAccountResponse:
        psn_no, area = PsnNo(request.psn_no), AdmDvs(request.area)
        role, part = wire.role_of(request.account_kind), wire.part_of(request.part)
        if not await accounts.is_credited(self.engine, area=area, row_id=request.row_id):
            await holders.check_holder(
                self.desk.database,
                self.desk.policies,
                psn_no=psn_no,
                role=role,
                part=part,
                area=area,
                now=self.clock.now(),
            )
        credited = await accounts.credit(
            self.engine,
            area=area,
            row_id=request.row_id,
            psn_no=psn_no,
            role=role,
            part=part,
            amount_fen=request.amount_fen,
        )
        return pb.CreditAccountResponse(balance=wire.balance_message(credited.balance))

    async def FreezeAccount(self, request: pb.FreezeAccountRequest, _: Context) -> pb.FreezeAccountResponse:
        return pb.FreezeAccountResponse(balance=wire.balance_message(await self._set_frozen(request, frozen=True)))

    async def UnfreezeAccount(self, request: pb.UnfreezeAccountRequest, _: Context) -> pb.UnfreezeAccountResponse:
        return pb.UnfreezeAccountResponse(balance=wire.balance_message(await self._set_frozen(request, frozen=False)))

    async def GetBalance(self, request: pb.GetBalanceRequest, _: Context) -> pb.GetBalanceResponse:
        asked = (PsnNo(request.psn_no), wire.role_of(request.account_kind))
        balances, _authorisations = await self.desk.ledgers.balances(known_area(request.area, field="area"), [asked])
        return pb.GetBalanceResponse(balance=wire.balance_message(balances[0]))

    async def GetStatement(self, request: pb.GetStatementRequest, _: Context) -> pb.GetStatementResponse:
        lines, more = await self.desk.ledgers.statement(
            known_area(request.area, field="area"),
            PsnNo(request.psn_no),
            wire.role_of(request.account_kind),
            after_entry_no=request.after_entry_no,
            entries_max=request.entries_max or ENTRIES_DEFAULT,
        )
        return pb.GetStatementResponse(lines=[wire.line_message(line) for line in lines], more=more)

    async def _set_frozen(
        self, request: pb.FreezeAccountRequest | pb.UnfreezeAccountRequest, *, frozen: bool
    ) -> Balance:
        return await accounts.set_frozen(
            self.engine,
            request_id=UUID(request.request_id),
            area=known_area(request.area, field="area"),
            psn_no=PsnNo(request.psn_no),
            frozen=frozen,
            cause=request.cause,
        )
