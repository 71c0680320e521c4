"""A town for tests: a running world with a hospital, a pharmacy, and as many fresh families as a test asks for."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import uuid4

import asyncpg

from gongji.family.v1 import family_pb2
from gongji.identity.v1 import credentials_pb2
from gongji.notify.v1 import notify_pb2
from gongji.settlement.v1 import account_pb2, settlement_pb2
from gongji_terminal.client import Patience
from kernel.callers import parsed_caller
from kernel.ids import AdmDvs, FixmedinsCode, PsnNo, province_of
from kernel.money import Fen
from ops import household
from ops.desks import Desks, desks_at
from ops.embedded.world import World
from ops.places import Places
from ops.told import wait_until_told
from ops.verify.report import Report
from ops.verify.run import verify
from ops.visits import Counter, counter_at
from services.identity.domain.certificate import check_character
from services.settlement.domain.bill import Bill
from tests.patience import PATIENCE_S, insisted

URUMQI: Final = AdmDvs("650100")
HAMI: Final = AdmDvs("650500")
LANZHOU: Final = AdmDvs("620100")
"""Of another province."""
AREAS: Final = (URUMQI, HAMI)
HOSPITAL: Final = FixmedinsCode("H65010000017")
OTHER_HOSPITAL: Final = FixmedinsCode("H65050000018")
PHARMACY: Final = FixmedinsCode("P65010000019")
OUTPATIENT: Final = "11"
INPATIENT: Final = "21"
TESTER: Final = parsed_caller("operator:tester")
"""Who looks people up here, as identity is told."""
AUTHORISED_FEN: Final[Fen] = 1_000_000
OF_WORKING_AGE: Final = 1960
THEIR_PARENTS: Final = 1930
THEIR_GRANDPARENTS: Final = 1900
"""The first years of birth of three generations: identity takes nobody for the parent of somebody older."""
REST_MAX_S: Final = PATIENCE_S
TOLD_MAX_S: Final = 60.0
"""What a dying NATS had handed out and was not acknowledged comes again after half a minute."""
POLL_S: Final = 0.02
POLICY: Final = """
area: '650000'
policy:
  benefit: external
  wallet_limits: {closed_from: '04:00', closed_to: '04:01'}
"""
"""One province alone, so that every other area is one without a policy; transfers begin at whatever hour we test."""

Result = TypeVar("Result")

_IDS: Final = itertools.count(1)
_HELD: Final = "SELECT count(*) FROM branches WHERE state = 'HELD'"
_OPEN: Final = "SELECT count(*) FROM payments WHERE state IN ('TRYING', 'COMMITTED', 'ABORTED')"


@dataclass(frozen=True, slots=True)
class Resident:
    """A person of the town with the money the account began with, in fen."""

    psn_no: PsnNo
    name: str
    certno: str
    area: AdmDvs
    past_fen: Fen = 0
    current_fen: Fen = 0
    binding_id: str = ""
    """Of a funder: the binding for the patient of the family."""


@dataclass(frozen=True, slots=True)
class Family:
    """A patient and the siblings who fund, in order of deduction."""

    patient: Resident
    funders: tuple[Resident, ...] = ()

    @property
    def members(self) -> tuple[Resident, ...]:
        """The patient first."""
        return (self.patient, *self.funders)


@dataclass(frozen=True, slots=True)
class WatchedCounter(Counter):
    """A counter that keeps every code and token it saw, so that a test may look for them where they must not be."""

    seen: set[str] = field(repr=False)

    async def decode(self, psn_no: PsnNo, *, mdtrt_id: str) -> str:
        """As at any counter."""
        issued = await self.desks.credentials.IssueCode(credentials_pb2.IssueCodeRequest(psn_no=psn_no))
        token = (await self.terminal.decode(issued.code, mdtrt_id=mdtrt_id)).ec_token
        self.seen.update({str(issued.code), str(token)})
        return str(token)


def new_resident(
    area: AdmDvs = URUMQI, *, past_fen: Fen = 0, current_fen: Fen = 0, generation: int = OF_WORKING_AGE
) -> Resident:
    """Somebody nobody has heard of yet, with a valid ID number; older than everybody of a later generation."""
    number = next(_IDS)
    born = f"{generation + number // 999 % 30}0{1 + number % 9}{11 + number % 17}"
    seventeen = f"650103{born}{number % 999 + 1:03d}"
    name = f"欧阳{chr(0x6C50 + number)}{chr(0x7250 + number)}"
    return Resident(
        psn_no=PsnNo(f"{area}{number:09d}"),
        name=name,
        certno=seventeen + check_character(seventeen),
        area=area,
        past_fen=past_fen,
        current_fen=current_fen,
    )


POOLED_FEN: Final = 100
"""What the pooled fund pays of every bill here, so that each uses something of its patient's year."""


def bill_of(amount_fen: Fen) -> Bill:
    """A bill of which the patient bears this amount, some of it below the year's deductible."""
    return Bill(
        medfee_sumamt=amount_fen + POOLED_FEN,
        fulamt_ownpay_amt=0,
        overlmt_selfpay=0,
        preselfpay_amt=0,
        inscp_scp_amt=amount_fen + POOLED_FEN,
        act_pay_dedc=amount_fen // 2,
        hifp_pay=POOLED_FEN,
    )


@dataclass
class Town:
    """What tests do in a town. Several tests share one; each brings people of its own."""

    world: World
    desks: Desks
    counters: Mapping[FixmedinsCode, WatchedCounter]
    journals: set[Path]
    """What the terminals wrote down; every check compares it with what is stored (I7)."""
    settlement: asyncpg.Connection
    ledgers: Mapping[AdmDvs, asyncpg.Connection]
    personal: set[str] = field(default_factory=set, repr=False)
    """Every ID number, name, code and token that was used here."""

    async def hang_up(self) -> None:
        """Closes the connections by which the tests look into the databases; a test may then make them anew."""
        for connection in (self.settlement, *self.ledgers.values()):
            await connection.close()

    @property
    def hospital(self) -> WatchedCounter:
        """The counter most bills are paid at."""
        return self.counters[HOSPITAL]

    @asynccontextmanager
    async def another_counter(
        self, *, number: int, patience: Patience | None = None, settlement: str = "settlement"
    ) -> AsyncIterator[WatchedCounter]:
        """One more terminal of the hospital with a journal of its own, at this settlement process."""
        journal = self.world.folder / f"terminal-{number}.sqlite"
        self.journals.add(journal)
        async with counter_at(
            self.desks,
            lambda name: self.world.address(settlement if name == "settlement" else name),
            fixmedins_code=HOSPITAL,
            journal=journal,
            number=number,
            patience=patience,
        ) as counter:
            yield WatchedCounter(self.desks, counter.terminal, self.personal)

    # Families --------------------------------------------------------------------------------------------------------

    async def moves_in(self, resident: Resident, *, insutype: str = "310") -> Resident:
        """Registers somebody; his money comes in once settlement has heard of him."""
        self.personal |= {resident.name, resident.certno}
        await household.register_person(
            self.desks,
            psn_no=resident.psn_no,
            name=resident.name,
            certno=resident.certno,
            insutype=insutype,
            area=resident.area,
        )
        return resident

    async def family(
        self,
        patient: Resident,
        *funders: Resident,
        authorised_fen: Fen = AUTHORISED_FEN,
        relation: str = "SIBLING",
    ) -> Family:
        """Everybody registered, related, bound, credited and heard of; the funders give in this order.

        ``relation`` is what each of them is to the patient.
        """
        await asyncio.gather(*(self.moves_in(member) for member in (patient, *funders)))
        await self.told()
        group = await household.found_group(self.desks, founder=patient.psn_no) if funders else ""
        await asyncio.gather(*(self.credited(member) for member in (patient, *funders)))
        bound = [await self._bound(group, patient, funder, authorised_fen, relation) for funder in funders]
        if len(funders) > 1:
            await self.desks.family.SetDeductOrder(
                family_pb2.SetDeductOrderRequest(
                    beneficiary_psn_no=patient.psn_no, funder_psn_nos=[funder.psn_no for funder in funders]
                )
            )
        await self.told()
        return Family(patient, tuple(bound))

    async def couple(self) -> Family:
        """A patient with 30.00 of his own, one funder in each area with 100.00: what most tests need."""
        return await self.family(
            new_resident(past_fen=1_000, current_fen=2_000),
            new_resident(URUMQI, past_fen=10_000),
            new_resident(HAMI, current_fen=10_000),
        )

    async def pair(self) -> Family:
        """A patient in Ürümqi with 30.00 and one funder in Hami with 100.00: the smallest family over two ledgers."""
        return (await self.pairs(1))[0]

    async def pairs(self, count: int) -> list[Family]:
        """So many of them, made side by side."""
        patients = [new_resident(past_fen=1_000, current_fen=2_000) for _ in range(count)]
        funders = [new_resident(HAMI, past_fen=10_000) for _ in range(count)]
        await _few_at_once(self.moves_in(resident) for resident in (*patients, *funders))
        await self.told()
        await _few_at_once(self.credited(resident) for resident in (*patients, *funders))
        families = await _few_at_once(map(self.bound_together, patients, funders))
        await self.told()
        return families

    async def bound_together(self, patient: Resident, funder: Resident) -> Family:
        """Two who have moved in already, in a group of the patient's."""
        group = await household.found_group(self.desks, founder=patient.psn_no)
        return Family(patient, (await self._bound(group, patient, funder, AUTHORISED_FEN),))

    async def _bound(
        self, group: str, patient: Resident, funder: Resident, authorised_fen: Fen, relation: str = "SIBLING"
    ) -> Resident:
        await household.prove_relation(self.desks, person=funder.psn_no, other=patient.psn_no, relation=relation)
        await household.bring_in(
            self.desks, group_id=group, inviter=patient.psn_no, invitee=funder.psn_no, relation=relation
        )
        binding_id = await household.bind(
            self.desks,
            group_id=group,
            funder=funder.psn_no,
            beneficiary=patient.psn_no,
            authorised_fen=authorised_fen,
        )
        return replace(funder, binding_id=binding_id)

    async def credited(self, resident: Resident) -> None:
        """The money he begins with."""
        await household.credit(
            self.desks,
            psn_no=resident.psn_no,
            area=resident.area,
            past_fen=resident.past_fen,
            current_fen=resident.current_fen,
        )

    async def freeze(self, resident: Resident, *, frozen: bool = True) -> None:
        """His account takes no new holds, or takes them again."""
        if frozen:
            await self.desks.accounts.FreezeAccount(
                account_pb2.FreezeAccountRequest(
                    psn_no=resident.psn_no, area=resident.area, cause="COURT_ORDER", request_id=str(uuid4())
                )
            )
        else:
            await self.desks.accounts.UnfreezeAccount(
                account_pb2.UnfreezeAccountRequest(
                    psn_no=resident.psn_no, area=resident.area, cause="COURT_ORDER", request_id=str(uuid4())
                )
            )

    # Bills -----------------------------------------------------------------------------------------------------------

    async def planned(
        self, family: Family, amount_fen: Fen, *, at: FixmedinsCode = HOSPITAL, med_type: str = OUTPATIENT
    ) -> settlement_pb2.Plan:
        """A plan for a bill of this amount."""
        return await self.planned_for(family, bill_of(amount_fen), at=at, med_type=med_type)

    async def planned_for(
        self, family: Family, bill: Bill, *, at: FixmedinsCode = HOSPITAL, med_type: str = OUTPATIENT
    ) -> settlement_pb2.Plan:
        """A plan for this bill."""
        return await self.counters[at].plan(
            patient=family.patient.psn_no, med_type=med_type, bill=bill, mdtrt_id=f"M{uuid4().hex[:20]}"
        )

    async def paid(
        self, family: Family, amount_fen: Fen, *, at: FixmedinsCode = HOSPITAL, med_type: str = OUTPATIENT
    ) -> settlement_pb2.Settlement:
        """A bill planned and paid."""
        plan = await self.planned(family, amount_fen, at=at, med_type=med_type)
        outcome = await self.counters[at].pay(plan, med_type=med_type)
        assert isinstance(outcome, settlement_pb2.Settlement), outcome
        return outcome

    # What became of it -----------------------------------------------------------------------------------------------

    async def money(self, family: Family) -> list[tuple[Fen, Fen]]:
        """(past, current) of everybody once everything is at rest, as the ledgers tell over gRPC."""
        await self.at_rest()
        return [(balance.past_fen, balance.current_fen) for balance in await self.balances(family)]

    async def balances(self, family: Family) -> list[account_pb2.Balance]:
        """Every member's account."""
        answers = [
            await self.desks.accounts.GetBalance(
                account_pb2.GetBalanceRequest(
                    psn_no=member.psn_no, account_kind=account_pb2.ACCOUNT_KIND_PERSONAL, area=member.area
                )
            )
            for member in family.members
        ]
        return [answer.balance for answer in answers]

    async def topics(self, resident: Resident) -> list[str]:
        """What he was told of once every room has heard of everything, oldest first."""
        await self.told()
        return [
            notify_pb2.Topic.Name(message.topic).removeprefix("TOPIC_") for message in await self.messages(resident)
        ]

    async def messages(self, resident: Resident) -> list[notify_pb2.Message]:
        """What he was told, oldest first."""
        answer = await self.desks.notify.ListMessages(notify_pb2.ListMessagesRequest(psn_no=resident.psn_no))
        return list(reversed(answer.messages))

    async def reached(self) -> None:
        """Our channel has found the settlement process that was started again, and that one its ledger."""
        request = account_pb2.GetBalanceRequest(
            psn_no="0000000000", account_kind=account_pb2.ACCOUNT_KIND_PERSONAL, area=URUMQI
        )
        await insisted(lambda: self.desks.accounts.GetBalance(request, wait_for_ready=True))

    async def told(self) -> None:
        """Every room has heard what the others said."""
        await wait_until_told(
            databases=[self.world.database_url(name) for name in ("identity", "family", "settlement")],
            nats_url=self.world.nats_url,
            bus_prefix=self.world.bus_prefix,
            timeout_s=TOLD_MAX_S,
        )

    async def at_rest(self, *, bound_s: float = REST_MAX_S) -> float:
        """Waits until no payment is open and nothing is held, by themselves; how long that took, in seconds.

        TimeoutError tells what is still open after ``bound_s``.
        """
        began = time.monotonic()
        while waiting := await self._open():
            if time.monotonic() - began > bound_s:
                raise TimeoutError(f"after {bound_s:.0f} s still {waiting}")
            await asyncio.sleep(POLL_S)
        return time.monotonic() - began

    async def _open(self) -> dict[str, int]:
        found = {"payments": await self.settlement.fetchval(_OPEN)}
        found |= {f"held in {area}": await ledger.fetchval(_HELD) for area, ledger in self.ledgers.items()}
        return {what: count for what, count in found.items() if count}

    async def report(self) -> Report:
        """Every invariant counted, the terminals' journal among them."""
        places = Places(
            self.world.database_url("settlement"), {area: self.world.ledger_database_url(area) for area in self.ledgers}
        )
        return await verify(places, journals=sorted(self.journals))

    async def check(self) -> None:
        """At rest, no invariant is violated and nothing waits for a person."""
        await self.at_rest()
        report = (await self.report()).as_json()
        assert (report["violations"], report["waiting"]) == (0, {}), report

    async def payment(self, key: settlement_pb2.RequestKey) -> Mapping[str, Any] | None:
        """The row of a request, None if nothing is stored."""
        found: Mapping[str, Any] | None = await self.settlement.fetchrow(
            "SELECT * FROM payments WHERE (fixmedins_code, infno, msgid) = ($1, $2, $3)",
            key.fixmedins_code,
            str(int(key.infno)),
            key.msgid,
        )
        return found

    async def net_of(self, family: Family) -> Fen:
        """What the patient's settlements took and have not given back, as it is stored."""
        net: Fen = await self.settlement.fetchval(
            """SELECT coalesce(sum(CASE kind WHEN 'SETTLE' THEN amount_fen ELSE -amount_fen END), 0)::bigint
                 FROM payments WHERE psn_no = $1 AND state = 'DONE' AND kind IN ('SETTLE', 'REFUND')""",
            family.patient.psn_no,
        )
        return net

    def logs(self) -> dict[str, str]:
        """What every process has written so far, by its name."""
        return {
            one.name: one.log.read_text(encoding="utf-8", errors="replace")
            for one in self.world.running()
            if one.log.exists()
        }

    def personal_in_logs(self) -> dict[str, list[str]]:
        """What of the people is to be found in the logs, by process: nothing, if all is well."""
        found = {
            name: sorted(secret for secret in self.personal if secret in text) for name, text in self.logs().items()
        }
        return {name: secrets for name, secrets in found.items() if secrets}


async def _few_at_once(work: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
    """Does it all, eight at a time; the results in the same order."""
    gate = asyncio.Semaphore(8)

    async def one(part: Coroutine[Any, Any, Result]) -> Result:
        async with gate:
            return await part

    return await asyncio.gather(*map(one, work))


def written_policies(folder: Path, *further: AdmDvs) -> Path:
    """The town's policies, in a folder of their own; those of further areas' provinces say the same."""
    folder.mkdir(parents=True, exist_ok=True)
    for province in sorted({province_of(area) for area in (URUMQI, *further)}):
        (folder / f"{province}.yaml").write_text(POLICY.replace("650000", province), encoding="utf-8")
    return folder


async def looked_into(world: World) -> tuple[asyncpg.Connection, dict[AdmDvs, asyncpg.Connection]]:
    """Connections by which the tests look into the databases of settlement and of each ledger."""
    settlement = await asyncpg.connect(world.database_url("settlement"))
    return settlement, {AdmDvs(area): await asyncpg.connect(world.ledger_database_url(area)) for area in world.areas}


@asynccontextmanager
async def town_in(
    world: World, *, codes: Sequence[FixmedinsCode] = (HOSPITAL, PHARMACY, OTHER_HOSPITAL)
) -> AsyncIterator[Town]:
    """The town of a world that runs, with its institutions registered; nothing of it is left open afterwards."""
    journal = world.folder / "terminal.sqlite"
    async with AsyncExitStack() as stack:
        desks = await stack.enter_async_context(desks_at(world.address, caller=TESTER, call_timeout_s=PATIENCE_S))
        settlement, ledgers = await looked_into(world)
        personal: set[str] = set()
        counters = {}
        for code in codes:
            await household.register_institution(desks, fixmedins_code=code, name="共济医疗机构")
            plain = await stack.enter_async_context(
                counter_at(desks, world.address, fixmedins_code=code, journal=journal)
            )
            counters[code] = WatchedCounter(desks, plain.terminal, personal)
        town = Town(world, desks, counters, {journal}, settlement, ledgers, personal)
        stack.push_async_callback(town.hang_up)  # Others by now, where a test has lost or replaced the first ones.
        await town.told()
        yield town
