"""One request for each method about codes, cards, wards and faces, as somebody sends it in earnest."""

from __future__ import annotations

from google.protobuf.message import Message

from gongji.identity.v1 import attestations_pb2, cards_pb2, credentials_pb2, person_pb2
from tests.integration.identity.conftest import HOSPITAL, LI, WANG

CARD_NO = "A12345678"
SOME_ID = "00000000-0000-7000-8000-000000000001"


def sound_credentials() -> dict[str, Message]:
    """By the method's name."""
    li = credentials_pb2.CertificateShown(
        psn_cert_type=person_pb2.CERTIFICATE_TYPE_RESIDENT_ID, certno=LI["certno"], psn_name=LI["psn_name"]
    )
    return {
        "IssueCode": credentials_pb2.IssueCodeRequest(psn_no=WANG["psn_no"], guardian_psn_no=LI["psn_no"]),
        "DecodeCredential": credentials_pb2.DecodeCredentialRequest(
            identity_card=li,
            fixmedins_code=HOSPITAL,
            terminal_no="T1",
            business_type="01301",
            mdtrt_id="M1",
            agent=li,
        ),
        "EndSigningKey": credentials_pb2.EndSigningKeyRequest(
            kid="20260701-0123456789abcdef", opter="zhang01", cause="密钥泄露"
        ),
        "AddWard": credentials_pb2.AddWardRequest(
            guardian_psn_no=WANG["psn_no"],
            ward_psn_no=LI["psn_no"],
            guardian_attestation_id=SOME_ID,
            ward_attestation_id=SOME_ID,
        ),
        "RemoveWard": credentials_pb2.RemoveWardRequest(guardian_psn_no=WANG["psn_no"], ward_psn_no=LI["psn_no"]),
        "ListWards": credentials_pb2.ListWardsRequest(guardian_psn_no=WANG["psn_no"]),
        "IssueCard": cards_pb2.IssueCardRequest(psn_no=WANG["psn_no"], card_no=CARD_NO, opter="zhang01"),
        "BeginActivation": cards_pb2.BeginActivationRequest(card_no=CARD_NO, fixmedins_code=HOSPITAL, terminal_no="T1"),
        "ActivateCard": cards_pb2.ActivateCardRequest(
            card_no=CARD_NO,
            digest="0" * 64,
            pin="204857",
            attestation_id=SOME_ID,
            fixmedins_code=HOSPITAL,
            terminal_no="T1",
        ),
        "ReportCardLost": cards_pb2.ReportCardLostRequest(psn_no=WANG["psn_no"], opter="zhang01", card_id=SOME_ID),
        "ChangePin": cards_pb2.ChangePinRequest(card_no=CARD_NO, pin="204857", new_pin="738104"),
        "UnlockPin": cards_pb2.UnlockPinRequest(
            psn_no=WANG["psn_no"], attestation_id=SOME_ID, new_pin="738104", opter="zhang01", cause="忘记密码"
        ),
        "ListCards": cards_pb2.ListCardsRequest(psn_no=WANG["psn_no"], page_size=1, page_token="x"),  # noqa: S106  Of a page.
        "RegisterVerifier": attestations_pb2.RegisterVerifierRequest(
            verifier_no="face-house", kid="f1", public_key=bytes(range(32)), name="核身服务", opter="zhang01"
        ),
        "EndVerifier": attestations_pb2.EndVerifierRequest(
            verifier_no="face-house", kid="f1", opter="zhang01", cause="合同到期"
        ),
        "ListVerifiers": attestations_pb2.ListVerifiersRequest(page_size=1, page_token="x"),  # noqa: S106  Of a page.
        "VerifyAttestation": attestations_pb2.VerifyAttestationRequest(
            attestation="a.b.c", psn_no=WANG["psn_no"], purpose=attestations_pb2.ATTESTATION_PURPOSE_REAL_NAME
        ),
        "UseAttestation": attestations_pb2.UseAttestationRequest(
            attestation_id=SOME_ID,
            psn_no=WANG["psn_no"],
            purpose=attestations_pb2.ATTESTATION_PURPOSE_JOIN_GROUP,
            used_for=f"group:{SOME_ID}",
        ),
    }
