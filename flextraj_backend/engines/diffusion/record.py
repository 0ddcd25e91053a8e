"""How a video was generated, for its sidecar: enough to make it again and to judge it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class WindowRecord:
    """One clip of the shot.

    Attributes:
        start, stop: its frames, `stop` excluded.
        fade: frames at its start that were cross-faded with the windows before.
        seed: of its noise.
        kept_tokens: condition tokens that were computed with, None without a condition.
        cache_bytes: of the condition cache.
    """

    start: int
    stop: int
    fade: int
    seed: int
    kept_tokens: int | None
    all_tokens: int
    cache_bytes: int


@dataclass(frozen=True)
class ControlRecord:
    """The control file."""

    name: str
    sha256: str
    size: int
    rank: int


@dataclass(frozen=True)
class MemoryRecord:
    """How the weights shared the memory.

    Attributes:
        rung, cache_place: of the plan.
        explanation: the plan's sentence.
        planned_peak: bytes on the device.
        measured_peak: bytes that torch had reserved at most on a GPU, None elsewhere.
    """

    rung: str
    cache_place: str
    explanation: str
    planned_peak: int
    measured_peak: int | None


@dataclass(frozen=True)
class GenerationRecord:
    """Everything about a generation that the request does not say.

    Attributes:
        base_model: name of its folder.
        prompt, negative_prompt: as the model read them.
        seconds: by phase, over all windows.
    """

    base_model: str
    control: ControlRecord
    prompt: str
    negative_prompt: str
    scheduler: str
    steps: int
    guidance_scale: float
    number_format: str
    memory: MemoryRecord
    windows: tuple[WindowRecord, ...]
    device: str
    versions: dict[str, str]
    seconds: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)
