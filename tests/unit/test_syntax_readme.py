"""The language's page: its specs parse, are formatted, and its list of reserved words is the front end's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ssmc.source import Source
from ssmc.syntax.format import format_source
from ssmc.syntax.limits import MAX_CHARACTERS, MAX_DEPTH
from ssmc.syntax.names import CALL_KEYWORDS, CONSTANTS, KEYWORDS, why_reserved
from ssmc.syntax.parser import parse

PAGE = (Path(__file__).resolve().parents[2] / "grammar" / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```ssm\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.mark.parametrize("text", BLOCKS, ids=lambda text: text.split("\n")[0])
def test_blocks(text: str) -> None:
    source = Source("README.md", text)
    assert len(parse(source).specs) == 1
    assert format_source(source).replace(" ", "") == text.replace(" ", "")


def test_reserved_words() -> None:
    match = re.search(r"No value can be called `([^`]*)`, nor\s+`([^`]*)`", PAGE)
    assert match is not None
    assert set(match[1].split()) == KEYWORDS | CONSTANTS
    assert set(match[2].split()) == CALL_KEYWORDS
    assert all(why_reserved(word) for word in (*match[1].split(), *match[2].split()))
    assert why_reserved("step") is why_reserved("sum") is why_reserved("complex") is None


def test_limits() -> None:
    assert f"more than {MAX_CHARACTERS:,} characters" in PAGE
    assert f"nested more than {MAX_DEPTH} deep" in PAGE
