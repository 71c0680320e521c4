"""Names (姓名): the one form they are kept in, and the mask under which others see them (domain §10)."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from kernel.failures import Failure, Kind

NAME_LENGTH_MAX: Final = 50
MIDDLE_DOT: Final = "·"
_DOTS: Final = str.maketrans(dict.fromkeys("・•‧∙●.．。", MIDDLE_DOT))
"""What keyboards put between the parts of an Uyghur or Kazakh name instead of U+00B7."""
_BETWEEN: Final = frozenset(" -'’·.")
_SPACES: Final = re.compile(r"\s+")
_STAR: Final = "*"
_HANZI: Final = ("CJK UNIFIED IDEOGRAPH", "CJK COMPATIBILITY IDEOGRAPH")
_IDEOGRAPHIC_ZERO: Final = "〇"
_IDEOGRAPHIC_PLANES: Final = range(0x20000, 0x40000)
"""Planes 2 and 3: rare characters of people's names, some younger than the Unicode tables of this Python."""
_COMPOUND_SURNAMES: Final = """
欧阳 太史 端木 上官 司马 东方 独孤 南宫 万俟 闻人 夏侯 诸葛 尉迟 公羊 赫连 澹台 皇甫 宗政 濮阳 公冶 太叔 申屠 公孙 慕容
仲孙 钟离 长孙 宇文 司徒 鲜于 司空 闾丘 子车 亓官 司寇 巫马 公西 颛孙 壤驷 公良 漆雕 乐正 宰父 谷梁 拓跋 夹谷 轩辕 令狐
段干 百里 呼延 东郭 南门 羊舌 微生 公户 公玉 公仪 梁丘 公仲 公上 公门 公山 公坚 左丘 公伯 西门 公祖 第五 公乘 贯丘 公皙
南荣 东里 东宫 仲长 子书 子桑 即墨 达奚 褚师 叱干 阿史那 哥舒 纳兰 叶赫那拉 爱新觉罗
"""
COMPOUND_SURNAMES: Final = frozenset(_COMPOUND_SURNAMES.split())
"""复姓. A surname missing here costs one more star, never one fewer."""
_SURNAME_LENGTH_MAX: Final = max(map(len, COMPOUND_SURNAMES))


def parsed_name(text: str) -> str:
    """The name in the form it is kept and compared in; NAME_MALFORMED (INVALID) if it can be no one's.

    Composed characters, one space at most between parts, one kind of middle dot between the parts of a name in
    Chinese characters. A name begins with a letter of any script and holds letters, spaces, dots, hyphens and
    apostrophes; no digits, no signs, no private characters that only one machine can show.
    """
    name = _SPACES.sub(" ", unicodedata.normalize("NFC", text).strip())
    if any(map(_is_hanzi, name)):
        name = name.translate(_DOTS)
    well_formed = (
        1 <= len(name) <= NAME_LENGTH_MAX
        and _is_letter(name[0])
        and (name[-1] == "." or _is_letter(name[-1]) or _is_mark(name[-1]))
        and all(_is_letter(character) or _is_mark(character) or character in _BETWEEN for character in name)
    )
    if not well_formed:
        raise Failure(Kind.INVALID, "NAME_MALFORMED", field="psn_name")
    return name


def same_name(one: str, other: str) -> bool:
    """Whether two names in the kept form are one; capitals do not matter."""
    return one.casefold() == other.casefold()


def masked_name(name: str) -> str:
    """The name as others may see it; always at least one character hidden.

    李* · 王*国 · 欧阳* · 欧阳*华 · 张**明 · 阿*·买* (parts joined by a dot) · M* G* (other scripts, word by word).
    """
    if MIDDLE_DOT in name:
        return MIDDLE_DOT.join(_first_and_star(part) for part in name.split(MIDDLE_DOT) if part)
    if all(map(_is_hanzi, name)):
        return _masked_hanzi(name)
    return " ".join(_first_and_star(word) for word in name.split())


def _masked_hanzi(name: str) -> str:
    if len(name) == 1:
        return _STAR
    surname = _surname_of(name)
    given = name[len(surname) :]
    if len(given) == 1:
        return surname + _STAR
    return surname + _STAR * (len(given) - 1) + given[-1]


def _surname_of(name: str) -> str:
    for length in range(min(_SURNAME_LENGTH_MAX, len(name) - 1), 1, -1):
        if name[:length] in COMPOUND_SURNAMES:
            return name[:length]
    return name[0]


def _first_and_star(part: str) -> str:
    return part[0] + _STAR if len(part) > 1 else _STAR


def _is_letter(character: str) -> bool:
    return unicodedata.category(character).startswith("L") or _is_hanzi(character)


def _is_mark(character: str) -> bool:
    return unicodedata.category(character) in {"Mn", "Mc"}


def _is_hanzi(character: str) -> bool:
    return (
        character == _IDEOGRAPHIC_ZERO
        or ord(character) in _IDEOGRAPHIC_PLANES
        or unicodedata.name(character, "").startswith(_HANZI)
    )
