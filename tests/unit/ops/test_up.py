"""What `gongji up` makes of its arguments, before anything starts."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from ops.embedded.world import free_port, how_it_ended
from ops.main import app
from ops.up import _handed_on, _parsed_areas


def test_areas_are_told_apart_and_each_counts_once() -> None:
    """Blanks and repetitions do no harm; the order stays."""
    assert _parsed_areas("650500, 650100,650500,") == ["650500", "650100"]


@pytest.mark.parametrize("areas", ["", "65010", "650100;650500", "六五零一零零"])
def test_areas_that_are_none_are_refused_with_exit_code_2(areas: str) -> None:
    """Nothing starts with an area that cannot be."""
    result = CliRunner().invoke(app, ["up", "--areas", areas])
    assert (result.exit_code, "650100,650500" in result.output) == (2, True)


def test_a_person_s_settings_are_handed_on_but_never_the_world_s_own() -> None:
    """GONGJI_LOG_LEVEL reaches the processes; a stray GONGJI_DATABASE_URL of the shell does not."""
    given = {"GONGJI_LOG_LEVEL": "debug", "GONGJI_DATABASE_URL": "x", "GONGJI_TEST_NATS_URL": "y", "HOME": "/home/a"}
    assert _handed_on(given) == {"GONGJI_LOG_LEVEL": "debug"}


@pytest.mark.parametrize(("code", "words"), [(3, "ended with exit code 3"), (-9, "was ended by SIGKILL")])
def test_an_end_is_told_in_words(code: int, words: str) -> None:
    """An exit code below zero is a signal's name."""
    assert how_it_ended(code) == words


def test_free_ports_are_different() -> None:
    """No port is given out twice, and none from the range of outgoing connections."""
    taken: set[int] = set()
    ports = [free_port(taken) for _ in range(20)]
    assert (len(set(ports)), min(ports) >= 20000, max(ports) < 32768, taken) == (20, True, True, set(ports))
