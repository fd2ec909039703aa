"""What Optuna reads from an export: the study's trials, its best one, and nothing that is masked."""

import json
import math
import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import optuna
import pytest
from kept_made import keep
from made_studies import CONFIRM_GAINS, MadeStudy, Make, confirm_plan, factorial_gains, factorial_plan
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from orchestrator.export.__main__ import main
from orchestrator.store.ranking import best, pareto_front
from orchestrator.store.trial_record import Record, State
from orchestrator.studyfile import load

STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


def export(made: MadeStudy, address: str, *options: str) -> int:
    return main(["made", "--storage", str(Path(made.store.address).parent), "--optuna", address, *options])


def studies(address: str) -> Mapping[str, optuna.Study]:
    """The studies of a database, or of a journal file, which is faster to make."""
    storage = RDBStorage(address) if "://" in address else JournalStorage(JournalFileBackend(address))
    names = optuna.get_all_study_names(storage)
    return {name: optuna.load_study(study_name=name, storage=storage) for name in names}


@pytest.fixture(scope="module")
def address(whole: MadeStudy, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The database that the whole study was exported to."""
    address = f"sqlite:///{tmp_path_factory.mktemp('optuna')}/study.db"
    assert export(whole, address) == 0
    return address


def test_every_trial_is_there_as_it_is(whole: MadeStudy, address: str) -> None:
    loaded = studies(address)
    assert set(loaded) == {"made", "made/references", "made/confirm", "made/ablation"}
    records = {record.key: record for record in whole.records}
    trials = {trial.user_attrs["trial"]: trial for study in loaded.values() for trial in study.trials}
    assert set(trials) == set(records)
    for key, trial in trials.items():
        record = records[key]
        assert trial.state is STATES[record.state]
        steps = {step: metrics["val/miou"] for step, metrics in enumerate(record.epochs, start=1)}
        assert trial.intermediate_values == steps
        assert trial.user_attrs["seed"] == record.planned.config["seed"]
        assert trial.user_attrs.get("reason") == record.reason
        assert trial.user_attrs["val/rare_miou"] == record.epochs[-1]["val/rare_miou"]
        if record.state is State.COMPLETE:
            assert trial.value == record.epochs[-1]["val/miou"]
        if record.planned.kind == "search":
            assert trial.params == record.planned.picks
    assert [trial.user_attrs["trial"] for trial in loaded["made"].trials] == [f"search-{n:04d}" for n in range(20)]


def test_a_parameter_of_an_option_is_there_only_where_that_was_picked(address: str) -> None:
    trials = studies(address)["made"].trials
    tau, sampling = "suppression.sampling.inverse_frequency.tau", "suppression.sampling"
    assert {tau in trial.params for trial in trials} == {True, False}
    assert all((tau in trial.params) == (trial.params[sampling] == "inverse_frequency") for trial in trials)


def test_the_best_trial_is_the_studys(whole: MadeStudy, address: str) -> None:
    top = best(whole.records, whole.study.spec.objectives[0])
    found = studies(address)["made"].best_trial
    assert top is not None
    assert (found.user_attrs["trial"], found.value) == (top.key, top.epochs[-1]["val/miou"])
    assert found.user_attrs["best_epoch_value"] >= found.value
    arms = studies(address)["made/confirm"]
    assert arms.best_trial.params["arm"] == "search-0007"
    assert arms.user_attrs["baseline"] == "plain"
    assert [arms.user_attrs["part"], len(arms.user_attrs["seeds"])] == ["confirm", 3]


def test_optunas_importances_and_pictures_work(address: str) -> None:
    study = studies(address)["made"]
    importances = optuna.importance.get_param_importances(study)
    always = {"train.lr", "suppression.p_max", "suppression.alpha", "suppression.layer", "suppression.sampling"}
    assert set(importances) >= always
    assert math.isclose(sum(importances.values()), 1)
    fanova = optuna.importance.FanovaImportanceEvaluator(seed=0)
    factors = optuna.importance.get_param_importances(studies(address)["made/ablation"], evaluator=fanova)
    assert max(factors, key=factors.__getitem__) == "suppression"  # 0.04; layers differ by 0.01, weights by nothing
    for draw in ("plot_optimization_history", "plot_intermediate_values", "plot_parallel_coordinate", "plot_timeline"):
        getattr(optuna.visualization.matplotlib, draw)(study)
        plt.close("all")


def test_another_export_replaces_the_first_and_no_study_from_elsewhere(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make()
    made.search(3)
    keep(made)
    assert export(made, "study.log") == 0
    made.search(4)
    keep(made)
    assert export(made, "study.log") == 0
    assert len(studies("study.log")["made"].trials) == 4
    storage = JournalStorage(JournalFileBackend("study.log"))
    optuna.delete_study(study_name="made", storage=storage)
    optuna.create_study(study_name="made", storage=storage)
    capsys.readouterr()
    assert export(made, "study.log") == 2
    said = "--optuna study.log: it has a study made that is no export of this one; --force replaces it, "
    assert capsys.readouterr().err == f"{said}another file or database keeps both\n"
    assert studies("study.log")["made"].trials == []
    assert export(made, "study.log", "--force") == 0
    assert len(studies("study.log")["made"].trials) == 4


def test_several_objectives_are_several_directions(make: Make) -> None:
    made = make("objective=[{metric: val/miou, mode: max}, {metric: val/ece, mode: min}]", "search.pruner=null")
    made.search(8)
    keep(made)
    assert export(made, "study.log") == 0
    study = studies("study.log")["made"]
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert study.metric_names == ["val/miou", "val/ece"]
    front = pareto_front(made.records, made.study.spec.objectives)
    assert {trial.user_attrs["trial"] for trial in study.best_trials} == {record.key for record in front}


def test_what_runs_what_was_interrupted_and_what_has_no_value(make: Make) -> None:
    made = make("objective={metric: val/ece, mode: min}")
    made.search(5)
    first, second, third, fourth, fifth = made.records
    undefined = ({**third.epochs[0], "val/ece": math.nan},)
    made.records[:] = [
        Record(first.planned, first.epochs[:2], State.RUNNING),
        Record(second.planned, second.epochs[:1], State.INTERRUPTED, "Ctrl-C"),
        Record(third.planned, undefined, State.FAILED, "val/ece: undefined"),
        Record(fourth.planned, (), State.FAILED, "ValueError: loss is not finite"),
        fifth,
    ]
    keep(made)
    for record in made.records[:2]:
        made.store.write_epochs(record.key, 1, record.epochs)
    assert export(made, "study.log") == 0
    study = studies("study.log")["made"]
    states = [TrialState.RUNNING, TrialState.RUNNING, TrialState.FAIL, TrialState.FAIL, TrialState.COMPLETE]
    assert [trial.state for trial in study.trials] == states
    assert [trial.user_attrs["state"] for trial in study.trials[:2]] == ["running", "interrupted"]
    assert [len(trial.intermediate_values) for trial in study.trials] == [2, 1, 0, 0, 5]
    assert study.best_trial.number == 4
    assert study.trials[0].datetime_complete is None


def test_imported_trials_are_of_the_search_and_prefixes_are_none(make: Make) -> None:
    made = make()
    made.search(2)
    first, second = made.records
    attrs = {"imported_from": "earlier/search-0003"}
    imported = replace(first.planned, key="imported-0000", kind="imported", system_attrs=attrs)
    prefix = replace(second.planned, key="prefix-1", kind="prefix", picks=None, starts=(2,))
    made.records += [replace(first, planned=imported), Record(prefix, second.epochs[:2], State.COMPLETE)]
    made.write()
    for record in made.records:
        made.store.judge(record, record.planned.system_attrs)
    assert export(made, "study.log") == 0
    ((name, study),) = studies("study.log").items()
    assert name == "made"
    assert {trial.user_attrs["trial"] for trial in study.trials} == {"search-0000", "search-0001", "imported-0000"}
    (copy,) = [trial for trial in study.trials if trial.user_attrs["kind"] == "imported"]
    assert (copy.user_attrs["imported_from"], copy.params) == ("earlier/search-0003", first.planned.picks)


def test_a_study_without_a_search_or_without_trials(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    made = make()
    made.compare(factorial_plan(2), factorial_gains(factorial_plan(2)))
    keep(made)
    assert export(made, "ablation.log") == 0
    assert set(studies("ablation.log")) == {"made/ablation"}
    levels = {trial.params["train.class_weights"] for trial in studies("ablation.log")["made/ablation"].trials}
    assert levels == {"null", "log_frequency"}
    made.store.objects.delete("plan-ablation.json")
    empty = make()
    for record in made.records:
        empty.store.objects.delete(f"trials/{record.key}/verdict.json")
    assert export(empty, "empty.log") == 0
    assert studies("empty.log")["made"].trials == []


def test_trials_of_an_older_space_are_left_out_and_named(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    made = make()
    made.search(4)
    planned = made.records[1].planned
    assert planned.picks is not None
    moved = {**planned.picks, "suppression.p_max": 7.0}
    made.records[1] = replace(made.records[1], planned=replace(planned, picks=moved))
    other = made.records[2]
    config: dict[str, Any] = json.loads(json.dumps(other.planned.config))
    config["train"]["batch_size"] = 10  # not searched, and another one in the study
    made.records[2] = replace(other, planned=replace(other.planned, config=config))
    keep(made)
    assert export(made, "study.log") == 0
    said = "made: 2 trials; left out, as outside of what the study is now: search-0001, search-0002\n"
    assert said in capsys.readouterr().out
    assert len(studies("study.log")["made"].trials) == 2


def test_no_value_of_a_variable_leaves(make: Make, tmp_path: Path) -> None:
    made = make()
    text = (tmp_path / "made.yaml").read_text()
    text = text.replace("arch: fpn", 'arch: "${ARCH}"').replace("[1.0e-4, 1.0e-2]", '["${LOW}", 1.0e-2]')
    text = text.replace("- uniform\n", '- "${SAMPLING}"\n')
    (tmp_path / "made.yaml").write_text(text)
    env = {"ARCH": "linknet", "LOW": "0.0009876"}
    study = load(tmp_path / "made.yaml", (), env=env | {"SAMPLING": "co_occurrence"})
    secret = MadeStudy(made.store, study, made.rng)
    secret.search(6)
    secret.records[0] = secret.records[0].ended(State.FAILED, "linknet failed")
    secret.store.write_study(study.resolved(), from_env=study.from_env)
    for record in secret.records:
        secret.store.judge(record, {"fixed_params": {"suppression.sampling": "co_occurrence"}})
    assert export(made, "study.log", "--tensorboard", "tb", "--csv", "t.csv") == 0
    trials = studies("study.log")["made"].trials
    assert len(trials) == 6
    assert {trial.params["suppression.sampling"] for trial in trials} == {"${SAMPLING}", "inverse_frequency"}
    tau = "suppression.sampling.inverse_frequency.tau"
    assert all((tau in trial.params) == (trial.params["suppression.sampling"] != "${SAMPLING}") for trial in trials)
    assert all("train.lr" not in trial.params and "pick train.lr" in trial.user_attrs for trial in trials)
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "made.yaml"]
    outside = [path for path in files if "studies" not in path.parts]
    assert {"study.log", "t.csv", "events.out.tfevents.dropclass"} <= {path.name for path in outside}
    leaks = [(path.name, value) for path in outside for value in env.values() if value.encode() in path.read_bytes()]
    assert leaks == []


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (
            "mysql://me:hidden@localhost/x",
            "--optuna mysql://***@localhost/x: its driver is not installed:  pip install mysqlclient\n",
        ),
        ("mysql+pymysql://me:hidden@localhost/x", "its driver is not installed:  pip install pymysql\n"),
        (
            "foo://me:hidden@x",
            "--optuna foo://***@x: foo is no kind of database that Optuna takes; write sqlite:///study.db, "
            "mysql://USER:PASSWORD@HOST/DATABASE, postgresql://USER:PASSWORD@HOST/DATABASE, or the path of a journal",
        ),
        ("redis://", "--optuna redis://: redis is no kind of database that Optuna takes; write sqlite:///study.db, "),
        ("sqlit:///x.db", "sqlit is no kind of database that Optuna takes; write sqlite:///study.db\n"),
        ("", "--optuna: names no database; write sqlite:///study.db, or the path of a journal file\n"),
        ("text.csv", "--optuna text.csv: is there, and is no journal of Optuna's; name another file\n"),
        ("list.json", "--optuna list.json: is there, and is no journal of Optuna's; name another file\n"),
        ("sqlite:///nowhere/x.db", "there is no folder "),
        ("nowhere/x.log", "there is no folder "),
        ("sqlite://", "names no file; write sqlite:///study.db"),
        ("study.db", "write a database as an address: sqlite:///study.db"),
        (".", "is a folder; name a file"),
        ("sqlite:///made.yaml", "file is not a database"),
        ("made.yaml", "--optuna made.yaml: "),
        ("sqlite:///mlflow.db", "this database is MLflow's; give Optuna one of its own"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_line(
    address: str, said: str, make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make()
    made.search(1)
    keep(made)
    with sqlite3.connect("mlflow.db") as connection:
        connection.execute("create table alembic_version (version_num text)")
        connection.execute("create table experiments (name text)")
    Path("text.csv").write_text("a,b\n1,2\n")
    Path("list.json").write_text("[1]\n")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    capsys.readouterr()
    assert export(made, address) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err
    assert "hidden" not in err
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_bad_words_are_told(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    made = make()
    made.compare(confirm_plan(2), CONFIRM_GAINS)
    keep(made)
    with pytest.raises(SystemExit, match="2"):
        main(["made"])
    assert capsys.readouterr().err.endswith("give one of --optuna, --tensorboard, --csv, or several\n")
    assert main(["nobody", "--csv", "t.csv"]) == 2
    assert "nobody: no study there" in capsys.readouterr().err
    for words, said in (
        ("--csv nowhere/t.csv", f"--csv nowhere/t.csv: there is no folder {Path('nowhere').absolute()}"),
        ("--csv ", "--csv: names no file; - is stdout"),
        ("--csv s3://me:hidden@b/x.csv", "--csv s3://***@b/x.csv: only local files are written; give a path, or - for"),
        ("--csv studies/..", "--csv studies/..: is a folder; name a file"),
        ("--tensorboard ", "--tensorboard: names no folder"),
        ("--tensorboard made.yaml", "--tensorboard made.yaml: is no local folder"),
        ("--tensorboard made.yaml/x", "--tensorboard made.yaml/x: "),
        ("--tensorboard s3://bucket/x", "--tensorboard s3://bucket/x: is no local folder"),
    ):
        option, _, value = words.partition(" ")
        assert main(["made", option, value]) == 2, words
        out, err = capsys.readouterr()
        assert (out, err.count("\n"), err[: len(said)]) == ("", 1, said)
