"""Which clips a data set has: everything is a function of the settings and the clip's number."""

from __future__ import annotations

from dataclasses import dataclass, fields

from blender_addon.core.errors import RequestError
from flextraj_backend.synthesis.frame_members import VideoQuality
from flextraj_backend.synthesis.scene import SceneOptions

MAX_CLIPS = 1_000_000
MAX_OTHERS = 16


@dataclass(frozen=True)
class SynthesisSettings:
    """What decides the content of every clip; all clips of a folder share it.

    Attributes:
        seed: of the whole data set.
        scene: what scenes to draw.
        others: for each clip, trajectory sets of other characters that perform its motion.
        pair_size: clips that show one motion, each by other characters.
        video: how the frames are stored.
        clips_per_shard: clips in one .tar file.
        library: folder of the user's own characters and motions, or "".
    """

    seed: int
    scene: SceneOptions
    others: int = 2
    pair_size: int = 3
    video: VideoQuality = VideoQuality.LOSSLESS
    clips_per_shard: int = 100
    library: str = ""

    def __post_init__(self) -> None:
        """Raises RequestError where a setting is out of its range."""
        checks = (
            (0 <= self.seed < 1 << 63, f"The seed {self.seed} must be 0 or a positive number: change --seed"),
            (
                0 <= self.others <= MAX_OTHERS,
                f"{self.others} other characters are not possible: give 0 to {MAX_OTHERS} with --others",
            ),
            (
                1 <= self.pair_size <= MAX_OTHERS + 1,
                f"{self.pair_size} clips cannot share a motion: give 1 to {MAX_OTHERS + 1} with --pair-size",
            ),
            (self.clips_per_shard >= 1, "A shard needs at least one clip: change --clips-per-shard"),
        )
        for is_fine, sentence in checks:
            if not is_fine:
                raise RequestError(f"{sentence}.")

    @property
    def cast_count(self) -> int:
        """Casts that perform each motion: enough for the clips of a group and for each clip's others."""
        return max(self.pair_size, self.others + 1)


@dataclass(frozen=True)
class ClipTask:
    """One clip to make.

    Attributes:
        index: number of the clip in the data set.
        group: number of its motion; with the data set's seed it decides scene and casts.
        member: which of the group's casts the clip shows.
    """

    index: int
    group: int
    member: int

    @property
    def key(self) -> str:
        return clip_key(self.index)

    @property
    def pair_group(self) -> str:
        return f"group{self.group:06d}"


def clip_key(index: int) -> str:
    """Key of the clip of this number."""
    return f"clip{index:06d}"


def plan_clip(settings: SynthesisSettings, index: int) -> ClipTask:
    """The task of clip `index`, the same whoever makes it and however many clips there are."""
    group, member = divmod(index, settings.pair_size)
    return ClipTask(index, group, member)


def other_casts(settings: SynthesisSettings, task: ClipTask) -> tuple[int, ...]:
    """Numbers of the casts whose trajectories a clip comes with: those after its own, round the group."""
    return tuple((task.member + step) % settings.cast_count for step in range(1, settings.others + 1))


def shard_of(settings: SynthesisSettings, index: int) -> int:
    """Number of the shard that a clip belongs into."""
    return index // settings.clips_per_shard


def first_difference(a: object, b: object) -> str | None:
    """Name of the first field in which two settings of one type differ, None where they are equal."""
    for field in fields(a):  # pyright: ignore[reportArgumentType]
        one, two = getattr(a, field.name), getattr(b, field.name)
        if one != two:
            return first_difference(one, two) if hasattr(one, "__dataclass_fields__") else field.name
    return None
