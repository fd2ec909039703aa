"""Where an export may be written: nowhere among studies, over no other file, and on stdout."""

import csv
import io
import subprocess
import sys
from pathlib import Path

import pytest
from kept_made import keep
from made_studies import MadeStudy, Make

from orchestrator.export.__main__ import main


@pytest.fixture
def made(make: Make) -> MadeStudy:
    """A study of two trials below ``studies`` of the current folder."""
    made = make()
    made.search(2)
    return keep(made)


def content() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "words",
    [
        ["--csv", "studies/made/study.json"],
        ["--csv", "studies/made/new.csv", "--force"],
        ["--csv", "studies/made/trials/../new.csv"],
        ["--csv", "link/study.json"],
        ["--csv", "studies/other.csv"],
        ["--csv", "elsewhere/another/x.csv"],
        ["--tensorboard", "studies"],
        ["--tensorboard", "studies/made"],
        ["--tensorboard", "studies/tb"],
        ["--optuna", "studies/made/study.log"],
        ["--optuna", "studies/made/study.json"],
        ["--optuna", "sqlite:///studies/made/study.sqlite"],
        ["--csv", "fine.csv", "--tensorboard", "fine", "--optuna", "studies/study.log"],
    ],
)
@pytest.mark.usefixtures("made")
def test_nothing_is_written_among_studies(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("link").symlink_to("studies/made")
    Path("elsewhere/another").mkdir(parents=True)
    Path("elsewhere/another/study.json").write_text("{}")
    before = content()
    capsys.readouterr()
    assert main(["made", *words]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert " lies in the " in err
    assert err.endswith("; give a place elsewhere\n")
    assert content() == before


@pytest.mark.usefixtures("made")
def test_who_works_in_the_folder_of_the_studies_exports_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("studies")
    words = ["--csv", "made.csv", "--tensorboard", "runs", "--optuna", "made.log"]
    assert main(["made", "--storage", ".", *words]) == 0
    assert main(["made", "--storage", ".", "--tensorboard", "."]) == 2


def test_a_table_replaces_one_of_an_export_and_other_files_when_told(
    made: MadeStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty.csv").touch()
    assert main(["made", "--csv", "empty.csv"]) == 0
    made.search(3)
    keep(made)
    assert main(["made", "--csv", "empty.csv"]) == 0
    with open("empty.csv", newline="") as file:
        assert len({row["trial"] for row in csv.DictReader(file)}) == 3
    Path("mlflow.db").write_bytes(b"SQLite format 3\0")
    capsys.readouterr()
    assert main(["made", "--csv", "mlflow.db"]) == 2
    said = "--csv mlflow.db: is there, and is no table of an export; --force replaces it\n"
    assert capsys.readouterr().err == said
    assert Path("mlflow.db").read_bytes() == b"SQLite format 3\0"
    assert main(["made", "--csv", "mlflow.db", "--force"]) == 0
    assert Path("mlflow.db").read_bytes() == Path("empty.csv").read_bytes()


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
@pytest.mark.usefixtures("made")
def test_a_table_on_stdout_is_alone_there(name: str) -> None:
    command = [sys.executable, "-m", "orchestrator", "export", "made", "--csv", name]
    done = subprocess.run([*command, "--optuna", "made.log"], capture_output=True, text=True, check=True)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert {row["trial"] for row in rows} == {"search-0000", "search-0001"}
    assert f"csv          stdout: {len(rows)} rows\n" in done.stderr
    assert "optuna       made: 2 trials\n" in done.stderr
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as unread:
        assert unread.stdout is not None
        assert unread.stderr is not None
        unread.stdout.close()
        said = unread.stderr.read()
    assert (unread.returncode, said) == (1, b"")
