"""What holds for every family and every bill."""

from __future__ import annotations

import copy
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernel.money import AMOUNT_MAX_FEN
from kernel.policy import COST_KINDS, Part
from ops.scenario import parsed_scenario
from services.settlement.domain.split import Role
from tests.unit.split.contents import FUNDERS, PATIENT, any_content, binding, content, person, plan_of, split_of
from tests.unit.split.oracle import can_give, expected_plan, in_order

THOROUGH = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@THOROUGH
@given(any_content())
def test_the_split_agrees_with_moving_fen_by_fen(stated: dict[str, Any]) -> None:
    """The split equals that of an oracle that knows only single fen."""
    assert plan_of(stated) == expected_plan(stated)


@QUICK
@given(any_content())
def test_no_fen_is_lost_or_made(stated: dict[str, Any]) -> None:
    """Kinds, sources and cash each add up to psn_part_amt, also kind by kind; the whole bill is accounted for."""
    found = split_of(stated)
    sources = (found.own, found.wallet, *found.funders)
    for kind in COST_KINDS:
        paid = sum(source.by_kind[kind] for source in sources)
        assert paid + found.cash_by_kind[kind] == found.burden.by_kind[kind]
        assert found.cash_by_kind[kind] >= 0
    assert sum(found.burden.by_kind.values()) == found.burden.psn_part_amt
    assert sum(found.cash_by_kind.values()) == found.psn_cash_pay
    assert all(source.past_fen + source.current_fen == source.amount_fen for source in sources)
    assert stated["visit"]["medfee_sumamt"] == (
        found.burden.fund_pay_sumamt
        + found.burden.hosp_part_amt
        + found.own.amount_fen
        + found.wallet_pay
        + found.acct_mulaid_pay
        + found.psn_cash_pay
    )


@QUICK
@given(any_content())
def test_no_source_gives_more_than_it_may(stated: dict[str, Any]) -> None:
    """Balances, floors, authorised amounts, kinds, parts and the cap all hold, whoever pays."""
    found = split_of(stated)
    scenario = parsed_scenario(stated)
    visit = scenario.visit
    home = scenario.policies.for_area(visit.patient.area)
    cap = scenario.policies.for_area(visit.area).single_pay_ratio_cap
    assert found.own.past_fen <= visit.patient.past_fen
    assert found.own.current_fen <= visit.patient.current_fen
    assert found.wallet_pay <= visit.patient.wallet_fen
    assert {piece.kind for piece in found.own.slices} <= home.own_account_kinds
    assert len({funder.psn_no for funder in found.funders}) == len(found.funders)
    for given_by in found.funders:
        theirs = [item for item in visit.bindings if item.funder.psn_no == given_by.psn_no]
        latest = max(theirs, key=lambda item: item.bound_at)
        policy = scenario.policies.for_area(latest.funder.area)
        shareable = {Part.PAST: latest.funder.past_fen, Part.CURRENT: latest.funder.current_fen}
        left = sum(fen for part, fen in shareable.items() if part in policy.shareable_parts) - given_by.amount_fen
        assert given_by.role is Role.FUNDER
        assert given_by.amount_fen > 0
        assert left >= policy.funder_floor_balance == given_by.floor_fen
        assert {piece.part for piece in given_by.slices} <= policy.shareable_parts == given_by.floor_parts
        assert {piece.kind for piece in given_by.slices} <= home.mutual_aid_kinds
        assert given_by.past_fen <= latest.funder.past_fen
        assert given_by.current_fen == 0 or given_by.past_fen == shareable[Part.PAST] * (
            Part.PAST in policy.shareable_parts
        )
    if cap is not None:
        base = stated["visit"]["medfee_sumamt"] - stated["visit"]["fulamt_ownpay_amt"]
        assert Fraction(found.acct_mulaid_pay) <= Fraction(cap) * base


@QUICK
@given(any_content(), st.sampled_from([PATIENT, *FUNDERS]), st.sampled_from(["past", "current"]), st.integers(1, 20))
def test_more_money_never_means_more_cash(stated: dict[str, Any], psn: str, part: str, more: int) -> None:
    """Whoever gets richer, in whatever part, the patient pays no more in cash."""
    richer = copy.deepcopy(stated)
    next(item for item in richer["persons"] if item["psn"] == psn)[part] += more
    assert plan_of(richer)["psn_cash_pay"] <= plan_of(stated)["psn_cash_pay"]


@QUICK
@given(any_content())
def test_a_funder_is_asked_only_after_those_before_gave_all_they_can(stated: dict[str, Any]) -> None:
    """Every funder but the last one that pays has given everything it can give."""
    found = split_of(stated)
    patient = stated["persons"][0]
    most = {funder["psn"]: can_give(stated, funder, item) for funder, item in in_order(stated, patient)}
    for exhausted in found.funders[:-1]:
        assert exhausted.amount_fen == most[exhausted.psn_no]


@QUICK
@given(any_content())
def test_bindings_of_others_and_the_order_of_listing_change_nothing(stated: dict[str, Any]) -> None:
    """Only the patient's own bindings count, and of two pairs it does not matter which the file names first."""
    stated["bindings"] = list({item["funder"]: item for item in stated["bindings"]}.values())
    shuffled = copy.deepcopy(stated)
    shuffled["bindings"].reverse()
    shuffled["bindings"].append(binding(FUNDERS[0], beneficiary=FUNDERS[1], bound_at="2026-12-31T00:00:00+08:00"))
    assert plan_of(shuffled) == plan_of(stated)


@QUICK
@given(
    st.integers(0, AMOUNT_MAX_FEN),
    st.integers(0, AMOUNT_MAX_FEN),
    st.decimals(0, 1, places=10, allow_nan=False),
    st.integers(0, AMOUNT_MAX_FEN),
)
def test_huge_bills_are_exact(scope_fen: int, deductible_fen: int, ratio: Decimal, own_fen: int) -> None:
    """Up to N16,2 nothing is rounded but the pooled part, half up, once."""
    layer = {"benefit": "table", "deductible_fen": deductible_fen, "ratio": format(ratio, "f")}
    patient = person(PATIENT, past=own_fen)
    plan = plan_of(content(patient, policies={"650000": layer}, inscp_scp_amt=scope_fen))
    above = max(scope_fen - deductible_fen, 0)
    assert plan["hifp_pay"] == int(Fraction(ratio) * above + Fraction(1, 2))
    assert plan["psn_cash_pay"] == max(scope_fen - plan["hifp_pay"] - own_fen, 0)
