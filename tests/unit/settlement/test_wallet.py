"""Who may transfer what, when, and out of which part: hours and days of Asia/Shanghai, to the second and the fen."""

from __future__ import annotations

from datetime import UTC, datetime, time
from uuid import UUID

import pytest

from kernel.clock import SHANGHAI
from kernel.failures import Failure
from kernel.ids import AdmDvs, PsnNo
from kernel.policy import Part, RegionPolicy, WalletLimits
from services.settlement.domain.split import Role
from services.settlement.domain.visit import AccountReading, Enrolment, KnownPerson
from services.settlement.domain.wallet import (
    Gift,
    Wallet,
    accept_by,
    check_day,
    check_gift,
    check_wallet_area,
    home_of,
    is_closed,
    parts_of,
    source_area,
)

YEAR = 2026
HAMI, URUMQI = AdmDvs("650500"), AdmDvs("650100")
GIVER, RECEIVER = PsnNo("6500000001"), PsnNo("6500000002")
LIMITS = WalletLimits()
NOON = datetime(YEAR, 11, 22, 12, 0, tzinfo=SHANGHAI)
EMPLOYEE = KnownPerson(GIVER, "某*", (Enrolment("310", HAMI, "1"),), sanctioned=False)
WALLET = Wallet(UUID(int=1), GIVER, URUMQI, None, NOON)


def gift(amount_fen: int = 100, source: Role = Role.OWN) -> Gift:
    """A transfer of one yuan, unless said otherwise."""
    return Gift(UUID(int=2), GIVER, source, RECEIVER, amount_fen)


def reading(past: int, current: int = 0, *, year: int = YEAR, frozen: bool = False) -> AccountReading:
    """What is free of an account."""
    return AccountReading(past_fen=past, current_fen=current, year=year, frozen=frozen)


def at(clock: str) -> datetime:
    """That time of day in Asia/Shanghai, told in UTC."""
    return datetime.combine(NOON.date(), time.fromisoformat(clock), SHANGHAI).astimezone(UTC)


@pytest.mark.parametrize(
    ("clock", "closed"),
    [
        ("21:59:59.999999", False),
        ("22:00:00", True),
        ("23:59:59", True),
        ("00:00:00", True),
        ("05:59:59", True),
        ("05:59:59.999999", True),
        ("06:00:00", False),
        ("12:00:00", False),
    ],
)
def test_no_transfer_begins_from_ten_in_the_evening_until_six(clock: str, closed: bool) -> None:  # noqa: FBT001  A table.
    """22:00:00 is closed and 06:00:00 is open, by the time of Asia/Shanghai."""
    assert is_closed(at(clock), LIMITS) is closed


@pytest.mark.parametrize(("clock", "closed"), [("11:59:59", False), ("12:00", True), ("13:59", True), ("14:00", False)])
def test_closed_hours_may_lie_within_one_day(clock: str, closed: bool) -> None:  # noqa: FBT001  A table.
    """Hours that do not span midnight close what lies between them, not what lies around them."""
    assert is_closed(at(clock), WalletLimits(closed_from=time(12), closed_to=time(14))) is closed


@pytest.mark.parametrize("clock", ["06:00:00", "12:00:00", "21:59:59"])
def test_a_transfer_returns_at_six_the_next_morning(clock: str) -> None:
    """Whenever it began that day, the receiver has until ``return_at`` of the next civil day of Asia/Shanghai."""
    assert accept_by(at(clock), LIMITS) == datetime(YEAR, 11, 23, 6, 0, tzinfo=SHANGHAI)


def test_the_day_is_that_of_shanghai_though_utc_still_has_the_one_before() -> None:
    """At 06:30 in Shanghai it is still yesterday in UTC."""
    assert accept_by(datetime(YEAR, 11, 21, 22, 30, tzinfo=UTC), LIMITS).date() == datetime(YEAR, 11, 23).date()  # noqa: DTZ001  A day.


def test_two_thousand_may_be_given_and_one_fen_more_may_not() -> None:
    """2,000.00 passes, 2,000.01 is TRANSFER_TOO_LARGE with the limit."""
    check_gift(gift(200_000), LIMITS, now=NOON)
    with pytest.raises(Failure) as refused:
        check_gift(gift(200_001), LIMITS, now=NOON)
    assert (refused.value.reason, refused.value.metadata["each_fen"]) == ("TRANSFER_TOO_LARGE", "200000")


@pytest.mark.parametrize("clock", ["22:00:00", "05:59:59"])
def test_at_a_closed_hour_the_hours_are_told(clock: str) -> None:
    """TRANSFER_HOURS_CLOSED says from when until when."""
    with pytest.raises(Failure) as refused:
        check_gift(gift(), LIMITS, now=at(clock))
    assert refused.value.reason == "TRANSFER_HOURS_CLOSED"
    assert (refused.value.metadata["closed_from"], refused.value.metadata["closed_to"]) == ("22:00", "06:00")


def test_three_may_begin_a_day_and_a_fourth_may_not() -> None:
    """After two a third may; after three none."""
    check_day(2, LIMITS)
    with pytest.raises(Failure, match="TRANSFERS_OF_DAY_USED"):
        check_day(3, LIMITS)


@pytest.mark.parametrize(
    ("amount", "read", "policy", "year", "expected"),
    [
        (100, reading(100), RegionPolicy(), YEAR, (100, 0)),
        (100, reading(60, 40), RegionPolicy(), YEAR, (60, 40)),
        (100, reading(60, 40, year=YEAR - 1), RegionPolicy(), YEAR, (100, 0)),
        (60, reading(60, 40), RegionPolicy(shareable_parts=frozenset({Part.PAST})), YEAR, (60, 0)),
        (40, reading(60, 40), RegionPolicy(shareable_parts=frozenset({Part.CURRENT})), YEAR, (0, 40)),
        (40, reading(60, 40), RegionPolicy(funder_floor_balance=60), YEAR, (40, 0)),
    ],
    ids=[
        "past alone",
        "past first",
        "the year has turned",
        "past alone is shareable",
        "current alone",
        "above the floor",
    ],
)
def test_what_is_given_is_past_years_money_first(
    amount: int, read: AccountReading, policy: RegionPolicy, year: int, expected: tuple[int, int]
) -> None:
    """Out of the shareable parts, past years before the current one, and the floor stays."""
    assert parts_of(gift(amount), read, policy, year=year) == expected


@pytest.mark.parametrize(
    ("source", "read", "policy", "reason"),
    [
        (Role.OWN, None, RegionPolicy(), "ACCOUNT_NOT_FOUND"),
        (Role.OWN, reading(100, frozen=True), RegionPolicy(), "ACCOUNT_FROZEN"),
        (Role.OWN, reading(99), RegionPolicy(), "INSUFFICIENT_FUNDS"),
        (Role.OWN, reading(60, 40), RegionPolicy(shareable_parts=frozenset({Part.PAST})), "INSUFFICIENT_FUNDS"),
        (Role.OWN, reading(100), RegionPolicy(funder_floor_balance=1), "FLOOR_NOT_KEPT"),
        (Role.WALLET, reading(99), RegionPolicy(), "INSUFFICIENT_FUNDS"),
    ],
)
def test_what_cannot_be_given_is_refused_by_name(
    source: Role, read: AccountReading | None, policy: RegionPolicy, reason: str
) -> None:
    """Each obstacle has its own reason."""
    with pytest.raises(Failure, match=reason):
        parts_of(gift(100, source), read, policy, year=YEAR)


def test_a_wallets_money_knows_no_floor_and_no_parts() -> None:
    """What was received may be given on to the last fen, whatever is shareable of an account."""
    strict = RegionPolicy(funder_floor_balance=200_000, shareable_parts=frozenset({Part.CURRENT}))
    assert parts_of(gift(100, Role.WALLET), reading(100), strict, year=YEAR) == (100, 0)


@pytest.mark.parametrize("enrolments", [(), (Enrolment("390", HAMI, "1"),), (Enrolment("310", HAMI, "2"),)])
def test_only_a_normally_insured_employee_gives_from_an_account(enrolments: tuple[Enrolment, ...]) -> None:
    """A resident, a paused employee and somebody insured nowhere are GIVER_NOT_INSURED; a wallet they may give from."""
    person = KnownPerson(GIVER, "某*", enrolments, sanctioned=False)
    with pytest.raises(Failure, match="GIVER_NOT_INSURED"):
        source_area(gift(), person, WALLET)
    assert source_area(gift(source=Role.WALLET), person, WALLET) == URUMQI


def test_the_insured_area_decides_and_where_there_is_none_the_wallets() -> None:
    """Whose limits count does not hang on where the wallet is used."""
    nowhere = KnownPerson(GIVER, "某*", (), sanctioned=False)
    assert (home_of(EMPLOYEE, WALLET), home_of(nowhere, WALLET)) == (HAMI, URUMQI)
    with pytest.raises(Failure, match="WALLET_UNKNOWN"):
        home_of(nowhere, None)


def test_nobody_gives_from_a_wallet_he_has_not() -> None:
    """WALLET_UNKNOWN."""
    with pytest.raises(Failure, match="WALLET_UNKNOWN"):
        source_area(gift(source=Role.WALLET), EMPLOYEE, None)


def test_an_area_may_support_no_wallets() -> None:
    """WALLET_NOT_IN_AREA names it."""
    with pytest.raises(Failure) as refused:
        check_wallet_area(RegionPolicy(wallet=False), HAMI)
    assert (refused.value.reason, refused.value.metadata["area"]) == ("WALLET_NOT_IN_AREA", HAMI)
