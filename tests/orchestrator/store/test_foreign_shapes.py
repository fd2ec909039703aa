"""Files of other shape under a valid checksum: every command reads on or says one line with the file, never a trace."""

import io
import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator import status, track
from orchestrator.errors import InputError
from orchestrator.launch import one_launch
from orchestrator.launch.data_sets import look_through
from orchestrator.launch.one_launch import RunOutcome, Target, launch
from orchestrator.launch.rounds import Round
from orchestrator.launch.study_report import StudyReport
from orchestrator.report import __main__ as report
from orchestrator.store.artifacts import Confusion, keep_artifacts
from orchestrator.store.layout import CheckpointName
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Checkpoint, Planned, Record, State
from orchestrator.studyfile import Study
from orchestrator.terminal.summary import NOTHING_FOUND
from orchestrator.tracking.study_info import StudyInfo

Make = Callable[..., Study]
JUNK: tuple[Any, ...] = (None, [], "x", -1, math.nan, 10**400, True, {"x": {}})
SETTINGS = (
    "search.references=[]",
    "search.trials=3",
    "tracking.enabled=false",
    "ablation={design: one_at_a_time, factors: {train.lr: [0.01, 0.001]}, seeds: 2}",
)
TRIAL = "trials/search-0001"
CHANGED = ("search-0001", "search-0002", "ablation-0000")
"""Trials whose files are changed, and one that a plan is of."""


class Reads:
    """In MLflow's place: asks for all that MLflow would be told."""

    page = None

    def __init__(self, uri: str, info: StudyInfo) -> None:
        self.uri, self.info = uri, info

    def update(self, record: Record) -> None:
        self.info.shown(record)
        self.info.data(record)
        self.info.former_name(record)
        self.info.note(record, record)
        self.info.baseline(record.planned)
        self.info.trial_tags(record.key)
        self.info.plan_hash(record.planned.kind)
        folder = Path("shown")
        folder.mkdir(exist_ok=True)
        if record.state.final and record.key in CHANGED:  # what it reads of other trials is as it was
            self.info.write_trial(record, folder)

    def begin_to_close(self, **_options: object) -> None:
        """Nothing."""

    def close(self, **_options: object) -> str | None:
        try:
            self.info.write_study(Path("shown"))
        except InputError as error:  # the thread tells it as what MLflow lacks
            return str(error)
        return None


def train(opened: one_launch.OpenStudy, first_round: Round, *_args: object) -> RunOutcome:
    """In Ray's place: every trial that is left ends well, round after round."""
    one_launch._keep_study(opened, look_through(opened.study, opened.store.read_study()).result())
    following: Round | None = first_round
    while following is not None:
        opened.stages.register()
        for planned in iter(following.planner.next, None):
            opened.store.plan(planned)
            record, attrs = following.planner.finish(Record(planned, epochs(planned)).ended(State.COMPLETE))
            opened.store.judge(record, attrs)
            opened.stages.update(record)
        following = opened.stages.next()
    return RunOutcome()


def epochs(planned: Planned) -> tuple[dict[str, float], ...]:
    return tuple({"val/miou": (planned.number + 1) / 10 + epoch / 100, "train/loss": 1.0} for epoch in range(4))


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("orchestrator.store.lease.SETTLE_S", 0.0)
    monkeypatch.setattr(track, "Tracker", Reads)
    monkeypatch.setattr(one_launch, "_run", train)
    monkeypatch.setattr(one_launch, "prepare", lambda *_: None)
    monkeypatch.setattr(one_launch, "findings_of", lambda *_: NOTHING_FOUND)  # what it reads the report reads too
    monkeypatch.setattr("orchestrator.launch.results.bring_report_up_to_date", lambda *of, **_: StudyReport(*of))
    monkeypatch.setattr("orchestrator.report.build.render", lambda _document, _formats: {})
    monkeypatch.setattr("orchestrator.tracking.trial_files.draw_confusion", lambda *_arguments: None)


@pytest.fixture
def loaded(study: Make, tmp_path: Path, patched: None) -> Study:
    """A finished study with every kind of file; one trial has no verdict yet, another a good one."""
    loaded = study(*SETTINGS)
    store = Store("out", "s")
    assert launch(loaded, storage="out", target=Target(), command="again") == 0
    for key in ("search-0001", "search-0002"):
        record = store.record(key)
        assert record is not None
        store.claim(key, {"launch": "1", "host": "h", "gpu": "g"})
        store.write_epochs(key, 1, record.epochs)
        store.write_checkpoint(CheckpointName(1, 4), Checkpoint(record.planned, record.epochs, b"state"))
        keep_artifacts(store.objects, key, {}, Confusion(4, ("a", "b"), (1,), ((1, 2), (3, 4))))
    store.objects.delete("trials/search-0002/verdict.json")
    (tmp_path / "out").rename(tmp_path / "whole")
    return loaded


def places(tree: Any, depth: int = 3) -> Iterator[tuple[Any, ...]]:
    """Paths to the values of a tree."""
    yield ()
    items = tree.items() if isinstance(tree, dict) else enumerate(tree[:1]) if isinstance(tree, list) else ()
    for key, child in items if depth else ():
        yield from ((key, *path) for path in places(child, depth - 1))


def replaced(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = json.loads(json.dumps(tree))
    branch = copy
    for key in path[:-1]:
        branch = branch[key]
    branch[path[-1]] = value
    return copy


def without(tree: Any) -> Iterator[Any]:
    """The tree without one of its entries, and with one more."""
    if isinstance(tree, dict):
        yield from ({key: value for key, value in tree.items() if key != gone} for gone in tree)
        yield {**tree, "of a later version": [1]}


def variants(tree: Any, depth: int) -> Iterator[Any]:
    """The whole replaced by everything, its entries too; those of its entries by a few."""
    yield from without(tree)
    for number, path in enumerate(places(tree, depth)):
        junk = JUNK if len(path) < 2 else (JUNK[number % len(JUNK)], 10**400)
        yield from (replaced(tree, path, one) for one in junk)


def commands(loaded: Study) -> dict[str, Callable[[], int]]:
    def sweep() -> int:
        try:
            return launch(loaded, storage="out", target=Target(), command="again")
        except InputError as error:  # as the command itself
            print(error, file=__import__("sys").stderr)
            return 2

    return {
        "status": lambda: status.main(["s", "--storage", "out"]),
        "report": lambda: report.main(["s", "--storage", "out", "--out", "pages"]),
        "track": lambda: track.main(["s", "--storage", "out", "--uri", "sqlite:///m.db"]),
        "sweep": sweep,
    }


def fresh() -> Store:
    shutil.rmtree("out", ignore_errors=True)
    shutil.copytree("whole", "out")
    return Store("out", "s")


def squeezed(text: str) -> str:
    """The text without white space: lines may be wrapped anywhere."""
    return "".join(text.split())


def check(loaded: Study, name: str, capsys: pytest.CaptureFixture[str], what: object) -> dict[str, tuple[int, str]]:
    """Run every command on the study as it lies there; returns exit codes and what they said."""
    said: dict[str, tuple[int, str]] = {}
    capsys.readouterr()
    for command, run in commands(loaded).items():
        if command == "report" and name.startswith("trials/"):
            continue  # it reads nothing of them that decides anything
        code = run()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        assert code in (0, 2, 3), (command, what)
        if code == 2:
            assert captured.err.count("\n") == 1, (command, captured.err)
            named = Path(name).name in captured.err or "out/s holds a study that differs in" in captured.err
            assert named, (command, captured.err, what)
        said[command] = code, squeezed(captured.out + captured.err)
    return said


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        ("study.json", 1),
        ("lease.json", 1),
        ("tracking.json", 1),
        ("plan-ablation.json", 2),
        (f"{TRIAL}/verdict.json", 2),
        ("trials/search-0002/config.json", 2),
        (f"{TRIAL}/attempt-1.json", 1),
        ("trials/search-0002/epochs-1.json", 2),
        (f"{TRIAL}/artifacts/confusion.json", 2),
    ],
)
def test_json_of_every_shape(loaded: Study, name: str, depth: int, capsys: pytest.CaptureFixture[str]) -> None:
    tree = Store("whole", "s").objects.read_json(name)
    if name == "lease.json":
        tree = {"owner": "x", "host": "elsewhere", "pid": 7, "time": 0.0}
    if name == "tracking.json":
        tree = {"at": "x", "complete": True, "page": "http://x"}
    for content in variants(tree, depth):
        fresh().objects.write_json(name, content)
        check(loaded, name, capsys, content)


@pytest.mark.parametrize(
    "name", [f"{TRIAL}/verdict.json", "trials/search-0002/config.json", "trials/search-0002/epochs-1.json"]
)
@pytest.mark.parametrize("content", [None, [], {}, 3, "x", [{"val/miou": "much"}], {"state": "running"}])
def test_what_is_not_believed_is_named_and_nothing_is_lost(
    loaded: Study, name: str, content: object, capsys: pytest.CaptureFixture[str]
) -> None:
    if "epochs" in name and content == []:
        pytest.skip("no epoch yet: a shape of its own")
    fresh().objects.write_json(name, content)
    said = check(loaded, name, capsys, content)
    for command in ("status", "track", "sweep"):
        assert squeezed(f"{name}: not as any version writes it (") in said[command][1], command
    assert [record.state for record in Store("out", "s").records()] == [State.COMPLETE] * 7
    assert len(pq.read_table("out/s/results.parquet")) == 28


def test_a_plan_whose_baseline_is_no_arm(loaded: Study, capsys: pytest.CaptureFixture[str]) -> None:
    store = fresh()
    plan = store.objects.read_json("plan-ablation.json")
    store.objects.write_json("plan-ablation.json", {**plan, "baseline": "nobody"})
    for command, (code, text) in check(loaded, "plan-ablation.json", capsys, plan).items():
        if command != "track":  # MLflow is told the hash of a plan that can be read
            assert code == 2
            assert (
                squeezed("plan-ablation.json: not as any version writes it ('nobody' is none of its arms); restore it")
                in text
            )


def test_a_verdict_of_another_trial(loaded: Study, capsys: pytest.CaptureFixture[str]) -> None:
    store = fresh()
    other = store.objects.read_json("trials/search-0000/verdict.json")
    store.objects.write_json(f"{TRIAL}/verdict.json", other)
    assert (
        squeezed("(plan: it is of the trial search-0000)")
        in check(loaded, "verdict.json", capsys, "other")["status"][1]
    )


@pytest.mark.parametrize("metrics", [{}, {"val/miou": math.nan}, {"val/miou": math.inf}])
def test_a_complete_trial_without_its_objective(
    loaded: Study, metrics: dict[str, float], capsys: pytest.CaptureFixture[str]
) -> None:
    store = fresh()
    verdict = store.objects.read_json(f"{TRIAL}/verdict.json")
    verdict["epochs"][-1] = metrics
    store.objects.write_json(f"{TRIAL}/verdict.json", verdict)
    code, text = check(loaded, f"{TRIAL}/verdict.json", capsys, metrics)["sweep"]
    assert code == 2
    assert (
        squeezed("verdict.json: complete, but its last epoch has no val/miou; restore it, or remove the folder") in text
    )


@pytest.mark.parametrize(
    "content", [b"", b"x", b"\xff" * 50, (10).to_bytes(8, "big") + b"{}", (4).to_bytes(8, "big") + b"null"]
)
def test_checkpoints_of_other_shape(loaded: Study, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    store = fresh()
    name = "trials/search-0002/checkpoint-1-4.bin"
    store.objects.write_sealed(name, content)
    store.objects.delete("trials/search-0002/epochs-1.json")
    said = check(loaded, name, capsys, content)
    assert squeezed(f"{name}: not as any version writes it (") in said["status"][1]


@pytest.mark.parametrize(
    "content", [b"", b"[" * 200_000, b"{}", b"null", b"\xff\xfe", b'{"sha256": 1, "content": 1}', b"1" * 9000]
)
@pytest.mark.parametrize("name", ["study.json", "plan-ablation.json", f"{TRIAL}/verdict.json", "lease.json"])
def test_json_of_no_envelope(loaded: Study, name: str, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    fresh().write_bytes(name, content)
    said = check(loaded, name, capsys, content[:20])
    if name == "study.json":
        assert {code for code, _ in said.values()} == {2}


def tables(table: pa.Table) -> Iterator[pa.Table]:
    rows = len(table)
    for name in ("trial", "kind", "arm", "block", "state", "reason", "seed", "epoch", "val/miou"):
        at = table.column_names.index(name)
        yield table.drop_columns([name])
        for values in (
            ["x"] * rows,
            [None] * rows,
            [math.nan] * rows,
            [1.5] * rows,
            [[1]] * rows,
            [{"a": 1}] * rows,
            [-1] * rows,
        ):
            yield table.set_column(at, name, pa.array(values))
    yield table.append_column("trial", table.column("trial"))
    yield table.slice(0, 0)
    yield pa.table({"x": [1]})
    yield pa.table({})


def test_tables_of_every_shape(loaded: Study, capsys: pytest.CaptureFixture[str]) -> None:
    whole = pq.read_table("whole/s/results.parquet")
    for table in tables(whole):
        store = fresh()
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        store.write_bytes("results.parquet", buffer.getvalue())
        check(loaded, "results.parquet", capsys, table.schema)


def test_a_table_that_other_programs_wrote_is_read(loaded: Study, capsys: pytest.CaptureFixture[str]) -> None:
    """Categories and whole numbers as floats, as pandas writes them."""
    store = fresh()
    table = pq.read_table("whole/s/results.parquet")
    for name, column in (
        ("trial", table.column("trial").dictionary_encode()),
        ("block", table.column("block").cast(pa.float64())),
    ):
        table = table.set_column(table.column_names.index(name), name, column)
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    store.write_bytes("results.parquet", buffer.getvalue())
    assert check(loaded, "results.parquet", capsys, "pandas")["report"][0] == 0


@pytest.mark.parametrize(
    "content", ["", "x", "[1]", "a: [", "a: !!python/object:os.system {}", "\x00", "data: 3", "1: 2"]
)
def test_best_yaml_of_every_shape(loaded: Study, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    fresh().write_text("best.yaml", content)
    check(loaded, "best.yaml", capsys, content)
