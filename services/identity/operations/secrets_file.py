"""The file of identity's secrets: read at start, made by whoever installs a region."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

from chassis.private_files import write_private, write_private_once
from services.identity.domain.sealing import Secrets, new_secrets, parsed_secrets, with_pin_pepper

MAKE_SECRETS: Final = "make-secrets"
ADD_PIN_PEPPER: Final = "add-pin-pepper"
_FIRST_KEY_ID: Final = "k1"


def read_secrets(path: Path) -> Secrets:
    """The keys of a secrets file; ValueError says what is wrong and how to make one."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        how = f"python -m services.identity.app {MAKE_SECRETS} FILE"
        raise ValueError(f"cannot be read ({type(error).__name__}); make one with: {how}") from None
    return parsed_secrets(text)


def make_secrets_file(path: Path) -> bool:
    """Makes a secrets file; False, and nothing changed, if there is one already. OSError if it cannot be written."""
    try:
        write_private_once(path, new_secrets(_FIRST_KEY_ID, secrets.token_bytes))
    except FileExistsError:
        return False
    return True


def add_pin_pepper(path: Path) -> bool:
    """Adds the secret for PINs to a secrets file of before there were cards; False, and no change, if it has one.

    ValueError as ``read_secrets``; OSError if it cannot be written.
    """
    read_secrets(path)
    text = with_pin_pepper(path.read_text(encoding="utf-8"), secrets.token_bytes)
    if text is None:
        return False
    write_private(path, text)
    return True
