"""Any message at all over NATS, made from the descriptors: replies or a named refusal, never silence."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final
from uuid import uuid4

import pytest
from google.protobuf.message import Message

from gongji.ledger.v1 import ledger_pb2 as pb
from kernel.failures import Failure, Kind
from ops.embedded.databases import Databases
from tests.anything import changed, descriptor_of, examples, message_of
from tests.integration.settlement.desk import town as building
from tests.integration.settlement.desk.town import HAMI, Town
from tests.patience import PATIENCE_S
from tests.servers import NatsServer

NOBODY: Final = "650500999999999"
"""Of this test alone: what gets through may freeze or close his account."""
PLAUSIBLE: Final = (NOBODY, HAMI, "COURT_ORDER", "H65010000001", "a.b.c", "\x00")
SILENCE_S: Final = PATIENCE_S
ACCOUNT: Final = pb.AccountRef(psn_no=NOBODY, account_kind=pb.ACCOUNT_KIND_PERSONAL)
LEG: Final = pb.Leg(
    leg_no=1, psn_no=NOBODY, account_kind=pb.ACCOUNT_KIND_PERSONAL, role=pb.ROLE_OWN, past_fen=1, year=2026
)


@pytest.fixture(scope="module")
async def town(postgres: Databases, nats: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    """A town of this file alone: a batch of a later epoch shuts its ledger for whoever comes with the one of before."""
    async with building.town(postgres, nats, tmp_path_factory.mktemp("anything")) as built:
        yield built


def good_commands() -> dict[str, pb.Command]:
    """A command of each kind that the ledger would do or refuse by its rules."""
    one: dict[str, Any] = {"payment_id": uuid4().bytes}
    leave: dict[str, Any] = {"authorisation_id": uuid4().bytes}
    freeze: dict[str, Any] = {"command_id": uuid4().bytes, "psn_no": NOBODY, "cause": "COURT_ORDER"}
    credit_leg = pb.CreditLeg(leg_no=1, psn_no=NOBODY, account_kind=ACCOUNT.account_kind, current_fen=1, year=2026)
    credit: dict[str, Any] = {"credit_id": uuid4().bytes, "purpose": pb.CREDIT_PURPOSE_MONTHLY, "legs": [credit_leg]}
    return {
        "try_command": pb.Command(try_command=pb.TryCommand(**one, legs=[LEG], inquire_after_ms=600_000)),
        "confirm_command": pb.Command(confirm_command=pb.ConfirmCommand(payment_id=b"")),
        "cancel_command": pb.Command(cancel_command=pb.CancelCommand(**one)),
        "credit_command": pb.Command(credit_command=pb.CreditCommand(**credit)),
        "open_authorisation_command": pb.Command(
            open_authorisation_command=pb.OpenAuthorisationCommand(
                **leave, funder_psn_no=NOBODY, beneficiary_psn_no=NOBODY, authorised_fen=1
            )
        ),
        "amend_authorisation_command": pb.Command(
            amend_authorisation_command=pb.AmendAuthorisationCommand(**leave, version=2, authorised_fen=2)
        ),
        "close_authorisation_command": pb.Command(close_authorisation_command=pb.CloseAuthorisationCommand(**leave)),
        "freeze_command": pb.Command(freeze_command=pb.FreezeCommand(**freeze)),
        "unfreeze_command": pb.Command(unfreeze_command=pb.UnfreezeCommand(**freeze)),
        "read_balances_command": pb.Command(read_balances_command=pb.ReadBalancesCommand(accounts=[ACCOUNT])),
        "read_statement_command": pb.Command(
            read_statement_command=pb.ReadStatementCommand(account=ACCOUNT, entries_max=1)
        ),
        "close_account_command": pb.Command(
            close_account_command=pb.CloseAccountCommand(command_id=uuid4().bytes, account=ACCOUNT, cause="DIED")
        ),
    }


def test_every_kind_of_command_is_tried() -> None:
    """No member of the oneof is missing."""
    assert good_commands().keys() == {field.name for field in pb.Command.DESCRIPTOR.oneofs_by_name["kind"].fields}


async def broken_by(town: Town, subject: str, payload: bytes, replies: int | None) -> str:
    """Why this was not answered as it should be; empty if it was."""
    try:
        answer = await town.bus.request(f"{town.bus.prefix}.{subject}", payload, wait_s=SILENCE_S)
    except Failure as failure:
        return "silence" if failure.kind is Kind.DEADLINE else ""
    if replies is None:
        pb.InquireResponse.FromString(answer)
        return ""
    told = len(pb.ReplyBatch.FromString(answer).replies)
    return "" if told == max(replies, 1) else f"{told} replies for {replies} commands"  # One tells of an empty batch.


@pytest.mark.parametrize("kind", good_commands())
async def test_any_command_gets_a_reply(town: Town, kind: str) -> None:
    """Whatever stands in a field of a command, its batch is answered command by command, or refused by name."""
    good = good_commands()[kind]
    for command in examples(changed(good, PLAUSIBLE)):
        assert isinstance(command, pb.Command)
        batch = pb.CommandBatch(commands=[command], epoch=1)
        assert await broken_by(town, f"ledger.{HAMI}.command", batch.SerializeToString(), 1) == "", command


@pytest.mark.parametrize(
    ("subject", "good"),
    [
        (f"ledger.{HAMI}.command", pb.CommandBatch(commands=good_commands().values(), epoch=1)),
        ("settlement.inquire", pb.InquireRequest(area=HAMI, payment_ids=[uuid4().bytes])),
    ],
    ids=["commands", "inquiries"],
)
async def test_any_batch_gets_an_answer(town: Town, subject: str, good: Message) -> None:
    """Nothing made of the message's type is met with silence; neither is what is no message at all."""
    for message in [*examples(message_of(descriptor_of(good), PLAUSIBLE)), *examples(changed(good, PLAUSIBLE))]:
        replies = len(message.commands) if isinstance(message, pb.CommandBatch) else None
        assert await broken_by(town, subject, message.SerializeToString(), replies) == "", message
    for rubbish in (b"", b"\xff\xff\xff", b"\x0a" * 1000, b"\x0a\xff\xff\xff\xff\x7f"):
        assert await broken_by(town, subject, rubbish, 0 if isinstance(good, pb.CommandBatch) else None) == "", rubbish
