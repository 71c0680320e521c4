"""The policies in force together: layers by area, resolved parameter by parameter, under one version id."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import time
from decimal import Decimal
from enum import Enum
from typing import Any, Final, Self

from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, parsed_admdvs, province_of
from kernel.policy.benefit import BenefitRow, BenefitTable, ExternalBenefit, LargeTier, OpenBenefit, OpenLarge
from kernel.policy.parameters import (
    BESIDE_A_TABLE,
    OPEN_BENEFIT_KEYS,
    WALLET_LIMITS_KEY,
    Layer,
    contradictory,
    parsed_layer,
    text_keyed,
)
from kernel.policy.terms import PremiumPayment, RegionPolicy, WalletLimits

DEFAULT_LAYER: Final = "default"
"""The name under which a mapping of layers gives the nation's own values; without it the built-in ones stand."""

_PROVINCE: Final = re.compile(r"1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-6]|71|8[12]")
"""The first two digits an area code may have: GB/T 2260, and 66 for 新疆生产建设兵团, which insures its own people."""

_VERSION_DIGITS: Final = 32


def known_area(text: str, *, field: str) -> AdmDvs:
    """A six-digit area in a province that exists; AREA_MALFORMED or POLICY_AREA_UNKNOWN otherwise.

    Only the province is judged: the nation has too many areas, and they change too often, to list them here.
    """
    area = parsed_admdvs(text, field=field)
    if not _PROVINCE.fullmatch(area[:2]):
        raise Failure(Kind.INVALID, "POLICY_AREA_UNKNOWN", field=field, area=area)
    return area


class PolicySet:
    """All policies in force at one time; immutable.

    ``version`` is a digest of the content: equal for equal content however it was written, stored with every
    settlement.
    """

    def __init__(self, *, default: Layer, areas: Mapping[AdmDvs, Layer], preset: Layer) -> None:
        self._default = default
        self._areas = dict(areas)
        self._preset = preset
        self._resolved: dict[AdmDvs, RegionPolicy] = {}
        self.version: Final = self._digest()

    @classmethod
    def of(cls, layers: object, *, preset: object = None, where: str = "policies") -> Self:
        """A set from plain values: ``{area or "default": {parameter: value}}``, and a preset's parameters above all.

        ``where`` begins every refused ``field``. Refusals: those of a layer, AREA_MALFORMED, POLICY_AREA_UNKNOWN, and
        POLICY_CONTRADICTORY where the values that come together in an area cannot be meant together.
        """
        parsed: dict[str, Layer] = {}
        for name, stated in text_keyed(layers, where).items():
            if name != DEFAULT_LAYER:
                known_area(name, field=f"{where}.{name}")
            parsed[name] = parsed_layer(stated, where=f"{where}.{name}")
        default = parsed.pop(DEFAULT_LAYER, {})
        above = {} if preset is None else parsed_layer(preset, where=f"{where}.preset")
        policies = cls(default=default, areas={AdmDvs(name): layer for name, layer in parsed.items()}, preset=above)
        policies._check(where)
        return policies

    def for_area(self, area: str, *, field: str = "area") -> RegionPolicy:
        """The policy of this area, each parameter from the first that names it: preset, area, province, default.

        POLICY_AREA_UNKNOWN for an area of no province, AREA_MALFORMED for what is no area code.
        """
        found = self._resolved.get(AdmDvs(area))
        if found is None:
            code = known_area(area, field=field)
            found = self._resolved[code] = _policy(self._values(code))
        return found

    def nation(self) -> RegionPolicy:
        """The policy where no area's counts, as for somebody who is insured nowhere: preset, then default."""
        return _policy(self._values(None))

    def areas(self) -> tuple[AdmDvs, ...]:
        """The areas and provinces that have a layer of their own, in order."""
        return tuple(sorted(self._areas))

    def _layers(self, area: AdmDvs | None) -> Iterator[Layer]:
        yield self._default
        if area is not None:
            yield self._areas.get(province_of(area), {})
            yield self._areas.get(area, {})
        yield self._preset

    def _values(self, area: AdmDvs | None) -> dict[str, object]:
        values: dict[str, object] = {}
        for layer in self._layers(area):
            values.update(layer)
        return values

    def _check(self, where: str) -> None:
        self.check_area(DEFAULT_LAYER, field=f"{where}.{DEFAULT_LAYER}")
        for area in self.areas():
            self.check_area(area, field=f"{where}.{area}")

    def plain_values(self, area: AdmDvs) -> Mapping[str, object]:
        """Every parameter of the area in JSON's terms, by its name; a wallet's limits as ``wallet_limits.<key>``.

        POLICY_AREA_UNKNOWN for an area of no province, AREA_MALFORMED for what is no area code.
        """
        return {
            name: plain(value) for name, value in (_built_in() | self._values(known_area(area, field="area"))).items()
        }

    def layer_names(self, area: AdmDvs) -> tuple[str, ...]:
        """Whose layers make up the area's policy, from the nation's to its own."""
        return tuple(dict.fromkeys((DEFAULT_LAYER, province_of(area), area)))

    def check_area(self, name: str, *, field: str) -> None:
        """POLICY_CONTRADICTORY where the values that come together in an area (or the default) cannot be meant so."""
        values = self._values(None if name == DEFAULT_LAYER else AdmDvs(name))
        if values.get("benefit_table") is not None:
            for key in OPEN_BENEFIT_KEYS:
                if values.get(key):
                    raise contradictory(f"{field}.{key}", BESIDE_A_TABLE)
        policy = _policy(values)
        if (
            policy.max_members is not None
            and policy.max_funders_per_beneficiary is not None
            and policy.max_funders_per_beneficiary > policy.max_members
        ):
            raise contradictory(
                f"{field}.max_funders_per_beneficiary", "a group has fewer members than one of them may have funders"
            )
        if policy.wallet and policy.wallet_limits.closed_from == policy.wallet_limits.closed_to:
            raise contradictory(f"{field}.{WALLET_LIMITS_KEY}.closed_to", "closed_from is the same time of day")

    def check_computes(self, name: str, *, field: str) -> None:
        """POLICY_CONTRADICTORY where an area computes the pooled part and nothing says by what: it would be nothing.

        Asked of files alone: a scenario may compute a bill that the fund pays nothing of.
        """
        values = self._values(None if name == DEFAULT_LAYER else AdmDvs(name))
        if values.get("benefit") == "table" and values.get("benefit_table") is None and not values.get("ratio"):
            raise contradictory(f"{field}.benefit", "there is no benefit_table")

    def _digest(self) -> str:
        content = {
            "built_in": plain(RegionPolicy()),
            "default": plain(self._default),
            "areas": plain(self._areas),
            "preset": plain(self._preset),
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode("ascii")).hexdigest()[:_VERSION_DIGITS]


def _policy(values: Mapping[str, object]) -> RegionPolicy:
    """The typed policy from resolved values; parsers have proved each value's type."""
    stated: dict[str, Any] = dict(values)
    prefix = f"{WALLET_LIMITS_KEY}."
    limits = {key.removeprefix(prefix): stated.pop(key) for key in list(stated) if key.startswith(prefix)}
    source = stated.pop("benefit", "external")
    rows = stated.pop("benefit_table", None)
    still_open = OpenBenefit(
        deductible_fen=stated.pop("deductible_fen", 0),
        ratio=stated.pop("ratio", Decimal(0)),
        ceiling_left_fen=stated.pop("ceiling_left_fen", None),
    )
    computed = still_open if rows is None else BenefitTable(rows)
    return RegionPolicy(
        **stated,
        wallet_limits=WalletLimits(**limits),
        benefit=computed if source == "table" else ExternalBenefit(),
    )


def _built_in() -> dict[str, object]:
    """What stands where no layer says anything, by parameter as a layer names them."""
    policy = RegionPolicy()
    values: dict[str, object] = {item.name: getattr(policy, item.name) for item in fields(policy)}
    limits = values.pop(WALLET_LIMITS_KEY)
    values |= {f"{WALLET_LIMITS_KEY}.{item.name}": getattr(limits, item.name) for item in fields(WalletLimits)}
    return values | {
        "benefit": "external",
        "benefit_table": None,
        "deductible_fen": 0,
        "ratio": Decimal(0),
        "ceiling_left_fen": None,
    }


def plain(value: object) -> object:  # noqa: PLR0911  One line for each sort of value.
    """The value in JSON's terms, the same for equal content: sets sorted, ratios normalised."""
    match value:
        case (
            RegionPolicy()
            | WalletLimits()
            | BenefitRow()
            | BenefitTable()
            | LargeTier()
            | OpenBenefit()
            | OpenLarge()
            | ExternalBenefit()
        ):
            return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case frozenset():
            return sorted(str(plain(item)) for item in value)
        case tuple():
            return [plain(item) for item in value]
        case PremiumPayment.YES | PremiumPayment.NO:
            return value is PremiumPayment.YES
        case Enum():
            return value.value
        case Decimal():
            return format(value.normalize(), "f")
        case time():
            return value.isoformat("minutes")
        case _:
            return value
