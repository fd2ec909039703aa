"""Every number of a study file has bounds: an absurd one is a line, never a hang, a traceback or a wrong study."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from orchestrator.plan.planner import Planner
from orchestrator.studyfile import ConfigError, Study, load
from orchestrator.studyfile.sections.comparison import AblationSection, ConfirmSection
from orchestrator.studyfile.sections.resources import ResourcesSection, TrackingSection
from orchestrator.studyfile.sections.search import SearchSection
from trainable.config import TrialConfig

FILE: dict[str, Any] = {
    "study": "s",
    "objective": {"metric": "val/miou", "mode": "max"},
    "data": {"name": "shapes"},
    "model": {"arch": "fpn", "encoder": "resnet18", "encoder_weights": None},
    "train": {"epochs": 3, "batch_size": 8},
    "suppression": {},
    "search": {"sampler": "random", "trials": 1},
}
STAGES = {
    "confirm": ["confirm={}"],
    "ablation": ["ablation.design=one_at_a_time", "ablation.factors={suppression.alpha: [1, 2]}"],
}
SECTIONS = {
    "search": SearchSection,
    "confirm": ConfirmSection,
    "ablation": AblationSection,
    "resources": ResourcesSection,
    "tracking": TrackingSection,
}
HUGE = [str(10**30), "-1", ".nan", ".inf", "-.inf"]


def numbers(kind: Any, path: str, before: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every number below a section: the options that lead to it, and its path."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in (int, float):
        yield before, path
    elif origin is Annotated:
        yield from numbers(arguments[0], path, before)
    elif origin in (Union, UnionType):
        for part in arguments:
            yield from numbers(part, path, before)
    elif origin is tuple:
        parts = [part for part in arguments if part is not Ellipsis]
        items = "[0.5, 1.0]" if get_args(parts[0])[:1] == (float,) else "[32, 32]"
        for index, part in enumerate(parts):
            yield from numbers(part, f"{path}.{index}", (*before, f"{path}={items}"))
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        fields = kind.model_fields
        names = get_args(fields["name"].annotation) if "name" in fields else ()
        written = {"name": names[0]} if names else {}
        written |= {"root": "/nowhere"} if "root" in fields else {}
        written |= {"target": {}} if "target" in fields else {}
        written |= {"resolution": 3} if "resolution" in fields else {}
        chosen = (*before, f"{path}={json.dumps(written)}") if written else before
        for key, field in fields.items():
            yield from numbers(field.annotation, f"{path}.{key}", chosen)


def all_numbers() -> list[tuple[tuple[str, ...], str]]:
    listed = [
        entry
        for key, field in TrialConfig.model_fields.items()
        if key != "seed"
        for entry in numbers(field.annotation, key, ())
    ]
    for key, section in SECTIONS.items():
        listed += numbers(section, key, tuple(STAGES.get(key, ())))
    return list(dict.fromkeys(listed))


NUMBERS = all_numbers()


def test_the_walk_meets_the_numbers_of_every_section() -> None:
    paths = {path for _, path in NUMBERS}
    known = {
        "train.epochs", "data.size.0", "data.augment.scale.1", "data.max_megapixels", "suppression.sampling.tau",
        "suppression.mechanism.q", "train.class_weights.0", "evaluation.scales.0", "search.pruner.patience",
        "search.sampler.population", "resources.gpu", "ablation.seeds", "confirm.top",
    }  # fmt: skip
    assert known <= paths
    assert len(NUMBERS) > 60


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Study | list[str]]:
    """The study, or the lines of its mistakes; fails where reading takes too long."""
    path = tmp_path_factory.mktemp("bounds") / "s.yaml"
    path.write_text(json.dumps(FILE))

    def outcome(*options: str) -> Study | list[str]:
        began = time.monotonic()
        try:
            return load(Path(path), options, {})
        except ConfigError as error:
            return str(error).splitlines()
        finally:
            assert time.monotonic() - began < 5

    return outcome


@pytest.mark.parametrize(("before", "path"), NUMBERS, ids=lambda value: value if isinstance(value, str) else "")
def test_an_absurd_number_is_a_line(read: Any, before: tuple[str, ...], path: str) -> None:
    for value in HUGE:
        study = read(*before, f"{path}={value}")
        if value == "-1" and path.endswith("seed"):  # any whole number seeds
            continue
        assert isinstance(study, list), f"{path}={value} was taken"
        place = path.replace(".0", "[0]").replace(".1", "[1]")
        assert sum(f"{place}: " in line for line in study) == 1, study
        assert not any("Input should" in line or "Error" in line for line in study), study


@pytest.mark.parametrize(("before", "path"), NUMBERS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_denormal_number_is_a_line_or_plans(read: Any, before: tuple[str, ...], path: str) -> None:
    study = read(*before, f"{path}=1e-320")
    if isinstance(study, Study) and study.spec.searched:
        assert Planner(study).next() is not None
    elif isinstance(study, list):
        assert not any("Input should" in line or "Error" in line for line in study), study


def entries(count: int, name: str, value: str) -> str:
    """A mapping of so many numbered entries."""
    return "{" + ", ".join(f"{name}{number}: {value}" for number in range(count)) + "}"


MANY = ", ".join(str(number / 1000) for number in range(1500))
SLIPS = {
    "batch of the size of a data set": (["train.batch_size=100000"], "100000 images of 64 x 64 are 410 megapixels"),
    "frames of no screen": (["data.size=[1000000, 64]"], "data.size[0]: must be <= 16384, got 1000000"),
    "a batch of large frames": (
        ["data={name: shapes, size: [16384, 16384], train_images: 1, val_images: 1}"],
        "8 images of 16384 x 16384 are 2147 megapixels",
    ),
    "scenes without memory": (
        ["data.size=[512, 512]", "data.train_images=500000"],
        "data.train_images: 500400 scenes of 512 x 512 need 489 GiB of memory; at most 16",
    ),
    "a scale reversed": (["data.augment.scale=[2, 1]"], "data.augment.scale: low must not be above high, got [2, 1]"),
    "a scale of dots": (["data.augment.scale=[1.0e-9, 1]"], "data.augment.scale[0]: must be >= 0.05, got 1e-09"),
    "crops of whole countries": (
        ["data.augment={scale: [0.05, 1], crop: [1024, 2048]}"],
        "data.augment.scale: a crop of 1024 x 2048 at scale 0.05 is cut from 839 megapixels; at most 268",
    ),
    "an evaluation at a large scale": (
        [
            "data.size=[4096, 4096]",
            "evaluation.scales=[20]",
            "train.batch_size=1",
            "data.train_images=1",
            "data.val_images=1",
        ],
        "evaluation.scales: 4096 x 4096 at scale 20 are 6711 megapixels",
    ),
    "weights of nothing": (["train.class_weights=[0, 0, 0, 0, 0, 0]"], "a class needs a weight above 0"),
    "tiny steps": (["train.lr={uniform: [0, 1], step: 1.0e-300}"], "step 1e-300 leaves more than 1000000 values"),
    "a log domain of denormals": (["train.lr={log_uniform: [1.0e-320, 1]}"], "needs low >= 1e-30, got"),
    "a choice of everything": ([f"train.lr={{choice: [{MANY}]}}"], "choice has 1500 options; at most 1000"),
    "choices in pairs": (
        [f"train.lr={{choice: [{MANY[:5000]}]}}", f"suppression.alpha={{choice: [{MANY[:5000]}]}}"],
        "trials of bounds and options have to be checked; at most 50000",
    ),
    "a grid beyond counting": (
        ["search={sampler: grid}", "train.epochs={int: [1, 100000]}"],
        "the grid has 100000 configurations; at most 10000",
    ),
    "data sets without end": (["data.seed={int: [0, 10000000]}"], "10000001 different data sets; at most 250"),
    "a factorial of 40": (
        ["ablation.design=factorial", "ablation.factors=" + entries(40, "x", "[1, 2]")],
        "1099511627776 arms; at most 1000: use fractional or one_at_a_time",
    ),
    "a factor of everything": (
        ["ablation.design=one_at_a_time", f"ablation.factors={{train.lr: [{MANY}]}}"],
        "1501 arms; at most 1000",
    ),
    "arms without end": (
        ["ablation.design=arms", "ablation.arms=" + entries(1001, "a", "plain")],
        "1001 arms; at most 1000",
    ),
    "a path of 60 factors": (
        [
            "ablation.design={name: path, target: {}}",
            "ablation.factors=" + entries(60, "x", "[1, 2]"),
        ],
        "1831 arms; at most 1000",
    ),
    "arms by seeds": (
        [
            "ablation.design=one_at_a_time",
            f"ablation.factors={{suppression.alpha: [{MANY[:1500]}]}}",
            "ablation.seeds=1000",
        ],
        "runs; at most 100000",
    ),
    "seeds by the milliard": (
        ["ablation.design=arms", "ablation.arms=[plain]", "ablation.seeds=100000000000"],
        "<= 1000",
    ),
    "trials by the million": (["search.trials=100000000"], "search.trials: must be <= 100000, got 100000000"),
    "confirmed runs": (["confirm={top: 1000, seeds: 1000}"], "the best 1000 on 1000 seeds are 1000000 runs"),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_of_some_zeros_is_a_line(read: Any, slip: str) -> None:
    options, expected = SLIPS[slip]
    lines = read(*options)
    assert isinstance(lines, list)
    assert sum(expected in line for line in lines) == 1, lines
    assert len(lines) == 1, lines


def test_a_file_that_is_no_study_is_not_read_for_a_minute(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(json.dumps({**FILE, "train": {"epochs": {"choice": list(range(1_000_000))}}}))
    with pytest.raises(ConfigError, match="bytes; a file has at most 250000"):
        load(path, (), {})
