"""The wallets' face: requests into values, wallets and transfers into answers."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from gongji.identity.v1 import kinship_pb2, person_pb2
from gongji.settlement.v1 import account_pb2
from gongji.settlement.v1 import wallets_pb2 as pb
from kernel.ids import AdmDvs, PsnNo
from kernel.policy import WalletLimits
from services.settlement.domain.split import Role
from services.settlement.domain.wallet import Gift, Opening, TransferShown, TransferState, Wallet
from services.settlement.store.wallets import UnderWay

_KINDS: Final = {
    Role.OWN: account_pb2.ACCOUNT_KIND_PERSONAL,
    Role.WALLET: account_pb2.ACCOUNT_KIND_WALLET,
}
_ROLES: Final = {kind: role for role, kind in _KINDS.items()}
_RELATION_PREFIX: Final = "RELATION_"
_STATES: Final = {state: pb.TransferState.Value(f"TRANSFER_STATE_{state.value}") for state in TransferState}


def opening(request: pb.OpenWalletRequest) -> Opening:
    """A wallet asked for; who names himself as the relative who opens it opens his own."""
    return Opening(
        wallet_id=UUID(request.request_id),
        psn_no=PsnNo(request.psn_no),
        area=AdmDvs(request.area),
        opener=PsnNo(request.opener_psn_no) if request.opener_psn_no not in {"", request.psn_no} else None,
        attestation_id=UUID(request.attestation_id),
    )


def gift(request: pb.TransferRequest) -> Gift:
    """A transfer asked for."""
    return Gift(
        request_id=UUID(request.request_id),
        giver=PsnNo(request.giver_psn_no),
        source=_ROLES[request.give_from],
        receiver=PsnNo(request.receiver_psn_no),
        amount_fen=request.amount_fen,
    )


def kinship_of(answer: kinship_pb2.VerifyKinshipResponse) -> tuple[str, str]:
    """The proven relation (SPOUSE, PARENT, ...) and no reason; or no relation, and why none is proved."""
    if answer.relation == person_pb2.RELATION_UNSPECIFIED:
        return "", answer.reason
    return person_pb2.Relation.Name(answer.relation).removeprefix(_RELATION_PREFIX), ""


def wallet_message(wallet: Wallet) -> pb.Wallet:
    """A wallet as it stands."""
    return pb.Wallet(
        psn_no=wallet.psn_no,
        area=wallet.area,
        opened_time=_timestamp(wallet.opened_at),
        opener_psn_no=wallet.opener or "",
    )


def under_way_message(under_way: UnderWay) -> pb.UnderWay:
    """What is neither quite in a wallet nor out of it."""
    return pb.UnderWay(
        outgoing_fen=under_way.outgoing_fen,
        incoming_fen=under_way.incoming_fen,
        following_fen=under_way.following_fen,
    )


def limits_message(limits: WalletLimits, *, left_today: int) -> pb.TransferLimits:
    """What a person may still transfer today."""
    return pb.TransferLimits(
        left_today=left_today,
        each_fen=limits.each_fen,
        closed_from=limits.closed_from.isoformat("minutes"),
        closed_to=limits.closed_to.isoformat("minutes"),
    )


def transfer_message(transfer: TransferShown) -> pb.WalletTransfer:
    """A transfer as one of its people sees it: what the giver gave from is the giver's alone to know."""
    message = pb.WalletTransfer(
        transfer_id=str(transfer.transfer_id),
        side=pb.TRANSFER_SIDE_GIVEN if transfer.is_given else pb.TRANSFER_SIDE_RECEIVED,
        other_name_masked=transfer.other_name,
        relation=person_pb2.Relation.Value(f"{_RELATION_PREFIX}{transfer.relation}"),
        amount_fen=transfer.amount_fen,
        state=_STATES[transfer.state],
        cause=transfer.cause,
        begun_time=_timestamp(transfer.begun_at),
        accept_by_time=_timestamp(transfer.accept_by),
    )
    if transfer.decided_at is not None:
        message.decided_time.CopyFrom(_timestamp(transfer.decided_at))
    if transfer.is_given:
        message.given_from = _KINDS[transfer.source]
    return message


def _timestamp(instant: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(instant)
    return stamp
