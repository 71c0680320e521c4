"""Reading one layer of policy: each key has one parser, and each wrong value its own refusal naming the field.

A layer is a mapping from parameter names to plain values (text, whole numbers, true and false, null, lists, mappings)
as a YAML or JSON reader yields them. What a layer does not name is not in it; nothing is guessed or converted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import time
from decimal import Decimal
from enum import Enum
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, TypeVar

from kernel.failures import Failure, Kind
from kernel.money import AMOUNT_MAX_FEN, Fen, parsed_ratio
from kernel.policy.benefit import (
    BENEFIT_ROWS_MAX,
    BenefitKey,
    BenefitRow,
    CareLevel,
    Insutype,
    LargeTier,
    key_of,
    rank_of,
)
from kernel.policy.terms import CostKind, FunderOrder, Part, PremiumPayment, Relation, RevokeWindow

MEMBERS_MAX: Final = 1_000
"""No group is larger, whatever a policy says."""
GROUPS_MAX: Final = 1_000
REBINDS_MAX: Final = 1_000
TRANSFERS_PER_DAY_MAX: Final = 1_000
CONSENT_AGE_MIN: Final = 8
"""Below eight there is no civil capacity to consent with (domain §1, age lines)."""
CONSENT_AGE_MAX: Final = 18

MED_TYPES_MAX: Final = 100
MED_TYPE_PATTERN: Final = "[0-9]{2,6}"
POOL_PATTERN: Final = "[a-z][a-z0-9-]{0,31}"
_MED_TYPE: Final = re.compile(MED_TYPE_PATTERN)
_POOL: Final = re.compile(POOL_PATTERN)
_TIME_OF_DAY: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")

Term = TypeVar("Term", bound=Enum)
Parser: TypeAlias = Callable[[object, str], object]
Layer: TypeAlias = Mapping[str, object]
"""Parameter names to typed values; the keys of ``wallet_limits`` appear as ``wallet_limits.<key>``."""


def wrong_type(field: str, expected: str) -> Failure:
    """The refusal of a value of another sort than the parameter takes."""
    return Failure(Kind.INVALID, "POLICY_VALUE_WRONG_TYPE", field=field, expected=expected)


def contradictory(field: str, because: str) -> Failure:
    """The refusal of values that cannot be meant together."""
    return Failure(Kind.INVALID, "POLICY_CONTRADICTORY", field=field, because=because)


def _out_of_range(field: str, expected: str) -> Failure:
    return Failure(Kind.INVALID, "POLICY_VALUE_OUT_OF_RANGE", field=field, expected=expected)


def _flag(value: object, field: str) -> bool:
    if not isinstance(value, bool):
        raise wrong_type(field, "true or false")
    return value


def _whole_number(minimum: int, maximum: int) -> Callable[[object, str], int]:
    def parse(value: object, field: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong_type(field, "a whole number")
        if not minimum <= value <= maximum:
            raise _out_of_range(field, f"{minimum} to {maximum}")
        return value

    return parse


_fen: Final[Callable[[object, str], Fen]] = _whole_number(0, AMOUNT_MAX_FEN)


def _ratio(value: object, field: str) -> Decimal:
    if not isinstance(value, str):
        raise wrong_type(field, "a decimal as text")
    return parsed_ratio(value, field=field)


def _time_of_day(value: object, field: str) -> time:
    if not isinstance(value, str):
        raise wrong_type(field, "a time as text, HH:MM")
    match = _TIME_OF_DAY.fullmatch(value)
    if match is None:
        raise _out_of_range(field, "00:00 to 23:59")
    return time(int(match[1]), int(match[2]))


def _or_null(parse: Parser) -> Parser:
    return lambda value, field: None if value is None else parse(value, field)


def _one_of(terms: type[Term]) -> Callable[[object, str], Term]:
    known = {term.value: term for term in terms}
    expected = ", ".join(known)

    def parse(value: object, field: str) -> Term:
        if not isinstance(value, str):
            raise wrong_type(field, f"text, one of {expected}")
        if value not in known:
            raise _out_of_range(field, f"one of {expected}")
        return known[value]

    return parse


def _sequence(terms: type[Term]) -> Callable[[object, str], tuple[Term, ...]]:
    parse_term = _one_of(terms)

    def parse(value: object, field: str) -> tuple[Term, ...]:
        if not isinstance(value, list | tuple):
            raise wrong_type(field, "a list")
        named = tuple(parse_term(item, f"{field}[{index}]") for index, item in enumerate(value))
        for index, term in enumerate(named):
            if term in named[:index]:
                raise contradictory(f"{field}[{index}]", f"{term.value} is named twice")
        return named

    return parse


def _listed(parse: Parser, *, at_most: int) -> Parser:
    """One to so many items, none of them twice."""

    def parse_list(value: object, field: str) -> tuple[object, ...]:
        if not isinstance(value, list | tuple):
            raise wrong_type(field, "a list")
        if not 1 <= len(value) <= at_most:
            raise _out_of_range(field, f"1 to {at_most} items")
        items = tuple(parse(item, f"{field}[{index}]") for index, item in enumerate(value))
        for index, item in enumerate(value):
            if item in value[:index]:
                raise contradictory(f"{field}[{index}]", f"{item} is named twice")
        return items

    return parse_list


def _set(terms: type[Term]) -> Callable[[object, str], frozenset[Term]]:
    parse_sequence = _sequence(terms)
    return lambda value, field: frozenset(parse_sequence(value, field))


def _premium_payment(value: object, field: str) -> PremiumPayment:
    if isinstance(value, bool):
        return PremiumPayment.YES if value else PremiumPayment.NO
    if value != PremiumPayment.AFTER_FILING.value:
        raise wrong_type(field, "true, false or after_filing")
    return PremiumPayment.AFTER_FILING


def _benefit(value: object, field: str) -> Literal["external", "table"]:
    if value == "external":
        return "external"
    if value == "table":
        return "table"
    if not isinstance(value, str):
        raise wrong_type(field, "one of external, table")
    raise _out_of_range(field, "one of external, table")


def _med_type(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise wrong_type(field, "a med_type as text (put it in quotes)")
    if not _MED_TYPE.fullmatch(value):
        raise _out_of_range(field, "2 to 6 digits")
    return value


def _pool(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise wrong_type(field, "a name as text")
    if not _POOL.fullmatch(value):
        raise _out_of_range(field, "1 to 32 of a-z, 0-9 and -, a letter first")
    return value


_LARGE_KEYS: Final[Mapping[str, Parser]] = MappingProxyType({"ratio": _ratio, "ceiling_fen": _or_null(_fen)})


def _large(value: object, field: str) -> LargeTier:
    stated: dict[str, Any] = _parsed(value, _LARGE_KEYS, field)
    for key in _LARGE_KEYS:
        if key not in stated:
            raise Failure(Kind.INVALID, "POLICY_KEY_MISSING", field=f"{field}.{key}")
    return LargeTier(**stated)


_ROW_KEYS: Final[Mapping[str, Parser]] = MappingProxyType(
    {
        "insutype": _one_of(Insutype),
        "med_types": _listed(_med_type, at_most=MED_TYPES_MAX),
        "levels": _listed(_one_of(CareLevel), at_most=len(CareLevel)),
        "retired": _flag,
        "deductible_fen": _fen,
        "ratio": _ratio,
        "ceiling_fen": _or_null(_fen),
        "pool": _pool,
        "large": _or_null(_large),
    }
)
_MAY_MISS: Final = frozenset({"pool", "large"})


def _benefit_rows(value: object, field: str) -> tuple[BenefitRow, ...]:
    """A table's rows, one for each case that a written row is about, sorted by case."""
    if not isinstance(value, list | tuple):
        raise wrong_type(field, "a list of rows")
    first_at: dict[BenefitKey, str] = {}
    rows: list[BenefitRow] = []
    for index, item in enumerate(value):
        where = f"{field}[{index}]"
        for row in _written_row(item, where):
            key = key_of(row)
            if (first := first_at.setdefault(key, where)) != where:
                case = f"insutype {key[0]}, med_type {key[1]}, level {key[2]}, {'retired' if key[3] else 'not retired'}"
                raise contradictory(where, f"{first.rpartition('.')[2]} is about {case} already")
            rows.append(row)
        if len(rows) > BENEFIT_ROWS_MAX:
            raise _out_of_range(field, f"at most {BENEFIT_ROWS_MAX} cases")
    if not rows:
        raise _out_of_range(field, "at least one row; null for no table")
    return tuple(sorted(rows, key=lambda row: rank_of(key_of(row))))


def _written_row(value: object, where: str) -> list[BenefitRow]:
    stated: dict[str, Any] = _parsed(value, _ROW_KEYS, where)
    is_employee = stated.get("insutype") is not Insutype.RESIDENT
    if not is_employee and "retired" in stated:
        raise contradictory(f"{where}.retired", "insutype is 390: only an employee retires")
    for key in _ROW_KEYS:
        if key not in stated and key not in _MAY_MISS and (is_employee or key != "retired"):
            raise Failure(Kind.INVALID, "POLICY_KEY_MISSING", field=f"{where}.{key}")
    if stated.get("large") is not None and stated["ceiling_fen"] is None:
        raise contradictory(f"{where}.large", "there is no ceiling that anything could be above")
    return [
        BenefitRow(
            insutype=stated["insutype"],
            med_type=med_type,
            level=level,
            retired=stated.get("retired", False),
            deductible_fen=stated["deductible_fen"],
            ratio=stated["ratio"],
            ceiling_fen=stated["ceiling_fen"],
            pool=stated.get("pool", ""),
            large=stated.get("large"),
        )
        for med_type in stated["med_types"]
        for level in stated["levels"]
    ]


_WALLET_LIMITS: Final[Mapping[str, Parser]] = MappingProxyType(
    {
        "per_day": _whole_number(0, TRANSFERS_PER_DAY_MAX),
        "each_fen": _fen,
        "closed_from": _time_of_day,
        "closed_to": _time_of_day,
        "return_at": _time_of_day,
    }
)

_PARAMETERS: Final[Mapping[str, Parser]] = MappingProxyType(
    {
        "relations": _set(Relation),
        "max_members": _or_null(_whole_number(2, MEMBERS_MAX)),
        "max_groups_per_person": _or_null(_whole_number(1, GROUPS_MAX)),
        "max_funders_per_beneficiary": _or_null(_whole_number(1, MEMBERS_MAX)),
        "funder_floor_balance": _fen,
        "single_pay_ratio_cap": _or_null(_ratio),
        "rebind_per_year": _or_null(_whole_number(0, REBINDS_MAX)),
        "authorized_amount_required": _flag,
        "own_order": _sequence(Part),
        "shareable_parts": _set(Part),
        "mutual_aid_kinds": _set(CostKind),
        "own_account_kinds": _set(CostKind),
        "funder_order": _one_of(FunderOrder),
        "consent_age": _whole_number(CONSENT_AGE_MIN, CONSENT_AGE_MAX),
        "consent_face": _flag,
        "counter_four_eyes": _flag,
        "premium_payment": _premium_payment,
        "wallet": _flag,
        "mulaid_included_in_acct_pay": _flag,
        "benefit": _benefit,
        "benefit_table": _or_null(_benefit_rows),
        "deductible_fen": _fen,
        "ratio": _ratio,
        "ceiling_left_fen": _or_null(_fen),
        "revoke_window": _one_of(RevokeWindow),
    }
)

OPEN_BENEFIT_KEYS: Final = ("deductible_fen", "ratio", "ceiling_left_fen")
"""What a scenario says is still open of one person's year. Null and zero say nothing."""
BESIDE_A_TABLE: Final = "the benefit_table says it for each case; what is open of a year is a scenario's alone"
WALLET_LIMITS_KEY: Final = "wallet_limits"
PARAMETER_NAMES: Final = frozenset(_PARAMETERS) | {WALLET_LIMITS_KEY}
"""The keys a layer may name."""


def parameter_of(stated: str) -> str:
    """The parameter that a key of a layer belongs to: ``wallet_limits`` for its own keys."""
    return stated.partition(".")[0]


def text_keyed(value: object, field: str) -> Mapping[str, object]:
    """The mapping itself, once every key is known to be text; POLICY_VALUE_WRONG_TYPE otherwise."""
    if not isinstance(value, Mapping):
        raise wrong_type(field, "a mapping")
    for key in value:
        if not isinstance(key, str):
            raise wrong_type(f"{field}.{key}", "a key as text (put it in quotes)")
    return value


def _parsed(value: object, parsers: Mapping[str, Parser], where: str) -> dict[str, object]:
    layer: dict[str, object] = {}
    for key, stated in text_keyed(value, where).items():
        if key not in parsers:
            raise Failure(Kind.INVALID, "POLICY_KEY_UNKNOWN", field=f"{where}.{key}")
        layer[key] = parsers[key](stated, f"{where}.{key}")
    return layer


def _wallet_limits(value: object, field: str) -> dict[str, object]:
    return _parsed(value, _WALLET_LIMITS, field)


_KEYS: Final[Mapping[str, Parser]] = MappingProxyType({**_PARAMETERS, WALLET_LIMITS_KEY: _wallet_limits})


def parsed_layer(value: object, *, where: str) -> Layer:
    """One layer's typed parameters.

    Refusals, each with the ``field`` at fault below ``where``: POLICY_KEY_UNKNOWN, POLICY_VALUE_WRONG_TYPE,
    POLICY_VALUE_OUT_OF_RANGE, RATIO_OUT_OF_RANGE, POLICY_KEY_MISSING (in a row of a benefit table),
    POLICY_CONTRADICTORY (a term named twice; two rows about one case; a scenario's open values beside ``benefit:
    external`` or beside a table; limits of a wallet that the same layer takes away).
    """
    layer = _parsed(value, _KEYS, where)
    for key in OPEN_BENEFIT_KEYS:
        if layer.get(key) and layer.get("benefit") == "external":
            raise contradictory(f"{where}.{key}", "benefit: external takes the pooled part from the request")
        if layer.get(key) and layer.get("benefit_table") is not None:
            raise contradictory(f"{where}.{key}", BESIDE_A_TABLE)
    limits = layer.pop(WALLET_LIMITS_KEY, None)
    if isinstance(limits, dict):
        if limits and layer.get("wallet") is False:
            raise contradictory(f"{where}.{WALLET_LIMITS_KEY}", "wallet is false in the same place")
        layer.update({f"{WALLET_LIMITS_KEY}.{key}": limit for key, limit in limits.items()})
    return MappingProxyType(layer)
