"""From a scene's recipe to a clip: frames, exact tracks and masks, and the tracks of other casts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from blender_addon.core.camera import camera_track
from blender_addon.core.rasterizer import OccluderMesh
from blender_addon.core.trajectories import Segment, TrajectoryMeta, TrajectorySet
from blender_addon.core.version import package_version
from blender_addon.core.visibility import visible_points
from flextraj_backend.synthesis.background_points import (
    BackgroundPoints,
    View,
    choose_background_points,
)
from flextraj_backend.synthesis.backgrounds import background_surfaces
from flextraj_backend.synthesis.characters import CharacterRecipe
from flextraj_backend.synthesis.clip import ClipRecord, PerformerRecord, SyntheticClip
from flextraj_backend.synthesis.cycles_renderer import render_frames
from flextraj_backend.synthesis.performance import Performance, perform
from flextraj_backend.synthesis.prompts import describe_scene
from flextraj_backend.synthesis.raster_renderer import SAMPLES, LitMesh, shade
from flextraj_backend.synthesis.scene import Renderer, SceneRecipe
from flextraj_backend.synthesis.stage import Performer, shared_stage
from flextraj_backend.synthesis.textures import TexturedSurface
from flextraj_backend.synthesis.user_library import LibraryCharacter
from flextraj_backend.synthesis.zbuffer import Fragments, nearest_fragments, supersampled

PRODUCER = "flextraj synthesize"
BACKGROUND_NAME = "Background"


def build_clip(
    recipe: SceneRecipe,
    key: str,
    others: Sequence[Sequence[CharacterRecipe | LibraryCharacter]] = (),
    pair_group: str | None = None,
) -> SyntheticClip:
    """Build a clip. Takes over this process's Blender; characters stay built for the next clips.

    Args:
        recipe: the scene.
        key: name of the clip.
        others: other casts (see `scene.draw_cast`), who perform the same motions unseen: only their tracks
            are made.
        pair_group: name that all clips with these motions and this camera share; None = the key.

    Raises:
        FlexTrajError: a character or an action cannot be built.
    """
    background = background_surfaces(recipe.background, texture_size(recipe))
    stage = shared_stage()
    traced = None
    with stage.playing(recipe, recipe.characters) as performers:
        performance = perform(stage, recipe, performers)
        if recipe.renderer is Renderer.CYCLES:
            traced = render_frames(stage.scene, recipe.frames, background, recipe.light)
    frames, segments, points = _picture(recipe, performance, background, traced)
    silhouette = segments[0][None] == np.arange(1, len(performance.names) + 1)[:, None, None]
    if len(points.places):
        silhouette = np.concatenate([silhouette, segments[:1] == 0])
    other_sets = []
    other_records = []
    for cast in others:
        with stage.playing(recipe, cast) as other_performers:
            other = perform(stage, recipe, other_performers)
        other_sets.append(_trajectories(recipe, other, points, background, None))
        other_records.append(_performer_records(recipe, cast, other_performers))
    return SyntheticClip(
        key=key,
        frames=frames,
        trajectories=_trajectories(recipe, performance, points, background, silhouette),
        segments=segments,
        others=tuple(other_sets),
        prompt=describe_scene(recipe, [performer.description for performer in performers]),
        record=ClipRecord(
            seed=recipe.seed,
            pair_group=key if pair_group is None else pair_group,
            performers=_performer_records(recipe, recipe.characters, performers),
            other_performers=tuple(other_records),
            camera=recipe.camera.move.value,
            background=recipe.background.description,
            light=recipe.light.mood.value,
            renderer=recipe.renderer.value,
            producer=f"{PRODUCER} {package_version()}",
        ),
    )


def texture_size(recipe: SceneRecipe) -> int:
    """Side of painted textures that is enough for a picture, pixels: a power of two."""
    return int(2 ** np.clip(np.ceil(np.log2(2 * recipe.height)), 7, 10))


def _picture(
    recipe: SceneRecipe,
    performance: Performance,
    background: Sequence[TexturedSurface],
    traced: NDArray[np.uint8] | None,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], BackgroundPoints]:
    """Draw every frame's masks, choose the background's points where it is seen, and shade the frames.

    Args:
        traced: (T, H, W, 3) finished frames, None = shade them here.
    """
    scenery = _occluders(background)
    segment_of_mesh = np.zeros(len(performance.surfaces) + len(scenery), np.uint8)
    segment_of_mesh[: len(performance.surfaces)] = 1 + np.array(performance.segment_of_mesh)
    frames = np.empty((recipe.frames, recipe.height, recipe.width, 3), np.uint8) if traced is None else traced
    segments = np.zeros(frames.shape[:3], np.uint8)
    later = {recipe.frames // 2, recipe.frames - 1} - {0}
    views = []
    for index, (camera, meshes) in enumerate(zip(performance.cameras, performance.meshes, strict=True)):
        fine = supersampled(camera, SAMPLES)
        fragments = nearest_fragments(fine, [*meshes, *scenery])
        nearest = np.zeros(fine.height * fine.width, np.uint8)
        nearest[fragments.sample] = segment_of_mesh[fragments.mesh]
        middle = SAMPLES // 2
        segments[index] = nearest.reshape(fine.height, fine.width)[middle::SAMPLES, middle::SAMPLES]
        if traced is None:
            lit = [LitMesh(*pair) for pair in zip(meshes, performance.surfaces, strict=True)]
            frames[index] = shade(fine, fragments, lit, background, recipe.light)
        if index == 0 or index in later:
            views.append(View(fine, _behind(fragments, len(meshes))))
    rng = np.random.default_rng([recipe.seed, 1])
    points = choose_background_points(
        views, len(performance.surfaces), background, recipe.background_points, rng
    )
    return frames, segments, points


def _behind(fragments: Fragments, first_mesh: int) -> Fragments:
    """Only the fragments of the meshes from one on."""
    chosen = np.flatnonzero(fragments.mesh >= first_mesh)
    return Fragments(
        fragments.sample[chosen],
        fragments.mesh[chosen],
        fragments.triangle[chosen],
        fragments.barycentric[:, chosen],
        fragments.depth[chosen],
    )


def _trajectories(
    recipe: SceneRecipe,
    performance: Performance,
    points: BackgroundPoints,
    background: Sequence[TexturedSurface],
    silhouette: NDArray[np.bool_] | None,
) -> TrajectorySet:
    """Join subjects' and background's tracks; with silhouettes the set lines up with the first frame."""
    segments = [Segment(index, name, index) for index, name in enumerate(performance.names)]
    count = len(points.places)
    if count:
        segments.append(Segment(len(segments), BACKGROUND_NAME, len(segments), background=True))
    scenery = _occluders(background)
    still, visible = [], []
    # Both kinds of points in one pass: setting the triangles up is what takes time.
    for camera, meshes, places in zip(
        performance.cameras, performance.meshes, performance.places, strict=True
    ):
        still.append(camera.world_to_pixels(points.places))
        visible.append(visible_points(camera, np.concatenate([places, points.places]), [*meshes, *scenery]))
    return TrajectorySet(
        positions=np.concatenate([performance.positions, np.stack(still).astype(np.float32)], axis=1),
        visible=np.stack(visible),
        seg_id=np.concatenate([performance.seg_id, np.full(count, len(performance.names), np.uint16)]),
        traj_id=np.concatenate([performance.traj_id, np.arange(count, dtype=np.uint16)]),
        color=np.concatenate([performance.color, points.color]),
        silhouette=silhouette,
        meta=TrajectoryMeta(
            width=recipe.width,
            height=recipe.height,
            fps=recipe.fps,
            source_frames=tuple(float(number + 1) for number in range(recipe.frames)),
            segments=tuple(segments),
            camera=camera_track(performance.cameras),
            aligned=silhouette is not None,
            seed=recipe.seed,
            producer=PRODUCER,
            producer_version=package_version(),
        ),
    )


def _occluders(background: Sequence[TexturedSurface]) -> list[OccluderMesh]:
    return [OccluderMesh(surface.vertices, surface.triangles) for surface in background]


def _performer_records(
    recipe: SceneRecipe, cast: Sequence[CharacterRecipe | LibraryCharacter], performers: Sequence[Performer]
) -> tuple[PerformerRecord, ...]:
    return tuple(
        PerformerRecord(
            character.name if isinstance(character, LibraryCharacter) else character.kind.value,
            character.seed,
            performer.description,
            str(action.name),
            action.seed,
        )
        for character, performer, action in zip(cast, performers, recipe.actions, strict=True)
    )
