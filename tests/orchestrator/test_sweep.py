"""The command as a user types it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from orchestrator.sweep import main

ROOT = Path(__file__).parents[2]
SHAPES = str(ROOT / "search_spaces/shapes.yaml")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return tmp_path


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    call = [sys.executable, "-m", *arguments]
    return subprocess.run(call, capture_output=True, text=True, env=environment, check=False, timeout=240)


BAD = {
    "unknown key": (["train.epoch=2"], "train.epoch: unknown key 'epoch'"),
    "wrong type": (["train.epochs=two"], "train.epochs: expected a whole number, got 'two'"),
    "out of bounds": (["suppression.alpha=31"], "suppression.alpha: must be <= 30, got 31"),
    "empty choice": (["suppression.sampling={choice: []}"], "suppression.sampling: choice needs at least one option"),
    "low > high": (["train.lr={uniform: [2, 1]}"], "train.lr: low must be below high"),
    "unknown sampler": (["search.sampler=tp"], "search.sampler: unknown 'tp'"),
    "unset variable": (["tracking.uri=${UNSET_VARIABLE}"], "the environment variable UNSET_VARIABLE is not set"),
    "unknown metric": (["objective.metric=val/mIoU"], "unknown metric 'val/mIoU'"),
    "no such path": (["training.epochs=2"], "unknown key 'training'"),
    "missing data root": (["data={name: camvid, root: /nowhere}"], "/nowhere"),
    "bad combination": (["search.sampler=cmaes"], "search.sampler: cmaes covers numeric domains only"),
    "unknown encoder": (["model.encoder=resnet81"], "unknown encoder 'resnet81'"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_one_line_and_code_2_and_writes_nothing(
    kind: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides, expected = BAD[kind]
    assert main([SHAPES, *(part for override in overrides for part in ("--set", override))]) == 2
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if expected in line]
    assert len(lines) == 1, captured.err
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("missing.yaml", None, "missing.yaml: no such file or directory"),
        ("broken.yaml", "study: [", "broken.yaml:1: YAML syntax: "),
        ("empty.yaml", "", "the file is empty"),
    ],
)
def test_a_file_that_cannot_be_read(
    name: str, content: str | None, expected: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (place / name).write_text(content)
    assert main([name]) == 2
    captured = capsys.readouterr()
    assert len(captured.err.strip().splitlines()) == 1
    assert expected in captured.err


def test_mistakes_are_told_before_anything_heavy_is_imported() -> None:
    code = (
        "import sys; from orchestrator.sweep import main;"
        f"code = main([{SHAPES!r}, '--set', 'train.epoch=2']);"
        "print([name for name in ('torch', 'ray', 'mlflow', 'optuna') if name in sys.modules]); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout.strip()) == (2, "[]")


@pytest.mark.parametrize("arguments", [["--max-concurrent", "0"], ["--max-concurrent", "9" * 5000], ["--nonsense"], []])
def test_a_mistyped_option_is_code_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([SHAPES, *arguments] if arguments else [])
    assert stopped.value.code == 2


def test_a_dry_run_shows_the_cost_and_writes_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--set", "data.train_images=40", "--set", "data.val_images=8", "--set", "train.batch_size=4"]
    assert main([SHAPES, "--dry-run", *small]) == 0
    out = capsys.readouterr().out
    for expected in (
        "trials      16: 13 by tpe; references: plain, plain_small, official",
        "sampled     search-0002",
        "M parameters",
        "10 per epoch",
        "estimate",
        f"writes      {place}/studies/shapes/",
        "tracks      sqlite:///mlflow.db, experiment shapes",
    ):
        assert expected in out
    assert list(place.iterdir()) == []
    import ray

    assert not ray.is_initialized()


def test_a_dry_run_of_the_papers_network_searches_its_branches(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = ["data.train_images=8", "data.val_images=4", "train.batch_size=4", "search.trials=3"]
    overrides += ["model={arch: hrnet, encoder: tu-hrnet_w18_small, encoder_weights: null}"]
    overrides += ["suppression.layer={choice: [decoder, branch.1, [branch.2, branch.4]]}"]
    assert main([SHAPES, "--dry-run", *(part for override in overrides for part in ("--set", override))]) == 0
    out = capsys.readouterr().out
    assert re.search(
        r"^model +hrnet / tu-hrnet_w18_small, 4 x 64 x 64 pixels .*: 1\.\d+ M parameters$", out, re.MULTILINE
    )
    assert re.search(r"^sampled .*suppression.layer=.*branch", out, re.MULTILINE)


def test_weights_that_cannot_be_had_are_one_line_with_the_way_out(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainable.model import weights

    def refuse(self: weights.HubFiles, *, local_only: bool) -> None:
        raise OSError("no network")

    monkeypatch.setattr(weights.HubFiles, "fetch", refuse)
    monkeypatch.setattr(weights.HubFiles, "reach", lambda self: refuse(self, local_only=False))
    assert main([SHAPES, "--set", "model.encoder_weights=imagenet"]) == 2
    captured = capsys.readouterr()
    assert len(captured.err.strip().splitlines()) == 1
    assert "--set model.encoder_weights=null" in captured.err
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["train.lr=1e20"], "the loss is"),
        (["model.arch=deeplabv3", "model.encoder=vgg11"], "'deeplabv3' cannot be built on encoder 'vgg11'"),
        (["model.encoder=tu-nonsense"], "unknown 'tu-nonsense'"),
        (
            ["model.arch=pspnet", "model.encoder=resnet18", "suppression.layer={choice: [decoder, encoder.4]}"],
            "suppression.layer: 'encoder.4' cannot be suppressed",
        ),
        (["model.arch=unet", "model.encoder=mit_b0"], "it has encoder.2, encoder.3, encoder.4, encoder.5"),
    ],
)
def test_what_only_a_model_or_a_step_can_tell_is_one_line_too(
    overrides: list[str], expected: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["data.train_images=8", "data.val_images=4", "train.batch_size=4"]
    parts = (part for override in (*small, *overrides) for part in ("--set", override))
    assert main([SHAPES, "--dry-run", *parts]) == 2
    captured = capsys.readouterr()
    assert len(captured.err.strip().splitlines()) == 1
    assert expected in captured.err
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(("storage", "expected"), [("file", "is not a folder"), ("foo://bucket/x", "cannot be used")])
def test_storage_that_cannot_be_used(
    storage: str, expected: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "file").write_text("")
    assert main([SHAPES, "--storage", storage]) == 2
    captured = capsys.readouterr()
    assert len(captured.err.strip().splitlines()) == 1
    assert expected in captured.err


def test_a_damaged_record_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "studies/shapes").mkdir(parents=True)
    (place / "studies/shapes/study.json").write_text("{")
    assert main([SHAPES]) == 2
    assert "studies/shapes/study.json: damaged, its content does not match its checksum" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["garbage", "127.0.0.1:1"])
def test_a_cluster_that_does_not_answer(address: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = ["--set", "model.arch=fpn", "--set", "model.encoder=resnet18"]
    assert main([SHAPES, *plain, "--address", address]) == 2
    captured = capsys.readouterr()
    assert len(captured.err.strip().splitlines()) == 1
    assert f"--address {address}: " in captured.err
    assert list(place.iterdir()) == []


def test_no_secret_is_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    small = ["data.train_images=8", "data.val_images=4", "train.batch_size=4"]
    uri = "tracking.uri=http://user:${SECRET}@127.0.0.1:9"
    assert main([SHAPES, "--dry-run", *(part for o in (*small, uri) for part in ("--set", o))]) == 0
    captured = capsys.readouterr()
    assert "hunter2" not in captured.out + captured.err
    assert "http://***@127.0.0.1:9" in captured.out


def test_a_reader_that_leaves_ends_nothing() -> None:
    code = (
        "import sys; from orchestrator.terminal.console import open_console, say; console = open_console()\n"
        "for _ in range(20000): say(console, 'a line of output that nobody reads any more')\n"
        "print('went on', file=sys.stderr)"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert writer.stdout is not None
    assert writer.stderr is not None
    writer.stdout.readline()
    writer.stdout.close()
    assert writer.stderr.read() == "went on\n"
    assert writer.wait() == 0


@pytest.mark.integration
def test_a_real_study_and_its_best_trial_alone(place: Path) -> None:
    small = ["data.train_images=40", "data.val_images=8", "train.batch_size=4", "train.epochs=1", "search.trials=2"]
    done = command("orchestrator.sweep", SHAPES, *(part for override in small for part in ("--set", override)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stderr == ""
    assert "One seed per configuration is no evidence" in done.stdout
    assert re.search(
        r"^runs +\S*( -m )?mlflow ui --backend-store-uri sqlite:////\S+/mlflow.db$", done.stdout, re.MULTILINE
    )
    assert "val/context_gap" in done.stdout
    assert (place / "mlflow.db").exists(), "MLflow's default store"
    rows = pq.read_table(place / "studies/shapes/results.parquet").to_pylist()
    assert len(rows) == 2 + 3, "with the references"
    best = max((row for row in rows if row["kind"] == "search"), key=lambda row: row["val/object_miou_masked"])
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("best ")]
    alone = command(*line.split(" -m ")[1].split())
    assert alone.returncode == 0, alone.stderr
    for name in ("val/miou", "val/object_miou_masked", "train/loss"):
        assert f"{name} = {best[name]:.6g}\n" in alone.stdout, "the same trial bit for bit"


@pytest.mark.integration
def test_camvid_ends_with_the_iou_of_every_class(place: Path) -> None:
    data = ROOT.parent / "shared/data/camvid"
    if not data.is_dir():
        pytest.skip(f"no CamVid at {data}")
    (place / "tiny").mkdir()
    for folder in ("train", "trainannot", "val", "valannot"):
        (place / "tiny" / folder).mkdir()
        for picture in sorted((data / folder).iterdir())[:6]:
            (place / "tiny" / folder / picture.name).symlink_to(picture)
    os.environ["CAMVID_ROOT"] = str(place / "tiny")
    overrides = ["search.trials=1", "train.epochs=1", "train.batch_size=2", "search.references=[]"]
    try:
        done = command(
            "orchestrator.sweep",
            str(ROOT / "search_spaces/camvid.yaml"),
            *(part for override in overrides for part in ("--set", override)),
        )
    finally:
        del os.environ["CAMVID_ROOT"]
    assert done.returncode == 0, done.stdout + done.stderr
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{place}/mlflow.db")
    experiment = client.get_experiment_by_name("camvid-dropclass")
    assert experiment is not None
    (trial,) = client.search_runs([experiment.experiment_id], "tags.trial = 'search-0000'")
    assert "val/iou/road" in trial.data.metrics
    assert trial.data.params["data.root"] == "${CAMVID_ROOT}"
    cached = Path(os.environ["DROPCLASS_CACHE"]) / f"camvid-96x128-{trial.data.tags['data_fingerprint']}.arrow"
    assert cached.is_file()
    pictures = sorted(path.name for path in (place / "mlartifacts").rglob("artifacts/data/camvid/*.png"))
    assert pictures == ["class_shares.png", "co_occurrence.png", "samples.png"]


def test_every_shipped_study_opens_with_its_command_and_run_time() -> None:
    for path in (ROOT / "search_spaces").glob("*.yaml"):
        head = [line for line in path.read_text().splitlines() if line.startswith("#")]
        assert head[0] == "# yaml-language-server: $schema=schema.json", path
        assert any(f"python -m orchestrator.sweep search_spaces/{path.name}" in line for line in head), path
        assert any(line.startswith("# Time:") for line in head), path


def test_schema_knows_every_shipped_study() -> None:
    import jsonschema
    import yaml

    schema = json.loads((ROOT / "search_spaces/schema.json").read_text())
    for path in (ROOT / "search_spaces").glob("*.yaml"):
        jsonschema.validate(yaml.safe_load(path.read_text()), schema)


def test_an_interrupted_dry_run_has_nothing_to_continue(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_arguments: object, **_named: object) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(300):  # a thread of xdist's, older than the owner of the signals, may get it: Python comes by
            time.sleep(0.1)
        return 0

    monkeypatch.setattr("orchestrator.launch.dry_run.dry_run", interrupted)
    assert main([SHAPES, "--dry-run"]) == 130
    assert capsys.readouterr().err == "Interrupted; nothing was started and nothing was written.\n"


def test_a_dry_run_says_who_would_be_told_and_what_is_missing_here(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.launch.dry_run._say_cost", lambda *_: None)
    assert main([SHAPES, "--dry-run", "--set", "tracking.notify=mial me", "--set", "tracking.enabled=false"]) == 0
    out = capsys.readouterr().out
    assert "notifies    mial me, when a launch ends, fails or is stopped" in out
    assert "tracking.notify: no program 'mial' on this machine; give its whole path" in out
    assert list(place.iterdir()) == []
