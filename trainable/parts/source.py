"""Where the code of an own part lies, and its hash: without importing it, so within milliseconds and without torch.

The code of ``my.module:Class`` is every file of the package ``my``, or the file ``my.py``: what it imports of other
packages is not in its hash, as torch is not.
"""

import ast
import hashlib
import os
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path

from trainable.configfile.mistakes import unknown

LARGEST = 20 * 2**20
"""Bytes of a package of one's own: it travels to every worker, and its hash is taken at every start."""
MOST_FILES = 2000
VARIABLE = "DROPCLASS_PARTS"
"""Names the folders where modules are looked for besides Python's own places: further processes inherit it."""


@dataclass(frozen=True)
class Code:
    """The code of a part."""

    top: str
    """Name of the package, or of the module where it lies in none."""
    path: Path
    """Its folder or file."""
    module: Path
    """The file of the module itself."""
    sha256: str

    @property
    def installed(self) -> bool:
        """Whether it lies where pip puts packages, and so is a matter of whoever sets up the machines."""
        places = {sysconfig.get_path(kind) for kind in ("purelib", "platlib", "stdlib")}
        return any(self.path.is_relative_to(Path(place).resolve()) for place in places if place)


def look_in(folder: Path) -> None:
    """Look for modules in a folder too, after Python's own places; and read anew what was read before."""
    os.environ[VARIABLE] = os.pathsep.join(dict.fromkeys([*map(str, _folders()), str(folder.resolve())]))
    code_of.cache_clear()


def _folders() -> list[Path]:
    return [Path(text) for text in os.environ.get(VARIABLE, "").split(os.pathsep) if text]


@lru_cache(maxsize=256)
def code_of(name: str) -> Code:
    """The code of ``module:Class``, as it was when it was first asked for.

    Raises:
        ValueError: there is no such module or class in it, or it is too large; one line.
    """
    module, _, class_name = name.partition(":")
    top = module.partition(".")[0]
    path, file = _located(module)
    _check_class(module, class_name, file)
    return Code(top, path, file, _hash(path))


def import_path(code: Code) -> str:
    """The folder that has to be on ``sys.path``."""
    return str(code.path.parent)


def _located(module: str) -> tuple[Path, Path]:
    """The top package's folder (or the module's file), and the module's file."""
    top, *inner = module.split(".")
    spec = _top_spec(top)
    if spec is None:
        raise ValueError(f"cannot import {module} (no module named '{top}'{_where()}){_meant(top, module)}")
    if not inner:
        file = _file(spec, module)
        return (file.parent if spec.submodule_search_locations else file), file
    places = list(spec.submodule_search_locations or ())
    package = next((Path(place) for place in places), None)
    for index in range(len(inner)):
        found = PathFinder.find_spec(".".join([top, *inner[: index + 1]]), places) if places else None
        if found is None:
            parent = ".".join([top, *inner[:index]])
            names = sorted({name for place in places for name in _modules_in(Path(place))})
            raise ValueError(
                f"cannot import {module} ({parent} has no '{inner[index]}'); {_names(inner[index], names)}"
            )
        spec, places = found, list(found.submodule_search_locations or ())
        if spec.origin is None and places:  # a namespace package: the folder that holds the module counts
            package = Path(places[0]).parents[index]
    assert package is not None
    return package.resolve(), _file(spec, module)


def _top_spec(top: str) -> ModuleSpec | None:
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is not None and spec.origin is not None:
        return spec
    # A folder of the name without __init__.py, such as the project around the package, gives way to a package.
    return PathFinder.find_spec(top, [*sys.path, *map(str, _folders())])


def _file(spec: ModuleSpec, module: str) -> Path:
    if spec.origin is None or not Path(spec.origin).is_file():
        raise ValueError(f"cannot import {module}: it is no module with a file of its own")
    return Path(spec.origin).resolve()


def _check_class(module: str, class_name: str, file: Path) -> None:
    """Read which names the module defines; one that fills its names otherwise is left to the import."""
    if file.suffix != ".py":
        return
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError as error:
        raise ValueError(f"{module} is no Python: {file}:{error.lineno}: {error.msg}") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: cannot be read ({error})") from error
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    others = any(isinstance(node, ast.ImportFrom | ast.Import | ast.Assign | ast.If | ast.Try) for node in tree.body)
    names = {name.asname or name.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for name in n.names}
    assigned = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    dynamic = "*" in names or any(isinstance(n, ast.FunctionDef) and n.name == "__getattr__" for n in tree.body)
    if class_name not in {*classes, *names, *assigned} and not (others and dynamic):
        raise ValueError(f"{module} has no class '{class_name}'; {_names(class_name, classes)}")


def _names(word: str, names: list[str]) -> str:
    return unknown(word, names).partition("; ")[2] if names else "it has none"


def _where() -> str:
    looked = f" here, nor in {', '.join(map(str, _folders()))}" if _folders() else ""
    return f"{looked}; {VARIABLE} may name more folders"


def _meant(top: str, module: str) -> str:
    """A name close by, among what lies in the folders that users write in, and what is imported already."""
    folders = dict.fromkeys([*_folders(), Path.cwd(), *(Path(entry) for entry in sys.path if entry)])
    names = {name for folder in folders if not _is_library(folder) for name in _modules_in(folder)}
    names |= {path.name for path in _site_packages() if path.is_dir() and path.name.isidentifier()}
    close = (
        unknown(top, sorted(names)).rpartition("close names: ")[2] if len(names) > 40 else _names(top, sorted(names))
    )
    guess = close.rpartition("did you mean '")[2].partition("'")[0] if "did you mean" in close else close.split(", ")[0]
    if guess not in names:
        return ""
    return f"; did you mean {'.'.join([guess, *module.split('.')[1:]])}?"


def _is_library(folder: Path) -> bool:
    return any(part in ("site-packages", "dist-packages") or part.startswith("python3") for part in folder.parts)


def _site_packages() -> list[Path]:
    place = Path(sysconfig.get_path("purelib"))
    return list(place.iterdir()) if place.is_dir() else []


def _modules_in(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    files = [path.stem for path in folder.glob("*.py") if path.stem.isidentifier() and path.stem != "__init__"]
    packages = [path.parent.name for path in folder.glob("*/__init__.py") if path.parent.name.isidentifier()]
    return [*files, *packages]


def files_of(path: Path) -> list[Path]:
    """All files of a package's folder that are its own, sorted; a module's file alone.

    Raises:
        ValueError: there are too many, or they are too large.
    """
    if path.is_file():
        return [path]
    files: list[Path] = []
    size = 0
    for file in _own_files(path):
        files.append(file)
        size += file.stat().st_size
        if len(files) > MOST_FILES or size > LARGEST:
            limits = f"at most {MOST_FILES} files and {LARGEST // 2**20} MiB travel to the workers"
            raise ValueError(f"{path} holds more than code: {limits}; keep data and weights elsewhere")
    return sorted(files)


def _own_files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith(".") or path.name == "__pycache__" or path.suffix in (".pyc", ".pyo"):
            continue
        if path.is_dir():
            yield from _own_files(path)
        elif path.is_file():
            yield path


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    root = path if path.is_dir() else path.parent
    try:
        for file in files_of(path):
            content = file.read_bytes()
            digest.update(f"{file.relative_to(root).as_posix()} {len(content)}\n".encode())
            digest.update(content)
    except OSError as error:
        raise ValueError(f"{error.filename}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()
