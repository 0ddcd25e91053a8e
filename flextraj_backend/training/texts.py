"""Embedded prompts: computed once before the training, so that the text encoder can leave the memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.models.prompts import Alignment, control_prompt
from flextraj_backend.training.latent_cache import LatentCache, cache_key

_KEPT_IN_MEMORY = 64


class EmbeddedTexts:
    """The prompts of the training, aligned and unaligned.

    Args:
        cache: of this run's text encoder.
        tokens: length of the embedded texts.
    """

    def __init__(self, cache: LatentCache, tokens: int) -> None:
        self._cache = cache
        self._tokens = tokens
        self._known: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def add(self, pipeline: Any, prompts: Iterable[str], device: torch.device) -> None:
        """Embed prompts, both as aligned and as unaligned control has them, unless that was done before."""
        for prompt in dict.fromkeys(prompts):
            for alignment in Alignment:
                self.add_text(pipeline, control_prompt(prompt, alignment), device)

    @torch.no_grad()
    def add_text(self, pipeline: Any, text: str, device: torch.device) -> None:
        """Embed one text as it is."""
        key = cache_key("text", text, self._tokens)
        # A file that cannot be read is made anew.
        if text in self._known or self._cache.get(key) is not None:
            return
        embedded = pipeline.encode_prompt(
            text,
            None,
            do_classifier_free_guidance=False,
            max_sequence_length=self._tokens,
            device=device,
        )[0]
        self._cache.put(key, {"text": embedded[0].cpu()}, text)

    def of(self, prompt: str, alignment: Alignment) -> torch.Tensor:
        """(N, C), as the text encoder gives it. Raises FlexTrajError where it was not added."""
        return self.of_text(control_prompt(prompt, alignment))

    def of_text(self, text: str) -> torch.Tensor:
        """A text that was added as it is."""
        if text not in self._known:
            cached = self._cache.get(cache_key("text", text, self._tokens))
            if cached is None:
                raise FlexTrajError(
                    f"The embedded prompt '{text[:40]}' is missing in the folder of encoded clips: where "
                    "several machines train, all must see one folder.",
                    ErrorCode.WEIGHTS,
                )
            if len(self._known) >= _KEPT_IN_MEMORY:
                self._known.pop(next(iter(self._known)))
            self._known[text] = cached.tensors["text"].float()
        return self._known[text]
