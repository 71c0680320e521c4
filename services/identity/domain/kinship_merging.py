"""What becomes of the kinship facts of two records that are one person (domain §1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kernel.ids import PsnNo
from services.identity.domain.kinship import Fact
from services.identity.domain.kinship_rules import stands_for


@dataclass(frozen=True, slots=True)
class MergedFacts:
    """``moved`` name the record that is kept, as they are from now on; ``ended`` fall, as they were."""

    moved: tuple[Fact, ...]
    ended: tuple[Fact, ...]


def merged_facts(kept: Sequence[Fact], gone: Sequence[Fact], *, keep: PsnNo, double: PsnNo) -> MergedFacts:
    """The live facts of both sorted out: the double's go to the other, and of two that say the same one falls.

    That is the one which the other stands for; a short proof that counts and a longer one that still waits both stay.
    """
    moved: list[Fact] = []
    ended: list[Fact] = []
    for fact in gone:
        ours = _of_the_kept(fact, keep=keep, double=double)
        if any(stands_for(each, ours) for each in kept):
            ended.append(fact)
        else:
            moved.append(ours)
    ended += [each for each in kept if any(stands_for(ours, each) for ours in moved)]
    return MergedFacts(tuple(moved), tuple(ended))


def _of_the_kept(fact: Fact, *, keep: PsnNo, double: PsnNo) -> Fact:
    return replace(
        fact,
        psn_no=keep if fact.psn_no == double else fact.psn_no,
        other_psn_no=keep if fact.other_psn_no == double else fact.other_psn_no,
    )
