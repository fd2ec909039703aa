"""Every command that is printed, or stands at the head of a file, can be pasted into a shell in the same folder."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from trees import camvid_tree

from orchestrator.store.commands import again, of_study

ROOT = Path(__file__).parents[2]
SPEC = """
study: s
objective: {metric: val/miou, mode: max}
data: {name: camvid, root: "${THE_ROOT}", size: [32, 64]}
model: {arch: linknet, encoder: tu-test_resnet, encoder_weights: null}
train: {epochs: 1, batch_size: 2}
suppression: {p_max: {uniform: [0, 1]}}
search: {sampler: random, trials: 1, references: []}
tracking: {uri: "sqlite:///ml flow.db", model: false}
"""
COMMAND = re.compile(r"(\S*python -m .*|\S*mlflow ui.*)$")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    camvid_tree(tmp_path / "my $HOME" / "it's data")
    (tmp_path / "where I am" / "my specs").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "where I am")
    monkeypatch.setenv("THE_ROOT", str(tmp_path / "my $HOME" / "it's data"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return tmp_path / "where I am"


def paste(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=False, timeout=200)


def commands_in(text: str) -> list[str]:
    return [found[1] for line in text.splitlines() if (found := COMMAND.search(line))]


@pytest.mark.integration
def test_every_command_of_a_study_with_awkward_names_can_be_pasted(place: Path) -> None:
    spec = place / "my specs" / 'it\'s "x".yaml'
    spec.write_text(SPEC)
    typed = [str(spec.relative_to(place)), "--storage=-my stüdies", "--set", "data.size=[32, 64]"]
    dry = paste(f"{again(typed)} --dry-run", place)
    assert dry.returncode == 0, dry.stderr
    (launch,) = commands_in(dry.stdout)
    assert launch == again(typed)
    done = paste(launch, place)
    assert done.returncode == 0, done.stdout + done.stderr
    status, while_it_runs, alone, page = commands_in(done.stdout)
    assert while_it_runs == page
    assert "orchestrator" not in alone + page
    assert "1 complete" in paste(status, place).stdout
    assert paste(alone, place).returncode == 0
    uri = shlex.split(page)[-1]
    assert (place / uri.removeprefix("sqlite:///")).is_file()
    assert paste(f"{page} --help", place).returncode == 0
    (head,) = commands_in((place / "-my stüdies/s/best.yaml").read_text())
    assert shlex.split(head)[1:] == shlex.split(alone)[1:]
    (config,) = {path for path in place.rglob("config.yaml") if "artifacts" in str(path)}
    (head,) = commands_in(config.read_text().splitlines()[0])
    assert "--set 'data.root=${THE_ROOT}'" in head
    assert paste(head, config.parent).returncode == 0
    for name in ("orchestrator.track", "orchestrator.report", "orchestrator.status"):
        pasted = paste(of_study(name, "s", "-my stüdies"), place)
        assert pasted.returncode == 0, (name, pasted.stdout, pasted.stderr)


def test_a_failed_report_and_a_behind_mlflow_name_commands_with_their_storage() -> None:
    from orchestrator.store.records import Store
    from orchestrator.tracking.destination import track_command

    words = shlex.split(track_command(Store("my stüdies", "s")))
    assert words[1:] == ["-m", "orchestrator.track", "s", "--storage", str(Path("my stüdies").absolute())]
