"""The parts of one's own that a configuration file names, and what is wrong with them. Imports no torch.

That a module and its class are there is told as the file is read. The rest needs their import, in a process of its own.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydantic import JsonValue

from trainable.configfile.mistakes import Mistake, show_path
from trainable.configfile.node import Key, Node, child_of, entries_of, items_of, nearest, plain
from trainable.parts.kinds import ALWAYS, KINDS
from trainable.parts.section import NAME
from trainable.parts.source import code_of

LONGEST_S = 120
"""How long the import of all parts of a file may take."""
Variants = Callable[[Node], list[Node]]
"""The values without domains that together try every bound and option of a value."""


@dataclass(frozen=True)
class Named:
    """A part as a file names it."""

    key: str
    """One of `KINDS`."""
    name: str
    path: tuple[Key, ...]
    node: Node
    """A name, or a mapping with its settings."""

    @property
    def settings(self) -> dict[str, JsonValue]:
        """Arguments of the constructor."""
        if not isinstance(self.node.value, dict):
            return {}
        others = ALWAYS | KINDS[self.key].of_the_product
        return {key: plain(child) for key, child in entries_of(self.node).items() if key not in others}

    def mistake(self, setting: str, message: str) -> Mistake:
        """A mistake in one of its settings, or in the part itself, at its place."""
        keys = setting.split(".") if setting else []
        path = show_path((*self.path, *keys))
        return Mistake(nearest(self.node, keys).place, path, message)


def named_parts(root: Node, variants: Variants = lambda node: [node]) -> list[Named]:
    """The parts that a file names, wherever it does: in sections, options of a choice, factors and arms."""
    return list(_named(root, "", (), variants))


def part_mistakes(parts: Sequence[Named]) -> list[Mistake]:
    """What is wrong with parts whose modules and classes are there."""
    pinned = [mistake for part in parts for mistake in _pinned(part)]
    if pinned or not parts:
        return pinned
    asked = {json.dumps([part.key, part.name, part.settings]): part for part in reversed(parts)}
    hashes = tuple(sorted({code_of(part.name).sha256 for part in parts}))
    answers = _answers(tuple(asked), hashes)
    if isinstance(answers, str):
        alone = [(part, _answers((one,), hashes)) for one, part in asked.items()] if len(asked) > 1 else []
        part, text = next(((part, text) for part, text in alone if isinstance(text, str)), (parts[0], answers))
        return [part.mistake("", f"{part.name}: {text}")]
    return [part.mistake(*each) for part, answer in zip(asked.values(), answers, strict=True) for each in answer]


def _named(node: Node, key: str, path: tuple[Key, ...], variants: Variants) -> Iterator[Named]:
    if node.broken:
        return
    name = child_of(node, "name") if isinstance(node.value, dict) else node
    text = name.value if name is not None else None
    if key in KINDS and isinstance(text, str) and NAME.fullmatch(text):
        for variant in variants(node):
            yield Named(key, text, path, variant)
        return
    if key in KINDS and name is not None and isinstance(name.value, dict):  # a domain chooses the name
        for variant in variants(node):
            chosen = child_of(variant, "name")
            if chosen is not None and not isinstance(chosen.value, dict):  # else it was no domain
                yield from _named(variant, key, path, variants)
        return
    for child_key, child in items_of(node):
        inner = key if isinstance(child_key, int) or child_key == "choice" else child_key.rpartition(".")[2]
        shown = path if child_key == "choice" or (path and isinstance(child_key, int) and inner != "metrics") else None
        yield from _named(child, inner, (*path, child_key) if shown is None else shown, variants)


def _pinned(part: Named) -> Iterable[Mistake]:
    """A file that ``best.yaml`` was copied to names the code that its trial was run with."""
    pin = child_of(part.node, "sha256") if isinstance(part.node.value, dict) else None
    if pin is None or not isinstance(pin.value, str):
        return []
    try:
        here = code_of(part.name).sha256
    except ValueError as error:
        return [part.mistake("", str(error))]
    if here != pin.value:
        message = f"the code of {part.name} has changed: sha256 {pin.value[:12]} is written, {here[:12]} is here"
        return [part.mistake("sha256", f"{message}; restore it, or leave sha256 out to take it as it is")]
    return []


@lru_cache(maxsize=64)
def _answers(asked: tuple[str, ...], _hashes: tuple[str, ...]) -> list[list[tuple[str, str]]] | str:
    """An answer to each question of `trainable.parts.check`; a text where it gave none."""
    root = Path(__file__).resolve().parents[2]
    places = os.pathsep.join(dict.fromkeys([*(entry for entry in sys.path if entry), str(root)]))
    environment = {**os.environ, "PYTHONPATH": places, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "trainable.parts.check"]
    try:
        done = subprocess.run(
            command, input=f"[{','.join(asked)}]", capture_output=True, text=True, env=environment,
            timeout=LONGEST_S, check=False,
        )  # fmt: skip
        answers = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return f"importing the part takes more than {LONGEST_S} s"
    except ValueError:
        last = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        return f"importing the part ended Python: {last}"
    return [[(setting, message) for setting, message in answer] for answer in answers]
