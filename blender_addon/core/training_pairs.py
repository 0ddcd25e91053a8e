"""What a set of training pairs is made of, and the command line of `flextraj synthesize` for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .errors import ErrorCode, FlexTrajError, RequestError
from .synthesis_choices import ActionName, CameraMove, Renderer

MIN_SIDE, MAX_SIDE = 16, 4096
MIN_FRAMES, MAX_FRAMES = 2, 1000
MAX_CLIPS = 1_000_000
MAX_CHARACTERS = 1_000_000
MIN_POINTS, MAX_POINTS = 16, 65_536


@dataclass(frozen=True)
class PairsRequest:
    """A set of training pairs: the same motion and camera, performed by different characters.

    Attributes:
        folder: the dataset; it is made, or gone on with where it is one.
        clips: how many the finished dataset has.
        characters: how many different ones of each kind perform.
        others: further characters that perform each clip's motion, without being rendered.
        seed: same settings and seed, same dataset.
        width, height: size of the clips in pixels.
        frames: length of each clip.
        fps: frames per second.
        points: trajectories on each subject.
        renderer: what draws the clips.
        actions, cameras: what is drawn from; all of them = also those that the backend has beyond.
        library: folder with the user's own FBX and GLB characters; None = none.
        processes: how many clips are made at a time.

    Raises:
        RequestError: nothing is chosen, or a number is out of its range.
        FlexTrajError: there is no folder (PAIRS_FOLDER).
    """

    folder: Path
    clips: int = 200
    characters: int = 64
    others: int = 2
    seed: int = 0
    width: int = 720
    height: int = 480
    frames: int = 49
    fps: int = 16
    points: int = 1000
    renderer: Renderer = Renderer.RASTER
    actions: tuple[ActionName, ...] = tuple(ActionName)
    cameras: tuple[CameraMove, ...] = tuple(CameraMove)
    library: Path | None = None
    processes: int = 1

    def __post_init__(self) -> None:
        if not self.folder.is_absolute():
            raise FlexTrajError("There is no output folder: choose one.", ErrorCode.PAIRS_FOLDER)
        if not self.actions:
            raise RequestError("No action is chosen: choose at least one.")
        if not self.cameras:
            raise RequestError("No camera move is chosen: choose at least one.")
        for what, value, least, most in (
            ("Clips", self.clips, 1, MAX_CLIPS),
            ("Characters", self.characters, 1, MAX_CHARACTERS),
            ("Other characters", self.others, 0, 16),
            ("Seed", self.seed, 0, 2**31 - 1),
            ("Width", self.width, MIN_SIDE, MAX_SIDE),
            ("Height", self.height, MIN_SIDE, MAX_SIDE),
            ("Frames", self.frames, MIN_FRAMES, MAX_FRAMES),
            ("Frame rate", self.fps, 1, 240),
            ("Points", self.points, MIN_POINTS, MAX_POINTS),
            ("Processes", self.processes, 1, 256),
        ):
            if not least <= value <= most:
                raise RequestError(f"{what} {value} is not possible: give {least} to {most}.")

    def arguments(self) -> tuple[str, ...]:
        """What follows `flextraj synthesize` on the command line."""
        options: list[tuple[str, object]] = [
            # Joined by '=', so that no name is taken for an option.
            ("--output", self.folder),
            ("--clips", self.clips),
            ("--seed", self.seed),
            ("--size", f"{self.width}x{self.height}"),
            ("--frames", self.frames),
            ("--fps", self.fps),
            ("--points", self.points),
            ("--renderer", self.renderer.value),
            ("--characters", self.characters),
            ("--others", self.others),
            ("--workers", self.processes),
            ("--progress", "json"),
        ]
        # The backend may have more of them than this panel knows.
        if len(self.actions) < len(ActionName):
            options.append(("--actions", ",".join(self.actions)))
        if len(self.cameras) < len(CameraMove):
            options.append(("--cameras", ",".join(self.cameras)))
        if self.library is not None:
            options.append(("--library", self.library))
        return tuple(f"{name}={value}" for name, value in options)
