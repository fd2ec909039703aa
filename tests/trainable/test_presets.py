import copy
import json
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from trainable.config import TrialConfig
from trainable.data.config import RareClassSampling
from trainable.evaluate.metrics import names
from trainable.presets import PRESETS, Preset, apply_preset
from trainable.suppression.config import Constant, ConstantWeight, Groups, SuppressionConfig
from trainable.suppression.mechanism_sections import Erase, Gate, Hard, RandomChannels
from trainable.suppression.sampling_sections import Present
from trainable.train.engine import fit

# Every setting that a preset could touch, none of them at its default.
WRITTEN: dict[str, Any] = {
    "layer": "encoder.2", "p_max": 0.4, "schedule": "constant", "progress": "iteration",
    "loss_ramp": {"name": "constant", "weight": 0.25}, "alpha": 3.0, "granularity": "image", "num_classes": 2,
    "gate_norm": "mean", "sampling": "present", "importance": "gradient", "gradient_every": 3,
    "mechanism": "gate", "norm_momentum": 0.2, "recalibrate": True, "reweight": "keep", "start": 0.5,
}  # fmt: skip
TREE: dict[str, Any] = {
    "data": {"name": "shapes", "size": [32, 32], "train_images": 8, "val_images": 2},
    "model": {"arch": "linknet", "encoder": "tu-test_resnet", "encoder_weights": None},
    "train": {"epochs": 2, "batch_size": 4, "lr": 1e-3, "class_weights": [1, 2, 3, 4, 5, 6]},
    "suppression": WRITTEN,
    "seed": 3,
}
KEPT = (1, 2, 3, 4, 5, 6)
LOSSES = ("ohem", "focal", "dice", "lovasz", "logit_adjusted")


def validated(tree: dict[str, Any]) -> TrialConfig:
    return TrialConfig.model_validate_json(json.dumps(tree))


def as_written(**changed: Any) -> SuppressionConfig:
    found = validated(TREE).suppression
    assert found is not None
    return found.model_copy(update=changed)


OFFICIAL = SuppressionConfig()
OUTCOMES: dict[str, tuple[SuppressionConfig | None, Any]] = {
    "none": (None, KEPT),
    "official": (OFFICIAL, KEPT),
    "official_recalibrated": (SuppressionConfig(recalibrate=True), KEPT),
    "official_ranks": (SuppressionConfig(granularity=Groups(name="groups", shares=(1, 3))), KEPT),
    "plain": (None, KEPT),
    "plain_small": (None, KEPT),
    "class_weighted": (None, KEPT),
    **dict.fromkeys((*LOSSES, "rare_class_sampling", "rare_copy_paste"), (None, KEPT)),
    "block": (
        as_written(p_max=0.0, mechanism=Hard(name="hard"), loss_ramp=ConstantWeight(name="constant", weight=1.0)),
        KEPT,
    ),
    "two_path": (as_written(p_max=0.0), KEPT),
    "dropped_path": (as_written(alpha=0.0), KEPT),
    "full": (as_written(), KEPT),
    "random_channels": (as_written(mechanism=RandomChannels(name="random_channels")), KEPT),
    "erase": (as_written(mechanism=Erase(name="erase")), KEPT),
    "ignore": (as_written(mechanism=Erase(name="erase", fill="none")), KEPT),
    "erase_elsewhere": (as_written(mechanism=Erase(name="erase", mask="elsewhere")), KEPT),
    "erase_blocks": (as_written(mechanism=Erase(name="erase", mask="blocks")), KEPT),
}


def test_every_preset_is_tested() -> None:
    assert set(OUTCOMES) == set(PRESETS) == set(get_args(Preset))


def test_the_written_settings_are_no_defaults() -> None:
    """Or a preset that resets one of them would go unseen."""
    found, default = as_written(), SuppressionConfig()
    same = [name for name in SuppressionConfig.model_fields if getattr(found, name) == getattr(default, name)]
    assert same == ["mechanism"]  # gradient importance and the gate are the control's counterpart
    assert (found.schedule, found.sampling) == (Constant(name="constant"), Present(name="present"))
    assert found.mechanism == Gate(name="gate")


@pytest.mark.parametrize("preset", OUTCOMES)
def test_a_preset_changes_what_it_names_and_nothing_else(preset: Preset) -> None:
    suppression, class_weights = OUTCOMES[preset]
    found, plain = validated({**TREE, "preset": preset}), validated(TREE)
    assert found.preset == preset
    assert found.suppression == suppression
    assert found.train.loss.name == (preset if preset in LOSSES else "ce")
    assert found.train == plain.train.model_copy(update={"class_weights": class_weights, "loss": found.train.loss})
    sampling = RareClassSampling() if preset == "rare_class_sampling" else None
    pasted = 0.5 if preset == "rare_copy_paste" else 0.0
    assert found.data == plain.data.model_copy(update={"rare_class_sampling": sampling, "rare_copy_paste": pasted})
    assert found.seed == plain.seed
    init = "small" if preset.startswith("official") or preset == "plain_small" else "torch"
    assert found.model == plain.model.model_copy(update={"init": init})


@pytest.mark.parametrize("preset", OUTCOMES)
@pytest.mark.parametrize("without", ["null", "no key"])
def test_a_preset_with_a_suppressed_path_builds_on_official(preset: Preset, without: str) -> None:
    tree = {name: section for name, section in TREE.items() if name != "suppression"}
    if without == "null":
        tree["suppression"] = None
    found = validated({**tree, "preset": preset}).suppression
    if OUTCOMES[preset][0] is None:
        assert found is None
    else:
        settings = {path.partition("."): value for path, value in PRESETS[preset].items()}
        changed: dict[str, Any] = dict(PRESETS[preset].get("suppression") or {})  # type: ignore[arg-type]
        changed |= {key: value for (section, dot, key), value in settings.items() if dot and section == "suppression"}
        assert found == SuppressionConfig.model_validate(changed)
        plain_official = {"recalibrate": False, "granularity": OFFICIAL.granularity}
        assert found.model_copy(update=plain_official) == OFFICIAL or "official" not in preset


def test_arms_with_the_extra_block_are_judged_on_statistics_that_fit() -> None:
    """Plain training is, so a comparison would be unfair to them; what is written as false is no exception."""
    tree = {**TREE, "suppression": {**WRITTEN, "recalibrate": False}}
    sections = {preset: validated({**tree, "preset": preset}).suppression for preset in PRESETS}
    with_block = {preset: section for preset, section in sections.items() if section is not None and section.blocks}
    without = {preset for preset, section in with_block.items() if not section.recalibrate}
    assert without == {"official", "official_ranks"}, "the paper's"


@pytest.mark.parametrize("preset", OUTCOMES)
def test_a_preset_is_idempotent(preset: Preset) -> None:
    tree = {**TREE, "preset": preset}
    before = copy.deepcopy(tree)
    once = apply_preset(preset, tree)
    assert tree == before, "the tree that is written stays as it is"
    assert apply_preset(preset, once) == once
    config = validated(tree)
    assert TrialConfig.model_validate_json(config.model_dump_json()) == config
    assert TrialConfig.model_validate(config.model_dump()) == config


def test_erase_and_its_controls_differ_in_nothing_but_what_they_name() -> None:
    mechanism = {"name": "erase", "fill": "swap", "dilate": 2}
    tree = {**TREE, "suppression": {"layer": "input", "mechanism": mechanism}}
    found = {name: validated({**tree, "preset": name}).suppression for name in ("erase", "erase_elsewhere", "ignore")}
    changes = {"erase": {}, "erase_elsewhere": {"mask": "elsewhere"}, "ignore": {"fill": "none"}}
    for name, section in found.items():
        assert section is not None
        assert section.mechanism == Erase.model_validate({**mechanism, **changes[name]})
        assert section.layer == "input"
    unwritten = validated({**TREE, "suppression": None, "preset": "erase_blocks"}).suppression
    assert unwritten is not None
    assert unwritten.erased == ("input",), "where a trial writes no layer, they erase at the input"


def test_no_preset_leaves_everything_as_written() -> None:
    assert validated({**TREE, "preset": None}) == validated(TREE)
    assert validated(TREE).preset is None


@pytest.mark.parametrize("preset", ["offical", "Official", "", 3, ["plain"], {"name": "plain"}, True])
def test_an_unknown_preset_is_refused(preset: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        validated({**TREE, "preset": preset})
    (mistake,) = caught.value.errors()
    assert mistake["loc"] == ("preset",)
    assert all(f"'{name}'" in mistake["msg"] for name in PRESETS)


@pytest.mark.parametrize("preset", ["two_path", "random_channels", "block"])
@pytest.mark.parametrize("suppression", [3, "official", []])
def test_a_preset_hides_no_mistake_beside_it(preset: Preset, suppression: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        validated({**TREE, "suppression": suppression, "preset": preset})
    assert {mistake["loc"] for mistake in caught.value.errors()} == {("suppression",)}
    with pytest.raises(ValidationError) as caught:
        validated({**TREE, "suppression": {**WRITTEN, "sampling": "unifrom"}, "preset": preset})
    assert "unifrom" in str(caught.value)


def _last(preset: Preset, **suppression: Any) -> dict[str, float]:
    # schedule linear: the second epoch is the first with a drop
    tree = {**TREE, "preset": preset, "suppression": {"gate_norm": "mean", "p_max": 1.0, **suppression}}
    *_, result = fit(validated(tree), device="cpu", threads=1)
    return result.metrics


def test_the_arms_train_what_they_are_named_after() -> None:
    constant = {"schedule": "constant", "loss_ramp": {"name": "constant", "weight": 0.5}, "alpha": 2.0}
    block = _last("block", **constant)
    assert block[names.TRAIN_DROPPED] == 0
    assert block[names.TRAIN_LOSS] == pytest.approx(block[names.TRAIN_SUPPRESSED_CE])
    two_path = _last("two_path", **constant)
    assert two_path[names.TRAIN_DROPPED] == 0
    halves = (two_path[names.TRAIN_CE] + two_path[names.TRAIN_SUPPRESSED_CE]) / 2
    assert two_path[names.TRAIN_LOSS] == pytest.approx(halves)
    dropped, full, control = (_last(arm, **constant) for arm in ("dropped_path", "full", "random_channels"))
    for arm, alpha in ((dropped, 0), (full, 2), (control, 2)):
        assert arm[names.TRAIN_DROPPED] == 1
        halves = (arm[names.TRAIN_CE] + arm[names.TRAIN_SUPPRESSED_CE]) / 2
        assert arm[names.TRAIN_LOSS] == pytest.approx(halves + alpha * arm[names.TRAIN_SUPPRESSION])
    assert full[names.TRAIN_LOSS] != control[names.TRAIN_LOSS]
    for arm in ("none", "plain", "plain_small", "class_weighted"):
        plain = _last(arm)
        assert plain[names.TRAIN_LOSS] == plain[names.TRAIN_CE]
        assert names.TRAIN_SUPPRESSED_CE not in plain


def test_class_weights_are_those_written_else_by_frequency() -> None:
    tree = {"preset": "class_weighted", "data": {"name": "shapes"}, "train": {"epochs": 1, "batch_size": 1}}
    config = TrialConfig.model_validate({**tree, "model": {"arch": "fpn", "encoder": "resnet18"}})
    assert config.train.class_weights == "log_frequency"
