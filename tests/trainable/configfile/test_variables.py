"""``${NAME}`` in a tree, with no study around it."""

import pytest

from trainable.configfile.environment import expand
from trainable.configfile.mistakes import Mistake
from trainable.configfile.node import Node, Place, plain, written

PLACE = Place("f", 1)


@pytest.mark.parametrize(
    ("text", "value"),
    [("${N}", 3), ("${T}", "on"), ("x${N}", "x3"), ("$${N} ${N}", "${N} 3"), ("${", "${"), ("$N", "$N")],
)
def test_a_variable_is_replaced_and_written_by_name(text, value):
    mistakes: list[Mistake] = []
    node = expand(Node([Node(text, PLACE)], PLACE), {"N": "3", "T": "on"}, mistakes)
    assert (plain(node), mistakes) == ([value], [])
    assert plain(expand(Node(written(node)[0], PLACE), {"N": "3", "T": "on"}, mistakes)) == value


def test_a_variable_that_is_not_set_or_none():
    mistakes: list[Mistake] = []
    expand(Node({"b": Node("${a b}", PLACE)}, PLACE), {}, mistakes)
    expand(Node({"a": Node([Node("${X} ${EMPTY}", PLACE)], PLACE)}, PLACE), {"EMPTY": ""}, mistakes)
    assert [str(mistake) for mistake in mistakes] == [
        "f:1 b: '${a b}' names no environment variable; a literal is written $${",
        "f:1 a[0]: the environment variable X is not set",
        "f:1 a[0]: the environment variable EMPTY is empty",
    ]
