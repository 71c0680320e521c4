"""Region policy: look-up parameter by parameter, and a named refusal for whatever a policy may not say."""

from __future__ import annotations

from datetime import time
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from kernel.failures import Failure, Kind
from kernel.policy import (
    ExternalBenefit,
    FunderOrder,
    OpenBenefit,
    Part,
    PolicySet,
    RegionPolicy,
)

SHIPPED: Final = Path(__file__).resolve().parents[3] / "policies"


def refusal(layers: object, **extra: Any) -> tuple[str, str]:  # noqa: ANN401  Whatever PolicySet.of takes.
    """The reason and the field with which these layers are refused."""
    with pytest.raises(Failure) as refused:
        PolicySet.of(layers, **extra)
    assert refused.value.kind is Kind.INVALID
    return refused.value.reason, refused.value.metadata["field"]


def test_an_area_without_a_layer_has_the_built_in_defaults() -> None:
    """Where no layer says anything, the default column of domain §7 stands."""
    assert PolicySet.of({}).for_area("440100") == RegionPolicy()


def test_each_parameter_is_looked_up_on_its_own() -> None:
    """An area's own value hides the province's; a parameter the area does not name still comes from the province."""
    policies = PolicySet.of(
        {
            "default": {"funder_order": "BALANCE_DESC", "max_members": 9, "funder_floor_balance": 1},
            "650000": {"max_members": 5, "funder_floor_balance": 2},
            "650100": {"funder_floor_balance": 3},
        }
    )
    found = {
        area: (policy.funder_order, policy.max_members, policy.funder_floor_balance)
        for area, policy in ((area, policies.for_area(area)) for area in ("650100", "650500", "620100"))
    }
    assert found == {
        "650100": (FunderOrder.BALANCE_DESC, 5, 3),
        "650500": (FunderOrder.BALANCE_DESC, 5, 2),
        "620100": (FunderOrder.BALANCE_DESC, 9, 1),
    }


def test_null_in_an_area_hides_the_provinces_value() -> None:
    """A cap of null is a value of its own, not an absent one."""
    policies = PolicySet.of({"650000": {"single_pay_ratio_cap": "0.5"}, "650100": {"single_pay_ratio_cap": None}})
    assert policies.for_area("650100").single_pay_ratio_cap is None
    assert policies.for_area("650500").single_pay_ratio_cap == Decimal("0.5")


def test_the_numbers_of_a_benefit_table_are_looked_up_one_by_one() -> None:
    """The ratio may be the province's while the deductible is the city's."""
    policies = PolicySet.of(
        {"650000": {"benefit": "table", "ratio": "0.8", "deductible_fen": 100}, "650100": {"deductible_fen": 200}}
    )
    assert policies.for_area("650100").benefit == OpenBenefit(200, Decimal("0.8"), None)
    assert policies.for_area("620100").benefit == ExternalBenefit()


def test_the_limits_of_a_wallet_are_looked_up_one_by_one() -> None:
    """A city that changes one limit keeps the others."""
    limits = PolicySet.of({"650100": {"wallet_limits": {"per_day": 1}}}).for_area("650100").wallet_limits
    assert (limits.per_day, limits.each_fen, limits.closed_from) == (1, 200_000, time(22))


def test_a_preset_lies_above_every_area() -> None:
    """What a preset names holds everywhere, what it does not name stays the area's."""
    policies = PolicySet.of({"650100": {"wallet": True, "max_members": 7}}, preset={"wallet": False})
    assert (policies.for_area("650100").wallet, policies.for_area("650100").max_members) == (False, 7)


def test_the_order_of_own_parts_is_kept_and_a_part_may_be_left_out() -> None:
    """`own_order` is a sequence: [current] means that past years are not used."""
    policies = PolicySet.of({"650100": {"own_order": ["current"]}, "650200": {"own_order": ["current", "past"]}})
    assert policies.for_area("650100").own_order == (Part.CURRENT,)
    assert policies.for_area("650200").own_order == (Part.CURRENT, Part.PAST)


def test_equal_content_has_one_version_and_other_content_another() -> None:
    """The version is a digest of what is meant, not of how it is written."""
    one = PolicySet.of({"650000": {"ratio": "0.70", "shareable_parts": ["past", "current"]}, "620000": {}})
    same = PolicySet.of({"620000": {}, "650000": {"shareable_parts": ["current", "past"], "ratio": "0.7"}})
    other = PolicySet.of({"620000": {}, "650000": {"shareable_parts": ["current", "past"], "ratio": "0.71"}})
    reordered = PolicySet.of({"650000": {"own_order": ["current", "past"]}})
    assert one.version == same.version
    assert len({one.version, other.version, reordered.version, PolicySet.of({}).version}) == 4


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("unknown_key", 1, "POLICY_KEY_UNKNOWN"),
        ("preset", "intra-province-strict", "POLICY_KEY_UNKNOWN"),
        ("funder_floor_balance", -1, "POLICY_VALUE_OUT_OF_RANGE"),
        ("funder_floor_balance", 10**16, "POLICY_VALUE_OUT_OF_RANGE"),
        ("funder_floor_balance", 1.0, "POLICY_VALUE_WRONG_TYPE"),
        ("funder_floor_balance", True, "POLICY_VALUE_WRONG_TYPE"),
        ("funder_floor_balance", None, "POLICY_VALUE_WRONG_TYPE"),
        ("funder_floor_balance", "0", "POLICY_VALUE_WRONG_TYPE"),
        ("single_pay_ratio_cap", 0.7, "POLICY_VALUE_WRONG_TYPE"),
        ("single_pay_ratio_cap", 1, "POLICY_VALUE_WRONG_TYPE"),
        ("single_pay_ratio_cap", "1.01", "RATIO_OUT_OF_RANGE"),
        ("single_pay_ratio_cap", "-0.1", "RATIO_OUT_OF_RANGE"),
        ("single_pay_ratio_cap", "7e-1", "RATIO_OUT_OF_RANGE"),
        ("single_pay_ratio_cap", "NaN", "RATIO_OUT_OF_RANGE"),
        ("single_pay_ratio_cap", "", "RATIO_OUT_OF_RANGE"),
        ("ratio", None, "POLICY_VALUE_WRONG_TYPE"),
        ("ratio", "2", "RATIO_OUT_OF_RANGE"),
        ("wallet", "true", "POLICY_VALUE_WRONG_TYPE"),
        ("wallet", 1, "POLICY_VALUE_WRONG_TYPE"),
        ("benefit", "internal", "POLICY_VALUE_OUT_OF_RANGE"),
        ("benefit", {"ratio": "0.5"}, "POLICY_VALUE_WRONG_TYPE"),
        ("benefit", ["table"], "POLICY_VALUE_WRONG_TYPE"),
        ("funder_order", "explicit", "POLICY_VALUE_OUT_OF_RANGE"),
        ("funder_order", ["EXPLICIT"], "POLICY_VALUE_WRONG_TYPE"),
        ("premium_payment", "maybe", "POLICY_VALUE_WRONG_TYPE"),
        ("premium_payment", 1, "POLICY_VALUE_WRONG_TYPE"),
        ("revoke_window", "for_ever", "POLICY_VALUE_OUT_OF_RANGE"),
        ("consent_age", 7, "POLICY_VALUE_OUT_OF_RANGE"),
        ("consent_age", 19, "POLICY_VALUE_OUT_OF_RANGE"),
        ("max_members", 1, "POLICY_VALUE_OUT_OF_RANGE"),
        ("max_funders_per_beneficiary", 0, "POLICY_VALUE_OUT_OF_RANGE"),
        ("rebind_per_year", -1, "POLICY_VALUE_OUT_OF_RANGE"),
        ("own_order", "past", "POLICY_VALUE_WRONG_TYPE"),
        ("own_order", {"past": 1}, "POLICY_VALUE_WRONG_TYPE"),
        ("wallet_limits", [], "POLICY_VALUE_WRONG_TYPE"),
    ],
)
def test_a_wrong_value_is_refused_by_name(key: str, value: object, reason: str) -> None:
    """Unknown, of another type, out of range: each is its own reason, with the field's path."""
    assert refusal({"650000": {key: value}}) == (reason, f"policies.650000.{key}")


@pytest.mark.parametrize(
    ("layer", "reason", "path"),
    [
        ({"own_order": ["past", "past"]}, "POLICY_CONTRADICTORY", "own_order[1]"),
        ({"own_order": ["past", "next"]}, "POLICY_VALUE_OUT_OF_RANGE", "own_order[1]"),
        ({"shareable_parts": ["past", None]}, "POLICY_VALUE_WRONG_TYPE", "shareable_parts[1]"),
        ({"mutual_aid_kinds": ["COPAY", "COPAY"]}, "POLICY_CONTRADICTORY", "mutual_aid_kinds[1]"),
        ({"relations": ["SPOUSE", "PARENT_IN_LAW"]}, "POLICY_VALUE_OUT_OF_RANGE", "relations[1]"),
        ({"wallet_limits": {"per_week": 3}}, "POLICY_KEY_UNKNOWN", "wallet_limits.per_week"),
        ({"wallet_limits": {"closed_from": "24:00"}}, "POLICY_VALUE_OUT_OF_RANGE", "wallet_limits.closed_from"),
        ({"wallet_limits": {"closed_from": 1320}}, "POLICY_VALUE_WRONG_TYPE", "wallet_limits.closed_from"),
        ({"wallet_limits": {"closed_from": "06:00"}}, "POLICY_CONTRADICTORY", "wallet_limits.closed_to"),
        ({"wallet": False, "wallet_limits": {"per_day": 3}}, "POLICY_CONTRADICTORY", "wallet_limits"),
        ({"benefit": "external", "ratio": "0.7"}, "POLICY_CONTRADICTORY", "ratio"),
        ({"benefit": "external", "ceiling_left_fen": 5}, "POLICY_CONTRADICTORY", "ceiling_left_fen"),
        ({"max_members": 3, "max_funders_per_beneficiary": 4}, "POLICY_CONTRADICTORY", "max_funders_per_beneficiary"),
        ({1: 2}, "POLICY_VALUE_WRONG_TYPE", "1"),
    ],
)
def test_a_contradiction_is_refused_where_it_stands(layer: dict[object, object], reason: str, path: str) -> None:
    """Values that cannot be meant together, and wrong items inside a list or a mapping, name their own path."""
    assert refusal({"650000": layer}) == (reason, f"policies.650000.{path}")


def test_a_contradiction_across_layers_is_found() -> None:
    """A city's limit of funders may contradict its province's limit of members."""
    layers = {"650000": {"max_members": 3}, "650100": {"max_funders_per_beneficiary": 4}}
    assert refusal(layers) == ("POLICY_CONTRADICTORY", "policies.650100.max_funders_per_beneficiary")


def test_the_default_column_may_be_spelled_out() -> None:
    """`benefit: external` beside the neutral numbers of a table says nothing twice and is accepted."""
    layer = {"benefit": "external", "deductible_fen": 0, "ratio": "0", "ceiling_left_fen": None}
    assert PolicySet.of({"650000": layer}).for_area("650100").benefit == ExternalBenefit()


@pytest.mark.parametrize(
    ("area", "reason"),
    [
        ("65", "AREA_MALFORMED"),
        ("6501001", "AREA_MALFORMED"),
        ("065010", "AREA_MALFORMED"),
        ("xinjia", "AREA_MALFORMED"),
        ("６５０１００", "AREA_MALFORMED"),
        ("990000", "POLICY_AREA_UNKNOWN"),
        ("100000", "POLICY_AREA_UNKNOWN"),
    ],
)
def test_an_unknown_area_is_refused(area: str, reason: str) -> None:
    """A layer for an area that cannot exist, and a question about one, are refused."""
    assert refusal({area: {}}) == (reason, f"policies.{area}")
    with pytest.raises(Failure, match=reason):
        PolicySet.of({}).for_area(area)


@pytest.mark.parametrize("layers", [None, [], "650000", {650000: {}}, {"650000": None}, {"650000": []}])
def test_layers_of_another_shape_are_refused(layers: object) -> None:
    """Policies are a mapping from area text to a mapping of parameters, nothing else."""
    assert refusal(layers)[0] == "POLICY_VALUE_WRONG_TYPE"


def test_a_wrong_preset_is_refused() -> None:
    """A preset is a layer like any other."""
    assert refusal({}, preset={"ratio": 1}) == ("POLICY_VALUE_WRONG_TYPE", "policies.preset.ratio")
