"""The answer of 2001, as it is told."""

from __future__ import annotations

from datetime import date
from typing import Final

from gongji.identity.v1 import eligibility_pb2
from kernel.ids import PsnNo
from services.identity.domain.eligibility import RULES, Eligibilities, Hindrance, Use

ENJOYED: Final = "1"
NOT_ENJOYED: Final = "0"


def eligibility_message(psn_no: PsnNo, on_date: date, found: Eligibilities) -> eligibility_pb2.CheckEligibilityResponse:
    """Each use with its flag and every rule against it."""
    return eligibility_pb2.CheckEligibilityResponse(
        psn_no=psn_no,
        on_date=on_date.isoformat(),
        eligibilities=[_eligibility(use, found[use]) for use in Use],
    )


def _eligibility(use: Use, hindrances: tuple[Hindrance, ...]) -> eligibility_pb2.Eligibility:
    return eligibility_pb2.Eligibility(
        use=eligibility_pb2.Use.Value(f"USE_{use.name}"),
        trt_enjymnt_flag=NOT_ENJOYED if hindrances else ENJOYED,
        trt_chk_rslt="".join(dict.fromkeys(RULES[each.reason].zh for each in hindrances)),
        hindrances=[_hindrance(each) for each in hindrances],
    )


def _hindrance(hindrance: Hindrance) -> eligibility_pb2.Hindrance:
    rule = RULES[hindrance.reason]
    return eligibility_pb2.Hindrance(
        reason=eligibility_pb2.HindranceReason.Value(f"HINDRANCE_REASON_{hindrance.reason.name}"),
        rule=hindrance.source,
        text_zh=rule.zh,
        text_en=rule.en,
        until_date="" if hindrance.until is None else hindrance.until.isoformat(),
    )
