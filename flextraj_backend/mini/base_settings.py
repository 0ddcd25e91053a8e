"""Size and pretraining of the mini's image-to-video base."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TransformerSettings:
    """Size of the denoiser.

    Attributes:
        heads, head_dim: their product is the width.
        layers: blocks.
        time_width: of the embedded timestep.
        patch: latents along one side of a token.
        text_tokens: length of the prompts.
    """

    heads: int
    head_dim: int
    layers: int
    time_width: int
    patch: int
    text_tokens: int


@dataclass(frozen=True)
class BaseTraining:
    """How long the base is trained.

    Attributes:
        steps: optimisation steps.
        batch: clips in a step.
        learning_rate: peak of a warm-up and a cosine decay.
        warmup: steps until the peak.
        variants: recoloured, mirrored and reversed versions of each clip.
        context_share: probability that a step's samples come with a context.
        ema: decay of the weights' moving average, which is what the base becomes.
        seed: of everything.
    """

    steps: int
    batch: int
    learning_rate: float
    warmup: int = 200
    variants: int = 4
    context_share: float = 0.7
    ema: float = 0.998
    seed: int = 0
