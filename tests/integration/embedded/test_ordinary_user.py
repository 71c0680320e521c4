"""What root's tests cannot show: an ordinary user starts the servers too, in a folder nobody else may enter."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

import ops
from tests.servers import new_folder

PROGRAM = """
import asyncio, os, sys
from pathlib import Path
import asyncpg
from ops.embedded.nats import EmbeddedNats
from ops.embedded.postgres import EmbeddedPostgres
async def main(folder):
    postgres, nats = EmbeddedPostgres(folder / "postgres"), EmbeddedNats(folder / "nats")
    await asyncio.gather(postgres.start(), nats.start())
    connection = await asyncpg.connect(await postgres.create_database("gongji_identity"))
    print(await connection.fetchval("SELECT 'as user ' || $1::text", str(os.geteuid())))
    await connection.close()
    await asyncio.gather(postgres.stop(), nats.stop())
asyncio.run(main(Path(sys.argv[1])))
"""
LIBRARY = Path(asyncpg.__file__).parents[1]
PROJECT = Path(ops.__file__).parents[1]


def interpreter_for(user: pwd.struct_passwd) -> str | None:
    """A Python of this version that the user can run and that finds our libraries, if there is one."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for program in (sys.executable, shutil.which(f"python{version}", path="/usr/local/bin:/usr/bin")):
        if program is None:
            continue
        answer = (
            subprocess.run(  # noqa: S603  A fixed command.
                [program, "-c", "import ops.embedded.postgres, ops.embedded.nats"],
                user=user.pw_uid,
                group=user.pw_gid,
                extra_groups=[],
                cwd="/",
                env=environment(),
                check=False,
                capture_output=True,
            )
            if can_run(program, user)
            else None
        )
        if answer is not None and answer.returncode == 0:
            return program
    return None


def can_run(program: str, user: pwd.struct_passwd) -> bool:
    """Whether the kernel lets the user start it."""
    try:
        subprocess.run(  # noqa: S603  A fixed command.
            [program, "-c", ""],
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=[],
            cwd="/",
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def environment() -> dict[str, str]:
    """An ordinary user's, with the way to our libraries."""
    return {**os.environ, "PYTHONPATH": f"{LIBRARY}:{PROJECT}", "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.mark.skipif(os.geteuid() != 0, reason="whoever is no root shows this by every other test here")
def test_an_ordinary_user_can_start_the_servers() -> None:
    """Without root, in a folder of mode 0700, PostgreSQL and NATS come up and go down, and nothing else is needed."""
    user = pwd.getpwnam("nobody")
    program = interpreter_for(user)
    if program is None:
        pytest.skip("this Python, its libraries or the project lie where only root may enter")
    folder = new_folder("user")
    folder.mkdir(mode=0o700)
    os.chown(folder, user.pw_uid, user.pw_gid)
    said = subprocess.run(  # noqa: S603  A fixed command.
        [program, "-c", PROGRAM, str(folder)],
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        cwd=folder,
        env=environment(),
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (said.returncode, said.stdout, said.stderr) == (0, f"as user {user.pw_uid}\n", "")
