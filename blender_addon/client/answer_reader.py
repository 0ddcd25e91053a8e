"""Reading what the backend says, strict about types."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any, TypeVar

from ..core.errors import ErrorCode, FlexTrajError

_Enum = TypeVar("_Enum", bound=StrEnum)


class AnswerReader:
    """Typed reading of one JSON object from the backend."""

    def __init__(self, values: Any, what: str) -> None:
        self._what = what
        if not isinstance(values, dict):
            raise self._refuse("is not a JSON object")
        self._values: dict[str, Any] = values

    def _refuse(self, problem: str) -> FlexTrajError:
        return FlexTrajError(
            f"The backend's {self._what} {problem}: update the add-on and the backend to the same version.",
            ErrorCode.BACKEND_VERSION,
        )

    def _get(self, name: str) -> Any:
        if name not in self._values:
            raise self._refuse(f"has no '{name}'")
        return self._values[name]

    def text(self, name: str) -> str:
        value = self._get(name)
        if not isinstance(value, str):
            raise self._refuse(f"has a '{name}' that is not text")
        return value

    def optional_text(self, name: str) -> str | None:
        return None if self._get(name) is None else self.text(name)

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._get(name)
        if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
            raise self._refuse(f"has a '{name}' that is not a list of texts")
        return tuple(value)

    def newer_texts(self, name: str) -> tuple[str, ...]:
        """Like `texts`, none where the backend is of a time before this setting."""
        return self.texts(name) if name in self._values else ()

    def truth(self, name: str) -> bool:
        value = self._get(name)
        if not isinstance(value, bool):
            raise self._refuse(f"has a '{name}' that is neither true nor false")
        return value

    def count(self, name: str) -> int:
        value = self._get(name)
        if type(value) is not int or value < 0:
            raise self._refuse(f"has a '{name}' that is not a whole number from 0 up")
        return value

    def optional_count(self, name: str) -> int | None:
        return None if self._get(name) is None else self.count(name)

    def number(self, name: str) -> float:
        value = self._get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise self._refuse(f"has a '{name}' that is not a finite number")
        return float(value)

    def numbers(self, name: str, count: int) -> tuple[float, ...]:
        value = self._get(name)
        if not isinstance(value, (list, tuple)) or len(value) != count:
            raise self._refuse(f"has a '{name}' that is not a list of {count} numbers")
        return tuple(AnswerReader({name: item}, self._what).number(name) for item in value)

    def optional_number(self, name: str) -> float | None:
        return None if self._get(name) is None else self.number(name)

    def member(self, name: str, kind: type[_Enum]) -> _Enum:
        value = self.text(name)
        try:
            return kind(value)
        except ValueError:
            raise self._refuse(f"has the unknown {name} '{value[:40]}'") from None

    def optional_member(self, name: str, kind: type[_Enum]) -> _Enum | None:
        """Like `member`, but None where the setting is null or a newer backend's."""
        value = self.optional_text(name)
        return kind(value) if value in set(kind) else None
