"""A sound request of each method about kinship, as somebody sends it in earnest."""

from __future__ import annotations

from google.protobuf.message import Message

from gongji.identity.v1 import kinship_pb2, person_pb2
from tests.integration.identity.conftest import LI, WANG

FACT: str = "00000000-0000-7000-8000-000000000001"


def sound_kinship() -> dict[str, Message]:
    """By method."""
    return {
        "SubmitKinshipFact": kinship_pb2.SubmitKinshipFactRequest(
            kind=person_pb2.KINSHIP_FACT_KIND_MARRIED_TO,
            psn_no=WANG["psn_no"],
            other_psn_no=LI["psn_no"],
            evidence=kinship_pb2.EVIDENCE_MARRIAGE_CERTIFICATE,
            from_date="2010-01-01",
            to_date="2020-01-01",
            issued_on="2010-01-01",
            expires_on="2030-01-01",
        ),
        "ReviewKinshipFact": kinship_pb2.ReviewKinshipFactRequest(
            fact_id=FACT, state=person_pb2.KINSHIP_FACT_STATE_REJECTED, cause="误", opter="zhang01"
        ),
        "CheckWithRegistry": kinship_pb2.CheckWithRegistryRequest(fact_id=FACT),
        "ListReviews": kinship_pb2.ListReviewsRequest(page_size=10, page_token=""),
        "GetKinshipFact": kinship_pb2.GetKinshipFactRequest(fact_id=FACT),
        "ListKinshipFacts": kinship_pb2.ListKinshipFactsRequest(psn_no=WANG["psn_no"], page_size=10, page_token=""),
        "LoadRegistryRows": kinship_pb2.LoadRegistryRowsRequest(
            rows=[
                kinship_pb2.RegistryRow(
                    kind="MARRIED_TO",
                    certno_a=WANG["certno"],
                    certno_b=LI["certno"],
                    from_date="2010-01-01",
                    to_date="2020-01-01",
                )
            ]
        ),
        "VerifyKinship": kinship_pb2.VerifyKinshipRequest(
            psn_no=WANG["psn_no"], other_psn_no=LI["psn_no"], on_date="2015-01-01"
        ),
    }
