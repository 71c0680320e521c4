"""Calls to identity, and to the ledgers, one client for all areas: commands in batches, reads bounded to a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import date
from typing import Final
from uuid import UUID

import grpc

from chassis.batch import Batcher
from chassis.bus import Bus
from chassis.deadlines import timeout_s as remaining_timeout_s
from chassis.faults import awaited_fault_point, fault_point
from chassis.telemetry import logger
from gongji.identity.v1 import attestations_pb2, attestations_pb2_grpc, kinship_pb2, kinship_pb2_grpc
from gongji.ledger.v1 import ledger_pb2 as pb
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, AuthorisationId, PsnNo
from services.settlement.domain.split import Role
from services.settlement.wire.ledger import (
    AuthorisationBalance,
    Balance,
    Period,
    Statement,
    StatementLine,
    balances_command,
    balances_of,
    batch_of,
    replies_of,
    statement_command,
    statement_of,
)
from services.settlement.wire.wallets import kinship_of

__all__ = [
    "READ_TIMEOUT_S",
    "AuthorisationBalance",
    "Balance",
    "Identity",
    "LedgerClient",
    "Period",
    "Statement",
    "StatementLine",
]

_log = logger("clients")

READ_TIMEOUT_S: Final = 1.0
"""A ledger that has not answered by then is left out of a plan (protocol, "A silent area"), unless told otherwise."""
COMMAND_TIMEOUT_S: Final = 2.0
"""After this a command counts as unanswered and is sent again by whoever needs it."""
BATCH_SIZE_MAX: Final = 256
BATCH_BYTES_MAX: Final = 256 << 10
"""A larger batch goes out in halves: NATS carries messages of 1 MiB, and an answer may be three times as long."""
BATCHES_IN_FLIGHT_MAX: Final = 2
"""To one ledger: one at work there and one on its way. What comes meanwhile gathers here and travels together."""
CONFIRM_SPACING_S: Final = 0.05
"""Nobody waits for a CONFIRM, so it waits for others: one message and one transaction of the ledger carry them all."""
AREAS_MAX: Final = 1_000
"""More areas than the nation has ledgers; beyond it, those that nobody waits for are forgotten."""
WAITING_MAX: Final = 1_000_000
"""Commands are never refused for their number: what waits here is bounded by the payments in flight."""

_FAULT_NAMES: Final = {
    "try_command": "settlement.try",
    "confirm_command": "settlement.confirm",
    "cancel_command": "settlement.cancel",
    "credit_command": "settlement.credit",
    "freeze_command": "settlement.freeze",
    "unfreeze_command": "settlement.freeze",
}


class Identity:
    """Identity, asked about two people or a face. Its own refusals (an unknown person, say) pass through as they are.

    SERVICE_UNAVAILABLE where it does not answer, and in a room that was started without it.
    """

    def __init__(self, channel: grpc.aio.Channel | None) -> None:
        self._channel = channel

    async def kinship(self, psn_no: PsnNo, other: PsnNo, *, on: date) -> tuple[str, str]:
        """What ``psn_no`` is to ``other`` on that day, as ``wire.wallets.kinship_of`` tells it."""
        answer = await kinship_pb2_grpc.KinshipServiceStub(self._asked()).VerifyKinship(
            kinship_pb2.VerifyKinshipRequest(psn_no=psn_no, other_psn_no=other, on_date=on.isoformat())
        )
        return kinship_of(answer)

    async def use_face(self, attestation_id: UUID, psn_no: PsnNo, *, wallet_id: UUID) -> None:
        """Uses this person's attestation to open this wallet; the same again is no second use."""
        await attestations_pb2_grpc.AttestationServiceStub(self._asked()).UseAttestation(
            attestations_pb2.UseAttestationRequest(
                attestation_id=str(attestation_id),
                psn_no=psn_no,
                purpose=attestations_pb2.ATTESTATION_PURPOSE_OPEN_WALLET,
                used_for=f"wallet:{wallet_id}",
            )
        )

    def _asked(self) -> grpc.aio.Channel:
        if self._channel is None:
            raise Failure(Kind.UNAVAILABLE, "SERVICE_UNAVAILABLE")
        return self._channel


class LedgerClient:
    """The ledgers of all areas, over NATS. A lost command or answer is None; whoever needs it sends it again."""

    def __init__(
        self,
        bus: Bus,
        *,
        epoch: int,
        command_timeout_s: float = COMMAND_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
    ) -> None:
        self._bus = bus
        self.epoch = epoch
        self._command_timeout_s = command_timeout_s
        self._read_timeout_s = read_timeout_s
        self._writes: dict[AdmDvs, Batcher[pb.Command, pb.Reply | None]] = {}
        self._confirms: dict[AdmDvs, Batcher[pb.Command, pb.Reply | None]] = {}
        self._reads: dict[AdmDvs, Batcher[pb.Command, pb.Reply | None]] = {}
        self._left: list[Batcher[pb.Command, pb.Reply | None]] = []

    def enter(self, epoch: int) -> None:
        """From now on commands carry this epoch; those that wait keep theirs, which the ledgers refuse by then."""
        if epoch != self.epoch:
            self.epoch = epoch
            self._left += [*self._writes.values(), *self._confirms.values()]
            self._writes, self._confirms = {}, {}

    def send(self, area: AdmDvs, command: pb.Command) -> asyncio.Future[pb.Reply | None]:
        """Sends a command that changes something; None is the answer when none came in time."""
        if command.HasField("confirm_command"):
            return self._batcher(self._confirms, area, self._command_timeout_s, _confirm_spacing_s).submit(command)
        return self._batcher(self._writes, area, self._command_timeout_s).submit(command)

    async def balances(
        self,
        area: AdmDvs,
        accounts: Sequence[tuple[PsnNo, Role]],
        authorisations: Sequence[AuthorisationId] = (),
        *,
        month: int = 0,
        timeout_s: float | None = None,
    ) -> tuple[list[Balance], list[AuthorisationBalance]]:
        """Both in the order asked, with what ``month`` (yyyymm; 0 = none) took under the latter.

        UNAVAILABLE AREA_UNREACHABLE (metadata: area) if the ledger is silent.
        """
        told = balances_of(
            area, await self._read(area, balances_command(accounts, authorisations, month=month), timeout_s)
        )
        if told is None:
            raise _unreachable(area)
        return told

    async def statement(
        self, area: AdmDvs, psn_no: PsnNo, role: Role, *, period: Period, after_entry_no: int, entries_max: int
    ) -> Statement:
        """A page of an account's statement; AREA_UNREACHABLE as above, ACCOUNT_NOT_FOUND from the ledger."""
        command = statement_command(psn_no, role, period=period, after_entry_no=after_entry_no, entries_max=entries_max)
        told = statement_of(await self._read(area, command))
        if told is None:
            raise _unreachable(area)
        return told

    async def close(self) -> None:
        """Waits until every command sent so far is answered or given up."""
        for batchers in (self._writes, self._confirms, self._reads):
            self._left += batchers.values()
        for batcher in self._left:
            await batcher.close()

    async def _read(self, area: AdmDvs, command: pb.Command, timeout_s: float | None = None) -> pb.Reply:
        reply, wait_s = None, self._read_timeout_s if timeout_s is None else timeout_s
        try:
            async with asyncio.timeout(max(remaining_timeout_s(wait_s), 0)):
                reply = await self._batcher(self._reads, area, self._read_timeout_s).submit(command)
        except TimeoutError:
            pass
        if reply is None:
            raise _unreachable(area)
        return reply

    def _batcher(
        self,
        batchers: dict[AdmDvs, Batcher[pb.Command, pb.Reply | None]],
        area: AdmDvs,
        wait_s: float,
        spacing_s: Callable[[], float] | None = None,
    ) -> Batcher[pb.Command, pb.Reply | None]:
        known = batchers.get(area)
        if known is None:
            if len(batchers) >= AREAS_MAX:
                # Whoever asks for areas that do not exist must not fill the memory with them.
                for idle in [other for other, batcher in batchers.items() if batcher.is_idle]:
                    del batchers[idle]

            epoch = self.epoch

            async def run(commands: list[pb.Command]) -> list[pb.Reply | None]:
                return await self._request(area, commands, wait_s, epoch)

            known = batchers[area] = Batcher(
                run,
                size_max=BATCH_SIZE_MAX,
                parallelism=BATCHES_IN_FLIGHT_MAX,
                waiting_max=WAITING_MAX,
                spacing_s=spacing_s,
            )
        return known

    async def _request(
        self, area: AdmDvs, commands: list[pb.Command], wait_s: float, epoch: int
    ) -> list[pb.Reply | None]:
        batch = batch_of(commands, epoch=epoch)
        if len(batch) > BATCH_BYTES_MAX and len(commands) > 1:
            half = len(commands) // 2
            first, second = await asyncio.gather(
                self._request(area, commands[:half], wait_s, epoch),
                self._request(area, commands[half:], wait_s, epoch),
            )
            return [*first, *second]
        points = dict.fromkeys(_FAULT_NAMES.get(str(command.WhichOneof("kind")), "") for command in commands)
        for point in points:
            await awaited_fault_point(f"{point}.before_send")
        try:
            subject = f"{self._bus.prefix}.ledger.{area}.command"
            payload = await self._bus.request(subject, batch, wait_s=wait_s)
            replies = replies_of(payload, len(commands))
        except Failure as failure:
            if failure.kind not in {Kind.UNAVAILABLE, Kind.DEADLINE}:
                _log.error("a ledger refuses a whole batch", area=area, reason=failure.reason)
            return [None] * len(commands)
        for point in points:
            fault_point(f"{point}.after_reply")
        return replies


def _confirm_spacing_s() -> float:
    return CONFIRM_SPACING_S


def _unreachable(area: AdmDvs) -> Failure:
    return Failure(Kind.UNAVAILABLE, "AREA_UNREACHABLE", area=area)
