"""The JSON Schema of a policy file, for editors and for whoever makes such files; ``policies/policy.schema.json``.

It says the form. What only all files together can tell (versions that overlap, values that contradict each other) is
`gongji policy check`'s to find.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

from kernel.money import AMOUNT_MAX_FEN
from kernel.policy import CareLevel, CostKind, FunderOrder, Insutype, Part, Relation, RevokeWindow
from kernel.policy.benefit import BENEFIT_ROWS_MAX
from kernel.policy.parameters import (
    CONSENT_AGE_MAX,
    CONSENT_AGE_MIN,
    GROUPS_MAX,
    MED_TYPE_PATTERN,
    MED_TYPES_MAX,
    MEMBERS_MAX,
    POOL_PATTERN,
    REBINDS_MAX,
    TRANSFERS_PER_DAY_MAX,
)

_FEN: Final = {"type": "integer", "minimum": 0, "maximum": AMOUNT_MAX_FEN}
_FLAG: Final = {"type": "boolean"}
_RATIO: Final = {"type": "string", "maxLength": 16, "pattern": r"^(0+(\.[0-9]*)?|\.[0-9]+|0*1(\.0*)?)$"}
_TIME: Final = {"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"}
_DAY: Final = {"type": "string", "format": "date", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}


def document_schema() -> dict[str, Any]:
    """The whole schema, draft 2020-12."""
    parameters = _parameters()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Gongji region policy",
        "type": "object",
        "additionalProperties": False,
        "required": ["policy"],
        "oneOf": [{"required": ["area"]}, {"required": ["preset"]}],
        "properties": {
            "area": {"type": "string", "pattern": "^(default|[1-8][0-9]{5})$"},
            "preset": {"type": "string", "minLength": 1},
            "name": {"type": "string"},
            "effective_from": _DAY | {"description": "The first civil day in Asia/Shanghai; since ever if left out."},
            "effective_to": _DAY | {"description": "The last day; until the next version if left out."},
            "policy": {"type": "object", "additionalProperties": False, "properties": parameters},
            "sources": {
                "type": "object",
                "additionalProperties": False,
                "properties": {parameter: {"type": "string", "minLength": 1} for parameter in parameters},
            },
        },
    }


def _parameters() -> dict[str, Any]:
    limits = {
        "per_day": _whole(0, TRANSFERS_PER_DAY_MAX),
        "each_fen": _FEN,
        "closed_from": _TIME,
        "closed_to": _TIME,
        "return_at": _TIME,
    }
    return {
        "relations": _several(Relation),
        "max_members": _or_null(_whole(2, MEMBERS_MAX)),
        "max_groups_per_person": _or_null(_whole(1, GROUPS_MAX)),
        "max_funders_per_beneficiary": _or_null(_whole(1, MEMBERS_MAX)),
        "funder_floor_balance": _FEN,
        "single_pay_ratio_cap": _or_null(_RATIO),
        "rebind_per_year": _or_null(_whole(0, REBINDS_MAX)),
        "authorized_amount_required": _FLAG,
        "own_order": _several(Part),
        "shareable_parts": _several(Part),
        "mutual_aid_kinds": _several(CostKind),
        "own_account_kinds": _several(CostKind),
        "funder_order": _one_of(FunderOrder),
        "consent_age": _whole(CONSENT_AGE_MIN, CONSENT_AGE_MAX),
        "consent_face": _FLAG,
        "counter_four_eyes": _FLAG,
        "premium_payment": {"enum": [True, False, "after_filing"]},
        "wallet": _FLAG,
        "wallet_limits": {"type": "object", "additionalProperties": False, "properties": limits},
        "mulaid_included_in_acct_pay": _FLAG,
        "benefit": {"enum": ["external", "table"]},
        "benefit_table": _or_null(
            {"type": "array", "minItems": 1, "maxItems": BENEFIT_ROWS_MAX, "items": {"oneOf": _benefit_rows()}}
        ),
        "deductible_fen": _FEN,
        "ratio": _RATIO,
        "ceiling_left_fen": _or_null(_FEN),
        "revoke_window": _one_of(RevokeWindow),
    }


def _benefit_rows() -> list[dict[str, Any]]:
    """A row for employees, which says whether they are retired, and one for residents, which does not."""
    cases = {
        "med_types": _some({"type": "string", "pattern": f"^{MED_TYPE_PATTERN}$"}, MED_TYPES_MAX),
        "levels": _some(_one_of(CareLevel), len(CareLevel)),
        "deductible_fen": _FEN,
        "ratio": _RATIO,
        "ceiling_fen": _or_null(_FEN),
    }
    may_miss = {
        "pool": {"type": "string", "pattern": f"^{POOL_PATTERN}$"},
        "large": _or_null(
            {
                "type": "object",
                "additionalProperties": False,
                "required": ["ratio", "ceiling_fen"],
                "properties": {"ratio": _RATIO, "ceiling_fen": _or_null(_FEN)},
            }
        ),
    }
    rows = (
        {"insutype": {"const": Insutype.EMPLOYEE.value}, "retired": _FLAG, **cases},
        {"insutype": {"const": Insutype.RESIDENT.value}, **cases},
    )
    return [
        {"type": "object", "additionalProperties": False, "required": list(row), "properties": {**row, **may_miss}}
        for row in rows
    ]


def _some(items: dict[str, Any], at_most: int) -> dict[str, Any]:
    return {"type": "array", "uniqueItems": True, "minItems": 1, "maxItems": at_most, "items": items}


def _whole(minimum: int, maximum: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": minimum, "maximum": maximum}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [{"type": "null"}, schema]}


def _one_of(terms: type[Enum]) -> dict[str, Any]:
    return {"enum": [term.value for term in terms]}


def _several(terms: type[Enum]) -> dict[str, Any]:
    return {"type": "array", "uniqueItems": True, "items": _one_of(terms)}
