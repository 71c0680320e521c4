"""A terminal's settings: what is wrong is named before anything is sent."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from gongji_terminal import config as settings
from gongji_terminal.commands.session import Exit
from gongji_terminal.config import ConfigWrong
from gongji_terminal.main import main, parser

GOOD: Final[dict[str, Any]] = {
    "fixmedins_code": "H65010000017",
    "terminal_no": "T01",
    "number": 1,
    "settlement": "127.0.0.1:7003",
    "identity": "127.0.0.1:7001",
}
INIT: Final = [
    "--fixmedins-code", "H65010000017", "--terminal-no", "T01", "--number", "1",
    "--settlement", "desk.example:7003", "--identity", "desk.example:7001",
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fixmedins_code": "X65010000017"}, "fixmedins_code"),
        ({"terminal_no": "T 01"}, "terminal_no"),
        ({"number": 100}, "number"),
        ({"number": True}, "number"),
        ({"settlement": "here"}, "settlement"),
        ({"identity": 7001}, "identity"),
        ({"settlement": "127.0.0.1:70000"}, "settlement must be HOST:PORT, the port between 1 and 65535"),
        ({"identity": "127.0.0.1:0"}, "identity must be HOST:PORT"),
        ({"language": "fr"}, "language"),
        ({"journal": ""}, "journal"),
        ({"plaintext": "yes"}, "plaintext"),
        ({"terminal": "T01"}, "terminal is unknown"),
        ({"tls": "ca.pem"}, "tls must be a table"),
        ({"tls": {"certificate": "c.pem", "key": "k.pem"}}, "needs ca"),
        ({"tls": {"ca": "ca.pem", "key": "k.pem"}}, "a key its certificate"),
        ({"tls": {"ca": "ca.pem", "pin": "1"}}, "tls.pin is unknown"),
        ({"patience": {"request_s": 0}}, "patience.request_s"),
        ({"settlement": "10.1.2.3:7003"}, "there is no [tls]"),
        ({"identity": "desk.example:7001"}, "there is no [tls]"),
    ],
)
def test_what_is_wrong_with_the_settings_is_named(changes: dict[str, Any], said: str) -> None:
    """One mistake, one sentence with the key in it."""
    with pytest.raises(ConfigWrong) as wrong:
        settings.parsed({**GOOD, **changes}, folder=Path())
    assert said in str(wrong.value)


@pytest.mark.parametrize("address", ["127.0.0.1:7003", "localhost:7003", "[::1]:7003", "unix:/run/desk"])
def test_this_machine_needs_no_tls(address: str) -> None:
    """Nobody in between can listen."""
    assert settings.parsed({**GOOD, "settlement": address, "identity": address}, folder=Path()).tls is None


def test_what_init_writes_is_what_it_was_told(tmp_path: Path) -> None:
    """The file says the same again, with paths that count from its own folder."""
    file = tmp_path / "here" / "t.toml"
    file.parent.mkdir()
    told = {
        **GOOD,
        "settlement": "desk.example:7003",
        "language": "en",
        "tls": {"ca": 'c"a.pem', "server_name": "desk"},
    }
    written = settings.written(settings.parsed(told, folder=Path()))
    file.write_text(written, encoding="utf-8")
    read = settings.read(file)
    assert read.tls is not None
    assert (read.tls.ca, read.tls.server_name, read.language) == (file.parent.resolve() / 'c"a.pem', "desk", "en")
    assert read.journal == file.parent.resolve() / settings.JOURNAL


def test_init_leaves_a_file_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only --force overwrites it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / settings.FILE).write_text("mine", encoding="utf-8")
    assert main(["config", "init", *INIT, "--plaintext"]) == 2
    assert (tmp_path / settings.FILE).read_text(encoding="utf-8") == "mine"
    assert main(["config", "init", *INIT, "--plaintext", "--force"]) == 0
    assert settings.read(tmp_path / settings.FILE).plaintext


def test_a_command_without_settings_says_how_to_make_them(tmp_path: Path) -> None:
    """One line on standard error, and exit code 2."""
    found = subprocess.run(
        [sys.executable, "-m", "gongji_terminal", "journal"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout, found.stderr.count("\n")) == (2, "", 1)
    assert "gongji-terminal config init" in found.stderr


@pytest.mark.parametrize("content", ["number = ", "\x00", "tls = 1", '[tls]\nca = "nowhere.pem"'])
def test_a_file_of_rubbish_is_named(tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Never a traceback."""
    file = tmp_path / "t.toml"
    file.write_text(content, encoding="utf-8")
    assert main(["config", "--config", str(file), "show"]) == 2
    assert str(file) in capsys.readouterr().err


def test_a_certificate_that_is_none_is_named_when_the_settings_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`config show` opens every file, so a wrong path is not found out at the first bill."""
    (tmp_path / "ca.pem").write_text("no PEM", encoding="utf-8")
    file = tmp_path / "t.toml"
    lines = [f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}" for key, value in GOOD.items()]
    file.write_text("\n".join([*lines, "[tls]", 'ca = "ca.pem"']), encoding="utf-8")
    assert main(["config", "--config", str(file), "show"]) == 2
    assert "ca.pem holds no CERTIFICATE" in capsys.readouterr().err


def test_the_page_on_the_terminal_names_every_command_and_every_end() -> None:
    """docs/terminal.md lists the commands and exit codes that there are."""
    page = (Path(__file__).resolve().parents[3] / "docs" / "terminal.md").read_text(encoding="utf-8")
    (commands,) = (action.choices for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    assert [name for name in commands if f"`{name}`" not in page] == []
    assert [end.name for end in Exit if f"\n| {end.value} | " not in page] == []
