"""Many registrations in one message: each row judged by itself, as a single call would be."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from chassis.rpc.interceptors import checked_request
from gongji.identity.v1 import identity_pb2 as pb
from kernel.failures import Failure, Kind
from kernel.policy import known_area
from services.identity.domain.person import Enrolment, InsuranceStatus, Insutype, check_psn_type
from services.identity.domain.registration import Outcome, Row
from services.identity.wire.people import registration

_ROWS_AT_ONCE: Final = 50
_ANYBODY: Final = "0" * 10
"""Stands for the number that EnrolRequest needs, while only where and how he is insured is looked at."""


async def parsed_rows(request: pb.RegisterPeopleRequest, *, now: datetime) -> list[Row | Failure]:
    """Each row, or why RegisterPerson or Enrol would refuse it before they look at the register."""
    found: list[Row | Failure] = []
    for place in range(0, len(request.rows), _ROWS_AT_ONCE):
        found += [_row(message, now=now) for message in request.rows[place : place + _ROWS_AT_ONCE]]
        await asyncio.sleep(0)  # So that a code at a counter does not wait for a whole batch.
    return found


def people_message(outcomes: Iterable[Outcome]) -> pb.RegisterPeopleResponse:
    """What became of each row."""
    return pb.RegisterPeopleResponse(answers=map(_answer, outcomes))


def _row(message: pb.PersonRow, *, now: datetime) -> Row | Failure:
    single = pb.RegisterPersonRequest(
        psn_cert_type=message.psn_cert_type,
        certno=message.certno,
        psn_name=message.psn_name,
        brdy=message.brdy,
        psn_no=message.psn_no,
        gend=message.gend,
    )
    try:
        checked_request(single)
        return Row(registration(single, now=now), _enrolment(message))
    except Failure as refusal:
        return refusal


def _enrolment(message: pb.PersonRow) -> Enrolment | None:
    if not message.insutype and not message.insuplc_admdvs:
        return None
    if not message.insutype or not message.insuplc_admdvs:
        missing = "insuplc_admdvs" if message.insutype else "insutype"
        raise Failure(Kind.INVALID, "ENROLMENT_INCOMPLETE", field=missing)
    checked_request(
        pb.EnrolRequest(
            psn_no=_ANYBODY,
            insutype=message.insutype,
            insuplc_admdvs=message.insuplc_admdvs,
            psn_type=message.psn_type,
        )
    )
    area = known_area(message.insuplc_admdvs, field="insuplc_admdvs")
    check_psn_type(Insutype(message.insutype), message.psn_type)
    return Enrolment(Insutype(message.insutype), area, InsuranceStatus.NORMAL, message.psn_type)


def _answer(outcome: Outcome) -> pb.PersonRowAnswer:
    if isinstance(outcome, Failure):
        return pb.PersonRowAnswer(reason=outcome.reason, field=outcome.metadata.get("field", ""))
    return pb.PersonRowAnswer(psn_no=outcome.psn_no, existed=outcome.existed)
