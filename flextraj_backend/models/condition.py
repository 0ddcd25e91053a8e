"""What the control is made of: the latents of the two conditioning videos."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)
class ConditionLatents:
    """Latents of the ID video and of the colour video, in the layout that the transformer patches.

    CogVideoX: (B, F, 32, h, w) each: 16 video channels, then 16 channels that hold the latents of the
    video's own first frame and zeros after it. Wan: (B, C, F, h, w), normalised by the VAE's statistics.
    A colour video that is off is a black video and still has latents.
    """

    ids: torch.Tensor
    color: torch.Tensor

    def __post_init__(self) -> None:
        if self.ids.shape != self.color.shape:
            raise ValueError(
                f"ID latents {tuple(self.ids.shape)} and colour latents {tuple(self.color.shape)} differ in "
                "shape: encode both videos at one size."
            )

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> ConditionLatents:
        """Move, and where a number format is given convert."""
        return ConditionLatents(self.ids.to(device, dtype), self.color.to(device, dtype))
