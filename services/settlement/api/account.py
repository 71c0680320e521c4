"""AccountService: money in, freeze, balance and statement of accounts that live in their area's ledger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from chassis.rpc.interceptors import Context
from chassis.rpc.server import RpcServer
from gongji.settlement.v1 import account_pb2 as pb
from gongji.settlement.v1.account_pb2_grpc import AccountServiceServicer, add_AccountServiceServicer_to_server
from kernel.ids import PsnNo
from kernel.policy import known_area
from services.settlement.clients import Balance
from services.settlement.operations import accounts, crediting, moving
from services.settlement.operations.engine import Engine
from services.settlement.operations.planning import Desk
from services.settlement.wire import accounts as wire

ENTRIES_DEFAULT: Final = 100


@dataclass(frozen=True, slots=True)
class AccountApi(AccountServiceServicer):
    """The accounts as officers and batch jobs use them."""

    desk: Desk
    engine: Engine

    def add_to(self, server: RpcServer) -> None:
        """Registers this face with the server."""
        server.add(add_AccountServiceServicer_to_server, self)

    async def CreditAccount(self, request: pb.CreditAccountRequest, _: Context) -> pb.CreditAccountResponse:
        credited = await crediting.credit(self.engine, wire.credit_row(request))
        return pb.CreditAccountResponse(balance=wire.balance_message(credited.balance))

    async def CreditAccounts(self, request: pb.CreditAccountsRequest, _: Context) -> pb.CreditAccountsResponse:
        told = await crediting.credit_all(self.engine, [wire.credit_row(row) for row in request.rows])
        return pb.CreditAccountsResponse(answers=[wire.credit_answer(each) for each in told])

    async def FreezeAccount(self, request: pb.FreezeAccountRequest, _: Context) -> pb.FreezeAccountResponse:
        return pb.FreezeAccountResponse(balance=wire.balance_message(await self._set_frozen(request, frozen=True)))

    async def UnfreezeAccount(self, request: pb.UnfreezeAccountRequest, _: Context) -> pb.UnfreezeAccountResponse:
        return pb.UnfreezeAccountResponse(balance=wire.balance_message(await self._set_frozen(request, frozen=False)))

    async def CloseAccount(self, request: pb.CloseAccountRequest, _: Context) -> pb.CloseAccountResponse:
        balance, closed = await moving.close(
            self.engine,
            request_id=UUID(request.request_id),
            area=known_area(request.area, field="area"),
            psn_no=PsnNo(request.psn_no),
            role=wire.role_of(request.account_kind),
            cause=request.cause,
        )
        return pb.CloseAccountResponse(balance=wire.balance_message(balance), closed=closed)

    async def MoveAccount(self, request: pb.MoveAccountRequest, _: Context) -> pb.MoveAccountResponse:
        moved = await moving.move(
            self.engine,
            request_id=UUID(request.request_id),
            psn_no=PsnNo(request.psn_no),
            **wire.areas_of(request),
        )
        return pb.MoveAccountResponse(past_fen=moved.past_fen, current_fen=moved.current_fen, closed=moved.closed)

    async def GetBalance(self, request: pb.GetBalanceRequest, _: Context) -> pb.GetBalanceResponse:
        asked = (PsnNo(request.psn_no), wire.role_of(request.account_kind))
        balances, _authorisations = await self.desk.ledgers.balances(known_area(request.area, field="area"), [asked])
        return pb.GetBalanceResponse(balance=wire.balance_message(balances[0]))

    async def GetStatement(self, request: pb.GetStatementRequest, _: Context) -> pb.GetStatementResponse:
        statement = await self.desk.ledgers.statement(
            known_area(request.area, field="area"),
            PsnNo(request.psn_no),
            wire.role_of(request.account_kind),
            period=wire.period_of(request),
            after_entry_no=request.after_entry_no,
            entries_max=request.entries_max or ENTRIES_DEFAULT,
        )
        return wire.statement_message(statement)

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
