"""What the README says of calling Gongji is true: its example is run as it stands."""

from __future__ import annotations

import os
import re
import textwrap
from pathlib import Path
from typing import Any, Final

from gongji.identity.v1 import credentials_pb2
from gongji.settlement.v1 import settlement_pb2
from tests.e2e.town import Town

README: Final = Path(__file__).resolve().parents[2] / "README.md"
STATED_NUMBER: Final = "number=1,"
OWN_NUMBER: Final = "number=71,"
STATED_ADDRESSES: Final = {"settlement": "127.0.0.1:7003", "identity": "127.0.0.1:7001"}


def example(town: Town) -> str:
    """The README's one Python block, at the addresses of the running town and with a number of its own, as a function.

    Another terminal of the same number would make the same msgids in the same second, and the town has one.
    """
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 1
    code = blocks[0]
    for name, address in STATED_ADDRESSES.items():
        assert address in code
        code = code.replace(address, town.world.address(name))
    assert STATED_NUMBER in code
    code = code.replace(STATED_NUMBER, OWN_NUMBER)
    body = textwrap.indent(code, "    ")
    return f"async def example(code_on_the_phone):\n{body}\n    return outcome\n"


async def test_the_terminal_example_of_the_readme_pays_a_bill(town: Town, tmp_path: Path) -> None:
    """The example, given a code on a phone, ends with the bill settled."""
    family = await town.couple()
    issued = await town.desks.credentials.IssueCode(credentials_pb2.IssueCodeRequest(psn_no=family.patient.psn_no))
    names: dict[str, Any] = {}
    exec(example(town), names)  # noqa: S102  The README's own code is what is tested.
    here = Path.cwd()
    os.chdir(tmp_path)  # Its journal is a file beside the caller.
    try:
        outcome = await names["example"](issued.code)
    finally:
        os.chdir(here)
    assert isinstance(outcome, settlement_pb2.Settlement)
    assert (outcome.state, outcome.amounts.psn_part_amt) == (settlement_pb2.SETTLEMENT_STATE_SETTLED, 40_000)
    await town.at_rest()
    await town.check()
