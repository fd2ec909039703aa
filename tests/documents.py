"""The pages of README and docs as tests read them: code blocks, commands, links."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/RESULTS.md")),
        *(ROOT / "docs").rglob("*.md"),
    ]
)
SHELL = ("sh", "bash", "console", "shell")
_BLOCK = re.compile(r"^```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`((?:python -m [\w.]+|dropclass [a-z]+) [^`\[]+)`")
_LINK = re.compile(r"!?\[(?P<words>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_SEPARATORS = ("&&", "||", "|", ";", "&")


@dataclass(frozen=True)
class Command:
    """A command of a page: its words, without variables that are set for it."""

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.words)[:90]}"


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Language and text of each block of code."""
    for block in _BLOCK.finditer(page.read_text()):
        yield block["language"], block["code"]


def commands(page: Path) -> Iterator[Command]:
    """Every command of the page's shell blocks, and those of this project that stand in its sentences."""
    name = str(page.relative_to(ROOT))
    for language, code in blocks(page):
        if language in SHELL:
            yield from (Command(name, words) for words in _split(code))
    if name not in ("CHANGELOG.md", "benchmarks/RESULTS.md"):  # what was run once, in words of the time
        for inline in _INLINE.findall(_without_blocks(page)):
            yield from (Command(name, words) for words in _split(" ".join(inline.split())))


def _split(code: str) -> Iterator[tuple[str, ...]]:
    for line in code.replace("\\\n", " ").splitlines():
        line = re.sub(r"^(?:\$ |eval )?\"?\$\((.*?)\)\"?", r"\1", line)  # what eval "$(...)" runs
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word not in _SEPARATORS:
                words.append(word)
                continue
            while words and (_ASSIGNMENT.fullmatch(words[0]) or words[0] == "$"):
                del words[0]
            if words:
                yield tuple(words)
            words = []


def links(page: Path) -> Iterator[tuple[str, str]]:
    """Words and target of each link and picture."""
    for link in _LINK.finditer(_without_blocks(page)):
        yield link["words"], link["target"]


def pictures(page: Path) -> Iterator[tuple[str, Path]]:
    """Words and file of each picture."""
    for words, target in re.findall(r"!\[([^\]]*)\]\(([^)\s]+)\)", _without_blocks(page)):
        yield words, (page.parent / target).resolve()


def _without_blocks(page: Path) -> str:
    return _BLOCK.sub("", page.read_text())
