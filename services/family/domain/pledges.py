"""《个人账户家庭共济承诺书》: the texts on record, and who signed which of them, when and which way (domain §2)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final
from uuid import UUID

from kernel.failures import Failure, Kind
from kernel.ids import PsnNo

LANGUAGE: Final = "zh-CN"
"""In which a pledge is signed unless another language is named."""
PLEDGES_SHOWN: Final = 100
"""More than anybody signs: so many of a person's pledges are shown, the latest."""


class Channel(Enum):
    """Which way somebody came."""

    APP = "APP"  # With his own phone.
    COUNTER = "COUNTER"  # Through an officer.


@dataclass(frozen=True, slots=True)
class PledgeText:
    """A text as it is shown and signed; under a version and a language there is never another one."""

    text_version: str
    language: str
    content: str
    registered_at: datetime

    @property
    def sha256(self) -> bytes:
        """Of the text in UTF-8: 32 bytes."""
        return hashlib.sha256(self.content.encode()).digest()


@dataclass(frozen=True, slots=True)
class Pledge:
    """A signed pledge: which text in which language, the SHA-256 of what was signed, when and which way."""

    pledge_id: UUID
    psn_no: PsnNo
    text_version: str
    text_sha256: bytes
    signed_at: datetime
    language: str = LANGUAGE
    channel: Channel = Channel.APP


def refuse_other_text(known: PledgeText, asked: PledgeText) -> None:
    """PLEDGE_TEXT_DIFFERS: what people have signed is not changed afterwards; another text is another version."""
    if known.content != asked.content:
        raise Failure(Kind.EXISTS, "PLEDGE_TEXT_DIFFERS", text_version=asked.text_version, language=asked.language)


def known_text(text: PledgeText | None) -> PledgeText:
    """PLEDGE_TEXT_UNKNOWN: nobody has registered a text under this version and language."""
    if text is None:
        raise Failure(Kind.NOT_FOUND, "PLEDGE_TEXT_UNKNOWN")
    return text


def refuse_unread(pledge: Pledge, text: PledgeText | None) -> None:
    """PLEDGE_TEXT_UNKNOWN; PLEDGE_TEXT_ALTERED: what was shown and signed is not the text on record."""
    if known_text(text).sha256 != pledge.text_sha256:
        raise Failure(Kind.INVALID, "PLEDGE_TEXT_ALTERED", text_version=pledge.text_version, language=pledge.language)


def refuse_unsigned(pledges: int) -> None:
    """PLEDGE_NOT_SIGNED: who founds a group or lends an account signs first (domain §2)."""
    if pledges == 0:
        raise Failure(Kind.PRECONDITION, "PLEDGE_NOT_SIGNED")
