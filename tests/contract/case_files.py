"""The case files, by consumer: those of the rooms lie in cases/, those of the terminals are shipped with the stub."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from gongji_terminal.stub_cases import SHIPPED, Case, read_cases

TERMINALS: Final[list[Case]] = read_cases(SHIPPED)
"""What hospitals' and pharmacies' terminals count on; the stub answers from these."""
ROOMS: Final[list[Case]] = read_cases(Path(__file__).parent / "cases")
"""What a room counts on in another: its calls, its commands, its events."""
CASES: Final[list[Case]] = [*TERMINALS, *ROOMS]


def name_of(case: Case) -> str:
    """``hospital/01_bill_paid_by_three``: how a test of a case is called."""
    return f"{case.consumer}/{case.name}"
