"""What is personal or secret is marked in the contract itself, so that no log of a message tells it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

GENERATED: Final = Path(__file__).resolve().parents[2] / "protos" / "gen"
PERSONAL: Final = {"certno", "certno_a", "certno_b", "psn_name", "card_no", "value", "value_on_evidence", "content"}
"""Numbers and names in clear, what somebody wants to have put right, and everything that is held about him."""
SECRET: Final = {"pin", "new_pin", "code", "ec_token", "agent_ec_token", "attestation"}
"""Whoever reads one of them can do what its holder can."""


def fields_of(messages: Iterable[Descriptor]) -> Iterator[FieldDescriptor]:
    """Every field of these messages and of those inside them; of a map, the map alone."""
    for message in messages:
        if not message.GetOptions().map_entry:
            yield from message.fields
            yield from fields_of(message.nested_types)


def contract() -> Iterator[FieldDescriptor]:
    """Every field of every message of every room."""
    for path in sorted(GENERATED.glob("gongji/*/v1/*_pb2.py")):
        module = import_module(".".join(path.relative_to(GENERATED).with_suffix("").parts))
        yield from fields_of(module.DESCRIPTOR.message_types_by_name.values())


def test_what_is_personal_or_secret_is_marked_wherever_it_stands() -> None:
    """A field is redacted if and only if its name is that of an ID number, a name, a PIN, a token or the like."""
    wrong = [
        field.full_name
        for field in contract()
        if bool(field.GetOptions().debug_redact) != (field.name in PERSONAL | SECRET)
    ]
    assert wrong == []


def test_every_name_on_the_list_stands_in_the_contract() -> None:
    """A name that no message has any more is taken off the list."""
    assert {field.name for field in contract()} >= PERSONAL | SECRET
