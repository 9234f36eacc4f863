"""Typed documents: JSON that is checked against a dataclass, once, when it is read."""

from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def typed(data: Any, kind: type[T]) -> T:
    """The dataclass that plain JSON data describe, dataclasses within it too; what it does not name is left out.

    ValueError, naming the place as in "Expected `int`, got `str` - at `$.progress.position`", where a field is missing
    or of another type. What a `__post_init__` raises as ValueError or TypeError comes as one too; a UserError as it is.
    """
    return msgspec.convert(data, kind)
