"""Who reads why a binding stopped by itself: of another's affairs nobody reads more than he needs (domain §2, §9)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from kernel.ids import PsnNo
from services.family.domain.bindings import Binding

OF_THE_FUNDER_ALONE: Final = frozenset({"SANCTIONED", "NOT_INSURED"})
"""Causes that are the funder's own affair. Everybody else reads one word for both, so it gives neither away."""
FUNDER_NOT_ELIGIBLE: Final = "FUNDER_NOT_ELIGIBLE"


def shown_to(binding: Binding, psn_no: PsnNo) -> Binding:
    """The binding as this member of the group sees it."""
    if binding.cause in OF_THE_FUNDER_ALONE and binding.funder != psn_no:
        return replace(binding, cause=FUNDER_NOT_ELIGIBLE)
    return binding
