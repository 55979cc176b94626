"""The commands that README.md, CONTRIBUTING.md and docs/ tell people to type, read out of the pages.

A command stands in a block (fenced, or indented by four blanks) or between backticks in a sentence.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = ("make", "python", "snakemake", "pip", "tr-detr", "tensorboard", ".")
BLOCK = re.compile(r"(?:^\n?)((?:^ {4}\S.*\n)+)", re.MULTILINE)
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`]+)`")
LEFT_OPEN = re.compile(r"\[(--[^\]]*)\]|…")
"""The marks of a page for words that may be left out, and for further words of the same kind."""


@dataclass(frozen=True)
class Command:
    """One command. page: where it stands. words: as a shell would split it. in_block: whether it stands in a block."""

    page: str
    words: tuple[str, ...]
    in_block: bool

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"

    @property
    def program(self) -> str:
        """The first word of the command line."""
        return self.words[0]


def commands() -> list[Command]:
    """Return every command of every page, each once a page."""
    found = {c: None for page in PAGES for c in in_page(page.name, page.read_text(encoding="utf-8"))}
    return list(found)


def in_page(name: str, text: str) -> Iterator[Command]:
    """Yield the commands of one page."""
    blocks = [match[2] for match in FENCED.finditer(text) if match[1] in ("", "sh", "bash", "console")]
    rest = FENCED.sub("\n", text)
    blocks += [match[1] for match in BLOCK.finditer(rest)]
    for block in blocks:
        lines = re.sub(r"\\\n\s*", " ", block).splitlines()
        if any(_is_command(line) for line in lines):  # else it is a listing
            for line in lines:
                yield from _commands_of(name, line.strip(), in_block=True)
    for match in INLINE.finditer(BLOCK.sub("\n", rest)):
        text_of = " ".join(match[1].split())
        if _is_command(text_of) and " " in text_of:
            yield from _commands_of(name, text_of, in_block=False)


def _is_command(line: str) -> bool:
    words = line.split()
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words = words[1:]
    return bool(words) and words[0] in PROGRAMS


def _commands_of(name: str, line: str, *, in_block: bool) -> Iterator[Command]:
    for part in re.split(r"\s&&\s", line):
        words = shlex.split(LEFT_OPEN.sub(r"\1", part), comments=True)
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            words = words[1:]
        if words:
            yield Command(name, tuple(words), in_block)
