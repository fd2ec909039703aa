"""Import a part of one's own, make an object of it, and say in one line what its code does wrong.

Everything here takes seconds, torch's, and runs code of the user: in workers, in ``python -m trainable``, and in the
process that checks a study's parts before it starts (`trainable.parts.check`); never where files are only read.
"""

import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, JsonValue, create_model

from trainable.configfile.messages import validate
from trainable.configfile.mistakes import Mistake, printable
from trainable.configfile.node import Node, Place
from trainable.failure import TrialFailed
from trainable.parts.kinds import ALWAYS
from trainable.parts.section import OwnPart
from trainable.parts.source import Code, code_of, import_path

P = TypeVar("P")
_IMPORTED: dict[str, str] = {}
"""Hash of the code of each package of parts as it was when this process imported it."""


_TAKEN = "a section of a part has keys of that name already (docs/own-parts.md)"


class PartFailed(TrialFailed):
    """The code of a part does not do what its kind has to; one line with the part's name."""


def load_class(part: OwnPart, *bases: Callable[..., P]) -> type[P]:
    """The class that a section names, derived from one of ``bases``.

    Raises:
        PartFailed: it cannot be imported, is no such class, or its code is not that which the trial is known by.
    """
    try:
        code = code_of(part.name)
    except ValueError as error:
        raise PartFailed(f"{part.name}: {error}") from error
    if part.sha256 and code.sha256 != part.sha256:
        raise PartFailed(changed(part.name, part.sha256, code.sha256))
    loaded = _imported(part.name, code)
    _check_kind(part.name, loaded, [base for base in bases if isinstance(base, type)])
    return cast(type[P], loaded)


def changed(name: str, before: str, now: str) -> str:
    """That the code of a part is not what it was."""
    return f"the code of {name} is not that of this trial (sha256 {before[:12]}, here {now[:12]})"


def build(part: OwnPart, base: Callable[..., P], *arguments: object) -> P:
    """An object of the class, derived from ``base``, that a section names; ``arguments`` come before its settings.

    Raises:
        PartFailed: as `load_class`; settings that it does not take; it raises.
    """
    return construct(part.name, load_class(part, base), part.settings, *arguments)


def construct(name: str, loaded: type[P], settings: dict[str, JsonValue], *arguments: object) -> P:
    """An object of a class, its settings checked first; raises as `build`."""
    mistakes, values = checked(loaded, settings, len(arguments))
    if mistakes:
        raise PartFailed(f"{name}: {mistakes[0].path}: {mistakes[0].message}")
    with own_code(name):
        return loaded(*arguments, **values)


def checked(loaded: type, settings: dict[str, JsonValue], given: int = 0) -> tuple[list[Mistake], dict[str, Any]]:
    """What is wrong with the settings of a class, paths relative to them; and the constructor's arguments.

    They are those of its ``Config``, a pydantic model that the constructor takes alone, where it has one; else they
    follow from the signature of the constructor: names, defaults and annotations. The first ``given`` parameters are
    none of them.

    Raises:
        PartFailed: it has arguments that no file can give, or an annotation that cannot be read.
    """
    mistakes: list[Mistake] = []
    model = settings_of(loaded, given)
    if taken := sorted(ALWAYS & model.model_fields.keys()):
        raise PartFailed(f"{_full_name(loaded)}: an argument cannot be called {taken[0]}: {_TAKEN}")
    node = _node(settings)
    values = validate(model, node, (), mistakes)
    if values is None:
        return mistakes, {}
    if model is getattr(loaded, "Config", None):
        return mistakes, {"config": values}
    written = [*(name for name in model.model_fields if name in settings), *(values.model_extra or ())]
    return mistakes, {name: getattr(values, name) for name in written}


def settings_of(loaded: type, given: int = 0) -> type[BaseModel]:
    """The model of a class's settings."""
    config = getattr(loaded, "Config", None)
    if isinstance(config, type) and issubclass(config, BaseModel):
        return config
    takes_any = False
    fields: dict[str, Any] = {}
    own = loaded.__init__ is not object.__init__  # type: ignore[misc]
    signature = _signature(loaded) if own else None
    for parameter in list(signature.parameters.values())[1 + given :] if signature else ():
        if parameter.kind is parameter.VAR_KEYWORD:
            takes_any = True
        elif parameter.kind not in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            annotation = Any if parameter.annotation is parameter.empty else parameter.annotation
            fields[parameter.name] = (annotation, ... if parameter.default is parameter.empty else parameter.default)
    rules = ConfigDict(
        strict=True, extra="allow" if takes_any else "forbid", arbitrary_types_allowed=True, protected_namespaces=()
    )
    try:
        model: type[BaseModel] = create_model(loaded.__name__, __config__=rules, **fields)
        model.model_rebuild()  # of a name inside an annotation, as in list["Nope"], pydantic tells late
    except Exception as error:  # of an annotation that pydantic does not take, or a name with a leading underscore
        message = printable((str(error).splitlines() or [type(error).__name__])[0])  # then comes an address
        raise PartFailed(f"{_full_name(loaded)}: its arguments cannot be read ({message}){_at(loaded)}") from error
    return model


def _signature(loaded: type) -> inspect.Signature:
    """The constructor's, its annotations evaluated.

    Raises:
        PartFailed: one of them is no expression that can be evaluated where the class is defined.
    """
    constructor = loaded.__init__  # type: ignore[misc]
    try:
        return inspect.signature(constructor, eval_str=True)
    except ValueError:  # a class of another language
        return inspect.Signature()
    except Exception as error:  # whatever its text does when it is evaluated
        names = getattr(constructor, "__globals__", {})
        for name, text in getattr(constructor, "__annotations__", {}).items():
            try:
                eval(text, names) if isinstance(text, str) else None  # as inspect does it
            except Exception as wrong:
                what = f"the annotation of {name} cannot be read: {type(wrong).__name__}: {printable(str(wrong))}"
                raise PartFailed(f"{_full_name(loaded)}: {what}{_at(loaded)}") from error
        raise PartFailed(f"{_full_name(loaded)}: its arguments cannot be read ({error}){_at(loaded)}") from error


def _full_name(loaded: type) -> str:
    return f"{loaded.__module__}:{loaded.__qualname__}"


def _at(loaded: type) -> str:
    """File and line of the constructor's definition, in brackets; nothing where there is no such file."""
    code = getattr(loaded.__init__, "__code__", None)  # type: ignore[misc]
    return f" ({code.co_filename}:{code.co_firstlineno})" if code else ""


@contextmanager
def own_code(name: str) -> Iterator[None]:
    """Run code of a part: its errors become `PartFailed`, with the line of its own file; memory that is out does not.

    Raises:
        PartFailed: it raised.
    """
    try:
        yield
    except (PartFailed, TrialFailed):
        raise
    except (Exception, SystemExit) as error:  # a part that exits would end a worker without a word
        if "torch" in sys.modules and isinstance(error, Exception) and _is_out_of_memory(error):
            raise
        raise PartFailed(f"{name}: {described(error, name)}") from error


def _is_out_of_memory(error: Exception) -> bool:
    from trainable.train.gpu_memory import is_out_of_memory  # late: a data set's code may do without torch

    return is_out_of_memory(error)


def described(error: BaseException, name: str) -> str:
    """An error in a line: its type, its message and the deepest line of the part's own files."""
    message = printable(" ".join(str(error).split()))
    line = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return f"{line} ({place})" if (place := _own_line(error, name)) else line


def _own_line(error: BaseException, name: str) -> str:
    try:
        root = code_of(name).path
    except ValueError:  # a class that a test defines where no module can be named
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).resolve().is_relative_to(root)]
    return f"{own[-1].filename}:{own[-1].lineno} in {own[-1].name}" if own else ""


def _imported(name: str, code: Code) -> object:
    module, _, class_name = name.partition(":")
    if _IMPORTED.setdefault(code.top, code.sha256) != code.sha256:  # a long session, in which it was edited
        for other in [other for other in sys.modules if other == code.top or other.startswith(f"{code.top}.")]:
            del sys.modules[other]
        _IMPORTED[code.top] = code.sha256
    folder = import_path(code)
    if folder not in sys.path and code.top not in sys.modules:
        sys.path.append(folder)
    try:
        loaded = import_module(module)
    except (Exception, SystemExit) as error:  # whatever the module does when it is imported
        raise PartFailed(f"cannot import {module} ({described(error, name)})") from error
    if not hasattr(loaded, class_name):
        raise PartFailed(f"{module} has no class '{class_name}'")
    return getattr(loaded, class_name)


def _check_kind(name: str, loaded: object, bases: Sequence[type]) -> None:
    if not isinstance(loaded, type):
        raise PartFailed(f"{name} is no class but a {type(loaded).__name__}")
    base = next((base for base in bases if issubclass(loaded, base)), bases[0])
    kind = " or ".join(f"trainable.parts.{base.__name__}" for base in bases)
    if not issubclass(loaded, base):
        lacking = sorted(method for method in _methods(base) if not callable(getattr(loaded, method, None)))
        lacks = f"; it lacks {', '.join(lacking)}" if lacking else ""
        raise PartFailed(f"{name} is no {kind}: derive it from that class{lacks}")
    missing = sorted(method for method in _methods(base) if getattr(loaded, method) is getattr(base, method))
    if missing:
        raise PartFailed(f"{name} lacks {', '.join(f'{method}()' for method in missing)} of {kind}")


def _methods(base: type) -> Sequence[str]:
    return [name for name, value in vars(base).items() if getattr(value, "__isabstractmethod__", False)]


def _node(value: JsonValue) -> Node:
    place = Place("settings")
    if isinstance(value, dict):
        return Node({key: _node(child) for key, child in value.items()}, place)
    if isinstance(value, list):
        return Node([_node(child) for child in value], place)
    return Node(value, place)
