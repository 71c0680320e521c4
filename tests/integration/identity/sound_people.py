"""One request for each method about people that an office or a batch job uses, as somebody sends it in earnest."""

from __future__ import annotations

from google.protobuf.message import Message

from gongji.identity.v1 import identity_pb2, person_pb2
from tests.integration.identity.conftest import LI, WANG


def sound_people() -> dict[str, Message]:
    """By the method's name."""
    return {
        "RegisterPeople": identity_pb2.RegisterPeopleRequest(
            rows=[
                identity_pb2.PersonRow(
                    psn_cert_type=person_pb2.CERTIFICATE_TYPE_BIRTH_CERTIFICATE,
                    certno="S650123456",
                    psn_name="王小宝",
                    brdy="2026-06-01",
                    gend="1",
                    psn_no="650100000000077",
                    insutype="390",
                    insuplc_admdvs="650100",
                )
            ]
        ),
        "UpdatePerson": identity_pb2.UpdatePersonRequest(
            psn_no=WANG["psn_no"], psn_name="王建军", brdy="1985-03-12", gend="1", opter="zhang01", cause="户口簿更正"
        ),
        "ChangeCertificate": identity_pb2.ChangeCertificateRequest(
            psn_no=WANG["psn_no"],
            psn_cert_type=person_pb2.CERTIFICATE_TYPE_TAIWAN_PERMIT,
            certno="01234567",
            psn_name="王建国",
            opter="zhang01",
            cause="换证",
        ),
        "ReportDeath": identity_pb2.ReportDeathRequest(
            psn_no=WANG["psn_no"],
            death_date="2026-06-30",
            evidence=identity_pb2.DEATH_EVIDENCE_MEDICAL_CERTIFICATE,
            opter="zhang01",
        ),
        "WithdrawDeath": identity_pb2.WithdrawDeathRequest(psn_no=WANG["psn_no"], opter="zhang01", cause="误报"),
        "MergePersons": identity_pb2.MergePersonsRequest(
            keep_psn_no=WANG["psn_no"], double_psn_no=LI["psn_no"], opter="zhang01", cause="重复登记"
        ),
    }
