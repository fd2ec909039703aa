"""What a dry run says: what a launch would do and refuse, and nothing is written."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from trees import camvid_tree

from orchestrator.errors import InputError
from orchestrator.launch import cost
from orchestrator.launch.cost import START_UP_S, Costs, Probed, measure
from orchestrator.launch.data_sets import check_data_unchanged
from orchestrator.launch.dry_run import dry_run
from orchestrator.launch.forecast import Forecast, sampled
from orchestrator.launch.foreseen import foreseen
from orchestrator.launch.history import read_history
from orchestrator.launch.one_launch import Target
from orchestrator.launch.preflight import check_models, fetch_weights
from orchestrator.launch.stages import Stages
from orchestrator.plan.planner import Planner
from orchestrator.store import layout
from orchestrator.store.records import Store
from orchestrator.store.trial_record import Record, State
from orchestrator.studyfile import Study, load, reference
from trainable.config import TrialConfig
from trainable.train.probe import Probe

Make = Callable[..., Study]
PAIR = "search.references=[plain, official]"
TINY = ("model.arch=linknet", "model.encoder=tu-test_resnet", "data.train_images=40", "data.val_images=4", PAIR)
TWO = (
    "model={choice: [{arch: linknet, encoder: tu-test_resnet, encoder_weights: null}, "
    "{arch: fpn, encoder: resnet18, encoder_weights: null}]}"
)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("DROPCLASS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path / "here"


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> list[TrialConfig]:
    """The trials that are probed; a step takes a second, an evaluation two, on resnet18 ten times as long."""
    seen: list[TrialConfig] = []

    def fake(config: TrialConfig) -> Probe:
        seen.append(config)
        slow = 10.0 if config.model.encoder == "resnet18" else 1.0
        return Probe(1_000_000, 2, slow, 2 * slow, 3.0, 0.0)

    monkeypatch.setattr(cost, "probe", fake)
    return seen


def said(study: Study, capsys: pytest.CaptureFixture[str], target: Target = Target(), **options: str) -> list[str]:  # noqa: B008
    """The lines of a dry run, without the study itself."""
    dry_run(study, storage=options.get("storage", "out"), target=target, command="again")
    out = capsys.readouterr().out
    return out[out.index("\n\n") :].strip().splitlines()


def line(lines: list[str], head: str) -> str:
    (found,) = [each for each in lines if each.startswith(head)]
    return found


def run_trials(study: Study, count: int, *, begun: int = 0) -> Store:
    """A study of which so many trials are complete, and one more has so many epochs."""
    store = Store("out", study.spec.study)
    planner = Planner(study, store.records())
    store.write_study(study.resolved(), check_data_unchanged(study, {}))
    for index in range(count + bool(begun)):
        planned = planner.next()
        assert planned is not None
        store.plan(planned)
        epochs = [{"val/miou": 0.5 + index / 100}] * (4 if index < count else begun)
        store.write_epochs(planned.key, 1, epochs)
        if index < count:
            store.judge(*planner.finish(Record(planned, tuple(epochs)).ended(State.COMPLETE)))
    return store


def files(place: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def test_the_cheapest_and_the_dearest_kind_are_probed(
    study: Make, probed: list[TrialConfig], capsys: pytest.CaptureFixture[str], place: Path
) -> None:
    lines = said(study(TWO, "data.train_images=40", PAIR), capsys)
    assert sorted({config.model.encoder for config in probed}) == ["resnet18", "tu-test_resnet"]
    assert len(probed) == 2
    models = [each for each in lines if each.startswith("model ")]
    assert "linknet / tu-test_resnet" in models[0]
    assert "(the cheapest of 3 kinds of trials)" in models[0], "both models, and a plain reference"
    assert "fpn / resnet18 suppressed at decoder" in models[1]
    assert "4 sizes of images and batches were tried" in line(lines, "checked")
    assert lines[-1] == "Run it with:  again"
    assert files(place) == {}


def test_an_estimate_is_of_the_mix_with_its_start_up(study: Make, probed: list[TrialConfig]) -> None:
    loaded = study(TWO, "data.train_images=40", "search.references=[]")
    trials = sampled(loaded)
    costs = measure(loaded, trials)
    shares = sum(trial.model.encoder == "resnet18" for trial in trials) / len(trials)
    assert 0.3 < shares < 0.7
    seconds = costs.seconds(Forecast("search", ((10, trials),)))
    assert seconds == pytest.approx(10 * (3 + 4 * (4 + 36 * shares)))


def test_a_trial_between_the_two_costs_what_its_arithmetic_says(study: Make) -> None:
    low, mid, high = (reference(study(*TINY, f"train.batch_size={n}"), "plain", 0) for n in (2, 4, 8))
    ends = [Probed(low, 10.0, Probe(1, 1, 1.0, 0.0, 0.0, 0.0)), Probed(high, 30.0, Probe(1, 1, 5.0, 0.0, 0.0, 0.0))]
    costs = Costs(*ends, {low: 10.0, mid: 20.0, high: 30.0}, "")
    assert [costs.epoch_seconds(trial) for trial in (low, mid, high)] == [1, 3, 5]


def test_what_no_trial_of_a_model_can_run_is_told_by_launch_and_dry_run(study: Make, probed: list[TrialConfig]) -> None:
    mixed = study("model.arch={choice: [fpn, pan]}", "data.train_images=40")
    with pytest.raises(
        InputError, match="'pan' on encoder 'resnet18' cannot be trained on 20 images of 64 x 64"
    ) as told:
        check_models(mixed)
    with pytest.raises(InputError) as dry:
        dry_run(mixed, storage="out", target=Target(), command="again")
    assert str(dry.value) == str(told.value)
    assert probed == []


def test_what_there_was_no_time_for_is_told(
    study: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.launch.preflight.REHEARSED_S", 0.0)
    check_models(study("model.encoder={choice: [mobilenet_v2, resnet18]}"))
    assert capsys.readouterr().out == (
        "note: 0 sizes of images and batches were tried on their models, in shapes alone; 2 were not tried for want of "
        "time: their trials tell\n"
    )


def test_every_batch_and_size_is_foreseen(study: Make) -> None:
    images = foreseen(
        study(
            "train.batch_size={int: [1, 16]}",
            "data.augment={crop: [32, 64]}",
            "evaluation={scales: [0.5, 1.0], window: [64, 32]}",
            "suppression={}",
            "ablation={design: one_at_a_time, factors: {data.augment.crop: [[32, 64], [64, 64]]}, seeds: 2}",
        )
    ).images
    assert {(each.batch, each.size) for each in images if each.training} == {
        *((n, (32, 64)) for n in (1, 16)),
        *((9, crop) for crop in ((32, 64), (64, 64))),
    }
    assert {each.size for each in images if not each.training} == {(32, 32), (64, 32)}


def test_what_another_machine_may_have_is_told_and_refuses_nothing(
    study: Make, probed: list[TrialConfig], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study of a cluster is looked at on a laptop, too."""

    def offline(*_: object, **options: bool) -> None:
        raise OSError("no route")

    monkeypatch.setattr("orchestrator.launch.dry_run.this_machine", lambda: {"CPU": 2, "GPU": 0})
    monkeypatch.setattr("trainable.model.weights.HubFiles.fetch", offline)
    monkeypatch.setattr("trainable.model.weights.HubFiles.reach", offline)
    loaded = study(*TINY, "resources.gpu=1", "model.encoder=resnet18", "model.encoder_weights=imagenet")
    lines = said(loaded, capsys)
    lacking = [each.removeprefix("not here    ") for each in lines if each.startswith("not here ")]
    with pytest.raises(InputError) as told:
        fetch_weights(loaded)
    assert lacking[0] == str(told.value)
    assert "not in the local cache" in lacking[0]
    assert lacking[1].startswith("resources: {cpu: 1, gpu: 1}: no node can ever meet this")
    assert len(lacking) == 2
    assert [config.model.encoder_weights for config in probed] == [None, None], "random weights cost as much"
    assert "one after the other" in line(lines, "estimate")
    assert lines[-1] == "Run it where it is not refused, with:  again"


def test_a_fraction_and_a_limit_decide_the_slots(
    study: Make, probed: list[TrialConfig], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.launch.dry_run.this_machine", lambda: {"CPU": 16, "GPU": 1})
    loaded = study(*TINY, "resources.gpu=0.3")
    assert "on 3 slots of this machine" in line(said(loaded, capsys), "estimate")
    assert "on 2 slots of this machine" in line(said(loaded, capsys, Target(max_concurrent=2)), "estimate")
    assert "a cluster runs at a time is known at the launch" in line(said(loaded, capsys, Target("a:1")), "estimate")


def test_the_ranks_of_a_trial_are_told(
    study: Make, probed: list[TrialConfig], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.launch.dry_run.this_machine", lambda: {"CPU": 16, "GPU": 8})
    remark = "; steps were probed on one, and the estimate is of one"
    on_cpus = said(study(*TINY, "resources.cpu=4", "resources.ranks=4"), capsys)
    assert line(on_cpus, "ranks") == f"ranks       4 per trial, 1 thread each{remark}"
    on_gpus = said(study(*TINY, "resources.cpu=4", "resources.gpu=4"), capsys)
    assert line(on_gpus, "ranks") == f"ranks       4 per trial, one on each GPU{remark}"
    assert "on 2 slots of this machine" in line(on_gpus, "estimate")
    assert not any(each.startswith("ranks ") for each in said(study(*TINY), capsys))


def test_what_a_gpu_holds_at_a_time_is_told_where_one_is_at_hand(
    study: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_gpu(config: TrialConfig) -> Probe:
        peak = 9 * 2**30 if config.model.encoder == "resnet18" else 2**30
        return Probe(1_000_000, 2, 1.0, 2.0, 3.0, 0.0, peak_bytes=peak, gpu_bytes=24 * 2**30)

    monkeypatch.setattr(cost, "probe", on_gpu)
    monkeypatch.setattr("orchestrator.launch.dry_run.this_machine", lambda: {"CPU": 16, "GPU": 1})
    lines = said(study(*TINY, TWO, "resources.gpu=auto"), capsys)
    assert line(lines, "memory") == "memory      1.00 to 9.00 GiB of a GPU's 24.0: 2 to 13 trials on it at a time"
    assert "on 2 slots of this machine" in line(lines, "estimate")


def test_without_a_gpu_auto_is_measured_on_the_cluster(
    study: Make, probed: list[TrialConfig], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.launch.dry_run.this_machine", lambda: {"CPU": 2, "GPU": 0})
    lines = said(study(*TINY, "resources.gpu=auto"), capsys)
    assert line(lines, "memory").startswith("memory      gpu: auto is measured on the cluster, before the first trial")
    assert line(lines, "not here").startswith("not here    resources: {cpu: 1, gpu: auto}: no node can ever meet this")


def test_a_study_that_was_launched_says_what_is_left_and_stays_as_it_is(
    study: Make, probed: list[TrialConfig], capsys: pytest.CaptureFixture[str], place: Path
) -> None:
    loaded = study(
        *TINY, "search.references=[]", "search.trials=6", "confirm={top: 2, seeds: 2}", "search.references=[plain]"
    )
    run_trials(loaded, 3, begun=2)
    before = files(place)
    lines = said(loaded, capsys)
    assert line(lines, "left") == "left        4 of 7 runs of the search, 6 of 6 runs of the confirm"
    assert "for 10 trials on" in line(lines, "estimate")
    assert files(place) == before


def test_a_search_that_has_ended_leaves_the_comparison(
    study: Make, probed: list[TrialConfig], capsys: pytest.CaptureFixture[str], place: Path
) -> None:
    loaded = study(*TINY, "search.trials=2", "confirm={top: 1, seeds: 2}")
    run_trials(loaded, 4)
    lines = said(loaded, capsys)
    assert line(lines, "left") == "left        0 of 4 runs of the search, 6 of 6 runs of the confirm"
    assert "for 6 trials" in line(lines, "estimate")
    finished = study(*TINY, "search.trials=2")
    assert line(said(finished, capsys), "left") == "left        nothing: the study is finished"


def test_trials_that_would_run_again_are_left(
    study: Make, probed: list[TrialConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = study(*TINY, "search.references=[]", "search.trials=2")
    store = run_trials(loaded, 2)
    first = store.records()[0]
    store.write_epochs(first.key, 1, first.epochs[:2])
    store.judge(replace(first, epochs=first.epochs[:2], state=State.FAILED, reason="x"), {})
    assert "nothing" in line(said(loaded, capsys), "left")
    assert "1 of 2 runs of the search" in line(said(loaded, capsys, Target(retry_failed=True)), "left")
    assert store.records()[0].state is State.FAILED


def test_epochs_that_have_run_shorten_the_estimate(
    study: Make, probed: list[TrialConfig], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.launch.dry_run.this_machine", lambda: {"CPU": 1, "GPU": 0})
    loaded = study(*TINY, "search.references=[]", "search.trials=3")
    whole = line(said(loaded, capsys), "estimate")
    assert f"estimate    {round(3 * (3 + 4 * 4) + START_UP_S) // 60} min" in whole
    run_trials(loaded, 1, begun=2)
    assert line(said(loaded, capsys), "estimate").startswith(
        f"estimate    {round(2 * (3 + 4 * 4) - 2 * 4 + START_UP_S)} s"
    )


def test_a_study_that_another_launch_holds_would_be_waited_for(
    study: Make, probed: list[TrialConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = study(*TINY)
    store = run_trials(loaded, 1)
    store.objects.write_json(layout.LEASE, {"owner": "x", "host": "elsewhere", "pid": 7, "time": 4e9})
    by = "held        by another launch (host elsewhere, process 7, last heartbeat 0 s ago): a launch "
    shown = said(loaded, capsys)
    assert line(shown, "held") == f"{by}waits for its end"
    assert line(shown, "left").startswith("left        7 of 8 runs")
    refused = said(loaded, capsys, Target(wait=False))
    assert line(refused, "held") == f"{by}is refused with exit code 75"
    store.objects.delete(layout.LEASE)
    assert not [each for each in said(loaded, capsys) if each.startswith("held")]


def test_data_and_settings_that_changed_are_refused_in_the_words_of_a_launch(
    tmp_path: Path, probed: list[TrialConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    camvid_tree(tmp_path / "data")
    path = tmp_path / "s.yaml"
    path.write_text(
        "study: s\nobjective: {metric: val/miou, mode: max}\n"
        f"data: {{name: camvid, root: {tmp_path}/data, size: [32, 64]}}\n"
        "model: {arch: linknet, encoder: tu-test_resnet, encoder_weights: null}\ntrain: {epochs: 4, batch_size: 2}\n"
        "suppression: {p_max: {uniform: [0, 1]}}\nsearch: {sampler: random, trials: 2, references: []}\n"
    )
    loaded = load(path, (), {})
    store = run_trials(loaded, 1)
    kept = store.read_study()
    assert kept is not None
    store.write_study(kept.specification, dict.fromkeys(kept.data, "0" * 40))
    with pytest.raises(InputError, match="differ from those that the study began with") as dry:
        said(loaded, capsys)
    with pytest.raises(InputError) as launched:
        check_data_unchanged(loaded, dict.fromkeys(kept.data, "0" * 40))
    assert str(dry.value) == str(launched.value)
    longer = load(path, ["train.epochs=5"], {})
    with pytest.raises(InputError, match=r"differs in train\.epochs"):
        said(longer, capsys)


SMALL = ("suppression={p_max: {choice: [0.1, 0.2, 0.3]}, sampling: {choice: [uniform, present]}}", "search.trials=100")


def test_a_budget_beyond_the_space_is_told_by_dry_run_and_launch(
    study: Make, probed: list[TrialConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = study(*TINY, *SMALL, "confirm={top: 8, seeds: 2}")
    lines = said(loaded, capsys)
    cap = "search.trials is 100, but the space has 6 configurations: 6 will run"
    few = "confirm.top is 8, but the search has 6 different trials: 6 will be confirmed"
    assert [each for each in lines if each.startswith("capped")] == [f"capped      {cap}", f"capped      {few}"]
    notes: list[str] = []
    store = run_trials(loaded, 0)
    Stages(loaded, store, read_history(loaded, store), notes.append).next()
    assert notes == [cap]
    run_trials(loaded, 8)
    notes.clear()
    stages = Stages(loaded, store, read_history(loaded, store), notes.append)
    assert stages.next() is not None
    stages.next()
    assert notes == [cap, few]
    assert "40" not in line(said(study(*TINY, *SMALL[:1]), capsys), "trials")


def test_what_a_budget_buys(
    study: Make, probed: list[TrialConfig], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.launch.dry_run.this_machine", lambda: {"CPU": 2, "GPU": 1})
    ablation = "ablation={design: {name: arms}, arms: [plain, full], seeds: 8}"
    gpu = "resources={gpu: 0.5}"
    wanted = study(*TINY, gpu, "budget={gpu_hours: 0.1, price_per_gpu_hour: 3}", ablation, "search.trials=4")
    assert dry_run(wanted, storage="out", target=Target(), command="GO") == 0
    out = capsys.readouterr().out
    assert "budget      gpu_hours: 0 of 0.1 spent (0.00 at 3 per GPU-hour)" in out
    line = next(line for line in out.splitlines() if line.startswith("buys"))
    # 3 s to start and 4 epochs of 2 steps of 1 s and an evaluation of 2 s: 19 s a trial, half a GPU: 37 trials
    assert line.startswith("buys        6 of 6 trials of the search, then 8 of 8 seeds of the ablation's 3 arms (no p")
    assert "deviations or more" in line
    assert line.endswith("0.0792 GPU-hours (0.24 at 3 per GPU-hour)")
    wanted = study(*TINY, gpu, "budget={gpu_hours: 0.03}", ablation, "search.trials=4")
    dry_run(wanted, storage="out", target=Target(), command="GO")
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("buys"))
    assert "then 1 of 8 seeds of the ablation's 3 arms (no p below 1; no difference can be shown)" in line
