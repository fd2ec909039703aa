"""Configurations without domains that together test a search space: every bound, every option, and pairs of them."""

import json
from collections.abc import Iterator, Mapping
from itertools import combinations, product

from orchestrator.studyfile.space.domain import Choice, Float, Int
from orchestrator.studyfile.space.notation import RANGES, is_domain, options_of, origin_of, read_domain
from trainable.configfile.node import Key, Node, child_of, children_of, items_of, with_children, written


def variants(node: Node) -> list[Node]:
    """Trees without domains that together try every bound and every option.

    In the first one every domain stands at its first value; each other one differs from it in one domain.
    """
    if node.broken:
        return [node]
    if is_domain(node.value):
        return _domain_variants(node)
    return [_with(node, children) for children in _one_at_a_time(dict(items_of(node)))]


def count_variants(node: Node) -> int:
    """About how many trees `variants` gives, without making them."""
    if node.broken:
        return 1
    if is_domain(node.value):
        return sum(map(count_variants, options_of(node))) or 3
    return 1 + sum(count_variants(child) - 1 for child in children_of(node))


def count_pairs(node: Node) -> int:
    """About how many trees `pair_variants` gives, without making them."""
    if node.broken:
        return 0
    children = options_of(node) if is_domain(node.value) else children_of(node)
    others = [count_variants(child) - 1 for child in children]
    pairs = 0 if is_domain(node.value) else (sum(others) ** 2 - sum(n * n for n in others)) // 2
    return pairs + sum(map(count_pairs, children))


def pair_variants(node: Node) -> Iterator[Node]:
    """Trees in which two values of one mapping or list leave their first variant together, for rules over both."""
    if node.broken:
        return
    if is_domain(node.value):
        for option in options_of(node):
            yield from pair_variants(option)
    else:
        for children in _two_at_a_time(dict(items_of(node))):
            yield _with(node, children)


def _domain_variants(node: Node) -> list[Node]:
    domain = read_domain(node)
    if isinstance(domain, Choice):
        return [variant for option in options_of(node) for variant in variants(option)]
    key, bounds = next((key, bounds) for key in RANGES if (bounds := child_of(node, key)))
    text = f"{key} {json.dumps(written(bounds))}"
    return [Node(value, origin_of(node), domain=text) for value in _probes(domain)]


def _probes(domain: Float | Int) -> list[float]:
    """Both bounds, and the first step between them: a field may ask for multiples."""
    step = [] if domain.step is None or domain.log else [domain.snap(domain.low + domain.step)]
    return [domain.low, domain.high, *step]


def _with(node: Node, children: Mapping[Key, Node]) -> Node:
    return with_children(node, lambda key, _: children[key])


def _two_at_a_time(entries: Mapping[Key, Node]) -> Iterator[dict[Key, Node]]:
    tried = {key: variants(child) for key, child in entries.items()}
    first = {key: nodes[0] for key, nodes in tried.items()}
    for one, other in combinations(tried, 2):
        for this, that in product(tried[one][1:], tried[other][1:]):
            yield {**first, one: this, other: that}
    for key, child in entries.items():
        for inner in pair_variants(child):
            yield {**first, key: inner}


def _one_at_a_time(entries: Mapping[Key, Node]) -> list[dict[Key, Node]]:
    tried = {key: variants(child) for key, child in entries.items()}
    first = {key: nodes[0] for key, nodes in tried.items()}
    return [first, *({**first, key: node} for key, nodes in tried.items() for node in nodes[1:])]
