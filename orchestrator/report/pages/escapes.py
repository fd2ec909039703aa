"""Text that means itself in a format, though an arm may bear any name: one filter for each format."""

import re

from pylatexenc.latexencode import RULE_DICT, RULE_REGEX, UnicodeToLatexConversionRule, UnicodeToLatexEncoder

STACKED = 9
"""Heads of so many letters are stacked word by word."""
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|#~$])")
_LATEX = {
    "_": r"\_\allowbreak{}",
    "[": "{[}",  # behind a line break, [..] would be a distance and * a command
    "]": "{]}",
    "*": "{*}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "✓": r"\checkmark{}",
    "\x7f": " ",
}
"""Letters that pylatexenc writes otherwise, or not at all."""
_NO_GLYPH = re.compile(
    r"[^ -~\u00a1-\u0148\u014a-\u017e\u0391-\u03c9\u2012-\u2044\u2190-\u2193\u2208-\u221e\u2248\u2260-\u2265]"
)
"""Outside of what pdflatex sets with the packages of the page: a report that does not compile helps nobody."""


def escape_markdown(text: str) -> str:
    """Text in GitHub's dialect; no line breaks."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def escape_latex(text: str) -> str:
    """Text for pdflatex; no line breaks. What it has no glyph for is written as its code point."""
    escaped: str = _ENCODER.unicode_to_latex(" ".join(text.split()))
    return escaped.replace("--", "-{}-")  # no dash of two hyphens


def stack_latex(text: str) -> str:
    """The head of a column over several lines, so that check marks need no wide columns."""
    words = text.replace("/", "/ ").split()
    if len(words) < 2 or len(text) < STACKED:
        return escape_latex(text)
    if words[-1] in ("↑", "↓"):
        words[-2:] = [" ".join(words[-2:])]
    lines = r" \\ ".join(map(escape_latex, words))
    return rf"\shortstack{{{lines}}}"


def _code_point(letter: str) -> str:
    return rf"\texttt{{U+{ord(letter):04X}}}"


_ENCODER = UnicodeToLatexEncoder(
    conversion_rules=[
        UnicodeToLatexConversionRule(RULE_DICT, {ord(letter): latex for letter, latex in _LATEX.items()}),
        UnicodeToLatexConversionRule(RULE_REGEX, [(_NO_GLYPH, lambda match: _code_point(match[0]))]),
        "defaults",
    ],
    replacement_latex_protection="braces-after-macro",
    unknown_char_policy=_code_point,
    unknown_char_warning=False,
)
