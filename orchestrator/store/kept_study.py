"""``study.json``: what a study is, as its last launch kept it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, TypeAdapter, ValidationError

from orchestrator.errors import InputError
from orchestrator.store import layout
from orchestrator.store.objects import DamagedError, Objects
from orchestrator.store.shapes import unlike
from orchestrator.studyfile import Objective, TrackingSection
from trainable.configfile.node import JsonObject


class _Specification(BaseModel):
    """What every command reads of a specification."""

    study: str
    objective: Objective | Annotated[list[Objective], Field(min_length=1)]
    tracking: TrackingSection


def _checked(specification: JsonObject) -> JsonObject:
    _Specification.model_validate(specification)
    return specification


@dataclass(frozen=True)
class KeptStudy:
    """A study as its directory tells it; fields with defaults are missing where an early version launched it."""

    id: str
    """Given at the first launch: a study that is deleted and run anew is another one."""
    specification: Annotated[JsonObject, AfterValidator(_checked)]
    """The resolved study file, environment variables by name."""
    data: Mapping[str, str] = field(default_factory=dict)
    """Fingerprint of each data set, by its section."""
    from_env: Mapping[str, str] = field(default_factory=dict)
    """Settings that came from environment variables, as written, by dotted path."""
    rare_classes: Mapping[str, list[str]] = field(default_factory=dict)
    """Names of the rare classes of each data set, by its section."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """Hash of the code of each part of one's own that the study has named, by ``module:Class``."""

    def write(self, objects: Objects) -> None:
        """Keep it in the study's directory."""
        objects.write_json(layout.STUDY, {"format": layout.FORMAT, **asdict(self)})

    @classmethod
    def read(cls, objects: Objects) -> "KeptStudy | None":
        """What was kept; None where nothing was.

        Raises:
            InputError: it is damaged, or a newer version wrote it.
        """
        try:
            content = objects.read_json(layout.STUDY)
        except DamagedError as error:
            raise InputError(
                f"{error}; the trials are not touched: restore it, or remove it to open new runs"
            ) from error
        if content is None and not objects.is_file(layout.STUDY):
            return None
        number = content.get("format", 1) if isinstance(content, dict) else None  # none: from before there were any
        if isinstance(number, int) and number > layout.FORMAT:
            raise InputError(
                f"{objects.address(layout.STUDY)}: written by a newer version (format {number}; this one reads "
                f"{layout.FORMAT})"
            )
        try:
            return _SHAPE.validate_python(content)
        except ValidationError as error:
            raise InputError(f"{objects.address(layout.STUDY)}: {unlike(error)}; restore it") from error


_SHAPE: TypeAdapter[KeptStudy] = TypeAdapter(KeptStudy)
