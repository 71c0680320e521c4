"""The same token in other letters, which base64 lets pass unless somebody looks."""

from __future__ import annotations

from typing import Final

_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def in_other_letters(token: str) -> list[str]:
    """The signature's bytes written otherwise: bits set that say nothing, padded, cut by a line, in plain base64."""
    signed, _, signature = token.rpartition(".")
    last = _LETTERS[_LETTERS.index(signature[-1]) ^ 1]
    others = {
        signature[:-1] + last,
        f"{signature}==",
        f"{signature[:40]}\n{signature[40:]}",
        signature.replace("-", "+").replace("_", "/"),
    }
    return [f"{signed}.{other}" for other in sorted(others - {signature})]
