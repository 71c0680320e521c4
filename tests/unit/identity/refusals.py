"""What a rule answers that returns nothing: the reason of its refusal, or none."""

from __future__ import annotations

from collections.abc import Callable

from kernel.failures import Failure

NONE = ""


def reason_of(rule: Callable[[], object]) -> str:
    """The reason for which the rule refuses; ``NONE`` if it does not."""
    try:
        rule()
    except Failure as failure:
        return failure.reason
    return NONE
