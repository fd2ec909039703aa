"""The code of parts of one's own across launches: refused where it changed, and copied to travel; without Ray."""

from pathlib import Path

import pytest

from orchestrator.errors import InputError
from orchestrator.launch.cost import measure
from orchestrator.launch.history import read_history
from orchestrator.launch.own_parts import hashes_of, travelling
from orchestrator.plan.planner import Planner
from orchestrator.store.commands import finding_parts
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Record, State
from orchestrator.studyfile import Study, load
from tests.own_part_modules import forgotten, write_parts
from trainable.parts.source import VARIABLE, code_of

TEXT = """
study: own
objective: {metric: val/miou, mode: max}
data: {name: shapes}
model: {arch: fpn, encoder: resnet18, encoder_weights: null}
train: {epochs: 1, batch_size: 20}
suppression: {mechanism: {name: "launch_parts:Fade", strength: {uniform: [0.0, 1.0]}}}
search: {sampler: random, trials: 2, references: []}
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, "")
    code_of.cache_clear()
    (tmp_path / "s.yaml").write_text(TEXT)
    return write_parts(tmp_path, "launch_parts")


def loaded(module: Path) -> Study:
    return load(module.parent / "s.yaml", env={})


def launched(study: Study, place: Path, epochs: int) -> Store:
    """The study as a launch left it that ended one trial, after so many epochs."""
    store = Store(str(place), study.spec.study)
    store.write_study(study.resolved(), parts=hashes_of(study))
    planned = Planner(study, []).next()
    assert planned is not None
    done = Record(planned, ({"val/miou": 0.5},) * epochs)
    store.plan(planned)
    store.judge(done.ended(State.COMPLETE if epochs else State.FAILED, None if epochs else "x"), {})
    return store


@pytest.mark.integration
def test_a_study_refuses_to_go_on_with_other_code(module: Path, tmp_path: Path) -> None:
    study = loaded(module)
    store = launched(study, tmp_path / "out", epochs=1)
    kept = store.launched_study().parts
    assert kept == {"launch_parts:Fade": hashes_of(study)["launch_parts:Fade"]}
    assert len(read_history(loaded(module), store).records) == 1
    module.write_text(f"{module.read_text()}\n# changed\n")
    changed = loaded(module)
    now = hashes_of(changed)["launch_parts:Fade"]
    with pytest.raises(InputError) as refused:
        read_history(changed, store)
    assert str(refused.value) == (
        f"{tmp_path}/s.yaml: the code of launch_parts:Fade differs from that which the study began with (sha256 "
        f"{now[:12]}, then {kept['launch_parts:Fade'][:12]}); restore it, or give this study another name "
        "(--set study=NAME)"
    )


def test_what_a_probed_trial_tells_of_a_part_is_told_at_its_line(module: Path, tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    part = 'suppression: {mechanism: "${PART}", p_max: 1.0, schedule: constant}'
    mechanism = "{name: 'launch_parts:Odd', strength: 0.5}"
    file.write_text(
        "\n".join([*TEXT.splitlines()[:6], part])
        + f"\nablation: {{seeds: 2, design: arms, arms: {{a: {{}}, x: {{suppression.mechanism: {mechanism}}}}}}}\n"
    )
    odd = "class Odd(Fade): ...\nclass Easy(Falls):\n    def __init__(self): self.strength = 1.0\n"
    module.write_text(f"{module.read_text()}\n{odd}")
    study = load(file, ["train.batch_size=4"], env={"PART": "launch_parts:Easy"})
    with forgotten("launch_parts"), pytest.raises(InputError) as refused:
        measure(study, [study.space.trial(lambda *_: 0.5, 0)])
    line = f"{file}:7 suppression.mechanism: ${{PART}}: AttributeError: 'Tensor' object has no attribute"
    assert str(refused.value).startswith(line)
    told = study.places.of_trial("launch_parts:Odd: channels() gave a str")
    assert told == f"{file}:8 ablation.arms.x.suppression.mechanism: launch_parts:Odd: channels() gave a str"
    assert study.places.of_trial("no memory") == f"{file}: no memory"
    option = load(file, ["suppression.mechanism=launch_parts:Easy"], env={})
    assert option.places.of_trial("launch_parts:Easy: x") == (
        "--set suppression.mechanism=launch_parts:Easy: suppression.mechanism: launch_parts:Easy: x"
    )


@pytest.mark.integration
def test_code_that_never_trained_an_epoch_may_be_mended(module: Path, tmp_path: Path) -> None:
    store = launched(loaded(module), tmp_path / "out", epochs=0)
    module.write_text(f"{module.read_text()}\n# mended\n")
    study = loaded(module)
    history = read_history(study, store)
    assert (history.records, len(history.outside)) == ((), 1)
    store.write_study(study.resolved(), parts=hashes_of(study))
    assert store.launched_study().parts == hashes_of(study)


@pytest.mark.integration
def test_what_is_not_installed_travels_as_it_was_hashed(module: Path, tmp_path: Path) -> None:
    package = tmp_path / "travelling_parts"
    (package / "inner" / "__pycache__").mkdir(parents=True)
    for name in ("__init__.py", "inner/__init__.py", "inner/table.json", "inner/__pycache__/x.pyc"):
        (package / name).write_text("")
    write_parts(package, "gates")
    text = TEXT.replace("[0.0, 1.0]}}", "[0.0, 1.0]}}, sampling: 'travelling_parts.gates:Turns'")
    (tmp_path / "s.yaml").write_text(text)
    study = loaded(module)
    with travelling(study) as places:
        names = sorted(Path(place).name for place in places)
        assert names == ["launch_parts.py", "travelling_parts"]
        copied = next(Path(place) for place in places if place.endswith("travelling_parts"))
        files = {path.relative_to(copied).as_posix() for path in copied.rglob("*") if path.is_file()}
        assert files == {"__init__.py", "gates.py", "inner/__init__.py", "inner/table.json"}
    assert not any(Path(place).exists() for place in places)
    command = finding_parts("python -m trainable best.yaml", study.space.at_center())
    assert command == f"{VARIABLE}={tmp_path} python -m trainable best.yaml"
    assert finding_parts("x", {"name": "gate"}) == "x"
