"""``--set PATH=VALUE``."""

# ruff: noqa: E501 - a table of messages, each on its line

import pytest

TRAIN = "epochs, batch_size, lr, optimizer, poly_power, warmup_epochs, warmup_steps, encoder_lr_factor, clip_norm, loss, class_weights, compile, precision, tf32, accumulate, memory"


@pytest.mark.parametrize(
    ("option", "path", "value"),
    [
        ("train.epochs=2", ["train", "epochs"], 2),
        ("train.lr=1e-2", ["train", "lr"], 0.01),
        (" train.lr = 0.5", ["train", "lr"], 0.5),
        ("data.size[0]=128", ["data", "size", 0], 128),
        ("data.size.1=128", ["data", "size", 1], 128),
        ("data.size=[96, 96]", ["data", "size"], [96, 96]),
        ("suppression.p_max=0.5", ["suppression", "p_max"], 0.5),
        ("suppression.p_max.uniform=[0, 0.5]", ["suppression", "p_max"], {"uniform": [0, 0.5]}),
        ("suppression.p_max.uniform[1]=0.5", ["suppression", "p_max"], {"uniform": [0, 0.5]}),
        ("suppression=", ["suppression"], None),
        ("resources.cpu=${CPU}", ["resources", "cpu"], "${CPU}"),
        ("search.sampler=random", ["search", "sampler"], {"name": "random"}),
        ("search.sampler.startup_trials=3", ["search", "sampler"], {"name": "tpe", "startup_trials": 3}),
        (
            "data.augment.flip=true",
            ["data", "augment"],
            {"scale": None, "crop": None, "crop_max_share": None, "flip": True, "photometric": 0.0},
        ),
        ("tracking={enabled: false}", ["tracking", "enabled"], False),
    ],
)
def test_an_override_replaces_one_value(read, option, path, value):
    study = read(option, data="{name: shapes, size: [64, 64]}", search="{trials: 1, sampler: tpe}", env={"CPU": "2"})
    found = study.resolved()
    for key in path:
        found = found[key]
    assert found == value


def test_null_makes_room_for_a_mapping(read):
    assert (
        read("suppression.p_max=0.5", suppression="null", search="{trials: 1}").resolved()["suppression"]["p_max"]
        == 0.5
    )


@pytest.mark.parametrize(
    ("option", "mistake"),
    [
        ("train.epoch=2", f"train.epoch: unknown key 'epoch'; one of {TRAIN} (did you mean 'epochs'?)"),
        ("trian.epochs=2", "trian: unknown key 'trian'; one of study, objective, preset, data, model, train, suppression, evaluation, search, confirm, ablation, resources, budget, tracking (did you mean 'train'?)"),
        ("train.epochs=x", "train.epochs: expected a whole number, got 'x'"),
        ("foo", "expected PATH=VALUE, such as train.epochs=2"),
        ("=2", "expected PATH=VALUE, such as train.epochs=2"),
        ("a..b=2", "expected PATH=VALUE, such as train.epochs=2"),
        ("train.epochs=[1", "YAML syntax: while parsing a flow sequence, expected ',' or ']', but got '<stream end>'"),
        ("data.size[7]=32", "data.size[7]: data.size is a list of 2, it has no item 7"),
        ("data.size.x=32", "data.size.x: data.size is a list of 2, it has no item x"),
        ("train.epochs.x=32", "train.epochs.x: train.epochs is 12, which has no key x; set train.epochs itself"),
        ("train.lr=${NONE}", "train.lr: the environment variable NONE is not set"),
        ("suppression.p_max.uniform=[0, 2]", "suppression.p_max: must be <= 1, got uniform [0, 2]"),
    ],
)  # fmt: skip
def test_mistakes_name_the_option(complain, option, mistake):
    found = complain(option, data="{name: shapes, size: [64, 64]}")
    assert found == [f"--set {option}: {mistake}"]


def test_a_replaced_value_is_not_judged(read):
    assert read("train.epochs=3", train="{epochs: '${NONE}', batch_size: 8}").space.max_epochs() == 3


def test_mistakes_of_options_follow_those_of_the_file(complain):
    found = complain("foo", "train.lr=0", model="{arch: fpn}")
    assert [line.split(":")[0] for line in found] == ["4 model.encoder", "--set foo", "--set train.lr=0"]


def test_a_name_that_is_a_mapping_and_no_domain_is_refused_where_a_part_may_stand(complain):
    assert complain('data={"name": {"optimizer": [null]}}')
    assert complain('suppression.mechanism={"name": {"sampling": []}}')
