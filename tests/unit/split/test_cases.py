"""The corners of the split, one sentence each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import pytest

from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, AuthorisationId
from kernel.policy import CostKind, Part, PolicySet
from ops.scenario import parsed_scenario
from services.settlement.domain.split import Binding, Role, SkipReason, Slice, split
from tests.unit.split.contents import FUNDERS, PATIENT, binding, content, person, plan_of, split_of

WIFE, SON, SISTER, FATHER = FUNDERS
"""Insured in 650100, 650500, 650200; the father in another province."""
EARLY, LATE = "2026-01-01T08:00:00+08:00", "2026-02-01T08:00:00+08:00"


def paid(plan: dict[str, object]) -> list[tuple[str, int]]:
    """Who paid how much, in order."""
    funders = plan["funders"]
    assert isinstance(funders, list)
    return [(item["psn"], item["past"] + item["current"]) for item in funders]


def test_only_the_latest_binding_of_a_pair_counts() -> None:
    """An older binding without limit does not help when a later one has a limit, wherever the file names it."""
    bindings = [binding(WIFE, bound_at=LATE, authorized=30), binding(WIFE, bound_at=EARLY)]
    plan = plan_of(content(person(PATIENT), person(WIFE, past=500), bindings=bindings, inscp_scp_amt=100))
    assert paid(plan) == [(WIFE, 30)]


def test_the_latest_binding_counts_also_when_it_was_ended() -> None:
    """A pair whose latest binding was ended is UNBOUND, once, though an older one was never ended."""
    bindings = [binding(WIFE, bound_at=EARLY), binding(WIFE, bound_at=LATE, unbound=True)]
    plan = plan_of(content(person(PATIENT), person(WIFE, past=500), bindings=bindings, inscp_scp_amt=100))
    assert (plan["funders"], plan["skipped"]) == ([], [{"psn": WIFE, "reason": "UNBOUND"}])


def test_a_binding_made_anew_after_an_ended_one_pays() -> None:
    """The ended one is history: it stands in neither list."""
    bindings = [binding(WIFE, bound_at=EARLY, unbound=True), binding(WIFE, bound_at=LATE)]
    plan = plan_of(content(person(PATIENT), person(WIFE, past=500), bindings=bindings, inscp_scp_amt=100))
    assert (paid(plan), plan["skipped"]) == ([(WIFE, 100)], [])


def test_instants_are_compared_not_their_text() -> None:
    """09:00 at +08:00 is earlier than 02:00 at UTC, though its text is larger."""
    bindings = [
        binding(WIFE, bound_at="2026-01-05T02:00:00Z", order=None),
        binding(SON, bound_at="2026-01-05T09:00:00+08:00", order=None),
    ]
    people = [person(PATIENT), person(WIFE, past=70), person(SON, past=70)]
    assert paid(plan_of(content(*people, bindings=bindings, inscp_scp_amt=100))) == [(SON, 70), (WIFE, 30)]


@pytest.mark.parametrize(
    ("authorized", "used", "given"),
    [(None, 10**9, 100), (60, 0, 60), (60, 50, 10), (60, 60, 0), (60, 99, 0), (0, 0, 0)],
)
def test_the_authorised_amount_left_limits_a_funder(authorized: int | None, used: int, given: int) -> None:
    """Null has no limit; what is used counts against the rest; more used than authorised leaves nothing, not less."""
    bindings = [binding(WIFE, authorized=authorized, used=used)]
    plan = plan_of(content(person(PATIENT), person(WIFE, past=500), bindings=bindings, inscp_scp_amt=100))
    assert (plan["acct_mulaid_pay"], plan["skipped"]) == (given, [])
    assert len(paid(plan)) == (given > 0)


@pytest.mark.parametrize(
    ("limits", "given"),
    [
        ({"per_payment": 40}, 40),
        ({"per_payment": 100}, 100),
        ({"per_month": 70}, 70),
        ({"per_month": 70, "month_used": 30}, 40),
        ({"per_month": 70, "month_used": 70}, 0),
        ({"per_month": 70, "month_used": 90}, 0),
        ({"month_used": 90}, 100),
        ({"per_payment": 40, "per_month": 70, "month_used": 50, "authorized": 30}, 20),
        ({"per_payment": 40, "per_month": 70, "month_used": 10, "authorized": 80, "used": 45}, 35),
        ({"per_payment": None, "per_month": None}, 100),
    ],
)
def test_the_smallest_of_all_limits_counts(limits: dict[str, int | None], given: int) -> None:
    """Per payment, what is left of the month and what is left of the amount: none of them is ever exceeded."""
    bindings = [binding(WIFE, **limits), binding(SON, order=2)]
    people = [person(PATIENT), person(WIFE, past=500), person(SON, past=500)]
    plan = plan_of(content(*people, bindings=bindings, inscp_scp_amt=100))
    assert paid(plan) == [(psn, fen) for psn, fen in ((WIFE, given), (SON, 100 - given)) if fen]
    assert plan["skipped"] == []


def test_a_funder_for_oneself_is_refused() -> None:
    """The own account cannot pay a second time as a funder's."""
    stated = content(person(PATIENT, past=10), bindings=[binding(PATIENT)], inscp_scp_amt=100)
    with pytest.raises(Failure, match="FUNDER_IS_BENEFICIARY"):
        parsed_scenario(stated)
    scenario = parsed_scenario(content(person(PATIENT, past=10), person(WIFE), bindings=[binding(WIFE)]))
    (bound,) = scenario.visit.bindings
    visit = replace(scenario.visit, bindings=(replace(bound, funder=scenario.visit.patient),))
    with pytest.raises(Failure, match="FUNDER_IS_BENEFICIARY"):
        split(visit, scenario.policies)


def test_a_stated_order_goes_before_a_missing_one_and_ties_go_by_time_then_number() -> None:
    """EXPLICIT = by (order, missing last; bound_at; psn)."""
    people = [person(PATIENT), person(WIFE, past=1), person(SON, past=1), person(SISTER, past=1)]
    bindings = [
        binding(WIFE, order=None, bound_at=EARLY),
        binding(SISTER, order=2, bound_at=LATE),
        binding(SON, order=2, bound_at=LATE),
    ]
    del bindings[0]["order"]
    plan = plan_of(content(*people, bindings=bindings, inscp_scp_amt=100))
    assert [psn for psn, _ in paid(plan)] == [SISTER, SON, WIFE]


def test_the_largest_first_goes_by_what_can_be_given_not_by_the_balance() -> None:
    """BALANCE_DESC looks at the authorised amount and the floor, before the cap."""
    people = [person(PATIENT), person(WIFE, past=900), person(SON, past=50, current=10), person(SISTER, past=100)]
    bindings = [binding(WIFE, authorized=20), binding(SON), binding(SISTER)]
    policies = {"650000": {"funder_order": "BALANCE_DESC"}, "650200": {"funder_floor_balance": 60}}
    plan = plan_of(content(*people, bindings=bindings, policies=policies, inscp_scp_amt=1000))
    assert paid(plan) == [(SON, 60), (SISTER, 40), (WIFE, 20)]


def test_those_left_out_stand_in_the_order_of_deduction() -> None:
    """Under BALANCE_DESC an ineligible funder's place goes by what it could give, were it eligible."""
    people = [
        person(PATIENT),
        person(WIFE, past=10, frozen=True),
        person(SON, past=30, sanctioned=True),
        person(SISTER, past=20, stas="2"),
    ]
    stated = content(*people, policies={"650000": {"funder_order": "BALANCE_DESC"}}, inscp_scp_amt=10)
    stated["bindings"] = [binding(WIFE), binding(SON), binding(SISTER)]
    assert plan_of(stated)["skipped"] == [
        {"psn": SON, "reason": "SANCTIONED"},
        {"psn": SISTER, "reason": "NOT_INSURED"},
        {"psn": WIFE, "reason": "FROZEN"},
    ]


def test_the_reasons_are_examined_in_their_order() -> None:
    """Taking away the first reason shows the next, down to AREA_UNREACHABLE, and then nothing is wrong."""
    father = {"past": 50, "insutype": "390", "stas": "4", "frozen": True, "sanctioned": True}
    stated = content(person(PATIENT), person(FATHER, **father), bindings=[binding(FATHER, unbound=True)])
    scenario = parsed_scenario(stated)
    (bound,) = scenario.visit.bindings
    bound = replace(bound, stale=True, funder=replace(bound.funder, reachable=False))
    repairs: list[Callable[[Binding], Binding]] = [
        lambda one: replace(one, stale=False),
        lambda one: replace(one, unbound=False),
        lambda one: replace(one, funder=replace(one.funder, sanctioned=False)),
        lambda one: replace(one, funder=replace(one.funder, insutype="310", psn_insu_stas="1")),
        lambda one: replace(one, funder=replace(one.funder, area=AdmDvs("650500"))),
        lambda one: replace(one, funder=replace(one.funder, frozen=False)),
        lambda one: replace(one, funder=replace(one.funder, reachable=True)),
    ]
    seen = []
    for repair in repairs:
        found = split(replace(scenario.visit, bindings=(bound,)), scenario.policies)
        seen += [skipped.reason for skipped in found.skipped]
        bound = repair(bound)
    assert seen == list(SkipReason)
    assert split(replace(scenario.visit, bindings=(bound,)), scenario.policies).skipped == ()


def test_the_province_of_the_patient_counts_not_that_of_care() -> None:
    """Treated in the father's province, the patient still cannot be paid for by him, but by the wife at home."""
    people = [person(PATIENT), person(WIFE, past=40), person(FATHER, past=500)]
    stated = content(*people, bindings=[binding(FATHER), binding(WIFE)], area="620100", inscp_scp_amt=100)
    plan = plan_of(stated)
    assert (paid(plan), plan["skipped"]) == ([(WIFE, 40)], [{"psn": FATHER, "reason": "OTHER_PROVINCE"}])


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ({"sanctioned": True}, "PATIENT_SANCTIONED"),
        ({"stas": "2"}, "PATIENT_NOT_INSURED"),
        ({"insutype": "390", "stas": "4"}, "PATIENT_NOT_INSURED"),
        ({"sanctioned": True, "stas": "4"}, "PATIENT_SANCTIONED"),
    ],
)
def test_a_patient_who_may_not_settle_gets_no_plan(extra: dict[str, object], reason: str) -> None:
    """Sanctioned or not normally insured: a refusal with its reason, the sanction first."""
    with pytest.raises(Failure) as refused:
        plan_of(content(person(PATIENT, past=9, **extra), inscp_scp_amt=10))
    assert (refused.value.kind, refused.value.reason) == (Kind.PRECONDITION, reason)


def test_a_resident_has_no_own_account_but_a_wallet() -> None:
    """Whatever amounts a 390 patient's file gives, only the wallet pays."""
    patient = person(PATIENT, insutype="390", past=50, current=50, wallet=30)
    plan = plan_of(content(patient, inscp_scp_amt=100))
    assert (plan["own_past"], plan["own_current"], plan["own_wallet"], plan["acct_pay"]) == (0, 0, 30, 0)
    assert plan["psn_cash_pay"] == 70


def test_a_frozen_own_account_gives_nothing_the_wallet_gives() -> None:
    """Freezing the account does not touch the wallet."""
    plan = plan_of(content(person(PATIENT, past=50, wallet=30, frozen=True), inscp_scp_amt=100))
    assert (plan["own_past"], plan["own_wallet"], plan["psn_cash_pay"]) == (0, 30, 70)


@pytest.mark.parametrize(("wallet_capable", "given"), [(True, 30), (False, 0)])
def test_a_wallet_needs_an_institution_that_takes_it(wallet_capable: bool, given: int) -> None:  # noqa: FBT001  A column.
    """An institution not marked wallet-capable leaves the wallet alone."""
    plan = plan_of(content(person(PATIENT, wallet=30), wallet_capable=wallet_capable, inscp_scp_amt=100))
    assert plan["own_wallet"] == given


def test_the_wallet_pays_only_the_kinds_of_mutual_aid() -> None:
    """The own account may pay what the wallet may not."""
    policies = {"650100": {"mutual_aid_kinds": ["PRESELFPAY"]}}
    patient = person(PATIENT, past=5, wallet=500)
    plan = plan_of(content(patient, policies=policies, preselfpay_amt=20, inscp_scp_amt=80))
    assert (plan["own_past"], plan["own_wallet"], plan["psn_cash_pay"]) == (5, 20, 75)


@pytest.mark.parametrize(
    ("own_order", "expected"),
    [
        (["past", "current"], (60, 40)),
        (["current", "past"], (30, 70)),
        (["current"], (0, 70)),
        (["past"], (60, 0)),
        ([], (0, 0)),
    ],
)
def test_own_parts_are_used_in_their_order(own_order: list[str], expected: tuple[int, int]) -> None:
    """A part that `own_order` does not name is not used."""
    policies = {"650000": {"own_order": own_order}}
    plan = plan_of(content(person(PATIENT, past=60, current=70), policies=policies, inscp_scp_amt=100))
    assert (plan["own_past"], plan["own_current"]) == expected


@pytest.mark.parametrize("key", ["own_account_kinds", "mutual_aid_kinds"])
def test_a_source_without_kinds_gives_nothing(key: str) -> None:
    """An empty list of kinds closes the source."""
    people = [person(PATIENT, past=10), person(WIFE, past=20)]
    stated = content(*people, bindings=[binding(WIFE)], policies={"650000": {key: []}}, inscp_scp_amt=100)
    assert plan_of(stated)["psn_cash_pay"] == {"own_account_kinds": 80, "mutual_aid_kinds": 90}[key]


@pytest.mark.parametrize(
    ("cap", "given"), [(None, [200, 300]), ("1", [200, 300]), ("0.5", [200, 250]), ("0.2", [180]), ("0", [])]
)
def test_the_cap_limits_all_funders_together(cap: str | None, given: list[int]) -> None:
    """floor(cap × (bill − full-own)), whatever own account and wallet paid already."""
    people = [person(PATIENT, past=100, wallet=100), person(WIFE, past=200), person(SON, past=300)]
    stated = content(*people, bindings=[binding(WIFE), binding(SON, bound_at=LATE)], fulamt_ownpay_amt=99)
    stated["visit"] |= {"inscp_scp_amt": 901, "medfee_sumamt": 1000}
    stated["policies"] = {"650100": {"single_pay_ratio_cap": cap}}
    plan = plan_of(stated)
    assert ([fen for _, fen in paid(plan)], plan["own_past"], plan["own_wallet"]) == (given, 100, 100)


@pytest.mark.parametrize(
    ("shareable", "floor", "expected"),
    [
        (["past", "current"], 0, (40, 60)),
        (["past", "current"], 70, (40, 30)),
        (["past"], 0, (40, 0)),
        (["past"], 30, (10, 0)),
        (["past"], 41, None),
        (["current", "past"], 0, (40, 60)),
        (["current"], 60, (0, 40)),
        ([], 0, None),
    ],
)
def test_parts_that_are_not_shareable_do_not_count_towards_the_floor(
    shareable: list[str], floor: int, expected: tuple[int, int] | None
) -> None:
    """What can be given = the shareable parts − the floor, taken from past years first."""
    policies = {"650100": {"shareable_parts": shareable, "funder_floor_balance": floor}}
    people = [person(PATIENT), person(WIFE, past=40, current=100)]
    plan = plan_of(content(*people, bindings=[binding(WIFE)], policies=policies, inscp_scp_amt=100))
    assert plan["funders"] == ([] if expected is None else [{"psn": WIFE, "past": expected[0], "current": expected[1]}])


def test_acct_pay_may_leave_mutual_aid_out() -> None:
    """Where the policy does not count mutual aid in, acct_pay is the own account; the cash is the same."""
    people = [person(PATIENT, past=10, wallet=5), person(WIFE, past=20)]
    stated = content(*people, bindings=[binding(WIFE)], inscp_scp_amt=100)
    included, apart = (
        plan_of(stated),
        plan_of(stated | {"policies": {"650100": {"mulaid_included_in_acct_pay": False}}}),
    )
    assert (included["acct_pay"], apart["acct_pay"]) == (30, 10)
    assert included["psn_cash_pay"] == apart["psn_cash_pay"] == 65


def test_nothing_to_pay_asks_nobody() -> None:
    """With a burden of zero nobody pays, and who is ineligible is still told."""
    people = [person(PATIENT, past=10, wallet=5), person(WIFE, past=20), person(SON, frozen=True)]
    stated = content(*people, bindings=[binding(WIFE), binding(SON)], inscp_scp_amt=100)
    stated["visit"]["hifp_pay"] = 100
    plan = plan_of(stated)
    assert (plan["psn_part_amt"], plan["funders"], plan["psn_cash_pay"]) == (0, [], 0)
    assert plan["skipped"] == [{"psn": SON, "reason": "FROZEN"}]


def test_legs_can_be_built_from_the_split() -> None:
    """Every source tells its role, account, parts, kinds; a funder also the authorisation, floor and floor parts."""
    policies = {"650500": {"funder_floor_balance": 7, "shareable_parts": ["past"]}}
    people = [person(PATIENT, past=15, current=5, wallet=4), person(SON, past=20)]
    scenario = parsed_scenario(
        content(*people, bindings=[binding(SON)], policies=policies, preselfpay_amt=18, inscp_scp_amt=12)
    )
    authorisation_id = AuthorisationId(UUID(int=7))
    bindings = tuple(replace(item, authorisation_id=authorisation_id) for item in scenario.visit.bindings)
    found = split(replace(scenario.visit, bindings=bindings), scenario.policies)
    own, wallet, son = found.contributions
    assert own.slices == (
        Slice(CostKind.COPAY, Part.PAST, 12),
        Slice(CostKind.PRESELFPAY, Part.PAST, 3),
        Slice(CostKind.PRESELFPAY, Part.CURRENT, 5),
    )
    assert [(item.role, item.psn_no, item.past_fen, item.current_fen) for item in found.contributions] == [
        (Role.OWN, PATIENT, 15, 5),
        (Role.WALLET, PATIENT, 4, 0),
        (Role.FUNDER, SON, 6, 0),
    ]
    assert (str(son.area), son.authorisation_id) == ("650500", authorisation_id)
    assert (son.floor_fen, son.floor_parts) == (7, frozenset({Part.PAST}))
    assert wallet.by_kind[CostKind.PRESELFPAY] == 4
    assert found.policy_version == PolicySet.of(policies).version


def test_a_source_that_gives_nothing_makes_no_leg() -> None:
    """Nobody pays an empty bill, so there is no leg."""
    assert split_of(content(person(PATIENT, past=5, wallet=5))).contributions == ()
