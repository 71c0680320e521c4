"""Whose account may stand where: asked before money comes into an account for the first time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, PsnNo
from kernel.policy import Part, known_area
from services.settlement.domain.split import INSUTYPE_EMPLOYEE, Role
from services.settlement.domain.visit import KnownPerson
from services.settlement.domain.wallet import Wallet, refuse_merged
from services.settlement.store import projections as projected
from services.settlement.store import wallets as wallet_store
from services.settlement.store.payments import Connection


@dataclass(frozen=True, slots=True)
class Holding:
    """An account that somebody is to have: in which capacity he uses it, which part of it, in which area."""

    psn_no: PsnNo
    role: Role
    part: Part
    area: AdmDvs


async def refusals(connection: Connection, holdings: Sequence[Holding], *, now: datetime) -> list[Failure | None]:
    """By place: why this person may not have such an account in this area, or it has no such part; None if he may.

    In this order: POLICY_AREA_UNKNOWN; WALLET_HAS_ONE_PART; PERSON_UNKNOWN; PERSON_MERGED (a double's account would
    keep it); NOT_INSURED_IN_AREA (a personal account is an employee's, in the area that insures him; a paused or ended
    insurance keeps it); WALLET_NOT_USED_IN_AREA.
    """
    if not holdings:
        return []
    known = await projected.people(connection, {holding.psn_no for holding in holdings}, now=now)
    with_wallets = {holding.psn_no for holding in holdings if holding.role is Role.WALLET}
    wallets = await wallet_store.find(connection, with_wallets) if with_wallets else {}
    return [_refusal(holding, known.get(holding.psn_no), wallets.get(holding.psn_no)) for holding in holdings]


def _refusal(holding: Holding, person: KnownPerson | None, wallet: Wallet | None) -> Failure | None:
    try:
        _check(holding, person, wallet)
    except Failure as refusal:
        return refusal
    return None


def _check(holding: Holding, person: KnownPerson | None, wallet: Wallet | None) -> None:
    known_area(holding.area, field="area")
    if holding.role is Role.WALLET and holding.part is not Part.PAST:
        raise Failure(Kind.INVALID, "WALLET_HAS_ONE_PART", field="part")
    if person is None:
        raise Failure(Kind.NOT_FOUND, "PERSON_UNKNOWN", field="psn_no")
    refuse_merged(person, "psn_no")
    if holding.role is Role.OWN and not _insured_as_employee(person, holding.area):
        raise Failure(Kind.PRECONDITION, "NOT_INSURED_IN_AREA", area=holding.area)
    if holding.role is Role.WALLET and holding.area != _wallet_area(person, wallet):
        raise Failure(Kind.PRECONDITION, "WALLET_NOT_USED_IN_AREA", area=holding.area)


def _wallet_area(person: KnownPerson, wallet: Wallet | None) -> AdmDvs | None:
    """Where bills look for what is in a wallet (``split`` has it); nobody would see it elsewhere."""
    if wallet is not None:
        return wallet.area
    return None if person.enrolment is None else person.enrolment.insuplc_admdvs


def _insured_as_employee(person: KnownPerson, area: AdmDvs) -> bool:
    return any(
        (enrolment.insutype, enrolment.insuplc_admdvs) == (INSUTYPE_EMPLOYEE, area) for enrolment in person.enrolments
    )
