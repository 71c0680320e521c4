"""Generates everything that follows from the contract: messages and stubs, the catalogue, docs/errors.md and more.

``python tools/generate_protos.py`` writes; ``--check`` writes nothing and exits 1 when the committed files differ.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import yaml
from google.rpc import status_pb2  # type: ignore[import-untyped]  # It publishes no types.

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # Run as a script.

from tools import counter_page

ROOT: Final = Path(__file__).resolve().parent.parent
PROTOS: Final = ROOT / "protos"
GENERATED: Final = PROTOS / "gen"
ERRORS_PAGE: Final = ROOT / "docs" / "errors.md"
CATALOGUE: Final = Path("gongji") / "common" / "v1" / "reasons.json"
REASONS: Final = ("*/v1/reasons.yaml", "*/v1/reasons/*.yaml")
"""Where a room's refusals stand: in one file, or in several by topic."""
REASON_KEYS: Final = ("code", "retry", "zh", "en", "cashier", "operator", "integrator")
CODES: Final = frozenset(
    {
        "INVALID_ARGUMENT",
        "UNAUTHENTICATED",
        "PERMISSION_DENIED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "FAILED_PRECONDITION",
        "ABORTED",
        "RESOURCE_EXHAUSTED",
        "UNAVAILABLE",
        "DEADLINE_EXCEEDED",
        "INTERNAL",
    }
)
RETRIES: Final = frozenset({"never", "same_request", "after_change", "new_request"})


def generate_code(target: Path) -> None:
    """Messages, gRPC stubs and their types for every proto of ours and for the vendored validation rules."""
    ours = sorted(path.relative_to(PROTOS) for path in (PROTOS / "gongji").rglob("*.proto"))
    rules = sorted(path.relative_to(PROTOS / "vendor") for path in (PROTOS / "vendor" / "buf").rglob("*.proto"))
    with_services = [path for path in ours if "\nservice " in (PROTOS / path).read_text(encoding="utf-8")]
    include = [f"-I{PROTOS}", f"-I{PROTOS / 'vendor'}", f"-I{Path(status_pb2.__file__).parents[2]}"]
    compiler = [sys.executable, "-m", "grpc_tools.protoc", *include]
    messages = [f"--python_out={target}", f"--mypy_out=quiet:{target}"]
    stubs = [f"--grpc_python_out={target}", f"--mypy_grpc_out=quiet:{target}"]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    for arguments, files in ((messages, [*ours, *rules]), (stubs, with_services)):
        if files:
            subprocess.run([*compiler, *arguments, *map(str, files)], check=True, env=environment)  # noqa: S603  Our own files.


def read_reasons() -> dict[str, dict[str, str]]:
    """Every reason of every room, in the order of rooms and files; a wrong or double entry stops the run."""
    reasons: dict[str, dict[str, str]] = {}
    for file in sorted(file for pattern in REASONS for file in (PROTOS / "gongji").glob(pattern)):
        room = file.relative_to(PROTOS / "gongji").parts[0]
        for entry in yaml.safe_load(file.read_text(encoding="utf-8")) or []:
            name = entry["reason"]
            missing = [key for key in REASON_KEYS if not str(entry.get(key, "")).strip()]
            unknown = sorted(set(entry) - {"reason", *REASON_KEYS})
            if missing or unknown or entry["code"] not in CODES or entry["retry"] not in RETRIES or name in reasons:
                sys.exit(f"{file}: {name}: missing {missing}, unknown {unknown}, wrong code or retry, or named twice")
            reasons[name] = {key: " ".join(str(entry[key]).split()) for key in REASON_KEYS} | {"room": room}
    return reasons


def errors_page(reasons: dict[str, dict[str, str]]) -> str:
    """docs/errors.md: what each refusal means and who does what."""
    lines = [
        "# Every refusal, and what to do about it",
        "",
        "<!-- Generated from the reasons of every room in protos/gongji by `make proto`; do not edit. -->",
        "",
        "A refusal reaches a caller as a gRPC status with `google.rpc.ErrorInfo` (this reason, domain `gongji`,",
        "metadata) and `google.rpc.LocalizedMessage` in zh-CN and en. *Retry* says whether sending again helps:",
        "`never`; `same_request` (the same bytes, with back-off); `after_change` (once a person changed something);",
        "`new_request` (a new request with a new msgid).",
        "",
    ]
    for room in sorted({entry["room"] for entry in reasons.values()}):
        lines += [f"## {room}", ""]
        for name, entry in sorted(reasons.items()):
            if entry["room"] == room:
                lines += [
                    f"### {name}",
                    "",
                    f"`{entry['code']}` · retry: `{entry['retry']}`",
                    "",
                    f"> {entry['zh']}",
                    ">",
                    f"> {entry['en']}",
                    "",
                    f"- **Cashier**: {entry['cashier']}",
                    f"- **Operator**: {entry['operator']}",
                    f"- **Integrator**: {entry['integrator']}",
                    "",
                ]
    return "\n".join(lines)


def counter() -> str:
    """docs/integration.md as it should be."""
    return counter_page.counter_page(read_reasons(), counter_page.PAGE.read_text(encoding="utf-8"))


def generate_all(target: Path, errors_file: Path) -> None:
    """Write the whole generated tree below ``target`` and the errors page to ``errors_file``."""
    generate_code(target)
    reasons = read_reasons()
    catalogue = target / CATALOGUE
    catalogue.parent.mkdir(parents=True, exist_ok=True)
    catalogue.write_text(json.dumps(reasons, ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    errors_file.parent.mkdir(parents=True, exist_ok=True)
    errors_file.write_text(errors_page(reasons), encoding="utf-8")


def differing(fresh: Path, committed: Path) -> list[str]:
    """The files that are only in one of the two trees or differ between them."""
    names = {path.relative_to(tree) for tree in (fresh, committed) for path in tree.rglob("*") if path.is_file()}
    wanted = {name for name in names if "__pycache__" not in name.parts}
    same = {
        name
        for name in wanted
        if (fresh / name).is_file()
        and (committed / name).is_file()
        and filecmp.cmp(fresh / name, committed / name, shallow=False)
    }
    return sorted(str(name) for name in wanted - same)


def main() -> None:
    """Parse the one flag and do it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 when something is out of date")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        fresh, fresh_page = Path(folder) / "gen", Path(folder) / "errors.md"
        fresh.mkdir()
        generate_all(fresh, fresh_page)
        if check:
            stale = differing(fresh, GENERATED)
            if not ERRORS_PAGE.is_file() or not filecmp.cmp(fresh_page, ERRORS_PAGE, shallow=False):
                stale.append("docs/errors.md")
            if counter_page.PAGE.read_text(encoding="utf-8") != counter():
                stale.append("docs/integration.md")
            if stale:
                sys.exit("Out of date, run `make proto` and commit: " + ", ".join(stale))
            return
        for name in differing(fresh, GENERATED):
            if not (fresh / name).is_file():
                (GENERATED / name).unlink()
        shutil.copytree(fresh, GENERATED, dirs_exist_ok=True)
        shutil.copyfile(fresh_page, ERRORS_PAGE)
        counter_page.PAGE.write_text(counter(), encoding="utf-8")


if __name__ == "__main__":
    main()
