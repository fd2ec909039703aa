"""Configurations without domains that together test a search space: every bound, every option, and pairs of them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations, product
from typing import TypeVar

from orchestrator.studyfile.space.domain import Choice, Float, Int
from orchestrator.studyfile.space.notation import RANGES, is_domain, options_of, origin_of, read_domain
from trainable.configfile.node import Node, child_of, written

K = TypeVar("K")


def variants(node: Node) -> list[Node]:
    """Trees without domains that together try every bound and every option.

    In the first one every domain stands at its first value; each other one differs from it in one domain.
    """
    if node.broken:
        return [node]
    if is_domain(node.value):
        return _domain_variants(node)
    if isinstance(node.value, dict):
        return [replace(node, value=entries) for entries in _one_at_a_time(node.value)]
    if isinstance(node.value, list):
        items = dict(enumerate(node.value))
        return [replace(node, value=list(variant.values())) for variant in _one_at_a_time(items)]
    return [node]


def pair_variants(node: Node) -> Iterator[Node]:
    """Trees in which two values of one mapping or list leave their first variant together, for rules over both."""
    if node.broken:
        return
    if is_domain(node.value):
        for option in options_of(node):
            yield from pair_variants(option)
    elif isinstance(node.value, dict):
        for entries in _two_at_a_time(node.value):
            yield replace(node, value=entries)
    elif isinstance(node.value, list):
        for items in _two_at_a_time(dict(enumerate(node.value))):
            yield replace(node, value=list(items.values()))


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


def _two_at_a_time(entries: Mapping[K, Node]) -> Iterator[dict[K, Node]]:
    tried = {key: variants(child) for key, child in entries.items()}
    first = {key: nodes[0] for key, nodes in tried.items()}
    for one, other in combinations(tried, 2):
        for this, that in product(tried[one][1:], tried[other][1:]):
            yield {**first, one: this, other: that}
    for key, child in entries.items():
        for inner in pair_variants(child):
            yield {**first, key: inner}


def _one_at_a_time(entries: Mapping[K, Node]) -> list[dict[K, Node]]:
    tried = {key: variants(child) for key, child in entries.items()}
    first = {key: nodes[0] for key, nodes in tried.items()}
    return [first, *({**first, key: node} for key, nodes in tried.items() for node in nodes[1:])]
