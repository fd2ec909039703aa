"""What was trained: data, network, training, runs, machines, versions, and how to run it again."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from orchestrator.report.pages.document import Block, Cell, Heading, Table
from orchestrator.report.pages.numbers import count, listed, setting
from orchestrator.report.source import Results, Run
from orchestrator.store.spending import HOUR_S
from orchestrator.store.trial_record import State
from orchestrator.studyfile import Float, Int
from trainable.evaluate.metrics.names import EPOCH_SECONDS, IOU_PREFIX

MOST_VALUES = 4
"""Values of a setting that are written out where runs differ in it."""
MOST_SEEDS = 12
OLDER = "not kept: an older version ran the study"
"""In place of what a study's directory does not hold."""
_TRAINING = (
    ("epochs", "train.epochs"), ("batch size", "train.batch_size"), ("optimizer", "train.optimizer"),
    ("learning rate", "train.lr"), ("weight decay", "train.optimizer.weight_decay"),
    ("poly schedule of power", "train.poly_power"), ("warm-up epochs", "train.warmup_epochs"),
    ("warm-up steps", "train.warmup_steps"), ("loss", "train.loss"), ("class weights", "train.class_weights"),
    ("micro-batches", "train.accumulate"), ("precision", "train.precision"),
)  # fmt: skip
"""What a line on training says, and the settings that it comes from."""


class Fact(NamedTuple):
    """A line of the section, which other files of the report say too."""

    what: str
    text: str
    link: str = ""


def setup_blocks(results: Results) -> Iterator[Block]:
    """A table of what was trained, on what and when; nothing where nothing ran."""
    if not trained_runs(results):
        return
    yield Heading("What was trained")
    rows = tuple((Cell(fact.what), Cell(fact.text, link=fact.link)) for fact in facts(results))
    yield Table("setup", "Data, network, training, machines and versions", ("what", "value"), rows, words=2)


def facts(results: Results) -> list[Fact]:
    """All lines, in order."""
    runs, origin = trained_runs(results), results.origin
    latest = origin.latest
    lines = [
        Fact("data", data_in_words(results)),
        Fact("network", _network(results, runs)),
        Fact("training", "; ".join(_training(results, runs))),
        Fact("searched", searched_in_words(results)),
        Fact("runs", runs_in_words(results)),
        Fact("seeds", _seeds(runs)),
        Fact("time", "; ".join(time_in_words(results))),
        Fact("machines", machines_in_words(results)),
        Fact("versions", versions_in_words(results)),
        Fact("run it again", latest.command if latest and latest.command else OLDER),
        *_tracking(results),
    ]
    return [line for line in lines if line.text]


def trained_runs(results: Results) -> list[Run]:
    """Runs with an epoch, without the prefixes that others share."""
    return [run for run in results.every_run if run.kind != "prefix" and run.rows.stop > run.rows.start]


def values_of(results: Results, runs: Sequence[Run], path: str) -> list[object]:
    """Different values of a setting over runs, the most frequent first; those without it aside."""
    values = [value for value in results.settings(runs, path) if value is not None]
    return [value for value, _ in Counter(values).most_common()]


def setting_in_words(results: Results, runs: Sequence[Run], path: str) -> str:
    """The values of a setting, or of the section of this path by its name; empty where no run has it."""
    values = values_of(results, runs, path) or values_of(results, runs, f"{path}.name")
    if len(values) > 1 and (searched := _range(results, path)):
        return searched
    texts = [setting(value) for value in values]
    return listed(sorted(texts) if len(texts) > 1 else texts, MOST_VALUES)


def _range(results: Results, path: str) -> str:
    """Between which values a setting was searched; empty where it is no number that was."""
    domain = next((domain for name, domain, _ in results.space.domains() if name == path), None)
    return f"searched from {domain.low:g} to {domain.high:g}" if isinstance(domain, Float | Int) else ""


def data_in_words(results: Results) -> str:
    """``shapes: 400 training and 100 evaluation images of 64 × 64 pixels, 6 classes (2 rare: a, b)``."""
    runs = trained_runs(results)
    names = setting_in_words(results, runs, "data.name")
    images = _images(results)
    sizes = listed([_size(value) for value in values_of(results, runs, "data.size")], MOST_VALUES)
    parts = [f"{images} of {sizes} pixels" if sizes else images]
    classes = [m.removeprefix(IOU_PREFIX) for m in results.metrics if m.startswith(IOU_PREFIX)]
    if classes:
        rare = sorted(results.rare or ())
        rarity = f" ({len(rare)} rare: {listed(rare)})" if rare else ""
        parts.append(f"{count(len(classes), 'class') if len(classes) == 1 else f'{len(classes)} classes'}{rarity}")
    return f"{names}: {', '.join(parts)}"


def _images(results: Results) -> str:
    latest = results.origin.latest
    counts = list(latest.images.values()) if latest else []
    if not counts:  # of an older version; the built-in scenes say it themselves
        train, val = (setting_in_words(results, results.every_run, f"data.{s}_images") for s in ("train", "val"))
        return f"{train} training and {val} evaluation images" if train and val else "images (number not kept)"
    distinct = list(dict.fromkeys((one.get("train", 0), one.get("val", 0)) for one in counts))
    return " or ".join(f"{train} training and {val} evaluation images" for train, val in distinct[:MOST_VALUES])


def _size(value: object) -> str:
    """Height × width as the table writes it, ``[64, 96]``."""
    try:
        height, width = json.loads(str(value))
    except (ValueError, TypeError):
        return str(value)
    return f"{height} × {width}"


def _network(results: Results, runs: Sequence[Run]) -> str:
    arch, encoder = (setting_in_words(results, runs, f"model.{name}") for name in ("arch", "encoder"))
    weights = setting_in_words(results, runs, "model.encoder_weights")
    start = setting_in_words(results, runs, "model.weights")
    pretrained = f"pretrained on {weights}" if weights else "without pretrained weights"
    return f"{arch}, encoder {encoder} {pretrained}" + (f", weights of {start}" if start else "")


def _training(results: Results, runs: Sequence[Run]) -> Iterator[str]:
    for name, path in _TRAINING:
        if text := setting_in_words(results, runs, path):
            yield f"{name} {text}"


def searched_in_words(results: Results) -> str:
    """The names of what the search picked; empty without a search."""
    names = [name for name, _, inner in results.space.domains() if not inner]
    searched = results.runs("search", "imported")
    return f"{count(len(names), 'setting')}: {listed(names, 20)}" if searched and names else ""


def runs_in_words(results: Results) -> str:
    """How many runs ended how, by kind."""
    runs = [run for run in results.every_run if run.kind != "prefix"]
    parts = []
    for kind in dict.fromkeys(run.kind for run in runs):
        states = Counter(run.state for run in runs if run.kind == kind)
        parts.append(f"{kind} " + ", ".join(f"{states[state]} {state}" for state in State if state in states))
    return f"{len(runs)} ({'; '.join(parts)})"


def _seeds(runs: Sequence[Run]) -> str:
    seeds = sorted({run.seed for run in runs})
    if len(seeds) > MOST_SEEDS:
        return f"{len(seeds)} different ones from {seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))


def time_in_words(results: Results) -> Iterator[str]:
    """When runs began, and how long all took together."""
    origin = results.origin
    times = [claim.time for claim in origin.claims if claim.time] + [launch.began for launch in origin.launches]
    if times:
        first, last = (datetime.fromtimestamp(at, UTC) for at in (min(times), max(times)))
        until = f"{last:%H:%M}" if last.date() == first.date() else f"{last:%Y-%m-%d %H:%M}"
        yield f"runs began from {first:%Y-%m-%d %H:%M} to {until} UTC"
    spent = origin.spent
    if spent.trial_seconds:
        yield f"trials took {hours(spent.trial_seconds)} together, in {hours(spent.seconds)} of launches"
        if spent.gpu_hours:
            yield f"{spent.gpu_hours:.2f} GPU-hours"
    else:
        yield f"epochs took {hours(epoch_seconds(results))} together"


def epoch_seconds(results: Results) -> float:
    """Wall time of all epochs of the table together."""
    curves = [results.curve(run, EPOCH_SECONDS) for run in results.every_run]
    return sum(float(value) for curve in curves for value in curve if value == value)


def hours(seconds: float) -> str:
    """A time in hours."""
    return f"{seconds / HOUR_S:.2f} h"


def machines_in_words(results: Results) -> str:
    """Which hosts ran how many runs, with processors and GPUs."""
    claims = results.origin.claims
    if not claims:
        return "not kept"
    kinds = Counter((claim.host, claim.gpu, claim.cpu) for claim in claims)
    lines = [
        f"{host or '?'} ({count(runs, 'run')}): {', '.join(filter(None, (gpu, cpu or 'CPU not kept')))}"
        for (host, gpu, cpu), runs in sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    ]
    every = sum(run.kind not in ("prefix", "imported") for run in results.every_run)
    asked = f"; {len(claims)} of {every} runs were asked" if len(claims) < every else ""
    return listed(lines, MOST_VALUES) + asked


def versions_in_words(results: Results) -> str:
    """Packages and the commit of the latest launch; where launches differ, that they do."""
    launches = results.origin.launches
    if not launches:
        return OLDER
    latest = launches[-1]
    parts = [f"{name} {version}" for name, version in latest.versions.items()]
    if latest.commit:
        parts.append(f"commit {latest.commit[:12]}" + (" with changes that are not committed" if latest.dirty else ""))
    others = {(*one.versions.items(), one.commit) for one in launches} - {(*latest.versions.items(), latest.commit)}
    if others:
        parts.append("earlier launches had others")
    return ", ".join(parts)


def _tracking(results: Results) -> Iterator[Fact]:
    origin = results.origin
    served = origin.latest.runs if origin.latest else ""
    if origin.page:
        link = origin.page if origin.page.startswith(("http://", "https://")) else ""
        yield Fact("MLflow", origin.page, link)
    if served:
        yield Fact("MLflow's pages", f"served by  {served}" if " " in served else served)
