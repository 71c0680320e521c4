"""docs/integration.md as a stranger follows it: its commands as they stand, from `gongji up` to the first paid bill."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.servers import new_folder

ROOT: Final = Path(__file__).resolve().parents[2]
GUIDE: Final = ROOT / "docs" / "integration.md"
PROGRAMS: Final = {
    "python": "",
    "gongji": "-c 'from ops.main import main; main()'",
    "gongji-terminal": "-m gongji_terminal",
}
"""What `make setup` installs, each as it is run from the source."""
STATED_PORTS: Final = ("7001", "7003")
FOLLOW_S: Final = 120
STOP_S: Final = 30


def blocks(language: str) -> list[str]:
    """The guide's code blocks of this language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def free_ports(count: int) -> list[str]:
    """Ports that nobody uses at this moment."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [str(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def at_ports(text: str, ports: Mapping[str, str]) -> str:
    """The same at other ports than the stated ones, which somebody may use here."""
    for stated, free in ports.items():
        assert stated in text
        text = re.sub(rf"(?<=[: ]){stated}\b", free, text)
    return text


def empty_machine() -> Path:
    """A folder with nothing in it but what `make setup` makes."""
    folder = new_folder("guide")
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, arguments in PROGRAMS.items():
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {arguments} "$@"\n', encoding="utf-8")
        (programs / name).chmod(0o755)
    return folder


@contextmanager
def running(command: str, folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """`gongji up` as the guide states it, until it is ready; ctrl-C at the end."""
    with subprocess.Popen(  # noqa: S603  As below.
        [*command.split(), "--json"], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    ) as up:
        assert up.stdout is not None
        try:
            assert any(json.loads(line)["event"] == "ready" for line in up.stdout)
            yield
        finally:
            up.send_signal(signal.SIGINT)
            up.stdout.read()
            up.wait(STOP_S)


def test_the_guide_leads_from_nothing_to_a_settled_bill_and_an_agreed_day() -> None:
    """The guide's commands, in their order, end with exit code 0, the bill paid and the books agreeing."""
    folder = empty_machine()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "LANG": "C.UTF-8"}
    ports = dict(zip(STATED_PORTS, free_ports(len(STATED_PORTS)), strict=True))
    preparing, *_ = blocks("")
    up = at_ports(preparing.splitlines()[-1], ports)
    script = "set -eu\n" + at_ports("".join(blocks("sh")), ports)
    with running(up, folder, environment):
        followed = subprocess.run(  # noqa: S603  The guide's own commands are what is tested.
            ["/bin/bash", "-o", "pipefail", "-c", script],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=FOLLOW_S,
            check=False,
        )
    assert followed.returncode == 0, followed.stdout + followed.stderr
    paid: dict[str, Any] = json.loads((folder / "paid.json").read_text(encoding="utf-8"))
    amounts = paid["settlement"]["amounts"]
    assert paid["outcome"] == "settled"
    assert (amounts["hifp_pay"], amounts["acct_pay"], amounts["psn_cash_pay"]) == (60_000, 30_000, 10_000)
    shutil.rmtree(folder, ignore_errors=True)
