"""What tells the diffusion engines apart before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from blender_addon.core.model_options import MAX_WINDOW_OVERLAP
from flextraj_backend.engines.base import Limits
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.model_sizes import ModelSizes

MAX_SHOT_FRAMES = 1001
"""Of a long shot; a bound on time and disk, not of the models."""
_WAN_MAX_SIDE = 1280


@dataclass(frozen=True)
class ModelProfile:
    """One diffusion engine.

    Attributes:
        name: as in a request.
        title: as shown to the user.
        steps, guidance: where the request leaves them open, such as the authors' settings (conventions 3).
        longest_clip: most frames at once, 0 where the model's configuration says so.
        most_overlap: frames that windows share at most, whatever the request says: where clips are short,
            the usual overlap would leave windows that hardly advance.
    """

    name: str
    backbone: Backbone
    title: str
    steps: int
    guidance: float
    longest_clip: int
    most_overlap: int = MAX_WINDOW_OVERLAP

    def window_frames(self, sizes: ModelSizes) -> int:
        """Most frames that the model makes at once; longer shots are made in windows."""
        return self.longest_clip or int(sizes.transformer_config["sample_frames"])

    def limits(self, sizes: ModelSizes) -> Limits:
        """What the engine can make with these weights."""
        height, width = sizes.fixed_size or (0, 0)
        step = sizes.frame_step
        return Limits(
            min_frames=step + 1,
            max_frames=MAX_SHOT_FRAMES,
            frame_step=step,
            frame_offset=1 % step,
            side_multiple=sizes.spatial_compression * sizes.patch,
            max_side=max(height, width) or _WAN_MAX_SIDE,
            fixed_width=width,
            fixed_height=height,
        )


COGVIDEOX = ModelProfile(
    "cogvideox", Backbone.COGVIDEOX, "CogVideoX 5B with FlexTraj", 50, 6.0, longest_clip=0
)
WAN = ModelProfile("wan", Backbone.WAN, "Wan 2.2 5B with FlexTraj", 50, 5.0, longest_clip=121)
# One step gives the mean of what may follow: with more, TrajErr is larger (README, section on training).
MINI = ModelProfile(
    "mini", Backbone.COGVIDEOX, "Mini FlexTraj (CPU demo)", 1, 1.0, longest_clip=0, most_overlap=2
)
