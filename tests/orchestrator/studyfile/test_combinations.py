"""Combinations of sampler, pruner, objectives and space that are refused."""

# ruff: noqa: E501 - a table of messages, each on its line

import pytest

from orchestrator.plan.samplers import build_pruner, early_stopping
from orchestrator.studyfile.space.ramps import longest_plain_beginning, searched_ramps

TWO = "[{metric: val/miou, mode: max}, {metric: train/loss, mode: min}]"
NUMERIC = "{p_max: {uniform: [0, 1]}, alpha: {uniform: [0, 30]}}"
CHOICE = "{p_max: {uniform: [0, 1]}, alpha: {uniform: [0, 30]}, schedule: {choice: [linear, constant]}}"
NESTED = "{sampling: {choice: [{name: uniform}, {name: inverse_frequency, tau: {uniform: [1, 2]}}]}}"

REFUSED = [
    ({"objective": TWO, "search": "{trials: 4, pruner: asha}"}, "7 search.pruner: asha prunes by one objective, the study has 2; use null"),
    ({"objective": TWO, "search": "{trials: 4, sampler: cmaes}", "suppression": NUMERIC}, "7 search.sampler: cmaes searches for one objective, the study has 2; use tpe or nsgaii"),
    ({"search": "{trials: 4, sampler: cmaes}", "suppression": CHOICE}, "7 search.sampler: cmaes covers numeric domains only, suppression.schedule is a choice; use tpe or random"),
    ({"search": "{trials: 4, sampler: cmaes}"}, "7 search.sampler: cmaes needs at least two numeric domains, the study has suppression.p_max; use tpe or gp"),
    ({"search": "{trials: 4, sampler: gp}", "suppression": NESTED}, "7 search.sampler: gp needs a flat space, suppression.sampling.inverse_frequency.tau applies only under an option of a choice; use tpe"),
    ({"search": "{trials: 4, sampler: qmc}", "suppression": NESTED}, "7 search.sampler: qmc needs a flat space, suppression.sampling.inverse_frequency.tau applies only under an option of a choice; use tpe"),
    ({"search": "{sampler: grid}"}, "7 search.sampler: grid needs finite domains, suppression.p_max is continuous; add a step, or use a choice"),
    ({"search": "{sampler: tpe}"}, "7 search.trials: missing; only the sampler grid can do without, it then tries every configuration"),
    ({"search": "{trials: 2}", "suppression": "null"}, "7 search.trials: 2 trials of a study without a domain would repeat one configuration; write trials: 1 or add a domain"),
    ({"search": "{trials: 4, pruner: {name: median, grace_epochs: 12}}"}, "7 search.pruner.grace_epochs: grace_epochs must be below train.epochs, or nothing is ever pruned: 12 of 12"),
    ({"suppression": "{start: {uniform: [0, 1]}}"}, "6 suppression.start: must be < 1, got uniform [0, 1]"),
    ({"suppression": "{start: {choice: [0.5, 1.5]}}"}, "6 suppression.start: must be < 1, got 1.5"),
    ({"suppression": "{start: {int: [0, 4]}}"}, "6 suppression.start: must be < 1, got int [0, 4]"),
    ({"suppression": "{start: {uniform: [0, 0.5]}}", "preset": "official"}, "6 suppression.start: is searched, but the preset official replaces it; give it a value"),
    ({"preset": "plain"}, "6 suppression.p_max: is searched, but the preset plain replaces it; give it a value"),
    ({"preset": "two_path"}, "6 suppression.p_max: is searched, but the preset two_path replaces it; give it a value"),
    ({"preset": "{choice: [plain, block]}"}, "6 suppression.p_max: is searched, but the preset plain or block replaces it; give it a value"),
    ({"preset": "class_weighted", "suppression": "{choice: [null, {alpha: 1}]}"}, "6 suppression: is searched, but the preset class_weighted replaces it; give it a value"),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "mistake"), REFUSED)
def test_refused(complain, lines, mistake):
    assert complain(**lines) == [mistake]


@pytest.mark.parametrize(
    "lines",
    [
        {"objective": TWO, "search": "{trials: 4, sampler: nsgaii}"},
        {"search": "{trials: 4, sampler: cmaes, pruner: hyperband}", "suppression": NUMERIC},
        {"search": "{trials: 4, sampler: qmc, pruner: patient}", "suppression": CHOICE},
        {"search": "{trials: 4, sampler: {name: gp, startup_trials: 2}}", "suppression": CHOICE},
        {"search": "{trials: 4, sampler: tpe, pruner: {name: asha, grace_epochs: 11}}", "suppression": NESTED},
        {"search": "{sampler: grid}", "suppression": "{p_max: {uniform: [0, 1], step: 0.5}}"},
        {"search": "{sampler: grid}", "suppression": "null"},
        {"search": "{trials: 1}", "suppression": "null"},
        {"preset": "{choice: [plain, full]}"},
        {"preset": "dropped_path"},
        {"preset": "plain", "suppression": "{alpha: 3}", "train": "{epochs: 2, batch_size: 8, lr: {uniform: [0.1, 0.2]}}"},
        {"suppression": "{choice: [{start: {uniform: [0, 0.9]}}, {layer: input, start: 0.5}]}"},
        {"search": "{trials: 4, pruner: asha}", "train": "{epochs: 2, batch_size: 8}"},
        {"search": "{trials: 4, pruner: {name: asha, grace_epochs: 5}}", "train": "{epochs: {int: [2, 6]}, batch_size: 8}"},
    ],
)  # fmt: skip
def test_accepted(read, lines):
    assert read(**lines).spec.study == "s"


def test_the_default_grace_period(read):
    pruner = read(search="{trials: 4, pruner: asha}").spec.search.pruner
    assert [pruner.grace(epochs) for epochs in (2, 12, 60)] == [2, 3, 10]
    assert read(search="{trials: 4, pruner: {name: asha, grace_epochs: 5}}").spec.search.pruner.grace(60) == 5


@pytest.mark.parametrize(
    ("lines", "ramps"),
    [
        ({}, []),
        ({"suppression": "null", "search": "{trials: 1}"}, []),
        ({"suppression": "{p_max: {uniform: [0, 1]}, alpha: {choice: [1, 10]}}"}, []),
        ({"suppression": "{schedule: {choice: [linear, constant]}}"}, ["suppression.schedule"]),
        ({"suppression": "{loss_ramp: {choice: [linear, {name: linear}]}}"}, []),  # one and the same
        ({"suppression": "{loss_ramp: {name: constant, weight: {uniform: [0.2, 0.9]}}}"}, ["suppression.loss_ramp"]),
        ({"suppression": "{schedule: {choice: [{name: warmup_constant, warmup: {choice: [0.1, 0.2]}}]}}"}, ["suppression.schedule"]),
        ({"suppression": "{choice: [{schedule: constant}, {alpha: 1}]}"}, ["suppression.schedule"]),
        ({"suppression": "{choice: [null, {schedule: constant, loss_ramp: cosine}]}"}, []),
        ({"suppression": "{}", "train": "{epochs: {int: [4, 12]}, batch_size: 8}"}, []),
        ({"suppression": "{schedule: {choice: [linear, cosine]}, loss_ramp: {choice: [linear, constant]}}"},
         ["suppression.schedule", "suppression.loss_ramp"]),
        ({"resources": "{cpu: 1}\npreset: {choice: [full, block]}"}, ["suppression.loss_ramp"]),
        ({"resources": "{cpu: 1}\npreset: {choice: [plain, full]}"}, []),
        ({"suppression": "{start: {uniform: [0, 0.5]}}"}, ["suppression.start"]),
        ({"suppression": "{start: 0.5, p_max: {uniform: [0, 1]}}"}, []),
        ({"suppression": "{choice: [{start: 0.5}, {alpha: 1}]}"}, ["suppression.start"]),
        ({"suppression": "{schedule: constant}", "resources": "{cpu: 1}\npreset: {choice: [full, official]}"}, ["suppression.schedule"]),
    ],
)  # fmt: skip
def test_which_ramps_differ_between_trials(read, lines, ramps):
    assert searched_ramps(read(**lines).space.tree) == ramps


@pytest.mark.parametrize(("epochs", "grace"), [(2, 2), (5, 3), (12, 6), (13, 7), (60, 30)])
def test_where_ramps_differ_the_default_grace_is_half_the_training(read, epochs, grace):
    lines = {"train": f"{{epochs: {epochs}, batch_size: 8}}", "search": "{trials: 4, pruner: asha}"}
    differing = {"suppression": "{loss_ramp: {choice: [linear, constant]}, alpha: {uniform: [0.1, 3]}}"}
    study = read(**lines, **differing)
    assert study.spec.search.pruner.grace(epochs, ramps_differ=True) == grace
    assert build_pruner(study.spec.search.pruner, study.space)._min_resource == grace
    told = early_stopping(study.spec.search.pruner, study.space)
    half = ": half the training, as trials differ in suppression.loss_ramp" if epochs > 5 else ""
    assert told == f"asha, after epoch {grace} of {epochs}{half}"
    same = read(**lines)
    usual = min(epochs, max(3, epochs // 6))
    assert build_pruner(same.spec.search.pruner, same.space)._min_resource == usual
    assert early_stopping(same.spec.search.pruner, same.space) == f"asha, after epoch {usual} of {epochs}"
    written = read(**lines | {"search": "{trials: 4, pruner: {name: asha, grace_epochs: 1}}"}, **differing)
    assert build_pruner(written.spec.search.pruner, written.space)._min_resource == 1


@pytest.mark.parametrize(
    ("suppression", "latest", "grace"),
    [
        ("{start: 0.5, p_max: {uniform: [0, 1]}}", 6, 9),
        ("{start: {choice: [0, 0.25, 0.75]}}", 9, 12),
        ("{start: {uniform: [0, 0.5]}, alpha: 1}", 6, 9),
        ("{start: {choice: [0.1, 0.25]}}", 3, 8),
        ("{choice: [{start: 0.34}, null]}", 4, 7),
        ("{start: 0.0, p_max: {uniform: [0, 1]}}", 0, 3),
    ],
)
def test_the_default_grace_reaches_beyond_the_latest_start(read, suppression, latest, grace):
    """Three epochs beyond it, or half of those that are left where the starts differ."""
    study = read(search="{trials: 2, pruner: asha}", suppression=suppression)
    assert longest_plain_beginning(study.space.tree, 12) == latest
    assert build_pruner(study.spec.search.pruner, study.space)._min_resource == grace
    told = early_stopping(study.spec.search.pruner, study.space)
    half = ": half the training after the latest start, as trials differ in suppression.start"
    assert told == f"asha, after epoch {grace} of 12{half if grace == 8 else ''}"


def test_a_preset_that_replaces_the_suppression_leaves_no_start(read):
    study = read(suppression="{start: 0.5}", search="{trials: 1}", resources="{cpu: 1}\npreset: official")
    assert longest_plain_beginning(study.space.tree, 12) == 0


def test_early_stopping_in_words(read):
    def told(search: str) -> str:
        study = read(search=search)
        return early_stopping(study.spec.search.pruner, study.space)

    assert told("{trials: 4}") == "none: every trial is trained to its end"
    assert told("{trials: 4, pruner: patient}") == "patient, after 5 epochs without improvement"
    assert told("{trials: 4, pruner: median}") == "median, after epoch 3 of 12"
    assert told("{trials: 4, pruner: {name: hyperband, grace_epochs: 2}}") == "hyperband, after epoch 2 of 12"


def test_combinations_are_not_judged_before_the_domains_are_sound(complain):
    found = complain(search="{trials: 9}", suppression="{p_max: {uniform: [1, 0]}}")
    assert found == ["6 suppression.p_max: low must be below high, got [1.0, 0.0]"]
