"""Every sentence that people read, in zh-CN and in English, in one table.

No sentence has a place for a diagnosis or a drug, and only the sentence to an account's owner has one for a balance.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, unique
from typing import Final

from kernel.clock import SHANGHAI
from kernel.money import Fen, yuan_text


@dataclass(frozen=True, slots=True)
class Words:
    """The same words in both languages."""

    zh: str
    en: str


@unique
class Sentence(Enum):
    """What can be said. Each has one line in TEXTS."""

    I_PAID_FOR_RELATIVE = "I_PAID_FOR_RELATIVE"
    I_PAID_FOR_MYSELF = "I_PAID_FOR_MYSELF"
    MY_BILL_WAS_PAID = "MY_BILL_WAS_PAID"
    I_GOT_BACK = "I_GOT_BACK"
    MY_BILL_WAS_REVOKED = "MY_BILL_WAS_REVOKED"
    ACCOUNT_CREDITED = "ACCOUNT_CREDITED"
    WALLET_CREDITED = "WALLET_CREDITED"
    FROZEN = "FROZEN"
    UNFROZEN = "UNFROZEN"
    I_AM_INVITED = "I_AM_INVITED"
    I_INVITED = "I_INVITED"
    I_FOUNDED = "I_FOUNDED"
    I_JOINED = "I_JOINED"
    SOMEONE_JOINED = "SOMEONE_JOINED"
    I_FUND = "I_FUND"
    I_AM_FUNDED = "I_AM_FUNDED"
    MY_AMOUNT_CHANGED = "MY_AMOUNT_CHANGED"
    AMOUNT_FOR_ME_CHANGED = "AMOUNT_FOR_ME_CHANGED"
    MY_PLACE_CHANGED = "MY_PLACE_CHANGED"
    ORDER_FOR_ME_CHANGED = "ORDER_FOR_ME_CHANGED"
    I_FUND_NO_MORE = "I_FUND_NO_MORE"
    I_AM_FUNDED_NO_MORE = "I_AM_FUNDED_NO_MORE"
    MY_FUNDING_STOPPED = "MY_FUNDING_STOPPED"
    FUNDING_FOR_ME_STOPPED = "FUNDING_FOR_ME_STOPPED"
    SANCTIONED = "SANCTIONED"
    SHOWN_FOR_ANOTHER = "SHOWN_FOR_ANOTHER"
    SHOWN_FAR_APART = "SHOWN_FAR_APART"
    MANY_SMALL_BUYS = "MANY_SMALL_BUYS"
    OFTEN_REFUSED = "OFTEN_REFUSED"
    PART_USED = "PART_USED"
    PART_OWN = "PART_OWN"
    PART_RELATIVE = "PART_RELATIVE"
    PART_CASH = "PART_CASH"


TEXTS: Final[dict[Sentence, Words]] = {
    Sentence.I_PAID_FOR_RELATIVE: Words(
        "{time}，您的个人账户为{who}在{place}支付{amount}元，账户余额{balance}元。",
        "{time}: your account paid {amount} yuan for {who} at a {place}. It holds {balance} yuan now.",
    ),
    Sentence.I_PAID_FOR_MYSELF: Words(
        "{time}，您在{place}使用{sources}。",
        "{time}: at a {place} you used {sources}.",
    ),
    Sentence.MY_BILL_WAS_PAID: Words(
        "{time}，您在{place}的费用已结算，个人负担{amount}元：{parts}。",
        "{time}: your bill at a {place} is settled. Your share of {amount} yuan: {parts}.",
    ),
    Sentence.I_GOT_BACK: Words(
        "{time}，{who}在{place}的费用已退，{amount}元退回您的{accounts}。",
        "{time}: the bill of {who} at a {place} was taken back; {amount} yuan returned to your {accounts}.",
    ),
    Sentence.MY_BILL_WAS_REVOKED: Words(
        "{time}，您在{place}的费用结算已撤销，账户支付的{amount}元已原路退回。",
        "{time}: your bill at a {place} was revoked; the {amount} yuan paid by accounts went back to each of them.",
    ),
    Sentence.ACCOUNT_CREDITED: Words(
        "{time}，您的个人账户划入{amount}元。",
        "{time}: {amount} yuan came into your account.",
    ),
    Sentence.WALLET_CREDITED: Words(
        "{time}，您的医保钱包转入{amount}元。",
        "{time}: {amount} yuan came into your medical wallet.",
    ),
    Sentence.FROZEN: Words(
        "{time}，您的个人账户已被冻结，暂不能支付。如有疑问，请联系参保地医保经办机构。",
        "{time}: your account was frozen and cannot pay for now. Ask your insurance office if you have questions.",
    ),
    Sentence.UNFROZEN: Words(
        "{time}，您的个人账户已解除冻结。",
        "{time}: your account is no longer frozen.",
    ),
    Sentence.I_AM_INVITED: Words(
        "{who}邀请您加入家庭成员组，请在{until}前接受。",
        "{who} invites you to a family group. Please accept before {until}.",
    ),
    Sentence.I_INVITED: Words(
        "您已邀请{who}加入家庭成员组，{until}前有效。",
        "You have invited {who} to your family group; the invitation is open until {until}.",
    ),
    Sentence.I_FOUNDED: Words(
        "{time}，您创建了家庭成员组。",
        "{time}: you founded a family group.",
    ),
    Sentence.I_JOINED: Words(
        "{time}，您加入了家庭成员组。",
        "{time}: you joined a family group.",
    ),
    Sentence.SOMEONE_JOINED: Words(
        "{time}，{who}加入了您的家庭成员组。",
        "{time}: {who} joined your family group.",
    ),
    Sentence.I_FUND: Words(
        "{time}，您的个人账户已与{who}绑定共济，授权金额{limit}。",
        "{time}: your account may now pay for {who}. Authorised amount: {limit}.",
    ),
    Sentence.I_AM_FUNDED: Words(
        "{time}，{who}的个人账户已与您绑定共济，授权金额{limit}。",
        "{time}: the account of {who} may now pay for you. Authorised amount: {limit}.",
    ),
    Sentence.MY_AMOUNT_CHANGED: Words(
        "{time}，您给{who}的授权金额变更为{limit}。",
        "{time}: the amount you authorise for {who} is now: {limit}.",
    ),
    Sentence.AMOUNT_FOR_ME_CHANGED: Words(
        "{time}，{who}给您的授权金额变更为{limit}。",
        "{time}: the amount {who} authorises for you is now: {limit}.",
    ),
    Sentence.MY_PLACE_CHANGED: Words(
        "{time}，您在{who}的扣款顺序中变更为{order}。",
        "{time}: your place among those who pay for {who} is now {order}.",
    ),
    Sentence.ORDER_FOR_ME_CHANGED: Words(
        "{time}，{who}在您的扣款顺序中变更为{order}。",
        "{time}: the place of {who} among those who pay for you is now {order}.",
    ),
    Sentence.I_FUND_NO_MORE: Words(
        "{time}，您与{who}的共济绑定已解除，您的个人账户不再为其支付新的费用。",
        "{time}: your account no longer pays new bills of {who}; the binding was ended.",
    ),
    Sentence.I_AM_FUNDED_NO_MORE: Words(
        "{time}，{who}与您的共济绑定已解除，其个人账户不再为您支付新的费用。",
        "{time}: the account of {who} no longer pays your new bills; the binding was ended.",
    ),
    Sentence.MY_FUNDING_STOPPED: Words(
        "{time}，您与{who}的共济绑定已停止，如需继续请重新办理。",
        "{time}: your binding with {who} has stopped. Bind again if it is to go on.",
    ),
    Sentence.FUNDING_FOR_ME_STOPPED: Words(
        "{time}，{who}与您的共济绑定已停止，如需继续请重新办理。",
        "{time}: the binding of {who} with you has stopped. Bind again if it is to go on.",
    ),
    Sentence.SANCTIONED: Words(
        "自{since}至{until}，您的医疗费用联网结算被暂停。您可以申诉；期间费用请全额垫付后申请报销。",
        "Bills are not settled online from {since} until {until}. You may appeal; meanwhile pay in full, then claim.",
    ),
    Sentence.SHOWN_FOR_ANOTHER: Words(
        "{time}，您的医保凭证被出示用于他人的费用，已被拒绝。如非您本人所为，请联系参保地医保经办机构。",
        "{time}: your insurance credential was shown for somebody else's bill and refused. "
        "If it was not you, tell your insurance office.",
    ),
    Sentence.SHOWN_FAR_APART: Words(
        "{time}，发现您的医保凭证短时间内在相距较远的两地被出示。如非您本人所为，请联系参保地医保经办机构。",
        "{time}: your insurance credential was shown at places too far apart for the time between. "
        "If it was not you, tell your insurance office.",
    ),
    Sentence.MANY_SMALL_BUYS: Words(
        "{time}，发现您的个人账户短时间内在药店多次支付小额费用。如非您本意，请联系参保地医保经办机构，或解除共济绑定。",
        "{time}: your account paid many small pharmacy bills in a short time. "
        "If you did not mean it to, tell your insurance office, or end the binding.",
    ),
    Sentence.OFTEN_REFUSED: Words(
        "{time}，发现您的医保凭证短时间内多次被拒绝。如非您本人所为，请联系参保地医保经办机构。",
        "{time}: your insurance credential was refused many times in a short time. "
        "If it was not you, tell your insurance office.",
    ),
    # Parts of sentences.
    Sentence.PART_USED: Words(
        "{account}{amount}元（余额{balance}元）",
        "{amount} yuan of your {account} (it holds {balance} yuan now)",
    ),
    Sentence.PART_OWN: Words("本人{account}支付{amount}元", "{amount} yuan by your {account}"),
    Sentence.PART_RELATIVE: Words("{who}支付{amount}元", "{amount} yuan by {who}"),
    Sentence.PART_CASH: Words("现金支付{amount}元", "{amount} yuan in cash"),
}

SOMEONE: Final = Words("您的家人", "your relative")
"""For a person whose name has not reached us."""
NO_LIMIT: Final = Words("不限额", "no limit")
LAST: Final = Words("最后", "the last")
HOSPITAL: Final = Words("医院", "hospital")
PHARMACY: Final = Words("药店", "pharmacy")
OWN_ACCOUNT: Final = Words("个人账户", "account")
WALLET: Final = Words("医保钱包", "medical wallet")


def said(sentence: Sentence, /, **words: Words) -> Words:
    """The sentence with its places filled."""
    text = TEXTS[sentence]
    return Words(
        text.zh.format_map({key: value.zh for key, value in words.items()}),
        text.en.format_map({key: value.en for key, value in words.items()}),
    )


def moment(instant: datetime) -> Words:
    """To the minute, in the time of Asia/Shanghai."""
    local = instant.astimezone(SHANGHAI)
    return Words(f"{local:%Y年%m月%d日%H:%M}", f"{local:%Y-%m-%d %H:%M}")


def day(instant: datetime) -> Words:
    """The day in Asia/Shanghai."""
    local = instant.astimezone(SHANGHAI)
    return Words(f"{local:%Y年%m月%d日}", f"{local:%Y-%m-%d}")


def yuan(amount_fen: Fen) -> Words:
    """An amount, without its unit."""
    text = yuan_text(amount_fen)
    return Words(text, text)


def limit(authorised_fen: Fen | None) -> Words:
    """An authorised amount, with its unit."""
    if authorised_fen is None:
        return NO_LIMIT
    return Words(f"{yuan_text(authorised_fen)}元", f"{yuan_text(authorised_fen)} yuan")


def place_in_order(deduct_order: int | None) -> Words:
    """A place in the order of deduction."""
    return LAST if deduct_order is None else Words(f"第{deduct_order}位", f"no. {deduct_order}")


def named(name_masked: str | None) -> Words:
    """A masked name, or a word for someone whose name is not known."""
    return Words(name_masked, name_masked) if name_masked else SOMEONE


def listed(items: Iterable[Words]) -> Words:
    """Several things in one sentence."""
    several = list(items)
    return Words("，".join(item.zh for item in several), ", ".join(item.en for item in several))
