"""Any request at all, made from the descriptors: an answer or a named refusal, never INTERNAL, never a hang."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from gongji.settlement.v1 import (
    account_pb2,
    claims_pb2,
    clearing_pb2,
    premiums_pb2,
    reconciliation_pb2,
    returns_pb2,
    settlement_pb2,
    visits_pb2,
    wallets_pb2,
)
from gongji_terminal.msgid import next_msgid
from tests.anything import CALL_S, broken_by
from tests.integration.settlement.desk.town import HAMI, HOSPITAL, PHARMACY, URUMQI, Town

METHODS: Final = [
    (service.full_name, method.name, method.output_type, (method.client_streaming, method.server_streaming))
    for file in (
        *(settlement_pb2, visits_pb2, account_pb2, wallets_pb2),
        *(clearing_pb2, reconciliation_pb2, returns_pb2, premiums_pb2, claims_pb2),
    )
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
PLAUSIBLE: Final = (
    *(HOSPITAL, PHARMACY, URUMQI, HAMI, "650100000000001", "T01", "m1", "11", "310", "COURT_ORDER", "row-1"),
    *("2026-11-21", "390", "21", "2207"),
    *("0190a0a0-0000-7000-8000-000000000001", "a.b.c", f"{HOSPITAL}202611211000000101"),
)
"""Values that pass the rules of one field or another, so that requests get past the door."""


async def good_requests(town: Town) -> dict[str, Message]:
    """A request of each method that would be answered."""
    patient = await town.person(past=1_000)
    visit = town.presented(patient, 100)
    plan = (await town.desk.PreSettle(visit, timeout=CALL_S)).plan
    key = settlement_pb2.RequestKey(
        fixmedins_code=HOSPITAL,
        infno=settlement_pb2.INFNO_2207,
        msgid=next_msgid(HOSPITAL, 98, now=datetime.now(UTC)),
    )
    revocation_key = settlement_pb2.RequestKey(
        fixmedins_code=HOSPITAL, infno=settlement_pb2.INFNO_2208, msgid=key.msgid
    )
    settle = settlement_pb2.SettleRequest(key=key, plan_id=plan.plan_id, plan_digest=plan.digest)
    account: dict[str, Any] = {"psn_no": patient, "account_kind": account_pb2.ACCOUNT_KIND_PERSONAL, "area": URUMQI}
    freeze = {"psn_no": patient, "area": URUMQI, "cause": "COURT_ORDER", "request_id": str(uuid4())}
    credit = account_pb2.CreditAccountRequest(
        **account, part=account_pb2.ACCOUNT_PART_PAST, amount_fen=1, row_id=str(uuid4())
    )
    return {
        "PreSettle": visit,
        "Settle": settle,
        "GetSettlement": settlement_pb2.GetSettlementRequest(fixmedins_code=HOSPITAL, key=key),
        "RevokeSettle": settlement_pb2.RevokeSettleRequest(key=revocation_key, setl_id=str(uuid4())),
        "ReverseTransaction": settlement_pb2.ReverseTransactionRequest(
            fixmedins_code=HOSPITAL, oinfno=settlement_pb2.INFNO_2208, omsgid=key.msgid
        ),
        "CreditAccount": credit,
        "CreditAccounts": account_pb2.CreditAccountsRequest(rows=[credit]),
        "FreezeAccount": account_pb2.FreezeAccountRequest(**freeze),
        "UnfreezeAccount": account_pb2.UnfreezeAccountRequest(**freeze),
        "CloseAccount": account_pb2.CloseAccountRequest(**account, cause="DIED", request_id=str(uuid4())),
        "MoveAccount": account_pb2.MoveAccountRequest(
            psn_no=patient, from_area=URUMQI, to_area=HAMI, request_id=str(uuid4())
        ),
        "GetBalance": account_pb2.GetBalanceRequest(**account),
        "GetStatement": account_pb2.GetStatementRequest(**account),
        "PlanReturn": returns_pb2.PlanReturnRequest(setl_id=str(uuid4()), rest=visit),
        "GetPersonInfo": visits_pb2.GetPersonInfoRequest(
            fixmedins_code=HOSPITAL, terminal_no="T01", ec_token=visit.ec_token, mdtrt_id=visit.mdtrt_id
        ),
        "ListBillLines": visits_pb2.ListBillLinesRequest(fixmedins_code=HOSPITAL, setl_id=str(uuid4())),
        **_of_wallets(patient),
        **_of_reconciliation(),
        **_of_clearing(),
        **_of_premiums(patient),
        **_of_claims(patient),
    }


def _of_claims(psn_no: str) -> dict[str, Message]:
    """As before, of reimbursement claims."""
    claim_id, request_id = str(uuid4()), str(uuid4())
    bill = settlement_pb2.Bill(med_type="11", medfee_sumamt=100, inscp_scp_amt=100)
    paper = claims_pb2.ClaimDocument(kind="INVOICE", sha256=bytes(32), bytes_count=1)
    return {
        "SubmitClaim": claims_pb2.SubmitClaimRequest(
            request_id=request_id,
            psn_no=psn_no,
            fixmedins_code=HOSPITAL,
            invoice_no=uuid4().hex.upper(),
            bill=bill,
            documents=[paper],
            care_on="2026-01-02",
        ),
        "ListClaims": claims_pb2.ListClaimsRequest(area=HAMI, states=[claims_pb2.CLAIM_STATE_SUBMITTED]),
        "GetClaim": claims_pb2.GetClaimRequest(claim_id=claim_id),
        "DecideClaim": claims_pb2.DecideClaimRequest(
            claim_id=claim_id, opter="zhang01", approve=True, cause="in order"
        ),
        "AppealClaim": claims_pb2.AppealClaimRequest(claim_id=claim_id, psn_no=psn_no, objection="it was in scope"),
        "OrderPayout": claims_pb2.OrderPayoutRequest(request_id=request_id, area=HAMI, opter="zhang01"),
    }


def _of_premiums(psn_no: str) -> dict[str, Message]:
    """As before, of premiums."""
    filing = {"payer_psn_no": psn_no, "insured_psn_no": "650100000000001", "opter": "zhang01"}
    days = {"opens_on": "2030-09-01", "closes_on": "2031-02-28", "revocable_until": "2031-06-30"}
    whose: dict[str, Any] = {"payer_psn_no": psn_no, "insured_psn_no": psn_no, "year": 2031, "amount_fen": 40_000}
    return {
        "SetPremiumTariff": premiums_pb2.SetPremiumTariffRequest(
            area=HAMI, year=2031, amount_fen=40_000, opter="zhang01", **days
        ),
        "ListPremiumTariffs": premiums_pb2.ListPremiumTariffsRequest(area=HAMI),
        "FilePremiumPayer": premiums_pb2.FilePremiumPayerRequest(request_id=str(uuid4()), **filing),
        "EndPremiumFiling": premiums_pb2.EndPremiumFilingRequest(filing_id=str(uuid4()), opter="zhang01"),
        "GetPremiumDue": premiums_pb2.GetPremiumDueRequest(insured_psn_no=psn_no, year=2031),
        "PayPremium": premiums_pb2.PayPremiumRequest(
            request_id=str(uuid4()), pay_from=account_pb2.ACCOUNT_KIND_PERSONAL, **whose
        ),
        "GetPremium": premiums_pb2.GetPremiumRequest(payer_psn_no=psn_no, request_id=str(uuid4())),
        "RevokePremium": premiums_pb2.RevokePremiumRequest(payer_psn_no=psn_no, premium_id=str(uuid4())),
        "ListPremiums": premiums_pb2.ListPremiumsRequest(psn_no=psn_no),
        "ExportPaidPremiums": premiums_pb2.ExportPaidPremiumsRequest(area=URUMQI, year=2031),
    }


def _of_wallets(psn_no: str) -> dict[str, Message]:
    """As before, of wallets; what identity is asked for it cannot say here, by its name."""
    transfer = {"transfer_id": str(uuid4()), "receiver_psn_no": psn_no}
    whose = {"request_id": str(uuid4()), "psn_no": psn_no, "area": URUMQI}
    return {
        "OpenWallet": wallets_pb2.OpenWalletRequest(**whose, attestation_id=str(uuid4()), phone_confirmed=True),
        "GetWallet": wallets_pb2.GetWalletRequest(psn_no=psn_no),
        "ChangeWalletArea": wallets_pb2.ChangeWalletAreaRequest(**whose),
        "Transfer": wallets_pb2.TransferRequest(
            request_id=str(uuid4()),
            giver_psn_no=psn_no,
            give_from=account_pb2.ACCOUNT_KIND_PERSONAL,
            receiver_psn_no="650100000000001",
            amount_fen=100,
        ),
        "AcceptTransfer": wallets_pb2.AcceptTransferRequest(**transfer),
        "DeclineTransfer": wallets_pb2.DeclineTransferRequest(**transfer),
        "WithdrawTransfer": wallets_pb2.WithdrawTransferRequest(request_id=str(uuid4()), giver_psn_no=psn_no),
        "ListTransfers": wallets_pb2.ListTransfersRequest(psn_no=psn_no),
    }


def _of_clearing() -> dict[str, Message]:
    """As before, of clearing; none of the town's months is over."""
    period = "2026-10"
    return {
        "RunClearing": clearing_pb2.RunClearingRequest(period=period, carry_reason="a ledger is away"),
        "GetClearing": clearing_pb2.GetClearingRequest(period=period),
        "ListClearings": clearing_pb2.ListClearingsRequest(),
        "ListClearingPairs": clearing_pb2.ListClearingPairsRequest(period=period, debtor_area=URUMQI),
        "ExportClearing": clearing_pb2.ExportClearingRequest(period=period, creditor_area=HAMI),
        "TraceClearing": clearing_pb2.TraceClearingRequest(setl_id=str(uuid4())),
    }


def _of_reconciliation() -> dict[str, Message]:
    """As before, of a day's end; a header alone is an upload of nothing."""
    day: dict[str, Any] = {"fixmedins_code": HOSPITAL, "stmt_date": "2026-11-21"}
    total = reconciliation_pb2.StatementTotal(
        insutype="310", clr_type="11", amounts=reconciliation_pb2.StatementAmounts()
    )
    return {
        "ReconcileTotal": reconciliation_pb2.ReconcileTotalRequest(
            fixmedins_code=HOSPITAL, stmt_begndate="2026-11-21", stmt_enddate="2026-11-21", totals=[total]
        ),
        "ReconcileDetail": reconciliation_pb2.ReconcileDetailRequest(
            header=reconciliation_pb2.ReconcileDetailHeader(**day)
        ),
        "GetReconciliation": reconciliation_pb2.GetReconciliationRequest(**day),
        "StreamDifferences": reconciliation_pb2.StreamDifferencesRequest(**day),
        "ListDifferences": reconciliation_pb2.ListDifferencesRequest(area=URUMQI),
        "ResolveDifference": reconciliation_pb2.ResolveDifferenceRequest(
            difference_id=str(uuid4()), state=reconciliation_pb2.DIFFERENCE_STATE_RESOLVED, cause="c", opter="z1"
        ),
    }


@pytest.mark.parametrize(
    ("service", "method", "answer_type", "streams"), METHODS, ids=[method for _, method, *_ in METHODS]
)
async def test_any_request_gets_an_answer_or_a_named_refusal(
    town: Town, service: str, method: str, answer_type: Descriptor, streams: tuple[bool, bool]
) -> None:
    """No field of any request makes the desk break: INTERNAL never, a reason always, in the time of the call."""
    good = (await good_requests(town))[method]
    broken = await broken_by(town.channel, f"/{service}/{method}", answer_type, good, PLAUSIBLE, streams=streams)
    assert broken == []
