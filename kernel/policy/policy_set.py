"""The policies in force together: layers by area, resolved parameter by parameter, under one version id."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from datetime import time
from decimal import Decimal
from enum import Enum
from typing import Any, Final, Self

from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, parsed_admdvs, province_of
from kernel.policy.parameters import (
    PARAMETER_NAMES,
    WALLET_LIMITS_KEY,
    Layer,
    contradictory,
    parsed_layer,
    text_keyed,
    wrong_type,
)
from kernel.policy.terms import BenefitTable, ExternalBenefit, RegionPolicy, WalletLimits

DEFAULT_LAYER: Final = "default"
"""The name under which a mapping of layers gives the nation's own values; without it the built-in ones stand."""

_PROVINCE: Final = re.compile(r"1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-6]|71|8[12]")
"""The first two digits an area code may have: GB/T 2260, and 66 for 新疆生产建设兵团, which insures its own people."""

_VERSION_DIGITS: Final = 32
_DOCUMENT_KEYS: Final = frozenset({"area", "preset", "name", "policy", "sources"})


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
    settlement. A process reads its set once, at its start.
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

    @classmethod
    def of_documents(cls, documents: Mapping[str, object], *, preset: str | None = None) -> Self:
        """A set from policy files: file name to content, each naming its ``area`` (or ``default``) or its ``preset``.

        ``preset`` names the one to lay above all areas; the others are read and checked, and not used. Refusals carry
        ``source`` (the file name) and ``field`` (the path inside it): those of ``of``, and POLICY_KEY_UNKNOWN,
        POLICY_VALUE_WRONG_TYPE, POLICY_DEFINED_TWICE, POLICY_PRESET_UNKNOWN.
        """
        origin: dict[str, str] = {}
        presets: dict[str, Layer] = {}
        layers: dict[str, Layer] = {}
        for source, document in documents.items():
            with _located(source):
                name, is_preset, layer = _read_document(document)
                kind = f"preset {name}" if is_preset else name
                if kind in origin:
                    raise Failure(
                        Kind.INVALID,
                        "POLICY_DEFINED_TWICE",
                        field="preset" if is_preset else "area",
                        first_source=origin[kind],
                    )
                origin[kind] = source
                (presets if is_preset else layers)[name] = layer
        if preset is not None and preset not in presets:
            raise Failure(Kind.INVALID, "POLICY_PRESET_UNKNOWN", field="preset", preset=preset)
        policies = cls(
            default=layers.get(DEFAULT_LAYER, {}),
            areas={AdmDvs(name): layer for name, layer in layers.items() if name != DEFAULT_LAYER},
            preset={} if preset is None else presets[preset],
        )
        for name in sorted(layers):
            with _located(origin[name]):
                policies._check_area(name, field="policy")
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
        self._check_area(DEFAULT_LAYER, field=f"{where}.{DEFAULT_LAYER}")
        for area in self.areas():
            self._check_area(area, field=f"{where}.{area}")

    def _check_area(self, name: str, *, field: str) -> None:
        policy = _policy(self._values(None if name == DEFAULT_LAYER else AdmDvs(name)))
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

    def _digest(self) -> str:
        content = {
            "built_in": _plain(RegionPolicy()),
            "default": _plain(self._default),
            "areas": _plain(self._areas),
            "preset": _plain(self._preset),
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode("ascii")).hexdigest()[:_VERSION_DIGITS]


@contextmanager
def _located(source: str) -> Iterator[None]:
    """Names the file in every refusal raised inside."""
    try:
        yield
    except Failure as failure:
        failure.metadata.setdefault("source", source)
        raise


def _read_document(document: object) -> tuple[str, bool, Layer]:
    stated = text_keyed(document, "document")
    for key in stated:
        if key not in _DOCUMENT_KEYS:
            raise Failure(Kind.INVALID, "POLICY_KEY_UNKNOWN", field=key)
    if ("area" in stated) == ("preset" in stated):
        raise contradictory("area", "a policy file names either its area or its preset")
    is_preset = "preset" in stated
    key = "preset" if is_preset else "area"
    name = stated[key]
    if not isinstance(name, str) or not name:
        raise wrong_type(key, "text")
    if not is_preset and name != DEFAULT_LAYER:
        known_area(name, field=key)
    if not isinstance(stated.get("name", ""), str):
        raise wrong_type("name", "text")
    for parameter, source in text_keyed(stated.get("sources", {}), "sources").items():
        if parameter not in PARAMETER_NAMES:
            raise Failure(Kind.INVALID, "POLICY_KEY_UNKNOWN", field=f"sources.{parameter}")
        if not isinstance(source, str):
            raise wrong_type(f"sources.{parameter}", "text")
    return name, is_preset, parsed_layer(stated.get("policy"), where="policy")


def _policy(values: Mapping[str, object]) -> RegionPolicy:
    """The typed policy from resolved values; parsers have proved each value's type."""
    stated: dict[str, Any] = dict(values)
    prefix = f"{WALLET_LIMITS_KEY}."
    limits = {key.removeprefix(prefix): stated.pop(key) for key in list(stated) if key.startswith(prefix)}
    source = stated.pop("benefit", "external")
    table = BenefitTable(
        deductible_fen=stated.pop("deductible_fen", 0),
        ratio=stated.pop("ratio", Decimal(0)),
        ceiling_left_fen=stated.pop("ceiling_left_fen", None),
    )
    return RegionPolicy(
        **stated,
        wallet_limits=WalletLimits(**limits),
        benefit=table if source == "table" else ExternalBenefit(),
    )


def _plain(value: object) -> object:  # noqa: PLR0911  One line for each sort of value.
    """The value in JSON's terms, the same for equal content: sets sorted, ratios normalised."""
    match value:
        case RegionPolicy() | WalletLimits() | BenefitTable() | ExternalBenefit():
            return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case frozenset():
            return sorted(str(_plain(item)) for item in value)
        case tuple():
            return [_plain(item) for item in value]
        case Enum():
            return value.value
        case Decimal():
            return format(value.normalize(), "f")
        case time():
            return value.isoformat("minutes")
        case _:
            return value
