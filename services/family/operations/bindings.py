"""Bindings, each a small saga with the funder's ledger.

Every step is one local transaction (compare-and-set on the binding's row) and then a command that follows from the row
alone. Whoever dies in between, the sweep in ``recovery.py`` finds the row and says the command again; the ledger gives
a repeated command the same answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import outbox
from chassis.db import Database, violated_constraint
from kernel.clock import business_date
from kernel.failures import Failure, Kind
from kernel.ids import AuthorisationId, BindingId, GroupId, PsnNo
from kernel.money import Fen
from kernel.policy import PolicySet
from services.family import wire
from services.family.clients import Identity, Ledgers
from services.family.domain.bindings import (
    Bind,
    Binding,
    BindingState,
    Change,
    LedgerAnswer,
    Step,
    agreed_terms,
    amended,
    answered,
    closing,
    due,
    judged,
    order_key,
    refuse_missing_amount,
    reordered,
)
from services.family.domain.groups import refuse_outsider
from services.family.domain.people import Person, refuse_oneself
from services.family.operations.people import People
from services.family.store import bindings as store
from services.family.store import groups as group_store

GRACE: Final = timedelta(seconds=3)
"""How long the sweep leaves a row to the request that wrote it; longer than a request waits for a ledger."""
DUE_ROWS_MAX: Final = 200
DOUBTED_ROWS_MAX: Final = 50


@dataclass(frozen=True, slots=True)
class BindAsked:
    """What a funder asks for, under an id of his own."""

    group_id: GroupId
    funder: PsnNo
    beneficiary: PsnNo
    authorised_fen: Fen | None
    request_id: UUID

    def made(self, binding: Binding) -> Binding:
        """The binding that this very request has made; REQUEST_ID_REUSED if it was another request."""
        asked = (self.group_id, self.funder, self.beneficiary, self.authorised_fen)
        if asked != (binding.group_id, binding.funder, binding.beneficiary, binding.requested_fen):
            raise Failure(Kind.INVALID, "REQUEST_ID_REUSED")
        return binding


async def bind(
    *,
    database: Database,
    people: People,
    identity: Identity,
    ledgers: Ledgers,
    policies: PolicySet,
    asked: BindAsked,
    binding_id: BindingId,
    authorisation_id: AuthorisationId,
    now: datetime,
) -> Binding:
    """A binding that the funder's ledger has opened (ACTIVE), or OPENING if it is silent: it opens by itself later.

    The same request again gives the same binding as it stands, and tries again if it is still OPENING. Refusals:
    GROUP_UNKNOWN, REQUEST_ID_REUSED, those of ``domain.bindings.agreed_terms``, identity's for people it does not
    know, and the ledger's reason, which ends the binding.
    """
    refuse_oneself(asked.funder, asked.beneficiary)
    async with database.transaction() as connection:
        made = await store.of_request(connection, asked.request_id)
        if made is None:
            group = await group_store.load_group(connection, asked.group_id)
            if group is None:
                raise Failure(Kind.NOT_FOUND, "GROUP_UNKNOWN")
            refuse_outsider(group, asked.funder)
            refuse_outsider(group, asked.beneficiary)
    if made is None:
        made = await _open(
            database=database,
            people=people,
            identity=identity,
            policies=policies,
            asked=asked,
            binding_id=binding_id,
            authorisation_id=authorisation_id,
            now=now,
        )
    binding = asked.made(made)
    if not binding.vouched:
        # Asked once more now that the row stands: a fact that fell before is seen here, one that falls later finds it.
        binding = await judge(database=database, identity=identity, policies=policies, binding=binding, now=now)
    driven = await drive(database=database, ledgers=ledgers, binding=binding, now=now)
    if driven.answer is not None and driven.answer.refusal is not None:
        raise driven.answer.refusal
    if driven.binding.cause:
        raise Failure(Kind.PRECONDITION, driven.binding.cause)
    return driven.binding


async def _open(
    *,
    database: Database,
    people: People,
    identity: Identity,
    policies: PolicySet,
    asked: BindAsked,
    binding_id: BindingId,
    authorisation_id: AuthorisationId,
    now: datetime,
) -> Binding:
    proven = await identity.kinship(asked.funder, asked.beneficiary, on=business_date(now))

    async def decide(known: Mapping[PsnNo, Person]) -> Binding:
        async with database.transaction() as connection:
            await store.lock_beneficiary(connection, asked.beneficiary)
            if (made := await store.of_request(connection, asked.request_id)) is not None:
                return made
            group = await group_store.load_group(connection, asked.group_id)
            if group is None:
                raise Failure(Kind.NOT_FOUND, "GROUP_UNKNOWN")
            terms = agreed_terms(
                Bind(
                    group=group,
                    funder=known[asked.funder],
                    beneficiary=known[asked.beneficiary],
                    proven=proven,
                    authorised_fen=asked.authorised_fen,
                    live=await store.live_of(connection, asked.beneficiary),
                    pledges=await group_store.pledges_of(connection, asked.funder),
                ),
                policies=policies,
                now=now,
            )
            binding = Binding(
                binding_id=binding_id,
                group_id=asked.group_id,
                funder=asked.funder,
                beneficiary=asked.beneficiary,
                relation=terms.relation,
                state=BindingState.OPENING,
                authorised_fen=asked.authorised_fen,
                bound_at=now,
                authorisation_id=authorisation_id,
                funder_area=terms.funder_area,
                request_id=asked.request_id,
                requested_fen=asked.authorised_fen,
                judge_at=now + GRACE,
            )
            await store.add(connection, binding, now=now, grace=GRACE)
            await outbox.put(connection, [wire.outgoing(wire.binding_event(binding, Change.OPENING, at=now))])
            return binding

    try:
        return await people.decide([asked.funder, asked.beneficiary], decide)
    except IntegrityError as error:
        match violated_constraint(error):
            case "bindings_request":
                raise Failure(Kind.INVALID, "REQUEST_ID_REUSED") from None
            case "bindings_live_pair":
                raise Failure(Kind.EXISTS, "ALREADY_BOUND") from None
            case _:
                raise


async def unbind(*, database: Database, ledgers: Ledgers, binding_id: BindingId, by: PsnNo, now: datetime) -> Binding:
    """The binding ended for new bills: UNBOUND, or CLOSING while the funder's ledger is silent.

    BINDING_UNKNOWN, NOT_A_PARTY.
    """
    async with database.transaction() as connection:
        binding = await _known(connection, binding_id)
        step = closing(binding, by=by)
        if step is not None:
            binding = await _save(connection, step, now=now)
    return (await drive(database=database, ledgers=ledgers, binding=binding, now=now)).binding


async def amend_authorised_amount(
    *,
    database: Database,
    ledgers: Ledgers,
    policies: PolicySet,
    binding_id: BindingId,
    by: PsnNo,
    authorised_fen: Fen | None,
    now: datetime,
) -> Binding:
    """The binding with its new 授权金额 as the ledger keeps it.

    BINDING_UNKNOWN, NOT_THE_FUNDER, BINDING_NOT_ACTIVE, AUTHORISED_AMOUNT_REQUIRED; the ledger's reason when it
    refuses (less than what is used and held); AMENDMENT_PENDING while it is silent: then it happens by itself later.
    """
    async with database.transaction() as connection:
        binding = await _known(connection, binding_id)
    if binding.amending and binding.wanted_fen != authorised_fen:
        await drive(database=database, ledgers=ledgers, binding=binding, now=now)
    async with database.transaction() as connection:
        binding = await _known(connection, binding_id)
        step = amended(binding, by=by, wanted_fen=authorised_fen)
        required = policies.for_area(binding.funder_area).authorized_amount_required
        refuse_missing_amount(authorised_fen, required=required)
        if step is not None:
            binding = await _save(connection, step, now=now)
    driven = await drive(database=database, ledgers=ledgers, binding=binding, now=now)
    if driven.answer is not None and driven.answer.refusal is not None:
        raise driven.answer.refusal
    if driven.binding.amending:
        raise Failure(Kind.UNAVAILABLE, "AMENDMENT_PENDING", area=binding.funder_area)
    return driven.binding


async def set_deduct_order(
    *, database: Database, beneficiary: PsnNo, funders: Sequence[PsnNo], now: datetime
) -> list[Binding]:
    """The beneficiary's live bindings in the new order of deduction (扣款顺序). FUNDER_NOT_BOUND."""
    async with database.transaction() as connection:
        await store.lock_beneficiary(connection, beneficiary)
        live = await store.live_of(connection, beneficiary, lock=True)
        changed = {step.binding.binding_id: step for step in reordered(live, funders)}
        for step in changed.values():
            await _save(connection, step, now=now)
    after = [changed[binding.binding_id].binding if binding.binding_id in changed else binding for binding in live]
    return sorted(after, key=order_key)


@dataclass(frozen=True, slots=True)
class Driven:
    """A binding after its ledger was told what was due; ``answer`` None if nothing was, or it stayed silent."""

    binding: Binding
    answer: LedgerAnswer | None


async def drive(*, database: Database, ledgers: Ledgers, binding: Binding, now: datetime) -> Driven:
    """Tells the funder's ledger what is due and takes its answer into the row, unless the row has moved on since."""
    command = due(binding)
    if command is None:
        return Driven(binding, None)
    answer = await ledgers.tell(binding.funder_area, command)
    if answer is None:
        return Driven(binding, None)
    async with database.transaction() as connection:
        current = await _known(connection, binding.binding_id)
        step = answered(current, command, answer)
        if step is None:
            # Somebody else has taken the answer in, or a person has changed his mind meanwhile.
            return Driven(current, answer)
        return Driven(await _save(connection, step, now=now), answer)


async def judge(
    *, database: Database, identity: Identity, policies: PolicySet, binding: Binding, now: datetime
) -> Binding:
    """The binding after identity was asked about its two people: stopped, under another relation, or as it was.

    Raises what identity raises when it cannot be asked; then the question stays due.
    """
    proven = await identity.kinship(binding.funder, binding.beneficiary, on=business_date(now))
    async with database.transaction() as connection:
        current = await _known(connection, binding.binding_id)
        step = judged(current, proven, policies.for_area(current.funder_area))
        if step is not None:
            return await _save(connection, replace(step, binding=replace(step.binding, judge_at=None)), now=now)
        # If something fell after the question was put, it is put again.
        judge_at = None if current.judge_at == binding.judge_at else current.judge_at
        return await _save(connection, Step(replace(current, judge_at=judge_at, vouched=True), None), now=now)


async def take_doubted(*, database: Database) -> Sequence[Binding]:
    """Bindings whose kinship is in doubt, claimed as in ``take_due``."""
    async with database.transaction() as connection:
        return await store.take_doubted(connection, rows_max=DOUBTED_ROWS_MAX)


async def take_due(*, database: Database) -> Sequence[Binding]:
    """Bindings whose ledger should be told again now, claimed so that another sweep takes others."""
    async with database.transaction() as connection:
        return await store.take_due(connection, rows_max=DUE_ROWS_MAX)


async def _known(connection: AsyncConnection, binding_id: BindingId) -> Binding:
    binding = await store.load(connection, binding_id, lock=True)
    if binding is None:
        raise Failure(Kind.NOT_FOUND, "BINDING_UNKNOWN")
    return binding


async def _save(connection: AsyncConnection, step: Step, *, now: datetime) -> Binding:
    await store.save(connection, step.binding, now=now, grace=GRACE)
    if step.change is not None:
        await outbox.put(connection, [wire.outgoing(wire.binding_event(step.binding, step.change, at=now))])
    return step.binding
