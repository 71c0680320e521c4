"""A slow, obvious second opinion on the split: it looks rules up by hand and moves money fen by fen."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Final

KINDS: Final = ["DEDUCTIBLE", "COPAY", "PRESELFPAY", "OVERLIMIT", "FULL_OWN"]
DEFAULTS: Final[dict[str, Any]] = {
    "benefit": "external",
    "deductible_fen": 0,
    "ratio": "0",
    "ceiling_left_fen": None,
    "own_order": ["past", "current"],
    "shareable_parts": ["past", "current"],
    "own_account_kinds": KINDS,
    "mutual_aid_kinds": KINDS,
    "funder_floor_balance": 0,
    "single_pay_ratio_cap": None,
    "funder_order": "EXPLICIT",
    "wallet": True,
    "mulaid_included_in_acct_pay": True,
}


def rule(content: dict[str, Any], area: str, key: str) -> Any:  # noqa: ANN401  A policy value is of any plain type.
    """The parameter of this area: its own, its province's, the default."""
    for place in (area, area[:2] + "0000"):
        if key in content["policies"].get(place, {}):
            return content["policies"][place][key]
    return DEFAULTS[key]


def burden(content: dict[str, Any]) -> tuple[dict[str, int], dict[str, int]]:
    """The amounts before the split, and what is open by kind."""
    visit = content["visit"]
    patient = next(person for person in content["persons"] if person["psn"] == visit["patient"])
    if rule(content, patient["area"], "benefit") == "external":
        dedc, hifp = visit.get("act_pay_dedc", 0), visit.get("hifp_pay", 0)
    else:
        dedc = min(rule(content, patient["area"], "deductible_fen"), visit["inscp_scp_amt"])
        exact = Fraction(rule(content, patient["area"], "ratio")) * (visit["inscp_scp_amt"] - dedc)
        hifp = int(exact + Fraction(1, 2))
        ceiling = rule(content, patient["area"], "ceiling_left_fen")
        hifp = hifp if ceiling is None or hifp < ceiling else ceiling
    others = sum(
        visit.get(key, 0) for key in ("cvlserv_pay", "hifes_pay", "hifmi_pay", "hifob_pay", "maf_pay", "oth_pay")
    )
    kinds = {
        "DEDUCTIBLE": dedc,
        "COPAY": visit["inscp_scp_amt"] - dedc - hifp,
        "PRESELFPAY": visit["preselfpay_amt"],
        "OVERLIMIT": visit["overlmt_selfpay"],
        "FULL_OWN": visit["fulamt_ownpay_amt"],
    }
    for _ in range(others + visit.get("hosp_part_amt", 0)):
        first = next(kind for kind in ("COPAY", "DEDUCTIBLE", "PRESELFPAY", "OVERLIMIT", "FULL_OWN") if kinds[kind])
        kinds[first] -= 1
    amounts = {
        "hifp_pay": hifp,
        "act_pay_dedc": dedc,
        "fund_pay_sumamt": hifp + others,
        "psn_part_amt": visit["medfee_sumamt"] - hifp - others - visit.get("hosp_part_amt", 0),
    }
    return amounts, kinds


def give(kinds: dict[str, int], allowed: list[str], purse: dict[str, int], limit: int | None) -> dict[str, int]:
    """One source gives fen after fen, from its first part with money to the first open kind it may pay."""
    given = dict.fromkeys(purse, 0)
    while limit is None or sum(given.values()) < limit:
        kind = next((kind for kind in KINDS if kind in allowed and kinds[kind] > 0), None)
        part = next((part for part in purse if purse[part] - given[part] > 0), None)
        if kind is None or part is None:
            break
        kinds[kind] -= 1
        given[part] += 1
    return given


def skip_reason(funder: dict[str, Any], binding: dict[str, Any], patient: dict[str, Any]) -> str | None:
    """The first reason that applies, or none."""
    if binding.get("unbound"):
        return "UNBOUND"
    if funder.get("sanctioned"):
        return "SANCTIONED"
    if funder["insutype"] != "310" or funder.get("stas", "1") != "1":
        return "NOT_INSURED"
    if funder["area"][:2] != patient["area"][:2]:
        return "OTHER_PROVINCE"
    return "FROZEN" if funder.get("frozen") else None


def can_give(content: dict[str, Any], funder: dict[str, Any], binding: dict[str, Any]) -> int:
    """What a funder can give before the cap."""
    most: int = sum(funder[part] for part in rule(content, funder["area"], "shareable_parts"))
    most -= rule(content, funder["area"], "funder_floor_balance")
    if binding["authorized"] is not None:
        most = min(most, binding["authorized"] - binding.get("used", 0))
    if binding.get("per_payment") is not None and binding["per_payment"] < most:
        most = binding["per_payment"]
    if binding.get("per_month") is not None:
        most = min(most, binding["per_month"] - binding.get("month_used", 0))
    return max(0, most)


def in_order(content: dict[str, Any], patient: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The patient's latest binding with each funder, in order of deduction."""
    people = {person["psn"]: person for person in content["persons"]}
    mine = [binding for binding in content["bindings"] if binding["beneficiary"] == patient["psn"]]
    latest = {binding["funder"]: binding for binding in sorted(mine, key=lambda binding: binding["bound_at"])}
    pairs = [(people[psn], binding) for psn, binding in latest.items()]
    pairs.sort(key=lambda pair: (pair[1]["bound_at"], pair[0]["psn"]))
    order = rule(content, patient["area"], "funder_order")
    if order == "EXPLICIT":
        pairs.sort(key=lambda pair: 10**9 if pair[1].get("order") is None else pair[1]["order"])
    if order == "BALANCE_DESC":
        sizes = sorted({can_give(content, *pair) for pair in pairs}, reverse=True)
        pairs = [pair for size in sizes for pair in pairs if can_give(content, *pair) == size]
    return pairs


def expected_plan(content: dict[str, Any]) -> dict[str, Any]:
    """The plan of a scenario's content, in the form of `gongji plan --json`."""
    visit = content["visit"]
    patient = next(person for person in content["persons"] if person["psn"] == visit["patient"])
    home = patient["area"]
    amounts, kinds = burden(content)
    own = {"past": 0, "current": 0}
    if patient["insutype"] == "310" and not patient.get("frozen"):
        purse = {part: patient[part] for part in rule(content, home, "own_order")}
        own |= give(kinds, rule(content, home, "own_account_kinds"), purse, None)
    aid_kinds = rule(content, home, "mutual_aid_kinds")
    wallet = 0
    if rule(content, visit["area"], "wallet") and visit.get("wallet_capable", True):
        wallet = give(kinds, aid_kinds, {"wallet": patient.get("wallet", 0)}, None)["wallet"]
    cap = rule(content, visit["area"], "single_pay_ratio_cap")
    room = 10**9
    if cap is not None:
        room = int(Fraction(cap) * (visit["medfee_sumamt"] - visit["fulamt_ownpay_amt"]))
    funders, skipped = [], []
    for funder, binding in in_order(content, patient):
        reason = skip_reason(funder, binding, patient)
        if reason is not None:
            skipped.append({"psn": funder["psn"], "reason": reason})
            continue
        shareable = rule(content, funder["area"], "shareable_parts")
        purse = {part: funder[part] if part in shareable else 0 for part in ("past", "current")}
        given = give(kinds, aid_kinds, purse, min(can_give(content, funder, binding), room))
        room -= given["past"] + given["current"]
        if given["past"] + given["current"]:
            funders.append({"psn": funder["psn"], **given})
    aid = sum(item["past"] + item["current"] for item in funders)
    own_sum = own["past"] + own["current"]
    return {
        **amounts,
        "own_past": own["past"],
        "own_current": own["current"],
        "own_wallet": wallet,
        "acct_mulaid_pay": aid,
        "acct_pay": own_sum + aid if rule(content, home, "mulaid_included_in_acct_pay") else own_sum,
        "psn_cash_pay": sum(kinds.values()),
        "funders": funders,
        "skipped": skipped,
    }
