"""Parts of one's own in a launch: their code is that with which the study began, and travels to the workers."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from orchestrator.errors import InputError
from orchestrator.store.records import Store
from orchestrator.studyfile import Study
from orchestrator.studyfile.space.domain import Choice
from trainable.parts.section import NAME
from trainable.parts.source import Code, code_of, files_of


def hashes_of(study: Study) -> dict[str, str]:
    """Hash of the code of each part that a study names, in its trials or in an ablation."""
    return {name: code.sha256 for name, code in _codes(study).items()}


def check_parts_unchanged(study: Study, store: Store) -> None:
    """Refuse a study whose parts have other code than that with which trials of it were trained.

    Raises:
        InputError: it has changed since; a line for each package.
    """
    kept = store.read_study()
    now = hashes_of(study)
    changed = {name: sha for name, sha in (kept.parts if kept else {}).items() if now.get(name, sha) != sha}
    if not changed:
        return
    trained = [json.dumps(record.planned.config) for record in store.records() if record.epochs]
    packages: dict[tuple[str, str], list[str]] = {}
    for name, before in changed.items():
        if any(before in config for config in trained):
            packages.setdefault((now[name], before), []).append(name)
    lines = [
        f"{study.path}: the code of {', '.join(names)} differs from that which the study began with (sha256 "
        f"{sha[:12]}, then {before[:12]}); restore it, or give this study another name (--set study=NAME)"
        for (sha, before), names in packages.items()
    ]
    if lines:
        raise InputError("\n".join(lines))


@contextmanager
def travelling(study: Study) -> Iterator[tuple[str, ...]]:
    """Folders and files of modules that no worker has installed, copied as they were when they were hashed.

    Raises:
        InputError: a file changed meanwhile.
    """
    with ExitStack() as stack:
        copies = {}
        for name, code in _codes(study).items():
            if not code.installed and code.path not in copies:
                folder = Path(stack.enter_context(TemporaryDirectory(prefix="dropclass-parts-")))
                copies[code.path] = _copied(code, folder)
                code_of.cache_clear()
                if code_of(name).sha256 != code.sha256:
                    raise InputError(f"{study.path}: the code of {name} changed while the study started; run it again")
        yield tuple(map(str, copies.values()))


def _copied(code: Code, folder: Path) -> Path:
    if code.path.is_file():
        return Path(shutil.copy(code.path, folder / code.path.name))
    for file in files_of(code.path):
        place = folder / code.top / file.relative_to(code.path)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)
    return folder / code.top


def _codes(study: Study) -> Mapping[str, Code]:
    ablation = study.spec.ablation
    values = [study.space.tree, ablation.model_dump(mode="json") if ablation else None]
    names = dict.fromkeys(text for value in values for text in _texts(value) if NAME.fullmatch(text))
    codes = {}
    for name in names:
        try:
            codes[name] = code_of(name)
        except ValueError:  # a text of another meaning: the parts are known to be there
            continue
    return codes


def _texts(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case Choice():
            for option in value.options:
                yield from _texts(option)
        case dict():
            for child in value.values():
                yield from _texts(child)
        case list() | tuple():
            for child in value:
                yield from _texts(child)
