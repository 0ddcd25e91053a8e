"""Size and training of the mini's autoencoder."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AutoencoderSettings:
    """Size of the autoencoder.

    Attributes:
        channels: of each resolution, from fine to coarse; n of them compress 2^(n - 1) times.
        latent_channels: of the latents.
        norm_groups: groups of every group norm; each needs four channels or more.
        layers: residual blocks of a resolution.
    """

    channels: tuple[int, ...]
    latent_channels: int
    norm_groups: int = 2
    layers: int = 1


@dataclass(frozen=True)
class AutoencoderTraining:
    """How long and on what the autoencoder is trained.

    Attributes:
        steps: optimisation steps.
        batch: excerpts in a step.
        frames: length of an excerpt.
        learning_rate: peak of a linear warm-up and a cosine decay.
        seed: of everything.
    """

    steps: int
    batch: int
    frames: int
    learning_rate: float
    seed: int = 0
