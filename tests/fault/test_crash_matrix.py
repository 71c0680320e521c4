"""A dozen cells of the crash matrix; ``python -m tests.fault.matrix`` plays all of them (docs/crash-matrix.md)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from ops.embedded.nats import EmbeddedNats
from tests.e2e.town import Town
from tests.fault.conftest import DRAINED
from tests.fault.matrix.cells import DOZEN, Cell
from tests.fault.matrix.scene import Scene, scene_in
from tests.fault.matrix.stage import mended, play


@pytest.fixture(scope="module")
async def scene(town: Town, broker: EmbeddedNats) -> AsyncIterator[Scene]:
    """Three terminals and three families for all cells."""
    async with scene_in(town, broker) as made:
        yield made


@pytest.mark.parametrize("cell", DOZEN, ids=str)
async def test_whoever_dies_money_is_conserved_and_every_terminal_learns_the_truth(
    scene: Scene, cell: Cell, record_property: Callable[[str, object], None]
) -> None:
    """After the restart everything comes to rest by itself; what was told, what is stored and what was taken agree."""
    try:
        played = await play(scene, cell)
    except BaseException:
        await mended(scene)
        raise
    record_property(DRAINED, f"{played.drained_s:.1f} (ready after {played.ready_s:.1f})")
