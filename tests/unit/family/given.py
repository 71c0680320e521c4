"""Values that the family tests begin from; each test changes what it is about."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from kernel.ids import AdmDvs, AuthorisationId, BindingId, GroupId, PsnNo
from kernel.policy import PolicySet, Relation
from services.family.domain.bindings import Bind, Binding, BindingState
from services.family.domain.groups import Accept, Group, Invitation, InvitationState, Invite, Kinship, Member
from services.family.domain.judging import Standing
from services.family.domain.people import Enrolment, Person, Sanction

NOW = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
HAMI = AdmDvs("650500")
URUMQI = AdmDvs("650100")
LANZHOU = AdmDvs("620100")
MOTHER, CHILD, AUNT, STRANGER = PsnNo("6500000001"), PsnNo("6500000002"), PsnNo("6500000003"), PsnNo("6500000009")
POLICIES = PolicySet.of({})


def person(
    psn_no: PsnNo,
    *,
    insutype: str = "310",
    area: AdmDvs = HAMI,
    status: str = "1",
    born: date | None = date(1980, 5, 1),
    sanctioned_from: datetime = NOW - timedelta(days=1),
    sanctioned_until: datetime | None = None,
    died_on: date | None = None,
    merged_into: PsnNo | None = None,
) -> Person:
    """Someone normally insured as an employee in Hami, grown up, not sanctioned."""
    sanctions = () if sanctioned_until is None else (Sanction(sanctioned_from, sanctioned_until),)
    return Person(psn_no, "王*", born, (Enrolment(insutype, area, status),), sanctions, died_on, merged_into)


def standing(
    *,
    funder: Person | None = None,
    beneficiary: Person | None = None,
    proven: Kinship | None = None,
    account_at: AdmDvs | None = None,
) -> Standing:
    """The mother gives, the child gets, and identity knows her as its mother."""
    return Standing(
        funder or person(MOTHER),
        beneficiary or person(CHILD, insutype="390"),
        proven or Kinship(Relation.PARENT),
        account_at,
    )


def group(*members: PsnNo, founder: PsnNo = MOTHER, invitations: Sequence[Invitation] = ()) -> Group:
    """A group of these people."""
    return Group(GroupId(UUID(int=1)), founder, tuple(Member(psn_no, NOW) for psn_no in members), tuple(invitations))


def invitation(
    *,
    invitee: PsnNo = AUNT,
    state: InvitationState = InvitationState.PENDING,
    expires_at: datetime = NOW + timedelta(days=7),
) -> Invitation:
    """The mother's open invitation to her sister."""
    return Invitation(UUID(int=7), GroupId(UUID(int=1)), MOTHER, invitee, Relation.SIBLING, state, expires_at)


def invite(
    *,
    into: Group | None = None,
    inviter: Person | None = None,
    invitee: Person | None = None,
    stated: Relation = Relation.SIBLING,
    proven: Kinship | None = None,
) -> Invite:
    """The mother invites her sister, whom identity knows as her sister."""
    return Invite(
        group=into or group(MOTHER),
        founder_area=HAMI,
        inviter=inviter or person(MOTHER),
        invitee=invitee or person(AUNT),
        stated=stated,
        proven=proven or Kinship(stated),
    )


def accept(
    asked: Invitation | None = None,
    *,
    into: Group | None = None,
    invitee: Person | None = None,
    proven: Kinship | None = None,
    groups: int = 0,
) -> Accept:
    """Her sister, still her sister, says yes to the mother's invitation."""
    return Accept(
        invitation=asked or invitation(),
        group=into or group(MOTHER),
        founder=person(MOTHER),
        inviter=person(MOTHER),
        invitee=invitee or person(AUNT),
        proven=proven or Kinship(Relation.SIBLING),
        groups=groups,
    )


def bind(
    *,
    into: Group | None = None,
    funder: Person | None = None,
    beneficiary: Person | None = None,
    proven: Kinship | None = None,
    authorised_fen: int | None = None,
    live: Sequence[Binding] = (),
    pledges: int = 1,
    ended: int = 0,
) -> Bind:
    """The mother binds for her child, both in her group."""
    return Bind(
        group=into or group(MOTHER, CHILD, AUNT),
        funder=funder or person(MOTHER),
        beneficiary=beneficiary or person(CHILD),
        proven=proven or Kinship(Relation.PARENT),
        authorised_fen=authorised_fen,
        live=live,
        pledges=pledges,
        ended=ended,
    )


def binding(
    *,
    funder: PsnNo = MOTHER,
    state: BindingState = BindingState.ACTIVE,
    authorised_fen: int | None = 100_00,
    deduct_order: int | None = None,
    number: int = 1,
) -> Binding:
    """The mother's binding for her child."""
    return Binding(
        binding_id=BindingId(UUID(int=100 + number)),
        group_id=GroupId(UUID(int=1)),
        funder=funder,
        beneficiary=CHILD,
        relation=Relation.PARENT,
        state=state,
        vouched=True,
        authorised_fen=authorised_fen,
        bound_at=NOW + timedelta(seconds=number),
        authorisation_id=AuthorisationId(UUID(int=200 + number)),
        funder_area=HAMI,
        request_id=UUID(int=300 + number),
        requested_fen=authorised_fen,
        deduct_order=deduct_order,
    )
