"""What an officer must have seen before he acts, and who may act for whom: one refusal for each rule."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from kernel.ids import PsnNo
from kernel.policy import PolicySet, RegionPolicy, Relation
from services.family.domain.acting import refuse_other
from services.family.domain.counter import Counter, Document, DocumentKind, channel_of, refuse_unseen
from services.family.domain.groups import Kinship
from services.family.domain.pledges import Channel
from tests.unit.family.given import AUNT, CHILD, HAMI, MOTHER, NOW, POLICIES, STRANGER, person
from tests.unit.family.test_groups import refused

ID_CARD, REGISTER = DocumentKind.RESIDENT_ID, DocumentKind.HOUSEHOLD_REGISTER
FOUR_EYES = PolicySet.of({HAMI: {"counter_four_eyes": True}})
DAY_AND_MORE = timedelta(days=1, seconds=1)
EIGHT, SIXTEEN = date(2018, 3, 1), date(2010, 11, 20)


def document(psn_no: PsnNo, kind: DocumentKind = ID_CARD, *, ago: timedelta = timedelta()) -> Document:
    """Seen just now, unless said otherwise."""
    return Document(psn_no, kind, NOW - ago)


def counter(*documents: Document, second_opter: str | None = None) -> Counter:
    """The officer, who saw these."""
    return Counter("zhang01", second_opter, documents)


@pytest.mark.parametrize(
    ("at", "policies", "reason"),
    [
        (counter(document(MOTHER), document(AUNT), second_opter="zhang01"), POLICIES, "SECOND_OPTER_IS_THE_FIRST"),
        (counter(document(MOTHER), document(AUNT)), FOUR_EYES, "SECOND_OPTER_MISSING"),
        (counter(document(MOTHER), document(STRANGER)), POLICIES, "DOCUMENT_OF_NO_PARTY"),
        (counter(document(MOTHER), document(AUNT, ago=DAY_AND_MORE)), POLICIES, "DOCUMENT_NOT_SEEN_TODAY"),
        (counter(document(MOTHER), document(AUNT, ago=-timedelta(minutes=6))), POLICIES, "DOCUMENT_NOT_SEEN_TODAY"),
        (counter(document(MOTHER)), POLICIES, "DOCUMENT_MISSING"),
        (counter(document(MOTHER), document(AUNT, REGISTER)), POLICIES, "DOCUMENT_MISSING"),
        (counter(document(MOTHER), document(AUNT, DocumentKind.AUTHORISATION)), POLICIES, "DOCUMENT_MISSING"),
    ],
)
def test_each_rule_of_the_counter_has_its_refusal(at: Counter, policies: PolicySet, reason: str) -> None:
    """An officer who breaks one rule is refused with the reason of that rule."""
    sides = [person(MOTHER), person(AUNT)]
    assert refused(lambda: refuse_unseen(at, sides, policies=policies, now=NOW)) == reason


def test_with_both_cards_seen_an_officer_acts() -> None:
    """A second officer is welcome where nobody asks for one; who comes with his phone shows no documents."""
    sides, both = [person(MOTHER), person(AUNT)], (document(MOTHER), document(AUNT))
    refuse_unseen(counter(*both), sides, policies=POLICIES, now=NOW)
    refuse_unseen(counter(*both, second_opter="li02"), sides, policies=FOUR_EYES, now=NOW)
    refuse_unseen(None, sides, policies=FOUR_EYES, now=NOW)
    assert (channel_of(counter(*both)), channel_of(None)) == (Channel.COUNTER, Channel.APP)


def test_who_is_insured_nowhere_is_served_by_the_nations_rule() -> None:
    """Where the nation asks for four eyes, a resident whose insurance is paused needs them as everybody does."""
    nation = PolicySet.of({"default": {"counter_four_eyes": True}})
    at, paused = counter(document(MOTHER)), [person(MOTHER, status="2")]
    assert refused(lambda: refuse_unseen(at, paused, policies=nation, now=NOW)) == "SECOND_OPTER_MISSING"
    refuse_unseen(at, paused, policies=POLICIES, now=NOW)


def test_the_documents_of_others_whom_it_concerns_are_welcome_and_do_not_stand_for_ones_own() -> None:
    """Who unbinds may come with the other side; a stranger's card is nobody's still."""
    acts, both = [person(MOTHER)], (document(MOTHER), document(AUNT))

    def seen(*documents: Document) -> None:
        refuse_unseen(counter(*documents), acts, beside={MOTHER, AUNT}, policies=POLICIES, now=NOW)

    seen(*both)
    seen(document(MOTHER))
    assert refused(lambda: seen(document(AUNT))) == "DOCUMENT_MISSING"
    assert refused(lambda: seen(*both, document(STRANGER))) == "DOCUMENT_OF_NO_PARTY"


def test_the_register_says_who_a_child_is_until_its_sixteenth_birthday() -> None:
    """On the day it turns sixteen it shows a card of its own."""
    at, yesterday = counter(document(CHILD, REGISTER)), NOW - timedelta(minutes=1) - timedelta(days=1)
    growing = [person(CHILD, born=SIXTEEN)]
    before = counter(document(CHILD, REGISTER, ago=NOW - yesterday))
    refuse_unseen(at, [person(CHILD, born=EIGHT)], policies=POLICIES, now=NOW)
    refuse_unseen(before, growing, policies=POLICIES, now=yesterday)
    assert refused(lambda: refuse_unseen(at, growing, policies=POLICIES, now=NOW)) == "DOCUMENT_MISSING"


@pytest.mark.parametrize(
    ("born", "by", "kinship", "reason"),
    [
        (EIGHT, CHILD, None, "MINOR_ACTS_THROUGH_PARENT"),
        (EIGHT, AUNT, Kinship(Relation.SIBLING), "NOT_THE_GUARDIAN"),
        (EIGHT, AUNT, Kinship(None, "NO_CHAIN"), "NOT_THE_GUARDIAN"),
        (date(2008, 11, 20), MOTHER, Kinship(Relation.PARENT), "NOT_THE_GUARDIAN"),
        (None, MOTHER, Kinship(Relation.PARENT), "NOT_THE_GUARDIAN"),
    ],
)
def test_who_does_not_speak_for_whom(born: date | None, by: PsnNo, kinship: Kinship | None, reason: str) -> None:
    """A child not for itself, a sister never, a parent not from eighteen on nor for who is of unknown age."""
    child = person(CHILD, born=born)
    assert refused(lambda: refuse_other(child, by, kinship, policy=RegionPolicy(), today=NOW.date())) == reason


@pytest.mark.parametrize(
    ("born", "by", "kinship"),
    [
        (EIGHT, MOTHER, Kinship(Relation.PARENT)),
        (SIXTEEN, CHILD, None),
        (SIXTEEN, MOTHER, Kinship(Relation.PARENT)),
        (None, CHILD, None),
    ],
)
def test_who_speaks_for_whom(born: date | None, by: PsnNo, kinship: Kinship | None) -> None:
    """A parent until eighteen, everybody for himself from sixteen on."""
    refuse_other(person(CHILD, born=born), by, kinship, policy=RegionPolicy(), today=NOW.date())
