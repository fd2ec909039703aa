"""Checks the part of a study file that describes trials: every bound and option must make a valid trial."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from orchestrator.studyfile.space.notation import options_of
from orchestrator.studyfile.space.variants import count_pairs, count_variants, pair_variants, variants
from trainable.config import TrialConfig
from trainable.configfile.messages import validate
from trainable.configfile.mistakes import Mistake, unknown
from trainable.configfile.node import Node, child_of, children_of, entries_of, nearest
from trainable.data.config import DATA_SECTIONS, OwnData
from trainable.data.layout import DataError, data_mistakes
from trainable.evaluate.metrics.names import objective_names, own_name
from trainable.parts.asking import named_parts
from trainable.parts.section import is_own, short_name
from trainable.suppression.unused import unused_settings

MOST_VARIANTS = 50_000
"""Trials that are checked when a file is read: a few seconds' worth."""


def check_trials(trial: Node, mistakes: list[Mistake]) -> TrialConfig | None:
    """The first of the trials that try every bound and option; None where it is invalid."""
    first: TrialConfig | None = None
    if (many := _count(trial)) > MOST_VARIANTS:
        message = f"{many} trials of bounds and options have to be checked; at most {MOST_VARIANTS}: search over less"
        mistakes.append(Mistake(trial.place, "", message))
        return None
    found: list[Mistake] = []
    for index, variant in enumerate(_variants(trial)):
        config = validate(TrialConfig, variant, (), found)
        first = config if index == 0 else first
    mistakes.extend(_at_its_key(trial, mistake) for mistake in found)
    return first


def check_suppression(trial: Node, mistakes: list[Mistake]) -> None:
    """Check that each possible ``suppression`` section writes no setting without effect."""
    suppression = child_of(trial, "suppression")
    for section in [] if suppression is None else options_of(suppression) or [suppression]:
        mistakes.extend(unused_settings(section))


def check_data_sets(trial: Node, mistakes: list[Mistake]) -> None:
    """Check that each possible data set lies where it should."""
    data = child_of(trial, "data")
    for variant in variants(data) if data else ():
        mistakes.extend(data_mistakes(Node({"data": variant}, trial.place)))


def check_metrics(trial: Node, metrics: Sequence[tuple[str, Node]], mistakes: list[Mistake]) -> None:
    """Check that each possible data set yields the objectives' metrics, given by path and value.

    A data set's name and root are enough to know its metrics.
    """
    data = child_of(trial, "data")
    own = [own_name(short_name(p.name)) for p in named_parts(trial, variants) if p.key == "metrics"]
    origins = [_origin(variant) for variant in (variants(data) if data else ())]
    for name, root, classes in dict.fromkeys(origins):
        try:
            section = OwnData if is_own(name) else DATA_SECTIONS[name]
            known = (*objective_names(section.model_construct(name=name, root=root, classes=classes)), *own)
        except (KeyError, DataError):  # an unknown name, a folder without classes: told by other checks
            continue
        wrong = [(path, node) for path, node in metrics if node.value not in known]
        mistakes.extend(Mistake(node.place, path, unknown(str(node.value), known, "metric")) for path, node in wrong)


def _at_its_key(trial: Node, mistake: Mistake) -> Mistake:
    """A mistake that concerns a key is told once, where the key is written, whatever options its value has."""
    node: Node | None = trial
    for key in mistake.path.split("."):
        node = child_of(node, key) if node is not None else None
    if node is None or not mistake.message.startswith("unknown key"):
        return mistake
    return replace(mistake, place=node.place)


def _origin(data: Node) -> tuple[str, str, tuple[str, ...]]:
    """Name and root of a data set, and the classes that its section lists."""
    name, root = (str(nearest(data, [key]).value) for key in ("name", "root"))
    classes = child_of(data, "classes")
    return name, root, tuple(str(each.value) for each in (children_of(classes) if classes else ()))


def _variants(trial: Node) -> Iterator[Node]:
    """Every variant of the data with every variant of the rest, which rules over both of them need.

    The rest is tried as it is written, two values at a time, and then under each preset: a preset replaces values, and
    must not hide what is wrong with them.
    """
    data = _part(trial, ("data",))
    presets = [{}, *(entries for entries in map(entries_of, variants(_part(trial, ("preset",)))) if entries)]
    rest = _part(trial, [key for key in entries_of(trial) if key not in ("data", "preset")])
    others = [*variants(rest), *pair_variants(rest)]
    for preset in presets:
        for first in variants(data):
            for other in others:
                yield Node({**preset, **entries_of(first), **entries_of(other)}, trial.place)


def _count(trial: Node) -> int:
    """About how many trials `_variants` gives."""
    data, preset = (_part(trial, (key,)) for key in ("data", "preset"))
    rest = _part(trial, [key for key in entries_of(trial) if key not in ("data", "preset")])
    presets = 1 + count_variants(preset) if entries_of(preset) else 1
    return presets * count_variants(data) * (count_variants(rest) + count_pairs(rest))


def _part(trial: Node, keys: Sequence[str]) -> Node:
    return Node({key: child for key, child in entries_of(trial).items() if key in keys}, trial.place)
