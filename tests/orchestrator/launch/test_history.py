"""A study that is launched again after its file changed, and warm starts; without Ray."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from orchestrator.driver.session import Session
from orchestrator.errors import InputError
from orchestrator.launch.history import import_trials, keep_retried, read_history, settle
from orchestrator.plan.planner import Planner
from orchestrator.store.layout import CheckpointName
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Record, State
from orchestrator.studyfile import Study, load
from orchestrator.studyfile.space.trees import without_places
from orchestrator.worker.job import AttemptBegan, EpochDone
from trainable.config import TrialConfig

Make = Callable[..., Study]
ROOT = Path(__file__).resolve().parents[3]
PLAIN = "search.references=[]"
MEDIAN = "search.pruner={name: median, startup_trials: 1, grace_epochs: 2}"


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "out")


def finished(study: Study, place: str, count: int = 6, state: State = State.COMPLETE) -> Store:
    """The study as launches left it that ended ``count`` trials."""
    store = Store(place, study.spec.study)
    planner = Planner(study, store.records())
    store.write_study(study.resolved())
    for _ in range(count):
        planned = planner.next()
        assert planned is not None
        epochs = tuple({"val/miou": planned.number + epoch / 10} for epoch in range(1, 5))
        record, attrs = planner.finish(Record(planned, epochs).ended(state, None if state is State.COMPLETE else "x"))
        store.plan(planned)
        store.judge(record, attrs)
    return store


def launched(study: Study, store: Store) -> tuple[Planner, tuple[str, ...]]:
    """What a launch makes of the study."""
    history = read_history(study, store)
    planner = Planner(study, history.records, history.outside)
    store.write_study(study.resolved())
    return planner, history.notes


def settled(study: Study, store: Store) -> list[Record]:
    """The records after a launch gave the verdicts that are due."""
    records = read_history(study, store).records
    return settle(Planner(study, records), store, records)


@pytest.mark.parametrize(
    "change",
    ["search.trials=9", "resources.max_concurrent=1", "resources.retries=0", "tracking.enabled=false"],
)
def test_budget_resources_and_tracking_are_applied(study: Make, place: str, change: str) -> None:
    store = finished(study(PLAIN), place, 3)
    planner, notes = launched(study(PLAIN, change), store)
    assert notes == ()
    keys = [planned.key for planned in iter(planner.next, None)]
    assert keys == [f"search-{number:04d}" for number in range(3, 9 if "trials=9" in change else 6)]


@pytest.mark.parametrize("state", [State.COMPLETE, State.FAILED])
def test_a_configuration_is_read_once_and_once_more_to_see_whether_its_picks_give_it(
    study: Make, place: str, monkeypatch: pytest.MonkeyPatch, state: State
) -> None:
    store, read = finished(study(PLAIN), place, 5, state), Mock(wraps=TrialConfig.model_validate_json)
    wider = study(PLAIN, "search.trials=9")
    monkeypatch.setattr(TrialConfig, "model_validate_json", read)
    assert len(read_history(wider, store, retry_failed=True).records) == 5
    assert read.call_count == 2 * 5


def test_data_in_another_place_are_the_same(tmp_path: Path, place: str) -> None:
    file, overrides = ROOT / "search_spaces/camvid.yaml", [PLAIN, "study=moved", "search.sampler=random"]
    roots = [f"data.root={tmp_path / name}" for name in ("before", "now")]
    before, now = (load(file, [*overrides, root], env={}, data_here=False) for root in roots)
    store = finished(before, place, 3)
    history = read_history(now, store)
    assert (len(history.records), history.outside) == (3, ())
    assert [r.planned.data["root"] for r in history.records] == [str(tmp_path / "before")] * 3


def test_a_smaller_budget_ends_the_search(study: Make, place: str) -> None:
    store = finished(study(PLAIN), place, 3)
    planner, _ = launched(study(PLAIN, "search.trials=2"), store)
    assert planner.exhausted


def test_references_can_be_added(study: Make, place: str) -> None:
    store = finished(study(PLAIN), place, 6)
    planner, notes = launched(study(), store)
    assert notes == ()
    expected = [f"reference-{name}" for name in ("plain", "plain_small", "official")]
    assert [planned.key for planned in iter(planner.next, None)] == expected


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ("train.epochs=7", "train.epochs"),
        ("data.rho=0.5", "data.rho"),
        ("data.size=[32, 32]", "data.size"),
        ("model.arch=unet", "model.arch"),
        ("objective.mode=min", "objective.mode"),
        ("objective.metric=train/loss", "objective.metric"),
        (
            "evaluation.context={}",
            ", ".join(f"evaluation.context.{key}" for key in ("classes", "every", "fill", "frames")),
        ),
    ],
)
def test_what_makes_trials_incomparable_is_refused_with_the_way_out(
    study: Make, place: str, change: str, fields: str
) -> None:
    store = finished(study(PLAIN), place, 2)
    with pytest.raises(InputError) as refused:
        read_history(study(PLAIN, change), store)
    assert f"differs in {fields}: " in str(refused.value)
    assert "--set study=NAME" in str(refused.value)
    assert "search.warm_start" in str(refused.value)


def test_all_incompatible_fields_are_named(study: Make, place: str) -> None:
    store = finished(study(PLAIN), place, 1)
    with pytest.raises(InputError, match=r"data\.rho, model\.arch, train\.epochs"):
        read_history(study(PLAIN, "data.rho=0.5", "model.arch=unet", "train.epochs=9"), store)


NARROW = "suppression.p_max={uniform: [0.0, 0.45]}"


def test_a_changed_space_reuses_what_fits_and_says_so_at_every_launch(study: Make, place: str) -> None:
    store = finished(study(PLAIN, "search.trials=6"), place, 6)
    fitting = [r.key for r in store.records() if (r.planned.picks or {})["suppression.p_max"] <= 0.45]
    assert 0 < len(fitting) < 6
    narrow = study(PLAIN, NARROW)
    planner, notes = launched(narrow, store)
    assert len(notes) == 1
    assert "suppression.p_max" in notes[0]
    assert f"{len(fitting)} of 6" in notes[0]
    assert f"{6 - len(fitting)} are left out" in notes[0]
    handed = [planned.key for planned in iter(planner.next, None)]
    assert handed == [f"search-{6 + number:04d}" for number in range(6 - len(fitting))], "no number is used twice"
    again, _ = launched(narrow, store)
    assert [planned.key for planned in iter(again.next, None)] == handed
    history = read_history(narrow, store)
    assert [record.key for record in history.records] == fitting
    assert len(history.outside) == 6 - len(fitting)


def test_a_reference_is_located_in_the_space_as_it_now_is(study: Make, place: str) -> None:
    references = ("search.references=[plain, official]", "model.init=small")
    wide = study("suppression={p_max: {uniform: [0, 1]}}", *references)
    store = finished(wide, place, 2)
    assert [(record.planned.picks or {}).get("suppression.p_max") for record in store.records()] == [None, 1.0]
    other = study("suppression={alpha: {uniform: [0, 30]}}", *references)
    planner, _ = launched(other, store)
    located = {record.key: record.planned.picks for record in read_history(other, store).records}
    assert located == {"reference-official": {"suppression.alpha": 10.0}, "reference-plain": None}
    assert planner.next() is not None


@pytest.fixture
def weights(tmp_path: Path) -> Callable[[str, bytes], str]:
    """Writes a file of weights, which no planner reads, and names it in an override."""

    def write(name: str, content: bytes = b"one", setting: str = "encoder_weights") -> str:
        (tmp_path / name).write_bytes(content)
        return f"model.{setting}={tmp_path / name}"

    return write


@pytest.mark.parametrize("setting", ["encoder_weights", "weights"])
def test_weights_in_another_place_are_the_same_and_open_trials_find_them(
    study: Make, place: str, weights: Callable[..., str], setting: str
) -> None:
    before = study(PLAIN, weights("a.pt", setting=setting))
    store = finished(before, place, 2)
    open_trial = Planner(before, store.records()).next()
    assert open_trial is not None
    store.plan(open_trial)
    planner, notes = launched(study(PLAIN, weights("b.pth", setting=setting)), store)
    assert notes == ()
    again = planner.next()
    assert again is not None
    assert again.key == open_trial.key
    assert without_places(again.config) == without_places(open_trial.config)
    assert '/b.pth", "sha256' in json.dumps(again.config["model"])


def test_trials_from_other_weights_are_left_out(study: Make, place: str, weights: Callable[..., str]) -> None:
    store = finished(study(PLAIN, weights("a.pt")), place, 2)
    planner, notes = launched(study(PLAIN, weights("a.pt", b"other")), store)
    assert "0 of 2 earlier trials lie in it and are used, 2 are left out" in notes[0]
    assert len(list(iter(planner.next, None))) == 6
    with pytest.raises(InputError, match=r"differs in model\.encoder_weights: "):
        launched(study(PLAIN), store)


def test_weights_may_be_searched(study: Make, place: str, weights: Callable[..., str]) -> None:
    one, other = (weights(name, name.encode()).partition("=")[2] for name in ("a.pt", "b.pt"))
    space = study(PLAIN, f"model.encoder_weights={{choice: [null, {one}, {other}]}}", "search.trials=12")
    store = finished(space, place, 12)
    picks = {(record.planned.picks or {})["model.encoder_weights"] for record in store.records()}
    assert picks == {None, one, other} or picks == {"null", one, other}
    history = read_history(space, store)
    assert [record.planned.picks for record in history.records] == [r.planned.picks for r in store.records()]
    assert history.outside == ()


def test_a_space_that_is_widened_again_takes_the_others_back(study: Make, place: str) -> None:
    store = finished(study(PLAIN), place, 6)
    launched(study(PLAIN, NARROW), store)
    planner, _ = launched(study(PLAIN), store)
    assert planner.exhausted


def test_a_value_that_becomes_fixed_leaves_out_the_others(study: Make, place: str) -> None:
    grid = (PLAIN, "suppression.sampling={name: uniform}", "suppression.alpha=1.0", "search.trials=null")
    two = study(*grid, "search.sampler=grid", "suppression.p_max={choice: [0.25, 0.75]}")
    store = finished(two, place, 2)
    one = study(*grid, "search.sampler=grid", "suppression.p_max={choice: [0.75]}")
    planner, (note,) = launched(one, store)
    assert "1 of 2" in note
    assert planner.exhausted, "the cell that is left has run"


def test_trials_that_ended_without_a_verdict_get_it(study: Make, place: str) -> None:
    loaded = study(PLAIN)
    store = finished(loaded, place, 1)
    planned = Planner(loaded, store.records()).next()
    assert planned is not None
    store.plan(planned)
    store.write_epochs(planned.key, 1, [{"val/miou": 0.5}] * 4)
    assert [record.state for record in settled(loaded, store)] == [State.COMPLETE] * 2
    assert store.records()[1].state is State.COMPLETE
    assert launched(loaded, store)[0].next() != planned


def test_failed_trials_run_again_only_where_asked(study: Make, place: str) -> None:
    loaded = study(PLAIN)
    store = finished(loaded, place, 2)
    finished(loaded, place, 2, State.FAILED)
    assert [r.state for r in read_history(loaded, store).records[2:]] == [State.FAILED] * 2
    history = read_history(loaded, store, retry_failed=True)
    assert [r.state for r in history.records] == [State.COMPLETE] * 2 + [State.INTERRUPTED] * 2
    assert all(r.reason == "run again after: x" for r in history.records[2:])
    planner = Planner(loaded, history.records)
    assert [planned.key for planned in iter(planner.next, None)] == [f"search-{n:04d}" for n in range(2, 6)]
    assert [r.state for r in read_history(loaded, store).records[2:]] == [State.FAILED] * 2, "it may yet be refused"
    keep_retried(store, history.records)
    assert [r.state for r in read_history(loaded, store).records[2:]] == [State.INTERRUPTED] * 2, "a kill forgets none"


def test_a_warm_start_imports_conditional_trials_once(study: Make, place: str) -> None:
    other = finished(study(PLAIN), place, 6)
    conditional = [
        r for r in other.records() if "suppression.sampling.inverse_frequency.tau" in (r.planned.picks or {})
    ]
    warm = study("study=warm", PLAIN, "search.warm_start=[s]", "search.seed=5")
    store = Store(place, "warm")
    imported, notes = import_trials(warm, store, store.records())
    assert len(imported) == 6
    assert notes == ["Imported 6 of 6 complete trials of s; the others differ in more"]
    assert {r.planned.kind for r in imported} == {"imported"}
    assert sum(len(r.planned.picks or {}) == 4 for r in imported) == len(conditional) or conditional == []
    assert [r.epochs for r in imported] == [r.epochs for r in other.records()]
    again, _ = import_trials(warm, store, store.records())
    assert again == []
    planner = Planner(warm, store.records())
    assert len(planner._optuna.study.trials) == 6
    assert [planned.key for planned in iter(planner.next, None)] == [f"search-{n:04d}" for n in range(6)]


def test_a_warm_start_takes_only_what_fits_and_needs_the_study(study: Make, place: str) -> None:
    other = finished(study(PLAIN), place, 6)
    fitting = sum((r.planned.picks or {})["suppression.p_max"] <= 0.45 for r in other.records())
    narrow = study("study=warm", PLAIN, "search.warm_start=[s]", NARROW)
    imported, (note,) = import_trials(narrow, Store(place, "warm"), ())
    assert len(imported) == fitting
    assert note.startswith(f"Imported {fitting} of 6 complete")
    longer = study("study=longer", PLAIN, "search.warm_start=[s]", "train.epochs=9")
    assert import_trials(longer, Store(place, "longer"), ())[0] == []
    with pytest.raises(InputError, match=r"search\.warm_start: .*/nothing holds no study"):
        import_trials(study("study=warm", "search.warm_start=[nothing]"), Store(place, "warm"), ())


def test_equal_configurations_of_a_warm_start_are_not_run_again(study: Make, place: str) -> None:
    grid = (
        PLAIN,
        "suppression.sampling={name: uniform}",
        "suppression.alpha=1.0",
        "search.trials=null",
        "search.sampler=grid",
    )
    finished(study(*grid, "suppression.p_max={choice: [0.25, 0.75]}"), place, 2)
    warm = study("study=warm", *grid, "suppression.p_max={choice: [0.25, 0.5, 0.75]}", "search.warm_start=[s]")
    store = Store(place, "warm")
    imported, _ = import_trials(warm, store, ())
    assert len(imported) == 2
    planner = Planner(warm, imported)
    left = list(iter(planner.next, None))
    assert [planned.config["suppression"]["p_max"] for planned in left] == [0.5]


def test_trials_that_ended_without_a_verdict_get_it_and_leave_one_checkpoint(study: Make, place: str) -> None:
    loaded = study(PLAIN)
    store = finished(loaded, place, 1)
    planner = Planner(loaded, store.records())
    for _ in range(3):
        planned = planner.next()
        assert planned is not None
        store.plan(planned)
        values = [{"val/miou": planned.number + epoch / 10} for epoch in range(1, 5 if planned.number < 3 else 3)]
        store.write_epochs(planned.key, 1, values)
        if planned.number == 1:  # the best so far, of an earlier launch
            store.judge(Record(planned, tuple(values)).ended(State.COMPLETE), {})
        for epoch in (len(values) - 1, len(values)):
            store.objects.write_sealed(f"trials/{planned.key}/{CheckpointName(1, epoch)}", b"state")
    states = [record.state for record in settled(loaded, store)]
    assert states == [State.COMPLETE, State.COMPLETE, State.COMPLETE, State.RUNNING]
    left = {record.key: store.checkpoints(record.key) for record in store.records()}
    assert left["search-0001"] == []
    assert left["search-0002"] == [CheckpointName(1, 4)], "the best keeps its last"
    assert len(left["search-0003"]) == 2, "unfinished: both are needed"


def test_an_epoch_that_ended_while_no_driver_lived_is_judged(study: Make, place: str) -> None:
    loaded = study(PLAIN, MEDIAN)
    store = finished(loaded, place, 2)
    planned = Planner(loaded, store.records()).next()
    assert planned is not None
    store.plan(planned)
    store.write_epochs(planned.key, 1, [{"val/miou": -1.0}] * 2)
    record = settled(loaded, store)[-1]
    assert (record.state, len(record.epochs), record.reason) == (State.PRUNED, 2, "stopped early after epoch 2")
    assert store.records()[-1] == record


def test_epochs_that_the_pruner_let_pass_are_not_judged_again(study: Make, place: str) -> None:
    loaded = study(PLAIN, MEDIAN)
    store = Store(place, loaded.spec.study)
    session = Session(Planner(loaded), store, [])
    early, late = session.start(), session.start()
    assert early is not None
    assert late is not None
    for epoch in (1, 2, 3):
        assert not session.epoch(early.key, EpochDone(epoch, {"val/miou": 0.1}, last=False)), (
            "nothing to compare it with"
        )
        store.write_epochs(early.key, 1, [{"val/miou": 0.1}] * epoch)
    for epoch in (1, 2, 3):
        assert not session.epoch(late.key, EpochDone(epoch, {"val/miou": 0.9}, last=False))
    session.end(late.key, EpochDone(4, {"val/miou": 0.9}, last=True))
    session.interrupt("interrupted by SIGINT")
    assert [record.state for record in settled(loaded, store)] == [State.INTERRUPTED, State.COMPLETE]
    store.write_epochs(early.key, 2, [{"val/miou": 0.1}] * 4)  # the last epoch came after the driver had gone
    assert [record.state for record in settled(loaded, store)] == [State.COMPLETE] * 2


def test_what_a_new_worker_brings_is_judged_by_the_pruner(study: Make, place: str) -> None:
    loaded = study(PLAIN, MEDIAN)
    store = finished(loaded, place, 2)
    session = Session(Planner(loaded, store.records()), store, [], store.records())
    planned = session.start()
    assert planned is not None
    bad = {"val/miou": -1.0}
    assert not session.epoch(planned.key, EpochDone(1, bad, last=False))
    began = AttemptBegan([bad, bad], [])  # the first worker was lost with the result of epoch 2
    third = EpochDone(3, bad, last=False, began=began)
    assert session.epoch(planned.key, third), "it was to stop at 2"
    session.end(planned.key, third)
    record = store.records()[-1]
    assert (record.state, len(record.epochs)) == (State.PRUNED, 2)


def test_a_worker_that_is_lost_while_its_trial_is_being_stopped_changes_nothing(study: Make, place: str) -> None:
    loaded = study(PLAIN, MEDIAN)
    store = finished(loaded, place, 2)
    session = Session(Planner(loaded, store.records()), store, [], store.records())
    planned = session.start()
    assert planned is not None
    bad = {"val/miou": -1.0}
    done = [EpochDone(epoch, bad, last=False) for epoch in (1, 2)]
    assert [session.epoch(planned.key, epoch) for epoch in done] == [False, True]
    again = replace(done[1], began=AttemptBegan([bad], []))  # the next worker has the checkpoint of epoch 1
    assert session.epoch(planned.key, again)
    session.end(planned.key, again)
    record = store.records()[-1]
    assert (record.state, len(record.epochs)) == (State.PRUNED, 2)


def test_a_study_kept_before_a_setting_of_the_evaluation_was_there_goes_on(study: Make, place: str) -> None:
    store = finished(study(PLAIN), place, 3)
    tree = study(PLAIN).resolved()
    del tree["evaluation"]["test_at_end"]
    store.write_study(tree)
    planner, notes = launched(study(PLAIN), store)
    assert notes == ()
    assert len(list(iter(planner.next, None))) == 3
