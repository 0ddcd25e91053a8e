"""`flextraj evaluate`: figures of generated videos against the trajectories they were asked to follow."""

from __future__ import annotations

import json as json_format
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from blender_addon.core.errors import RequestError

if TYPE_CHECKING:
    from flextraj_backend.evaluation.report import ClipScores

NAME = "evaluate"
_UNALIGNED = (
    "the shot is not aligned with the photo, and points beside its subject count as subject: read these "
    "figures only where the rig covers it."
)


def command(
    video: Path = typer.Argument(
        ..., help="Video, or a folder of videos NAME.mp4 with NAME.npz (and the sidecar NAME.json) beside."
    ),
    trajectories: Path | None = typer.Option(
        None, help="Trajectory set (.npz) that the video was asked to follow."
    ),
    fit: Path | None = typer.Option(
        None, help="Where the motion was placed: the video's sidecar, or a JSON file with a 2x3 matrix."
    ),
    reference: Path | None = typer.Option(None, help="Video, or folder of videos of the same names."),
    json: Path | None = typer.Option(None, "--json", help="Also write all figures to this file."),
) -> None:
    """Measure videos: TrajErr-LK, TrajSIM-LK, consistency and motion; README, 'Metrics', has the formulas."""
    from flextraj_backend.evaluation.report import as_document, print_scores, write_scores

    jobs = _folder_jobs(video, reference) if video.is_dir() else [_Job(video, trajectories, fit, reference)]
    if video.is_dir() and (trajectories is not None or fit is not None):
        raise RequestError(
            "A folder's videos have their own trajectories: leave --trajectories and --fit out."
        )
    if json is not None and not json.absolute().parent.is_dir():
        raise RequestError(f"There is no folder {json.absolute().parent}: make it first.")
    clips = [_measure(job) for job in jobs]
    print_scores(clips)
    document = as_document(clips)
    if len(jobs) > 1 and reference is not None:
        document["frechet"] = _frechet(jobs)
    if json is not None:
        typer.echo(f"Figures written to {write_scores(json, document)}")


@dataclass(frozen=True)
class _Job:
    """One video and the files that belong to it."""

    video: Path
    trajectories: Path | None
    fit: Path | None
    reference: Path | None


def _folder_jobs(folder: Path, reference: Path | None) -> list[_Job]:
    videos = sorted(path for path in folder.glob("*.mp4") if path.with_suffix(".npz").is_file())
    if not videos:
        raise RequestError(f"{folder} holds no video NAME.mp4 with its trajectories NAME.npz beside it.")
    if reference is not None and not reference.is_dir():
        raise RequestError(f"{reference} is not a folder: give a folder of videos of the same names.")
    jobs: list[_Job] = []
    for video in videos:
        sidecar = video.with_suffix(".json")
        jobs.append(
            _Job(
                video,
                video.with_suffix(".npz"),
                sidecar if sidecar.is_file() else None,
                None if reference is None else reference / video.name,
            )
        )
    return jobs


def _measure(job: _Job) -> ClipScores:
    from blender_addon.core.trajectory_file import read_trajectories
    from flextraj_backend.evaluation.placement_file import place, read_placement
    from flextraj_backend.evaluation.report import ClipScores, evaluate_video
    from flextraj_backend.video_io import read_video

    if job.trajectories is None:
        raise RequestError(
            "Give the trajectories that the video was asked to follow: --trajectories SHOT.npz."
        )
    target = read_trajectories(job.trajectories)
    if job.fit is not None:
        target = place(target, read_placement(job.fit))
    if not target.meta.aligned:
        typer.echo(f"{job.video.name}: {_UNALIGNED}", err=True)
    frames, _ = read_video(job.video)
    reference = None if job.reference is None else read_video(job.reference)[0]
    return ClipScores(job.video.stem, evaluate_video(frames, target, reference=reference))


def _frechet(jobs: list[_Job]) -> dict[str, object]:
    import numpy as np

    from flextraj_backend.evaluation.frechet import frechet_distance
    from flextraj_backend.evaluation.video_features import FEATURE_NAME, video_features
    from flextraj_backend.video_io import read_video

    ours = np.stack([video_features(read_video(job.video)[0]) for job in jobs])
    theirs = np.stack([video_features(read_video(job.reference)[0]) for job in jobs if job.reference])
    result = frechet_distance(ours, theirs)
    note = ", fewer videos than dimensions: read differences, not values" if result.rank_deficient else ""
    typer.echo(
        f"FVD-like distance ({FEATURE_NAME}, no learned weights): {result.distance:.5f} "
        f"(N = {result.samples_a} and {result.samples_b}, {result.dimensions} dimensions{note})"
    )
    return json_format.loads(json_format.dumps({"features": FEATURE_NAME, **asdict(result)}))
