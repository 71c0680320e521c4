"""Stands in for a service: says it is ready, listens, and ends on SIGTERM; told by the environment to misbehave."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path


def main() -> None:
    """Writes the settings it was given to standard error, as a log line, and waits for its end."""
    told = {key: value for key, value in os.environ.items() if key.startswith("GONGJI_")}
    sys.stderr.write(json.dumps({"level": "info", "event": "started", "told": told}) + "\n")
    if os.environ.get("GONGJI_DUMMY") == "fails":
        sys.stderr.write("the database does not answer\n")
        sys.exit(3)
    host, _, port = os.environ["GONGJI_GRPC_LISTEN"].rpartition(":")
    signal.signal(signal.SIGTERM, signal.SIG_IGN if os.environ.get("GONGJI_DUMMY") == "stubborn" else _leave)
    ready = Path(os.environ["GONGJI_READY_FILE"])
    unfinished = ready.with_suffix(".new")
    unfinished.write_text(json.dumps({"pid": os.getpid(), "ports": {"grpc": int(port)}}), encoding="utf-8")
    unfinished.rename(ready)
    with socket.create_server((host, int(port))):
        while True:
            signal.pause()


def _leave(_number: int, _frame: object) -> None:
    sys.exit(0)


if __name__ == "__main__":
    main()
