"""The search space: picks -> configuration -> picks, cells, references."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.plan.ablation import expected
from orchestrator.studyfile import Choice, Float, Int, Study, load, reference
from orchestrator.studyfile.space.trees import content, order_levels
from trainable.config import read_trial
from trainable.suppression.config import SuppressionConfig

SAMPLING = """
  p_max: {uniform: [0, 1], step: 0.5}
  sampling:
    choice:
      - {name: uniform}
      - {name: inverse_frequency, tau: {choice: [0.5, 1.0, 2.0]}}
"""


def test_names_and_order_of_domains(read):
    space = read(train="{epochs: {int: [1, 3]}, batch_size: 8}", suppression=SAMPLING).space
    assert [(name, type(domain), conditional) for name, domain, conditional in space.domains()] == [
        ("train.epochs", Int, False),
        ("suppression.p_max", Float, False),
        ("suppression.sampling", Choice, False),
        ("suppression.sampling.inverse_frequency.tau", Choice, True),
    ]


def test_only_the_domains_of_the_picked_option_are_asked_for(read):
    space = read(suppression=SAMPLING).space
    picks = {"suppression.p_max": 0.5, "suppression.sampling": "uniform"}
    assert space.resolve(lambda name, _: picks[name])["suppression"] == {"p_max": 0.5, "sampling": {"name": "uniform"}}
    picks |= {"suppression.sampling": "inverse_frequency", "suppression.sampling.inverse_frequency.tau": 2.0}
    assert space.trial(lambda name, _: picks[name], seed=3).suppression.sampling.tau == 2.0


@pytest.mark.parametrize("pick", [2.0, -1, "a", None, True])
def test_a_pick_outside_its_domain_is_refused(read, pick):
    with pytest.raises(ValueError, match="p_max"):
        read().space.resolve(lambda *_: pick)


def test_cells_follow_the_file(read):
    space = read(suppression=SAMPLING).space
    cells = list(space.cells())
    assert space.size() == len(cells) == 3 * (1 + 3)
    assert cells[0] == {"suppression.p_max": 0.0, "suppression.sampling": "uniform"}
    assert cells[3] == {
        "suppression.p_max": 0.0,
        "suppression.sampling": "inverse_frequency",
        "suppression.sampling.inverse_frequency.tau": 2.0,
    }


def test_a_continuous_space_has_no_cells(read):
    space = read(suppression="{choice: [null, {p_max: {uniform: [0, 1]}}]}").space
    assert space.size() is None
    with pytest.raises(ValueError, match="p_max is continuous"):
        list(space.cells())


def test_a_huge_grid_is_enumerated_lazily(read):
    huge = "{epochs: {int: [1, 100000]}, batch_size: {int: [1, 10000]}}"
    space = read(data="{name: shapes}", train=huge, suppression="null").space
    assert [cell["train.batch_size"] for cell, _ in zip(space.cells(), range(3), strict=False)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("options", "labels"),
    [
        ("[{name: present}, {name: uniform}]", ("present", "uniform")),
        (
            "[{name: inverse_frequency, tau: 1.0}, {name: inverse_frequency, tau: {uniform: [1, 2]}}]",
            ('{"name":"inverse_frequency","tau":1.0}', '{"name":"inverse_frequency","tau":{"uniform":[1,2]}}'),
        ),
    ],
)
def test_labels_of_mappings_with_names(read, options, labels):
    (_, domain, _), *_ = read(suppression=f"{{sampling: {{choice: {options}}}}}").space.domains()
    assert domain.labels == labels


def test_labels_of_mappings_without_names(read):
    (_, domain, _), *_ = read(suppression="{choice: [null, {p_max: 1}]}").space.domains()
    assert domain.labels == (None, '{"p_max":1}')


def test_labels_of_scalars_and_lists(read):
    space = read(
        data="{name: shapes, size: {choice: [[32, 32], [32, {int: [64, 96], step: 32}]]}}",
        train="{epochs: {choice: [1, 2]}, batch_size: 8}",
    ).space
    labels = {name: domain.labels for name, domain, _ in space.domains() if isinstance(domain, Choice)}
    assert labels == {"data.size": ("[32,32]", '[32,{"int":[64,96],"step":32}]'), "train.epochs": (1, 2)}
    name = 'data.size.[32,{"int":[64,96],"step":32}].1'
    assert name in [name for name, _, _ in space.domains()]


def test_an_option_may_be_a_domain_itself(read):
    space = read(suppression="{p_max: {choice: [0, {uniform: [0.5, 1]}]}}").space
    label = '{"uniform":[0.5,1]}'
    picks = {"suppression.p_max": label, f"suppression.p_max.{label}": 0.75}
    config = space.trial(lambda name, _: picks[name], 0)
    assert config.suppression.p_max == 0.75
    assert space.locate(config) == picks


def test_locate_finds_nothing_outside_the_space(read):
    space = read().space
    assert space.locate(read(model="{arch: unet, encoder: resnet18}").space.trial(space.center(), 0)) is None
    assert space.locate(read(train="{epochs: 12, batch_size: 8, lr: 0.5}").space.trial(space.center(), 0)) is None
    assert space.locate(reference(read(), "plain", 0)) is None
    assert space.locate(reference(read(), "official", 7)) is None, "it starts from other weights"
    small = read(model="{arch: fpn, encoder: resnet18, init: small}")
    assert small.space.locate(reference(small, "official", 7)) == {"suppression.p_max": 1.0}


def test_locate_tells_options_apart_that_differ_in_a_default(read):
    options = "[{name: adamw, weight_decay: 0.5}, {name: adamw}, {name: sgd}]"
    space = read(train=f"{{epochs: 1, batch_size: 1, optimizer: {{choice: {options}}}}}", suppression="null").space
    for cell in space.cells():
        assert space.locate(space.trial(lambda name, _, cell=cell: cell[name], 0)) == cell


@pytest.mark.parametrize(
    "suppression",
    ["{recalibrate: {choice: [false, true]}}", "{norm_momentum: {choice: [0.01, 0.1]}}"],
)
def test_locate_sees_defaults_that_are_left_out_of_what_is_kept(read, suppression):
    space = read(suppression=suppression, search="{trials: 2}").space
    for cell in space.cells():
        config = space.trial(lambda name, _, cell=cell: cell[name], 0)
        assert space.locate(config) == cell


@pytest.mark.parametrize("mechanism", ["", "mechanism: auto, ", "mechanism: {name: auto}, "])
def test_one_domain_over_layers_may_hold_the_input(read, mechanism):
    """What has no effect there is picked all the same: the trials of a search lie in its space."""
    layers = "{choice: [input, decoder, [input, encoder.4]]}"
    space = read(suppression=f"{{{mechanism}layer: {layers}, alpha: {{choice: [0.1, 1]}}}}", search="{trials: 2}").space
    for cell in space.cells():
        config = space.trial(lambda name, _, cell=cell: cell[name], 0)
        assert space.locate(config) == cell
        assert space.locate(read_trial(config.model_dump(mode="json"))) == cell, "as it is kept"
        assert config.suppression.erased == (("input",) if "input" in str(cell["suppression.layer"]) else ())


def test_auto_is_kept_as_the_gate_of_older_versions_where_it_is_one(read):
    unwritten, auto, gate = (
        read(suppression=f"{{{mechanism}p_max: {{uniform: [0, 1]}}}}").space.trial(lambda *_: 0.5, 0)
        for mechanism in ("", "mechanism: auto, ", "mechanism: gate, ")
    )
    assert unwritten == auto == gate
    assert content(unwritten) == content(auto) == content(gate)
    kept = gate.model_dump(mode="json")["suppression"]
    assert kept["mechanism"] == {"name": "gate"}
    assert "reweight" not in kept, "a setting that came later"


def test_an_arm_may_move_a_baseline_of_maps_to_the_input(read):
    factors = "{suppression.layer: [decoder, input]}"
    study = read(
        suppression="{p_max: 0.5, alpha: 0.3}",
        search="{trials: 1}",
        ablation=f"{{design: one_at_a_time, seeds: 2, baseline: {{suppression.p_max: 1.0}}, factors: {factors}}}",
    )
    sections = {trial.suppression for trial in expected(study) if trial.suppression and trial.suppression.p_max == 1.0}
    assert {(section.layers, section.erased) for section in sections} == {(("decoder",), ()), (("input",), ("input",))}


def test_a_default_that_is_left_out_of_what_is_kept_is_a_level_like_others():
    base = {
        "data": {"name": "shapes"},
        "model": {"arch": "fpn", "encoder": "resnet18"},
        "train": {"epochs": 1, "batch_size": 2},
        "suppression": {},
    }
    assert order_levels(base, "suppression.recalibrate", (True,)) == ((False, True), False)
    assert order_levels(base, "suppression.norm_momentum", (0.1, 0.01)) == ((0.01, 0.1), True)


def test_references(read):
    study = read(
        train="{epochs: 12, batch_size: 8, lr: {log_uniform: [1.0e-4, 1.0e-2]}}",
        model="{arch: {choice: [unet, fpn]}, encoder: resnet18}",
    )
    plain, official = reference(study, "plain", 3), reference(study, "official", 4)
    assert (plain.suppression, plain.seed) == (None, 3)
    assert (official.suppression, official.seed) == (SuppressionConfig(), 4)
    small = reference(study, "plain_small", 3)
    assert (small.suppression, small.model) == (None, official.model)
    assert (plain.model.init, official.model.init) == ("torch", "small")
    assert plain.model.arch == official.model.arch == "unet"
    assert plain.train.lr == pytest.approx(1e-3)


def test_the_longest_trial(read):
    assert read(train="{epochs: {int: [3, 9]}, batch_size: 1}").space.max_epochs() == 9
    assert read(train="{choice: [{epochs: 4, batch_size: 1}, {epochs: 5, batch_size: 1}]}").space.max_epochs() == 5


def test_the_resolved_study_is_the_same_study(read, tmp_path: Path):
    study = read(
        suppression=SAMPLING,
        train="{epochs: 12, batch_size: 8, optimizer: {name: {choice: [adamw, sgd]}, weight_decay: 0.1}}",
    )
    resolved = study.resolved()
    assert resolved["train"]["optimizer"] == {"name": {"choice": ["adamw", "sgd"]}, "weight_decay": 0.1}
    assert resolved["train"]["poly_power"] == 0.9
    assert "seed" not in resolved
    path = tmp_path / "again.yaml"
    path.write_text(yaml.safe_dump(resolved, sort_keys=False))
    again = load(path)
    assert again.resolved() == resolved
    assert again.spec == study.spec
    assert [again.space.trial(lambda n, _, c=cell: c[n], 0) for cell in again.space.cells()] == [
        study.space.trial(lambda n, _, c=cell: c[n], 0) for cell in study.space.cells()
    ]


unit = st.floats(0, 1).map(lambda x: round(x, 6))
p_max = unit | st.just({"uniform": [0, 1]}) | st.just({"uniform": [0.2, 1.0], "step": 0.1})
tau = st.just({"log_uniform": [0.1, 10]}) | st.just({"choice": [0.5, 1, 2]}) | st.just(1)
sampling = st.lists(
    st.just({"name": "uniform"})
    | st.just({"name": "present"})
    | st.builds(lambda tau: {"name": "inverse_frequency", "tau": tau}, tau),
    min_size=1,
    max_size=3,
    unique_by=lambda option: option["name"],
).map(lambda options: {"choice": options})
suppression = st.fixed_dictionaries({}, optional={"p_max": p_max, "sampling": sampling})
optimizer = st.builds(
    lambda decay: {"choice": [{"name": "adamw", "weight_decay": decay}, {"name": "sgd"}]},
    st.just({"log_uniform": [1e-5, 1e-1]}) | st.just(0.1),
)
spaces = st.fixed_dictionaries(
    {
        "epochs": st.integers(1, 5) | st.just({"int": [1, 6]}) | st.just({"log_int": [1, 64]}),
        "size": st.just([32, 64]) | st.just([{"int": [32, 128], "step": 32}, {"choice": [32, 64]}]),
        "suppression": suppression | suppression.map(lambda options: {"choice": [None, options]}),
    },
    optional={"lr": st.just({"log_uniform": [1e-4, 1e-2]}) | st.just({"choice": [0.1, 0.2]}), "optimizer": optimizer},
)


def load_space(folder: Path, parts: dict) -> Study:
    train = {"epochs": parts["epochs"], "batch_size": 4} | {k: parts[k] for k in ("lr", "optimizer") if k in parts}
    study = {
        "study": "s",
        "objective": {"metric": "val/miou", "mode": "max"},
        "data": {"name": "shapes", "size": parts["size"]},
        "model": {"arch": "fpn", "encoder": "resnet18"},
        "train": train,
        "suppression": parts["suppression"],
        "search": {"trials": 1},
    }
    path = folder / "space.yaml"
    path.write_text(json.dumps(study))
    return load(path)


@settings(deadline=None)
@given(spaces, st.data())
def test_any_picks_give_a_valid_trial_that_is_located_again(tmp_path_factory, parts, data):
    space = load_space(tmp_path_factory.getbasetemp(), parts).space
    picks = {}

    def pick(name, domain):
        match domain:
            case Choice():
                picks[name] = data.draw(st.sampled_from(domain.labels))
            case Int():
                picks[name] = domain.snap(data.draw(st.integers(domain.low, domain.high)))
            case Float():
                picks[name] = domain.snap(data.draw(st.floats(domain.low, domain.high)))
        return picks[name]

    config = space.trial(pick, seed=5)
    assert space.locate(config) == picks


@settings(deadline=None, max_examples=50)
@given(spaces)
def test_cells_enumerate_exactly_size_distinct_configurations(tmp_path_factory, parts):
    space = load_space(tmp_path_factory.getbasetemp(), parts).space
    size = space.size()
    if size is None:
        return
    cells = list(space.cells())
    configs = {space.trial(lambda name, _, cell=cell: cell[name], 0).model_dump_json() for cell in cells}
    assert len(cells) == len(configs) == size
    names = {name for name, _, _ in space.domains()}
    assert all(cell.keys() <= names for cell in cells)


def test_a_name_alone_stands_for_its_section(read):
    study = read(suppression="{sampling: {choice: [uniform, {name: difficulty, tau: {uniform: [0.5, 3]}}]}}")
    by_name = study.space.trial(lambda *_: "uniform", 0)
    assert by_name.suppression is not None
    assert by_name.suppression.sampling.name == "uniform"
    assert study.space.locate(by_name) == {"suppression.sampling": "uniform"}
    names = [name for name, _, _ in study.space.domains()]
    assert names == ["suppression.sampling", "suppression.sampling.difficulty.tau"]


def test_a_preset_is_an_arm_that_keeps_what_it_does_not_name(read):
    study = read(
        preset="{choice: [plain, two_path, dropped_path, full, random_channels]}",
        suppression="{gate_norm: mean, alpha: 0.5, layer: encoder.3}",
        search="{trials: 5}",
    )
    arms = {cell["preset"]: study.space.trial(lambda name, _, c=cell: c[name], 0) for cell in study.space.cells()}
    assert arms["plain"].suppression is None
    full = arms["full"].suppression
    assert full is not None
    for arm, changed in (
        ("two_path", {"p_max": 0.0}),
        ("dropped_path", {"alpha": 0.0}),
        ("random_channels", {"mechanism": {"name": "random_channels"}}),
    ):
        suppression = arms[arm].suppression
        assert suppression is not None
        assert suppression.model_dump() == {**full.model_dump(), **changed}
    assert reference(study, "official", 0).suppression == SuppressionConfig()
    assert reference(study, "plain", 0).suppression is None


def test_the_layers_of_a_space_may_be_alone_or_several(read):
    space = read(
        suppression="{layer: {choice: [decoder, encoder.4, [encoder.4, decoder]]}}", search="{trials: 3}"
    ).space
    found = [space.trial(lambda name, _, c=cell: c[name], 0).suppression for cell in space.cells()]
    assert [section.layers for section in found if section] == [
        ("decoder",), ("encoder.4",), ("encoder.4", "decoder"),
    ]  # fmt: skip
