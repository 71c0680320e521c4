"""Bindings, each a small saga with the funder's ledger.

Every step is one local transaction (compare-and-set on the binding's row) and then a command that follows from the row
alone. Whoever dies in between, the sweep in ``recovery.py`` finds the row and says the command again; the ledger gives
a repeated command the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import outbox
from chassis.db import Database, violated_constraint
from chassis.faults import fault_point
from kernel.clock import business_date, year_start
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
    Terms,
    agreed_terms,
    amended,
    answered,
    closing,
    due,
    limited,
    order_key,
    refuse_missing_amount,
    reordered,
)
from services.family.domain.counter import Counter, Deed, refuse_unseen, subject_of_order
from services.family.domain.groups import refuse_outsider
from services.family.domain.judging import Standing, area_of, judged, judged_next
from services.family.domain.limits import NO_LIMITS, Limits
from services.family.domain.people import Person, refuse_oneself
from services.family.operations.acting import refuse_stranger, refuse_unseen_at
from services.family.operations.people import People
from services.family.store import bindings as store
from services.family.store import counter as counter_store
from services.family.store import groups as group_store
from services.family.store import moves
from services.family.store import pledges as pledge_store

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
    counter: Counter | None = None
    limits: Limits = NO_LIMITS

    def made(self, binding: Binding) -> Binding:
        """The binding that this very request has made; REQUEST_ID_REUSED if it was another request."""
        asked = (self.group_id, self.funder, self.beneficiary, self.authorised_fen, self.limits)
        parties = (binding.group_id, binding.funder, binding.beneficiary)
        if asked != (*parties, binding.requested_fen, binding.requested_limits):
            raise Failure(Kind.INVALID, "REQUEST_ID_REUSED")
        return binding

    def making(
        self, terms: Terms, *, binding_id: BindingId, authorisation_id: AuthorisationId, now: datetime
    ) -> Binding:
        """The row as binding inserts it: OPENING, to be judged again if the request dies before identity was asked."""
        return Binding(
            binding_id=binding_id,
            group_id=self.group_id,
            funder=self.funder,
            beneficiary=self.beneficiary,
            relation=terms.relation,
            state=BindingState.OPENING,
            authorised_fen=self.authorised_fen,
            bound_at=now,
            authorisation_id=authorisation_id,
            funder_area=terms.funder_area,
            request_id=self.request_id,
            requested_fen=self.authorised_fen,
            judge_at=now + GRACE,
            limits=self.limits,
            requested_limits=self.limits,
        )


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
    know, at a counter of ``refuse_unseen`` (funder, beneficiary), and the ledger's reason, which ends the binding.
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
    if driven.binding.cause and not driven.binding.is_live:
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
            # Nobody goes from the group meanwhile: a departure would not see this binding and leave it open.
            group = await group_store.load_group(connection, asked.group_id, share=True)
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
                    pledges=await pledge_store.count_of(connection, asked.funder),
                    ended=await store.ended_of_pair(connection, asked.funder, asked.beneficiary, since=year_start(now)),
                    limits=asked.limits,
                ),
                policies=policies,
                now=now,
            )
            sides = [known[asked.funder], known[asked.beneficiary]]
            refuse_unseen(asked.counter, sides, policies=policies, now=now)
            binding = asked.making(terms, binding_id=binding_id, authorisation_id=authorisation_id, now=now)
            await store.add(connection, binding, now=now, grace=GRACE)
            await outbox.put(connection, [wire.outgoing(wire.binding_event(binding, Change.OPENING, at=now))])
            await counter_store.record(connection, asked.counter, Deed.BIND, _subject(binding_id), now=now)
            fault_point("family.bind.before_commit")
        fault_point("family.bind.after_commit")
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


async def unbind(
    *,
    database: Database,
    people: People,
    identity: Identity,
    ledgers: Ledgers,
    policies: PolicySet,
    binding_id: BindingId,
    by: PsnNo,
    counter: Counter | None,
    now: datetime,
) -> Binding:
    """The binding ended for new bills: UNBOUND, or CLOSING while the funder's ledger is silent.

    BINDING_UNKNOWN, NOT_A_PARTY (nor a parent of a minor beneficiary), at a counter those of ``refuse_unseen``. Who is
    a party and comes with his own phone needs nobody but this room's database for it.
    """
    async with database.transaction() as connection:
        parties = await _known(connection, binding_id, lock=False)
    party = by
    if by not in {parties.funder, parties.beneficiary}:
        party = parties.beneficiary
        try:
            await refuse_stranger(people=people, identity=identity, policies=policies, person=party, by=by, now=now)
        except Failure as failure:
            if failure.reason != "NOT_THE_GUARDIAN":
                raise
            raise Failure(Kind.FORBIDDEN, "NOT_A_PARTY") from None
    await refuse_unseen_at(
        people=people,
        policies=policies,
        counter=counter,
        sides=[by],
        beside={parties.funder, parties.beneficiary},
        now=now,
    )
    async with database.transaction() as connection:
        binding = await _known(connection, binding_id)
        step = closing(binding, by=party, now=now)
        if step is not None:
            binding = await save(connection, step, now=now)
            await counter_store.record(connection, counter, Deed.UNBIND, _subject(binding_id), now=now)
        fault_point("family.unbind.before_commit")
    fault_point("family.unbind.after_commit")
    return (await drive(database=database, ledgers=ledgers, binding=binding, now=now)).binding


async def amend_authorised_amount(
    *,
    database: Database,
    people: People,
    ledgers: Ledgers,
    policies: PolicySet,
    binding_id: BindingId,
    by: PsnNo,
    authorised_fen: Fen | None,
    counter: Counter | None,
    now: datetime,
) -> Binding:
    """The binding with its new 授权金额 as the ledger keeps it; its limits stay as they are.

    BINDING_UNKNOWN, NOT_THE_FUNDER, BINDING_NOT_ACTIVE, AUTHORISED_AMOUNT_REQUIRED; the ledger's reason when it
    refuses (less than what is used and held); AMENDMENT_PENDING while it is silent: then it happens by itself later.
    At a counter those of ``refuse_unseen``.
    """

    def decide(binding: Binding) -> Step | None:
        step = amended(binding, by=by, wanted_fen=authorised_fen)
        required = policies.for_area(binding.funder_area).authorized_amount_required
        refuse_missing_amount(authorised_fen, required=required)
        return step

    amendment = _Amendment(binding_id, by, counter, decide)
    return await _amend(database=database, people=people, ledgers=ledgers, policies=policies, asked=amendment, now=now)


async def amend_limits(
    *,
    database: Database,
    people: People,
    ledgers: Ledgers,
    policies: PolicySet,
    binding_id: BindingId,
    by: PsnNo,
    limits: Limits,
    counter: Counter | None,
    now: datetime,
) -> Binding:
    """The binding with its new 单笔限额 and 月限额 as the ledger keeps them; the authorised amount stays as it is.

    BINDING_UNKNOWN, NOT_THE_FUNDER, BINDING_NOT_ACTIVE, those of ``refuse_odd_limits``; AMENDMENT_PENDING and those at
    a counter as for the amount. A ledger refuses no limit, however much was used.
    """

    def decide(binding: Binding) -> Step | None:
        return limited(binding, by=by, wanted=limits)

    amendment = _Amendment(binding_id, by, counter, decide)
    return await _amend(database=database, people=people, ledgers=ledgers, policies=policies, asked=amendment, now=now)


@dataclass(frozen=True, slots=True)
class _Amendment:
    """What a funder wants to be otherwise; ``decide`` makes a step of it, or refuses it."""

    binding_id: BindingId
    by: PsnNo
    counter: Counter | None
    decide: Callable[[Binding], Step | None]


async def _amend(
    *,
    database: Database,
    people: People,
    ledgers: Ledgers,
    policies: PolicySet,
    asked: _Amendment,
    now: datetime,
) -> Binding:
    async with database.transaction() as connection:
        binding = await _known(connection, asked.binding_id)
    await refuse_unseen_at(
        people=people,
        policies=policies,
        counter=asked.counter,
        sides=[asked.by],
        beside={binding.funder, binding.beneficiary},
        now=now,
    )
    try:
        asked.decide(binding)
    except Failure as failure:
        if failure.reason != "AMENDMENT_PENDING":
            raise
        await drive(database=database, ledgers=ledgers, binding=binding, now=now)
    async with database.transaction() as connection:
        binding = await _known(connection, asked.binding_id)
        step = asked.decide(binding)
        if step is not None:
            binding = await save(connection, step, now=now)
            await counter_store.record(connection, asked.counter, Deed.AMEND, _subject(asked.binding_id), now=now)
    driven = await drive(database=database, ledgers=ledgers, binding=binding, now=now)
    if driven.answer is not None and driven.answer.refusal is not None:
        raise driven.answer.refusal
    if driven.binding.amending:
        raise Failure(Kind.UNAVAILABLE, "AMENDMENT_PENDING", area=binding.funder_area)
    return driven.binding


async def set_deduct_order(
    *,
    database: Database,
    people: People,
    identity: Identity,
    policies: PolicySet,
    beneficiary: PsnNo,
    by: PsnNo,
    funders: Sequence[PsnNo],
    counter: Counter | None,
    now: datetime,
) -> list[Binding]:
    """The beneficiary's live bindings in the new order of deduction (扣款顺序), by himself or a minor's parent.

    MINOR_ACTS_THROUGH_PARENT, NOT_THE_GUARDIAN, at a counter those of ``refuse_unseen``; FUNDER_NOT_BOUND.
    """
    await refuse_stranger(people=people, identity=identity, policies=policies, person=beneficiary, by=by, now=now)
    await refuse_unseen_at(
        people=people, policies=policies, counter=counter, sides=[by], beside={beneficiary, *funders}, now=now
    )
    async with database.transaction() as connection:
        await store.lock_beneficiary(connection, beneficiary)
        live = await store.live_of(connection, beneficiary, lock=True)
        changed = {step.binding.binding_id: step for step in reordered(live, funders)}
        for step in changed.values():
            await save(connection, step, now=now)
        if changed:
            await counter_store.record(connection, counter, Deed.ORDER, subject_of_order(beneficiary), now=now)
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
        # As it stands now: a person may have ended it since it was seen moving.
        if current.moving_to is not None:
            await store.keep_left(connection, current, answer)
        driven = Driven(await save(connection, step, now=now), answer)
        fault_point("family.follow.before_commit")
    fault_point("family.follow.after_commit")
    if current.moving_to is not None:
        # What it leaves has let it go; where it comes to opens it at once.
        return await drive(database=database, ledgers=ledgers, binding=driven.binding, now=now)
    return driven


async def judge(
    *, database: Database, identity: Identity, policies: PolicySet, binding: Binding, now: datetime
) -> Binding:
    """The binding after identity was asked about its two people: stopped, under another relation, or as it was.

    Raises what identity raises when it cannot be asked; then the question stays due.
    """
    standing = Standing(
        funder=await identity.person(binding.funder),
        beneficiary=await identity.person(binding.beneficiary),
        proven=await identity.kinship(binding.funder, binding.beneficiary, on=business_date(now)),
    )
    async with database.transaction() as connection:
        standing = replace(standing, account_at=await moves.account_of(connection, binding.funder))
        current = await _known(connection, binding.binding_id)
        step = judged(current, standing, policies.for_area(area_of(current, standing)), now=now)
        if step is not None:
            stepped = await save(connection, step, now=now)
            fault_point("family.judge.before_commit")
            return stepped
        # If something fell after the question was put, it is put again.
        judge_at = judged_next(standing, now=now) if current.judge_at == binding.judge_at else current.judge_at
        return await save(connection, Step(replace(current, judge_at=judge_at, vouched=True), None), now=now)


async def take_doubted(*, database: Database) -> Sequence[Binding]:
    """Bindings that may stand no more, claimed as in ``take_due``: a person or a relation behind them has changed."""
    async with database.transaction() as connection:
        return await store.take_doubted(connection, rows_max=DOUBTED_ROWS_MAX)


async def take_due(*, database: Database) -> Sequence[Binding]:
    """Bindings whose ledger should be told again now, claimed so that another sweep takes others."""
    async with database.transaction() as connection:
        return await store.take_due(connection, rows_max=DUE_ROWS_MAX)


def _subject(binding_id: BindingId) -> str:
    return f"binding:{binding_id}"


async def _known(connection: AsyncConnection, binding_id: BindingId, *, lock: bool = True) -> Binding:
    binding = await store.load(connection, binding_id, lock=lock)
    if binding is None:
        raise Failure(Kind.NOT_FOUND, "BINDING_UNKNOWN")
    return binding


async def save(connection: AsyncConnection, step: Step, *, now: datetime) -> Binding:
    """The binding's next row, and what is told of it; the caller holds its lock."""
    await store.save(connection, step.binding, now=now, grace=GRACE)
    if step.change is not None:
        await outbox.put(connection, [wire.outgoing(wire.binding_event(step.binding, step.change, at=now))])
    return step.binding
