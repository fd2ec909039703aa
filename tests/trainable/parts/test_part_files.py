"""What is told of a part of one's own without importing it, and what enters a trial's identity."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from trainable.config import TrialConfig, read_trial
from trainable.parts.section import OwnPart, short_name
from trainable.parts.source import VARIABLE, code_of, files_of, look_in
from trainable.section import all_settings

SOFT = """
import torch_is_not_imported_here
class Soft: ...
class Hard: ...
Alias = Soft
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is looked in."""
    monkeypatch.setenv(VARIABLE, "")
    (tmp_path / "soft_parts.py").write_text(SOFT)
    (tmp_path / "many_parts" / "inner").mkdir(parents=True)
    for name in ("__init__.py", "gates.py", "inner/__init__.py", "inner/deep.py"):
        (tmp_path / "many_parts" / name).write_text("class Gate: ...\n")
    look_in(tmp_path)
    yield tmp_path
    code_of.cache_clear()


def section(written: Any) -> OwnPart:
    return OwnPart.model_validate_json(json.dumps(written))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("soft_part:Soft", "cannot import soft_part (no module named 'soft_part' here"),
        ("soft_part:Soft", "did you mean soft_parts?"),
        ("soft_parts:Sof", "soft_parts has no class 'Sof'; one of Soft, Hard (did you mean 'Soft'?)"),
        ("many_parts.gate:Gate", "many_parts has no 'gate'); one of gates, inner (did you mean 'gates'?)"),
        ("many_parts.inner.dep:Gate", "many_parts.inner has no 'dep'); one of deep (did you mean 'deep'?)"),
        ("many_parts.inner.deep:Gat", "many_parts.inner.deep has no class 'Gat'; one of Gate"),
        ("soft_parts:", "a part of your own is module:Class, as my_parts:Gate; got 'soft_parts:'"),
        ("a:b:c", "a part of your own is module:Class, as my_parts:Gate; got 'a:b:c'"),
    ],
)
def test_a_part_that_is_not_there_is_told_without_an_import(modules: Path, name: str, told: str) -> None:
    with pytest.raises(ValidationError) as refused:
        section({"name": name})
    assert told in str(refused.value)
    assert "soft_parts" not in sys.modules


def test_a_module_that_is_no_python_is_told_with_its_line(modules: Path) -> None:
    (modules / "broken_parts.py").write_text("class Soft:\n    def f(:\n")
    with pytest.raises(ValidationError, match=r"broken_parts is no Python: .*broken_parts\.py:2: invalid syntax"):
        section({"name": "broken_parts:Soft"})


def test_the_project_around_a_package_of_the_same_name_does_not_hide_it(
    modules: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    above = tmp_path_factory.mktemp("above")
    (above / "many_parts" / "docs").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(above))  # as where a command runs beside the project's folder
    assert code_of("many_parts.gates:Gate").path == modules / "many_parts"


def test_the_hash_is_that_of_all_files_of_the_package(modules: Path) -> None:
    def hash_now() -> str:
        code_of.cache_clear()
        return code_of("many_parts.gates:Gate").sha256

    first, alone = hash_now(), code_of("soft_parts:Soft").sha256
    assert code_of("many_parts.inner.deep:Gate").sha256 == first  # the package is one
    (modules / "many_parts" / "__pycache__").mkdir()
    (modules / "many_parts" / "__pycache__" / "gates.pyc").write_bytes(b"x")
    (modules / "many_parts" / ".hidden").write_text("x")
    assert hash_now() == first
    (modules / "many_parts" / "table.json").write_text("{}")
    second = hash_now()
    (modules / "many_parts" / "inner" / "deep.py").write_text("class Gate: pass\n")
    assert len({first, second, hash_now(), alone}) == 4
    assert code_of("soft_parts:Soft").sha256 == alone
    assert [path.name for path in files_of(code_of("soft_parts:Soft").path)] == ["soft_parts.py"]


def test_a_package_that_holds_data_is_refused(modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainable.parts.source.LARGEST", 10)
    with pytest.raises(ValidationError, match="holds more than code: at most 2000 files"):
        section({"name": "many_parts.gates:Gate"})


def test_a_section_keeps_settings_and_hash_and_reads_them_again_without_the_code(modules: Path) -> None:
    part = section({"name": "soft_parts:Soft", "strength": 0.5, "layers": [1, [2]], "more": {"a": None}})
    assert part.settings == {"strength": 0.5, "layers": [1, [2]], "more": {"a": None}}
    assert part.short_name == short_name("soft_parts:Soft") == "Soft"
    kept = part.model_dump(mode="json")
    assert kept == all_settings(part) == {"name": part.name, "sha256": part.sha256, **part.settings}
    (modules / "soft_parts.py").unlink()
    code_of.cache_clear()
    assert section(kept) == part
    assert section({**kept, "sha256": "0" * 64}) != part
    assert hash(section(kept)) == hash(part)


def test_trials_with_parts_are_equal_where_code_and_settings_are(modules: Path, make_trial) -> None:
    def trial(**settings: Any) -> TrialConfig:
        trial: TrialConfig = make_trial(
            suppression={"mechanism": {"name": "soft_parts:Soft", **settings}, "sampling": "many_parts:Gate"},
            train={"epochs": 2, "batch_size": 4, "loss": {"name": "many_parts.gates:Gate", "weights": [1, 2]}},
            data={"name": "many_parts:Gate", "classes": ["a", "b"], "size": [32, 64], "root": "/x", "augment": {}},
            model={"encoder": "", "arch": {"name": "many_parts:Gate", "width": 8}},
            evaluation={"metrics": ["many_parts:Gate"]},
        )
        return trial

    first = trial(strength=1.0)
    assert first == trial(strength=1.0) == read_trial(first.model_dump(mode="json"))
    assert first != trial(strength=0.5)
    (modules / "soft_parts.py").write_text(f"{SOFT}\n# changed\n")
    code_of.cache_clear()
    assert first != trial(strength=1.0)
    assert "torch" in sys.modules or first.evaluation.own_metrics == ("val/gate",)


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"suppression": {"layer": "input", "mechanism": "soft_parts:Soft"}}, "of which input has none to change"),
        ({"model": {"arch": "soft_parts:Soft", "encoder": "resnet18"}}, "a network of your own has none"),
        ({"suppression": {"layer": "encoder.2"}, "model": {"arch": "soft_parts:Soft"}}, "has no 'encoder.2'"),
        ({"evaluation": {"metrics": ["soft_parts:Soft", "many_parts:Gate", "many_parts.gates:Gate"]}}, "listed twice"),
        ({"data": {"name": "soft_parts:Soft"}}, "Field required"),
        ({"model": {"arch": "unet"}}, "missing"),
    ],
)
def test_what_no_part_can_do_is_refused(modules: Path, make_trial, sections: dict[str, Any], told: str) -> None:
    tree = make_trial().model_dump(mode="json")
    with pytest.raises(ValidationError) as refused:
        read_trial({**tree, **sections})
    assert told in str(refused.value)
