"""Finds the frames of a motion on which the rig looks most like the photo's subject."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

import bpy
import numpy as np
from numpy.typing import NDArray

from ..core.camera import CameraFrame
from ..core.errors import ErrorCode, FlexTrajError
from ..core.frame_mapping import FrameRange
from ..core.mask_canvas import resample_mask
from ..core.pipeline import overlap_steps
from ..core.pose_match import MATCH_SIDE, PoseMatch, best_frames, match_pose
from ..core.sample_settings import SampleProgress, SampleSettings
from .cameras import read_camera
from .evaluated_meshes import MeshKey, MeshReader, MeshState
from .occluders import occluder_meshes
from .scene_state import evaluate_frame, preserved_scene
from .shot_sampling import THREADS, check_settings, choose_frames, draw_silhouettes, shot_camera
from .simulations import SimulationPlayer, walk_to_start
from .subjects import Subjects, choose_subjects, surface_owner

MOST_FRAMES = 240
MOST_OFFERED = 5
LEAST_LEFT = 0.25
"""Share of the range that must be left after a start frame."""
APART = 0.03
"""Least distance of two offered frames, in units of the range."""


@dataclass(frozen=True, eq=False)
class StartFrame:
    """A frame that is offered.

    Attributes:
        match: how well it covers the subject.
        silhouette: (h, w) bool of the rig, small.
    """

    match: PoseMatch
    silhouette: NDArray[np.bool_]


def frames_to_compare(motion: FrameRange) -> list[float]:
    """The scene frames that are compared: whole ones, evenly spread, with enough motion after each."""
    first = math.ceil(motion.first)
    last = max(math.floor(motion.last - LEAST_LEFT * (motion.last - motion.first)), first)
    count = min(last - first + 1, MOST_FRAMES)
    return [float(frame) for frame in np.unique(np.linspace(first, last, count).round())]


def find_start_frames(
    scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer, settings: SampleSettings, mask: NDArray[np.bool_]
) -> Generator[SampleProgress, None, tuple[StartFrame, ...]]:
    """Compare the frames of the shot's range step by step, return the best, the best first.

    The scene is left as it was in any case. Subjects that are marked as background do not count.

    Args:
        settings: of the shot.
        mask: (H, W) bool, the photo's subject at the shot's raster.

    Raises:
        FlexTrajError: as of sampling.
    """
    check_settings(settings)
    source = choose_frames(scene, settings).source_frames
    motion = FrameRange(source[0], source[-1])
    numbers = frames_to_compare(motion)
    height, width = mask.shape
    factor = min(1.0, MATCH_SIDE / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small = resample_mask(mask, np.diag([size[0] / width, size[1] / height]) @ np.eye(2, 3), size)
    settings = replace(settings, width=size[0], height=size[1])
    found: list[StartFrame] = []
    progress = SampleProgress(0, len(numbers))
    yield progress
    with preserved_scene(scene, view_layer):
        for _ in walk_to_start(scene, numbers[0]):
            yield progress
        evaluated = _evaluate_frames(scene, view_layer, settings, numbers)
        with closing(overlap_steps(evaluated, partial(_compare, small), THREADS)) as compared:
            for comparison in compared:
                if comparison is not None:
                    progress = SampleProgress(progress.done + 1, len(numbers))
                    found += comparison
                yield progress
    apart = max(1.0, APART * (motion.last - motion.first))
    by_frame = {item.match.frame: item for item in found}
    best = best_frames([item.match for item in found], MOST_OFFERED, apart)
    return tuple(by_frame[match.frame] for match in best)


@dataclass(frozen=True, eq=False)
class _EvaluatedFrame:
    """One frame, copied out of Blender: what follows may run in any thread."""

    number: float
    camera: CameraFrame
    states: Mapping[MeshKey, MeshState]
    subjects: Subjects | None


def _evaluate_frames(
    scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer, settings: SampleSettings, numbers: list[float]
) -> Generator[_EvaluatedFrame, None, None]:
    reader = MeshReader(view_layer)
    absence: FlexTrajError | None = None
    is_seen = False
    simulations = SimulationPlayer(scene)
    for number in numbers:
        simulations.play_to(number)
        depsgraph = evaluate_frame(scene, view_layer, number)
        camera = read_camera(scene, shot_camera(scene, settings), depsgraph, settings.width, settings.height)
        # Chosen anew on every frame: another topology has other triangles.
        surfaces = [surface_owner(live) for live in reader.live_meshes(depsgraph)]
        states = reader.read(depsgraph)
        try:
            subjects = choose_subjects(scene, settings, surfaces, states)
        except FlexTrajError as error:
            if error.code is not ErrorCode.NO_SUBJECT:
                raise
            # It does not render on this frame: no match.
            absence, subjects = error, None
        is_seen |= subjects is not None
        yield _EvaluatedFrame(number, camera, states, subjects)
    if absence is not None and not is_seen:
        raise absence


def _compare(subject: NDArray[np.bool_], frame: _EvaluatedFrame) -> tuple[StartFrame, ...]:
    """Compare the rig on a frame with the photo's subject (h, w); nothing where it is not seen."""
    if frame.subjects is None:
        return ()
    camera, segments = frame.camera, frame.subjects.segments
    masks = draw_silhouettes(camera, frame.states, occluder_meshes(frame.states.values()), frame.subjects)
    seen = np.zeros((camera.height, camera.width), bool)
    if masks is not None:
        for mask, segment in zip(masks, segments, strict=True):
            if not segment.background:
                seen |= mask
    match = match_pose(frame.number, seen, subject)
    return () if match is None else (StartFrame(match, seen),)
