"""Configuration files as other tools write them: read as meant, or one line of printable text says what is wrong."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainable.configfile.document import as_yaml, read_yaml
from trainable.configfile.environment import expand, masked
from trainable.configfile.mistakes import ConfigError, Mistake, RuleError, printable
from trainable.configfile.node import Node, Place, plain
from trainable.configfile.reading import read_mapping
from trainable.configfile.texts import as_texts


def read(text: str) -> tuple[Node | None, list[str]]:
    mistakes: list[Mistake] = []
    root = read_yaml(text, lambda line: Place("x", line), mistakes)
    return root, [str(mistake) for mistake in mistakes]


YAML = "tag:yaml.org,2002:"


@pytest.mark.parametrize(
    ("text", "place", "tag"),
    [
        ("a: 1\nb: !!set {x, y}", "x:2 b", f"{YAML}set"),
        ("a: !!omap [x: 1]", "x:1 a", f"{YAML}omap"),
        ("a: !foo\n  b: 1", "x:1 a", "!foo"),
        ("!foo {a: 1}", "x:1", "!foo"),
        ("a:\n- !!python/object/apply:os.system [ls]", "x:2 a[0]", f"{YAML}python/object/apply:os.system"),
        ("a: !!str 3", "x:1 a", f"{YAML}str"),
        ("a: ! 3", "x:1 a", "!"),
        ("a: !!map {b: 1}", "x:1 a", f"{YAML}map"),
        ("a: !!binary aGk=", "x:1 a", f"{YAML}binary"),
        ("!!str a: 1", "x:1", f"{YAML}str"),
        ("a: {? !bar b : 1}", "x:1 a", "!bar"),
        ("a: &x !foo 1\nb: *x", "x:1 a", "!foo"),
    ],
)
def test_tags_are_refused_wherever_they_stand(text: str, place: str, tag: str) -> None:
    expected = f"{place}: the YAML tag '{tag}' is not supported; write the plain value"
    assert read(text)[1][0] == expected


def test_a_file_whose_top_is_tagged_is_one_mistake(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("!study {a: 1}")
    with pytest.raises(ConfigError) as caught:
        read_mapping(path, "a study", {"a": int}, [], env={})
    assert str(caught.value) == f"{path}:1: the YAML tag '!study' is not supported; write the plain value"


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("a: &a {x: 1}\nb: {<<: *a, <<: {x: 2}}", "x:2 b.<<: duplicate key '<<'; first written at x:2"),
        ("a: &a {x: 1, x: 2}\nb: {<<: *a}", "x:1 a.x: duplicate key 'x'; first written at x:1"),
        ("a: 1\nb: {<<: [1, {x: 2}]}", "x:2 b: '<<' merges mappings, got 1"),
        ("a: 1\n'a': 2", "x:2 a: duplicate key 'a'; first written at x:1"),
    ],
)
def test_duplicate_keys_through_merges(text: str, mistake: str) -> None:
    assert mistake in read(text)[1]


def test_a_merge_gives_way_to_own_keys_and_earlier_mappings() -> None:
    root, mistakes = read("a: &a {x: 1, y: 1}\nb: &b {x: 2, z: 2}\nc: {z: 3, <<: [*a, *b]}\nd: {'<<': 1}")
    assert root is not None
    assert not mistakes
    assert plain(root) == {
        "a": {"x": 1, "y": 1}, "b": {"x": 2, "z": 2}, "c": {"x": 1, "z": 3, "y": 1}, "d": {"<<": 1},
    }  # fmt: skip


def test_aliases_of_aliases_are_bounded() -> None:
    rows = ["a0: &a0 [x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12))]
    root, mistakes = read("\n".join(rows))
    assert root is None
    assert mistakes == ["x:1: YAML syntax: more than 100000 values, those of aliases counted wherever they stand"]


@pytest.mark.parametrize("quoted", ["\\ud800", "\\udfff x", "x\\ude00\\ud83d"])
def test_half_a_character_is_told_where_it_stands(quoted: str) -> None:
    for text, place in ((f'a: 1\nb: ["x",\n "{quoted}"]', "x:3 b[1]"), (f'a: 1\n"{quoted}": 2', "x:2")):
        (mistake,) = read(text)[1]
        assert mistake.startswith(f"{place}: '")
        assert mistake.endswith("holds half of a character (a lone surrogate)")
        mistake.encode()


def test_control_characters_in_a_message_are_escapes() -> None:
    for text in ('a: "x\\ny"\na: 1', '"a\\e[31m": 1\n"a\\e[31m": 2', '"a\\u2028\\x85": 1\n"a\\u2028\\x85": 2'):
        (mistake,) = read(text)[1]
        assert mistake.isprintable()
    assert str(Mistake(Place("a\nb.yaml", 1), "k\t", "\x1b[1m")) == "a\\nb.yaml:1 k\\t: \\x1b[1m"
    assert str(RuleError("a\nb\x00 \udcff", "data.root")) == "data.root: a\\nb\\x00 \\xff"
    assert str(RuleError(["a", "b"], "data.root")) == "data.root: a\ndata.root: b"


@given(st.text())
def test_what_is_printed_is_one_line(text: str) -> None:
    line = printable(text)
    assert line.isprintable()
    assert printable(line) == line
    line.encode()


json_texts = st.text() | st.sampled_from(["\t", "a\x85b", "\u2028", "\x7f", "😀", "#", ": ", "${"])


@given(
    st.dictionaries(json_texts, st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | json_texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(json_texts, inner, max_size=3), max_leaves=6,
    ), max_size=3),
    st.sampled_from([None, 2, "\t"]),
    st.booleans(),
)  # fmt: skip
def test_json_is_read_as_json(tree: dict[str, object], indent: int | str | None, ascii_only: bool) -> None:
    text = json.dumps(tree, indent=indent, ensure_ascii=ascii_only)
    mistakes: list[Mistake] = []
    root = read_yaml(as_yaml(text), lambda line: Place("x", line), mistakes)
    assert root is not None
    assert not mistakes
    assert json.dumps(plain(root)) == json.dumps(tree)


def test_a_file_named_json_may_be_indented_by_tabs(tmp_path: Path) -> None:
    text = '{\n\t"a": {\n\t\t"b":\t1\n\t}\n}'
    for name, works in (("x.json", True), ("x.JSON", True), ("x.yaml", False)):
        path = tmp_path / name
        path.write_text(text)
        if works:
            root = read_mapping(path, "a file", {"a": dict}, [], env={})
            assert plain(root) == {"a": {"b": 1}}
            assert root.value["a"].place == Place(str(path), 2)  # type: ignore[index,call-overload,union-attr]
        else:
            with pytest.raises(ConfigError, match=r"let the name of a JSON file end in \.json"):
                read_mapping(path, "a file", {"a": dict}, [], env={})


@pytest.mark.parametrize("value", ["2024", "007", "1e3", "true", "null", "~", ".inf", "0x10", "a"])
def test_a_variable_is_text_where_text_is_wanted(value: str) -> None:
    node = expand(Node("${N}", Place("f", 1)), {"N": value}, [])
    assert as_texts(node, str).value == value
    assert as_texts(node, str | None).value == (None if value in ("null", "~") else value)
    assert as_texts(node, int).value == node.value
    number = isinstance(node.value, int | float) and not isinstance(node.value, bool)
    assert as_texts(node, float | str).value == (node.value if number else value)


def test_a_value_of_a_variable_is_shown_by_its_name() -> None:
    env = {"TOKEN": "hunter2!", "DIR": "/srv//secret/", "ID": "42", "NAME": "data"}
    tree = [Node(text, Place("f", 1)) for text in ("${DIR}", "x${TOKEN}y", "${TOKEN}", "${ID}", "${NAME}")]
    root = expand(Node(list(tree), Place("f", 1)), env, [])
    assert masked("no folder /srv/secret/images", root) == "no folder ${DIR}/images"
    assert masked("got /srv//secret/", root) == "got ${DIR}"
    assert masked("'xhunter2!y' and hunter2!", root) == "'x${TOKEN}y' and ${TOKEN}"
    assert masked("data.root: data/42 has databases", root) == "data.root: ${NAME}/42 has databases"


def test_a_variable_that_is_no_text_is_told() -> None:
    mistakes: list[Mistake] = []
    expand(Node("${N}", Place("f", 1)), {"N": "a\udcff"}, mistakes)
    assert [str(mistake) for mistake in mistakes] == ["f:1: the environment variable N is not UTF-8 text"]
