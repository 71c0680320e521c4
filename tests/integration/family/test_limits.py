"""Limits of a binding per payment and per month, from the request to the funder's real ledger and back."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from gongji.family.v1 import binding_pb2, events_pb2, family_pb2
from gongji.ledger.v1 import ledger_pb2
from kernel.failures import Failure
from tests.integration.family.house import HAMI, House, authorisation_bytes
from tests.integration.family.test_bindings import ACTIVE, OPENING, absent_ledger, amend, refused
from tests.patience import until

MONTH = 202611
MONEY_FEN = 500_00


async def bind(house: House, **limits: int) -> binding_pb2.Binding:
    """A binding of two with these limits and an amount of 3,000 元."""
    funder, beneficiary, group_id = await house.couple()
    await house.sign(funder)
    return await ask(house, group_id, funder, beneficiary, None, **limits)


async def ask(
    house: House, group_id: str, funder: str, beneficiary: str, request_id: str | None = None, **limits: int
) -> binding_pb2.Binding:
    """The binding as Bind answers it."""
    request = family_pb2.BindRequest(
        group_id=group_id,
        funder_psn_no=funder,
        beneficiary_psn_no=beneficiary,
        authorised_fen=300_000,
        request_id=request_id or str(uuid4()),
        per_payment_fen=limits.get("per_payment_fen"),
        per_month_fen=limits.get("per_month_fen"),
    )
    return (await house.family.Bind(request)).binding


async def limit(house: House, binding: binding_pb2.Binding, **limits: int) -> binding_pb2.Binding:
    """The binding as AmendLimits answers it."""
    request = family_pb2.AmendLimitsRequest(
        binding_id=binding.binding_id,
        funder_psn_no=binding.funder_psn_no,
        per_payment_fen=limits.get("per_payment_fen"),
        per_month_fen=limits.get("per_month_fen"),
    )
    return (await house.family.AmendLimits(request)).binding


def limits_of(kept: binding_pb2.Binding | ledger_pb2.Authorisation) -> tuple[int | None, int | None]:
    """Per payment and per month; None = no limit."""
    return (
        kept.per_payment_fen if kept.HasField("per_payment_fen") else None,
        kept.per_month_fen if kept.HasField("per_month_fen") else None,
    )


async def money(house: House, psn_no: str) -> None:
    """Past-year money on the account."""
    leg = ledger_pb2.CreditLeg(
        leg_no=1, psn_no=psn_no, account_kind=ledger_pb2.ACCOUNT_KIND_PERSONAL, past_fen=MONEY_FEN, year=2026
    )
    credit = ledger_pb2.CreditCommand(
        credit_id=uuid4().bytes, purpose=ledger_pb2.CREDIT_PURPOSE_CARRIED_OVER, legs=[leg]
    )
    await house.command(HAMI, ledger_pb2.Command(credit_command=credit))


async def hold(house: House, binding: binding_pb2.Binding, fen: int, month: int = MONTH) -> str:
    """Why the ledger refuses to hold so much for a bill of the beneficiary; empty if it does."""
    leg = ledger_pb2.Leg(
        leg_no=1,
        psn_no=binding.funder_psn_no,
        account_kind=ledger_pb2.ACCOUNT_KIND_PERSONAL,
        role=ledger_pb2.ROLE_FUNDER,
        past_fen=fen,
        year=2026,
        authorisation_id=authorisation_bytes(binding),
    )
    command = ledger_pb2.TryCommand(payment_id=uuid4().bytes, legs=[leg], inquire_after_ms=600_000, month=month)
    reply = await house.command(HAMI, ledger_pb2.Command(try_command=command))
    return str(reply.branch.refusal.reason)


async def test_a_binding_with_limits_is_kept_by_the_ledger_and_seen_by_both(house: House) -> None:
    """Bind answers them, the ledger enforces them, and the other member of the group reads them."""
    binding = await bind(house, per_payment_fen=100_00, per_month_fen=150_00)
    assert (binding.state, limits_of(binding)) == (ACTIVE, (100_00, 150_00))
    assert limits_of(await house.authorisation(binding)) == (100_00, 150_00)
    seen = await house.see_group(binding.group_id, binding.beneficiary_psn_no)
    assert [limits_of(one) for one in seen.bindings] == [(100_00, 150_00)]
    await money(house, binding.funder_psn_no)
    assert await hold(house, binding, 100_01) == "PAYMENT_LIMIT_EXCEEDED"
    assert await hold(house, binding, 100_00) == ""
    assert await hold(house, binding, 50_01) == "MONTH_LIMIT_EXCEEDED"
    assert await hold(house, binding, 50_00) == ""
    assert await hold(house, binding, 1, month=MONTH + 1) == ""


async def test_limits_are_set_raised_lowered_and_cleared(house: House) -> None:
    """Each reaches the ledger under a version of its own; the amount goes on beside them, also when it is amended."""
    binding = await bind(house)
    steps: list[tuple[dict[str, int], tuple[int | None, int | None], int]] = [
        ({"per_month_fen": 100_00}, (None, 100_00), 2),
        ({"per_month_fen": 200_00, "per_payment_fen": 50_00}, (50_00, 200_00), 3),
        ({"per_month_fen": 1, "per_payment_fen": 50_00}, (50_00, 1), 4),
        ({"per_month_fen": 1, "per_payment_fen": 50_00}, (50_00, 1), 4),
        ({"per_payment_fen": 50_00}, (50_00, None), 5),
    ]
    for asked, kept, version in steps:
        answered, authorisation = await limit(house, binding, **asked), await house.authorisation(binding)
        assert (limits_of(answered), answered.authorised_fen) == (kept, 300_000)
        assert (limits_of(authorisation), authorisation.version) == (kept, version)
    assert limits_of(await amend(house, binding, 100_00)) == (50_00, None)
    cleared = await limit(house, binding)
    assert (limits_of(cleared), cleared.authorised_fen) == ((None, None), 100_00)
    assert limits_of(await house.authorisation(binding)) == (None, None)


async def test_a_limit_below_the_months_use_is_taken_and_stops_the_month(house: House) -> None:
    """What is held goes on; nothing more follows in this month, in the next the lower limit counts."""
    binding = await bind(house)
    await money(house, binding.funder_psn_no)
    assert await hold(house, binding, 80_00) == ""
    assert limits_of(await limit(house, binding, per_month_fen=30_00)) == (None, 30_00)
    assert await hold(house, binding, 1) == "MONTH_LIMIT_EXCEEDED"
    assert await hold(house, binding, 30_00, month=MONTH + 1) == ""
    kept = await house.authorisation(binding)
    assert (kept.held_fen, kept.used_fen) == (110_00, 0)


@pytest.mark.parametrize(
    ("limits", "reason", "field"),
    [
        ({"per_payment_fen": 0}, "LIMIT_NOT_POSITIVE", "per_payment_fen"),
        ({"per_month_fen": 0}, "LIMIT_NOT_POSITIVE", "per_month_fen"),
        ({"per_month_fen": -1}, "REQUEST_INVALID", "per_month_fen"),
        ({"per_payment_fen": 10**17}, "REQUEST_INVALID", "per_payment_fen"),
        ({"per_payment_fen": 300_001}, "LIMIT_ABOVE_AUTHORISED_AMOUNT", "per_payment_fen"),
        ({"per_payment_fen": 1, "per_month_fen": 300_001}, "LIMIT_ABOVE_AUTHORISED_AMOUNT", "per_month_fen"),
    ],
)
async def test_a_limit_that_says_nothing_is_refused(
    house: House, limits: dict[str, int], reason: str, field: str
) -> None:
    """At binding and at amending alike, with the field; nothing is left behind of either."""
    funder, beneficiary, group_id = await house.couple()
    await house.sign(funder)
    failure = await refused(ask(house, group_id, funder, beneficiary, None, **limits))
    assert (failure.reason, failure.metadata["field"]) == (reason, field)
    binding = await ask(house, group_id, funder, beneficiary)
    failure = await refused(limit(house, binding, **limits))
    assert (failure.reason, failure.metadata["field"]) == (reason, field)
    assert (await house.authorisation(binding)).version == 1


async def test_only_the_funder_sets_limits(house: House) -> None:
    """The beneficiary and a stranger do not, nor anybody for a binding that is not there."""
    binding = await bind(house)
    for psn_no in (binding.beneficiary_psn_no, await house.person()):
        request = family_pb2.AmendLimitsRequest(binding_id=binding.binding_id, funder_psn_no=psn_no, per_month_fen=1)
        assert (await refused(house.family.AmendLimits(request))).reason == "NOT_THE_FUNDER"
    request = family_pb2.AmendLimitsRequest(binding_id=str(uuid4()), funder_psn_no=binding.funder_psn_no)
    assert (await refused(house.family.AmendLimits(request))).reason == "BINDING_UNKNOWN"


async def test_the_same_request_with_other_limits_is_another_one(house: House) -> None:
    """A repeated Bind is told its binding, also after an amendment; other limits under its id are refused."""
    funder, beneficiary, group_id = await house.couple()
    await house.sign(funder)
    request_id = str(uuid4())
    binding = await ask(house, group_id, funder, beneficiary, request_id, per_month_fen=100)
    await limit(house, binding, per_month_fen=50)
    again = await ask(house, group_id, funder, beneficiary, request_id, per_month_fen=100)
    assert (again.binding_id, limits_of(again)) == (binding.binding_id, (None, 50))
    other = await refused(ask(house, group_id, funder, beneficiary, request_id, per_month_fen=50))
    assert other.reason == "REQUEST_ID_REUSED"


async def test_limits_reach_a_ledger_that_was_silent(house: House) -> None:
    """Of a binding and of an amendment alike: told again until it answers, then both agree."""
    funder, beneficiary, group_id = await house.couple()
    await house.sign(funder)
    async with absent_ledger(house):
        binding = await ask(house, group_id, funder, beneficiary, per_payment_fen=70)
        assert binding.state == OPENING
    await house.until(binding, ACTIVE)
    async with absent_ledger(house):
        assert (await refused(limit(house, binding, per_month_fen=90))).reason == "AMENDMENT_PENDING"
        assert (await refused(amend(house, binding, 100))).reason == "AMENDMENT_PENDING"

    async def is_limited() -> bool:
        return limits_of(await house.binding(binding)) == (None, 90)

    await until(is_limited)
    kept = await house.authorisation(binding)
    assert (limits_of(kept), kept.authorised_fen) == ((None, 90), 300_000)


async def test_everybody_at_once_leaves_what_the_ledger_keeps(house: House) -> None:
    """Amounts and limits amended side by side: each is taken or told to wait, and the row is the ledger's."""
    binding = await bind(house)
    calls = [*(limit(house, binding, per_month_fen=fen) for fen in (10, 20, 30)), amend(house, binding, 200_00)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert {answer.reason for answer in answers if isinstance(answer, Failure)} <= {"AMENDMENT_PENDING"}

    async def agrees() -> bool:
        row, kept = await house.binding(binding), await house.authorisation(binding)
        return (limits_of(row), row.authorised_fen) == (limits_of(kept), kept.authorised_fen)

    await until(agrees)


async def test_new_limits_are_told_to_the_other_rooms(house: House) -> None:
    """One event, of its own kind, with the binding as it stands."""
    binding = await bind(house)
    subject = f"{house.bus.prefix}.event.family.binding_changed"
    subscription = await house.bus.client.jetstream().subscribe(subject, ordered_consumer=True)
    await limit(house, binding, per_month_fen=50)
    try:
        async with asyncio.timeout(60):
            while True:
                event = events_pb2.FamilyEvent.FromString((await subscription.next_msg(timeout=60)).data)
                told = event.binding_changed
                if told.binding.binding_id == binding.binding_id and limits_of(told.binding) == (None, 50):
                    break
    finally:
        await subscription.unsubscribe()
    assert (told.change, told.binding.authorised_fen) == (events_pb2.BINDING_CHANGE_LIMITS, 300_000)
