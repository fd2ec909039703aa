"""``runs:/RUN_ID`` in a study file: completed by its content, which trials are known by."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from orchestrator.studyfile.sections.search import STUDY_NAME
from trainable.configfile.mistakes import Mistake, show_path
from trainable.configfile.node import Key, Node, child_of, with_children
from trainable.model.run_reference import RUNS, RunReference, read_reference

SETTINGS = ("weights", "encoder_weights")
ContentOf: TypeAlias = Callable[[RunReference, str, str | None], str]
"""Hash of the content of a run's file, given the study's name and ``tracking.uri``; raises ValueError: it has none."""


def with_contents(root: Node, content_of: ContentOf, mistakes: list[Mistake]) -> Node:
    """The tree in which every ``runs:/RUN_ID`` says its file and content too: ``runs:/RUN_ID/FILE@SHA256``."""
    study, tracking = child_of(root, "study"), child_of(root, "tracking")
    uri = child_of(tracking, "uri") if tracking else None
    name, address = study.value if study else None, uri.value if uri else None
    known = isinstance(name, str) and re.fullmatch(STUDY_NAME, name) and isinstance(address, str | None)

    def completed(node: Node, path: tuple[Key, ...]) -> Node:
        if not _names_a_run(node, path):
            return with_children(node, lambda key, child: completed(child, (*path, key)))
        if not known:  # whose mistake is told
            return replace(node, broken=True)
        try:
            reference = read_reference(str(node.value))
            content = content_of(reference, str(name), None if address is None else str(address))
        except ValueError as error:
            mistakes.append(Mistake(node.place, show_path(path), str(error)))
            return replace(node, broken=True)
        return replace(node, value=str(replace(reference, sha256=content)))

    return completed(root, ())


def _names_a_run(node: Node, path: tuple[Key, ...]) -> bool:
    """Also as an option of a choice, or where an arm or a factor sets ``model.weights``."""
    set_here = any(isinstance(key, str) and key.rpartition(".")[2] in SETTINGS for key in path)
    return set_here and isinstance(node.value, str) and node.value.startswith(RUNS) and not node.broken
