"""A sound request of each method about sanctions, appeals and risk events."""

from __future__ import annotations

from google.protobuf.message import Message

from gongji.identity.v1 import risk_pb2, sanctions_pb2
from tests.integration.identity.conftest import START, WANG

SOMETHING = "00000000-0000-7000-8000-000000000001"


def sound_sanctions() -> dict[str, Message]:
    """As an officer sends them."""
    sanction = sanctions_pb2.ImposeSanctionRequest(
        psn_no=WANG["psn_no"], basis_clause="第四十一条", decision_no="3号", organ="医保局", opter="zhang01"
    )
    sanction.from_time.FromDatetime(START)
    sanction.to_time.FromDatetime(START.replace(month=START.month + 4))
    return {
        "ImposeSanction": sanction,
        "LiftSanction": sanctions_pb2.LiftSanctionRequest(sanction_id=SOMETHING, cause="误", opter="zhang01"),
        "ListSanctions": sanctions_pb2.ListSanctionsRequest(psn_no=WANG["psn_no"], past=True, page_size=10),
        "FileAppeal": sanctions_pb2.FileAppealRequest(
            sanction_id=SOMETHING, appeal_no="复议7号", filed_date="2026-07-01", opter="zhang01"
        ),
        "DecideAppeal": sanctions_pb2.DecideAppealRequest(
            appeal_id=SOMETHING,
            state=sanctions_pb2.APPEAL_STATE_GRANTED,
            decision_no="复议决7号",
            cause="证据不足",
            opter="zhang01",
        ),
        "ListAppeals": sanctions_pb2.ListAppealsRequest(page_size=10),
        "ListRiskEvents": risk_pb2.ListRiskEventsRequest(
            state=risk_pb2.RISK_STATE_OPEN, kind=risk_pb2.RISK_KIND_FAR_TERMINALS, psn_no=WANG["psn_no"], page_size=10
        ),
        "GetRiskEvent": risk_pb2.GetRiskEventRequest(risk_event_id=SOMETHING),
        "ObjectToUse": risk_pb2.ObjectToUseRequest(
            psn_no=WANG["psn_no"], setl_id=SOMETHING, ground=risk_pb2.OBJECTION_GROUND_IMPERSONATED
        ),
        "DecideRiskEvent": risk_pb2.DecideRiskEventRequest(
            risk_event_id=SOMETHING, state=risk_pb2.RISK_STATE_DISMISSED, cause="出差", opter="zhang01"
        ),
    }
