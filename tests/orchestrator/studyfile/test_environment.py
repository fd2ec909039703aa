"""Environment variables in study files."""

import pytest

from orchestrator.studyfile import load, stored_space
from orchestrator.studyfile.sections.search import STUDY_NAME_RULE


def test_a_variable_inside_a_text_is_replaced(read):
    study = read(tracking="{uri: 'http://${USER_NAME}:${PASSWORD}@host'}", env={"USER_NAME": "u", "PASSWORD": "p"})
    assert study.spec.tracking.uri == "http://u:p@host"
    assert study.from_env == {"tracking.uri": "http://${USER_NAME}:${PASSWORD}@host"}
    assert study.resolved()["tracking"]["uri"] == "http://${USER_NAME}:${PASSWORD}@host"


def test_a_value_that_is_wholly_a_variable_is_read_as_yaml(read):
    study = read(train="{epochs: '${E}', batch_size: 8, lr: '${LR}'}", env={"E": "3", "LR": "1e-2"})
    config = study.space.trial(study.space.center(), 0)
    assert (config.train.epochs, config.train.lr) == (3, 0.01)
    assert study.from_env == {"train.epochs": "${E}", "train.lr": "${LR}"}


def test_a_variable_that_is_not_set_is_the_only_mistake_about_its_value(complain):
    found = complain(data="\n  name: ${NAME}\n  rho: ${RHO}", train="{epochs: '${E}', batch_size: 8}")
    assert found == [
        "4 data.name: the environment variable NAME is not set",
        "5 data.rho: the environment variable RHO is not set",
        "7 train.epochs: the environment variable E is not set",
    ]


def test_a_name_that_is_none(complain):
    assert complain(tracking="{uri: '${a b}'}") == [
        "9 tracking.uri: '${a b}' names no environment variable; a literal is written $${"
    ]


def test_an_escaped_reference_stays(read, tmp_path):
    study = read(tracking="{experiment: '$${X} ${'}")
    assert study.spec.tracking.experiment == "${X} ${"
    assert study.from_env == {}
    assert study.resolved()["tracking"]["experiment"] == "$${X} $${"


def test_the_process_environment_is_the_default(write, monkeypatch):
    monkeypatch.setenv("EPOCHS_OF_A_TEST", "5")
    study = load(write(train="{epochs: '${EPOCHS_OF_A_TEST}', batch_size: 8}"))
    assert study.space.max_epochs() == 5


def test_messages_name_the_variable_and_not_its_value(complain):
    assert complain(train="{epochs: '${E}', batch_size: 8}", env={"E": "secret"}) == [
        "5 train.epochs: expected a whole number, got '${E}'"
    ]


def test_variables_in_domains_and_lists(read):
    study = read(
        data="{name: shapes, size: ['${H}', 32]}",
        model="{arch: fpn, encoder: {choice: ['${A}', '${B}']}}",
        suppression="{p_max: {uniform: [0, '${P}']}}",
        env={"H": "64", "A": "resnet18", "B": "resnet34", "P": "0.5"},
    )
    assert study.from_env == {"data.size": '["${H}", 32]', "model.encoder": "${A} | ${B}"}
    assert study.resolved()["suppression"]["p_max"] == {"uniform": [0, "${P}"]}
    assert study.space.resolve(study.space.center())["suppression"] == {"p_max": 0.25}


def test_a_broken_bound_is_reported_once(complain):
    assert complain(suppression="{p_max: {uniform: [0, '${P}']}}") == [
        "6 suppression.p_max.uniform[1]: the environment variable P is not set"
    ]


def by_name(space):
    return {name: domain for name, domain, _ in space.domains()}


def test_the_stored_space_is_that_of_the_study(read):
    study = read(
        train="{epochs: 12, batch_size: {choice: [4, 8]}, lr: {log_uniform: [1.0e-4, 1.0e-2]}}",
        suppression="{p_max: {uniform: [0, 1]}, layer: {choice: [decoder, [encoder.4, decoder]]}}",
    )
    assert by_name(stored_space(study.resolved())) == by_name(study.space)


def test_in_the_stored_space_variables_stand_by_name(read):
    study = read(
        model="{choice: [{arch: fpn, encoder: '${A}'}, {arch: unet, encoder: resnet34}]}",
        suppression="{p_max: {uniform: [0, '${P}']}, layer: {choice: ['${L}', encoder.4]}}",
        env={"A": "resnet18", "P": "0.5", "L": "decoder"},
    )
    stored, known = by_name(stored_space(study.resolved())), by_name(study.space)
    assert stored["suppression.layer"].labels == ("${L}", "encoder.4")
    assert stored["model"].labels == known["model"].labels
    assert stored.keys() == known.keys() - {"suppression.p_max"}, "its bounds are not kept"


def test_a_variable_of_digits_is_text_where_a_setting_is_text(read, complain, tmp_path):
    study = read(
        study="${N}", search="{trials: '${T}', warm_start: ['${N}']}", tracking="{experiment: '${N}'}",
        env={"N": "2024", "T": "4"},
    )  # fmt: skip
    assert (study.spec.study, study.spec.search.trials) == ("2024", 4)
    assert (study.spec.search.warm_start, study.spec.tracking.experiment) == (("2024",), "2024")
    assert study.resolved()["study"] == "${N}"
    data = "{name: camvid, root: {choice: ['${N}', '${M}']}}"
    (first, second) = complain(data=data, env={"N": "20240", "M": "1e30"})
    assert first.startswith("3 data.root: no folder ${N}; it must hold train/")
    assert second.startswith("3 data.root: no folder ${M}; it must hold train/")
    assert complain("study=2024") == [f"--set study=2024: study: {STUDY_NAME_RULE}; got 2024; quote it"]


@pytest.mark.parametrize(
    ("lines", "shown"),
    [
        ({"data": "{name: folder, root: '${SECRET}/x'}"}, "no folder ${SECRET}/x;"),
        ({"data": "{name: '${SECRET}'}"}, "'${SECRET}'"),
        ({"objective": "{metric: '${SECRET}', mode: max}"}, "unknown metric '${SECRET}'"),
        ({"suppression": "{p_max: {uniform: ['${SECRET}', 1]}}"}, '["${SECRET}", 1]'),
        ({"study": "a ${SECRET}"}, "got 'a ${SECRET}'"),
        ({"tracking": "{register_as: '${SECRET}', model: false}"}, "register_as: must match"),
        ({"train": "{epochs: 1, batch_size: 1, optimizer: '${SECRET}'}"}, "'${SECRET}'"),
        ({"ablation": "{design: one_at_a_time, factors: {'model.encoder': '${SECRET}'}}"}, "'${SECRET}'"),
    ],
)
def test_no_message_shows_what_a_variable_holds(lines, shown, complain):
    mistakes = "\n".join(complain(**lines, env={"SECRET": "/hunter2"}))
    assert shown in mistakes
    assert "hunter2" not in mistakes


@pytest.mark.parametrize(
    "name", ["-x", "'.'", "..", "a/b", "a b", "'a '", "a.", "'a" + 200 * "b" + "'", '"a\\nb"', "''", "é"]
)
def test_a_name_that_is_no_word_of_a_command_is_one_line(name, complain):
    (mistake,) = complain(study=name)
    assert mistake.startswith(
        "1 study: expected a plain word of at most 200 letters, digits, '.', '-', '_' that does not"
    )
    assert mistake.isprintable()
    assert any(
        "search.warm_start[0]: expected a plain word" in line for line in complain(search=f"{{warm_start: [{name}]}}")
    )


@pytest.mark.parametrize("root", ["''", "' '", '"\\t"', '"a\\0b"'])
def test_a_root_that_is_no_path_is_one_line(root, complain):
    for name in ("folder", "voc"):
        (mistake,) = complain(data=f"{{name: {name}, root: {root}}}")
        assert mistake.startswith("3 data.root: expected the path of a folder, got '")
        assert mistake.isprintable()


@pytest.mark.parametrize("held", ["{name: frequency}", "[uniform]", "name: frequency", "- uniform"])
def test_a_variable_that_holds_yaml_is_told_what_it_can_hold(complain, held):
    hint = "; a variable holds a single value, no mapping and no list"
    for setting in ("sampling", "layer"):
        (line,) = complain(suppression=f"{{{setting}: '${{S}}', p_max: {{uniform: [0, 1]}}}}", env={"S": held})
        assert line.endswith(hint)
        assert held not in line


def test_a_preset_as_the_baseline_is_told_how_it_is_written(complain):
    for baseline, hint in (("plain", "; of a preset write {preset: plain}"), ("other", "")):
        (line,) = complain(ablation=f"{{design: arms, arms: [plain, full], baseline: {baseline}}}")
        rule = "expected winner, {best: STUDY} or a mapping of dotted paths to values"
        assert line.endswith(f"ablation.baseline: {rule}{hint}")
