"""Whatever a study file holds: it loads, or it is refused with mistakes; nothing else."""

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.spec import SpecError, load

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
    except SpecError as error:
        mistakes = str(error).splitlines()
    assert not any("pydantic" in mistake or "Input should" in mistake for mistake in mistakes)
