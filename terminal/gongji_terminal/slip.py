"""The slip a patient takes along: every source named as it may be, in the width of a receipt printer.

A funder stands on it with a masked name and what was taken, never with a balance; the patient's own balance is his own.
"""

from __future__ import annotations

from typing import Final

from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal.views import STATES, sources, word
from gongji_terminal.voice import Voice, enum_word, local, padded, width, yuan

COLUMNS: Final = 42
"""An 80 mm roll."""
COLUMNS_MIN: Final = 32


def slip(voice: Voice, made: pb.Settlement, *, columns: int = COLUMNS) -> list[str]:
    """The lines to be printed; none is wider than ``columns``."""
    of = voice.of
    rule = "-" * columns
    state = enum_word(pb.SettlementState.DESCRIPTOR, made.state)
    kind = of("退款凭证", "Refund") if made.original_setl_id else of("结算单", "Settlement")
    facts = [
        (of("状态", "State"), word(voice, STATES, state)),
        (of("机构", "Institution"), made.fixmedins_code),
        (of("患者", "Patient"), made.psn_name_masked),
        (of("就诊", "Visit"), made.mdtrt_id),
        (of("时间", "Time"), local(made.setl_time).strftime("%Y-%m-%d %H:%M:%S")),
        (of("险种", "Insurance"), f"{made.insutype}  {made.insuplc_admdvs}"),
    ]
    totals = [
        (of("医疗费总额", "Bill"), made.amounts.medfee_sumamt),
        (of("基金支付", "Pooled fund"), made.amounts.fund_pay_sumamt),
        (of("医院负担", "Hospital's part"), made.amounts.hosp_part_amt),
        (of("个人负担", "Person's part"), made.amounts.psn_part_amt),
    ]
    lines = [_centred(of("共济 医保", "Gongji"), columns), _centred(kind, columns), rule]
    lines += [f"{name} {value}" for name, value in facts if value]
    lines.append(rule)
    lines += [_across(name, yuan(fen), columns) for name, fen in totals if fen or name != totals[2][0]]
    lines.append(rule)
    lines += [_across(name, yuan(fen), columns) for name, fen, _ in sources(voice, made.amounts, list(made.funders))]
    lines.append(rule)
    if made.HasField("balc"):
        lines.append(_across(of("本人账户余额", "Own account afterwards"), yuan(made.balc), columns))
    lines.append(of("结算ID", "setl_id"))
    lines.append(made.setl_id)
    if made.original_setl_id:
        lines += [of("原结算ID", "original"), made.original_setl_id]
    return lines


def _across(name: str, amount: str, columns: int) -> str:
    """The name to the left, the amount to the right; a name that is too long goes on a line of its own."""
    room = columns - width(amount) - 1
    return f"{padded(name, room)} {amount}" if width(name) <= room else f"{name}\n{padded(amount, columns, right=True)}"


def _centred(text: str, columns: int) -> str:
    return " " * ((columns - width(text)) // 2) + text
