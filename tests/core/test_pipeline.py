"""Overlapped work: a shot would lose frames, their order, or the error that ended it."""

from __future__ import annotations

import threading
import time

import pytest

from blender_addon.core.pipeline import overlap


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
