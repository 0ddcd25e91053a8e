"""What the models are told in words besides the user's prompt (conventions 3 and 4.1)."""

from __future__ import annotations

from enum import StrEnum

from flextraj_backend.models.backbone import Backbone

UNALIGNED_PREFIX = "unaligned, "

NEGATIVE_PROMPTS = {
    Backbone.COGVIDEOX: (
        "The video is not of a high quality, it has a low resolution. Watermark present in each frame. "
        "The background is solid. Strange body and strange trajectory. Distortion."
    ),
    Backbone.WAN: (
        "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，"
        "丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，"
        "静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
    ),
}
"""The authors' negative prompts."""


class Alignment(StrEnum):
    """Whether the trajectories line up with the photo on the first frame."""

    ALIGNED = "aligned"
    UNALIGNED = "unaligned"


def control_prompt(prompt: str, alignment: Alignment) -> str:
    """The prompt as in training: that of unaligned control starts with "unaligned, ", and with only one."""
    if alignment is Alignment.ALIGNED or prompt.lstrip().lower().startswith(UNALIGNED_PREFIX.strip()):
        return prompt
    return UNALIGNED_PREFIX + prompt
