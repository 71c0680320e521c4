"""What a terminal is told of plans and payments."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import pytest

from gongji.settlement.v1 import settlement_pb2 as pb
from kernel.ids import PaymentId
from services.settlement.domain.payment import Key, reversal_key
from services.settlement.domain.plan import Plan, StoredPlan
from services.settlement.saga.payment import REVERSED, AccountAfter, Payment, PaymentKind, State
from services.settlement.wire import desk as wire
from tests.unit.settlement.test_plan import planned
from tests.unit.split.contents import SCENARIOS

KEY: Final = Key("H65010000001", "2207", "H65010000001202611211000000101")
DECIDED_AT: Final = datetime(2026, 11, 21, 2, 0, 0, tzinfo=UTC)
SETTLE: Final = Payment(
    payment_id=PaymentId(UUID(int=1)),
    kind=PaymentKind.SETTLE,
    state=State.COMMITTED,
    key=KEY,
    request_hash=b"",
    psn_no=None,
    year=2026,
    decided_at=DECIDED_AT,
)
REVOKED_BY: Final = replace(
    SETTLE,
    payment_id=PaymentId(UUID(int=2)),
    kind=PaymentKind.REFUND,
    key=Key(KEY.fixmedins_code, "2208", KEY.msgid),
    original_id=SETTLE.payment_id,
)
REVERSED_BY: Final = replace(REVOKED_BY, key=reversal_key(KEY))


def three_funders() -> Plan:
    """The plan of the scenario with an own account and several funders."""
    return planned(SCENARIOS[2])[0]


@pytest.mark.parametrize(
    ("payment", "refund", "state"),
    [
        (replace(SETTLE, state=State.TRYING), None, pb.SETTLEMENT_STATE_IN_PROGRESS),
        (SETTLE, None, pb.SETTLEMENT_STATE_SETTLED),
        (replace(SETTLE, state=State.DONE), None, pb.SETTLEMENT_STATE_SETTLED),
        (SETTLE, REVOKED_BY, pb.SETTLEMENT_STATE_REVOKED),
        (SETTLE, REVERSED_BY, pb.SETTLEMENT_STATE_REVERSED),
        (replace(SETTLE, state=State.ABORTED, reason="ACCOUNT_FROZEN"), None, pb.SETTLEMENT_STATE_REFUSED),
        (replace(SETTLE, state=State.CLOSED, reason=REVERSED), None, pb.SETTLEMENT_STATE_REVERSED),
        (replace(SETTLE, kind=PaymentKind.TOMBSTONE, state=State.CLOSED), None, pb.SETTLEMENT_STATE_REVERSED),
    ],
)
def test_every_state_of_a_row_has_one_word_for_terminals(
    payment: Payment, refund: Payment | None, state: pb.SettlementState.ValueType
) -> None:
    """A terminal is told where the payment stands, by what became of it and what took it back."""
    assert wire.state_of(payment, refund) == state


def test_a_settlement_tells_every_figure_of_its_plan() -> None:
    """Each national amount, each funder, the key and the times stand in the answer as they stand in the plan."""
    plan = three_funders()
    message = wire.settled_message(replace(SETTLE, legs=plan.legs), plan)
    for field in pb.ResultAmounts.DESCRIPTOR.fields:
        assert getattr(message.amounts, field.name) == getattr(plan.amounts, field.name)
    assert [(f.seq, f.psn_no, f.past_fen, f.current_fen) for f in message.funders] == [
        (f.seq, f.psn_no, f.past_fen, f.current_fen) for f in plan.funders
    ]
    assert (message.key.infno, message.key.msgid) == (2207, KEY.msgid)
    assert message.setl_time.ToDatetime(tzinfo=UTC) == DECIDED_AT
    assert message.setl_id == str(SETTLE.payment_id)


def test_the_balance_told_is_the_own_accounts_after_the_hold() -> None:
    """余额 is balance less held, as the own account's ledger voted it, and no funder's."""
    plan = three_funders()
    own = plan.legs[0]
    after = (
        AccountAfter(own.leg_no, 700, 300, 100, 50, 2026, frozen=False),
        AccountAfter(plan.legs[1].leg_no, 9_999, 0, 0, 0, 2026, frozen=False),
    )
    assert wire.settled_message(replace(SETTLE, legs=plan.legs, balances_after=after), plan).balc == 850


def test_without_an_own_leg_the_planned_balance_is_told_and_without_an_account_none() -> None:
    """An account that gave nothing still has a balance; a resident without an account has none."""
    plan = replace(three_funders(), own_balance_fen=1_234)
    assert wire.settled_message(SETTLE, plan).balc == 1_234
    assert not wire.settled_message(SETTLE, replace(plan, own_balance_fen=None)).HasField("balc")


def test_what_is_not_paid_tells_no_figures() -> None:
    """An undecided or refused payment shows whose it is and where it stands, no amounts and no funders."""
    for state in (State.TRYING, State.ABORTED, State.CLOSED):
        message = wire.settled_message(replace(SETTLE, state=state), three_funders())
        assert not message.HasField("amounts")
        assert not message.funders
        assert not message.HasField("balc")


def test_a_revocation_has_every_sign_turned() -> None:
    """The record of a revocation names its original and gives each amount, each share negative."""
    plan = three_funders()
    message = wire.refund_message(REVOKED_BY, plan)
    assert (message.original_setl_id, message.setl_id) == (str(SETTLE.payment_id), str(REVOKED_BY.payment_id))
    for field in pb.ResultAmounts.DESCRIPTOR.fields:
        assert getattr(message.amounts, field.name) == -getattr(plan.amounts, field.name)
    assert [(f.past_fen, f.current_fen) for f in message.funders] == [
        (-f.past_fen, -f.current_fen) for f in plan.funders
    ]


def test_a_reversals_refund_carries_no_key() -> None:
    """No terminal ever sent a request for it, so there is no key to ask by."""
    assert not wire.refund_message(REVERSED_BY, three_funders()).HasField("key")
    assert wire.refund_message(REVOKED_BY, three_funders()).key.infno == pb.INFNO_2208


def test_a_plan_message_brings_what_settle_must_bring_back() -> None:
    """Id and digest are those of the stored plan, and the time it expires the database's."""
    plan = three_funders()
    message = wire.plan_message(StoredPlan(plan, DECIDED_AT, plan.digest))
    assert (message.plan_id, message.digest) == (str(plan.plan_id), plan.digest)
    assert message.expires_time.ToDatetime(tzinfo=UTC) == DECIDED_AT


def test_a_presented_visit_is_the_requests() -> None:
    """Every amount of the bill and the national transaction reach the domain as they were sent."""
    bill = pb.Bill(med_type="11", **{name: number for number, name in enumerate(wire.BILL_AMOUNTS, 1)})
    request = pb.PreSettleRequest(fixmedins_code=KEY.fixmedins_code, infno=pb.INFNO_2206, psn_no="1", bill=bill)
    visit = wire.presented(request)
    assert (visit.infno, visit.med_type) == ("2206", "11")
    assert [getattr(visit.bill, name) for name in wire.BILL_AMOUNTS] == list(range(1, 15))
