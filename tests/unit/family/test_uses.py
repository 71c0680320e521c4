"""Uses: what is read out of settlement's events, civil days, and places in a list."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gongji.settlement.v1 import events_pb2, settlement_pb2
from kernel.failures import Failure
from services.family import wire
from services.family.domain.uses import Period, Place

FUNDER, OTHER, PATIENT = "6500000001", "6500000002", "6500000003"
AUTHORISATION = UUID(int=7)


def settled() -> events_pb2.SettlementEvent:
    """A bill in which one funder gave from two accounts, another nothing, and the patient himself the rest."""
    event = events_pb2.SettlementEvent(event_id=str(UUID(int=1)), aggregate_id=f"payment:{UUID(int=2)}", version=1)
    fact = event.bill_settled
    fact.setl_id, fact.patient_psn_no, fact.fixmedins_code = str(UUID(int=2)), PATIENT, "P65010000019"
    funder = settlement_pb2.SOURCE_ROLE_FUNDER
    for past_fen, current_fen in ((5, 6), (70, 0)):
        fact.changes.add(
            psn_no=FUNDER,
            role=funder,
            past_fen=past_fen,
            current_fen=current_fen,
            authorisation_id=str(AUTHORISATION),
        )
    fact.changes.add(psn_no=OTHER, role=funder)
    fact.changes.add(psn_no=PATIENT, role=settlement_pb2.SOURCE_ROLE_OWN, past_fen=900)
    fact.changes.add(psn_no=PATIENT, role=settlement_pb2.SOURCE_ROLE_WALLET, past_fen=800)
    return event


def test_a_funders_share_is_one_use_however_many_accounts_gave_it() -> None:
    """Nothing of it is lost; who gave nothing, and the patient's own accounts, are no use."""
    (use,) = wire.told_uses(settled().SerializeToString())
    assert (use.funder, use.beneficiary, use.amount_fen, use.authorisation_id) == (FUNDER, PATIENT, 81, AUTHORISATION)
    assert (use.institution_kind.value, use.institution_area, use.original_id) == ("PHARMACY", "650100", None)


def test_a_bill_that_nobody_funded_is_no_use_wherever_it_was_paid() -> None:
    """Its institution is not even looked at."""
    event = settled()
    del event.bill_settled.changes[:2]
    event.bill_settled.fixmedins_code = ""
    assert wire.told_uses(event.SerializeToString()) == []


def test_what_is_neither_bill_nor_refund_is_no_use() -> None:
    """Credits, freezes and what a later release says."""
    event = events_pb2.SettlementEvent(event_id=str(UUID(int=1)))
    assert wire.told_uses(event.SerializeToString()) == []
    event.account_credited.psn_no = FUNDER
    assert wire.told_uses(event.SerializeToString()) == []


def test_a_code_that_is_no_institutions_is_an_error_and_no_guess() -> None:
    """The event becomes a dead letter rather than a use at a place that is none."""
    event = settled()
    event.bill_settled.fixmedins_code = "X65010000019"
    with pytest.raises(Failure) as caught:
        wire.told_uses(event.SerializeToString())
    assert caught.value.reason == "INSTITUTION_CODE_MALFORMED"


def test_a_period_ends_with_the_midnight_after_its_last_day() -> None:
    """In Shanghai, also over the turn of the year; without an end there is none."""
    period = Period(date(2026, 12, 31), date(2026, 12, 31))
    assert period.from_at == datetime(2026, 12, 30, 16, tzinfo=UTC)
    assert period.until_at == datetime(2026, 12, 31, 16, tzinfo=UTC)
    assert (Period().from_at, Period().until_at) == (None, None)
    with pytest.raises(Failure, match="USES_PERIOD_REVERSED"):
        Period(date(2026, 12, 31), date(2026, 12, 30))


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1)),  # noqa: DTZ001  The strategy adds the zone.
    st.integers(1, 2**63 - 1),
)
def test_a_page_token_brings_its_place_back_to_the_microsecond(at: datetime, use_no: int) -> None:
    """And keeps within the request's bound."""
    place = Place(at.replace(tzinfo=UTC), use_no)
    token = wire.use_token(place)
    assert wire.use_place(token) == place
    assert len(token) <= 128


@given(st.text(max_size=128))
def test_no_text_but_a_token_is_taken_for_one(text: str) -> None:
    """A refusal by name, or the very token of the place that it is read as; nothing else is raised."""
    read_as: Place | None = None
    with suppress(Failure):
        read_as = wire.use_place(text)
    assert read_as is None or wire.use_token(read_as) == text


def test_the_first_page_has_no_place() -> None:
    """An empty token is none."""
    assert wire.use_place("") is None
    assert wire.use_token(Place(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=1), 1)) == "MTAwMDAwMHwx"
