"""Environment variables in study files."""

from orchestrator.studyfile import load, stored_space


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
