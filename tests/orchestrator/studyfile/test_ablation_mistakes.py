"""Designs that are impossible, each told at its line and path; and all of a file at once."""

# ruff: noqa: E501 - a table of messages, each on its line

import pytest

from orchestrator.studyfile import ConfigError, load

HEAD = """study: s
objective: {metric: val/miou, mode: max}
data: {name: shapes}
model: {arch: fpn, encoder: resnet18}
train: {epochs: 12, batch_size: 8}
suppression: {alpha: 0.3, gate_norm: mean}
"""
ALPHA = "suppression.alpha: [0.3, 0]"
LAYER = "suppression.layer: [decoder, encoder.4]"


def complaints(path, text, *overrides):
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load(path, overrides, {})
    return str(error.value).replace(f"{path}:", "").splitlines()


@pytest.fixture
def mistakes(tmp_path):
    """Mistakes of a file with an ablation; its section begins in line 7."""
    return lambda ablation, *overrides, head=HEAD: complaints(
        tmp_path / "x.yaml", f"{head}ablation: {ablation}\n", *overrides
    )


MISTAKES = [
    # what erases has no alpha
    ("{design: one_at_a_time, baseline: {preset: erase}, factors: {suppression.alpha: [0, 1]}}", "7 ablation.factors.suppression.alpha: its levels give one configuration: they mean the same, have no effect beside the baseline's settings, or its preset replaces them"),
    ("{design: arms, arms: {erase: erase, high: {preset: erase, suppression.alpha: 10}}}", "7 ablation.arms.high: 'high' is the same configuration as 'erase'"),
    ("{design: arms, arms: {plain: plain, high: {preset: erase, suppression.alpha: 10}}}", "7 ablation.arms.high.suppression.alpha: has no effect beside the arm's other settings; leave it out"),
    ("{design: arms, arms: {auto: {suppression: {layer: input}}, list: {suppression: {layer: [input], mechanism: erase}}}}", "7 ablation.arms.list: 'list' is the same configuration as 'auto'"),
    ("{design: one_at_a_time, factors: {model.encoder: [resnet18, resnt18]}}", "7 ablation.factors.model.encoder[1]: unknown encoder 'resnt18'; close names: resnet18, resnet152, resnet101; tu-NAME takes any timm model"),
    ("{design: one_at_a_time, factors: {suppression.alfa: [0, 1]}}", "7 ablation.factors.suppression.alfa: unknown key 'alfa'; one of layer, p_max, schedule, progress, loss_ramp, alpha, granularity, num_classes, gate_norm, sampling, importance, gradient_every, mechanism, reweight, norm_momentum, recalibrate, start (did you mean 'alpha'?)"),
    ("{design: one_at_a_time, factors: {supression.alpha: [0, 1]}}", "7 ablation.factors.supression.alpha: unknown key 'supression'; one of preset, data, model, train, suppression, evaluation (did you mean 'suppression'?)"),
    ("{design: one_at_a_time, factors: {seed: [0, 1]}}", "7 ablation.factors.seed: unknown key 'seed'; one of preset, data, model, train, suppression, evaluation"),
    ("{design: one_at_a_time, factors: {suppression.alpha: [0]}}", "7 ablation.factors.suppression.alpha: needs at least two levels, got 1"),
    ("{design: one_at_a_time, factors: {suppression.alpha: 0}}", "7 ablation.factors: suppression.alpha: expected a list of levels, got 0"),
    ("{design: one_at_a_time, factors: {suppression.alpha: [0, 1, 0.0]}}", "7 ablation.factors.suppression.alpha[2]: lists the level 0.0 twice"),
    ("{design: one_at_a_time, factors: {suppression.alpha: [0, 99]}}", "7 ablation.factors.suppression.alpha[1]: must be <= 30, got 99"),
    ("{design: one_at_a_time, factors: {suppression.layer: [decoder, encoder.9]}}", "7 ablation.factors.suppression.layer[1]: unknown 'encoder.9'; one of input, encoder.1, encoder.2, encoder.3, encoder.4, encoder.5, branch.1, branch.2, branch.3, branch.4, decoder (did you mean 'encoder.5'?)"),
    ("{design: one_at_a_time, factors: {suppression.sampling: [present, uniform, {name: uniform}]}}", "7 ablation.factors.suppression.sampling[2]: the level {\"name\": \"uniform\"} is the same as 'uniform'"),
    ("{design: one_at_a_time, factors: {suppression: [null, {}], suppression.alpha: [0, 1]}}", "7 ablation.factors.suppression.alpha: lies within the factor suppression; vary one of them"),
    ("{design: factorial, factors: {suppression.alpha: [0, 10]}}", "7 ablation.factors.suppression.alpha: the baseline's value 0.3 is not among the levels"),
    (f"{{design: {{name: fractional, resolution: 3}}, factors: {{{ALPHA}, {LAYER}, suppression.p_max: [1, 0, 0.5]}}}}", "7 ablation.factors.suppression.p_max: a fractional design has two levels of each factor, got 3"),
    (f"{{design: {{name: fractional, resolution: 4}}, factors: {{{ALPHA}, {LAYER}, suppression.p_max: [1, 0]}}}}", "7 ablation.design: resolution 4 needs at least 4 factors, got 3; use factorial"),
    (f"{{design: fractional, factors: {{{ALPHA}}}}}", "7 ablation.design.resolution: missing"),
    (f"{{design: factoral, factors: {{{ALPHA}}}}}", "7 ablation.design: unknown 'factoral'; one of leave_one_out, one_at_a_time, factorial, fractional, path, arms (did you mean 'factorial'?)"),
    (f"{{design: {{name: path, target: {{suppression.alpha: 5}}}}, factors: {{{ALPHA}}}}}", "7 ablation.design.target.suppression.alpha: 5 is not among the levels 0.3, 0"),
    (f"{{design: {{name: path, target: {{suppression.alpha: 0.3}}}}, factors: {{{ALPHA}}}}}", "7 ablation.design.target: is the baseline: there is no way to go"),
    (f"{{design: {{name: path, target: {{suppression.alpha: 0}}}}, factors: {{{ALPHA}, {LAYER}}}}}", "7 ablation.design.target: gives no level of the factor suppression.layer"),
    (f"{{design: factorial, factors: {{{LAYER}, suppression.importance: [auto, classifier]}}}}", "7 ablation.factors.suppression.importance: suppression.layer='encoder.4' with suppression.importance='classifier': suppression.importance: the classifier's weights fit the decoder's channels only; use auto, auxiliary or gradient at encoder.4"),
    (f"{{design: one_at_a_time, factors: {{{ALPHA}}}, arms: [plain]}}", "7 ablation.arms: the design one_at_a_time has factors, not arms"),
    ("{design: arms}", "7 ablation.arms: missing; the design arms needs arms"),
    ("{design: arms, arms: [plain, ful]}", "7 ablation.arms[1]: unknown 'ful'; one of none, official, official_recalibrated, official_ranks, plain, plain_small, class_weighted, ohem, focal, dice, lovasz, logit_adjusted, rare_class_sampling, rare_copy_paste, block, two_path, dropped_path, full, random_channels, erase, ignore, erase_elsewhere, erase_blocks (did you mean 'full'?)"),
    ("{design: arms, arms: [plain, full, plain]}", "7 ablation.arms[2]: lists 'plain' twice"),
    ("{design: arms, arms: [plain, none]}", "7 ablation.arms[1]: 'none' is the same configuration as 'plain'"),
    ("{design: arms, arms: {weak: {suppression.alpha: 0, suppression.recalibrate: true}, off: dropped_path}}", "7 ablation.arms.off: 'off' is the same configuration as 'weak'"),
    ("{design: arms, arms: {one: erase, two: {preset: erase, suppression.alpha: 1}}}", "7 ablation.arms.two: 'two' is the same configuration as 'one'"),
    ("{design: arms, arms: {strong: {suppression.alpha: 31}, off: plain}}", "7 ablation.arms.strong.suppression.alpha: must be <= 30, got 31"),
    ("{design: arms, arms: {same: {suppression.recalibrate: false}}}", "7 ablation.arms: needs an arm besides the baseline"),
    (f"{{design: one_at_a_time, factors: {{{ALPHA}}}, seeds: 1}}", "7 ablation.seeds: must be >= 2, got 1"),
    (f"{{design: one_at_a_time, factors: {{{ALPHA}}}, baseline: winner}}", "7 ablation.baseline: winner is that of a search, and the file has no search"),
    (f"{{design: one_at_a_time, factors: {{{ALPHA}}}, baseline: wnner}}", "7 ablation.baseline: expected winner, {best: STUDY} or a mapping of dotted paths to values"),
    (f"{{design: one_at_a_time, factors: {{{ALPHA}}}, baseline: {{best: a b}}}}", "7 ablation.baseline.best: expected a plain word of at most 200 letters, digits, '.', '-', '_' that does not begin with '.' or '-' nor end with '.'; got 'a b'"),
    (f"{{design: one_at_a_time, factors: {{{ALPHA}}}, baseline: {{suppression.p_max: 3}}}}", "7 ablation.baseline.suppression.p_max: must be <= 1, got 3"),
    (f"{{design: one_at_a_time, factors: {{{ALPHA}}}, sedes: 3}}", "7 ablation.sedes: unknown key 'sedes'; one of design, baseline, factors, arms, seeds, seed (did you mean 'seeds'?)"),
]  # fmt: skip


@pytest.mark.parametrize(("ablation", "mistake"), MISTAKES, ids=[mistake for _, mistake in MISTAKES])
def test_one_mistake_gives_one_line(mistakes, ablation, mistake):
    assert mistakes(ablation) == [mistake]


def test_all_mistakes_come_at_once_each_at_its_line(mistakes):
    section = """
  design: one_at_a_time
  factors:
    suppression.alpha: [0, 99]
    suppression.layr: [decoder, encoder.4]
    suppression.p_max:
      - 1
      - 2
"""
    assert [line.split(":")[0] for line in mistakes(section)] == [
        "10 ablation.factors.suppression.alpha[1]",
        "11 ablation.factors.suppression.layr",
        "14 ablation.factors.suppression.p_max[1]",
    ]


def test_a_domain_needs_a_search(mistakes):
    head = HEAD.replace("alpha: 0.3", "alpha: {uniform: [0, 1]}")
    assert mistakes("{design: arms, arms: [plain, full]}", head=head) == [
        "6 suppression.alpha: a domain needs a search, and the file has none; list the levels under ablation.factors"
    ]


def test_a_confirmation_needs_a_search(tmp_path):
    text = f"{HEAD}confirm: {{top: 2}}\nablation: {{design: arms, arms: [plain, full]}}\n"
    assert complaints(tmp_path / "x.yaml", text) == [
        "7 confirm: repeats the best configurations of a search, and the file has no search"
    ]


SEARCHED = HEAD.replace("alpha: 0.3", "alpha: {choice: [0.3, 0, 1]}") + "search: {trials: 3}\n"


def test_a_design_over_combinations_needs_every_value_that_the_winner_may_have(mistakes):
    assert mistakes("{design: factorial, factors: {suppression.alpha: [0.3, 0]}}", head=SEARCHED) == [
        "8 ablation.factors.suppression.alpha: the winner's value may be 1: not among the levels"
    ]
    ranged = SEARCHED.replace("{choice: [0.3, 0, 1]}", "{uniform: [0, 1]}")
    assert mistakes("{design: factorial, factors: {suppression.alpha: [0, 1]}}", head=ranged)[0].startswith(
        "8 ablation.factors.suppression.alpha: the winner's value is searched in a range"
    )


def test_an_option_that_holds_a_domain_is_worded_too(mistakes):
    sampling = "{choice: [{name: present}, {name: inverse_frequency, tau: {uniform: [0.25, 2]}}]}"
    head = HEAD.replace("alpha: 0.3", f"sampling: {sampling}") + "search: {trials: 3}\n"
    (line,) = mistakes("{design: factorial, factors: {suppression.sampling: [present, uniform]}}", head=head)
    assert line.startswith('8 ablation.factors.suppression.sampling: the winner\'s value may be {"name": "present"}, ')


def test_a_written_baseline_leaves_nothing_to_the_search(mistakes):
    section = "{design: one_at_a_time, factors: {suppression.layer: [decoder, encoder.4]}, baseline: {preset: full}}"
    assert mistakes(section, head=SEARCHED) == [
        "8 ablation.baseline: must give a value to suppression.alpha, which is searched; or write winner"
    ]


def test_options_of_the_command_line_reach_factors_whose_path_is_one_key(mistakes):
    found = mistakes(f"{{design: one_at_a_time, factors: {{{ALPHA}}}}}", "ablation.factors.suppression.alpha=[0, 99]")
    option = "--set ablation.factors.suppression.alpha=[0, 99]"
    assert found == [f"{option}: ablation.factors.suppression.alpha[1]: must be <= 30, got 99"]
