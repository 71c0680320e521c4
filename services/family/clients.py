"""Calls that family makes: to identity by gRPC, to the funders' ledgers over NATS."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import date
from typing import Final
from uuid import UUID

import grpc

from chassis import telemetry
from chassis.batch import Batcher
from chassis.bus import Bus
from gongji.identity.v1 import (
    attestations_pb2,
    attestations_pb2_grpc,
    identity_pb2,
    identity_pb2_grpc,
    kinship_pb2,
    kinship_pb2_grpc,
)
from gongji.ledger.v1 import ledger_pb2
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, PsnNo
from services.family import wire
from services.family.domain.bindings import LedgerAnswer, LedgerCommand
from services.family.domain.groups import Kinship
from services.family.domain.people import Person

LOOK_UP_PURPOSE: Final = "FAMILY_GROUP"
"""Why identity is asked for a person; kept in its audit."""
SNAPSHOT_TIMEOUT_S: Final = 600.0
COMMANDS_MAX: Final = 128
BATCHES_IN_FLIGHT_MAX: Final = 4


class Identity:
    """The identity service. Its own refusals (an unknown person, say) pass through as they are."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = identity_pb2_grpc.IdentityServiceStub(channel)
        self._attestations = attestations_pb2_grpc.AttestationServiceStub(channel)
        self._kinship = kinship_pb2_grpc.KinshipServiceStub(channel)

    async def person(self, psn_no: PsnNo) -> Person:
        """The person as of now."""
        answer = await self._stub.GetPerson(identity_pb2.GetPersonRequest(psn_no=psn_no, purpose=LOOK_UP_PURPOSE))
        return wire.person_of(answer.person)

    async def kinship(self, psn_no: PsnNo, other: PsnNo, *, on: date) -> Kinship:
        """What ``psn_no`` is to ``other`` on that day, as far as identity can prove it."""
        answer = await self._kinship.VerifyKinship(
            kinship_pb2.VerifyKinshipRequest(psn_no=psn_no, other_psn_no=other, on_date=on.isoformat())
        )
        return wire.kinship_of(answer)

    async def use_face(self, attestation_id: UUID, psn_no: PsnNo, *, used_for: str) -> None:
        """Uses this person's face for joining a group, once; the same use again is no second one."""
        await self._attestations.UseAttestation(
            attestations_pb2.UseAttestationRequest(
                attestation_id=str(attestation_id),
                psn_no=psn_no,
                purpose=attestations_pb2.ATTESTATION_PURPOSE_JOIN_GROUP,
                used_for=used_for,
            )
        )

    async def snapshot(self) -> AsyncIterator[tuple[Person, int]]:
        """Every person with his version, for a projection that starts anew."""
        request = identity_pb2.StreamSnapshotRequest()
        async for answer in self._stub.StreamSnapshot(request, timeout=SNAPSHOT_TIMEOUT_S, wait_for_ready=True):
            if (told := wire.told_person(answer.event)) is not None:
                yield told


class Ledgers:
    """The ledgers of all areas. Commands to one area travel together; a silent area keeps nobody else waiting."""

    def __init__(self, bus: Bus, *, wait_s: float) -> None:
        self._bus = bus
        self._wait_s = wait_s
        self._areas: dict[AdmDvs, Batcher[ledger_pb2.Command, LedgerAnswer | None]] = {}

    async def tell(self, area: AdmDvs, command: LedgerCommand) -> LedgerAnswer | None:
        """The ledger's answer; None if it stays silent for ``wait_s``: then it may or may not have heard."""
        if area not in self._areas:

            async def send(commands: list[ledger_pb2.Command]) -> Sequence[LedgerAnswer | None]:
                return await self._send(area, commands)

            self._areas[area] = Batcher(send, size_max=COMMANDS_MAX, parallelism=BATCHES_IN_FLIGHT_MAX)
        return await self._areas[area](wire.ledger_command(command, traceparent=telemetry.traceparent()))

    async def _send(self, area: AdmDvs, commands: list[ledger_pb2.Command]) -> Sequence[LedgerAnswer | None]:
        subject = f"{self._bus.prefix}.ledger.{area}.command"
        batch = ledger_pb2.CommandBatch(commands=commands)
        try:
            content = await self._bus.request(subject, batch.SerializeToString(), wait_s=self._wait_s)
        except Failure as failure:
            if failure.kind not in {Kind.UNAVAILABLE, Kind.DEADLINE}:
                raise
            return [None] * len(commands)
        answers: list[LedgerAnswer | None] = [None] * len(commands)
        for reply in ledger_pb2.ReplyBatch.FromString(content).replies:
            if reply.index < len(answers):
                answers[reply.index] = wire.ledger_answer(reply)
        return answers
