"""Overlapped work: a shot would lose frames, their order, or the error that ended it."""

from __future__ import annotations

import threading
import time

import pytest

from blender_addon.core.pipeline import overlap, overlap_steps


def test_results_come_in_the_order_of_the_items_however_long_each_takes():
    def work(item: int) -> int:
        time.sleep(0.002 * (item % 3))
        return item * item

    assert list(overlap((i for i in range(20)), work, 3)) == [i * i for i in range(20)]


def test_items_are_made_in_the_thread_of_the_caller():
    makers = set()

    def items():
        for index in range(6):
            makers.add(threading.get_ident())
            yield index

    workers = set(overlap(items(), lambda _: threading.get_ident(), 2))
    assert makers == {threading.get_ident()}
    assert threading.get_ident() not in workers


def test_an_error_of_the_work_reaches_the_caller_and_closes_the_source():
    closed = []

    def items():
        try:
            yield from range(100)
        finally:
            closed.append(True)

    def work(item: int) -> int:
        return 10 // (3 - item)

    with pytest.raises(ZeroDivisionError):
        list(overlap(items(), work, 2))
    assert closed == [True]


def test_an_error_of_the_source_reaches_the_caller():
    def items():
        yield 1
        raise KeyError("lost")

    with pytest.raises(KeyError):
        list(overlap(items(), lambda item: item, 2))


def test_closing_stops_the_source_before_its_end():
    made = []

    def items():
        for index in range(1000):
            made.append(index)
            yield index

    results = overlap(items(), lambda item: item, 2)
    next(results)
    results.close()
    assert len(made) < 10


def test_the_caller_is_asked_back_while_a_result_takes_long():
    """A window would not react to events for as long as the slowest frame takes."""
    release = threading.Event()

    def work(item: int) -> int:
        release.wait(10.0)
        return item

    steps = overlap_steps((i for i in range(3)), work, 1)
    assert [next(steps) for _ in range(5)] == [None] * 5
    release.set()
    assert [result for result in steps if result is not None] == [0, 1, 2]


def test_closing_does_not_wait_for_work_that_runs():
    """Esc would be answered only after a frame's visibility test."""
    release, ended = threading.Event(), threading.Event()

    def work(item: int) -> int:
        release.wait(10.0)
        ended.set()
        return item

    steps = overlap_steps((i for i in range(9)), work, 1)
    next(steps)
    steps.close()
    assert not ended.is_set()
    release.set()
    assert ended.wait(10.0)
