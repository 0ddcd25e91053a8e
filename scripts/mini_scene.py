"""Save a scene that the mini model never saw: its .blend, and the picture of its first frame as the photo.

    python scripts/mini_scene.py scene.blend photo.png --seed 5

`gui_check.py --acts mini` opens it and presses Generate.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import bpy

from flextraj_backend.image_io import write_image
from flextraj_backend.study.mini_check import held_out_settings
from flextraj_backend.synthesis.blender_maker import BlenderClipMaker, draw_group
from flextraj_backend.synthesis.plan import plan_clip
from flextraj_backend.synthesis.stage import shared_stage

SCALE = 4
"""Of the mini's raster: what a user would call a small photo."""


def save_scene(scene: Path, photo: Path, seed: int) -> None:
    """Write the .blend file and the picture."""
    settings = held_out_settings(seed)
    size = {"width": SCALE * settings.scene.width, "height": SCALE * settings.scene.height}
    settings = replace(settings, others=0, scene=replace(settings.scene, **size))
    clip = BlenderClipMaker(settings).make(plan_clip(settings, 0))
    write_image(photo, clip.frames[0])
    recipe, _ = draw_group(settings, 0)
    stage = shared_stage()
    with stage.playing(recipe, recipe.characters):
        stage.scene.frame_start, stage.scene.frame_end = 1, recipe.frames
        bpy.ops.wm.save_as_mainfile(filepath=str(scene), check_existing=False)
    print(f"{', '.join(one.description for one in clip.record.performers)}: {scene}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Save a scene that the mini model never saw.")
    parser.add_argument("scene", type=Path)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--seed", type=int, default=5)
    options = parser.parse_args()
    save_scene(options.scene.absolute(), options.photo, options.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
