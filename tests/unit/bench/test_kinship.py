"""The families of the kinship bench are what its questions expect."""

from __future__ import annotations

from bench.kinship import MEMBERS, QUESTIONS, facts, people, psn_no
from gongji.identity.v1 import person_pb2
from kernel.ids import PsnNo
from services.identity.domain.certificate import Sex
from services.identity.domain.kinship import Evidence, Fact, FactKind, FactState, Family, Relative, kinship
from services.identity.domain.kinship_rules import check_new
from tests.unit.identity.test_kinship import TODAY


def test_the_room_derives_what_the_bench_expects() -> None:
    """Facts that the room would take, and to each question the answer that stands beside it."""
    known = {PsnNo(row[0]): Relative(PsnNo(row[0]), row[7], Sex(row[8])) for row in people(2)}
    family = Family([], known)
    for fact_id, kind, one, other, evidence, begin, state, *_ in facts(2):
        fact = Fact(
            fact_id, FactKind(kind), PsnNo(one), PsnNo(other), Evidence(evidence), begin, state=FactState(state)
        )
        check_new(fact, family=family, today=TODAY)
        family = family.with_facts([fact])
    assert len(family.facts) == len(list(facts(2)))
    for number in range(2):
        for one, other, expected in QUESTIONS:
            pair = PsnNo(psn_no(number, one)), PsnNo(psn_no(number, other))
            relation = kinship(*pair, on_date=TODAY, family=family).relation
            name = "UNSPECIFIED" if relation is None else relation.name
            assert person_pb2.Relation.Name(expected) == f"RELATION_{name}"


def test_families_share_no_number() -> None:
    """Each person and each fact is there once."""
    assert len({row[0] for row in people(30)}) == 30 * len(MEMBERS)
    assert len({row[5] for row in people(30)}) == 30 * len(MEMBERS)
    assert len({row[0] for row in facts(30)}) == len(list(facts(30)))
