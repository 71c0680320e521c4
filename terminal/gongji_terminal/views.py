"""What a cashier sees of plans, settlements and requests, line by line."""

from __future__ import annotations

from typing import Final

from gongji.settlement.v1 import returns_pb2, visits_pb2
from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal.failures import TerminalRefusal, Unanswered, advice_on
from gongji_terminal.journal import Entry, EntryState
from gongji_terminal.voice import Voice, enum_word, local, table, yuan

SHORT: Final = 8
"""So many of a plan's last characters are shown to be typed; its first ones tell the time alone."""
RELATIONS: Final = {
    "SPOUSE": ("配偶", "spouse"),
    "PARENT": ("父母", "parent"),
    "CHILD": ("子女", "child"),
    "SIBLING": ("兄弟姐妹", "sibling"),
    "PATERNAL_GRANDPARENT": ("祖父母", "grandparent"),
    "MATERNAL_GRANDPARENT": ("外祖父母", "grandparent"),
    "GRANDCHILD": ("孙子女", "grandchild"),
    "DAUGHTERS_CHILD": ("外孙子女", "grandchild"),
}
INSURED: Final = {"1": ("正常", "normal"), "2": ("暂停", "paused"), "4": ("终止", "ended")}
SKIPPED: Final = {
    "UNBOUND": ("绑定未生效", "the binding is not in force"),
    "SANCTIONED": ("暂停联网结算", "suspended from settling online"),
    "NOT_INSURED": ("参保状态不正常", "not normally insured"),
    "OTHER_PROVINCE": ("不在同一省份", "insured in another province"),
    "FROZEN": ("账户已冻结", "the account is frozen"),
    "AREA_UNREACHABLE": ("该统筹区暂时无法连接", "the area does not answer at the moment"),
}
STATES: Final = {
    "IN_PROGRESS": ("未决", "in progress"),
    "SETTLED": ("已结算", "paid"),
    "REFUSED": ("未受理，未扣款", "refused: nothing was taken"),
    "REVERSED": ("已冲正", "reversed"),
    "REVOKED": ("已撤销，款已退回", "revoked: the money went back"),
}
ENTRY_STATES: Final = {
    EntryState.WRITTEN: ("未得到答复", "no answer yet"),
    EntryState.SETTLED: ("已完成", "done"),
    EntryState.REPLANNED: ("需确认新方案", "a new plan"),
    EntryState.REFUSED: ("未受理", "refused"),
    EntryState.REVERSED: ("已冲正", "reversed"),
}
TRANSACTIONS: Final = {
    "2102": ("药店结算", "pharmacy settles"),
    "2103": ("药店撤销", "pharmacy revokes"),
    "2207": ("门诊结算", "outpatient settles"),
    "2208": ("门诊撤销", "outpatient revokes"),
    "2304": ("住院结算", "inpatient settles"),
    "2305": ("住院撤销", "inpatient revokes"),
    "2601": ("冲正", "reversal"),
}
NEXT: Final = {
    "IN_PROGRESS": ("稍后再查询，或冲正。", "Ask again in a moment, or reverse it."),
    "SETTLED": ("已付清，只有撤销或冲正会改变它。", "It is paid; only a revocation or a reversal changes that."),
    "REFUSED": ("此请求已终结；要付款须重新预结算。", "This request is over; to pay, plan again."),
    "REVERSED": ("此请求已终结；要付款须重新预结算。", "This request is over; to pay, plan again."),
    "REVOKED": ("此结算已终结；要付款须重新预结算。", "This settlement is over; to pay, plan again."),
}


def word(voice: Voice, words: dict[str, tuple[str, str]], key: str) -> str:
    """What people call it; the name itself where there is no word."""
    return voice.of(*words.get(key, (key, key)))


def sources(voice: Voice, amounts: pb.ResultAmounts, funders: list[pb.FunderShare]) -> list[tuple[str, int, str]]:
    """Who pays the person's part: name, fen, and the parts it comes from."""
    of = voice.of
    rows: list[tuple[str, int, str]] = []
    own = amounts.own_past_fen + amounts.own_current_fen
    if own or not funders:
        rows.append((of("本人账户", "own account"), own, _parts(voice, amounts.own_past_fen, amounts.own_current_fen)))
    if amounts.wallet_pay:
        rows.append((of("医保钱包", "own wallet"), amounts.wallet_pay, ""))
    for funder in funders:
        name = f"{funder.name_masked or of('亲属', 'relative')}（{word(voice, RELATIONS, funder.relation)}）"
        rows.append(
            (
                of(f"共济 {funder.seq} ", f"family {funder.seq} ") + name,
                funder.past_fen + funder.current_fen,
                _parts(voice, funder.past_fen, funder.current_fen),
            )
        )
    rows.append((of("现金", "cash"), amounts.psn_cash_pay, ""))
    return rows


def money(voice: Voice, amounts: pb.ResultAmounts, funders: list[pb.FunderShare]) -> list[str]:
    """The bill from its total down to the cash."""
    of = voice.of
    rows = [
        (of("医疗费总额", "bill"), amounts.medfee_sumamt, ""),
        (of("基金支付", "pooled fund"), amounts.fund_pay_sumamt, ""),
    ]
    if amounts.hosp_part_amt:
        rows.append((of("医院负担", "hospital's part"), amounts.hosp_part_amt, ""))
    rows.append((of("个人负担", "person's part"), amounts.psn_part_amt, ""))
    rows += [("  " + name, fen, parts) for name, fen, parts in sources(voice, amounts, funders)]
    return table([("  " + name, yuan(fen), parts) for name, fen, parts in rows], right=frozenset({1}), widths=(28, 12))


def plan(voice: Voice, shown: pb.Plan, *, mdtrt_id: str) -> list[str]:
    """A plan as it is put to the patient."""
    until = local(shown.expires_time).strftime("%H:%M")
    lines = [
        voice.of(
            f"方案 {shown.plan_id[-SHORT:]}  就诊 {mdtrt_id}  {until} 前有效",
            f"Plan {shown.plan_id[-SHORT:]}  visit {mdtrt_id}  good until {until}",
        ),
        *money(voice, shown.amounts, list(shown.funders)),
    ]
    for skipped in shown.skipped:
        why = word(voice, SKIPPED, skipped.reason)
        name = skipped.name_masked or voice.of("亲属", "a relative")
        lines.append(voice.of(f"  未使用：{name}，{why}", f"  left out: {name}, {why}"))
    lines.append(
        voice.of(
            f"付款：gongji-terminal pay {shown.plan_id[-SHORT:]}",
            f"Pay it: gongji-terminal pay {shown.plan_id[-SHORT:]}",
        )
    )
    return lines


def planned_return(voice: Voice, answer: returns_pb2.PlanReturnResponse, *, mdtrt_id: str) -> list[str]:
    """What a partial return would do: what goes back, what the rest costs, and what it costs if that money is gone."""
    of = voice.of
    setl_id = answer.original.setl_id
    back = answer.original.amounts
    lines = [
        of(f"部分退货  原结算ID {setl_id}", f"Partial return  setl_id {setl_id}"),
        of(
            f"  全部退回 {yuan(back.psn_part_amt)}，其中现金 {yuan(back.psn_cash_pay)}",
            f"  all of it goes back: {yuan(back.psn_part_amt)}, of it cash {yuan(back.psn_cash_pay)}",
        ),
    ]
    for title, figures in (
        (of("其余部分重新结算：", "The rest, settled anew:"), answer.expected),
        (of("如退回的款项已被他用：", "If what went back is spent meanwhile:"), answer.at_worst),
    ):
        lines += [title, *money(voice, figures.amounts, list(figures.funders))]
        cash = figures.cash_back_fen
        lines.append(
            of(f"  退患者现金 {yuan(cash)}", f"  cash back to the patient {yuan(cash)}")
            if cash >= 0
            else of(f"  患者补现金 {yuan(-cash)}", f"  the patient pays {yuan(-cash)} more")
        )
    if answer.to_suspense_fen:
        fen = yuan(answer.to_suspense_fen)
        lines.append(
            of(f"  {fen} 的账户已注销，由经办机构处理", f"  {fen} belongs to closed accounts; an officer brings it on")
        )
    lines.append(
        of(
            f"确认后：gongji-terminal revoke {setl_id}，再 plan --mdtrt-id {mdtrt_id} …",
            f"If agreed: gongji-terminal revoke {setl_id}, then plan --mdtrt-id {mdtrt_id} …",
        )
    )
    return lines


def settlement(voice: Voice, made: pb.Settlement) -> list[str]:
    """A settlement, or the record with negative amounts that took one back."""
    of = voice.of
    state = enum_word(pb.SettlementState.DESCRIPTOR, made.state)
    if made.original_setl_id:
        title = of(f"已退回  结算ID {made.setl_id}", f"Taken back  setl_id {made.setl_id}")
        lines = [title, of(f"  原结算ID {made.original_setl_id}", f"  original {made.original_setl_id}")]
    else:
        lines = [f"{word(voice, STATES, state)}  " + of(f"结算ID {made.setl_id}", f"setl_id {made.setl_id}")]
    if made.HasField("setl_time"):
        time = local(made.setl_time).strftime("%Y-%m-%d %H:%M:%S")
        lines.append(of(f"  {time}  就诊 {made.mdtrt_id}", f"  {time}  visit {made.mdtrt_id}"))
    if made.HasField("amounts"):
        lines += money(voice, made.amounts, list(made.funders))
    if made.HasField("balc"):
        lines.append(of(f"  本人账户余额 {yuan(made.balc)}", f"  own account afterwards {yuan(made.balc)}"))
    return lines


def replan(voice: Voice, offered: pb.Replan, *, mdtrt_id: str) -> list[str]:
    """Why nothing was taken, and what would be paid now."""
    advice = advice_on(offered.reason)
    return [
        voice.of(
            "未扣款：付款来源有变化，请患者确认新方案。",
            "Nothing was taken: a source changed. Ask the patient about the new plan.",
        ),
        f"  {offered.reason}  {voice.of(advice.zh, advice.en)}",
        *plan(voice, offered.plan, mdtrt_id=mdtrt_id),
    ]


def refusal(voice: Voice, refused: TerminalRefusal) -> list[str]:
    """The reason, its text, and in English what to do (the Chinese text says it itself)."""
    lines = [
        voice.of(f"未受理  {refused.reason}", f"Refused  {refused.reason}"),
        f"  {voice.of(refused.text_zh, refused.text_en)}",
    ]
    if field := refused.metadata.get("field"):
        lines.append(f"  {field}")
    if voice.language == "en":
        lines.append(f"  {refused.advice.cashier}")
    return lines


def silence(voice: Voice, unanswered: Unanswered, *, msgid: str = "") -> list[str]:
    """Nothing came back, and what that means."""
    code = unanswered.reason or unanswered.code.name
    lines = [voice.of(f"没有答复  {code}", f"No answer  {code}")]
    if msgid:
        lines.append(
            voice.of(
                f"  报文 {msgid} 已记入日志，是否办成尚不清楚。网络恢复后运行：gongji-terminal resume",
                f"  Request {msgid} is in the journal; whether it was done is not known. Once the network is back: "
                "gongji-terminal resume",
            )
        )
    return lines


def person(voice: Voice, info: visits_pb2.GetPersonInfoResponse, *, mdtrt_id: str) -> list[str]:
    """Who the patient is, whether a visit can be settled online, and out of what."""
    of = voice.of
    age = of(f"  {info.age} 岁", f"  aged {info.age}") if info.HasField("age") else ""
    name = f"{info.psn_name_masked}  " if info.psn_name_masked else ""
    lines = [
        of(f"就诊 {mdtrt_id}  {name}人员编号 {info.psn_no}{age}", f"Visit {mdtrt_id}  {name}psn_no {info.psn_no}{age}")
    ]
    rows = [
        (
            of("参保", "enrolled"),
            f"{one.insutype}  {one.insuplc_admdvs}  {of(*INSURED.get(one.psn_insu_stas, ('?', '?')))}",
            of("本次结算使用", "this visit's") if one.counts else "",
        )
        for one in info.enrolments
    ]
    if info.HasField("account"):
        free = f"{yuan(info.account.past_fen + info.account.current_fen)}"
        parts = _parts(voice, info.account.past_fen, info.account.current_fen)
        rows.append((of("本人账户", "own account"), free, of("已冻结", "frozen") if info.account.frozen else parts))
    if info.HasField("wallet"):
        usable = "" if info.wallet.usable_here else of("本机构不可用", "not taken here")
        rows.append((of("医保钱包", "own wallet"), yuan(info.wallet.free_fen), usable))
    for number, one in enumerate(info.family, start=1):
        limit = of("不限额", "no limit") if not one.HasField("limit_left_fen") else yuan(one.limit_left_fen)
        why = word(voice, SKIPPED, one.reason) if one.reason else of(f"至多 {limit}", f"up to {limit}")
        rows.append(
            (
                of(f"共济 {number}", f"family {number}"),
                f"{one.name_masked}（{word(voice, RELATIONS, one.relation)}）",
                why,
            )
        )
    lines += ["  " + line for line in table(rows)]
    if info.ineligible_reason:
        advice = advice_on(info.ineligible_reason)
        lines.append(of(f"  不能联网结算：{advice.zh}", f"  Cannot be settled online: {advice.en}"))
    lines.append(
        of(
            f"预结算：gongji-terminal plan --mdtrt-id {mdtrt_id} …",
            f"Next: gongji-terminal plan --mdtrt-id {mdtrt_id} …",
        )
    )
    return lines


def entry_row(voice: Voice, entry: Entry) -> tuple[str, str, str, str]:
    """A request on one line: msgid, what it is, what became of it, and its number."""
    about = entry.reason or entry.setl_id or entry.original_setl_id
    return (
        entry.msgid,
        word(voice, TRANSACTIONS, entry.infno),
        voice.of(*ENTRY_STATES[entry.state]),
        f"{about}  ← {entry.refund_setl_id}" if entry.refund_setl_id else about,
    )


def _parts(voice: Voice, past_fen: int, current_fen: int) -> str:
    parts = [
        voice.of(f"{zh} {yuan(fen)}", f"{en} {yuan(fen)}")
        for zh, en, fen in (("历年", "past years", past_fen), ("当年", "this year", current_fen))
        if fen
    ]
    return " + ".join(parts)
