"""The last step before a child becomes its program: give up root, ask to die with the parent, exec.

Run as a script by ``ops.embedded.processes``, never imported by it: it must start fast, so it needs only the standard
library, and it runs after the fork, in a process of its own, so it disturbs neither threads nor gRPC in the parent.
Arguments: the parent's pid, the signal to get when the parent ends, user id or ``-``, group id or ``-``, the command.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_KEEP: Final = "-"
_EXIT_CANNOT_EXECUTE: Final = 126


def main(arguments: list[str]) -> None:
    """Replaces this process by the command; exits with 126 and one line on stderr where that cannot be."""
    parent_pid, death_signal, user_id, group_id, *command = arguments
    if group_id != _KEEP:
        os.setgroups([])
        os.setgid(int(group_id))
    if user_id != _KEEP:
        os.setuid(int(user_id))
    if sys.platform == "linux":
        # After the change of user, which would clear it. It survives the exec.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != int(parent_pid):
            sys.exit("the parent ended before its child began")
    try:
        os.execv(command[0], command)  # noqa: S606  The command comes from our own code, as a list.
    except OSError as error:
        sys.stderr.write(f"cannot execute {command[0]}: {error.strerror}\n")
        sys.exit(_EXIT_CANNOT_EXECUTE)


if __name__ == "__main__":
    main(sys.argv[1:])
