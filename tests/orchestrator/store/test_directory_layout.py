"""Every name of a study's directory is spelled in one module."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from orchestrator.store import layout
from orchestrator.store.layout import CheckpointName, TrialFiles

ROOT = Path(__file__).parents[3] / "orchestrator"
SPELLED = re.compile(
    r"study\.json|lease\.json|tracking\.json|results\.parquet|best\.yaml|\bplan-|trials/|probes/|attempt-|epochs-|"
    r"checkpoint-|hung-|\blog-|config\.json|verdict\.json|traceback\.txt|confusion\.json|validation_(first|last)|"
    r"^report/|^artifacts$"
)


def spelled(path: Path) -> Iterator[str]:
    """String constants of a module, docstrings aside, that hold a name of the directory."""
    tree = ast.parse(path.read_text())
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) and id(node) not in prose else None
        if isinstance(text, str) and SPELLED.search(text):
            yield f"{path.relative_to(ROOT)}: {text!r}"


def test_no_other_module_spells_a_name() -> None:
    modules = [path for path in ROOT.rglob("*.py") if path != ROOT / "store/layout.py"]
    assert len(modules) > 50
    assert [line for path in modules for line in spelled(path)] == []
    assert len(list(spelled(ROOT / "store/layout.py"))) > 10, "the search sees names"


def test_what_is_numbered_is_read_back() -> None:
    files = TrialFiles("search-0000")
    names = [files.attempt(2), files.attempt(10), files.epochs(3), files.log(4), files.verdict, files.hung("5")]
    names += [f"{files.folder}/{CheckpointName(2, 9)}", f"{files.folder}/{CheckpointName(10, 1)}"]
    inside = [name.removeprefix(f"{files.folder}/") for name in names] + [".attempt-7.json.0123", "attempt-8.json.old"]
    assert layout.numbers(layout.ATTEMPT, inside) == [10, 2]
    assert layout.numbers(layout.EPOCHS, inside) == [3]
    assert layout.numbers(layout.LOG, inside) == [4]
    assert layout.checkpoints(inside) == [CheckpointName(10, 1), CheckpointName(2, 9)]
