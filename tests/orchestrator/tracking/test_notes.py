"""Descriptions: what somebody edited is never replaced, and every text fits."""

import pytest

from orchestrator.tracking.notes import escaped, replaces, sign
from trainable.evaluate.metrics.glossary import with_direction
from trainable.evaluate.metrics.names import ECE, LESS_IS_BETTER, SWAPPED_OBJECT_MIOU, iou_name
from trainable.presets import IN_WORDS, PRESETS

OLD, NEW = sign("the old text", 500), sign("the new text", 500)


@pytest.mark.parametrize(
    ("present", "free"),
    [
        (None, True),
        (OLD, True),
        (NEW, False),
        ("", False),
        ("a text of one's own", False),
        (OLD.replace("old", "better"), False),
        (f"{OLD} and more", False),
        (OLD.rstrip("->"), False),
    ],
)
def test_a_text_is_replaced_where_nobody_edited_it(present: str | None, free: bool) -> None:
    assert replaces(present, NEW) == free


def test_a_long_text_loses_its_last_lines_and_stays_ours() -> None:
    long = sign("\n".join(f"line {number}" for number in range(1000)), 600)
    assert len(long) <= 600
    assert "\nline 50\n" in long
    assert replaces(long, NEW)
    assert len(sign("x" * 2000, 600)) <= 600


def test_text_means_itself_in_markdown() -> None:
    assert escaped("val/object_miou_swapped ${ROOT}") == "val/object_miou_swapped ${ROOT}"
    assert escaped("_a_ *b* [c](d) `e` | <f>\n~g~") == r"\_a\_ \*b\* \[c\](d) \`e\` \| &lt;f&gt; \~g\~"


def test_every_preset_and_the_usual_metrics_have_plain_words() -> None:
    assert IN_WORDS.keys() == PRESETS.keys()
    assert with_direction(SWAPPED_OBJECT_MIOU).endswith("larger is better")
    assert ECE in LESS_IS_BETTER
    assert with_direction(ECE).endswith("smaller is better")
    assert with_direction(iou_name("car")).startswith("IoU of car")
    assert with_direction("unheard/of") == ""
