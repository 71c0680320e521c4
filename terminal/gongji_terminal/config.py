"""The terminal's settings: one TOML file, found by --config, GONGJI_TERMINAL_CONFIG, or in the folder one stands in."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gongji_terminal.addresses import PORT_MAX, is_host_and_port
from gongji_terminal.channels import Tls, stays_here
from gongji_terminal.client import Patience
from gongji_terminal.msgid import TERMINAL_MAX

FILE: Final = "gongji-terminal.toml"
VARIABLE: Final = "GONGJI_TERMINAL_CONFIG"
JOURNAL: Final = "gongji-terminal.sqlite"
LANGUAGES: Final = ("zh", "en")
PATIENCE_MAX_S: Final = 600.0
_CODE: Final = re.compile(r"[HP][1-9][0-9]{10}")
_TERMINAL_NO: Final = re.compile(r"[0-9A-Za-z_-]{1,32}")
_KNOWN: Final = {
    "": {"fixmedins_code", "terminal_no", "number", "settlement", "identity", "journal", "language", "plaintext"},
    "tls": {"ca", "certificate", "key", "server_name"},
    "patience": {"attempt_s", "request_s"},
}


class ConfigWrong(ValueError):  # noqa: N818  It names what to put right.
    """The settings are missing or do not fit together."""


@dataclass(frozen=True, slots=True)
class Config:
    """Who this terminal is, where the services are, and where its journal lies."""

    fixmedins_code: str
    terminal_no: str
    number: int
    settlement: str
    identity: str
    journal: Path
    language: str | None = None
    tls: Tls | None = None
    plaintext: bool = False
    patience: Patience | None = None
    file: Path | None = None


def find_file(given: str | None, environment: Mapping[str, str] = os.environ) -> Path:
    """Where the settings are looked for."""
    return Path(given or environment.get(VARIABLE) or FILE)


def read(file: Path) -> Config:
    """The settings of a file; paths in it count from its own folder. ConfigWrong says what is wrong and where."""
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigWrong(f"{file} is not there. Make one with: gongji-terminal config init --help") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise ConfigWrong(f"{file} cannot be read: {problem}") from None
    try:
        return parsed(document, folder=file.resolve().parent, file=file)
    except ConfigWrong as wrong:
        raise ConfigWrong(f"{file}: {wrong}") from None


def parsed(document: Mapping[str, Any], *, folder: Path, file: Path | None = None) -> Config:
    """The settings of a mapping; ConfigWrong names the first key that is wrong."""
    _refuse_unknown(document)
    code = _text(document, "fixmedins_code", _CODE, "H or P and eleven digits")
    terminal_no = _text(document, "terminal_no", _TERMINAL_NO, "1 to 32 letters, digits, _ or -")
    number = document.get("number")
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= TERMINAL_MAX:
        raise ConfigWrong("number must be 0 to 99, unlike every other terminal's of this institution")
    plaintext = document.get("plaintext", False)
    if not isinstance(plaintext, bool):
        raise ConfigWrong("plaintext must be true or false")
    tls = _tls(document.get("tls"), folder)
    addresses = {name: _address(document, name) for name in ("settlement", "identity")}
    if tls is None and not plaintext and not all(map(stays_here, addresses.values())):
        raise ConfigWrong(
            "the services are on another machine and there is no [tls]. Say where the certificates are, or plaintext = "
            "true if nobody else can listen in between"
        )
    language = document.get("language")
    if language not in (None, *LANGUAGES):
        raise ConfigWrong("language must be zh or en")
    journal = document.get("journal", JOURNAL)
    if not isinstance(journal, str) or not journal:
        raise ConfigWrong("journal must be a path")
    return Config(
        fixmedins_code=code,
        terminal_no=terminal_no,
        number=number,
        journal=folder / journal,
        language=language,
        tls=tls,
        plaintext=plaintext,
        patience=_patience(document["patience"]) if "patience" in document else None,
        file=file,
        **addresses,
    )


def written(config: Config) -> str:
    """The settings as a file says them."""
    lines = [
        "# A terminal of Gongji. Paths count from this file's folder.",
        f"fixmedins_code = {_quoted(config.fixmedins_code)}",
        f"terminal_no = {_quoted(config.terminal_no)}",
        f"number = {config.number}  # 0 to 99, unlike every other terminal's of this institution.",
        f"settlement = {_quoted(config.settlement)}",
        f"identity = {_quoted(config.identity)}",
        f"journal = {_quoted(str(config.journal))}  # Back it up; it is how a lost answer is found again.",
    ]
    if config.language:
        lines.append(f"language = {_quoted(config.language)}")
    if config.plaintext:
        lines.append("plaintext = true  # Nobody else can listen between here and the services.")
    if config.tls is not None:
        lines += ["", "[tls]", f"ca = {_quoted(str(config.tls.ca))}"]
        if config.tls.certificate is not None:
            lines += [f"certificate = {_quoted(str(config.tls.certificate))}", f"key = {_quoted(str(config.tls.key))}"]
        if config.tls.server_name:
            lines.append(f"server_name = {_quoted(config.tls.server_name)}")
    return "\n".join(lines) + "\n"


def _refuse_unknown(document: Mapping[str, Any]) -> None:
    for table, known in _KNOWN.items():
        inside = document if not table else document.get(table, {})
        if not isinstance(inside, Mapping):
            raise ConfigWrong(f"{table} must be a table: [{table}]")
        tables = set(_KNOWN) - {""} if not table else set()
        for key in inside:
            if key not in known | tables:
                raise ConfigWrong(f"{table + '.' if table else ''}{key} is unknown")


def _text(document: Mapping[str, Any], key: str, form: re.Pattern[str], what: str) -> str:
    value = document.get(key)
    if not isinstance(value, str) or not form.fullmatch(value):
        raise ConfigWrong(f"{key} must be {what}")
    return value


def _address(document: Mapping[str, Any], key: str) -> str:
    value = document.get(key)
    if not isinstance(value, str) or not (value.startswith("unix:") or is_host_and_port(value)):
        raise ConfigWrong(f"{key} must be HOST:PORT, the port between 1 and {PORT_MAX}")
    return value


def _tls(table: Mapping[str, Any] | None, folder: Path) -> Tls | None:
    if table is None:
        return None
    if not all(isinstance(value, str) and value for value in table.values()) or "ca" not in table:
        raise ConfigWrong("[tls] needs ca, and certificate with key for mTLS; each is the path of a PEM file")
    paths = {key: folder / value for key, value in table.items() if key != "server_name"}
    try:
        return Tls(server_name=str(table.get("server_name", "")), **paths)
    except ValueError as wrong:
        raise ConfigWrong(f"[tls] {wrong}") from None


def _patience(table: Mapping[str, Any]) -> Patience:
    for key, value in table.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= PATIENCE_MAX_S:
            raise ConfigWrong(f"patience.{key} must be a number of seconds, {PATIENCE_MAX_S:.0f} at most")
    return Patience(**{key: float(value) for key, value in table.items()})


def _quoted(text: str) -> str:
    """A TOML string; none of our values holds a control character."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
