"""One request for each method of RightsService, and for CheckEligibility, as somebody sends it in earnest."""

from __future__ import annotations

from google.protobuf.message import Message

from gongji.identity.v1 import eligibility_pb2, rights_pb2
from tests.integration.identity.conftest import HOSPITAL, WANG

NOWHERE = "00000000-0000-7000-8000-000000000001"


def sound_rights() -> dict[str, Message]:
    """By the method's name."""
    return {
        "CheckEligibility": eligibility_pb2.CheckEligibilityRequest(
            psn_no=WANG["psn_no"], on_date="2026-06-01", fixmedins_code=HOSPITAL
        ),
        "ExportPerson": rights_pb2.ExportPersonRequest(psn_no=WANG["psn_no"], attestation_id=NOWHERE),
        "ListLookups": rights_pb2.ListLookupsRequest(psn_no=WANG["psn_no"], page_size=10),
        "RequestCorrection": rights_pb2.RequestCorrectionRequest(
            psn_no=WANG["psn_no"],
            field=rights_pb2.CORRECTION_FIELD_NAME,
            value="王建军",
            evidence=rights_pb2.CORRECTION_EVIDENCE_POLICE_STATEMENT,
        ),
        "ListCorrections": rights_pb2.ListCorrectionsRequest(
            state=rights_pb2.CORRECTION_STATE_REQUESTED, psn_no=WANG["psn_no"], page_size=10
        ),
        "DecideCorrection": rights_pb2.DecideCorrectionRequest(
            correction_id=NOWHERE, state=rights_pb2.CORRECTION_STATE_REFUSED, opter="zhang01", cause="证明不符"
        ),
    }
