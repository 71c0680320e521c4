"""An explanation for a person: from the bill to each source, every figure with what it comes from."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape

from kernel.money import Fen, yuan_text
from kernel.policy import CostKind, OpenBenefit
from ops.settlements.explaining import Derived, Explanation
from services.settlement.domain.split import Binding, Contribution, Role, Visit


def show(told: Explanation, out: Console) -> None:
    """The whole story of the figures, then whether they agree."""
    back = "" if told.refund_id is None else f", given back by {told.refund_id}"
    out.print(f"[bold]{told.setl_id}[/] is {told.state}{back}; planned {told.inputs['made_at']}", soft_wrap=True)
    out.print(f"policy version {told.plan.policy_version}", soft_wrap=True)
    if told.derived is not None:
        for line in _lines(told.derived):
            out.print(f"  {escape(line)}", soft_wrap=True)
    if told.agrees:
        out.print("[green]agrees[/]: each fen that was charged is what its inputs give")
        return
    first, *rest = told.differences
    out.print(f"[red]does not agree[/]: {escape(first.field)} is {escape(str(first.stored))}", soft_wrap=True)
    out.print(f"  by its inputs it would be {escape(str(first.derived))}", soft_wrap=True)
    if rest:
        out.print(f"  {len(rest)} more; --json has all of them")


def _lines(derived: Derived) -> list[str]:
    visit, result, bill = derived.visit, derived.split, derived.visit.bill
    burden = result.burden
    parts = (
        f"full own {yuan_text(bill.fulamt_ownpay_amt)} + over limit {yuan_text(bill.overlmt_selfpay)} + pre-self-pay "
        f"{yuan_text(bill.preselfpay_amt)} + in scope {yuan_text(bill.inscp_scp_amt)}"
    )
    lines = [f"bill {yuan_text(bill.medfee_sumamt)} = {parts}", *_benefit_lines(derived)]
    others_fen = burden.fund_pay_sumamt - burden.hifp_pay
    if others_fen or burden.hosp_part_amt:
        lines.append(f"other funds {yuan_text(others_fen)}, the hospital's part {yuan_text(burden.hosp_part_amt)}")
    lines.append(f"left to the person {yuan_text(burden.psn_part_amt)}: {_kinds(burden.by_kind)}")
    lines += [_source_line(source, visit) for source in result.contributions]
    if result.funders_cap_fen is not None:
        lines.append(f"all funders together at most {yuan_text(result.funders_cap_fen)} (single_pay_ratio_cap)")
    lines += [f"left out: {each.psn_no}, {each.reason.value}" for each in result.skipped]
    lines.append(f"cash {yuan_text(result.psn_cash_pay)}: {_kinds(result.cash_by_kind)}")
    return lines


def _benefit_lines(derived: Derived) -> list[str]:
    burden, benefit, case = derived.split.burden, derived.benefit, derived.visit.case
    if benefit is None:
        return [f"pooled part as the request gave it: {_pooled(burden.act_pay_dedc, burden.hifp_pay)}"]
    lines = []
    if case is not None:
        standing = "retired" if case.retired else "not retired"
        pool = f"pool {case.pool}" if case.pool else "the pool without a name"
        lines.append(
            f"benefit table: insutype {derived.visit.patient.insutype}, med_type {case.med_type}, level "
            f"{case.level.value}, {standing}; of {pool} the year had used: deductible "
            f"{yuan_text(case.year.deductible_fen)}, fund {yuan_text(case.year.fund_fen)}, above the ceiling "
            f"{yuan_text(case.year.large_fen)}"
        )
    lines.append(f"{_open(benefit)} → {_pooled(burden.act_pay_dedc, burden.hifp_pay)}")
    if benefit.large is not None:
        paid_fen = getattr(burden, benefit.large.fund.value)
        lines.append(
            f"above the ceiling: {benefit.large.ratio} of it, {_at_most(benefit.large.ceiling_left_fen)} → "
            f"{benefit.large.fund.value} {yuan_text(paid_fen)}"
        )
    return lines


def _open(benefit: OpenBenefit) -> str:
    return (
        f"still open: deductible {yuan_text(benefit.deductible_fen)}, then {benefit.ratio} of the rest, "
        f"{_at_most(benefit.ceiling_left_fen)}"
    )


def _at_most(ceiling_left_fen: Fen | None) -> str:
    return "no ceiling" if ceiling_left_fen is None else f"at most {yuan_text(ceiling_left_fen)}"


def _pooled(act_pay_dedc: Fen, hifp_pay: Fen) -> str:
    return f"act_pay_dedc {yuan_text(act_pay_dedc)}, hifp_pay {yuan_text(hifp_pay)}"


def _source_line(source: Contribution, visit: Visit) -> str:
    given = f"past {yuan_text(source.past_fen)}, current {yuan_text(source.current_fen)}: {_kinds(source.by_kind)}"
    match source.role:
        case Role.OWN:
            had = f"past {yuan_text(visit.patient.past_fen)}, current {yuan_text(visit.patient.current_fen)}"
            return f"own account (free: {had}) gives {given}"
        case Role.WALLET:
            return f"own wallet (free: {yuan_text(visit.patient.wallet_fen)}) gives {given}"
        case _:
            binding = max(
                (each for each in visit.bindings if each.funder.psn_no == source.psn_no),
                key=lambda each: each.bound_at,
            )
            return f"funder {source.psn_no} of {source.area} ({_limits(binding, source)}) gives {given}"


def _limits(binding: Binding, source: Contribution) -> str:
    funder = binding.funder
    left = "no limit" if binding.left_fen is None else f"{yuan_text(binding.left_fen)} left of the limits"
    floor = f", floor {yuan_text(source.floor_fen)}" if source.floor_fen else ""
    parts = "+".join(sorted(part.value for part in source.floor_parts))
    free = f"free: past {yuan_text(funder.past_fen)}, current {yuan_text(funder.current_fen)}"
    return f"{free}; shares {parts}{floor}; {left}"


def _kinds(by_kind: Mapping[CostKind, Fen]) -> str:
    return ", ".join(f"{kind.value} {yuan_text(fen)}" for kind, fen in by_kind.items() if fen) or "nothing"
