"""Checks that the ranks of a trial can share every batch that a study may draw or names, and its micro-batches."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from pydantic import JsonValue

from orchestrator.studyfile.checks.ablation_in_file import AblationFile
from orchestrator.studyfile.sections.comparison import (
    AblationPath,
    Arms,
    BestOf,
    Factorial,
    Fractional,
    Values,
    Written,
)
from orchestrator.studyfile.sections.resources import ResourcesSection
from orchestrator.studyfile.sections.study import StudySpec
from orchestrator.studyfile.space.domain import Int
from orchestrator.studyfile.space.notation import is_domain, options_of, origin_of, read_domain
from orchestrator.studyfile.space.trees import value_at
from trainable.configfile.mistakes import Mistake, show_path
from trainable.configfile.node import Key, Node, Place, child_of, children_of, items_of
from trainable.ranks.division import ACCUMULATE, BATCH_SIZE, Shares

IMAGES = "data.train_images"
Sizes: TypeAlias = Sequence[tuple[int, Place]]
Sections: TypeAlias = Sequence[tuple[tuple[Key, ...], Sizes, Sizes, Sizes]]
"""A possible ``train`` section with the data: its path, batch sizes, micro-batches of a step, training images."""


def check_batches(spec: StudySpec, root: Node, trial: Node, mistakes: list[Mistake]) -> None:
    """Check all that the file writes as a batch size, then what may stand beside it in a trial of the search."""
    shares, before = _shares(spec.resources), len(mistakes)
    for path, node in _batch_sizes(root, ()):
        for size, place in _sizes(node):
            if (problem := shares.problem(size)) is not None:
                mistakes.append(Mistake(place, show_path(path), problem.message))
                break
    if len(mistakes) > before:
        return
    for path, *sizes in _sections(trial):
        for batch, parts, images in itertools.product(*sizes):
            problem = shares.problem(batch[0], parts[0], images[0] or None)
            if problem is not None:
                place = (parts if show_path(problem.path) == ACCUMULATE else batch)[1]
                mistakes.append(Mistake(place, show_path((*path, problem.path[-1])), problem.message))
                break


def check_batches_of_arms(spec: StudySpec, file: AblationFile, trial: Node, mistakes: list[Mistake]) -> None:
    """Check the arms of a sound ablation, each beside all that its baseline may be, unless that is another study's."""
    baseline, shares = file.baseline, _shares(spec.resources)
    if isinstance(baseline, BestOf):
        return
    base = baseline.values if isinstance(baseline, Written) else {}
    for where, values in [(("baseline",), {}), *_arms(file)]:
        problems = (shares.problem(*sizes) for sizes in _sizes_of(_sections(trial), {**base, **values}))
        problem = next(filter(None, problems), None)
        if problem is not None:
            mistakes.append(file.mistake(f"{show_path(problem.path)}: {problem.message}", *where))


def _shares(resources: ResourcesSection) -> Shares:
    return Shares(resources.trial_ranks, "resources.ranks" if resources.ranks else "resources.gpu")


def _batch_sizes(node: Node, path: tuple[Key, ...]) -> Iterator[tuple[tuple[Key, ...], Node]]:
    """Where the file says how large a batch is, its keys nested or with dots."""
    name = ".".join(str(key) for key in path if not isinstance(key, int) and key != "choice")
    if name == BATCH_SIZE or name.endswith(f".{BATCH_SIZE}"):
        yield path, node
        return
    for key, child in items_of(node):
        yield from _batch_sizes(child, (*path, key))


def _sections(trial: Node) -> Sections:
    """What the trials of the search may train with."""
    images = [found for _, data in _options(trial, "data") for found in _values(data, IMAGES, _sizes, 0)]
    none = [(0, trial.place)]
    return [
        (path, _values(train, BATCH_SIZE, _sizes, 1), _values(train, ACCUMULATE, _all_sizes, 1), images or none)
        for path, train in _options(trial, "train")
    ]


def _options(trial: Node, section: str) -> Iterator[tuple[tuple[Key, ...], Node]]:
    """The mappings that a section of a trial may be, each with its path."""
    node = child_of(trial, section)
    waiting: list[tuple[tuple[Key, ...], Node]] = [] if node is None else [((section,), node)]
    while waiting:
        path, node = waiting.pop()
        if is_domain(node.value):
            waiting.extend(((*path, "choice", index), option) for index, option in enumerate(options_of(node)))
        elif isinstance(node.value, dict):
            yield path, node


def _values(section: Node, path: str, read: Callable[[Node], Iterator[tuple[int, Place]]], default: int) -> Sizes:
    node = child_of(section, path.rpartition(".")[2])
    return [(default, section.place)] if node is None else list(read(node))


def _sizes(node: Node) -> Iterator[tuple[int, Place]]:
    """Sizes that a value, a list of levels or a domain gives; of a range as many as tell of all."""
    return _read_sizes(node, lambda domain: (domain.low, domain.low + domain.step))


def _all_sizes(node: Node) -> Iterator[tuple[int, Place]]:
    """The same with all sizes of a range: what divides a batch may lie between two numbers that do not."""
    return _read_sizes(node, Int.values)


def _read_sizes(node: Node, of_range: Callable[[Int], Iterable[int]]) -> Iterator[tuple[int, Place]]:
    if not is_domain(node.value):
        if isinstance(node.value, int):
            yield node.value, node.place
        elif isinstance(node.value, list):
            for child in children_of(node):
                yield from _read_sizes(child, of_range)
        return
    domain = read_domain(node)
    if isinstance(domain, Int):
        yield from ((size, origin_of(node)) for size in of_range(domain))
    for option in options_of(node):
        yield from _read_sizes(option, of_range)


def _arms(file: AblationFile) -> Iterator[tuple[tuple[Key, ...], Values]]:
    """What each arm replaces that decides its batches, and where the file says it."""
    section = file.section
    if isinstance(section.design, Arms):
        listed = isinstance(section.arms, list)
        for index, (name, values) in enumerate(section.read_arms().items()):
            path = next((path for path in values if _is_about_batches(path)), None)
            yield ("arms", index if listed else name, *((path,) if path else ())), values
        return
    factors = {path: levels for path, levels in section.read_factors().items() if _is_about_batches(path)}
    for path, levels in factors.items():
        for index, level in enumerate(levels):
            yield ("factors", path, index), {path: level}
    if isinstance(section.design, Factorial | Fractional | AblationPath):
        for levels in itertools.product(*factors.values()):
            yield ("factors", *list(factors)[-1:]), dict(zip(factors, levels, strict=True))


def _is_about_batches(path: str) -> bool:
    return any(f"{known}.".startswith(f"{path}.") for known in (BATCH_SIZE, ACCUMULATE, IMAGES))


def _sizes_of(sections: Sections, values: Values) -> Iterator[tuple[int, int, int | None]]:
    """Batch size, micro-batches and images that trials may have where values are replaced."""
    for _, batches, parts, images in sections:
        sizes = [
            [given] if given is not None else [size for size, _ in known]
            for given, known in zip(_given(values), (batches, parts, images), strict=True)
        ]
        for batch, part, image in itertools.product(*sizes):
            yield batch, part, image or None


def _given(values: Values) -> list[int | None]:
    """What the values say of batch size, micro-batches and images; a section that is replaced says 1 and 0 too."""
    return [_given_at(values, path, default) for path, default in ((BATCH_SIZE, None), (ACCUMULATE, 1), (IMAGES, 0))]


def _given_at(values: Values, path: str, default: int | None) -> int | None:
    found: int | None = None
    for key, value in values.items():
        if key == path:
            found = _whole(value)
        elif path.startswith(f"{key}.") and isinstance(value, Mapping):
            inner = _whole(value_at(value, path.removeprefix(f"{key}.")))
            found = default if inner is None else inner
    return found


def _whole(value: JsonValue) -> int | None:
    return value if isinstance(value, int) else None
