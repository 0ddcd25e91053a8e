"""Makes clips in this process's Blender."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.installation import install_command
from flextraj_backend.synthesis.clip import SyntheticClip
from flextraj_backend.synthesis.library_index import read_library
from flextraj_backend.synthesis.plan import ClipTask, SynthesisSettings, other_casts
from flextraj_backend.synthesis.scene import Performer, SceneRecipe, draw_cast, draw_scene
from flextraj_backend.synthesis.user_library import NO_LIBRARY, Library

_TRIES = 30


class BlenderClipMaker:
    """The real `ClipMaker`."""

    def __init__(self, settings: SynthesisSettings) -> None:
        try:
            import bpy  # noqa: F401
        except ImportError as error:
            raise FlexTrajError(
                f"Clips need Blender's Python module, which is missing: run {install_command('blender')}.",
                ErrorCode.BACKEND,
            ) from error
        self._settings = settings
        self._library = read_library(Path(settings.library)) if settings.library else NO_LIBRARY

    def make(self, task: ClipTask) -> SyntheticClip:
        from flextraj_backend.synthesis.clip_builder import build_clip

        scene, casts = draw_group(self._settings, task.group, self._library)
        return build_clip(
            scene.with_cast(casts[task.member]),
            task.key,
            tuple(casts[number] for number in other_casts(self._settings, task)),
            task.pair_group,
        )


def draw_group(
    settings: SynthesisSettings, group: int, library: Library = NO_LIBRARY
) -> tuple[SceneRecipe, tuple[tuple[Performer, ...], ...]]:
    """Draw the scene of a pair group and all casts that perform it, the scene's own first.

    Casts differ from each other wherever there are enough characters.
    """
    rng = np.random.default_rng([settings.seed, group])
    scene = draw_scene(rng, settings.scene, library)
    casts = [scene.characters]
    while len(casts) < settings.cast_count:
        cast = draw_cast(rng, scene, settings.scene, library)
        for _ in range(_TRIES):
            if not any(set(cast) & set(taken) for taken in casts):
                break
            cast = draw_cast(rng, scene, settings.scene, library)
        casts.append(cast)
    return scene, tuple(casts)
