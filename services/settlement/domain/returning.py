"""Partial return of goods: revoke and settle the rest. What is given back, as the rest would find it (domain §6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, PsnNo
from kernel.money import Fen
from kernel.policy import YearSoFar
from kernel.values import value
from services.settlement.domain.benefit_case import YearUse
from services.settlement.domain.payment import PRE_SETTLE_OF
from services.settlement.domain.plan import Plan, PlanLeg
from services.settlement.domain.split import Role
from services.settlement.domain.visit import AccountReading, AreaReading, AuthorisationReading, Presented

RETURNABLE: Final = frozenset({"2102", "2207"})
"""The settlements that goods are returned of: a stay in hospital is revoked whole."""
COSTS: Final = ("medfee_sumamt", "fulamt_ownpay_amt", "overlmt_selfpay", "preselfpay_amt", "inscp_scp_amt")
"""The costs of a bill, of which a rest has no more than the whole had."""


@value
class GivenBack:
    """A settlement as if it had been revoked: its legs, the year of their current part, the month it counted in."""

    legs: tuple[PlanLeg, ...]
    year: int
    month: int
    """As yyyymm: where months are limited, that month's use becomes less."""
    use: YearUse | None = None
    """What it used of the patient's year."""
    is_spent: bool = False
    """Whether the money is gone again; what was authorised is free again all the same."""


def check_rest(original: Plan, *, settled_with: str, rest: Presented) -> None:
    """Whether this can be the rest of that settlement.

    Refusals in this order: RETURN_NOT_POSSIBLE (a stay in hospital); INFNO_DOES_NOT_FIT; RETURN_OF_ANOTHER_PERSON;
    RETURN_EXCEEDS_ORIGINAL (a cost of the rest is above the whole's; ``field`` names it); RETURN_OF_NOTHING (the same
    total).
    """
    if settled_with not in RETURNABLE:
        raise Failure(Kind.PRECONDITION, "RETURN_NOT_POSSIBLE", infno=settled_with)
    if rest.infno != PRE_SETTLE_OF[settled_with]:
        raise Failure(Kind.INVALID, "INFNO_DOES_NOT_FIT", field="rest.infno", infno=rest.infno)
    if rest.psn_no != original.visit.psn_no:
        raise Failure(Kind.INVALID, "RETURN_OF_ANOTHER_PERSON", field="rest.psn_no")
    whole = original.visit.bill
    for cost in COSTS:
        whole_fen, rest_fen = getattr(whole, cost), getattr(rest.bill, cost)
        if rest_fen > whole_fen:
            raise Failure(
                Kind.INVALID,
                "RETURN_EXCEEDS_ORIGINAL",
                field=f"rest.bill.{cost}",
                original_fen=whole_fen,
                rest_fen=rest_fen,
            )
    if rest.bill.medfee_sumamt == whole.medfee_sumamt:
        raise Failure(Kind.INVALID, "RETURN_OF_NOTHING", field="rest.bill.medfee_sumamt")


def with_returned(
    readings: Mapping[AdmDvs, AreaReading | None], given_back: GivenBack, *, month: int
) -> dict[AdmDvs, AreaReading | None]:
    """The readings as they would be once every authorisation has its amount again, and every account its share.

    What belongs to an account that is closed goes to suspense, and what belongs to a silent area is not known: neither
    pays the rest. ``month`` is the present one.
    """
    returned = dict(readings)
    for leg in given_back.legs:
        reading = returned.get(leg.area)
        if reading is not None:
            returned[leg.area] = _with_leg(reading, leg, given_back, month=month)
    return returned


def with_less_used(
    used: Mapping[tuple[str, str], YearSoFar], given_back: GivenBack, *, year: int
) -> Mapping[tuple[str, str], YearSoFar]:
    """What the ``year`` will have used then, by insutype and pool."""
    use = given_back.use
    standing = None if use is None or given_back.year != year else used.get((use.insutype, use.pool))
    if use is None or standing is None:
        return used
    less = YearSoFar(
        standing.deductible_fen - use.deductible_fen,
        standing.fund_fen - use.fund_fen,
        standing.large_fen - use.large_fen,
    )
    return {**used, (use.insutype, use.pool): less}


def _with_leg(reading: AreaReading, leg: PlanLeg, given_back: GivenBack, *, month: int) -> AreaReading:
    leave = None if leg.authorisation_id is None else reading.authorisations.get(leg.authorisation_id)
    if leg.authorisation_id is not None and leave is not None:
        used = _with_less_use(leave, leg.amount_fen, counts=given_back.month == month)
        reading = replace(reading, authorisations={**reading.authorisations, leg.authorisation_id: used})
    if given_back.is_spent:
        return reading
    if leg.role is Role.WALLET:
        return replace(reading, wallets=_with_share(reading.wallets, leg, given_back.year))
    return replace(reading, accounts=_with_share(reading.accounts, leg, given_back.year))


def _with_share(accounts: Mapping[PsnNo, AccountReading], leg: PlanLeg, year: int) -> Mapping[PsnNo, AccountReading]:
    account = accounts.get(leg.psn_no)
    if account is None:
        return accounts
    turned = account.year > year
    past_fen, current_fen = (leg.amount_fen, 0) if turned else (leg.past_fen, leg.current_fen)
    has_more = replace(account, past_fen=account.past_fen + past_fen, current_fen=account.current_fen + current_fen)
    return {**accounts, leg.psn_no: has_more}


def _with_less_use(leave: AuthorisationReading, amount_fen: Fen, *, counts: bool) -> AuthorisationReading:
    return replace(
        leave,
        used_fen=max(leave.used_fen - amount_fen, 0),
        month_used_fen=max(leave.month_used_fen - (amount_fen if counts else 0), 0),
    )
