"""Books again in a restored ledger what its coordinator knows and it has lost; every command is idempotent by its id.

First what lets money in, then charges and refunds in the order in which they were decided, then what stops new holds.
Nothing is forced: a charge whose money is not there is left out and named, and the command may be run again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg

from chassis.db import Database
from kernel.ids import AdmDvs, AuthorisationId, PaymentId, PsnNo
from ops.consent import Change, Consent, record
from ops.restore.comparing import Comparison, Difference, Item
from ops.sources import Sources
from services.settlement.ledger.domain.commands import (
    AccountReply,
    AmendAuthorisation,
    AuthorisationReply,
    BranchReply,
    Charge,
    CloseAuthorisation,
    Command,
    CommandRefused,
    CreditReply,
    OpenAuthorisation,
    PutCredit,
    Reply,
    Request,
    SetFrozen,
    Try,
    identity_of,
)
from services.settlement.ledger.domain.limits import CarriedMonth
from services.settlement.ledger.domain.model import BranchState, FreezeId
from services.settlement.ledger.operations import execute
from services.settlement.ledger.store.locking import AreaWriter
from services.settlement.ledger.wire.commands import parse_batch
from services.settlement.saga.coordinator import Order
from services.settlement.saga.payment import Payment, PaymentKind, State
from services.settlement.store import payments as store
from services.settlement.store import plans
from services.settlement.wire.ledger import batch_of, command_of
from services.settlement.wire.origin import origin_of

REPLAY: Final = "restore replay"
TOGETHER_MAX: Final = 100
_INQUIRE_AFTER_MS: Final = 60_000  # Of a hold that is confirmed in the same command.

_FREEZES: Final = """
    SELECT request_id, psn_no, frozen, cause FROM account_commands
     WHERE area = $1 AND state = 'DONE' ORDER BY created_at, request_id"""
_FROZEN: Final = "SELECT command_id FROM freeze_commands WHERE command_id = ANY ($1::uuid[])"
_BINDINGS: Final = """
    SELECT authorisation_id, funder_psn_no, beneficiary_psn_no, authorised_fen, authorisation_version, state,
           per_payment_fen, per_month_fen, carried_fen, carried_month, carried_month_fen
      FROM bindings WHERE funder_area = $1 AND state <> 'OPENING'
    UNION ALL
    SELECT l.authorisation_id, b.funder_psn_no, b.beneficiary_psn_no, NULL, 1, 'LEFT', NULL, NULL, 0, NULL, NULL
      FROM left_authorisations l JOIN bindings b USING (binding_id) WHERE l.area = $1"""
"""LEFT: the funder's account has gone to another area, and his binding with it; here it is closed."""
_AUTHORISATIONS: Final = """
    SELECT authorisation_id, state, authorised_fen, version FROM authorisations
     WHERE authorisation_id = ANY ($1::uuid[])"""


@dataclass(frozen=True, slots=True)
class Replayed:
    """One command to be carried out again, and what to call it."""

    what: str
    command: Command


@dataclass
class Replay:
    """What would be carried out in one ledger, in this order, and what no program can know."""

    area: str
    opening: list[Replayed] = field(default_factory=list)
    money: list[Replayed] = field(default_factory=list)
    closing: list[Replayed] = field(default_factory=list)
    unknowable: list[str] = field(default_factory=list)

    @property
    def commands(self) -> list[Replayed]:
        """All of it, in order."""
        return [*self.opening, *self.money, *self.closing]


async def prepare(sources: Sources, area: str, comparison: Comparison) -> Replay:
    """What the ledger of an area has lost, as far as coordinator and family know it."""
    replay = Replay(area)
    missing = [
        item
        for item in comparison.of(Difference.MISSING_CHARGE, Difference.MISSING_CREDIT, Difference.UNDECIDED)
        if item.found.get(area) in {"NONE", "LOST", "HELD"}
    ]
    await _prepare_money(sources.coordinator, AdmDvs(area), missing, replay)
    await _prepare_freezes(sources, area, replay)
    await _prepare_authorisations(sources, area, replay)
    return replay


async def _prepare_money(coordinator: Database, area: AdmDvs, missing: Sequence[Item], replay: Replay) -> None:
    async with coordinator.driver_connection() as connection:
        rows = await store.by_ids(connection, [PaymentId(item.payment_id) for item in missing])
        plan_ids = [row.plan_id for row in rows.values() if row.plan_id is not None]
        documents = await plans.documents(connection, plan_ids)
    first = datetime.min.replace(tzinfo=UTC)
    # Credits bring money and take none: before everything else they can only help.
    decided = [row for row in rows.values() if row.state is not State.TRYING]
    in_order = sorted(decided, key=lambda row: (row.kind is not PaymentKind.CREDIT, row.decided_at or first))
    # A receiver may still say yes, for days: until then the giver must not spend what the ledger has forgotten to hold.
    in_order += [row for row in rows.values() if row.state is State.TRYING and row.pending_accept]
    for row in in_order:
        plan = None if row.plan_id is None else documents.get(row.plan_id)
        replay.money.append(Replayed(f"{row.kind.value} {row.payment_id}", _command(row, area, plan)))


def _command(row: Payment, area: AdmDvs, plan: Any) -> Command:  # noqa: ANN401  JSON.
    """What the coordinator would say, as the ledger reads it; what was committed is held and confirmed at once."""
    order = Order.CREDIT if row.kind in {PaymentKind.REFUND, PaymentKind.CREDIT} else Order.TRY
    said = command_of(row, area, order, inquire_after_ms=_INQUIRE_AFTER_MS, origin=origin_of(row, area, plan))
    command = parse_batch(batch_of([said], epoch=0)).writes[0][1].command
    if isinstance(command, Try) and row.state is not State.TRYING:
        return Charge(**{one.name: getattr(command, one.name) for one in fields(command)})
    return command


async def _prepare_freezes(sources: Sources, area: str, replay: Replay) -> None:
    async with sources.coordinator.driver_connection() as connection:
        asked = await connection.fetch(_FREEZES, area)
    async with sources.ledgers[area].driver_connection() as connection:
        known = {row["command_id"] for row in await connection.fetch(_FROZEN, [row["request_id"] for row in asked])}
    replay.closing += [
        Replayed(
            f"{'FREEZE' if row['frozen'] else 'UNFREEZE'} {row['request_id']}",
            SetFrozen(FreezeId(row["request_id"]), PsnNo(row["psn_no"]), frozen=row["frozen"], cause=row["cause"]),
        )
        for row in asked
        if row["request_id"] not in known
    ]


async def _prepare_authorisations(sources: Sources, area: str, replay: Replay) -> None:
    """Opened and raised before the charges, lowered and closed after them, as family has them now."""
    if "family" not in sources.room_urls:
        replay.unknowable.append("authorisations: family's database is not given (--rooms)")
        return
    family = await asyncpg.connect(sources.room_urls["family"])
    try:
        bindings = await family.fetch(_BINDINGS, area)
    finally:
        await family.close()
    async with sources.ledgers[area].driver_connection() as connection:
        found = await connection.fetch(_AUTHORISATIONS, [row["authorisation_id"] for row in bindings])
    known = {row["authorisation_id"]: row for row in found}
    for binding in bindings:
        _prepare_authorisation(binding, known.get(binding["authorisation_id"]), replay)


def _prepare_authorisation(binding: Any, known: Any, replay: Replay) -> None:  # noqa: ANN401  Untyped driver.
    authorisation_id = AuthorisationId(binding["authorisation_id"])
    version, limit = binding["authorisation_version"], binding["authorised_fen"]
    limits = (binding["per_payment_fen"], binding["per_month_fen"])
    is_over = binding["state"] in {"UNBOUND", "SUSPENDED", "LEFT"}
    if known is None:
        # A limit that was amended is set after the charges, which were made under the limits before it.
        per_payment_fen, per_month_fen = limits if version == 1 else (None, None)
        month = binding["carried_month"]
        command = OpenAuthorisation(
            authorisation_id,
            PsnNo(binding["funder_psn_no"]),
            PsnNo(binding["beneficiary_psn_no"]),
            limit if version == 1 else None,
            binding["carried_fen"],
            per_payment_fen,
            per_month_fen,
            None if month is None else CarriedMonth(month, binding["carried_month_fen"]),
        )
        replay.opening.append(Replayed(f"OPEN {authorisation_id}", command))
    known_version = 1 if known is None else known["version"]
    if version > known_version and not is_over:
        amend = Replayed(f"AMEND {authorisation_id}", AmendAuthorisation(authorisation_id, version, limit, *limits))
        is_raised = known is not None and known["authorised_fen"] is not None and (
            limit is None or limit > known["authorised_fen"]
        )  # fmt: skip
        (replay.opening if is_raised else replay.closing).append(amend)
    if is_over and (known is None or known["state"] == "OPEN"):
        replay.closing.append(Replayed(f"CLOSE {authorisation_id}", CloseAuthorisation(authorisation_id)))


async def carry_out(sources: Sources, replay: Replay, consent: Consent) -> list[str]:
    """Says it all to the ledger, in its own transactions; what was refused, in words, after a second try at the end."""
    run_id = uuid4()
    async with sources.coordinator.driver_transaction() as connection:
        changes = [Change(run_id, {"area": replay.area}, {"commands": len(replay.commands)})]
        changes += [Change(_subject(one), {replay.area: "NONE"}, {replay.area: one.what}) for one in replay.money]
        await record(connection, REPLAY, consent, changes)
    refused = await _said(sources.ledgers[replay.area], replay.area, replay.commands)
    # What was short may have come with what followed; an order that was not the true one must not decide.
    refused = await _said(sources.ledgers[replay.area], replay.area, [one for one, _ in refused])
    return [f"{one.what}: {reason}" for one, reason in refused]


def _subject(replayed: Replayed) -> UUID:
    return identity_of(replayed.command)[1]


async def _said(ledger: Database, area: str, commands: Sequence[Replayed]) -> list[tuple[Replayed, str]]:
    """Carries the commands out; those that had no effect, each with the reason."""
    refused: list[tuple[Replayed, str]] = []
    for part in _parts(commands):
        replies = await execute(writer=AreaWriter(ledger, area), requests=[Request(one.command) for one in part])
        for one, reply in zip(part, replies, strict=True):
            if (reason := _refusal(one.command, reply)) is not None:
                refused.append((one, reason))
    return refused


def _parts(commands: Sequence[Replayed]) -> Iterable[Sequence[Replayed]]:
    return (commands[start : start + TOGETHER_MAX] for start in range(0, len(commands), TOGETHER_MAX))


def _refusal(command: Command, reply: Reply | None) -> str | None:
    """Why a command had no effect; None if it had, now or before."""
    match reply:
        case None:
            return "it failed technically and is in quarantine"
        case BranchReply(state=BranchState.HELD) if not isinstance(command, Charge):
            return None
        case BranchReply() if reply.state is not BranchState.CONFIRMED:
            state = reply.state.value if reply.state else ""
            return reply.refusal.reason if reply.refusal else f"the ledger has it as {state}"
        case CommandRefused() | CreditReply() | AuthorisationReply() | AccountReply() if reply.refusal is not None:
            if isinstance(command, PutCredit) and reply.refusal.reason == "CREDIT_CONTENT_DIFFERS":
                return "the ledger has booked other amounts under this id"
            return reply.refusal.reason
        case _:
            return None
