"""Whatever a study file holds: it loads, or it is refused with mistakes; nothing else."""

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.plan.ablation import ablation as arms
from orchestrator.studyfile import ConfigError, load

SECTIONS = ["study", "objective", "data", "model", "train", "suppression", "search", "resources", "tracking"]
KEYS = [
    "uniform", "log_uniform", "int", "choice", "step", "name", "metric", "mode", "epochs", "batch_size", "lr", "size",
    "sampling", "tau", "arch", "encoder", "optimizer", "sampler", "trials", "pruner", "references", "x", "augment",
]  # fmt: skip
WORDS = [
    "shapes",
    "camvid",
    "fpn",
    "resnet18",
    "tpe",
    "grid",
    "gp",
    "asha",
    "val/miou",
    "max",
    "sgd",
    "${X}",
    "$${",
    "",
]
values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 70) | st.floats() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
VALID = {
    "study": "s",
    "objective": {"metric": "val/miou", "mode": "max"},
    "data": {"name": "shapes"},
    "model": {"arch": "fpn", "encoder": "resnet18"},
    "train": {"epochs": 3, "batch_size": 8},
    "search": {"trials": 1},
}


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(SECTIONS), values, max_size=3), st.data())
def test_garbage_is_loaded_or_refused(tmp_path_factory, garbage, data):
    path = Path(tmp_path_factory.getbasetemp()) / "garbage.yaml"
    path.write_text(json.dumps(VALID | garbage))
    section, key, value = data.draw(st.tuples(st.sampled_from(SECTIONS), st.sampled_from(KEYS), values))
    mistakes = []
    try:
        load(path, [f"{section}.{key}={json.dumps(value)}"], {})
    except ConfigError as error:
        mistakes = str(error).splitlines()
    assert not any("pydantic" in mistake or "Input should" in mistake for mistake in mistakes)


PATHS = [
    "suppression.alpha", "suppression.layer", "suppression.sampling", "suppression.sampling.tau", "suppression",
    "preset", "train.lr", "train.optimizer.momentum", "data.size", "model.encoder", "data", "seed", "x.y", "",
]  # fmt: skip
LEVELS = [0, 0.3, 10, 99, "decoder", "encoder.4", "plain", "full", None, {"name": "present"}, [32, 32], [], "winner"]
level = st.sampled_from(LEVELS) | values
chosen = st.dictionaries(st.sampled_from(PATHS), level, max_size=3)
designs = st.sampled_from(
    ["one_at_a_time", "leave_one_out", "factorial", "arms", {"name": "fractional", "resolution": 3}]
) | st.fixed_dictionaries({"name": st.just("path"), "target": chosen})
ablations = st.fixed_dictionaries(
    {"design": designs},
    optional={
        "baseline": chosen | level | st.just({"best": "other"}),
        "factors": st.dictionaries(st.sampled_from(PATHS), st.lists(level, max_size=3) | level, max_size=4),
        "arms": st.lists(level, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c"]), chosen | level),
        "seeds": st.sampled_from([1, 2, 8]),
    },
)


@settings(max_examples=400, deadline=None)
@given(ablations, st.booleans())
def test_a_garbage_ablation_is_loaded_or_refused_and_what_is_loaded_has_arms(tmp_path_factory, ablation, searched):
    path = Path(tmp_path_factory.getbasetemp()) / "ablation.yaml"
    tree = {**VALID, "suppression": {"gate_norm": "mean"}, "ablation": ablation}
    if not searched:
        del tree["search"]
    path.write_text(json.dumps(tree))
    try:
        study = load(path, (), {})
    except ConfigError as error:
        lines = str(error).splitlines()
        assert lines
        assert not any("pydantic" in line or "Input should" in line for line in lines)
        return
    assert len(arms(study, study.space.at_center(), lambda _config, _seeds: 0.0).cells()) >= 2
