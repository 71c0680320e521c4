"""Builds a family for real: every person, account, kinship fact, group and binding through gRPC calls.

A scenario file (tests/scenarios) describes a family at the moment of its bill. Some of what it says could not come to
be in one step: a funder who is no longer insured was insured when the binding was made. So the family is built first,
everybody normally insured in the patient's province, and changed afterwards (status, move, freeze, sanction, end of a
binding), in the order in which it happens to real people.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID, uuid4, uuid5

from google.protobuf.timestamp_pb2 import Timestamp

from gongji.family.v1 import binding_pb2, family_pb2, groups_pb2
from gongji.identity.v1 import attestations_pb2, identity_pb2, institutions_pb2, kinship_pb2, person_pb2, sanctions_pb2
from gongji.settlement.v1 import account_pb2, settlement_pb2, wallets_pb2
from kernel.failures import Failure
from kernel.ids import AdmDvs, FixmedinsCode, PsnNo, province_of
from kernel.money import Fen
from kernel.policy import Part
from ops import faces
from ops.desks import Desks
from ops.scenario import Scenario, ScenarioBinding, ScenarioPerson
from ops.visits import Counter
from services.settlement.domain.bill import Bill
from services.settlement.domain.split import INSUTYPE_EMPLOYEE, PSN_INSU_STAS_NORMAL

PLEDGE_TEXT_VERSION: Final = "2026-01"
PLEDGE_TEXT: Final = "个人账户家庭共济承诺书：本人自愿将职工医保个人账户资金用于支付近亲属的医疗费用。"
OPTER: Final = "gongji"
"""经办人 of what is decided here."""
SANCTION_LENGTH: Final = timedelta(days=150)
EARLIER_BILL_FACTOR: Final = 100
_IDS: Final = UUID("5c0f7d52-6f0b-4e0c-9a35-0d6f3c1f7a10")

INVERSE: Final = {"SPOUSE": "SPOUSE", "SIBLING": "SIBLING", "PARENT": "CHILD", "CHILD": "PARENT"}
"""What the beneficiary is to the funder, by what the funder is to the beneficiary."""


def request_id(*words: object) -> str:
    """An id that is the same when the same step is taken again, so that an interrupted building can be repeated."""
    return str(uuid5(_IDS, "|".join(map(str, words))))


async def register_institution(
    desks: Desks, *, fixmedins_code: FixmedinsCode, name: str, wallet_capable: bool = True
) -> None:
    """A designated institution whose bills are taken from now on."""
    institution = person_pb2.Institution(
        fixmedins_code=fixmedins_code,
        fixmedins_name=name,
        state=person_pb2.INSTITUTION_STATE_DESIGNATED,
        wallet_capable=wallet_capable,
        capabilities=[person_pb2.INSTITUTION_CAPABILITY_INPATIENT] * fixmedins_code.startswith("H"),
    )
    await desks.institutions.RegisterInstitution(
        institutions_pb2.RegisterInstitutionRequest(institution=institution, opter=OPTER)
    )


async def register_person(desks: Desks, *, psn_no: PsnNo, name: str, certno: str, insutype: str, area: AdmDvs) -> None:
    """A person with a certificate and one normal enrolment."""
    await desks.identity.RegisterPerson(
        identity_pb2.RegisterPersonRequest(
            psn_cert_type=person_pb2.CERTIFICATE_TYPE_RESIDENT_ID, certno=certno, psn_name=name, psn_no=psn_no
        )
    )
    await desks.identity.Enrol(identity_pb2.EnrolRequest(psn_no=psn_no, insutype=insutype, insuplc_admdvs=area))


async def credit(
    desks: Desks,
    *,
    psn_no: PsnNo,
    area: AdmDvs,
    past_fen: Fen = 0,
    current_fen: Fen = 0,
    wallet_fen: Fen = 0,
    row: str = "opening",
) -> None:
    """Money into a personal account's parts and into a wallet; nothing where an amount is 0."""
    personal, wallet = account_pb2.ACCOUNT_KIND_PERSONAL, account_pb2.ACCOUNT_KIND_WALLET
    past, current = account_pb2.ACCOUNT_PART_PAST, account_pb2.ACCOUNT_PART_CURRENT
    for kind, part, amount_fen in (
        (personal, past, past_fen),
        (personal, current, current_fen),
        (wallet, past, wallet_fen),
    ):
        if amount_fen:
            await desks.accounts.CreditAccount(
                account_pb2.CreditAccountRequest(
                    psn_no=psn_no,
                    account_kind=kind,
                    part=part,
                    amount_fen=amount_fen,
                    area=area,
                    row_id=f"{row}.{psn_no}.{kind}.{part}",
                )
            )


async def wallet_opening(
    desks: Desks, *, psn_no: PsnNo, area: AdmDvs, opener: PsnNo | None = None
) -> wallets_pb2.OpenWalletRequest:
    """A request that opens this person's wallet by his face shown just now, or by that of the relative who opens it."""
    purpose = attestations_pb2.ATTESTATION_PURPOSE_OPEN_WALLET
    return wallets_pb2.OpenWalletRequest(
        request_id=str(uuid4()),
        psn_no=psn_no,
        area=area,
        opener_psn_no=opener or "",
        attestation_id=await faces.shown(desks.attestations, opener or psn_no, purpose),
        phone_confirmed=True,
    )


async def prove_relation(desks: Desks, *, person: PsnNo, other: PsnNo, relation: str) -> None:
    """Makes ``person`` the stated relation of ``other`` by one verified fact."""
    kinds = {
        "SPOUSE": (person_pb2.KINSHIP_FACT_KIND_MARRIED_TO, person, other),
        "PARENT": (person_pb2.KINSHIP_FACT_KIND_PARENT_OF, person, other),
        "CHILD": (person_pb2.KINSHIP_FACT_KIND_PARENT_OF, other, person),
        "SIBLING": (person_pb2.KINSHIP_FACT_KIND_SIBLING_OF, person, other),
    }
    kind, first, second = kinds[relation]
    married = kind == person_pb2.KINSHIP_FACT_KIND_MARRIED_TO
    fact = await desks.kinship.SubmitKinshipFact(
        kinship_pb2.SubmitKinshipFactRequest(
            kind=kind,
            psn_no=first,
            other_psn_no=second,
            evidence=kinship_pb2.EVIDENCE_MARRIAGE_CERTIFICATE if married else kinship_pb2.EVIDENCE_HOUSEHOLD_REGISTER,
            from_date="2020-05-20" if married else "",
        )
    )
    await desks.kinship.ReviewKinshipFact(
        kinship_pb2.ReviewKinshipFactRequest(
            fact_id=fact.fact_id, state=person_pb2.KINSHIP_FACT_STATE_VERIFIED, opter="scenario"
        )
    )


async def sign_pledge(desks: Desks, *, psn_no: PsnNo) -> None:
    """The person signs the pledge, whose text is put on record first where it is not; signing again changes nothing."""
    request = family_pb2.SignPledgeRequest(
        psn_no=psn_no,
        text_version=PLEDGE_TEXT_VERSION,
        text_sha256=hashlib.sha256(PLEDGE_TEXT.encode()).digest(),
    )
    try:
        await desks.family.SignPledge(request)
    except Failure as failure:
        if failure.reason != "PLEDGE_TEXT_UNKNOWN":
            raise
        await desks.groups.RegisterPledgeText(
            groups_pb2.RegisterPledgeTextRequest(
                text_version=PLEDGE_TEXT_VERSION, language="zh-CN", text=PLEDGE_TEXT, opter=OPTER
            )
        )
        await desks.family.SignPledge(request)


async def found_group(desks: Desks, *, founder: PsnNo) -> str:
    """The founder signs the pledge and founds a group; its id."""
    await sign_pledge(desks, psn_no=founder)
    answer = await desks.family.CreateGroup(
        family_pb2.CreateGroupRequest(founder_psn_no=founder, request_id=request_id("group", founder))
    )
    return str(answer.group.group_id)


async def bring_in(desks: Desks, *, group_id: str, inviter: PsnNo, invitee: PsnNo, relation: str) -> None:
    """Invites a relative, who accepts with his face; a child joins at once."""
    answer = await desks.family.InviteMember(
        family_pb2.InviteMemberRequest(
            group_id=group_id,
            inviter_psn_no=inviter,
            invitee_psn_no=invitee,
            relation=person_pb2.Relation.Value(f"RELATION_{relation}"),
            request_id=request_id("invite", group_id, invitee),
        )
    )
    if answer.invitation.state == binding_pb2.INVITATION_STATE_PENDING:
        purpose = attestations_pb2.ATTESTATION_PURPOSE_JOIN_GROUP
        await desks.family.AcceptInvitation(
            family_pb2.AcceptInvitationRequest(
                invitation_id=answer.invitation.invitation_id,
                invitee_psn_no=invitee,
                attestation_id=await faces.shown(desks.attestations, invitee, purpose),
            )
        )


async def bind(
    desks: Desks,
    *,
    group_id: str,
    funder: PsnNo,
    beneficiary: PsnNo,
    authorised_fen: Fen | None,
    per_payment_fen: Fen | None = None,
    per_month_fen: Fen | None = None,
) -> str:
    """A binding under the funder's pledge, whose authorisation his ledger has opened; its id.

    RuntimeError if it did not open at once.
    """
    await sign_pledge(desks, psn_no=funder)
    request = family_pb2.BindRequest(
        group_id=group_id,
        funder_psn_no=funder,
        beneficiary_psn_no=beneficiary,
        request_id=request_id("bind", group_id, funder, beneficiary),
        authorised_fen=authorised_fen,
        per_payment_fen=per_payment_fen,
        per_month_fen=per_month_fen,
    )
    answer = await desks.family.Bind(request)
    if answer.binding.state != binding_pb2.BINDING_STATE_ACTIVE:
        raise RuntimeError("the funder's ledger did not open the authorisation")
    return str(answer.binding.binding_id)


class ScenarioFamily:
    """A scenario's family in a running system: ``build`` makes it, ``change`` brings it to the moment of the bill."""

    def __init__(self, desks: Desks, scenario: Scenario, *, told: Callable[[], Awaitable[None]]) -> None:
        self._desks = desks
        self._scenario = scenario
        self._told = told  # Returns once every room has heard what the others said.
        self._binding_ids: dict[int, str] = {}

    @property
    def patient(self) -> PsnNo:
        """Whose bill it is."""
        return self._scenario.visit.patient.psn_no

    def _bindings(self) -> Sequence[tuple[int, ScenarioBinding]]:
        """Every binding with its place in the file, in the order in which they were made."""
        return sorted(
            enumerate(self._scenario.bindings),
            key=lambda item: (item[1].binding.bound_at, item[1].binding.funder.psn_no),
        )

    async def build(self) -> None:
        """Persons, institution, kinship, groups, bindings and the order of deduction."""
        visit = self._scenario.visit
        await register_institution(
            self._desks,
            fixmedins_code=self._scenario.fixmedins_code,
            name="共济医院" if self._scenario.fixmedins_code.startswith("H") else "共济药店",
            wallet_capable=visit.wallet_capable,
        )
        funders = {item.binding.funder.psn_no for item in self._scenario.bindings}
        for entry in self._scenario.persons.values():
            await self._register(entry, funds=entry.person.psn_no in funders)
        await self._told()
        for place, item in self._bindings():
            await self._bind(place, item)
        await self._order()
        await self._told()

    async def _register(self, entry: ScenarioPerson, *, funds: bool) -> None:
        """As he was when he was bound: insured as an employee if he funds, in the patient's province."""
        person = entry.person
        home = province_of(self._scenario.visit.patient.area)
        await register_person(
            self._desks,
            psn_no=person.psn_no,
            name=entry.name,
            certno=entry.certno,
            insutype=INSUTYPE_EMPLOYEE if funds else person.insutype,
            area=person.area if province_of(person.area) == home or not funds else self._scenario.visit.patient.area,
        )

    async def _bind(self, place: int, item: ScenarioBinding) -> None:
        funder, beneficiary = item.binding.funder.psn_no, item.beneficiary
        await prove_relation(self._desks, person=funder, other=beneficiary, relation=item.relation)
        group_id = await found_group(self._desks, founder=funder)
        await bring_in(
            self._desks, group_id=group_id, inviter=funder, invitee=beneficiary, relation=INVERSE[item.relation]
        )
        self._binding_ids[place] = await bind(
            self._desks,
            group_id=group_id,
            funder=funder,
            beneficiary=beneficiary,
            authorised_fen=item.binding.authorised_fen,
            per_payment_fen=item.binding.per_payment_fen,
            per_month_fen=item.binding.per_month_fen,
        )

    async def _order(self) -> None:
        """The beneficiary's order, where the file states one; a child's by its parent."""
        ordered = sorted(
            (item.binding.order, item.binding.bound_at, item.binding.funder.psn_no)
            for item in self._scenario.bindings
            if item.beneficiary == self.patient and item.binding.order is not None
        )
        if not ordered:
            return
        request = family_pb2.SetDeductOrderRequest(
            beneficiary_psn_no=self.patient, funder_psn_nos=[psn_no for _, _, psn_no in ordered]
        )
        try:
            await self._desks.family.SetDeductOrder(request)
        except Failure as failure:
            if failure.reason != "MINOR_ACTS_THROUGH_PARENT":
                raise
            request.by_psn_no = next(
                item.binding.funder.psn_no for item in self._scenario.bindings if item.relation == "PARENT"
            )
            await self._desks.family.SetDeductOrder(request)

    async def use(self, counter: Counter) -> None:
        """Pays an earlier bill for each binding of which something was used: only that funder has money then.

        ValueError if the scenario's policies leave no way to it.
        """
        for place, item in self._bindings():
            used_fen, funder = item.binding.used_fen, item.binding.funder
            if item.binding.per_month_fen is not None and item.binding.month_used_fen != used_fen:
                raise ValueError(f"binding {place}: what was used of it in an earlier month cannot be built")
            if not used_fen:
                continue
            policy = self._scenario.policies.for_area(funder.area, field="area")
            if item.beneficiary != self.patient or policy.funder_floor_balance:
                raise ValueError(f"binding {place}: what was used of it before the bill cannot be built")
            part = next(part for part in Part if part in policy.shareable_parts)
            past_fen, current_fen = (used_fen, 0) if part is Part.PAST else (0, used_fen)
            await credit(
                self._desks,
                psn_no=funder.psn_no,
                area=funder.area,
                past_fen=past_fen,
                current_fen=current_fen,
                row="earlier",
            )
            # Of every kind more than enough, so that neither kinds nor cap keep the funder from giving all of it.
            each_fen = used_fen * EARLIER_BILL_FACTOR
            bill = Bill(
                medfee_sumamt=4 * each_fen,
                fulamt_ownpay_amt=each_fen,
                overlmt_selfpay=each_fen,
                preselfpay_amt=each_fen,
                inscp_scp_amt=each_fen,
            )
            plan = await counter.plan(patient=self.patient, med_type="11", bill=bill, mdtrt_id=f"EARLIER-{place}")
            paid = await counter.pay(plan, med_type="11")
            if not isinstance(paid, settlement_pb2.Settlement) or paid.amounts.acct_mulaid_pay != used_fen:
                raise ValueError(f"binding {place}: the earlier bill did not use {used_fen} fen of it")

    async def change(self, *, now: datetime) -> None:
        """Money, moves, status, freezes, sanctions and ended bindings: everything up to the moment of the bill."""
        for entry in self._scenario.persons.values():
            await self._move(entry)
        await self._told()
        for entry in self._scenario.persons.values():
            person = entry.person
            await credit(
                self._desks,
                psn_no=person.psn_no,
                area=person.area,
                past_fen=person.past_fen,
                current_fen=person.current_fen,
                wallet_fen=person.wallet_fen,
            )
        for entry in self._scenario.persons.values():
            await self._freeze_and_sanction(entry, now)
        for place, item in self._bindings():
            if item.binding.unbound:
                await self._desks.family.Unbind(
                    family_pb2.UnbindRequest(binding_id=self._binding_ids[place], by_psn_no=item.beneficiary)
                )
        await self._told()

    async def _move(self, entry: ScenarioPerson) -> None:
        """Where he is insured now. Enrolling where one is enrolled already changes nothing."""
        person = entry.person
        # Accounts exist only for employees; his money came in before he ceased to be one.
        insutype = INSUTYPE_EMPLOYEE if person.past_fen or person.current_fen else person.insutype
        await self._desks.identity.Enrol(
            identity_pb2.EnrolRequest(psn_no=person.psn_no, insutype=insutype, insuplc_admdvs=person.area)
        )

    async def _freeze_and_sanction(self, entry: ScenarioPerson, now: datetime) -> None:
        person = entry.person
        if person.insutype != INSUTYPE_EMPLOYEE:
            await self._end_employment(person.psn_no, person.insutype, person.area)
        if person.psn_insu_stas != PSN_INSU_STAS_NORMAL:
            await self._desks.identity.ChangeInsuranceStatus(
                identity_pb2.ChangeInsuranceStatusRequest(
                    psn_no=person.psn_no, insutype=person.insutype, psn_insu_stas=person.psn_insu_stas
                )
            )
        if person.frozen:
            await self._desks.accounts.FreezeAccount(
                account_pb2.FreezeAccountRequest(
                    psn_no=person.psn_no,
                    area=person.area,
                    cause="COURT_ORDER",
                    request_id=request_id("freeze", person.psn_no),
                )
            )
        if person.sanctioned:
            from_time, to_time = Timestamp(), Timestamp()
            from_time.FromDatetime(now.astimezone(UTC).replace(tzinfo=None))
            to_time.FromDatetime((now + SANCTION_LENGTH).astimezone(UTC).replace(tzinfo=None))
            await self._desks.sanctions.ImposeSanction(
                sanctions_pb2.ImposeSanctionRequest(
                    psn_no=person.psn_no,
                    from_time=from_time,
                    to_time=to_time,
                    basis_clause="条例 art. 41",
                    decision_no=f"D-{person.psn_no}",
                    organ="乌鲁木齐市医疗保障局",
                    opter="scenario",
                )
            )

    def _was_employed(self, psn_no: PsnNo) -> bool:
        person = self._scenario.persons[psn_no].person
        funds = any(item.binding.funder.psn_no == psn_no for item in self._scenario.bindings)
        return funds or bool(person.past_fen or person.current_fen)

    async def _end_employment(self, psn_no: PsnNo, insutype: str, area: AdmDvs) -> None:
        """Insured as a resident now; an enrolment as an employee, if there was one, is ended."""
        if self._was_employed(psn_no):
            await self._desks.identity.ChangeInsuranceStatus(
                identity_pb2.ChangeInsuranceStatusRequest(psn_no=psn_no, insutype=INSUTYPE_EMPLOYEE, psn_insu_stas="4")
            )
        await self._desks.identity.Enrol(
            identity_pb2.EnrolRequest(psn_no=psn_no, insutype=insutype, insuplc_admdvs=area)
        )
