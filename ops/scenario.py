"""A scenario file: one family, its policies, one bill (tests/scenarios/README.md), read strictly and completely.

Nothing is converted or guessed: a field that is unknown, missing or of another type is refused with its path
(``persons[1].past``). The money rules themselves are not judged here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Final, TypeAlias, TypeVar

from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, FixmedinsCode, PsnNo, parsed_admdvs, parsed_fixmedins_code, parsed_psn_no
from kernel.money import Fen, checked_amount
from kernel.policy import CareLevel, PolicySet, YearSoFar, known_area
from services.identity.domain.certificate import CertificateKind, parsed_certificate
from services.settlement.domain.bill import Bill
from services.settlement.domain.split import BenefitCase, Binding, Person, SkipReason, Visit

PLAN_AMOUNTS: Final = (
    "hifp_pay",
    "act_pay_dedc",
    "fund_pay_sumamt",
    "psn_part_amt",
    "own_past",
    "own_current",
    "own_wallet",
    "acct_mulaid_pay",
    "acct_pay",
    "psn_cash_pay",
)
"""The amounts of a plan's JSON form and of ``expect``, in the order of domain §6."""

TEXT_LENGTH_MAX: Final = 200
ORDER_MAX: Final = 1_000_000

_INSUTYPE: Final = re.compile(r"310|390")
_PSN_INSU_STAS: Final = re.compile(r"[124]")
_MED_TYPE: Final = re.compile(r"[0-9]{2,6}")
_RELATION: Final = re.compile(r"[A-Z][A-Z_]{1,62}")
_BOUND_AT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)", re.ASCII)

_OF_OTHER_FORM: Final = frozenset({"CERTIFICATE_MALFORMED", "CERTIFICATE_OF_OTHER_KIND"})

Value = TypeVar("Value")
Expected: TypeAlias = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ScenarioPerson:
    """A person of the file: what the split needs, and what registering the person for real needs."""

    person: Person
    name: str
    certno: str


@dataclass(frozen=True, slots=True)
class ScenarioBinding:
    """A binding of the file, of whatever beneficiary."""

    beneficiary: PsnNo
    relation: str  # What the funder is to the beneficiary; not judged.
    binding: Binding


@dataclass(frozen=True, slots=True)
class Scenario:
    """A whole file. ``visit`` holds the bindings of its patient alone, in the order of the file."""

    title: str
    policies: PolicySet
    stated_policies: Mapping[str, object]  # As the file has them.
    persons: Mapping[PsnNo, ScenarioPerson]
    bindings: tuple[ScenarioBinding, ...]
    visit: Visit
    fixmedins_code: FixmedinsCode
    med_type: str
    expect: Expected | None


def _wrong_type(field: str, expected: str) -> Failure:
    return Failure(Kind.INVALID, "SCENARIO_FIELD_WRONG_TYPE", field=field, expected=expected)


def _malformed(field: str, expected: str) -> Failure:
    return Failure(Kind.INVALID, "SCENARIO_VALUE_MALFORMED", field=field, expected=expected)


def _mapping(value: object, field: str, required: Sequence[str], optional: Sequence[str] = ()) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise _wrong_type(field or "file", "a mapping of " + ", ".join(required))
    known = (*required, *optional)
    prefix = f"{field}." if field else ""
    for key in value:
        if key not in known:
            raise Failure(Kind.INVALID, "SCENARIO_FIELD_UNKNOWN", field=f"{prefix}{key}", known=", ".join(known))
    for key in required:
        if key not in value:
            raise Failure(Kind.INVALID, "SCENARIO_FIELD_MISSING", field=f"{prefix}{key}")
    return value


def _list(value: object, field: str) -> list[object]:
    if not isinstance(value, list):
        raise _wrong_type(field, "a list")
    return value


def _text(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise _wrong_type(field, "text (put it in quotes)")
    if not value.strip() or len(value) > TEXT_LENGTH_MAX or not value.isprintable():
        raise _malformed(field, f"1 to {TEXT_LENGTH_MAX} characters on one line")
    return value


def _flag(value: object, field: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong_type(field, "true or false")
    return value


def _fen(value: object, field: str) -> Fen:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong_type(field, "a whole number of fen")
    return checked_amount(value, field=field)


def _fen_or_null(value: object, field: str) -> Fen | None:
    return None if value is None else _fen(value, field)


def _limit(value: object, field: str) -> Fen | None:
    """A limit per payment or per month: above 0, for what shall pay nothing is unbound."""
    limit_fen = _fen_or_null(value, field)
    if limit_fen == 0:
        raise _malformed(field, "more than 0 fen, or null")
    return limit_fen


def _order(value: object, field: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong_type(field, "a whole number or null")
    if not 1 <= value <= ORDER_MAX:
        raise _malformed(field, f"1 to {ORDER_MAX}")
    return value


def _matching(pattern: re.Pattern[str], expected: str) -> Callable[[object, str], str]:
    def parse(value: object, field: str) -> str:
        text = _text(value, field)
        if not pattern.fullmatch(text):
            raise _malformed(field, expected)
        return text

    return parse


_insutype = _matching(_INSUTYPE, "310 or 390")
_psn_insu_stas = _matching(_PSN_INSU_STAS, "1, 2 or 4")
_med_type = _matching(_MED_TYPE, "2 to 6 digits")
_relation = _matching(_RELATION, "a relation in capitals, such as SPOUSE")


def _psn(value: object, field: str) -> PsnNo:
    return parsed_psn_no(_text(value, field), field=field)


def _area(value: object, field: str) -> AdmDvs:
    return known_area(_text(value, field), field=field)


def _bound_at(value: object, field: str) -> datetime:
    text = _text(value, field)
    failure = _malformed(field, "an instant with its offset, such as 2026-01-05T10:00:00+08:00")
    if not _BOUND_AT.fullmatch(text):
        raise failure
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise failure from None


def _certno(value: object, field: str) -> str:
    """A number that some kind of certificate has; whether its birth date lies ahead is not judged in a dry run."""
    text = _text(value, field)
    refusals = []
    for kind in CertificateKind:
        try:
            return parsed_certificate(kind, text, today=date.max).number
        except Failure as failure:
            refusals.append(failure.reason)
    # The most telling one: a wrong checksum or date says more than "not the form of a birth certificate".
    reason = next((reason for reason in refusals if reason not in _OF_OTHER_FORM), "CERTIFICATE_MALFORMED")
    raise Failure(Kind.INVALID, reason, field=field)


def _get(stated: Mapping[str, object], key: str, where: str, parse: Callable[[object, str], Value]) -> Value:
    return parse(stated[key], f"{where}.{key}")


def _get_or(
    stated: Mapping[str, object], key: str, where: str, parse: Callable[[object, str], Value], default: Value
) -> Value:
    return parse(stated[key], f"{where}.{key}") if key in stated else default


def _person(value: object, where: str) -> ScenarioPerson:
    stated = _mapping(
        value,
        where,
        ("psn", "name", "certno", "insutype", "area", "past", "current"),
        ("wallet", "frozen", "sanctioned", "stas"),
    )
    person = Person(
        psn_no=_get(stated, "psn", where, _psn),
        area=_get(stated, "area", where, _area),
        insutype=_get(stated, "insutype", where, _insutype),
        past_fen=_get(stated, "past", where, _fen),
        current_fen=_get(stated, "current", where, _fen),
        wallet_fen=_get_or(stated, "wallet", where, _fen, 0),
        psn_insu_stas=_get_or(stated, "stas", where, _psn_insu_stas, "1"),
        sanctioned=_get_or(stated, "sanctioned", where, _flag, default=False),
        frozen=_get_or(stated, "frozen", where, _flag, default=False),
    )
    return ScenarioPerson(person, _get(stated, "name", where, _text), _get(stated, "certno", where, _certno))


def _persons(value: object) -> dict[PsnNo, ScenarioPerson]:
    persons: dict[PsnNo, ScenarioPerson] = {}
    certificates: set[str] = set()
    for index, item in enumerate(_list(value, "persons")):
        where = f"persons[{index}]"
        found = _person(item, where)
        if found.person.psn_no in persons:
            raise Failure(Kind.INVALID, "SCENARIO_PERSON_TWICE", field=f"{where}.psn")
        if found.certno in certificates:
            raise Failure(Kind.INVALID, "SCENARIO_PERSON_TWICE", field=f"{where}.certno")
        persons[found.person.psn_no] = found
        certificates.add(found.certno)
    return persons


def _known_person(persons: Mapping[PsnNo, ScenarioPerson]) -> Callable[[object, str], Person]:
    def parse(value: object, field: str) -> Person:
        psn_no = _psn(value, field)
        if psn_no not in persons:
            raise Failure(Kind.INVALID, "SCENARIO_PERSON_UNKNOWN", field=field)
        return persons[psn_no].person

    return parse


_BINDING_OPTIONAL: Final = ("used", "order", "unbound", "per_payment", "per_month", "month_used")


def _binding(value: object, where: str, persons: Mapping[PsnNo, ScenarioPerson]) -> ScenarioBinding:
    stated = _mapping(value, where, ("funder", "beneficiary", "authorized", "bound_at", "relation"), _BINDING_OPTIONAL)
    known_person = _known_person(persons)
    beneficiary = _get(stated, "beneficiary", where, known_person)
    binding = Binding(
        funder=_get(stated, "funder", where, known_person),
        bound_at=_get(stated, "bound_at", where, _bound_at),
        authorised_fen=_get(stated, "authorized", where, _fen_or_null),
        used_fen=_get_or(stated, "used", where, _fen, 0),
        order=_get_or(stated, "order", where, _order, None),
        unbound=_get_or(stated, "unbound", where, _flag, default=False),
        per_payment_fen=_get_or(stated, "per_payment", where, _limit, None),
        per_month_fen=_get_or(stated, "per_month", where, _limit, None),
        month_used_fen=_get_or(stated, "month_used", where, _fen, 0),
    )
    if binding.funder.psn_no == beneficiary.psn_no:
        raise Failure(Kind.INVALID, "FUNDER_IS_BENEFICIARY", field=f"{where}.funder")
    return ScenarioBinding(beneficiary.psn_no, _get(stated, "relation", where, _relation), binding)


_BILL_REQUIRED: Final = ("medfee_sumamt", "fulamt_ownpay_amt", "overlmt_selfpay", "preselfpay_amt", "inscp_scp_amt")
_BILL_OPTIONAL: Final = tuple(amount.name for amount in fields(Bill) if amount.name not in _BILL_REQUIRED)


_CASE_KEYS: Final = ("level", "retired", "deductible_used", "fund_used", "large_used")


def _level(value: object, field: str) -> CareLevel:
    level = _text(value, field)
    if level not in CareLevel.__members__:
        raise _malformed(field, "one of " + ", ".join(CareLevel.__members__))
    return CareLevel[level]


def _case(visit: Mapping[str, object], med_type: str) -> BenefitCase | None:
    """Under which row of a benefit table the bill falls; None where no level is stated."""
    if "level" not in visit:
        for key in _CASE_KEYS:
            if key in visit:
                raise Failure(Kind.INVALID, "SCENARIO_FIELD_MISSING", field="visit.level")
        return None
    return BenefitCase(
        med_type=med_type,
        level=_get(visit, "level", "visit", _level),
        retired=_get_or(visit, "retired", "visit", _flag, default=False),
        year=YearSoFar(
            deductible_fen=_get_or(visit, "deductible_used", "visit", _fen, 0),
            fund_fen=_get_or(visit, "fund_used", "visit", _fen, 0),
            large_fen=_get_or(visit, "large_used", "visit", _fen, 0),
        ),
    )


def _expected_list(value: object, field: str, keys: Mapping[str, Callable[[object, str], object]]) -> list[object]:
    found: list[object] = []
    for index, item in enumerate(_list(value, field)):
        where = f"{field}[{index}]"
        stated = _mapping(item, where, tuple(keys))
        found.append({key: _get(stated, key, where, parse) for key, parse in keys.items()})
    return found


def _skip_reason(value: object, field: str) -> str:
    reason = _text(value, field)
    if reason not in SkipReason.__members__:
        raise _malformed(field, "one of " + ", ".join(SkipReason.__members__))
    return reason


def _expect(value: object) -> Expected:
    stated = _mapping(value, "expect", (*PLAN_AMOUNTS, "funders", "skipped"))
    expected: dict[str, object] = {key: _get(stated, key, "expect", _fen) for key in PLAN_AMOUNTS}
    expected["funders"] = _expected_list(
        stated["funders"], "expect.funders", {"psn": _psn, "past": _fen, "current": _fen}
    )
    expected["skipped"] = _expected_list(stated["skipped"], "expect.skipped", {"psn": _psn, "reason": _skip_reason})
    return expected


def _policies(value: object) -> PolicySet:
    if not isinstance(value, Mapping):
        raise _wrong_type("policies", "a mapping by area; {} for none")
    for area in value:
        field = f"policies.{area}"
        parsed_admdvs(_text(area, field), field=field)
    return PolicySet.of(value, where="policies")


def parsed_scenario(content: object) -> Scenario:
    """The scenario of a file's content as plain values.

    Refusals, each with the path of its ``field``: SCENARIO_FIELD_UNKNOWN, SCENARIO_FIELD_MISSING,
    SCENARIO_FIELD_WRONG_TYPE, SCENARIO_VALUE_MALFORMED, SCENARIO_PERSON_TWICE, SCENARIO_PERSON_UNKNOWN,
    FUNDER_IS_BENEFICIARY, AMOUNT_OUT_OF_RANGE, and those of a certificate, of the codes of
    ``kernel.ids`` and of a policy.
    """
    stated = _mapping(content, "", ("policies", "persons", "bindings", "visit"), ("title", "expect"))
    title = _text(stated["title"], "title") if "title" in stated else ""
    policies = _policies(stated["policies"])
    persons = _persons(stated["persons"])
    bindings = tuple(
        _binding(item, f"bindings[{index}]", persons)
        for index, item in enumerate(_list(stated["bindings"], "bindings"))
    )
    visit = _mapping(
        stated["visit"],
        "visit",
        ("patient", "area", "fixmedins_code", "med_type", *_BILL_REQUIRED),
        (*_BILL_OPTIONAL, "wallet_capable", *_CASE_KEYS),
    )
    patient = _get(visit, "patient", "visit", _known_person(persons))
    fixmedins_code = _get(visit, "fixmedins_code", "visit", _text)
    med_type = _get(visit, "med_type", "visit", _med_type)
    amounts = {amount.name: _get_or(visit, amount.name, "visit", _fen, 0) for amount in fields(Bill)}
    return Scenario(
        title=title,
        policies=policies,
        stated_policies=stated["policies"] if isinstance(stated["policies"], Mapping) else {},
        persons=persons,
        bindings=bindings,
        visit=Visit(
            patient=patient,
            area=_get(visit, "area", "visit", _area),
            bill=Bill(**amounts),
            bindings=tuple(item.binding for item in bindings if item.beneficiary == patient.psn_no),
            wallet_capable=_get_or(visit, "wallet_capable", "visit", _flag, default=True),
            case=_case(visit, med_type),
        ),
        fixmedins_code=parsed_fixmedins_code(fixmedins_code, field="visit.fixmedins_code"),
        med_type=med_type,
        expect=_expect(stated["expect"]) if "expect" in stated else None,
    )
