"""``--set`` on a tree, with no study around it."""

import pytest

from trainable.configfile.document import read_yaml
from trainable.configfile.mistakes import Mistake, RuleError
from trainable.configfile.node import Place, plain
from trainable.configfile.overrides import override
from trainable.configfile.trees import set_at

TEXT = "a: {b: 1, c: [1, {d: 2}]}\nx: null\n'p.q': {r: 0}\n"


def changed(option):
    mistakes: list[Mistake] = []
    root = read_yaml(TEXT, lambda line: Place("f", line), mistakes)
    assert root is not None
    return plain(override(root, option, mistakes)), [str(mistake) for mistake in mistakes]


@pytest.mark.parametrize(
    ("option", "tree"),
    [
        ("a.b=2", {"a": {"b": 2, "c": [1, {"d": 2}]}, "x": None, "p.q": {"r": 0}}),
        ("a.c[1].d=on", {"a": {"b": 1, "c": [1, {"d": "on"}]}, "x": None, "p.q": {"r": 0}}),
        ("a.c.0=010", {"a": {"b": 1, "c": [10, {"d": 2}]}, "x": None, "p.q": {"r": 0}}),
        ("x.y.z={k: 1}", {"a": {"b": 1, "c": [1, {"d": 2}]}, "x": {"y": {"z": {"k": 1}}}, "p.q": {"r": 0}}),
        ("p.q.r=5", {"a": {"b": 1, "c": [1, {"d": 2}]}, "x": None, "p.q": {"r": 5}}),
        ("n=", {"a": {"b": 1, "c": [1, {"d": 2}]}, "x": None, "p.q": {"r": 0}, "n": None}),
    ],
)
def test_one_value_is_replaced(option, tree):
    assert changed(option) == (tree, [])


@pytest.mark.parametrize(
    ("option", "mistake"),
    [
        ("a.c[2]=1", "a.c[2]: a.c is a list of 2, it has no item 2"),
        ("a.b.e=1", "a.b.e: a.b is 1, which has no key e; set a.b itself"),
        ("a.b", "expected PATH=VALUE, such as train.epochs=2"),
        ("a.b=}", "YAML syntax: while parsing a block node, expected the node content, but found '}'"),
        ("a.b={c: 1, c: 2}", "c: duplicate key 'c'; first written at --set a.b={c: 1, c: 2}"),
    ],
)
def test_a_mistake_names_the_option(option, mistake):
    assert changed(option)[1] == [f"--set {option}: {mistake}"]


def test_a_plain_tree_is_copied():
    tree = {"a": {"b": 1}, "n": None}
    assert set_at(tree, "a.b", 2) == {"a": {"b": 2}, "n": None}
    assert set_at(tree, "n.m", 2) == {"a": {"b": 1}, "n": {"m": 2}}
    assert tree == {"a": {"b": 1}, "n": None}
    with pytest.raises(RuleError, match=r"^a\.b\.c: b is 1, which has no key c$"):
        set_at(tree, "a.b.c", 2)
