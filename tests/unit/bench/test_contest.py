"""Who takes a turn when."""

from __future__ import annotations

import pytest

from bench.contest import order_of


@pytest.mark.parametrize("contenders", ["ab", "abc", "abcde"])
def test_another_begins_each_round(contenders: str) -> None:
    """After as many rounds as there are contenders each has begun one, and each has had its turn in every round."""
    orders = [order_of(contenders, number) for number in range(len(contenders))]
    assert sorted(order[0] for order in orders) == list(contenders)
    assert all(sorted(order) == list(contenders) for order in orders)


def test_every_second_round_goes_backwards() -> None:
    """Whoever came after another comes before it in the next round, but for the ends."""
    assert order_of("abcde", 0) == list("abcde")
    assert order_of("abcde", 1) == list("baedc")
