"""A study as a Python object, from directories that the storage code wrote."""

from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import orchestrator
from orchestrator.report.sections.comparison_results import StageResults
from orchestrator.report.source import read_results
from orchestrator.store import layout
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Planned, Record, State
from tests.orchestrator.report.made_studies import PRESET_ARMS, MadeStudy, begin, preset_plan

BEST_EPOCHS = "val/miou, best epoch, biased upwards"


def keep(made: MadeStudy, *, table: bool = True) -> Store:
    """Write everything that a launch writes of the made trials."""
    for record in made.records:
        made.store.plan(record.planned)
        made.store.write_epochs(record.key, 1, record.epochs)
        if record.state is not State.RUNNING:
            made.store.judge(record, {})
    if table:
        return made.write()
    made.store.write_study(made.study.resolved())
    return made.store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search with failures, references and an ablation."""
    path = tmp_path_factory.mktemp("loaded")
    made = begin(path)
    made.search(10, failed=2, pruned=3)
    made.references()
    made.compare(preset_plan(), PRESET_ARMS, states={("full", 2): (State.FAILED, "ValueError: nan")})
    keep(made)
    return path


@pytest.fixture
def study(folder: Path) -> orchestrator.Study:
    return orchestrator.load_study(folder / "studies" / "made")


def test_records_are_what_the_directories_hold_and_cannot_be_changed(study: orchestrator.Study) -> None:
    assert len(study.records) == 10 + 2 + 36
    assert [t.key for t in study.failed] == ["ablation-0016", "search-0000", "search-0001"]
    assert study.trial("search-0000").reason == "ValueError: loss is not finite"
    assert study.unfinished == ()
    trial = study.trial("search-0007")
    assert trial.complete
    assert trial.objective == trial.epochs[-1]["val/miou"] == trial.metrics["val/miou"]
    assert trial.best_epoch is not None
    assert trial.best_epoch.value == max(epoch["val/miou"] for epoch in trial.epochs)
    with pytest.raises(FrozenInstanceError):
        trial.seed = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        trial.epochs[0]["val/miou"] = 1.0  # type: ignore[index]
    with pytest.raises(orchestrator.InputError, match=r"unknown trial 'search-7'; close names: search-0007"):
        study.trial("search-7")


def test_frames(study: orchestrator.Study) -> None:
    frame = study.frame()
    assert frame.index.name == "trial"
    assert list(frame.columns[:7]) == ["kind", "arm", "block", "seed", "state", "reason", "epochs"]
    assert list(frame.index) == [trial.key for trial in study.records]
    row = frame.loc["search-0007"]
    trial = study.trial("search-0007")
    assert row["val/miou"] == trial.objective
    assert row[BEST_EPOCHS] == max(epoch["val/miou"] for epoch in trial.epochs)
    assert row["pick.train.lr"] == row["param.train.lr"] == trial.picks["train.lr"]
    assert "param.train.epochs" not in frame, "equal in all trials"
    assert study.frame(all_settings=True)["param.train.epochs"].eq(5).all()
    assert study.to_pandas().equals(frame)
    epochs = study.epochs()
    assert len(epochs) == sum(len(trial.epochs) for trial in study.records)
    curve = epochs[epochs.trial == "search-0007"]
    assert list(curve.epoch) == [1, 2, 3, 4, 5]
    assert list(curve["val/miou"]) == [epoch["val/miou"] for epoch in trial.epochs]
    assert pd.isna(frame.loc["search-0007", "arm"])
    assert frame.loc["ablation-0016", "block"] == 2


def test_the_best_trial_is_the_report_s(study: orchestrator.Study) -> None:
    complete = [t for t in study.records if t.kind == "search" and t.complete]
    assert study.best is max(complete, key=lambda t: t.objective or 0.0)
    assert study.front == (study.best,)
    assert study.best.weights is None
    assert study.answer.count("\n") == 1
    assert study.best.yaml.startswith("preset: null\ndata:")
    assert study.page is None


def test_differences_are_the_report_s_and_say_what_is_not_adjusted(folder: Path, study: orchestrator.Study) -> None:
    frame = study.differences().set_index("arm")
    results = read_results(Store(str(folder / "studies"), "made"))
    expected = StageResults(results, results.plans["ablation"]).differences("val/miou")
    assert set(frame.index) == set(PRESET_ARMS) - {"plain"}
    for arm, paired in expected.items():
        row = frame.loc[arm]
        assert (row.n, row.difference, row.low, row.high) == (paired.n, paired.difference, paired.low, paired.high)
        assert (row.p_nominal, row.p_adjusted) == (paired.p, paired.p_adjusted)
        assert row.p_adjusted > row.p_nominal
    assert frame.n.full == 5, "a failed run has no pair"
    assert set(frame.role) == {"objective"}
    assert set(study.differences("val/ece").role) == {"exploratory"}
    with pytest.raises(orchestrator.InputError, match=r"made: unknown metric 'val/mio'.*did you mean 'val/miou'"):
        study.differences("val/mio")


def test_the_report_goes_where_it_is_asked_to(
    study: orchestrator.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, object, object]] = []

    def write(store: Store, *, metrics: object, out: object) -> list[str]:
        calls.append((store.study, metrics, out))
        return [f"{out}/report.html", "figures"]

    monkeypatch.setattr("orchestrator.report.build.write_report", write)
    assert study.report(tmp_path / "out", metrics=["val/ece"]) == f"{tmp_path}/out/report.html"
    assert study.report() == "None/report.html"
    assert calls == [("made", ("val/ece",), f"{tmp_path}/out"), ("made", None, None)]
    with pytest.raises(orchestrator.InputError, match="unknown metric 'ece'"):
        study.report(metrics=["ece"])


def test_its_page_in_a_notebook(study: orchestrator.Study) -> None:
    page = study._repr_html_()
    assert "<b>Study made</b> (42 complete, 3 pruned, 3 failed)" in page
    assert study.best is not None
    assert study.best.key in page
    assert "random_channels" in page
    assert "biased upwards" in page


def test_names_and_values_that_would_be_markup_are_escaped(tmp_path: Path) -> None:
    made = begin(tmp_path)
    plan = preset_plan(seeds=2)
    odd = "<img src=x onerror=alert(1)>"
    arms = tuple(replace(arm, name=odd) if arm.name == "full" else arm for arm in plan.arms)
    made.compare(replace(plan, arms=arms), {**PRESET_ARMS, odd: 0.1})
    page = orchestrator.load_study(keep(made).address)._repr_html_()
    assert "<img" not in page
    assert "&lt;img src=x" in page


def test_values_of_environment_variables_are_shown_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.studyfile import load
    from tests.orchestrator.report.made_studies import FILE

    secret = "tu-secret_encoder_name"
    path = tmp_path / "made.yaml"
    path.write_text(FILE.replace("encoder: resnet18", 'encoder: "${ENCODER}"').replace("resnet18", "x"))
    loaded = load(path, ("model.encoder_weights=null",), env={"ENCODER": "tu-test_resnet"})
    made = MadeStudy(Store(str(tmp_path / "studies"), "made"), loaded, begin_rng())
    made.search(2)
    planned = made.records[0].planned
    made.records[0] = replace(
        made.records[0],
        planned=replace(planned, config={**planned.config, "model": {**planned.config["model"], "encoder": secret}}),
        reason=f"ModelError: {secret} is gone",
        state=State.FAILED,
    )
    for record in made.records:
        made.store.judge(record, {})
    made.store.write_study(loaded.resolved(), from_env=loaded.from_env)
    study = orchestrator.load_study(made.store.address)
    texts = [study._repr_html_(), study.frame(all_settings=True).to_csv(), str(study.trial("search-0000").config)]
    texts += [study.trial("search-0000").yaml, repr(study.records), str(study.specification), study.answer]
    assert study.trial("search-0000").reason == "ModelError: ${ENCODER} is gone"
    for text in texts:
        assert secret not in text
    assert "${ENCODER}" in texts[2]


def begin_rng() -> Any:
    import numpy as np

    return np.random.default_rng(0)


def test_a_study_without_a_table_or_a_complete_trial(tmp_path: Path) -> None:
    made = begin(tmp_path)
    made.search(4, failed=1)
    made.records = [replace(r, state=State.RUNNING) if r.state is not State.FAILED else r for r in made.records]
    study = orchestrator.load_study(keep(made, table=False).address)
    assert study.best is None
    assert study.front == ()
    assert {trial.state for trial in study.unfinished} == {State.INTERRUPTED}, "no launch is at work"
    assert study.differences().empty
    assert "No answer yet" in study.answer
    assert len(study.frame()) == 4
    assert "3 interrupted" in study._repr_html_()
    with pytest.raises(orchestrator.InputError, match="no table yet"):
        study.report()


def test_a_study_that_has_just_begun(tmp_path: Path) -> None:
    study = orchestrator.load_study(keep(begin(tmp_path), table=False).address)
    assert study.records == ()
    assert study.frame().empty
    assert study.epochs().empty
    assert "no trials yet" in study._repr_html_()


def test_several_objectives_and_less_is_better(tmp_path: Path) -> None:
    objectives = "objective=[{metric: val/ece, mode: min}, {metric: val/miou, mode: max}]"
    made = begin(tmp_path, objectives)
    made.search(12)
    study = orchestrator.load_study(keep(made).address)
    values = {t.key: (t.metrics["val/ece"], t.metrics["val/miou"]) for t in study.records}
    assert study.best is not None
    assert values[study.best.key][0] == min(ece for ece, _ in values.values())
    assert study.front[0].key == study.best.key or values[study.front[0].key][0] == values[study.best.key][0]
    for trial in study.front:
        ece, miou = values[trial.key]
        assert not any(e < ece and m > miou for e, m in values.values())
    assert "val/ece, best epoch, biased downwards" in study.frame().columns


def test_shared_prefixes_are_no_trials(tmp_path: Path) -> None:
    made = begin(tmp_path)
    made.search(2)
    config = made.records[0].planned.config
    prefix = Planned("prefix-0000", "prefix", 0, config, None, starts=(2,))
    made.records.append(Record(prefix, made.records[0].epochs[:2], State.COMPLETE))
    study = orchestrator.load_study(keep(made).address)
    assert [trial.key for trial in study.records] == ["search-0000", "search-0001"]


def test_trials_newer_than_the_table_count_and_those_that_it_left_out_do_not(tmp_path: Path) -> None:
    made = begin(tmp_path)
    made.search(4)
    outside = made.records.pop()
    made.store.judge(outside, {})
    address = keep(made).address
    assert len(orchestrator.load_study(address).records) == 3, "the launch left one out: it no longer belongs"
    import os

    os.utime(Path(address) / layout.TABLE, (1e9, 1e9))
    assert len(orchestrator.load_study(address).records) == 4


def test_a_renamed_arm_bears_the_name_that_the_last_launch_gave_it(tmp_path: Path) -> None:
    made = begin(tmp_path)
    plan = preset_plan(seeds=3)
    made.compare(plan, PRESET_ARMS)
    store = keep(made)
    arms = tuple(replace(arm, name="all of it") if arm.name == "full" else arm for arm in plan.arms)
    replace(plan, arms=arms).write(store.objects)
    renamed = [
        replace(r, planned=replace(r.planned, arm="all of it")) if r.planned.arm == "full" else r for r in made.records
    ]
    from orchestrator.store.results_table import write_table

    write_table(store, renamed)
    study = orchestrator.load_study(store.address)
    assert study.differences().set_index("arm").n["all of it"] == 3


def test_damaged_files_are_warnings(tmp_path: Path) -> None:
    made = begin(tmp_path)
    made.search(3)
    address = Path(keep(made).address)
    for file in (address / layout.TABLE, address / "trials" / "search-0001" / "verdict.json"):
        file.write_bytes(file.read_bytes()[:-9])
    study = orchestrator.load_study(address)
    assert [Path(line.split(":")[0]).name for line in study.warnings] == ["results.parquet", "verdict.json"]
    assert len(study.records) == 3
    assert "damaged" in study._repr_html_()


def test_a_study_of_an_early_version() -> None:
    study = orchestrator.load_study(Path(__file__).parents[1] / "store" / "study_of_version_0" / "fixed")
    assert study.records
    assert len(study.frame()) == len(study.records)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("mad", "no study there (did you mean 'made'?)"),
        ("elsewhere/made", "no study there"),
        ("made.yaml", "is a study file and no study"),
        ("./studies", "studies: a folder of studies; name one of them: made"),
        (" ", "the study has no name"),
        ("s3://bucket", "the address of a study ends in its name"),
        ("x://bucket/study", "Unrecognized filesystem 'x'"),
    ],
)
def test_what_is_no_study_is_one_line(folder: Path, written: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(orchestrator.InputError) as refused:
        orchestrator.load_study(written)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("given", [None, 1, ["a"], b"x", "a\0b"])
def test_what_is_no_name_is_one_line(study: orchestrator.Study, given: Any) -> None:
    said = "a zero byte" if given == "a\0b" else "study: expected a name or a path, got"
    for call in (orchestrator.load_study, orchestrator.load_model, lambda given: orchestrator.compare(study, given)):
        with pytest.raises(orchestrator.InputError, match=said):
            call(given)  # type: ignore[no-untyped-call]
    for given_storage in (3, b"x"):
        with pytest.raises(orchestrator.InputError, match="storage: expected a name or a path"):
            orchestrator.load_study("made", storage=given_storage)  # type: ignore[arg-type]
    for read in (study.trial, study.check_metric, study.differences):
        with pytest.raises(orchestrator.InputError, match="unknown"):
            read(given)


def test_one_metric_may_stand_alone(study: orchestrator.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr("orchestrator.report.build.write_report", lambda *_, **named: calls.append(named) or ["page"])
    monkeypatch.setenv("HOME", str(tmp_path))
    study.report("~/r", metrics="val/miou")
    assert calls == [{"metrics": ("val/miou",), "out": f"{tmp_path}/r"}]
    assert orchestrator.compare(study, study, metrics="val/miou").metrics == ("val/miou",)
    with pytest.raises(orchestrator.InputError, match="metrics: expected a name or several, got 3"):
        study.report(metrics=3)  # type: ignore[arg-type]
    with pytest.raises(orchestrator.InputError, match="unknown metric 'val/mio'"):
        study.report(metrics="val/mio")


def test_the_home_folder_is_meant_by_a_tilde(
    folder: Path, study: orchestrator.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert orchestrator.load_study("~/studies/made").address == study.address
    assert orchestrator.load_study("made", storage="~/studies").name == "made"


@pytest.mark.parametrize(
    "written", ["made", "studies/made", "studies/made/", "./studies/made/study.json", Path("studies/made")]
)
def test_ways_to_name_a_study(folder: Path, written: str | Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert orchestrator.load_study(written).name == "made"
    monkeypatch.chdir(folder / "studies")
    assert orchestrator.load_study("made").name == "made", "the directory itself"
    assert orchestrator.load_study("made", storage="..//studies").name == "made"
    assert orchestrator.load_study(f"file://{folder}/studies/made").name == "made"
