"""Keeps what was released of the contract, and names what would break whoever was built against it.

``python -m tools.release_contract`` writes the image of the protos, the catalogue of reasons and the bytes of a message
of every type below protos/released, in a folder called by the contract's version. ``--check`` writes nothing and exits
1 when a released terminal would no longer be understood: by ``buf breaking``, by a rule of a request that is stricter
than it was, by a new field that must be filled, or by a reason that is gone or means another status.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pb2

from buf.validate import validate_pb2
from tools import golden_messages

ROOT: Final = Path(__file__).resolve().parent.parent
PROTOS: Final = ROOT / "protos"
RELEASED: Final = Path("released")
REASONS: Final = Path("gen") / "gongji" / "common" / "v1" / "reasons.json"
BUF: Final = Path(sys.executable).parent / "buf"
KEPT_OF_A_REASON: Final = ("code", "retry")
"""What a program decides by; the texts may be said better."""
MAY_GROW: Final = frozenset({"max_len", "max_items", "max_bytes", "max_pairs", "lte", "lt"})
MAY_SHRINK: Final = frozenset({"min_len", "min_items", "min_bytes", "gte", "gt"})

BREAKING: Final = json.dumps({"version": "v2", "breaking": {"use": ["FILE"]}})
"""As protos/buf.yaml has it; an image brings no configuration of its own."""
HAS_PRESENCE: Final = "has_presence"
"""Stands among a field's rules where an absent field is told from an empty one: only ``required`` asks for it then."""
IN_A_LIST: Final = {"items", "keys", "values"}
"""Rules of what stands in a list or map; an empty one has none to refuse."""

FieldRules = dict[str, dict[str, Any]]


def version(protos: Path = PROTOS) -> str:
    """The contract's version, as its distribution has it."""
    return str(tomllib.loads((protos / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


def last_released(protos: Path = PROTOS) -> Path:
    """The folder of the last release; the run ends where there is none."""
    folders = [path for path in (protos / RELEASED).glob("*") if path.is_dir()]
    if not folders:
        sys.exit(f"{protos / RELEASED} holds no release: python -m tools.release_contract makes one")
    return max(folders, key=lambda folder: tuple(map(int, folder.name.split("."))))


def build_image(protos: Path, target: Path) -> None:
    """The protos as one image: descriptors with their options, without comments."""
    subprocess.run(  # noqa: S603  Our own files.
        [str(BUF), "build", str(protos), "--exclude-source-info", "-o", str(target)], check=True
    )


def release(protos: Path = PROTOS) -> Path:
    """Writes the image and the reasons of what is in the tree; the folder they are in."""
    folder = protos / RELEASED / version(protos)
    folder.mkdir(parents=True, exist_ok=True)
    build_image(protos, folder / "image.binpb")
    shutil.copyfile(protos / REASONS, folder / "reasons.json")
    golden_messages.write(folder / "image.binpb", folder / "golden.json")
    return folder


def broken(protos: Path, released: Path) -> list[str]:
    """Everything in these protos that a terminal of that release would stumble over, a line each."""
    with tempfile.TemporaryDirectory() as folder:
        now = Path(folder) / "image.binpb"
        build_image(protos, now)
        before = released / "image.binpb"
        return (
            broken_protos(before, now)
            + broken_rules(rules_of(before), rules_of(now))
            + broken_reasons(
                json.loads((released / "reasons.json").read_text(encoding="utf-8")),
                json.loads((protos / REASONS).read_text(encoding="utf-8")),
            )
        )


def broken_protos(before: Path, now: Path) -> list[str]:
    """What ``buf breaking`` finds in our own files; the vendored rules are not ours to keep."""
    found = subprocess.run(  # noqa: S603  Our own files.
        [
            *(str(BUF), "breaking", str(now), "--against", str(before), "--path", "gongji"),
            *("--config", BREAKING, "--against-config", BREAKING),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = (found.stdout + found.stderr).splitlines()
    return lines or ["buf breaking failed without a word"] * bool(found.returncode)


def broken_reasons(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Reasons that are gone, or that have another gRPC status or another advice on retrying."""
    lines = [f"{reason}: a released reason is gone" for reason in sorted(before.keys() - after.keys())]
    for reason in sorted(before.keys() & after.keys()):
        lines += [
            f"{reason}: {key} was {before[reason][key]}, is {after[reason][key]}"
            for key in KEPT_OF_A_REASON
            if before[reason][key] != after[reason][key]
        ]
    return lines


def broken_rules(before: dict[str, FieldRules], after: dict[str, FieldRules]) -> list[str]:
    """Fields whose rule refuses what it took, and new fields that must be filled in a message that was released."""
    lines = []
    for name in sorted(before.keys() & after.keys()):
        for field, rules in sorted(after[name].items()):
            if field in before[name]:
                lines += [f"{name}.{field}: {why}" for why in stricter(before[name][field], rules)]
            elif must_be_filled(rules):
                lines.append(f"{name}.{field}: a new field of a released message must be filled")
    return lines


def rules_of(image: Path) -> dict[str, FieldRules]:
    """The rules of every field of ours, by message and field: ``{"string.max_len": 30, …}``."""
    files = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes()).file
    found: dict[str, FieldRules] = {}
    for file in files:
        if file.package.startswith("gongji."):
            for name, message in messages_of(file.package, file.message_type):
                found[name] = {field.name: rules_on(field) for field in message.field}
    return found


def rules_on(field: descriptor_pb2.FieldDescriptorProto) -> dict[str, Any]:
    """The rules of one field, flat."""
    is_message = field.type == descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
    is_list = field.label == descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
    has_presence = field.HasField("oneof_index") or (is_message and not is_list)
    return flat(field.options.Extensions[validate_pb2.field]) | ({HAS_PRESENCE: True} if has_presence else {})


def messages_of(
    prefix: str,
    messages: Any,  # noqa: ANN401  A repeated field of descriptors.
) -> Iterator[tuple[str, descriptor_pb2.DescriptorProto]]:
    """Every message with its full name, those inside others too."""
    for message in messages:
        name = f"{prefix}.{message.name}"
        yield name, message
        yield from messages_of(name, message.nested_type)


def flat(rules: Any, prefix: str = "") -> dict[str, Any]:  # noqa: ANN401  Rules of any type.
    """Rules as one mapping from their path to their value; lists as sets."""
    found: dict[str, Any] = {}
    for field, value in rules.ListFields():
        if field.message_type is not None and not field.is_repeated:
            found |= flat(value, f"{prefix}{field.name}.")
        else:
            found[f"{prefix}{field.name}"] = frozenset(map(str, value)) if field.is_repeated else value
    return found


def stricter(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Why what passed before may be refused now. A pattern that changed counts: nobody can tell by looking at it."""
    lines = []
    for path, value in sorted(after.items()):
        kind = path.rpartition(".")[2]
        old = before.get(path)
        if path == HAS_PRESENCE:
            continue
        is_looser = old is not None and (
            value == old
            or (kind in MAY_GROW and value >= old)
            or (kind in MAY_SHRINK and value <= old)
            or (kind == "in" and value >= old)
            or (kind == "not_in" and value <= old)
        )
        if not is_looser and value is not False:
            lines.append(f"{path} was {_said(old)}, is {_said(value)}")
    return lines


def must_be_filled(rules: dict[str, Any]) -> bool:
    """Whether a terminal that does not know the field, and so leaves it empty, would be refused."""
    if rules.get("required"):
        return True
    if HAS_PRESENCE in rules or "ignore" in rules:
        return False
    return any(_refuses_empty(path, value) for path, value in rules.items() if not IN_A_LIST & set(path.split(".")))


def _refuses_empty(path: str, value: Any) -> bool:  # noqa: ANN401, PLR0911  The value of any rule; one line each.
    """Whether the one rule does."""
    match path.rpartition(".")[2]:
        case "pattern":
            return re.search(value, "") is None
        case "uuid":
            return bool(value)
        case "min_len" | "min_items" | "min_bytes" | "len" | "gte":
            return bool(value > 0)
        case "gt":
            return bool(value >= 0)
        case "in":
            return not value & {"", "0"}
        case "not_in":
            return bool(value & {"", "0"})
        case _:
            return False


def _said(value: Any) -> str:  # noqa: ANN401  The value of any rule.
    if value is None:
        return "not there"
    return str(sorted(value)) if isinstance(value, frozenset) else str(value)


def main() -> None:
    """Parse the one flag and do it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="compare only; exit 1 when a released terminal would break"
    )
    if not parser.parse_args().check:
        sys.stdout.write(f"released {release().relative_to(ROOT)}\n")
        return
    if lines := broken(PROTOS, last_released()):
        sys.exit("The contract breaks what was released:\n  " + "\n  ".join(lines))


if __name__ == "__main__":
    main()
