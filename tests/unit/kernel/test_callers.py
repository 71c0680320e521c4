"""Who a caller may say it is."""

from __future__ import annotations

import pytest

from kernel.callers import parsed_caller, service
from kernel.failures import Failure, Kind


@pytest.mark.parametrize(
    "text",
    [
        "officer:650100/zhang01",
        "operator:ops-1",
        "person:650100000000001",
        "service:family",
        "terminal:H65010000001/T1",
        "terminal:P65010000002/till_3",
    ],
)
def test_a_caller_of_a_known_form_is_taken_as_it_is(text: str) -> None:
    """Each of the five forms is kept letter for letter."""
    assert parsed_caller(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "zhang01",
        "officer:zhang01",
        "officer:050100/zhang01",
        "officer:650100/",
        "officer:650100/张三",
        f"officer:650100/{'z' * 33}",
        "service:Family",
        "terminal:H65010000001",
        "terminal:X65010000001/T1",
        "person:12345",
        "admin:root",
        "service:family\n",
        " service:family",
        "service:family,officer:650100/zhang01",
    ],
)
def test_a_caller_of_no_known_form_is_refused(text: str) -> None:
    """Anything else is CALLER_MALFORMED, and the refusal does not repeat it."""
    with pytest.raises(Failure) as refused:
        parsed_caller(text)
    assert refused.value == Failure(Kind.INVALID, "CALLER_MALFORMED", field="gongji-caller")


def test_a_room_says_which_service_it_is() -> None:
    """``service`` gives a caller that is taken."""
    assert service("family") == "service:family"
