"""The annotations of a decorated function: `Input["D"]`, `Param["D N"]`, `State["D N", complex, "reverse"]`.

They only mark: the front end reads them in the source, and nothing calls them.
"""

from __future__ import annotations

import types
from typing import Any, ClassVar


class _Marker:
    role: ClassVar[str]

    def __class_getitem__(cls, items: Any) -> types.GenericAlias:
        return types.GenericAlias(cls, items)

    def __init__(self) -> None:
        raise TypeError(f"{type(self).__name__} is an annotation; it has no instances")


class Input(_Marker):
    """A value a time step: `Input["D"]` has the axis D, `Input` none."""

    role = "input"


class Param(_Marker):
    """A value for the whole sequence."""

    role = "param"


class State(_Marker):
    """A value carried from step to step; its default is the initial value."""

    role = "state"
