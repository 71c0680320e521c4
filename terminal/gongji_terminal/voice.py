"""How the command line speaks: to a person in Chinese or English, or to a program as JSON; never both on one stream."""

from __future__ import annotations

import io
import json
import re
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from gongji_terminal.msgid import SHANGHAI

_WIDE: Final = frozenset("WF")


class Voice:
    """Answers go to ``out``, remarks to ``err``; with ``as_json`` an answer is one JSON object on a line."""

    def __init__(self, *, language: str, as_json: bool, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self.language = language
        self.as_json = as_json
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._takes_all = (self._out.encoding or "utf-8").lower().replace("-", "") == "utf8"
        if isinstance(self._out, io.TextIOWrapper):
            # An answer that a console cannot show in full is better than none to money that moved.
            self._out.reconfigure(errors="backslashreplace")

    def of(self, zh: str, en: str) -> str:
        """The one of the two that is spoken here."""
        return zh if self.language == "zh" else en

    def answer(self, document: Mapping[str, object], lines: Sequence[str]) -> None:
        """What the command was asked for, in one of its two forms."""
        if self.as_json:
            self._out.write(json.dumps(document, ensure_ascii=not self._takes_all) + "\n")
        else:
            self._out.writelines(line + "\n" for line in lines)
        self._out.flush()

    def remark(self, zh: str, en: str) -> None:
        """Something a person should know; a program reads it from the answer."""
        if not self.as_json:
            self._err.write(self.of(zh, en) + "\n")
            self._err.flush()


def yuan(fen: int) -> str:
    """12,345.67: an amount as people read it."""
    sign, whole = ("-", -fen) if fen < 0 else ("", fen)
    return f"{sign}{whole // 100:,}.{whole % 100:02d}"


def width(text: str) -> int:
    """How many columns the text takes; a Chinese character takes two."""
    return sum(2 if unicodedata.east_asian_width(character) in _WIDE else 1 for character in text)


def padded(text: str, columns: int, *, right: bool = False) -> str:
    """The text in so many columns, to the left or to the right."""
    space = " " * max(0, columns - width(text))
    return space + text if right else text + space


def table(
    rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset(), widths: Sequence[int] = ()
) -> list[str]:
    """The rows with their columns in line; those of ``right`` end at the same place; ``widths`` are the least."""
    if not rows:
        return []
    least = [*widths, *[0] * (len(rows[0]) - len(widths))]
    columns = [max(least[n], *(width(row[n]) for row in rows)) for n in range(len(rows[0]))]
    return [
        "  ".join(padded(cell, columns[n], right=n in right) for n, cell in enumerate(row)).rstrip() for row in rows
    ]


def local(time: Timestamp) -> datetime:
    """A time of the contract in Asia/Shanghai."""
    return time.ToDatetime(tzinfo=UTC).astimezone(SHANGHAI)


def plain(message: Message) -> dict[str, Any]:
    """A message for JSON: the contract's own names, amounts as whole fen, times with +08:00, enumerations by name."""
    return {
        field.name: _plain_field(message, field)
        for field in message.DESCRIPTOR.fields
        if not field.has_presence or message.HasField(field.name)
    }


def _plain_field(message: Message, field: Any) -> object:  # noqa: ANN401  A FieldDescriptor of either implementation.
    value = getattr(message, field.name)
    if field.is_repeated:
        return [_plain_value(field, one) for one in value]
    return _plain_value(field, value)


def _plain_value(field: Any, value: Any) -> object:  # noqa: ANN401  As above, and whatever it may hold.
    match value:
        case Timestamp():
            return local(value).isoformat(timespec="seconds")
        case Message():
            return plain(value)
        case bytes():
            return value.hex()
        case int() if field.enum_type is not None:
            return enum_word(field.enum_type, value)
        case _:
            return value


def enum_word(enum: EnumDescriptor, number: int) -> str:
    """SETTLED for SETTLEMENT_STATE_SETTLED; the number of one that this release does not know."""
    known = enum.values_by_number.get(number)
    if known is None:
        return str(number)
    prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", enum.name).upper() + "_"
    return str(known.name).removeprefix(prefix)
