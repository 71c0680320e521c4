"""What the document of everything held about a person holds (PIPL; domain §10): its sections and their words.

``SECTIONS`` is the one place that says so, in which order and under which words in Chinese and English. Other people
appear under masked names alone. What an officer has not decided yet (open risk events) is not told.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Form(Enum):
    """How a value stands in the document, in the words of JSON Schema."""

    TEXT = "string"
    DATE = "date"
    TIME = "date-time"
    COUNT = "integer"
    FLAG = "boolean"


@dataclass(frozen=True, slots=True)
class Item:
    """One value of a section: its name and what people call it."""

    name: str
    form: Form
    zh: str
    en: str


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the document: one object, or a list of them in the order in which things happened."""

    name: str
    zh: str
    en: str
    items: tuple[Item, ...]
    single: bool = False


def _text(name: str, zh: str, en: str) -> Item:
    return Item(name, Form.TEXT, zh, en)


def _date(name: str, zh: str, en: str) -> Item:
    return Item(name, Form.DATE, zh, en)


def _time(name: str, zh: str, en: str) -> Item:
    return Item(name, Form.TIME, zh, en)


def _count(name: str, zh: str, en: str) -> Item:
    return Item(name, Form.COUNT, zh, en)


def _flag(name: str, zh: str, en: str) -> Item:
    return Item(name, Form.FLAG, zh, en)


_INSTITUTION: Final = _text("fixmedins_code", "定点医药机构编号", "Institution")
_TERMINAL: Final = _text("terminal_no", "终端编号", "Terminal")
_OPTER: Final = _text("opter", "经办人", "Officer")
_CAUSE: Final = _text("cause", "原因", "Cause")
_STATE: Final = _text("state", "状态", "State")
_OTHER: Final = _text("other_name_masked", "对方姓名（脱敏）", "The other person's name, masked")
_ENROLMENT: Final = (
    _text("insutype", "险种类型", "Insurance type"),
    _text("insuplc_admdvs", "参保地医保区划", "Insured area"),
    _text("psn_insu_stas", "人员参保状态", "Status"),
    _text("psn_type", "人员类别", "Working, retired or resident (11 to 16)"),
    _time("changed_time", "变更时间", "Since"),
)

SECTIONS: Final = (
    Section(
        "person",
        "个人信息",
        "Person",
        (
            _text("psn_no", "人员编号", "Person number"),
            _text("psn_cert_type", "证件类型", "Kind of certificate"),
            _text("certno", "证件号码", "Certificate number"),
            _text("psn_name", "姓名", "Name"),
            _date("brdy", "出生日期", "Birth date"),
            _text("gend", "性别", "Sex (1 male, 2 female)"),
            _time("registered_time", "登记时间", "Registered"),
            _time("real_name_time", "实名认证时间", "Real name verified"),
            _date("death_date", "死亡日期", "Death"),
        ),
        single=True,
    ),
    Section(
        "merged_numbers",
        "已并入的重复登记编号",
        "Numbers of doubles that were merged into this record",
        (_text("psn_no", "人员编号", "Person number"),),
    ),
    Section(
        "former_certificates",
        "曾用证件",
        "Former certificates",
        (
            _text("psn_cert_type", "证件类型", "Kind of certificate"),
            _text("certno", "证件号码", "Certificate number"),
            _time("until_time", "使用至", "Until"),
        ),
    ),
    Section(
        "record_changes",
        "登记信息变更",
        "Changes of the record",
        (
            _time("changed_time", "变更时间", "When"),
            _text("kind", "变更类型", "Kind of change"),
            _text("fields", "变更项目", "Fields"),
            _OPTER,
            _CAUSE,
        ),
    ),
    Section("enrolments", "参保信息", "Enrolments", _ENROLMENT),
    Section("enrolment_history", "参保变更历史", "Enrolment history", _ENROLMENT),
    Section(
        "cards",
        "社会保障卡",
        "Social-security cards",
        (
            _text("card_no_masked", "卡号（脱敏）", "Number, masked"),
            _STATE,
            _time("issued_time", "发卡时间", "Issued"),
            _time("activated_time", "激活时间", "Activated"),
            _text("activated_place", "激活地点", "Where"),
            _time("ended_time", "停用时间", "Ended"),
            _text("end_cause", "停用原因", "Why"),
        ),
    ),
    Section(
        "card_changes",
        "社会保障卡操作记录",
        "What became of the cards",
        (
            _time("changed_time", "时间", "When"),
            _text("card_no_masked", "卡号（脱敏）", "Number, masked"),
            _text("change", "操作", "Change"),
            _OPTER,
            _CAUSE,
        ),
    ),
    Section(
        "credentials_used",
        "凭证使用记录",
        "Where codes and cards were used",
        (
            _time("used_time", "使用时间", "When"),
            _INSTITUTION,
            _TERMINAL,
            _text("mdtrt_cert_type", "就诊凭证类型", "Kind of credential"),
            _text("business_type", "用码业务类型", "Business type"),
            _text("mdtrt_id", "就诊ID", "Visit"),
            _flag("shown_by_guardian", "由亲情账户监护人出示", "Shown by a guardian"),
            _flag("with_agent", "由他人代办", "With an agent"),
        ),
    ),
    Section(
        "credentials_shown_for_wards",
        "为亲情账户成员出示凭证记录",
        "Where wards' codes were shown",
        (_time("used_time", "使用时间", "When"), _INSTITUTION, _TERMINAL, _OTHER),
    ),
    Section(
        "refused_credentials",
        "被拒绝的凭证",
        "Credentials that were refused",
        (
            _time("first_time", "首次时间", "First"),
            _time("last_time", "末次时间", "Last"),
            _INSTITUTION,
            _TERMINAL,
            _text("reason", "原因", "Reason"),
            _count("refusals", "次数", "How often"),
        ),
    ),
    Section(
        "attestations",
        "人脸核身记录",
        "Face verifications",
        (
            _time("attested_time", "核身时间", "When"),
            _text("verifier_no", "核身服务方", "Verifier"),
            _text("purpose", "用途", "Purpose"),
            _text("used_for", "使用于", "Used for"),
            _time("used_time", "使用时间", "Used"),
        ),
    ),
    Section(
        "wards",
        "亲情账户",
        "Wards and guardians",
        (_text("role", "本人身份", "Own part"), _OTHER, _time("added_time", "添加时间", "Since")),
    ),
    Section(
        "ward_changes",
        "亲情账户变更",
        "Changes of wards and guardians",
        (
            _time("changed_time", "时间", "When"),
            _text("role", "本人身份", "Own part"),
            _OTHER,
            _text("change", "变更", "Change"),
            _text("changed_by", "申请方（自行申报）", "Who asked for it, as declared"),
        ),
    ),
    Section(
        "kinship_facts",
        "亲属关系",
        "Kinship",
        (
            _text("fact_id", "事实编号", "Fact"),
            _text("kind", "关系事实", "Kind"),
            _text("role", "本人身份", "Own part"),
            _OTHER,
            _date("from_date", "开始日期", "From"),
            _date("to_date", "结束日期", "To"),
            _text("evidence", "证明材料", "Evidence"),
            _date("issued_on", "材料签发日期", "Issued"),
            _date("expires_on", "材料失效日期", "Expires"),
            _STATE,
            _CAUSE,
            _text("finding", "民政登记核对结果", "What the civil registry said"),
            _time("submitted_time", "提交时间", "Submitted"),
            _text("submitted_by", "提交方（自行申报）", "By whom, as declared"),
            _time("reviewed_time", "处理时间", "Decided"),
        ),
    ),
    Section(
        "kinship_decisions",
        "亲属关系处理记录",
        "Decisions about kinship",
        (
            _time("decided_time", "处理时间", "When"),
            _text("fact_id", "事实编号", "Fact"),
            _STATE,
            _text("decider", "处理方", "By"),
            _OPTER,
            _CAUSE,
        ),
    ),
    Section(
        "registry_rows",
        "民政登记数据",
        "What the civil registry told",
        (
            _text("kind", "关系事实", "Kind"),
            _text("role", "本人身份", "Own part"),
            _date("from_date", "开始日期", "From"),
            _date("to_date", "结束日期", "To"),
            _time("loaded_time", "导入时间", "Loaded"),
            _text("loaded_by", "导入方（自行申报）", "By whom, as declared"),
        ),
    ),
    Section(
        "sanctions",
        "暂停联网结算决定",
        "Sanctions",
        (
            _text("decision_no", "决定书文号", "Decision"),
            _text("organ", "决定机关", "Organ"),
            _text("basis_clause", "依据条款", "Clause"),
            _time("from_time", "开始时间", "From"),
            _time("to_time", "结束时间", "To"),
            _time("imposed_time", "录入时间", "Recorded"),
            _time("lifted_time", "解除时间", "Lifted"),
            _text("lift_cause", "解除原因", "Why it was lifted"),
        ),
    ),
    Section(
        "appeals",
        "复议和诉讼",
        "Appeals",
        (
            _text("appeal_no", "案号", "Appeal"),
            _text("against_decision_no", "原决定书文号", "Against decision"),
            _date("filed_on", "申请日期", "Filed"),
            _STATE,
            _text("decision_no", "复议或判决文号", "Decision"),
            _CAUSE,
            _time("decided_time", "决定时间", "Decided"),
        ),
    ),
    Section(
        "risk_events",
        "已处理的异常使用提示",
        "Decided risk events",
        (
            _text("risk_event_id", "编号", "Event"),
            _text("kind", "类型", "Kind"),
            _date("day", "日期", "Day"),
            _STATE,
            _CAUSE,
            _time("raised_time", "提示时间", "Raised"),
            _time("decided_time", "处理时间", "Decided"),
        ),
    ),
    Section(
        "risk_evidence",
        "异常使用提示的依据",
        "What decided risk events rest on",
        (
            _text("risk_event_id", "编号", "Event"),
            _time("occurred_time", "时间", "When"),
            _INSTITUTION,
            _TERMINAL,
            _text("reason", "情形", "What"),
            _text("setl_id", "结算ID", "Settlement"),
            _count("occurrences", "次数", "How often"),
            _count("distance_m", "距离（米）", "Distance in metres"),
        ),
    ),
    Section(
        "credential_refusals",
        "为他人出示凭证记录",
        "A credential shown for another's bill",
        (
            _time("refused_time", "时间", "When"),
            _text("role", "本人身份", "Own part"),
            _INSTITUTION,
            _TERMINAL,
            _text("reason", "情形", "What"),
        ),
    ),
    Section(
        "pharmacy_buys",
        "药店小额支付（供异常使用判断）",
        "Small pharmacy bills, kept to notice misuse",
        (
            _time("settled_time", "结算时间", "When"),
            _text("role", "本人身份", "Own part"),
            _INSTITUTION,
            _text("setl_id", "结算ID", "Settlement"),
        ),
    ),
    Section(
        "funded_bills",
        "个人账户支付记录（供提出异议）",
        "Bills that an account paid for, kept for objections",
        (
            _time("settled_time", "结算时间", "When"),
            _text("role", "本人身份", "Own part"),
            _INSTITUTION,
            _text("setl_id", "结算ID", "Settlement"),
        ),
    ),
    Section(
        "corrections",
        "更正申请",
        "Corrections",
        (
            _time("requested_time", "申请时间", "Requested"),
            _text("field", "项目", "Field"),
            _text("psn_cert_type", "证件类型", "Kind of certificate"),
            _text("value", "申请更正为", "Wanted value"),
            _text("evidence", "证明材料", "Evidence"),
            _STATE,
            _CAUSE,
            _time("decided_time", "处理时间", "Decided"),
        ),
    ),
    Section(
        "lookups",
        "个人信息查询记录",
        "Who looked you up",
        (
            _time("looked_up_time", "查询时间", "When"),
            _text("purpose", "用途", "Why"),
            _text("asked_by", "查询方", "Who"),
            _flag("declared", "查询方为自行申报", "The name is only declared"),
        ),
    ),
)
