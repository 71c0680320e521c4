"""The faults of ``python -m tests.fault.by_hand`` still have their place in the source; `make fault` puts them in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fault.by_hand import FAULTS, ROOT, Fault, MisplacedFaultError, put_in


@pytest.mark.parametrize("fault", FAULTS, ids=lambda it: it.name)
def test_a_fault_has_exactly_one_place_in_the_source(fault: Fault, tmp_path: Path) -> None:
    """The text that the fault changes is in its file once, and changing it leaves valid Python."""
    file = tmp_path / fault.file
    file.parent.mkdir(parents=True)
    file.write_text((ROOT / fault.file).read_text(encoding="utf-8"), encoding="utf-8")
    put_in(fault, tmp_path)
    compile(file.read_text(encoding="utf-8"), fault.file, "exec")


def test_a_fault_without_a_place_is_named(tmp_path: Path) -> None:
    """Source that has moved on does not let a fault pass as noticed."""
    (tmp_path / "some.py").write_text("right = 1\nright = 1\n", encoding="utf-8")
    with pytest.raises(MisplacedFaultError, match=r"twice wrong: 2 places in some\.py"):
        put_in(Fault("twice wrong", "", "some.py", "right", "wrong"), tmp_path)
