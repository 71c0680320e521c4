"""People, relations and groups in a running system, for tests; every call goes through gRPC."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

import grpc

from chassis.bus import Bus
from chassis.db import Database
from chassis.rpc.client import channel
from gongji.family.v1 import binding_pb2, family_pb2, family_pb2_grpc, groups_pb2, groups_pb2_grpc
from gongji.identity.v1 import (
    attestations_pb2,
    attestations_pb2_grpc,
    identity_pb2,
    identity_pb2_grpc,
    kinship_pb2,
    kinship_pb2_grpc,
    person_pb2,
    sanctions_pb2_grpc,
)
from gongji.ledger.v1 import ledger_pb2
from ops import faces
from ops.embedded.world import World
from tests.patience import insisted, until

HAMI: Final = "650500"
URUMQI: Final = "650100"
GUANGZHOU: Final = "440100"
AREAS: Final = (HAMI, URUMQI, GUANGZHOU)
TEXT: Final = "共济承诺书"
TEXT_VERSION: Final = "2026-01"
TEXT_SHA256: Final = hashlib.sha256(TEXT.encode()).digest()
_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_serial: Final = itertools.count(os.getpid() % 100_000 * 1_000)


@dataclass(frozen=True, slots=True)
class House:
    """Stubs of identity and family, and the bus on which the ledgers listen."""

    world: World
    identity: identity_pb2_grpc.IdentityServiceAsyncStub
    kinship: kinship_pb2_grpc.KinshipServiceAsyncStub
    sanctions: sanctions_pb2_grpc.SanctionServiceAsyncStub
    family: family_pb2_grpc.FamilyServiceAsyncStub
    groups: groups_pb2_grpc.GroupServiceAsyncStub
    attestations: attestations_pb2_grpc.AttestationServiceAsyncStub
    family_channel: grpc.aio.Channel
    bus: Bus

    async def person(self, area: str = HAMI, *, insutype: str = "310", born: str = "19800501") -> str:
        """Someone normally insured, with a number of his own."""
        serial = next(_serial)
        seventeen = f"650502{born}{serial % 1000:03d}"
        check = "10X98765432"[sum(int(c) * w for c, w in zip(seventeen, _WEIGHTS, strict=True)) % 11]
        answer = await self.identity.RegisterPerson(
            identity_pb2.RegisterPersonRequest(
                psn_cert_type=person_pb2.CERTIFICATE_TYPE_RESIDENT_ID,
                certno=seventeen + check,
                psn_name="王建国",
            )
        )
        if not answer.existed:
            await self.identity.Enrol(
                identity_pb2.EnrolRequest(psn_no=answer.psn_no, insutype=insutype, insuplc_admdvs=area)
            )
        return str(answer.psn_no)

    async def status(self, psn_no: str, stas: str, *, insutype: str = "310") -> None:
        """Pauses or resumes an enrolment."""
        await self.identity.ChangeInsuranceStatus(
            identity_pb2.ChangeInsuranceStatusRequest(psn_no=psn_no, insutype=insutype, psn_insu_stas=stas)
        )

    async def two_numbers(self, *, insutype: str = "310") -> tuple[str, str]:
        """Two numbers of people of one sex and birth date, who may be one person."""
        one = await self.person(insutype=insutype)
        next(_serial)  # The sex stands in the certificate: every other one is a woman's.
        return one, await self.person(insutype=insutype)

    async def merge(self, keep: str, double: str) -> None:
        """An officer finds two numbers to be one person."""
        await self.identity.MergePersons(
            identity_pb2.MergePersonsRequest(
                keep_psn_no=keep, double_psn_no=double, opter="zhang01", cause="同一人重复登记"
            )
        )

    async def until_projected(self, psn_no: str, stas: str) -> None:
        """Returns once family's own projection shows this status."""
        query = "SELECT enrolments->0->>'status' FROM persons WHERE psn_no = $1"
        async with (
            Database(self.world.database_url("family"), pool_size=1) as database,
            database.driver_connection() as connection,
        ):

            async def shown() -> bool:
                return bool(await connection.fetchval(query, psn_no) == stas)

            await until(shown)

    async def until(self, binding: binding_pb2.Binding, state: binding_pb2.BindingState.ValueType) -> None:
        """Returns once the binding stands there."""

        async def stands() -> bool:
            return (await self.binding(binding)).state == state

        await until(stands)

    async def kill_family(self) -> None:
        """SIGKILL."""
        await self.world.kill_process("family")

    async def start_family(self) -> None:
        """Starts family again, and waits until our channel has found it."""
        await self.world.start_process("family")
        await self.family_channel.channel_ready()

    async def parent(self, parent: str, child: str) -> str:
        """A verified fact: the first is a parent of the second; its id."""
        return await self._fact(person_pb2.KINSHIP_FACT_KIND_PARENT_OF, parent, child)

    async def siblings(self, one: str, other: str) -> str:
        """A verified fact: the two are siblings; its id."""
        return await self._fact(person_pb2.KINSHIP_FACT_KIND_SIBLING_OF, one, other)

    async def married(self, one: str, other: str) -> str:
        """A verified fact: the two are married; its id."""
        return await self._fact(person_pb2.KINSHIP_FACT_KIND_MARRIED_TO, one, other, from_date="2020-05-20")

    async def _fact(
        self, kind: person_pb2.KinshipFactKind.ValueType, one: str, other: str, *, from_date: str = ""
    ) -> str:
        wedding = kinship_pb2.EVIDENCE_MARRIAGE_CERTIFICATE
        fact = await self.kinship.SubmitKinshipFact(
            kinship_pb2.SubmitKinshipFactRequest(
                kind=kind,
                psn_no=one,
                other_psn_no=other,
                evidence=wedding if from_date else kinship_pb2.EVIDENCE_HOUSEHOLD_REGISTER,
                from_date=from_date,
            )
        )
        await self.kinship.ReviewKinshipFact(
            kinship_pb2.ReviewKinshipFactRequest(
                fact_id=fact.fact_id, state=person_pb2.KINSHIP_FACT_STATE_VERIFIED, opter="zhang01"
            )
        )
        return str(fact.fact_id)

    async def revoke(self, fact_id: str) -> None:
        """The document behind the fact was withdrawn."""
        await self.kinship.ReviewKinshipFact(
            kinship_pb2.ReviewKinshipFactRequest(
                fact_id=fact_id,
                state=person_pb2.KINSHIP_FACT_STATE_REVOKED,
                opter="zhang01",
                cause="户口簿已更正",
            )
        )

    async def sign(self, psn_no: str) -> None:
        """The person signs the pledge."""
        await self.family.SignPledge(
            family_pb2.SignPledgeRequest(psn_no=psn_no, text_version=TEXT_VERSION, text_sha256=TEXT_SHA256)
        )

    async def group(self, founder: str) -> str:
        """A group founded under a pledge; its id."""
        await self.sign(founder)
        answer = await self.family.CreateGroup(
            family_pb2.CreateGroupRequest(founder_psn_no=founder, request_id=str(uuid4()))
        )
        return str(answer.group.group_id)

    async def invite(
        self, group_id: str, inviter: str, invitee: str, relation: person_pb2.Relation.ValueType
    ) -> binding_pb2.Invitation:
        """An invitation; accepted already if the invitee is young."""
        answer = await self.family.InviteMember(
            family_pb2.InviteMemberRequest(
                group_id=group_id,
                inviter_psn_no=inviter,
                invitee_psn_no=invitee,
                relation=relation,
                request_id=str(uuid4()),
            )
        )
        return answer.invitation

    async def bring_in(
        self, group_id: str, inviter: str, invitee: str, relation: person_pb2.Relation.ValueType
    ) -> None:
        """Invites and accepts."""
        await self.accept(await self.invite(group_id, inviter, invitee, relation))

    async def face(self, psn_no: str) -> str:
        """The person shows his face for joining a group; the attestation's id."""
        return await faces.shown(self.attestations, psn_no, attestations_pb2.ATTESTATION_PURPOSE_JOIN_GROUP)

    async def accept(self, invitation: binding_pb2.Invitation) -> family_pb2.Group:
        """The invited person accepts with his face."""
        request = family_pb2.AcceptInvitationRequest(
            invitation_id=invitation.invitation_id,
            invitee_psn_no=invitation.invitee_psn_no,
            attestation_id=await self.face(invitation.invitee_psn_no),
        )
        return (await self.family.AcceptInvitation(request)).group

    async def see_group(self, group_id: str, by: str) -> family_pb2.Group:
        """The group as this member sees it."""
        answer = await self.family.GetGroup(family_pb2.GetGroupRequest(group_id=group_id, by_psn_no=by))
        return answer.group

    async def enrol(self, psn_no: str, area: str, *, insutype: str = "310") -> None:
        """Insured somewhere else from now on."""
        await self.identity.Enrol(identity_pb2.EnrolRequest(psn_no=psn_no, insutype=insutype, insuplc_admdvs=area))

    async def couple(self, *, area: str = HAMI, other_area: str | None = None) -> tuple[str, str, str]:
        """Two siblings in a group: funder, beneficiary and the group's id."""
        funder, beneficiary = await self.person(area), await self.person(other_area or area, insutype="390")
        await self.siblings(funder, beneficiary)
        group_id = await self.group(funder)
        await self.bring_in(group_id, funder, beneficiary, person_pb2.RELATION_SIBLING)
        return funder, beneficiary, group_id

    async def bind(
        self,
        group_id: str,
        funder: str,
        beneficiary: str,
        *,
        authorised_fen: int | None = 300_000,
        request_id: str | None = None,
    ) -> binding_pb2.Binding:
        """The binding as it is answered, under the funder's pledge."""
        await self.sign(funder)
        answer = await self.family.Bind(
            family_pb2.BindRequest(
                group_id=group_id,
                funder_psn_no=funder,
                beneficiary_psn_no=beneficiary,
                authorised_fen=authorised_fen,
                request_id=request_id or str(uuid4()),
            )
        )
        return answer.binding

    async def binding(self, binding: binding_pb2.Binding) -> binding_pb2.Binding:
        """The binding as it stands now."""
        answer = await self.family.GetGroup(
            family_pb2.GetGroupRequest(group_id=binding.group_id, by_psn_no=binding.funder_psn_no)
        )
        return next(one for one in answer.group.bindings if one.binding_id == binding.binding_id)

    async def authorisation(self, binding: binding_pb2.Binding) -> ledger_pb2.Authorisation:
        """What the funder's ledger keeps of the binding."""
        command = ledger_pb2.ReadBalancesCommand(authorisation_ids=[authorisation_bytes(binding)])
        reply = await self.command(binding.funder_area, ledger_pb2.Command(read_balances_command=command))
        return reply.balances.authorisations[0]

    async def command(self, area: str, command: ledger_pb2.Command) -> ledger_pb2.Reply:
        """One command straight to a ledger."""
        subject = f"{self.bus.prefix}.ledger.{area}.command"
        batch = ledger_pb2.CommandBatch(commands=[command]).SerializeToString()
        content = await insisted(lambda: self.bus.request(subject, batch))
        return ledger_pb2.ReplyBatch.FromString(content).replies[0]


def authorisation_bytes(binding: binding_pb2.Binding) -> bytes:
    """The authorisation's id as the ledger knows it."""
    return bytes.fromhex(binding.authorisation_id.replace("-", ""))


@asynccontextmanager
async def house_of(world: World) -> AsyncIterator[House]:
    """The stubs of a running world."""
    async with AsyncExitStack() as stack:
        identity = await stack.enter_async_context(channel(world.address("identity"), caller=None, call_timeout_s=60))
        family = await stack.enter_async_context(channel(world.address("family"), caller=None, call_timeout_s=60))
        bus = await stack.enter_async_context(Bus(world.nats_url, name="test", prefix=world.bus_prefix))
        opened = House(
            world,
            identity_pb2_grpc.IdentityServiceStub(identity),
            kinship_pb2_grpc.KinshipServiceStub(identity),
            sanctions_pb2_grpc.SanctionServiceStub(identity),
            family_pb2_grpc.FamilyServiceStub(family),
            groups_pb2_grpc.GroupServiceStub(family),
            attestations_pb2_grpc.AttestationServiceStub(identity),
            family,
            bus,
        )
        await opened.groups.RegisterPledgeText(
            groups_pb2.RegisterPledgeTextRequest(
                text_version=TEXT_VERSION, language="zh-CN", text=TEXT, opter="zhang01"
            )
        )
        yield opened
