"""The command: what it writes, and one line for everything that can be wrong."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_studies import PRESET_ARMS, preset_plan

from orchestrator.report.__main__ import main

Make = Any  # conftest's builder of studies


@pytest.fixture
def small(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A study with three search trials, in the working folder."""
    monkeypatch.chdir(tmp_path)
    made = make()
    made.search(3)
    made.write()
    return made


def run(*arguments: str) -> int:
    return main(["made", *arguments])


def test_writes_every_format_into_the_study(small: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--format", "html,md,tex") == 0
    folder = tmp_path / "studies" / "made" / "report"
    pages = [str(folder / name) for name in ("report.html", "report.md", "report.tex", "supplement.zip")]
    assert capsys.readouterr().out.splitlines() == pages
    assert (folder / "tables" / "search-best.tex").exists()
    assert {path.suffix for path in (folder / "figures").iterdir()} == {".svg", ".pdf"}
    assert run() == 0, "what is not asked for is outdated"
    del pages[2]
    assert capsys.readouterr().out.splitlines() == pages
    assert [str(path) for path in [*sorted(folder.glob("report.*")), folder / "supplement.zip"]] == pages
    assert {path.suffix for path in (folder / "figures").iterdir()} == {".svg"}
    assert not list((folder / "tables").glob("*"))


def test_out_and_format(small: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--out", "elsewhere", "--format", "md", "--metric", "val/ece") == 0
    assert capsys.readouterr().out == "elsewhere/report.md\n"
    assert "val/ece ↓" in (tmp_path / "elsewhere" / "report.md").read_text().replace("\\", "")
    assert not (tmp_path / "studies" / "made" / "report").exists()
    assert not list((tmp_path / "elsewhere").glob("**/*.pdf"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--storage", "nowhere"], "nowhere/made: no study there; --storage names the folder of the studies"),
        (["--metric", "val/mioo"], "--metric: unknown metric 'val/mioo'; one of"),
        (["--out", "made.yaml/x"], "--out made.yaml/x: "),
        (["--out", "made.yaml"], "--out made.yaml: is a file; give a folder"),
        (["--out", ""], "--out: names no folder"),
        (["--out", " "], "--out: names no folder"),
    ],
)
def test_bad_input_is_one_line(small: Any, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert told.err.count("\n") == 1
    assert not told.out


def test_an_unknown_metric_names_the_close_ones(small: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--metric", "val/rare_iou") == 2
    assert "val/rare_miou" in capsys.readouterr().err


def test_an_unknown_format_is_refused(small: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        run("--format", "docx")
    assert exit_info.value.code == 2
    assert "'docx' is none of md, tex, html" in capsys.readouterr().err


def test_no_table_yet(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = make()
    made.store.write_study(made.study.resolved())
    assert run("--storage", str(tmp_path / "studies")) == 2
    assert "results.parquet: no table yet; a launch of the study writes it" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["results.parquet", "study.json", "plan-ablation.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"PAR1 is not all", b'{"sha256": "0", "content": {}}'])
def test_damaged_files_are_named(
    small: Any, name: str, content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "studies" / "made" / name).write_bytes(content)
    assert run() == 2
    told = capsys.readouterr().err
    assert f"made/{name}: " in told
    assert "damaged" in told
    assert told.count("\n") == 1


def test_a_parquet_file_that_is_no_table_of_results(small: Any, capsys: pytest.CaptureFixture[str]) -> None:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.table({"trial": ["a"], "kind": ["search"]}), buffer)
    small.store.write_bytes("results.parquet", buffer.getvalue())
    assert run() == 2
    assert "it lacks the columns state, reason, seed, epoch" in capsys.readouterr().err


def test_a_table_without_picks_is_of_an_older_version(small: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for number, record in enumerate(small.records):
        small.records[number] = replace(record, planned=replace(record.planned, picks=None))
    small.write()
    assert run() == 2
    said = capsys.readouterr().err
    assert said.endswith("results.parquet: of an older version, without picks; the same launch again writes it anew\n")
    assert said.count("\n") == 1


def test_a_study_that_searched_nothing_needs_no_picks(make: Make, tmp_path: Path) -> None:
    made = make()
    made.compare(preset_plan(seeds=2), PRESET_ARMS)
    made.write()
    assert run("--storage", str(tmp_path / "studies"), "--format", "md", "--metric", "val/miou") == 0


def test_importing_the_package_is_cheap() -> None:
    heavy = "matplotlib", "statsmodels", "optuna", "pandas", "jinja2", "scipy"
    modules = "orchestrator.report.build, orchestrator.report.__main__"
    code = f"import sys, {modules}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
