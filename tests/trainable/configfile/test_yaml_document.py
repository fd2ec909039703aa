"""YAML text -> values and lines."""

# ruff: noqa: E501 - a table of messages, each on its line

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainable.configfile.document import read_yaml
from trainable.configfile.environment import expand
from trainable.configfile.mistakes import Mistake
from trainable.configfile.node import Place, plain
from trainable.configfile.trees import escaped, read_tree, write_yaml


def read(text: str):
    mistakes: list[Mistake] = []
    root = read_yaml(text, lambda line: Place("x", line), mistakes)
    return root, [str(mistake) for mistake in mistakes]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3), ("1.0e-4", 1e-4), ("5.", 5.0), (".5", 0.5), ("-2", -2), ("+3", 3), ("007", 7), ("1_000", "1_000"),
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("true", True), ("False", False), ("y", "y"),
        ("~", None), ("null", None), ("", None), ("'1'", "1"), ('"true"', "true"), ("1:30", "1:30"), ("9" * 5000, float("inf")),
        ("2020-01-01", "2020-01-01"), ("-.inf", float("-inf")), ("1e", "1e"), ("|\n  a\n", "a\n"),
    ],
)  # fmt: skip
def test_scalars_follow_yaml_1_2(text, value):
    root, mistakes = read(f"a: {text}")
    assert not mistakes
    assert plain(root) == {"a": value}
    assert type(plain(root)["a"]) is type(value)


def test_every_value_knows_its_line():
    root, _ = read("# comment\na:\n  b: [1,\n      2]\n  c: 3\n")
    assert root.value["a"].place.line == 2
    assert [item.place.line for item in root.value["a"].value["b"].value] == [3, 4]
    assert root.value["a"].value["c"].place.line == 5


def test_anchors_aliases_and_merge_keys():
    root, mistakes = read("a: &a {x: 1, y: 2}\nb: *a\nc: {<<: *a, y: 3}\nd:\n  <<: [{x: 0}, *a]\n")
    assert not mistakes
    assert plain(root) == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 2}, "c": {"x": 1, "y": 3}, "d": {"x": 0, "y": 2}}


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("a: [1,\nb: 2", "x:2: YAML syntax: while parsing a flow sequence, expected ',' or ']', but got '<stream end>'"),
        ("a: 1\n\tb: 2", "x:2: YAML syntax: while scanning for the next token, found character '\\t' that cannot start any token; indent with spaces, or let the name of a JSON file end in .json"),
        ("a: 1\n---\nb: 2", "x:2: YAML syntax: expected a single document in the stream, but found another document"),
        ("a: *b", "x:1: YAML syntax: found undefined alias 'b'"),
        ("a: 1\nb: \x01", "x:2: YAML syntax: the character '\\x01' is not allowed"),
        ("a: {root: ${X}}", 'x:1: YAML syntax: while parsing a flow mapping, expected \',\' or \'}\', but got \'{\'; quote "${NAME}" inside [...] and {...}'),
        ("[" * 3000, "x:1: YAML syntax: nested too deeply"),
        ("a: 1\nb: {c: 1,\n c: 2}", "x:3 b.c: duplicate key 'c'; first written at x:2"),
        ("a: !!int 3", "x:1 a: the YAML tag 'tag:yaml.org,2002:int' is not supported; write the plain value"),
        ("a: &a [*a]", "x:1 a[0]: the alias 'a[0]' contains itself"),
        ("? [a]\n: 1", "x:1: a key is a plain word, not a list or mapping"),
        ("a: {<<: 3}", "x:1 a: '<<' merges mappings, got 3"),
    ],
)  # fmt: skip
def test_what_is_refused(text, mistake):
    assert read(text)[1] == [mistake]


@given(st.text())
def test_any_text_is_read_or_refused(text):
    root, mistakes = read(text)
    assert (root is None) <= bool(mistakes)


words = st.sampled_from(
    [
        "1e5",
        "1e3",
        "08",
        "007",
        "010",
        "on",
        "1_000",
        ".5",
        "~",
        "",
        "null",
        "2020-01-01",
        "0x10",
        "0o7",
        ".inf",
        "-.inf",
        ".nan",
        "+1",
        "1:30",
        "yes",
        "TRUE",
        "${X}",
        "$${",
        "a: b",
        "x\ny",
        "<<",
        "-",
        "#",
        "2001-12-14t21:59:43.10-05:00",
        "!!int 3",
        "&a",
        "*a",
        "%",
        "@",
        "`",
        "[",
        "{",
        ",",
        "? ",
        "---",
        "...",
        "\t",
        "\x85",
        "\u2028",
    ]
)
keys = (words | st.text()).filter(lambda key: "${" not in key)


@settings(deadline=None)
@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
))  # fmt: skip
def test_what_is_written_is_read_as_it_was(value):
    for style in ({}, {"short": True}, {"ascii_only": False}):
        mistakes: list[Mistake] = []
        text = write_yaml(escaped({"a": value}), **style)
        tree = plain(expand(read(text)[0], {}, mistakes))
        assert not mistakes
        assert tree == {"a": value}
        assert json.dumps(tree) == json.dumps({"a": value})
        assert json.dumps(read_tree(text)) == json.dumps(escaped({"a": value}))


def test_what_is_nested_deeper_than_a_reader_recurses_is_one_mistake() -> None:
    text = "".join(f"{' ' * level}k:\n" for level in range(300)) + f"{' ' * 300}k: 1"
    mistakes: list[Mistake] = []
    assert read_yaml(text, lambda line: Place("f", line), mistakes) is None
    assert [mistake.message for mistake in mistakes] == ["YAML syntax: nested too deeply"]
