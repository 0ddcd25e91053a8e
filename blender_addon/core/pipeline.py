"""Overlapping two kinds of work: what only the caller's thread may do, and what any thread can."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

PATIENCE_SECONDS = 0.005
"""How long one step of `overlap_steps` waits for a result."""


def overlap(
    items: Generator[Item, None, None], work: Callable[[Item], Result], threads: int
) -> Generator[Result, None, None]:
    """Like `overlap_steps`, waiting for every result."""
    with closing(overlap_steps(items, work, threads)) as steps:
        for result in steps:
            if result is not None:
                yield result


def overlap_steps(
    items: Generator[Item, None, None], work: Callable[[Item], Result], threads: int
) -> Generator[Result | None, None, None]:
    """Yield `work(item)` of every item, in order, computed in threads while the next items are made.

    Items are made in the caller's thread (Blender may be touched there only); `work` must not touch Blender.
    At most `threads` + 1 items wait at a time. While the next result is not ready, None is yielded instead
    of keeping the caller for long: a window has events to handle. An error of either side is raised here;
    then, and when the iteration is closed, `items` is closed and no further work begins. Work that runs
    already ends by itself: nobody waits for it.
    """
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="flextraj-sampling")
    try:
        with closing(items):
            for item in items:
                waiting.append(pool.submit(work, item))
                yield from _results(waiting, threads)
            yield from _results(waiting, 0)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _results(waiting: deque[Future[Result]], allowed: int) -> Generator[Result | None, None, None]:
    """Take results, the oldest first, until only the allowed number is waited for."""
    while len(waiting) > allowed:
        done, _ = wait((waiting[0],), PATIENCE_SECONDS)
        yield waiting.popleft().result() if done else None
