"""A binding stops by itself, within seconds, when what it rests on falls (domain §2); and only then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from gongji.family.v1 import binding_pb2
from gongji.identity.v1 import identity_pb2, sanctions_pb2
from gongji.ledger.v1 import ledger_pb2
from tests.integration.family.house import GUANGZHOU, URUMQI, House

SUSPENDED, ACTIVE = binding_pb2.BINDING_STATE_SUSPENDED, binding_pb2.BINDING_STATE_ACTIVE
CLOSED = ledger_pb2.AUTHORISATION_STATE_CLOSED
WITHIN_S = 10.0
Ending = Callable[[House, str, str], Awaitable[None]]


def timestamp(instant: datetime) -> Timestamp:
    """As protobuf has it."""
    message = Timestamp()
    message.FromDatetime(instant)
    return message


async def sanction(house: House, psn_no: str, *, begins: datetime) -> None:
    """Suspended from online settlement for half a year."""
    await house.sanctions.ImposeSanction(
        sanctions_pb2.ImposeSanctionRequest(
            psn_no=psn_no,
            from_time=timestamp(begins),
            to_time=timestamp(begins + timedelta(days=200)),
            basis_clause="条例 art. 41",
            decision_no=f"乌医保处〔2026〕{psn_no[-6:]}号",
            organ="乌鲁木齐市医疗保障局",
            opter="zhang01",
        )
    )


async def the_funder_is_paused(house: House, funder: str, _: str) -> None:
    """暂停参保."""
    await house.status(funder, "2")


async def the_funder_has_ended(house: House, funder: str, _: str) -> None:
    """终止参保."""
    await house.status(funder, "4")


async def the_funder_becomes_a_resident(house: House, funder: str, _: str) -> None:
    """390 instead of 310."""
    await house.status(funder, "4")
    await house.enrol(funder, "650500", insutype="390")


async def the_funder_moves_away(house: House, funder: str, _: str) -> None:
    """To another province."""
    await house.enrol(funder, GUANGZHOU, insutype="310")


async def the_beneficiary_moves_away(house: House, _: str, beneficiary: str) -> None:
    """To another province."""
    await house.enrol(beneficiary, GUANGZHOU, insutype="390")


async def the_funder_is_sanctioned(house: House, funder: str, _: str) -> None:
    """At once."""
    await sanction(house, funder, begins=datetime.now(UTC) - timedelta(seconds=5))


async def the_funder_dies(house: House, funder: str, _: str) -> None:
    """Reported today."""
    await house.identity.ReportDeath(
        identity_pb2.ReportDeathRequest(
            psn_no=funder,
            death_date=(datetime.now(UTC) - timedelta(days=2)).date().isoformat(),
            evidence=identity_pb2.DEATH_EVIDENCE_MEDICAL_CERTIFICATE,
            opter="zhang01",
        )
    )


@pytest.mark.parametrize(
    ("ending", "cause"),
    [
        (the_funder_is_paused, "NOT_INSURED"),
        (the_funder_has_ended, "NOT_INSURED"),
        (the_funder_becomes_a_resident, "NOT_INSURED"),
        (the_funder_moves_away, "OTHER_PROVINCE"),
        (the_beneficiary_moves_away, "OTHER_PROVINCE"),
        (the_funder_is_sanctioned, "SANCTIONED"),
        (the_funder_dies, "DIED"),
    ],
)
async def test_every_ending_closes_the_authorisation(house: House, ending: Ending, cause: str) -> None:
    """SUSPENDED with its cause within seconds, and nothing is left open at the ledger."""
    funder, beneficiary, group_id = await house.couple()
    binding = await house.bind(group_id, funder, beneficiary)
    await ending(house, funder, beneficiary)
    await house.until(binding, SUSPENDED)
    assert (await house.binding(binding)).cause == cause
    assert (await house.authorisation(binding)).state == CLOSED


async def test_what_comes_back_brings_no_binding_back(house: House) -> None:
    """Insured again, the funder's consent is needed anew."""
    funder, beneficiary, group_id = await house.couple()
    binding = await house.bind(group_id, funder, beneficiary)
    await house.status(funder, "2")
    await house.until(binding, SUSPENDED)
    await house.status(funder, "1")
    await house.until_projected(funder, "1")
    assert (await house.binding(binding)).state == SUSPENDED
    assert (await house.bind(group_id, funder, beneficiary)).state == ACTIVE


async def test_a_move_inside_the_province_leaves_it_alone(house: House) -> None:
    """Any city, until his account follows him; a witness that stops afterwards shows that the move was heard of."""
    funder, beneficiary, group_id = await house.couple()
    binding = await house.bind(group_id, funder, beneficiary)
    await house.enrol(funder, URUMQI, insutype="310")
    witness, other, others_group = await house.couple()
    stops = await house.bind(others_group, witness, other)
    await house.status(witness, "2")
    await house.until(stops, SUSPENDED)
    assert (await house.binding(binding)).state == ACTIVE


async def test_a_sanction_that_begins_later_stops_it_then(house: House) -> None:
    """No event tells of its beginning; the binding is looked at by the clock."""
    funder, beneficiary, group_id = await house.couple()
    binding = await house.bind(group_id, funder, beneficiary)
    begins = datetime.now(UTC) + timedelta(seconds=WITHIN_S)
    await sanction(house, funder, begins=begins)
    assert (await house.binding(binding)).state == ACTIVE
    await house.until(binding, SUSPENDED)
    assert datetime.now(UTC) >= begins
    assert (await house.binding(binding)).cause == "SANCTIONED"
