"""Remembering what was made for frames, for timelines that are scrubbed back and forth."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class FrameCache(Generic[Value]):
    """Keeps what was made for the frames asked for last.

    Args:
        make: makes the value of a frame.
        most: how many are kept, at least 1.
    """

    def __init__(self, make: Callable[[int], Value], most: int) -> None:
        self._make = make
        self._most = max(most, 1)
        self._values: OrderedDict[int, Value] = OrderedDict()

    def of(self, frame: int) -> Value:
        """The value of a frame, made now if it is not kept."""
        if frame not in self._values:
            self._values[frame] = self._make(frame)
            if len(self._values) > self._most:
                self._values.popitem(last=False)
        self._values.move_to_end(frame)
        return self._values[frame]
