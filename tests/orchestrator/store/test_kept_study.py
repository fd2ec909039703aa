"""What ``study.json`` and the plans hold: of this version, of an early one, of a newer one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator import status, sweep, track
from orchestrator.errors import InputError
from orchestrator.launch.history import best_elsewhere
from orchestrator.report.__main__ import main as report_main
from orchestrator.store import layout
from orchestrator.store.addresses import absolute
from orchestrator.store.kept_study import KeptStudy
from orchestrator.store.records import Store, open_study
from orchestrator.store.stage_plan import Arm, StagePlan
from orchestrator.studyfile import Study
from trainable.configfile.node import JsonObject

Make = Callable[..., Study]
SPEC: JsonObject = {"study": "s", "objective": {"metric": "val/miou", "mode": "max"}, "tracking": {}}
OTHER: JsonObject = {**SPEC, "study": "t"}
EARLY = {"id": "1", "specification": SPEC, "data": {"a": "b"}}
PLAN = StagePlan(
    "ablation", "arms", "a", (Arm("a", {"x": 1}), Arm("b", {"x": [1, 0.5, None]})), (0, 1), {"x": (1, [1, 0.5, None])}
)


def test_it_begins_with_its_format_and_comes_back(tmp_path: Path) -> None:
    store = Store(str(tmp_path), "s")
    store.write_study(SPEC, {"a": "b"}, {"data.root": "${A}"}, {"a": ["car"]})
    content = store.objects.read_json(layout.STUDY)
    assert list(content) == ["format", "id", "specification", "data", "from_env", "rare_classes", "parts"]
    assert content["format"] == layout.FORMAT
    assert open_study(str(tmp_path), "s")[1] == KeptStudy(
        content["id"], SPEC, {"a": "b"}, {"data.root": "${A}"}, {"a": ["car"]}
    )


def test_a_later_launch_keeps_the_id_and_adds_data(tmp_path: Path) -> None:
    store = Store(str(tmp_path), "s")
    store.write_study(SPEC, {"a": "b"}, {"data.root": "${A}"}, {"a": ["car"]})
    before = store.launched_study()
    store.write_study(OTHER, {"c": "d"})
    after = store.launched_study()
    assert (after.id, after.specification) == (before.id, OTHER)
    assert (after.data, after.rare_classes, after.from_env) == ({"a": "b", "c": "d"}, {"a": ["car"]}, {})


def test_one_of_an_early_version_is_read_and_written_anew(tmp_path: Path) -> None:
    store = Store(str(tmp_path), "s")
    store.objects.write_json(layout.STUDY, EARLY)
    assert store.launched_study() == KeptStudy("1", SPEC, {"a": "b"})
    store.write_study(SPEC)
    assert store.objects.read_json(layout.STUDY)["format"] == layout.FORMAT
    assert store.launched_study() == KeptStudy("1", SPEC, {"a": "b"})


@pytest.fixture
def newer(study: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder of studies with one that a newer version wrote; returns the refusal."""
    monkeypatch.chdir(tmp_path)
    store = Store("studies", "s")
    store.write_study(study().resolved())
    content = {**store.objects.read_json(layout.STUDY), "format": layout.FORMAT + 1}
    store.objects.write_json(layout.STUDY, content)
    return f"{tmp_path}/studies/s/study.json: written by a newer version (format 2; this one reads 1)\n"


def spec(folder: Path) -> str:
    (path,) = folder.glob("*.yaml")
    return str(path)


@pytest.mark.parametrize("command", [status.main, track.main, report_main])
def test_a_command_refuses_one_of_a_newer_version(
    newer: str, capsys: pytest.CaptureFixture[str], command: Callable[[list[str]], int]
) -> None:
    assert command(["s"]) == 2
    assert capsys.readouterr().err == newer


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_a_launch_refuses_it(
    newer: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, options: list[str]
) -> None:
    before = {path: path.read_bytes() for path in (tmp_path / "studies").rglob("*") if path.is_file()}
    assert sweep.main([spec(tmp_path), *options]) == 2
    assert capsys.readouterr().err == newer
    assert {path: path.read_bytes() for path in (tmp_path / "studies").rglob("*") if path.is_file()} == before


def test_so_does_another_study_that_would_import_from_it(newer: str, study: Make) -> None:
    with pytest.raises(InputError, match="written by a newer version"):
        best_elsewhere(study(), Store("studies", "other"), "s")


@pytest.mark.parametrize("content", [[], "x", 3, {}, {"id": "1"}, {"id": 1, "specification": []}])
def test_content_of_another_shape_is_one_line(content: object, tmp_path: Path) -> None:
    store = Store(str(tmp_path), "s")
    store.objects.write_json("study.json", content)
    with pytest.raises(InputError, match=r"study\.json: not as any version writes it \(.+\); restore it$"):
        store.read_study()


def test_a_secret_of_an_address_is_in_no_error() -> None:
    for address in ("weird://u:secretpw@h/x", "weird://h/x?client_secret=secretpw", "weird://u:sec@retpw@h/x"):
        with pytest.raises(InputError) as refused:
            open_study(address, "s")
        assert "retpw" not in str(refused.value)


def test_a_stray_file_among_the_trials_is_no_trial(tmp_path: Path) -> None:
    store = Store(str(tmp_path), "s")
    store.write_text("trials/.DS_Store", "finder")
    store.write_text("trials/notes.txt", "mine")
    assert store.records() == []


def test_a_home_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert absolute("~/studies") == f"{tmp_path}/studies"
    assert Store("~/studies", "s").path("study.json") == f"{tmp_path}/studies/s/study.json"


def test_an_address_that_is_none_is_told_by_its_option(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^--storage foo://bucket: Unrecognized filesystem"):
        open_study("foo://bucket", "s")
    with pytest.raises(InputError, match="/s: no study there; --storage names the folder of the studies"):
        open_study(str(tmp_path), "s")
    assert list(tmp_path.iterdir()) == []


def test_a_plan_comes_back(tmp_path: Path) -> None:
    objects = Store(str(tmp_path), "s").objects
    PLAN.write(objects)
    again = StagePlan.read(objects, "ablation")
    assert again == PLAN
    assert (again.hash, objects.read_json(layout.plan("ablation"))["hash"]) == (PLAN.hash, PLAN.hash)


@pytest.mark.parametrize(
    ("changes", "expected"), [({"arms": [{}]}, r"arms\.0\.name: Field required"), ({"seeds": None}, "seeds: ")]
)
def test_a_plan_of_another_version_is_one_line(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    objects = Store(str(tmp_path), "s").objects
    PLAN.write(objects)
    objects.write_json(layout.plan("ablation"), {**objects.read_json(layout.plan("ablation")), **changes})
    with pytest.raises(InputError, match=rf"plan-ablation.json: not as any version writes it \({expected}") as refused:
        StagePlan.read(objects, "ablation")
    assert "\n" not in str(refused.value)


def test_a_plan_of_an_early_version_lacks_what_came_later(tmp_path: Path) -> None:
    objects = Store(str(tmp_path), "s").objects
    PLAN.write(objects)
    content = objects.read_json(layout.plan("ablation"))
    early = {name: value for name, value in content.items() if name not in ("objective", "earlier")}
    objects.write_json(layout.plan("ablation"), early)
    assert StagePlan.read(objects, "ablation") == PLAN
