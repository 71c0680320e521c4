"""Cards, between messages and the domain."""

from __future__ import annotations

from typing import Final

from gongji.identity.v1 import cards_pb2 as pb
from services.identity.domain.card import Activation, Card, CardState
from services.identity.wire.values import timestamp_of

_STATES: Final = {state: pb.CardState.Value(f"CARD_STATE_{state.name}") for state in CardState}


def card_message(card: Card) -> pb.Card:
    """A card without its number."""
    return pb.Card(
        card_id=str(card.card_id),
        psn_no=card.psn_no,
        card_no_masked=card.card_no_masked,
        state=_STATES[card.state],
        pin_locked=card.state is CardState.ACTIVE and card.is_locked,
        issued_time=timestamp_of(card.issued_at),
        activated_time=None if card.activated_at is None else timestamp_of(card.activated_at),
    )


def activation_message(activation: Activation) -> pb.BeginActivationResponse:
    """What the holder confirms."""
    return pb.BeginActivationResponse(
        name_masked=activation.name_masked,
        linked_accounts=[
            pb.LinkedAccount(
                insutype=account.enrolment.insutype.value,
                insuplc_admdvs=account.enrolment.insuplc_admdvs,
                psn_insu_stas=account.enrolment.psn_insu_stas.value,
                has_personal_account=account.has_personal_account,
            )
            for account in activation.accounts
        ],
        digest=activation.digest,
    )
