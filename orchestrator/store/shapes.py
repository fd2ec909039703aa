"""Objects read by the shape that they must have: a checksum says that content is as it was written, not what it is."""

from typing import Annotated, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from orchestrator.store.objects import DamagedError, Objects

T = TypeVar("T")
Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]
"""A whole number that tables and databases hold."""
Number = Whole | float


def read_shaped(objects: Objects, name: str, shape: TypeAdapter[T], key: str | None = None) -> T | None:
    """Value of a JSON object; None where there is none.

    Args:
        objects: The study's objects.
        name: Which one.
        shape: What it must be.
        key: The trial whose it must be, for shapes that hold one.

    Raises:
        DamagedError: it is damaged, or no version writes such content; names the object and what is wrong.
    """
    value = objects.read_json(name)
    if value is None and not objects.is_file(name):
        return None
    try:
        return shape.validate_python(value, context=key)
    except ValidationError as error:
        raise DamagedError(f"{objects.address(name)}: {unlike(error)}") from error


def unlike(error: ValidationError) -> str:
    """What of an object's content no version writes, in short: the first of pydantic's complaints."""
    detail = error.errors(include_url=False)[0]
    complaint = ": ".join(
        filter(None, [".".join(map(str, detail["loc"])), detail["msg"].removeprefix("Value error, ")])
    )
    return f"not as any version writes it ({' '.join(complaint.split())[:200]})"
