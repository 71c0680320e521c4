"""A sound request of each method about institutions and terminals, and of those that other rooms follow identity by."""

from __future__ import annotations

from typing import Final

from google.protobuf.message import Message

from gongji.identity.v1 import identity_pb2, institutions_pb2, person_pb2
from tests.integration.identity.conftest import HOSPITAL

PLACE: Final = person_pb2.Place(longitude_udeg=87_617_733, latitude_udeg=43_792_818, admdvs="650103")
OFFICER: Final = {"opter": "zhang01", "cause": "年度考核"}


def sound_institutions() -> dict[str, Message]:
    """As officers, cashiers and other rooms send them."""
    terminal = {"fixmedins_code": HOSPITAL, "terminal_no": "T1"}
    return {
        "RegisterInstitution": institutions_pb2.RegisterInstitutionRequest(
            institution=person_pb2.Institution(
                fixmedins_code=HOSPITAL,
                fixmedins_name="共济医院",
                state=person_pb2.INSTITUTION_STATE_DESIGNATED,
                level=person_pb2.INSTITUTION_LEVEL_THREE,
                agreement_from_date="2026-01-01",
                agreement_to_date="2026-12-31",
                capabilities=[person_pb2.INSTITUTION_CAPABILITY_INPATIENT],
                place=PLACE,
            ),
            opter="zhang01",
        ),
        "SuspendInstitution": institutions_pb2.SuspendInstitutionRequest(fixmedins_code=HOSPITAL, **OFFICER),
        "ResumeInstitution": institutions_pb2.ResumeInstitutionRequest(fixmedins_code=HOSPITAL, **OFFICER),
        "EndInstitution": institutions_pb2.EndInstitutionRequest(fixmedins_code=HOSPITAL, **OFFICER),
        "GetInstitution": institutions_pb2.GetInstitutionRequest(fixmedins_code=HOSPITAL),
        "ListInstitutions": institutions_pb2.ListInstitutionsRequest(admdvs="650100", page_size=10),
        "RegisterTerminal": institutions_pb2.RegisterTerminalRequest(
            **terminal, terminal_name="收费一窗口", place=PLACE, opter="zhang01"
        ),
        "RetireTerminal": institutions_pb2.RetireTerminalRequest(**terminal, **OFFICER),
        "ListTerminals": institutions_pb2.ListTerminalsRequest(fixmedins_code=HOSPITAL, page_size=10),
        "SignIn": institutions_pb2.SignInRequest(**terminal, opter="li01"),
        "SignOut": institutions_pb2.SignOutRequest(fixmedins_code=HOSPITAL, sign_no="20260701abcdef0123456789"),
        "StreamChanges": identity_pb2.StreamChangesRequest(after="1"),
    }
