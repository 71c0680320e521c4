"""A plan for a person: the bill, who pays what from which part, who was left out and why, all in yuan."""

from __future__ import annotations

import io
import sys
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kernel.money import Fen, yuan_text
from kernel.policy import COST_KINDS, CostKind, Part
from ops.plan import plan_as_json
from ops.scenario import Scenario
from services.settlement.domain.split import Contribution, Role, SkipReason, Split

_KIND_WORDS: Final = {
    CostKind.DEDUCTIBLE: "起付线 deductible",
    CostKind.COPAY: "共付 copay",
    CostKind.PRESELFPAY: "先行自付 own part",
    CostKind.OVERLIMIT: "超限价 over limit",
    CostKind.FULL_OWN: "全自费 full-own",
}
_SKIP_WORDS: Final = {
    SkipReason.IDENTITY_STALE: "暂不能确认家庭成员状态 identity was not heard for too long",
    SkipReason.UNBOUND: "已解除共济 the binding was ended",
    SkipReason.SANCTIONED: "暂停联网结算 suspended from online settlement",
    SkipReason.NOT_INSURED: "非正常参保职工 not a normally insured employee",
    SkipReason.OTHER_PROVINCE: "参保地不在同一省 insured in another province",
    SkipReason.FROZEN: "账户冻结 the account is frozen",
    SkipReason.AREA_UNREACHABLE: "统筹区账本未应答 the area's ledger did not answer",
}
_OTHER_FUNDS: Final = {
    "cvlserv_pay": "公务员补助 civil servants' aid",
    "hifes_pay": "企业补充 employer's supplement",
    "hifmi_pay": "居民大病 serious-illness fund",
    "hifob_pay": "职工大额 large-sum supplement",
    "maf_pay": "医疗救助 medical aid",
    "oth_pay": "其他 other",
}
_WIDTH_MIN: Final = 120


def show(scenario: Scenario, split: Split) -> None:
    """Print the plan to standard output."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # A terminal that lacks a character shows a mark in its place.
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=max(console.width, _WIDTH_MIN))
    visit = scenario.visit
    console.print(f"[bold]{escape(scenario.title or '共济试算 dry run')}[/bold]")
    console.print(
        f"患者 patient [bold]{_name(scenario, visit.patient.psn_no)}[/bold] · "
        f"险种 insutype {visit.patient.insutype} · 参保地 insured in {visit.patient.area} · "
        f"就医地 care in {visit.area} · {scenario.fixmedins_code} · med_type {scenario.med_type}"
    )
    console.print(_bill_table(scenario, split))
    console.print(_sources_table(scenario, split))
    console.print(_mutual_aid_words(split))
    _print_skipped(console, scenario, split)
    if scenario.expect is not None:
        same = scenario.expect == plan_as_json(split)
        words = "[green]一致 equal[/green]" if same else "[red]不一致 different[/red]"
        console.print(f"与文件所载 expect 比较 compared with the file's `expect`: {words}")


def _name(scenario: Scenario, psn_no: str) -> str:
    names = {str(person.person.psn_no): person.name for person in scenario.persons.values()}
    return escape(names.get(psn_no, psn_no))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", expand=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", no_wrap=index > 0)
    return table


def _bill_table(scenario: Scenario, split: Split) -> Table:
    bill, burden = scenario.visit.bill, split.burden
    table = _table("账单 the bill", "项目 item", "元 yuan")
    table.add_row("医疗费总额 the whole bill (medfee_sumamt)", yuan_text(bill.medfee_sumamt))
    table.add_row("  统筹基金 pooled fund (hifp_pay)", _minus(burden.hifp_pay))
    for field, words in _OTHER_FUNDS.items():
        amount_fen: Fen = getattr(bill, field)
        if amount_fen:
            table.add_row(f"  {words} ({field})", _minus(amount_fen))
    if burden.hosp_part_amt:
        table.add_row("  医院负担 the hospital's own share (hosp_part_amt)", _minus(burden.hosp_part_amt))
    table.add_section()
    table.add_row(
        "[bold]个人负担 left to the person (psn_part_amt)[/bold]", f"[bold]{yuan_text(burden.psn_part_amt)}[/bold]"
    )
    for kind in COST_KINDS:
        if burden.by_kind[kind]:
            table.add_row(f"  {_KIND_WORDS[kind]}", yuan_text(burden.by_kind[kind]))
    return table


def _minus(amount_fen: Fen) -> str:
    return yuan_text(-amount_fen)


def _sources_table(scenario: Scenario, split: Split) -> Table:
    kinds = [kind for kind in COST_KINDS if split.burden.by_kind[kind]]
    table = _table(
        "谁来支付 who pays",
        "来源 source",
        "元\nyuan",
        "历年\npast",
        "当年\ncurrent",
        *(_KIND_WORDS[kind].replace(" ", "\n", 1) for kind in kinds),
    )
    for source in split.contributions:
        table.add_row(
            _source_words(scenario, source),
            f"[bold]{yuan_text(source.amount_fen)}[/bold]",
            *("" if source.role is Role.WALLET else _of_part(source, part) for part in Part),
            *(_or_blank(source.by_kind[kind]) for kind in kinds),
        )
    table.add_section()
    table.add_row(
        "现金 cash (psn_cash_pay)",
        f"[bold]{yuan_text(split.psn_cash_pay)}[/bold]",
        "",
        "",
        *(_or_blank(split.cash_by_kind[kind]) for kind in kinds),
    )
    return table


def _mutual_aid_words(split: Split) -> str:
    counted = "含 with" if split.mulaid_included_in_acct_pay else "不含 without"
    cap = "无 none" if split.funders_cap_fen is None else yuan_text(split.funders_cap_fen)
    return (
        f"共济支付 mutual aid (acct_mulaid_pay) {yuan_text(split.acct_mulaid_pay)} · 上限 cap {cap} · "
        f"个人账户支出 acct_pay {yuan_text(split.acct_pay)} ({counted})"
    )


def _source_words(scenario: Scenario, source: Contribution) -> str:
    match source.role:
        case Role.OWN:
            return "本人账户 own account"
        case Role.WALLET:
            return "本人医保钱包 own wallet"
        case Role.FUNDER:
            relation = next(
                item.relation
                for item in reversed(scenario.bindings)
                if item.binding.funder.psn_no == source.psn_no and item.beneficiary == scenario.visit.patient.psn_no
            )
            return f"{_name(scenario, source.psn_no)} ({relation}, {source.area})"
        case Role.RECEIVER | Role.MOVED_TO:
            raise AssertionError("a split takes money and brings none")


def _of_part(source: Contribution, part: Part) -> str:
    return _or_blank(source.past_fen if part is Part.PAST else source.current_fen)


def _or_blank(amount_fen: Fen) -> str:
    return yuan_text(amount_fen) if amount_fen else ""


def _print_skipped(console: Console, scenario: Scenario, split: Split) -> None:
    if not split.skipped:
        return
    console.print("[bold]未参与 left out[/bold]")
    for skipped in split.skipped:
        console.print(f"  {_name(scenario, skipped.psn_no)} · {_SKIP_WORDS[skipped.reason]} ({skipped.reason.value})")
