"""What is wrong with the constructor of a part of one's own, told in a line that names the part and its place."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.studyfile import ConfigError, load
from tests.own_part_modules import forgotten
from trainable.parts.check import problems
from trainable.parts.source import VARIABLE, code_of, look_in

TEXT = """
import os, sys
from pydantic import BaseModel
from trainable.parts import Mechanism

class Base(Mechanism):
    def channels(self, importance_CK, keep_GC, seed): ...

class Unread(Base):
    def __init__(self, depth: int, x: "Nope") -> None: ...

class Inside(Base):
    def __init__(self, x: list["Nope"]) -> None: ...

class Named(Base):
    def __init__(self, depth: int = 1, name: str = "a") -> None: ...

class Hashed(Base):
    class Config(BaseModel):
        sha256: str = ""
    def __init__(self, config: Config) -> None: ...

class Leaves(Base):
    def __init__(self) -> None:
        sys.exit(3)

class Dies(Base):
    def __init__(self) -> None:
        os._exit(9)
"""


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(VARIABLE, "")
    (tmp_path / "made_parts.py").write_text(TEXT)
    code_of.cache_clear()
    look_in(tmp_path)
    with forgotten("made_parts"):
        yield


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Unread", "the annotation of x cannot be read: NameError: name 'Nope' is not defined (FILE:10)"),
        ("Inside", "its arguments cannot be read (name 'Nope' is not defined) (FILE:13)"),
        ("Named", "an argument cannot be called name: a section of a part has keys of that name already (docs/own-"),
        ("Hashed", "an argument cannot be called sha256: a section of a part has keys of that name already"),
        ("Leaves", "SystemExit: 3 (FILE:25 in __init__)"),
    ],
)
def test_a_constructor_that_cannot_be_called_names_its_part(name: str, told: str, tmp_path: Path) -> None:
    [(setting, message)] = problems("mechanism", f"made_parts:{name}", {})
    assert setting == ""
    assert message.startswith(f"made_parts:{name}: {told}".replace("FILE", f"{tmp_path}/made_parts.py"))


def test_a_part_that_ends_python_is_told_at_its_own_line(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(
        "study: s\nobjective: {metric: val/miou, mode: max}\ndata: {name: shapes}\n"
        "model: {arch: fpn, encoder: resnet18}\ntrain: {epochs: 1, batch_size: 4}\nsuppression:\n  mechanism:\n"
        "    choice:\n    - made_parts:Named\n    - made_parts:Dies\nsearch: {trials: 2}\n"
    )
    with pytest.raises(ConfigError) as refused:
        load(file, env={})
    expected = f"{file}:10 suppression.mechanism: made_parts:Dies: importing the part ended Python: it ended with 9"
    assert str(refused.value) == expected
