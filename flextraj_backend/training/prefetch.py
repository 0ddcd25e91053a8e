"""Clips of the next forward are read, and their conditioning videos drawn, while this one computes."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from flextraj_backend.training.clip_source import ClipSource, FetchedSample, PlannedSample
from flextraj_backend.training.tasks import TaskMixture

Wanted = tuple[tuple[PlannedSample, ...], TaskMixture]


class Prefetcher:
    """Fetches samples ahead in threads; what is fetched does not depend on when.

    Args:
        threads: 0: each forward fetches its own samples when it needs them.
    """

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, "clips") if threads else None
        self._wanted: Wanted | None = None
        self._futures: list[Future[FetchedSample]] = []

    def take(
        self, source: ClipSource, planned: tuple[PlannedSample, ...], mixture: TaskMixture
    ) -> list[FetchedSample]:
        """The samples, waited for if they were expected, fetched now if not."""
        if self._pool is None:
            return [source.fetch(sample, mixture) for sample in planned]
        if self._wanted != (planned, mixture):
            self.expect(source, planned, mixture)
        return [future.result() for future in self._futures]

    def expect(self, source: ClipSource, planned: tuple[PlannedSample, ...], mixture: TaskMixture) -> None:
        """Start to fetch; what was expected before and not taken is given up."""
        if self._pool is None:
            return
        for future in self._futures:
            future.cancel()
        self._wanted = (planned, mixture)
        self._futures = [self._pool.submit(source.fetch, sample, mixture) for sample in planned]

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
