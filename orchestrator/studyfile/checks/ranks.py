"""Checks that the ranks of a trial can share every batch that a study may draw or names."""

from collections.abc import Iterator

from orchestrator.studyfile.sections.study import StudySpec
from orchestrator.studyfile.space.domain import Int
from orchestrator.studyfile.space.notation import is_domain, options_of, origin_of, read_domain
from trainable.configfile.mistakes import Mistake, show_path
from trainable.configfile.node import Key, Node, Place, children_of, items_of
from trainable.ranks.division import BATCH_SIZE, indivisible


def check_batches(spec: StudySpec, root: Node, mistakes: list[Mistake]) -> None:
    """Check all that the file writes as a batch size: values, domains, arms and levels of factors."""
    ranks = spec.resources.trial_ranks
    for path, node in _batch_sizes(root, ()):
        problems = ((indivisible(size, ranks), place) for size, place in _sizes(node))
        for problem, place in problems:
            if problem is not None:
                mistakes.append(Mistake(place, show_path(path), f"{problem} (resources)"))
                break


def _batch_sizes(node: Node, path: tuple[Key, ...]) -> Iterator[tuple[tuple[Key, ...], Node]]:
    """Where the file says how large a batch is, its keys nested or with dots."""
    name = ".".join(str(key) for key in path if not isinstance(key, int) and key != "choice")
    if name == BATCH_SIZE or name.endswith(f".{BATCH_SIZE}"):
        yield path, node
        return
    for key, child in items_of(node):
        yield from _batch_sizes(child, (*path, key))


def _sizes(node: Node) -> Iterator[tuple[int, Place]]:
    """Sizes that a value, a list of levels or a domain gives; of a range as many as tell of all."""
    if not is_domain(node.value):
        if isinstance(node.value, int):
            yield node.value, node.place
        elif isinstance(node.value, list):
            for child in children_of(node):
                yield from _sizes(child)
        return
    domain = read_domain(node)
    if isinstance(domain, Int):
        yield from ((size, origin_of(node)) for size in (domain.low, domain.low + domain.step))
    for option in options_of(node):
        yield from _sizes(option)
