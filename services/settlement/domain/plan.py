"""The plan of a visit as it is stored and consented to: figures, legs, who was left out, and on what it rests.

PreSettle makes it, Settle refers to it by id and digest, a refused Settle carries a new one (domain §6, protocol
"Coordinator"). All figures come from ``split``, so they are what ``gongji plan`` says of the same visit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import datetime
from typing import Any, Final, Self
from uuid import UUID

from kernel.ids import AdmDvs, AuthorisationId, FixmedinsCode, PlanId, PsnNo
from kernel.money import Fen
from kernel.policy import Part
from kernel.values import value
from services.settlement.domain.benefit_case import YearUse, use_of
from services.settlement.domain.bill import Bill
from services.settlement.domain.split import Role, Split

PLAN_LIFETIME_S: Final = 600
"""How long a plan may be paid (domain §6, steps a terminal makes)."""


@value
class PlannedVisit:
    """Whose bill it is, where it was made, and as what; stated by the terminal or known from identity."""

    fixmedins_code: FixmedinsCode
    infno: str
    """The national transaction it was planned with: 2101, 2206 or 2303."""
    mdtrt_id: str
    med_type: str
    psn_no: PsnNo
    psn_name_masked: str
    insutype: str
    insuplc_admdvs: AdmDvs
    bill: Bill


@value
class VisitFacts:
    """What else is known of a planned visit. Beside ``PlannedVisit``, which earlier releases read whole."""

    mdtrt_cert_type: str = ""
    """What the patient showed: 01 code, 02 identity card, 03 card."""
    interim: bool = False
    """中途结算: the stay goes on."""
    age: int | None = None
    """Full years on the day it was planned; None where the birth date is not told."""
    psn_type: str = ""
    gend: str = ""
    """性别, as the patient's credential told it: 1 male, 2 female; empty where it did not."""
    agent_psn_no: str = ""
    """代买药: who fetches the medicine; empty otherwise."""
    agent_name_masked: str = ""
    agent_token_digest: str = ""
    """SHA-256 of what the agent's credential said and identity signed, in hex: the evidence that it was shown."""
    line_count: int = 0
    lines_digest: str = ""
    """SHA-256 over the bill's lines in hex, so that the consent covers them; empty where none were told."""


NO_FACTS: Final = VisitFacts()


@value
class PlanLeg:
    """One account's share, as its ledger will be asked for it; ``leg_no`` counts from 1 over all ledgers."""

    leg_no: int
    role: Role
    psn_no: PsnNo
    area: AdmDvs
    past_fen: Fen
    current_fen: Fen
    authorisation_id: AuthorisationId | None
    floor_fen: Fen
    floor_parts: tuple[Part, ...]

    @property
    def amount_fen(self) -> Fen:
        """Both parts together."""
        return self.past_fen + self.current_fen


@value
class FunderShown:
    """A funder's share as the terminal may show it; ``seq`` counts from 1 in the order of deduction."""

    seq: int
    psn_no: PsnNo
    name_masked: str
    relation: str
    area: AdmDvs
    past_fen: Fen
    current_fen: Fen


@value
class SkippedShown:
    """A funder who was left out, and why."""

    psn_no: PsnNo
    name_masked: str
    reason: str


@value
class ResultAmounts:
    """The national result amounts of a visit (结算结果) in fen, names letter for letter, and our own three."""

    medfee_sumamt: Fen
    fulamt_ownpay_amt: Fen
    overlmt_selfpay: Fen
    preselfpay_amt: Fen
    inscp_scp_amt: Fen
    act_pay_dedc: Fen
    hifp_pay: Fen
    cvlserv_pay: Fen
    hifes_pay: Fen
    hifmi_pay: Fen
    hifob_pay: Fen
    maf_pay: Fen
    oth_pay: Fen
    fund_pay_sumamt: Fen
    hosp_part_amt: Fen
    psn_part_amt: Fen
    acct_pay: Fen
    acct_mulaid_pay: Fen
    psn_cash_pay: Fen
    wallet_pay: Fen
    own_past_fen: Fen
    own_current_fen: Fen

    def negated(self) -> Self:
        """Every amount with its sign turned: the record of a revocation."""
        return replace(self, **{amount.name: -getattr(self, amount.name) for amount in fields(self)})


@value
class Plan:
    """Who would pay what for one visit, and the versions it rests on.

    ``patient_version`` is that of the patient's year (one patient's settlements run one after another); ``year`` is the
    one whose current part is meant. The time it expires is the database clock's and stands beside it, not in it.
    """

    plan_id: PlanId
    visit: PlannedVisit
    year: int
    patient_version: int
    policy_version: str
    own_balance_fen: Fen | None
    """What the patient's own account could spend when it was planned; None if he has none."""
    amounts: ResultAmounts
    legs: tuple[PlanLeg, ...]
    funders: tuple[FunderShown, ...]
    skipped: tuple[SkippedShown, ...]
    pool: str = ""
    """Of the benefit table's row; empty of the pool without a name, and where no table computed it."""
    inputs_digest: str = ""
    """Of what the figures were computed from (``plan_inputs``); empty of a plan made by an older release."""
    facts: VisitFacts = NO_FACTS

    @property
    def use(self) -> YearUse | None:
        """What it uses of the patient's year when it is paid; None if nothing."""
        amounts = self.amounts
        return use_of(
            insutype=self.visit.insutype,
            pool=self.pool,
            act_pay_dedc=amounts.act_pay_dedc,
            hifp_pay=amounts.hifp_pay,
            hifmi_pay=amounts.hifmi_pay,
            hifob_pay=amounts.hifob_pay,
        )

    @property
    def digest(self) -> bytes:
        """SHA-256 over the canonical form: what the cashier consented to, to the last fen."""
        return digest_of(self.document())

    def document(self) -> dict[str, Any]:
        """The plan in JSON's terms, for its row; ``of_document`` reads it back to an equal plan."""
        return {
            "plan_id": str(self.plan_id),
            "visit": {**_plain(self.visit), "bill": _plain(self.visit.bill)},
            "year": self.year,
            "patient_version": self.patient_version,
            "policy_version": self.policy_version,
            "own_balance_fen": self.own_balance_fen,
            "amounts": _plain(self.amounts),
            "legs": [leg_document(leg) for leg in self.legs],
            "funders": [_plain(funder) for funder in self.funders],
            "skipped": [_plain(skipped) for skipped in self.skipped],
            # Left out where they say nothing: a plan of an older release keeps its digest.
            **({"pool": self.pool} if self.pool else {}),
            **({"inputs_digest": self.inputs_digest} if self.inputs_digest else {}),
            **({"facts": _plain(self.facts)} if self.facts != NO_FACTS else {}),
        }

    @classmethod
    def of_document(cls, document: Mapping[str, Any], *, legs: tuple[PlanLeg, ...] | None = None) -> Self:
        """The plan of a stored document; ``legs`` are its legs, where they have been read already."""
        visit = dict(document["visit"])
        return cls(
            plan_id=PlanId(UUID(document["plan_id"])),
            visit=PlannedVisit(**{**visit, "bill": Bill(**visit["bill"])}),
            year=document["year"],
            patient_version=document["patient_version"],
            policy_version=document["policy_version"],
            own_balance_fen=document["own_balance_fen"],
            amounts=ResultAmounts(**document["amounts"]),
            legs=tuple(leg_of(leg) for leg in document["legs"]) if legs is None else legs,
            funders=tuple(FunderShown(**funder) for funder in document["funders"]),
            skipped=tuple(SkippedShown(**skipped) for skipped in document["skipped"]),
            pool=document.get("pool", ""),
            inputs_digest=document.get("inputs_digest", ""),
            facts=_facts_of(document.get("facts", {})),
        )


@value
class StoredPlan:
    """A plan, the instant, by the database's clock, from which it may no longer be paid, and its digest."""

    plan: Plan
    expires_at: datetime
    digest: bytes


@value
class KnownFunder:
    """What a terminal may see of a funder beside the money."""

    name_masked: str
    relation: str


def plan_of(
    result: Split,
    *,
    plan_id: PlanId,
    visit: PlannedVisit,
    year: int,
    patient_version: int,
    own_balance_fen: Fen | None,
    funders: Mapping[PsnNo, KnownFunder],
    pool: str = "",
    inputs_digest: str = "",
    facts: VisitFacts = NO_FACTS,
) -> Plan:
    """The plan that a split stands for. ``funders`` names every funder of the split, those left out as well."""
    return Plan(
        plan_id=plan_id,
        visit=visit,
        year=year,
        patient_version=patient_version,
        policy_version=result.policy_version,
        own_balance_fen=own_balance_fen,
        amounts=amounts_of(visit.bill, result),
        legs=tuple(
            PlanLeg(
                leg_no=leg_no,
                role=source.role,
                psn_no=source.psn_no,
                area=source.area,
                past_fen=source.past_fen,
                current_fen=source.current_fen,
                authorisation_id=source.authorisation_id,
                floor_fen=source.floor_fen,
                floor_parts=tuple(part for part in Part if part in source.floor_parts),
            )
            for leg_no, source in enumerate(result.contributions, start=1)
        ),
        funders=tuple(
            FunderShown(
                seq=seq,
                psn_no=funder.psn_no,
                name_masked=funders[funder.psn_no].name_masked,
                relation=funders[funder.psn_no].relation,
                area=funder.area,
                past_fen=funder.past_fen,
                current_fen=funder.current_fen,
            )
            for seq, funder in enumerate(result.funders, start=1)
        ),
        skipped=tuple(
            SkippedShown(skipped.psn_no, funders[skipped.psn_no].name_masked, skipped.reason.value)
            for skipped in result.skipped
        ),
        pool=pool,
        inputs_digest=inputs_digest,
        facts=facts,
    )


def amounts_of(bill: Bill, result: Split) -> ResultAmounts:
    """The national result of a bill and its split; ``acct_pay`` counts the funders in where the policy says so."""
    burden = result.burden
    return ResultAmounts(
        medfee_sumamt=bill.medfee_sumamt,
        fulamt_ownpay_amt=bill.fulamt_ownpay_amt,
        overlmt_selfpay=bill.overlmt_selfpay,
        preselfpay_amt=bill.preselfpay_amt,
        inscp_scp_amt=bill.inscp_scp_amt,
        act_pay_dedc=burden.act_pay_dedc,
        hifp_pay=burden.hifp_pay,
        cvlserv_pay=bill.cvlserv_pay,
        hifes_pay=bill.hifes_pay,
        hifmi_pay=burden.hifmi_pay,
        hifob_pay=burden.hifob_pay,
        maf_pay=bill.maf_pay,
        oth_pay=bill.oth_pay,
        fund_pay_sumamt=burden.fund_pay_sumamt,
        hosp_part_amt=burden.hosp_part_amt,
        psn_part_amt=burden.psn_part_amt,
        acct_pay=result.acct_pay,
        acct_mulaid_pay=result.acct_mulaid_pay,
        psn_cash_pay=result.psn_cash_pay,
        wallet_pay=result.wallet_pay,
        own_past_fen=result.own.past_fen,
        own_current_fen=result.own.current_fen,
    )


def digest_of(document: Mapping[str, Any]) -> bytes:
    """The digest of the plan with this document."""
    return digest_of_canonical(canonical(document))


def canonical(document: Mapping[str, Any]) -> str:
    """The one JSON text of a document: a digest is taken over it, and it is stored as it stands."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def digest_of_canonical(document: str) -> bytes:
    """The digest of the plan whose document, in canonical JSON, this is."""
    return hashlib.sha256(document.encode("ascii")).digest()


def _facts_of(document: Mapping[str, Any]) -> VisitFacts:
    """What a release before this one did not write is not known; what a later one adds means nothing here."""
    return VisitFacts(**{name: document[name] for name in VisitFacts.__slots__ if name in document})  # type: ignore[attr-defined]  # A value has them.


def _plain(
    record: PlannedVisit | VisitFacts | Bill | ResultAmounts | FunderShown | SkippedShown | PlanLeg,
) -> dict[str, Any]:
    """The fields of a flat record by name: ``asdict`` without its deep copies, of which there are dozens to a plan."""
    return {name: getattr(record, name) for name in record.__slots__}  # type: ignore[union-attr]  # A value has them.


def leg_document(leg: PlanLeg) -> dict[str, Any]:
    """A leg in JSON's terms; ``leg_of`` reads it back."""
    return {
        **_plain(leg),
        "role": leg.role.value,
        "authorisation_id": None if leg.authorisation_id is None else str(leg.authorisation_id),
        "floor_parts": [part.value for part in leg.floor_parts],
    }


def leg_of(document: Mapping[str, Any]) -> PlanLeg:
    """The leg of a stored document."""
    authorisation_id = document["authorisation_id"]
    return PlanLeg(
        **{
            **document,
            "role": Role(document["role"]),
            "authorisation_id": None if authorisation_id is None else AuthorisationId(UUID(authorisation_id)),
            "floor_parts": tuple(Part(part) for part in document["floor_parts"]),
        }
    )
