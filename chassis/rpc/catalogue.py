"""The texts of every reason, out of the contract package: written in ``protos/gongji/*/v1``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

_PACKAGE: Final = "gongji.common.v1"
_FILE: Final = "reasons.json"


@dataclass(frozen=True, slots=True)
class Reason:
    """What stands in the catalogue about one reason."""

    code: str
    retry: str
    zh: str
    en: str


UNKNOWN: Final = Reason(code="", retry="never", zh="请求未被受理。", en="The request was refused.")
"""For a reason that a newer peer knows and we do not."""


@cache
def catalogue() -> dict[str, Reason]:
    """Every reason by its name; empty if the contract was generated without one."""
    try:
        content = resources.files(_PACKAGE).joinpath(_FILE).read_text(encoding="utf-8")
    except (FileNotFoundError, ModuleNotFoundError):
        return {}
    entries: dict[str, dict[str, Any]] = json.loads(content)
    return {
        name: Reason(code=entry["code"], retry=entry["retry"], zh=entry["zh"], en=entry["en"])
        for name, entry in entries.items()
    }


def texts_of(reason: str) -> Reason:
    """The entry of a reason, or a general one if the catalogue does not know it."""
    return catalogue().get(reason, UNKNOWN)
