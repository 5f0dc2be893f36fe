"""Steps of a core that can be compared with `==`."""

from __future__ import annotations

from typing import Any, TypeVar

Step = TypeVar("Step")


class Steps(list[Step]):
    """Steps that are equal only if their kinds are: as bare tuples, `Open() == Close()`."""

    def __eq__(self, other: object) -> bool:
        def kinds(steps: list[Any]) -> list[object]:
            return [(type(step), step) for step in steps]

        return isinstance(other, list) and kinds(self) == kinds(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __contains__(self, wanted: object) -> bool:
        return any(type(step) is type(wanted) and step == wanted for step in self)
