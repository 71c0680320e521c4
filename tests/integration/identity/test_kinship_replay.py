"""Any sequence of changes in a real database: what was told, what is answered and what the oracle derives are one."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest

from gongji.identity.v1 import identity_pb2, kinship_pb2, person_pb2
from kernel.failures import Failure
from kernel.ids import PsnNo
from kernel.randomness import SYSTEM_RANDOMNESS
from services.identity.domain.certificate import Sex
from services.identity.domain.kinship import Evidence, Fact, FactKind, FactState, Relative
from services.identity.recovery import ExpiringFacts
from tests.integration.identity.conftest import START, Identity
from tests.integration.identity.kinship_told import asked, replayed
from tests.unit.identity.family_oracle import everyones_relations
from tests.unit.identity.strategies import with_check_character

SIZE = 8
STEPS = 60


def person(place: int, chance: random.Random) -> tuple[dict[str, str], Relative]:
    """Someone born ten years after the one before."""
    brdy, sex = date(1930 + 10 * place, 3, 1), chance.choice(list(Sex))
    seventeen = f"650103{brdy:%Y%m%d}{place:02}{1 if sex is Sex.MALE else 2}"
    fields = {
        "certno": with_check_character(seventeen),
        "psn_name": "王" + "一二三四五六七八"[place],
        "psn_no": f"65010000000010{place}",
    }
    return fields, Relative(PsnNo(fields["psn_no"]), brdy, sex)


def double_of(place: int, one: Relative) -> tuple[dict[str, Any], Relative]:
    """The same person by another certificate."""
    fields = {
        "certno": f"0000000{place}",
        "psn_cert_type": person_pb2.CERTIFICATE_TYPE_TAIWAN_PERMIT,
        "psn_name": "王" + "一二三四五六七八"[place],
        "brdy": one.brdy.isoformat(),
        "gend": one.sex.value,
        "psn_no": f"65010000000020{place}",
    }
    return fields, replace(one, psn_no=PsnNo(f"65010000000020{place}"))


class Town:
    """What the test knows: people and facts, as the answers to its own requests tell them."""

    def __init__(self, identity: Identity, seed: int) -> None:
        self.identity = identity
        self.chance = random.Random(seed)
        self.people: dict[PsnNo, Relative] = {}
        self.facts: dict[str, Fact] = {}
        self.doubles: list[tuple[PsnNo, PsnNo]] = []
        self.merged = 0

    async def settle_down(self) -> None:
        """Registers everybody, and some of them twice."""
        for place in range(SIZE):
            fields, relative = person(place, self.chance)
            await self.identity.register(**fields)
            self.people[relative.psn_no] = relative
            if place % 2 == 0:
                again, double = double_of(place, relative)
                await self.identity.register(**again)
                self.people[double.psn_no] = double
                self.doubles.append((relative.psn_no, double.psn_no))

    async def step(self) -> None:
        """One change of any kind; a refusal changes nothing."""
        work = self.chance.choice(
            [self.submitted] * 7 + [self.revoked, self.died, self.risen, self.months_later, self.found_double]
        )
        try:
            await work()
        except Failure as failure:
            assert failure.reason in {  # noqa: PT017  A refusal is as good as a change.
                "KINSHIP_WITH_SELF", "KINSHIP_CYCLE", "PARENT_NOT_OLDER", "SPOUSE_ALREADY", "MARRIAGE_AFTER_DEATH",
                "DEATH_DATE_WRONG", "DEATH_DATE_DIFFERS", "EVIDENCE_DOES_NOT_PROVE", "MARRIAGE_DATES_WRONG",
                "MERGE_CONFLICT", "PERSON_MERGED",
            }  # fmt: skip

    async def submitted(self) -> None:
        """A fact is submitted and verified; what it takes the place of falls."""
        kind = self.chance.choice(list(FactKind))
        begin = self.a_day() if kind is FactKind.MARRIED_TO else None
        end = self.a_day() if begin and self.chance.random() < 0.3 else None
        evidence = self.chance.choice([Evidence.HOUSEHOLD_REGISTER, Evidence.COMMITMENT])
        one, other = self.anybody(), self.anybody()
        request = kinship_pb2.SubmitKinshipFactRequest(
            kind=person_pb2.KinshipFactKind.Value(f"KINSHIP_FACT_KIND_{kind.name}"),
            psn_no=one.psn_no,
            other_psn_no=other.psn_no,
            evidence=kinship_pb2.Evidence.Value(f"EVIDENCE_{evidence.name}"),
            from_date=begin.isoformat() if begin else "",
            to_date=end.isoformat() if end else "",
        )
        fact_id = (await self.identity.kinship.SubmitKinshipFact(request)).fact_id
        await self.review(fact_id, person_pb2.KINSHIP_FACT_STATE_VERIFIED)
        fact = Fact(UUID(fact_id), kind, one.psn_no, other.psn_no, evidence, begin, end, FactState.VERIFIED)
        self.facts.setdefault(fact_id, fact)

    async def revoked(self) -> None:
        """One of the facts falls."""
        verified = [fact_id for fact_id, fact in self.facts.items() if fact.state is FactState.VERIFIED]
        if verified:
            await self.review(self.chance.choice(verified), person_pb2.KINSHIP_FACT_STATE_REVOKED, "误")

    async def died(self) -> None:
        """Somebody is reported dead."""
        dead, day = self.anybody(), self.a_day()
        await self.identity.stub.ReportDeath(
            identity_pb2.ReportDeathRequest(
                psn_no=dead.psn_no,
                death_date=day.isoformat(),
                evidence=identity_pb2.DEATH_EVIDENCE_CREMATION_CERTIFICATE,
                opter="zhang01",
            )
        )
        self.people[dead.psn_no] = replace(dead, death_date=day)

    async def risen(self) -> None:
        """The report was wrong."""
        for alive in [each for each in self.people.values() if each.death_date is not None][:1]:
            await self.identity.stub.WithdrawDeath(
                identity_pb2.WithdrawDeathRequest(psn_no=alive.psn_no, opter="zhang01", cause="误报")
            )
            self.people[alive.psn_no] = replace(alive, death_date=None)

    async def found_double(self) -> None:
        """Two records turn out to be one person."""
        if self.doubles:
            keep, double = pair = self.chance.choice(self.doubles)
            await self.identity.stub.MergePersons(
                identity_pb2.MergePersonsRequest(
                    keep_psn_no=keep, double_psn_no=double, opter="zhang01", cause="同一人两个档案"
                )
            )
            self.doubles.remove(pair)
            self.merged += 1

    async def months_later(self) -> None:
        """Time passes, and what has run out ends."""
        self.identity.clock.advance(days=100)
        clock = self.identity.clock
        await ExpiringFacts(database=self.identity.database, clock=clock, randomness=SYSTEM_RANDOMNESS).sweep()

    async def review(self, fact_id: str, state: person_pb2.KinshipFactState.ValueType, cause: str = "") -> None:
        """An officer decides."""
        await self.identity.kinship.ReviewKinshipFact(
            kinship_pb2.ReviewKinshipFactRequest(fact_id=fact_id, state=state, cause=cause, opter="zhang01")
        )

    async def look(self) -> None:
        """Takes over in which state each fact is, and whom it names since two records became one."""
        for fact_id, fact in self.facts.items():
            request = kinship_pb2.GetKinshipFactRequest(fact_id=fact_id)
            found = (await self.identity.kinship.GetKinshipFact(request)).fact
            name = person_pb2.KinshipFactState.Name(found.state).removeprefix("KINSHIP_FACT_STATE_")
            one, other = PsnNo(found.person.psn_no), PsnNo(found.other.psn_no)
            self.facts[fact_id] = replace(fact, state=FactState(name), psn_no=one, other_psn_no=other)

    def anybody(self) -> Relative:
        """Someone of the town."""
        return self.chance.choice(list(self.people.values()))

    def a_day(self) -> date:
        """Some day of the last twenty years."""
        return START.date() - timedelta(days=self.chance.randrange(7_000))


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_replay_answers_and_oracle_agree(identity: Identity, seed: int) -> None:
    """After sixty verifications, revocations, deaths, withdrawals, expiries and merges, and at each twentieth step."""
    town = Town(identity, seed)
    await town.settle_down()
    for number in range(1, STEPS + 1):
        await town.step()
        if number % 20 == 0:
            await town.look()
            today = identity.clock.now().date()
            derived = everyones_relations(town.people.values(), list(town.facts.values()), on_date=today)
            expected = {pair: relation.name for pair, relation in derived.items()}
            assert await replayed(identity.database) == expected
            assert await asked(identity, town.people) == expected
    assert sum(fact.state is FactState.VERIFIED for fact in town.facts.values()) > 0
    assert town.merged > 0
