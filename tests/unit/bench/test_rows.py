"""What the peers are given is what Gongji gives itself."""

from __future__ import annotations

from bench.rows import PLANNED_BY_KEY, PLANNED_BY_KEY_OPTIONS
from chassis.db import _BY_KEY, Database


def test_the_peers_plan_as_our_own_hot_connections_do() -> None:
    """All that ``by_key`` adds and jit as every connection of ours has it, no more and no less."""
    ours = Database("postgresql://nobody@/nothing", by_key=True)._connect_arguments["server_settings"]
    assert {name: ours[name] for name in PLANNED_BY_KEY} == PLANNED_BY_KEY
    assert set(PLANNED_BY_KEY) == {"jit", *_BY_KEY}


def test_libpq_is_told_each_setting() -> None:
    """One ``-c`` for each."""
    told = PLANNED_BY_KEY_OPTIONS.removeprefix("-c ").split(" -c ")
    assert dict(setting.split("=") for setting in told) == PLANNED_BY_KEY
