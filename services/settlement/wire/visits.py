"""The visit's face: tokens and ids into values, the person and the lines into answers."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from gongji.settlement.v1 import visits_pb2 as pb
from kernel.ids import FixmedinsCode
from services.settlement.domain.split import FamilyMember
from services.settlement.domain.visit import Circle
from services.settlement.operations.visiting import AtDesk, PersonSeen


def at_desk(request: pb.GetPersonInfoRequest) -> AtDesk:
    """Whose token was shown, and where."""
    return AtDesk(
        fixmedins_code=FixmedinsCode(request.fixmedins_code),
        terminal_no=request.terminal_no,
        ec_token=request.ec_token,
        mdtrt_id=request.mdtrt_id,
    )


def person_message(seen: PersonSeen, *, as_of: datetime) -> pb.GetPersonInfoResponse:
    """1101's answer."""
    person = seen.person
    as_of_time = Timestamp()
    as_of_time.FromDatetime(as_of)
    answer = pb.GetPersonInfoResponse(
        psn_no=person.psn_no,
        psn_name_masked=person.name_masked,
        age=seen.age,
        gend=seen.gend,
        mdtrt_cert_type=seen.mdtrt_cert_type,
        enrolments=[
            pb.EnrolmentInfo(
                insutype=enrolment.insutype,
                insuplc_admdvs=enrolment.insuplc_admdvs,
                psn_insu_stas=enrolment.psn_insu_stas,
                psn_type=enrolment.psn_type,
                counts=enrolment == person.enrolment,
            )
            for enrolment in person.enrolments
        ],
        ineligible_reason=seen.ineligible_reason,
        as_of_time=as_of_time,
    )
    if (account := seen.account) is not None:
        answer.account.CopyFrom(
            pb.OwnAccountInfo(
                area=account.area, past_fen=account.past_fen, current_fen=account.current_fen, frozen=account.frozen
            )
        )
    if (wallet := seen.wallet) is not None:
        answer.wallet.CopyFrom(
            pb.OwnWalletInfo(area=wallet.area, free_fen=wallet.free_fen, usable_here=wallet.usable_here)
        )
    if seen.circle is not None:
        answer.family.extend(_member(member, seen.circle) for member in seen.family)
    return answer


def _member(member: FamilyMember, circle: Circle) -> pb.FamilyFunder:
    relation = next(binding.relation for binding in circle.bindings if binding.funder == member.psn_no)
    return pb.FamilyFunder(
        psn_no=member.psn_no,
        name_masked=circle.people[member.psn_no].name_masked,
        relation=relation,
        area=member.area,
        reason="" if member.skip is None else member.skip.value,
        limit_left_fen=member.limit_left_fen,
    )
