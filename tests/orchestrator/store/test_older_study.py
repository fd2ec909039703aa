"""A study left by a version whose `study.json` had no format: every command reads it, and a launch goes on with it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator import status
from orchestrator.launch.history import read_history
from orchestrator.plan.planner import Planner
from orchestrator.report import __main__ as report
from orchestrator.store.records import Store
from orchestrator.studyfile import load
from orchestrator.sweep import main as sweep

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
FILE = str(ROOT / "benchmarks/fixed_study.yaml")
OFFICIAL = ("-official", "-official-s0", "-official-s1")
COMPARE = [sys.executable, str(ROOT / "benchmarks/compare_studies.py"), "--tables-only"]


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of studies that holds a copy of the old one."""
    monkeypatch.setenv("ENCODER", "tu-test_resnet")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(HERE / "study_of_version_0", tmp_path / "studies")
    return tmp_path / "studies"


def test_status_reads_it(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status.main(["fixed", "--storage", str(storage)]) == 0
    shown = capsys.readouterr().out
    assert "16 complete" in shown
    assert "granularity=image" in shown


def test_its_table_lacks_picks_and_the_report_says_so_in_one_line(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main(["fixed", "--storage", str(storage)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].endswith("results.parquet: of an older version, without picks; the same launch again writes it anew")


def test_a_launch_finds_it_finished_and_writes_it_anew(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """But for the official reference, which that version trained from other initial weights."""
    untracked = ["--storage", str(storage), "--set", "tracking.enabled=false", "--set", "search.references=[plain]"]
    assert sweep([FILE, *untracked]) == 0
    assert "Study fixed is finished: nothing is left to run." in capsys.readouterr().out
    before, after = (pq.read_table(place / "fixed/results.parquet") for place in (HERE / "study_of_version_0", storage))
    before = before.filter([not key.as_py().endswith(OFFICIAL) for key in before["trial"]])
    assert after.select(before.column_names).equals(before), "bit for bit, but for the columns that are new"
    assert report.main(["fixed", "--storage", str(storage), "--out", "pages"]) == 0
    capsys.readouterr()
    assert sweep([FILE, *untracked]) == 0
    assert f"report  {storage}/fixed/report/report.html" in capsys.readouterr().out, "which is as it was"


def test_its_official_reference_is_trained_anew_and_the_launch_says_so(storage: Path) -> None:
    study, store = load(Path(FILE), env={"ENCODER": "tu-test_resnet"}), Store(str(storage), "fixed")
    history = read_history(study, store)
    planner = Planner(study, history.records, history.outside)
    assert [planned.key for planned in iter(planner.next, None)] == ["reference-official-2"]
    assert history.notes == (
        "The search space has changed (reference-official): 5 of 6 earlier trials lie in it and are used, "
        "1 are left out",
    )


def test_a_comparison_refuses_an_altered_copy(storage: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed/studies"
    shutil.copytree(storage, changed)
    same = subprocess.run([*COMPARE, str(tmp_path), str(changed.parent)], capture_output=True, text=True, check=False)
    assert (same.returncode, same.stderr) == (0, "")
    table = pq.read_table(changed / "fixed/results.parquet")
    values = table["val/miou"].to_pylist()
    values[5] += 1e-16
    column = table.column_names.index("val/miou")
    pq.write_table(table.set_column(column, "val/miou", pa.array(values)), changed / "fixed/results.parquet")
    plan = changed / "fixed/plan-confirm.json"
    plan.write_text(plan.read_text().replace("search-0000", "search-0001"))
    other = subprocess.run([*COMPARE, str(tmp_path), str(changed.parent)], capture_output=True, text=True, check=False)
    assert other.returncode == 1
    assert "results.parquet: 1 different" in other.stdout
    assert "plan-confirm.json: differs" in other.stdout
