"""Characters outside the language: what they look like, and how compatible forms of letters are folded.

Only letters and digits are folded (NFKC), one character at a time, so that every character of the folded text is
known to come from one of the original: `fold` gives that map.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass

_WORD = re.compile(r"[A-Za-z0-9_\u0391-\u03a9\u03b1-\u03c9]+")
_FOLDABLE = ("", "<font>", "<wide>", "<narrow>", "<compat>", "<sub>")

_GROUPS = {
    "-": "−–—‒―‐‑﹣－➖",
    "*": "×⊙∗＊✕✖⨯⋆∘⨀",
    "·": "∙•‧・･●⋄",
    "⊗": "⨂⊠",
    "/": "÷∕⁄／",
    "+": "＋⊕∔",
    "'": "′’‘‵ʹʼ＇´`ˈ",
    ";": "\u037e；",
    ",": "，、‚",
    "(": "（❨⟮",
    ")": "）❩⟯",
    "[": "［【〔",
    "]": "］】〕",
    "=": "＝",
    "==": "≡",
    "!=": "≠",
    "<=": "≤⩽≦",
    ">=": "≥⩾≧",
    "<": "＜⟨",
    ">": "＞⟩",
    "->": "→⟶➝⇒↦➔",
    ".": "．。",
    "#": "＃",
    "@": "＠",
    "_": "＿",
    "and": "∧",
    "or": "∨",
    "not": "¬",
    "inf": "∞",
    "sqrt( )": "√",
    "sum[ ]( )": "∑",
    "prod[ ]( )": "∏",
    "**2": "²",
    "**3": "³",
    "transpose( )": "ᵀ⊤",
    "conj( )": "∗",
    "0.5": "½",
    "a": "а",
    "c": "с",
    "e": "е",
    "o": "о",
    "p": "р",
    "x": "х",
    "y": "у",
    "i": "і",
    "j": "ј",
    "s": "ѕ",
    "A": "А",
    "B": "В",
    "C": "С",
    "E": "Е",
    "H": "Н",
    "K": "К",
    "M": "М",
    "O": "О",
    "P": "Р",
    "T": "Т",
    "X": "Х",
}
LOOK_ALIKE: dict[str, str] = {c: right for right, group in reversed(_GROUPS.items()) for c in group}
"""A character that is not of the language → what to write instead."""


@dataclass(frozen=True)
class Folded:
    """`text` with its letters folded. `offset` maps a place in it to the place in the original."""

    text: str
    _starts: tuple[int, ...] = ()
    _shifts: tuple[int, ...] = ()

    def offset(self, place: int) -> int:
        """The original offset of a place in the folded text."""
        if not self._starts:
            return place
        return place + self._shifts[bisect_right(self._starts, place) - 1]


def fold(text: str) -> Folded:
    """Fold the letters of a text; most texts are ASCII and come back as they are."""
    if text.isascii():
        return Folded(text)
    pieces: list[str] = []
    starts, shifts = [0], [0]
    length = 0
    for place, character in enumerate(text):
        piece = fold_character(character)
        pieces.append(piece)
        length += len(piece)
        if len(piece) != 1:
            starts.append(length)
            shifts.append(place + 1 - length)
    return Folded("".join(pieces), tuple(starts), tuple(shifts))


def fold_character(character: str) -> str:
    """A compatible form of letters or digits (`ℎ`, `µ`, `ｈ`, `₀`) as those; anything else as it is."""
    if character.isascii():
        return character
    if character in LOOK_ALIKE or unicodedata.decomposition(character).split(" ")[0] == "<super>":
        return character
    folded = unicodedata.normalize("NFKC", character)
    return folded if folded != character and _WORD.fullmatch(folded) else character


def name_of(character: str) -> str:
    """`U+00D7 MULTIPLICATION SIGN`."""
    return f"U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip()
