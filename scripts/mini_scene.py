"""Save scenes that the mini model never saw: each a .blend, and the picture of its first frame as the photo.

    python scripts/mini_scene.py scenes --count 4 --seed 5

They are the first scenes of `flextraj study --check mini --seed 5`; `gui_check.py --acts mini` opens them and
presses Generate.
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
from flextraj_backend.synthesis.plan import SynthesisSettings, plan_clip
from flextraj_backend.synthesis.stage import shared_stage

SCALE = 4
"""Of the mini's raster: what a user would call a small photo."""


def save_scene(scene: Path, photo: Path, settings: SynthesisSettings, index: int) -> None:
    """Write the .blend file and the picture."""
    clip = BlenderClipMaker(settings).make(plan_clip(settings, index))
    write_image(photo, clip.frames[0])
    recipe, _ = draw_group(settings, index)
    stage = shared_stage()
    with stage.playing(recipe, recipe.characters):
        stage.scene.frame_start, stage.scene.frame_end = 1, recipe.frames
        bpy.ops.wm.save_as_mainfile(filepath=str(scene), check_existing=False)
    performers = clip.record.performers
    print(f"{', '.join(f'{one.description}: {one.action}' for one in performers)}: {scene}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Save scenes that the mini model never saw.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--seed", type=int, default=5)
    options = parser.parse_args()
    folder = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    settings = held_out_settings(options.seed)
    size = {"width": SCALE * settings.scene.width, "height": SCALE * settings.scene.height}
    settings = replace(settings, others=0, scene=replace(settings.scene, **size))
    for index in range(options.count):
        save_scene(folder / f"{index}.blend", folder / f"{index}.png", settings, index)
    return 0


if __name__ == "__main__":
    sys.exit(main())
