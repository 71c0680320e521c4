"""Scenario contents for tests: one plain family, and any family at all."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Final

from hypothesis import strategies as st

from kernel.policy import PolicySet
from ops.plan import plan_as_json
from ops.scenario import parsed_scenario
from services.identity.domain.certificate import check_character
from services.settlement.domain.split import Split, split

SCENARIOS: Final = sorted((Path(__file__).resolve().parents[2] / "scenarios").glob("*.yaml"))
PATIENT: Final = "650100000000001"
FUNDERS: Final = ("650100000000002", "650500000000003", "650200000000004", "620100000000005")
KINDS: Final = ("DEDUCTIBLE", "COPAY", "PRESELFPAY", "OVERLIMIT", "FULL_OWN")
PARTS: Final = ("past", "current")
OTHER_FUNDS: Final = ("cvlserv_pay", "hifes_pay", "hifmi_pay", "hifob_pay", "maf_pay", "oth_pay")


def certificate(number: int) -> str:
    """A certificate number that nobody else in the test has, with its checksum."""
    first = f"65010319850312{number:03d}"
    return first + check_character(first)


def person(psn: str, **extra: Any) -> dict[str, Any]:  # noqa: ANN401  Any field of a person.
    """A normally insured employee without money."""
    return {
        "psn": psn,
        "name": f"人{psn[-1]}",
        "certno": certificate(int(psn[-2:])),
        "insutype": "310",
        "area": psn[:6],
        "past": 0,
        "current": 0,
    } | extra


def binding(funder: str, **extra: Any) -> dict[str, Any]:  # noqa: ANN401  Any field of a binding.
    """An unlimited binding for the patient."""
    return {
        "funder": funder,
        "beneficiary": PATIENT,
        "authorized": None,
        "order": 1,
        "bound_at": "2026-01-05T10:00:00+08:00",
        "relation": "SPOUSE",
    } | extra


def bill(**amounts: int) -> dict[str, int]:
    """Bill amounts with the total that adds up, unless it is given."""
    parts = {"fulamt_ownpay_amt": 0, "overlmt_selfpay": 0, "preselfpay_amt": 0, "inscp_scp_amt": 0} | amounts
    total = sum(parts[key] for key in ("fulamt_ownpay_amt", "overlmt_selfpay", "preselfpay_amt", "inscp_scp_amt"))
    return {"medfee_sumamt": total} | parts


def content(
    *people: dict[str, Any],
    bindings: list[dict[str, Any]] | None = None,
    policies: dict[str, Any] | None = None,
    area: str = "650100",
    wallet_capable: bool = True,
    **amounts: int,
) -> dict[str, Any]:
    """A scenario's content; the first person is the patient."""
    return copy.deepcopy(
        {
            "policies": policies or {},
            "persons": list(people),
            "bindings": bindings or [],
            "visit": {
                "patient": people[0]["psn"],
                "area": area,
                "fixmedins_code": "H65010000017",
                "med_type": "11",
                "wallet_capable": wallet_capable,
                **bill(**amounts),
            },
        }
    )


def split_of(stated: dict[str, Any]) -> Split:
    """The split of a scenario's content."""
    scenario = parsed_scenario(stated)
    assert isinstance(scenario.policies, PolicySet)
    return split(scenario.visit, scenario.policies)


def plan_of(stated: dict[str, Any]) -> dict[str, Any]:
    """The plan of a scenario's content, as `gongji plan --json` has it."""
    return plan_as_json(split_of(stated))


_small = st.integers(0, 40)
_ratio = st.sampled_from(["0", "0.1", "0.3333", "0.5", "0.725", "0.9", "1"])


def _some(values: tuple[str, ...]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), unique=True, max_size=len(values))


LAYERS: Final[st.SearchStrategy[dict[str, Any]]] = st.fixed_dictionaries(
    {},
    optional={
        "funder_floor_balance": _small,
        "single_pay_ratio_cap": st.none() | _ratio,
        "own_order": _some(PARTS),
        "shareable_parts": _some(PARTS),
        "mutual_aid_kinds": _some(KINDS),
        "own_account_kinds": _some(KINDS),
        "funder_order": st.sampled_from(["EXPLICIT", "BIND_TIME", "BALANCE_DESC"]),
        "wallet": st.booleans(),
        "mulaid_included_in_acct_pay": st.booleans(),
    },
)
TABLES: Final[st.SearchStrategy[dict[str, Any]]] = st.fixed_dictionaries(
    {"benefit": st.just("table")},
    optional={"deductible_fen": _small, "ratio": _ratio, "ceiling_left_fen": st.none() | _small},
)
PEOPLE: Final[st.SearchStrategy[dict[str, Any]]] = st.fixed_dictionaries(
    {"past": _small, "current": _small},
    optional={
        "insutype": st.sampled_from(["310", "310", "390"]),
        "area": st.sampled_from(["650100", "650500", "650200", "620100"]),
        "frozen": st.booleans(),
        "sanctioned": st.booleans(),
        "stas": st.sampled_from(["1", "1", "2", "4"]),
    },
)
BINDINGS: Final[st.SearchStrategy[dict[str, Any]]] = st.fixed_dictionaries(
    {
        "funder": st.sampled_from(FUNDERS),
        "authorized": st.none() | _small,
        "bound_at": st.integers(1, 4).map("2026-01-0{}T10:00:00+08:00".format),
    },
    optional={
        "used": _small,
        "per_payment": st.none() | st.integers(1, 60),
        "per_month": st.none() | st.integers(1, 60),
        "month_used": _small,
        "order": st.none() | st.integers(1, 3),
        "unbound": st.sampled_from([False, False, True]),
        "beneficiary": st.just(PATIENT),
    },
)


@st.composite
def any_content(draw: st.DrawFn) -> dict[str, Any]:
    """Any family with a bill that can be planned: small amounts, everything else free."""
    areas = ("650000", "650100", "650500", "620000", "620100")
    policies = {area: draw(LAYERS) for area in draw(st.lists(st.sampled_from(areas), unique=True, max_size=4))}
    table = draw(st.booleans())
    if table:
        policies.setdefault(draw(st.sampled_from(["650000", "650100"])), {}).update(draw(TABLES))
    amounts = {key: draw(_small) for key in ("fulamt_ownpay_amt", "overlmt_selfpay", "preselfpay_amt", "inscp_scp_amt")}
    stated = bill(**amounts)
    if not table:
        stated["act_pay_dedc"] = draw(st.integers(0, stated["inscp_scp_amt"]))
        stated["hifp_pay"] = draw(st.integers(0, stated["inscp_scp_amt"] - stated["act_pay_dedc"]))
        left = stated["medfee_sumamt"] - stated["hifp_pay"]
        for key in draw(st.lists(st.sampled_from((*OTHER_FUNDS, "hosp_part_amt")), unique=True, max_size=3)):
            stated[key] = draw(st.integers(0, left))
            left -= stated[key]
    patient = person(PATIENT, wallet=draw(_small), past=draw(_small), current=draw(_small), frozen=draw(st.booleans()))
    patient["insutype"] = draw(st.sampled_from(["310", "310", "390"]))
    others = [person(psn) | draw(PEOPLE) for psn in FUNDERS]
    found = content(patient, *others, policies=policies, area=draw(st.sampled_from(["650100", "650500", "620100"])))
    found["bindings"] = [binding("", order=None) | draw(BINDINGS) for _ in range(draw(st.integers(0, 6)))]
    found["visit"] |= stated | {"wallet_capable": draw(st.booleans())}
    return found
