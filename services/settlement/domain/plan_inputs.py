"""All that a plan's figures were computed from, kept beside it, so that each fen can be derived again for years.

It holds the policy values themselves and not only their version: files change, what somebody was charged by does not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any, Final, assert_never
from uuid import UUID

from kernel.ids import AdmDvs, AuthorisationId, PsnNo
from kernel.policy import BenefitTable, CareLevel, ExternalBenefit, Insutype, OpenBenefit, PolicySet, YearSoFar
from kernel.policy.policy_set import plain
from services.settlement.domain.bill import Bill
from services.settlement.domain.split import BenefitCase, Binding, Person, Visit, row_of

INPUTS_VERSION: Final = 1
_USED: Final = (
    "own_order",
    "own_account_kinds",
    "mutual_aid_kinds",
    "funder_order",
    "mulaid_included_in_acct_pay",
    "funder_floor_balance",
    "shareable_parts",
    "single_pay_ratio_cap",
    "wallet",
)
"""The parameters that a split reads of any area."""
_OPEN: Final = ("deductible_fen", "ratio", "ceiling_left_fen")
_ROW: Final = ("insutype", "deductible_fen", "ratio", "ceiling_fen", "large")


def inputs_of(visit: Visit, policies: PolicySet, *, made_at: datetime) -> dict[str, Any]:
    """Everything ``split`` was given, in JSON's terms; ``visit_in`` and ``policies_in`` read it back."""
    areas = dict.fromkeys((visit.patient.area, visit.area, *(each.funder.area for each in visit.bindings)))
    return {
        "v": INPUTS_VERSION,
        "made_at": made_at.isoformat(),
        "area": visit.area,
        "wallet_capable": visit.wallet_capable,
        "patient": _plain(visit.patient),
        "bill": _plain(visit.bill),
        "case": None if visit.case is None else _case_document(visit.case),
        "bindings": [_binding_document(each) for each in visit.bindings],
        "policies": {area: _used_of(policies, area, visit) for area in areas},
        "policy_version": policies.version,
    }


def digest_of_inputs(inputs: str) -> str:
    """SHA-256 over the canonical form (``plan.canonical``), which the plan states: these inputs and no others."""
    return hashlib.sha256(inputs.encode("ascii")).hexdigest()


def visit_in(inputs: Mapping[str, Any]) -> Visit:
    """The visit that was split."""
    case = inputs["case"]
    return Visit(
        patient=_person(inputs["patient"]),
        area=AdmDvs(inputs["area"]),
        bill=Bill(**inputs["bill"]),
        bindings=tuple(_binding(each) for each in inputs["bindings"]),
        wallet_capable=inputs["wallet_capable"],
        case=None if case is None else _case(case),
    )


def policies_in(inputs: Mapping[str, Any]) -> PolicySet:
    """The policies it was split by, as far as they were read; their version is not that of the whole files."""
    return PolicySet.of(inputs["policies"], where="inputs.policies")


def _plain(record: Any) -> dict[str, Any]:  # noqa: ANN401  Any flat frozen dataclass.
    return {item.name: getattr(record, item.name) for item in fields(record)}


def _case_document(case: BenefitCase) -> dict[str, Any]:
    return {**_plain(case), "level": case.level.value, "year": _plain(case.year)}


def _case(document: Mapping[str, Any]) -> BenefitCase:
    return BenefitCase(**{**document, "level": CareLevel(document["level"]), "year": YearSoFar(**document["year"])})


def _binding_document(binding: Binding) -> dict[str, Any]:
    authorisation_id = binding.authorisation_id
    return {
        **_plain(binding),
        "funder": _plain(binding.funder),
        "bound_at": binding.bound_at.isoformat(),
        "authorisation_id": None if authorisation_id is None else str(authorisation_id),
    }


def _binding(document: Mapping[str, Any]) -> Binding:
    authorisation_id = document["authorisation_id"]
    return Binding(
        **{
            **document,
            "funder": _person(document["funder"]),
            "bound_at": datetime.fromisoformat(document["bound_at"]),
            "authorisation_id": None if authorisation_id is None else AuthorisationId(UUID(authorisation_id)),
        }
    )


def _person(document: Mapping[str, Any]) -> Person:
    wallet_area = document["wallet_area"]
    return Person(
        **{
            **document,
            "psn_no": PsnNo(document["psn_no"]),
            "area": AdmDvs(document["area"]),
            "wallet_area": None if wallet_area is None else AdmDvs(wallet_area),
        }
    )


def _used_of(policies: PolicySet, area: AdmDvs, visit: Visit) -> dict[str, Any]:
    """What is read of an area's policy, as a layer states it."""
    policy = policies.for_area(area)
    used = {name: plain(getattr(policy, name)) for name in _USED}
    if area != visit.patient.area:
        return used
    match policy.benefit:
        case ExternalBenefit():
            return used
        case OpenBenefit() as still_open:
            return used | {"benefit": "table"} | {name: plain(getattr(still_open, name)) for name in _OPEN}
        case BenefitTable():
            return used | {"benefit": "table", "benefit_table": [_written_row(policy.benefit, visit)]}
        case _:
            assert_never(policy.benefit)


def _written_row(table: BenefitTable, visit: Visit) -> dict[str, Any]:
    """The one row that applies, as a file writes it."""
    if visit.case is None:
        raise AssertionError("a table computed a bill without its case")
    row = row_of(table, insutype=visit.patient.insutype, case=visit.case)
    stated = {name: plain(getattr(row, name)) for name in _ROW}
    stated |= {"med_types": [row.med_type], "levels": [row.level.value]}
    if row.insutype is Insutype.EMPLOYEE:
        stated["retired"] = row.retired
    if row.pool:
        stated["pool"] = row.pool
    return stated
