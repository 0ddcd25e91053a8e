"""Progress of long runs: what a user would not see of a training that works in the background."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from flextraj_backend.phase_bar import PhaseBar


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_the_log_of_a_run_in_the_background_says_now_and_then_where_it_stands() -> None:
    file, clock = StringIO(), Clock()
    with PhaseBar(Console(file=file, width=40), clock) as bar:
        bar.advance("preparing clips", 0)
        for step in range(1, 301):
            clock.seconds += 1.0
            bar.advance("training", step, 300, f"loss {1 / step:.3f}, a detail that is longer than the line")
    lines = file.getvalue().splitlines()
    assert lines[0] == "preparing clips"
    assert [line.split(",")[0] for line in lines[1:]] == [
        "training 1/300",
        *(f"training {step}/300" for step in (61, 121, 181, 241)),
        "training 300/300",
    ]
    assert lines[2].endswith("loss 0.016, a detail that is longer than the line, 0:03:59 left")
    assert lines[-1].endswith("longer than the line")


def test_a_terminal_shows_each_phase_as_a_bar_and_no_lines() -> None:
    file = StringIO()
    with PhaseBar(Console(file=file, width=120, force_terminal=True)) as bar:
        bar.advance("encoding", 4, 4)
        bar.advance("base", 5, 10, "loss 0.2")
    text = file.getvalue()
    assert "4/4" in text and "━" in text and "loss 0.2" in text
    assert "base 5/10" not in text


def test_nothing_is_drawn_before_a_phase_begins() -> None:
    file = StringIO()
    with PhaseBar(Console(file=file, force_terminal=True)):
        assert file.getvalue() == ""
