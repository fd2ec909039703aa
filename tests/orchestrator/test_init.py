"""Study files that ship, written for the user."""

import json
import re
from pathlib import Path

import pytest

from orchestrator import study_files
from orchestrator.init import main
from orchestrator.studyfile import load
from orchestrator.studyfile.schema import main as schema
from trainable.configfile.mistakes import ConfigError

SHIPPED = Path(__file__).parents[2] / "search_spaces"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_study_file_and_the_schema_are_data_of_the_package() -> None:
    folder = Path(study_files.__file__).parent
    shipped = {path.name for path in SHIPPED.iterdir()}
    assert {path.name for path in folder.iterdir() if path.suffix in (".yaml", ".json")} == shipped
    assert all((folder / name).read_bytes() == (SHIPPED / name).read_bytes() for name in shipped)


def test_without_a_name_each_is_listed_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "90")
    assert main([]) == 0
    listed, _, how = capsys.readouterr().out.partition("\n\n")
    lines = listed.splitlines()
    assert [line.split()[0] for line in lines] == sorted(path.stem for path in SHIPPED.glob("*.yaml"))
    assert all(len(line) <= 90 and len(line.split()) > 3 for line in lines)
    assert "camvid                      Does class suppression help CamVid's rare classes?" in lines
    assert re.fullmatch(r"Write one with:  \S+ -m orchestrator\.init shapes\n", how)


@pytest.mark.parametrize("name", study_files.names())
def test_a_written_file_is_the_shipped_one_with_its_own_name_in_the_command(
    name: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--out", "my study.yaml"]) == 0
    shipped, text = (SHIPPED / f"{name}.yaml").read_text(), (place / "my study.yaml").read_text()
    assert text == shipped.replace(f"search_spaces/{name}.yaml", "'my study.yaml'")
    assert "orchestrator.sweep 'my study.yaml'" in text
    (schema_name,) = re.findall(r"(?m)\A# yaml-language-server: \$schema=(.*)$", text)
    assert (place / schema_name).read_bytes() == (SHIPPED / "schema.json").read_bytes()
    out = capsys.readouterr().out
    (command,) = [line for line in out.splitlines() if "orchestrator.sweep" in line]
    assert "-m orchestrator.sweep 'my study.yaml'" in command
    assert out.startswith(f"my study.yaml  {study_files.question_of(shipped)}\nschema.json  ")
    variables = set(re.findall(r'"\$\{(\w+)\}"', shipped))
    assert all(f"{variable}=" in out for variable in variables)
    told = mistakes(variables)
    assert bool(told) == bool(variables)  # the data and the weights alone are missing
    assert all("/nowhere" in line or "${" in line for line in told)


def mistakes(variables: set[str]) -> list[str]:
    try:
        load("my study.yaml", (), env=dict.fromkeys(variables, "/nowhere"))
    except ConfigError as error:
        return [str(mistake) for mistake in error.mistakes]
    return []


def test_nothing_is_overwritten_unasked(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shapes"]) == 0
    (place / "shapes.yaml").write_text("mine")
    assert main(["shapes"]) == 2
    assert (place / "shapes.yaml").read_text() == "mine"
    (place / "schema.json").write_text(json.dumps({"title": "Study file", "of": "another version"}))
    assert main(["camvid"]) == 0
    assert (place / "schema.json").read_bytes() == (SHIPPED / "schema.json").read_bytes()
    (place / "schema.json").write_text("{}")
    capsys.readouterr()
    assert main(["voc"]) == 2
    assert not (place / "voc.yaml").exists()
    said = "schema.json: is there already and no schema of study files; --force replaces it\n"
    assert capsys.readouterr().err == said
    assert main(["shapes", "--force"]) == 0
    assert (place / "shapes.yaml").read_text().startswith("# yaml-language-server")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["shapes", "--out", "nowhere/x.yaml"], "nowhere/x.yaml: there is no folder nowhere"),
        (["shapes", "--out", "."], ".: is a folder; --out names a file"),
        (["shapes", "--out", "/proc/x.yaml"], "/proc/x.yaml: No such file or directory"),
    ],
)
def test_a_place_that_cannot_be_written_is_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err == f"{said}\n"


def test_an_unknown_name_is_told_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["cmvid"])
    err = capsys.readouterr().err
    assert "argument NAME: unknown study file 'cmvid'; one of camvid, " in err
    assert err.endswith("(did you mean 'camvid'?)\n")


def test_the_schema_command_writes_the_schema(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert schema([]) == 0
    shown = capsys.readouterr().out
    assert schema(["--out", "s.json"]) == 0
    assert shown == (place / "s.json").read_text() == (SHIPPED / "schema.json").read_text()
    assert schema(["--out", "nowhere/s.json"]) == 2
    assert capsys.readouterr().err == "--out nowhere/s.json: No such file or directory\n"
