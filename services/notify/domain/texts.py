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
    MY_ACCOUNT_CLOSES = "MY_ACCOUNT_CLOSES"
    MY_ACCOUNT_IS_CLOSED = "MY_ACCOUNT_IS_CLOSED"
    MY_ACCOUNT_MOVED = "MY_ACCOUNT_MOVED"
    I_AM_INVITED = "I_AM_INVITED"
    I_INVITED = "I_INVITED"
    I_FOUNDED = "I_FOUNDED"
    I_JOINED = "I_JOINED"
    MY_GROUP_CAME_ALONG = "MY_GROUP_CAME_ALONG"
    SOMEONE_JOINED = "SOMEONE_JOINED"
    MY_INVITATION_WAS_DECLINED = "MY_INVITATION_WAS_DECLINED"
    INVITATION_WAS_WITHDRAWN = "INVITATION_WAS_WITHDRAWN"
    I_LEFT = "I_LEFT"
    I_WAS_REMOVED = "I_WAS_REMOVED"
    MY_GROUP_IS_DISSOLVED = "MY_GROUP_IS_DISSOLVED"
    SOMEONE_LEFT = "SOMEONE_LEFT"
    I_TOOK_OVER = "I_TOOK_OVER"
    SOMEONE_TOOK_OVER = "SOMEONE_TOOK_OVER"
    I_FUND = "I_FUND"
    I_AM_FUNDED = "I_AM_FUNDED"
    MY_AMOUNT_CHANGED = "MY_AMOUNT_CHANGED"
    AMOUNT_FOR_ME_CHANGED = "AMOUNT_FOR_ME_CHANGED"
    MY_LIMITS_CHANGED = "MY_LIMITS_CHANGED"
    LIMITS_FOR_ME_CHANGED = "LIMITS_FOR_ME_CHANGED"
    MY_PLACE_CHANGED = "MY_PLACE_CHANGED"
    ORDER_FOR_ME_CHANGED = "ORDER_FOR_ME_CHANGED"
    I_FUND_NO_MORE = "I_FUND_NO_MORE"
    I_AM_FUNDED_NO_MORE = "I_AM_FUNDED_NO_MORE"
    MY_FUNDING_STOPPED = "MY_FUNDING_STOPPED"
    FUNDING_FOR_ME_STOPPED = "FUNDING_FOR_ME_STOPPED"
    MY_FUNDING_PAUSES = "MY_FUNDING_PAUSES"
    FUNDING_FOR_ME_PAUSES = "FUNDING_FOR_ME_PAUSES"
    MY_FUNDING_GOES_ON = "MY_FUNDING_GOES_ON"
    FUNDING_FOR_ME_GOES_ON = "FUNDING_FOR_ME_GOES_ON"
    SANCTIONED = "SANCTIONED"
    SHOWN_FOR_ANOTHER = "SHOWN_FOR_ANOTHER"
    SHOWN_FAR_APART = "SHOWN_FAR_APART"
    MANY_SMALL_BUYS = "MANY_SMALL_BUYS"
    OFTEN_REFUSED = "OFTEN_REFUSED"
    I_OPENED_MY_WALLET = "I_OPENED_MY_WALLET"
    MY_WALLET_WAS_OPENED = "MY_WALLET_WAS_OPENED"
    I_OPENED_A_WALLET = "I_OPENED_A_WALLET"
    MY_WALLET_MOVED = "MY_WALLET_MOVED"
    MY_WALLET_TOOK_OVER = "MY_WALLET_TOOK_OVER"
    I_TRANSFERRED = "I_TRANSFERRED"
    A_TRANSFER_AWAITS_ME = "A_TRANSFER_AWAITS_ME"
    MY_TRANSFER_ACCEPTED = "MY_TRANSFER_ACCEPTED"
    I_ACCEPTED_A_TRANSFER = "I_ACCEPTED_A_TRANSFER"
    MY_TRANSFER_RETURNED = "MY_TRANSFER_RETURNED"
    A_TRANSFER_IS_OVER = "A_TRANSFER_IS_OVER"
    I_PAID_MY_PREMIUM = "I_PAID_MY_PREMIUM"
    I_PAID_A_PREMIUM = "I_PAID_A_PREMIUM"
    MY_PREMIUM_WAS_PAID = "MY_PREMIUM_WAS_PAID"
    MY_PREMIUM_CAME_BACK = "MY_PREMIUM_CAME_BACK"
    A_PREMIUM_CAME_BACK = "A_PREMIUM_CAME_BACK"
    MY_PREMIUM_WAS_REVOKED = "MY_PREMIUM_WAS_REVOKED"
    MY_CLAIM_WAS_APPROVED = "MY_CLAIM_WAS_APPROVED"
    MY_CLAIM_WAS_REFUSED = "MY_CLAIM_WAS_REFUSED"
    A_CLAIM_TOOK = "A_CLAIM_TOOK"
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
    Sentence.MY_ACCOUNT_CLOSES: Words(
        "{time}，您的{account}已停止支付，在途支付结束后注销。如有疑问，请联系参保地医保经办机构。",
        "{time}: your {account} pays no more and is closed once payments in flight have ended. "
        "Ask your insurance office if you have questions.",
    ),
    Sentence.MY_ACCOUNT_IS_CLOSED: Words(
        "{time}，您的{account}已注销，余额由参保地医保经办机构处理。如有疑问，请与其联系。",
        "{time}: your {account} is closed. Your insurance office deals with what was left on it; ask there if you have "
        "questions.",
    ),
    Sentence.MY_ACCOUNT_MOVED: Words(
        "{time}，您的个人账户已随参保地转移，转入余额{amount}元。如有疑问，请联系参保地医保经办机构。",
        "{time}: your account has followed you to the area that insures you now, with {amount} yuan. "
        "Ask your insurance office if you have questions.",
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
    Sentence.MY_GROUP_CAME_ALONG: Words(
        "{time}，您的两个人员编号已合并，原编号的家庭成员组已转入现编号。",
        "{time}: two numbers of yours were merged, and the former number's family group goes on under this one.",
    ),
    Sentence.SOMEONE_JOINED: Words(
        "{time}，{who}加入了您的家庭成员组。",
        "{time}: {who} joined your family group.",
    ),
    Sentence.MY_INVITATION_WAS_DECLINED: Words(
        "{time}，{who}拒绝了您的家庭成员组邀请。",
        "{time}: {who} declined your invitation to the family group.",
    ),
    Sentence.INVITATION_WAS_WITHDRAWN: Words(
        "{time}，{who}撤回了家庭成员组邀请。",
        "{time}: {who} took back the invitation to the family group.",
    ),
    Sentence.I_LEFT: Words(
        "{time}，您已退出家庭成员组，组内与您有关的共济绑定已全部解除。",
        "{time}: you have left a family group; all your bindings in it are ended.",
    ),
    Sentence.I_WAS_REMOVED: Words(
        "{time}，您已被创建人移出家庭成员组，组内与您有关的共济绑定已全部解除。",
        "{time}: the founder removed you from a family group; all your bindings in it are ended.",
    ),
    Sentence.MY_GROUP_IS_DISSOLVED: Words(
        "{time}，您的家庭成员组已解散，组内共济绑定已全部解除。",
        "{time}: your family group has been dissolved; all bindings in it are ended.",
    ),
    Sentence.SOMEONE_LEFT: Words(
        "{time}，{who}已不在您的家庭成员组中。",
        "{time}: {who} is no longer in your family group.",
    ),
    Sentence.I_TOOK_OVER: Words(
        "{time}，您已接任家庭成员组的创建人。如非您本人所为，请联系参保地医保经办机构。",
        "{time}: you are the founder of your family group now. If it was not you, tell your insurance office.",
    ),
    Sentence.SOMEONE_TOOK_OVER: Words(
        "{time}，{who}已接任您所在家庭成员组的创建人。",
        "{time}: {who} is the founder of your family group now.",
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
    Sentence.MY_LIMITS_CHANGED: Words(
        "{time}，您给{who}的共济限额变更为：单笔{per_payment}，每月{per_month}。",
        "{time}: what you let be paid for {who} is now limited to {per_payment} a payment, {per_month} a month.",
    ),
    Sentence.LIMITS_FOR_ME_CHANGED: Words(
        "{time}，{who}给您的共济限额变更为：单笔{per_payment}，每月{per_month}。",
        "{time}: what {who} lets be paid for you is now limited to {per_payment} a payment, {per_month} a month.",
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
        "{time}，您与{who}的共济绑定已停止：{cause}。",
        "{time}: your binding with {who} has stopped: {cause}.",
    ),
    Sentence.FUNDING_FOR_ME_STOPPED: Words(
        "{time}，{who}与您的共济绑定已停止：{cause}。",
        "{time}: the binding of {who} with you has stopped: {cause}.",
    ),
    Sentence.MY_FUNDING_PAUSES: Words(
        "{time}，您的个人账户转移，您与{who}的共济绑定暂停，办妥后自动恢复。",
        "{time}: your account moves to another area. Your binding with {who} pauses and goes on by itself.",
    ),
    Sentence.FUNDING_FOR_ME_PAUSES: Words(
        "{time}，{who}的个人账户转移，与您的共济绑定暂停，办妥后自动恢复。",
        "{time}: the account of {who} moves to another area. The binding with you pauses and goes on by itself.",
    ),
    Sentence.MY_FUNDING_GOES_ON: Words(
        "{time}，您的个人账户转移已办妥，您与{who}的共济绑定已恢复，授权金额{limit}。",
        "{time}: your account has moved, and your binding with {who} goes on. Authorised amount: {limit}.",
    ),
    Sentence.FUNDING_FOR_ME_GOES_ON: Words(
        "{time}，{who}的个人账户转移已办妥，与您的共济绑定已恢复，授权金额{limit}。",
        "{time}: the account of {who} has moved, and the binding with you goes on. Authorised amount: {limit}.",
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
    Sentence.I_OPENED_MY_WALLET: Words(
        "{time}，您开通了医保钱包。如非您本人所为，请联系参保地医保经办机构。",
        "{time}: you opened your medical wallet. If it was not you, tell your insurance office.",
    ),
    Sentence.MY_WALLET_WAS_OPENED: Words(
        "{time}，{who}为您代开通了医保钱包。如非您本意，请联系参保地医保经办机构。",
        "{time}: {who} opened a medical wallet for you. If you did not want it, tell your insurance office.",
    ),
    Sentence.I_OPENED_A_WALLET: Words(
        "{time}，您为{who}代开通了医保钱包。",
        "{time}: you opened a medical wallet for {who}.",
    ),
    Sentence.MY_WALLET_MOVED: Words(
        "{time}，您的医保钱包变更了使用地，余额随之转移。如非您本人所为，请联系参保地医保经办机构。",
        "{time}: your medical wallet is used in another area from now on, and its money follows. "
        "If it was not you, tell your insurance office.",
    ),
    Sentence.MY_WALLET_TOOK_OVER: Words(
        "{time}，您的两个人员编号已合并，原编号医保钱包的余额随之转入现编号的医保钱包。如有疑问，请联系参保地医保经办机构。",
        "{time}: two numbers of yours were merged, and the money of the former number's medical wallet follows to this "
        "one. If that is not right, tell your insurance office.",
    ),
    Sentence.I_TRANSFERRED: Words(
        "{time}，您向{who}的医保钱包转账{amount}元，等待对方在{until}前接收。",
        "{time}: you are transferring {amount} yuan to the medical wallet of {who}, who can accept it until {until}.",
    ),
    Sentence.A_TRANSFER_AWAITS_ME: Words(
        "{time}，{who}向您的医保钱包转账{amount}元，请在{until}前接收，逾期退回。",
        "{time}: {who} is transferring {amount} yuan to your medical wallet. Accept it until {until}, or it returns.",
    ),
    Sentence.MY_TRANSFER_ACCEPTED: Words(
        "{time}，{who}已接收您转账的{amount}元。",
        "{time}: {who} accepted the {amount} yuan that you transferred.",
    ),
    Sentence.I_ACCEPTED_A_TRANSFER: Words(
        "{time}，{who}转账的{amount}元已进入您的医保钱包。",
        "{time}: the {amount} yuan that {who} transferred are in your medical wallet.",
    ),
    Sentence.I_PAID_MY_PREMIUM: Words(
        "{time}，您用{account}缴纳{year}年度居民医保保费{amount}元，余额{balance}元。",
        "{time}: your {account} paid {amount} yuan, your residents' premium for {year}. It holds {balance} yuan now.",
    ),
    Sentence.I_PAID_A_PREMIUM: Words(
        "{time}，您用{account}为{who}缴纳{year}年度居民医保保费{amount}元，余额{balance}元。",
        "{time}: your {account} paid {amount} yuan, the residents' premium of {who} for {year}. "
        "It holds {balance} yuan now.",
    ),
    Sentence.MY_PREMIUM_WAS_PAID: Words(
        "{time}，{who}已为您缴纳{year}年度居民医保保费{amount}元。",
        "{time}: {who} paid your residents' premium for {year}, {amount} yuan.",
    ),
    Sentence.MY_PREMIUM_CAME_BACK: Words(
        "{time}，您{year}年度居民医保保费的缴费已撤销，{amount}元退回您的{account}。",
        "{time}: the payment of your residents' premium for {year} was taken back; {amount} yuan returned to your "
        "{account}.",
    ),
    Sentence.A_PREMIUM_CAME_BACK: Words(
        "{time}，您为{who}缴纳的{year}年度居民医保保费已撤销，{amount}元退回您的{account}。",
        "{time}: your payment of the residents' premium of {who} for {year} was taken back; {amount} yuan returned to "
        "your {account}.",
    ),
    Sentence.MY_PREMIUM_WAS_REVOKED: Words(
        "{time}，{who}为您缴纳的{year}年度居民医保保费已撤销。该年度保费目前尚未缴纳。",
        "{time}: {who} took back the payment of your residents' premium for {year}. That year is not paid now.",
    ),
    Sentence.MY_CLAIM_WAS_APPROVED: Words(
        "{time}，您的手工报销申请已审核通过，款项将按规定支付。",
        "{time}: your reimbursement claim is approved and will be paid out.",
    ),
    Sentence.MY_CLAIM_WAS_REFUSED: Words(
        "{time}，您的手工报销申请未通过，原因请查看申请记录，可申诉一次。",
        "{time}: your reimbursement claim was refused. The claim says why; you may appeal once.",
    ),
    Sentence.A_CLAIM_TOOK: Words(
        "{time}，{who}的手工报销使用{sources}。",
        "{time}: the reimbursement claim of {who} used {sources}.",
    ),
    Sentence.MY_TRANSFER_RETURNED: Words(
        "{time}，您向{who}转账的{amount}元{outcome}，款项已退回。",
        "{time}: the {amount} yuan that you transferred to {who} {outcome}; they are yours again.",
    ),
    Sentence.A_TRANSFER_IS_OVER: Words(
        "{time}，{who}向您转账的{amount}元{outcome}，款项已退回对方。",
        "{time}: the {amount} yuan that {who} transferred to you {outcome}; they went back.",
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
DECLINED: Final = Words("被拒收", "were declined")
NOT_ACCEPTED_IN_TIME: Final = Words("逾期未接收", "were not accepted in time")
WITHDRAWN: Final = Words("已撤回", "were taken back")
RETURNED: Final = Words("未完成", "were returned")
NOT_INSURED: Final = Words(
    "您已不再正常参加职工医保，恢复后可重新绑定",
    "you are no longer normally insured as an employee; bind again once that is settled",
)
FUNDER_NOT_ELIGIBLE: Final = Words(
    "对方账户目前不符合共济条件，符合后可重新绑定",
    "the other account does not meet the conditions at present; bind again once it does",
)
"""One text for all that is the funder's own affair: were there two, the words would give a sanction away."""
OTHER_PROVINCE: Final = Words(
    "双方参保地已不在同一个省份，可改用医保钱包转账",
    "the two are insured in different provinces now; a transfer to the medical wallet is possible instead",
)
REGISTRATION_ENDED: Final = Words("其中一方的医保登记已终止", "the insurance registration of one of the two has ended")
"""Of a death: a notice is no place to announce it, the less so as a report may be mistaken."""
MERGED: Final = Words(
    "人员编号已并入另一编号，请用现行编号重新绑定",
    "a person number was merged into another; bind again under the number that counts",
)
I_AM_SANCTIONED: Final = Words(
    "您已被暂停联网结算，期满后可重新绑定",
    "you are suspended from online settlement; bind again afterwards",
)
NO_KINSHIP: Final = Words(
    "双方的亲属关系已不能证明，补齐材料后可重新绑定",
    "the relation is no longer proven; bring the papers and bind again",
)
RELATION_NOT_ALLOWED: Final = Words(
    "当地政策不支持双方的亲属关系", "the area does not let relatives of this kind pay for each other"
)
BIND_AGAIN: Final = Words("如需继续请重新办理", "bind again if it is to go on")
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
    """An authorised amount, or a limit, with its unit."""
    if authorised_fen is None:
        return NO_LIMIT
    return Words(f"{yuan_text(authorised_fen)}元", f"{yuan_text(authorised_fen)} yuan")


def plain(number: int) -> Words:
    """A number that counts nothing, such as a year."""
    return Words(str(number), str(number))


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
