"""What may be kept of who asked."""

from __future__ import annotations

import pytest

from kernel.failures import Failure, Kind
from services.identity.domain.lookup import check_names_nobody
from tests.unit.identity.refusals import NONE, reason_of

ID_NUMBER = "650103198503124518"


@pytest.mark.parametrize(
    "caller", ["officer:650100/zhang01", "person:650100000000001", "person:650103198503124517", "service:family"]
)
def test_a_caller_without_an_id_number_may_be_kept(caller: str) -> None:
    """Numbers of other kinds, also of eighteen digits, are no ID numbers."""
    assert reason_of(lambda: check_names_nobody(caller)) == NONE


@pytest.mark.parametrize(
    "caller", [f"person:{ID_NUMBER}", f"officer:650100/{ID_NUMBER}", "terminal:H65010000001/44010619990307004x"]
)
def test_an_id_number_is_kept_in_no_place_of_a_caller(caller: str) -> None:
    """The audit is kept in clear and shown, so a caller with an ID number in it is refused."""
    with pytest.raises(Failure) as refused:
        check_names_nobody(caller)
    assert refused.value == Failure(Kind.INVALID, "CALLER_MALFORMED", field="gongji-caller")
