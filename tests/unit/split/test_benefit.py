"""What pays above the ceiling, which case a live bill is, and that a plan's inputs give its figures again."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernel.failures import Failure
from kernel.ids import FixmedinsCode
from kernel.policy import CareLevel, LargeFund, OpenBenefit, OpenLarge, PolicySet, YearSoFar
from ops.scenario import parsed_scenario
from services.settlement.domain.benefit_case import case_of, use_of
from services.settlement.domain.bill import Bill, burden_of
from services.settlement.domain.plan_inputs import inputs_of, policies_in, visit_in
from services.settlement.domain.split import BenefitCase, split
from tests.unit.split.contents import any_content, content, person

QUICK: Final = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NOW: Final = datetime(2026, 7, 1, tzinfo=UTC)
HOSPITAL, PHARMACY = FixmedinsCode("H65010000001"), FixmedinsCode("P65010000001")
ROWS: Final = [
    {
        "insutype": "310",
        "med_types": ["11"],
        "levels": ["TWO", "PHARMACY"],
        "retired": retired,
        "deductible_fen": 10_000,
        "ratio": ratio,
        "ceiling_fen": 30_000,
        "pool": "clinic",
        "large": {"ratio": "0.8", "ceiling_fen": 5_000},
    }
    for retired, ratio in ((False, "0.5"), (True, "0.6"))
]
AT_HOME: Final = PolicySet.of({"650500": {"benefit": "table", "benefit_table": ROWS}}).for_area("650500")


def large(ratio: str, left_fen: int | None, fund: LargeFund = LargeFund.EMPLOYEES) -> OpenLarge:
    """A tier above the ceiling."""
    return OpenLarge(fund, Decimal(ratio), left_fen)


@pytest.mark.parametrize(
    ("scope_fen", "ratio", "ceiling_fen", "tier", "paid"),
    [
        (10_000, "0.5", 5_000, large("0.8", None), (5_000, 0)),  # Just at the ceiling: nothing is above it.
        (10_001, "0.5", 5_000, large("0.8", None), (5_000, 1)),  # 1 fen above, 0.8 of it rounded.
        (20_000, "0.5", 5_000, large("0.8", None), (5_000, 8_000)),
        (20_000, "0.5", 5_000, large("0.8", 7_999), (5_000, 7_999)),
        (20_000, "0.5", 0, large("0.8", None), (0, 16_000)),  # The fund is used up: all of it is above.
        (20_000, "0.3", 1, large("1", None), (1, 19_997)),  # 1 fen of the fund is 3 fen of costs.
        (20_000, "0", 0, large("0.8", None), (0, 0)),  # The fund pays nothing of it, so no ceiling cut it.
    ],
)
def test_what_is_above_the_ceiling_is_paid_by_the_tier(
    scope_fen: int, ratio: str, ceiling_fen: int, tier: OpenLarge, paid: tuple[int, int]
) -> None:
    """(hifp_pay, hifob_pay) of a bill of costs in scope; what the request said of hifob_pay does not count."""
    benefit = OpenBenefit(0, Decimal(ratio), ceiling_fen, tier)
    burden = burden_of(Bill(scope_fen, 0, 0, 0, scope_fen, hifob_pay=9, hifmi_pay=0), benefit)
    assert (burden.hifp_pay, burden.hifob_pay) == paid
    assert burden.psn_part_amt == scope_fen - sum(paid)


def test_a_residents_tier_is_the_other_fund() -> None:
    """大病 is told in hifmi_pay; hifob_pay stays what the request says."""
    benefit = OpenBenefit(0, Decimal("0.5"), 100, large("0.5", None, LargeFund.RESIDENTS))
    burden = burden_of(Bill(1_000, 0, 0, 0, 1_000, hifob_pay=7, hifmi_pay=3), benefit)
    assert (burden.hifp_pay, burden.hifmi_pay, burden.hifob_pay) == (100, 400, 7)


@given(
    st.integers(0, 10**9),
    st.integers(0, 10**6),
    st.decimals(0, 1, places=4),
    st.integers(0, 10**9),
    st.decimals(0, 1, places=4),
    st.none() | st.integers(0, 10**9),
)
def test_no_tier_pays_what_is_not_above_nor_more_than_it_has(
    scope_fen: int, deductible_fen: int, ratio: Decimal, ceiling_fen: int, above: Decimal, left_fen: int | None
) -> None:
    """Within half a fen of its ratio of the costs above the ceiling, cut to its year; the burden stays whole."""
    burden = burden_of(
        Bill(scope_fen, 0, 0, 0, scope_fen),
        OpenBenefit(deductible_fen, ratio, ceiling_fen, OpenLarge(LargeFund.EMPLOYEES, above, left_fen)),
    )
    assert sum(burden.by_kind.values()) == burden.psn_part_amt == scope_fen - burden.hifp_pay - burden.hifob_pay
    assert left_fen is None or burden.hifob_pay <= left_fen
    if burden.hifob_pay:
        assert burden.hifp_pay == ceiling_fen
        rest = scope_fen - burden.act_pay_dedc - Fraction(ceiling_fen) / Fraction(ratio)
        assert burden.hifob_pay <= Fraction(above) * rest + 1


def case(**changes: Any) -> BenefitCase | None:  # noqa: ANN401  Any argument.
    """The case of a working patient at a hospital of the second level."""
    asked: dict[str, Any] = {
        "insutype": "310",
        "psn_type": "11",
        "fixmedins_code": HOSPITAL,
        "level": CareLevel.TWO,
        "med_type": "11",
        "used": {("310", "clinic"): YearSoFar(1, 2, 3), ("310", ""): YearSoFar(9, 9, 9)},
    }
    return case_of(AT_HOME, **(asked | changes))


@pytest.mark.parametrize(
    ("changes", "retired", "level"),
    [
        ({}, False, CareLevel.TWO),
        ({"psn_type": "1101"}, False, CareLevel.TWO),
        ({"psn_type": "12"}, True, CareLevel.TWO),
        ({"psn_type": "13"}, True, CareLevel.TWO),
        ({"fixmedins_code": PHARMACY, "level": None}, False, CareLevel.PHARMACY),
    ],
)
def test_a_live_bill_finds_its_row_and_the_year_of_its_pool(
    changes: dict[str, Any],
    retired: bool,  # noqa: FBT001  A case of the table.
    level: CareLevel,
) -> None:
    """By psn_type and level; a pharmacy is a level of its own."""
    assert case(**changes) == BenefitCase("11", level, retired, YearSoFar(1, 2, 3), "clinic")


@pytest.mark.parametrize(
    ("changes", "reason", "missing"),
    [
        ({"level": None}, "BENEFIT_CASE_UNKNOWN", "level"),
        ({"psn_type": ""}, "BENEFIT_CASE_UNKNOWN", "psn_type"),
        ({"level": CareLevel.THREE}, "BENEFIT_ROW_MISSING", None),
        ({"insutype": "390", "psn_type": ""}, "BENEFIT_ROW_MISSING", None),
    ],
)
def test_what_is_not_known_of_a_case_is_refused_by_name(
    changes: dict[str, Any], reason: str, missing: str | None
) -> None:
    """Nothing is guessed; a resident is not asked whether he is retired."""
    with pytest.raises(Failure) as refused:
        case(**changes)
    assert (refused.value.reason, refused.value.metadata.get("missing")) == (reason, missing)


@pytest.mark.parametrize(("insutype", "large_fen"), [("310", 4), ("390", 3)])
def test_a_settlement_uses_the_tier_of_its_own_insutype(insutype: str, large_fen: int) -> None:
    """hifob_pay of an employee, hifmi_pay of a resident; nothing at all is no use."""
    use = use_of(insutype=insutype, pool="p", act_pay_dedc=1, hifp_pay=2, hifmi_pay=3, hifob_pay=4)
    assert use is not None
    assert (use.insutype, use.pool, use.deductible_fen, use.fund_fen, use.large_fen) == (insutype, "p", 1, 2, large_fen)
    assert use_of(insutype=insutype, pool="p", act_pay_dedc=0, hifp_pay=0, hifmi_pay=0, hifob_pay=0) is None


@QUICK
@given(any_content())
def test_the_inputs_of_any_plan_give_its_figures_again(stated: dict[str, Any]) -> None:
    """Written as JSON and read back, visit and policies split to the very same; only the version is the files' own."""
    scenario = parsed_scenario(stated)
    inputs = json.loads(json.dumps(inputs_of(scenario.visit, scenario.policies, made_at=NOW)))
    assert visit_in(inputs) == scenario.visit
    again = split(visit_in(inputs), policies_in(inputs))
    told = split(scenario.visit, scenario.policies)
    assert replace(again, policy_version="") == replace(told, policy_version="")
    assert inputs["policy_version"] == told.policy_version


def test_of_a_table_the_one_row_is_kept_with_the_year() -> None:
    """The inputs of a bill that a table computed hold its row, its pool and what the year had used; no other row."""
    stated = content(person("650100000000001", area="650500", past=100))
    stated["policies"] = {"650500": {"benefit": "table", "benefit_table": ROWS}}
    scenario = parsed_scenario(stated)
    visit = replace(scenario.visit, case=case(psn_type="12"))
    inputs = json.loads(json.dumps(inputs_of(visit, scenario.policies, made_at=NOW)))
    (row,) = inputs["policies"]["650500"]["benefit_table"]
    assert (row["ratio"], row["pool"], row["retired"]) == ("0.6", "clinic", True)
    assert inputs["case"]["year"] == {"deductible_fen": 1, "fund_fen": 2, "large_fen": 3}
    assert split(visit_in(inputs), policies_in(inputs)).burden == split(visit, scenario.policies).burden
