"""How a diffusion engine runs, from the panel's settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.errors import RequestError
from ..core.model_options import (
    AttentionBackend,
    CachePlace,
    CacheStorage,
    CompileMode,
    ConditionTokens,
    GuidanceSchedule,
    LoraChoice,
    MemoryMode,
    ModelOptions,
    SchedulerChoice,
    StepCache,
)

if TYPE_CHECKING:
    from ..properties import FlexTrajSettings


def read_model_options(settings: FlexTrajSettings) -> ModelOptions:
    """Read the options. Raises RequestError where a LoRA has no possible name or stands there twice."""
    model = settings.model
    for row in model.loras:
        if not row.name:
            raise RequestError("A LoRA of the list has no name: choose its file, or remove the row.")
    return ModelOptions(
        strength=settings.strength,
        guidance_schedule=GuidanceSchedule(model.guidance_schedule),
        scheduler=SchedulerChoice(model.scheduler),
        condition_tokens=ConditionTokens(model.condition_tokens),
        cache_storage=CacheStorage(model.cache_storage),
        cache_place=CachePlace(model.cache_place),
        memory=MemoryMode(settings.memory),
        step_cache=StepCache(model.step_cache),
        compile=CompileMode(model.compile),
        attention=AttentionBackend(model.attention),
        loras=tuple(LoraChoice(row.name, row.scale) for row in model.loras),
        window_overlap=model.window_overlap,
    )
