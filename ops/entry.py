"""What the ``gongji`` script calls: the command, or what to install where only the base distribution is."""

from __future__ import annotations

import sys
from typing import Final

EXIT_CANNOT_RUN: Final = 2
OURS: Final = frozenset({"chassis", "gongji", "gongji_terminal", "kernel", "ops", "services"})


def main() -> None:
    """The entry point. The base install holds the contract and the terminal; this command needs more."""
    try:
        from ops.main import main as command  # noqa: PLC0415  So that its absence can be told.
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] in OURS:
            raise
        sys.stderr.write(
            f"gongji: {missing.name} is not installed. This command needs the services: pip install 'gongji[services]' "
            "(to run all of it here: 'gongji[services,embedded]'). A terminal needs neither: gongji-terminal\n"
        )
        sys.exit(EXIT_CANNOT_RUN)
    command()
