"""Overlapping two kinds of work: what only the caller's thread may do, and what any thread can."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def overlap(
    items: Generator[Item, None, None], work: Callable[[Item], Result], threads: int
) -> Generator[Result, None, None]:
    """Yield `work(item)` of every item, in order, computed in threads while the next items are made.

    Items are made in the caller's thread (Blender may be touched there only); `work` must not touch Blender.
    At most `threads` + 1 items wait at a time. An error of either side is raised here; then, and when the
    iteration is closed, `items` is closed and no work goes on.
    """
    waiting: deque[Future[Result]] = deque()
    with closing(items), ThreadPoolExecutor(threads, thread_name_prefix="flextraj-sampling") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
