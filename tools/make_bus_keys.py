"""Makes the nkeys by which NATS knows the five processes: ``python -m tools.make_bus_keys FOLDER``.

``FOLDER/<process>.seed`` is that process's secret, for its owner's eyes alone; ``FOLDER/users/<process>`` is the public
half that NATS is told. A folder that holds keys already is left as it is. See deploy/README.md for where they go.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import nkeys

PROCESSES: Final = ("identity", "family", "settlement", "ledger", "notify")
_SEED_BYTES: Final = 32


def make_keys(folder: Path, processes: Iterable[str] = PROCESSES) -> dict[str, str]:
    """Writes a pair for each process; the public halves. FileExistsError, nothing written, if there is one already."""
    pairs = {process: _new_pair() for process in processes}
    users = folder / "users"
    users.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in (file for process in pairs for file in (folder / f"{process}.seed", users / process)):
        if file.exists():
            raise FileExistsError(file)
    for process, (seed, public) in pairs.items():
        _write(folder / f"{process}.seed", seed)
        _write(users / process, public)
    return {process: public for process, (_, public) in pairs.items()}


def _new_pair() -> tuple[str, str]:
    seed: bytes = nkeys.encode_seed(secrets.token_bytes(_SEED_BYTES), nkeys.PREFIX_BYTE_USER)
    return seed.decode(), nkeys.from_seed(bytearray(seed)).public_key.decode()


def _write(file: Path, text: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as opened:
        opened.write(text)


def main() -> None:
    """Exit code 1 if there are keys already, 2 if no folder is named."""
    match sys.argv[1:]:
        case [folder]:
            try:
                made = make_keys(Path(folder))
            except FileExistsError as error:
                sys.exit(f"{error} is there already; nothing was written")
            sys.stderr.write(f"{folder}: keys of {', '.join(made)}\n")
        case _:
            sys.stderr.write("usage: python -m tools.make_bus_keys FOLDER\n")
            sys.exit(2)


if __name__ == "__main__":
    main()
