"""The two-stream injection, as far as it is the same for both backbones.

A thin subclass of a stock diffusers transformer: the stock forward does the denoising, and attention
processors append the condition's keys and values (model_facts, A). Nothing is added to the model before
`add_control`, so a base model's folder loads as it is.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import torch
from diffusers.configuration_utils import ConfigMixin
from diffusers.loaders.peft import PeftAdapterMixin
from diffusers.models.cache_utils import CacheMixin
from diffusers.models.modeling_utils import ModelMixin
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import nn

from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.model_options import MAX_STRENGTH, CacheStorage
from flextraj_backend.models.backbone import Backbone, TokenGrid
from flextraj_backend.models.condition import ConditionLatents
from flextraj_backend.models.condition_attention import ConditionAttention
from flextraj_backend.models.condition_cache import CacheRecorder, ConditionCache
from flextraj_backend.models.control_fingerprint import ControlFingerprint
from flextraj_backend.models.streams import CONDITION_ADAPTER, has_control
from flextraj_backend.models.token_pruning import KeptTokens


class FlexTrajMixin(ModelMixin, ConfigMixin, PeftAdapterMixin, CacheMixin, ABC):
    """Adds the trajectory control to a stock transformer.

    Inference: `add_control` (or `load_adapter`), `encode_condition` once, `use_condition`, then denoise with
    the stock forward. Training, and the reference without a cache: `forward(..., condition=latents)`.
    """

    backbone: ClassVar[Backbone]
    fuse_linear: nn.Linear
    gradient_checkpointing: bool
    _gradient_checkpointing_func: Any

    _lora_targets: ClassVar[str]
    """Regular expression of the linear layers that get the control's LoRA."""

    _cache_in_use: ConditionCache | None = None
    _strength: float = 1.0
    _fingerprint: ControlFingerprint

    # Set-up

    @classmethod
    def adopt(cls, transformer: nn.Module) -> Self:
        """Turn a loaded stock transformer into this class, in place; its weights are untouched."""
        if not isinstance(transformer, cls):
            transformer.__class__ = cls
        return transformer  # pyright: ignore[reportReturnType] (it is one now)

    def add_control(self, rank: int, alpha: float | None = None) -> Self:
        """Add a control that was not trained yet: zero fuse layer, LoRA without effect. A former one goes.

        Only the control is trainable afterwards. Even so the result is not the base model: the condition's
        keys take their share of the attention (conventions 2.1).

        Args:
            rank: of the LoRA.
            alpha: the LoRA is scaled by alpha / rank; None: by 1, as the authors' is.
        """
        self._check_base()
        self.use_condition(None)
        others = self._other_active_adapters()
        if CONDITION_ADAPTER in self._adapters():
            self.delete_adapters(CONDITION_ADAPTER)
        self._add_fuse_linear()
        self._install_processors()
        config = LoraConfig(
            r=rank,
            lora_alpha=rank if alpha is None else alpha,  # pyright: ignore[reportArgumentType] (any number)
            target_modules=self._lora_targets,
        )
        self.add_adapter(config, CONDITION_ADAPTER)
        self._fingerprint = ControlFingerprint(self)
        self._leave_storage_format()
        self.set_adapter(others)
        self.freeze_all_but_control()
        return self

    def trainable_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Names and tensors that training changes: the fuse layer and the LoRA that has any effect.

        Without effect are what only serves the last block's condition tokens, which nobody reads, and on Wan
        the text keys and values, which both streams share (conventions 2.6).
        """
        unused = re.compile(self._unused_lora())
        return [
            (name, parameter)
            for name, parameter in self.named_parameters()
            if name.startswith("fuse_linear.")
            or (f".{CONDITION_ADAPTER}." in name and not unused.match(name))
        ]

    def freeze_all_but_control(self) -> None:
        """Let gradients flow to `trainable_parameters` alone. Loading another LoRA changes such settings."""
        self.requires_grad_(False)
        for _, parameter in self.trainable_parameters():
            parameter.requires_grad_(True)

    @property
    def config(self) -> Any:
        """The base model's settings as attributes."""
        return super().config

    @property
    def hidden_size(self) -> int:
        """Width of a token."""
        return self.config.num_attention_heads * self.config.attention_head_dim

    # Condition

    def condition_token_grid(self, latents: ConditionLatents) -> TokenGrid:
        """The condition tokens of one sample."""
        return self._token_grid(latents.ids)

    @torch.no_grad()
    def _encode(
        self,
        latents: ConditionLatents,
        keep: KeptTokens | None,
        storage: CacheStorage,
        device: torch.device | str | None,
        **inputs: Any,
    ) -> ConditionCache:
        self._require_control()
        place = None if device is None else torch.device(device)
        grid = self.condition_token_grid(latents)
        if keep is not None:
            _check_kept(keep, grid)
        control = self._fingerprint.digest(self.config)
        recorder = CacheRecorder(self.backbone, grid, keep, storage, place, control)
        cache_in_use, strength = self._cache_in_use, self._strength
        self._clear_processors(keep, grid)
        try:
            # Through __call__, so that the hooks of offloading and sharding fire; once, so not compiled.
            with self._without_step_cache(), torch.compiler.set_stance("force_eager"):
                self(latents.ids, condition=latents, recorder=recorder, **inputs)
        finally:
            self.use_condition(cache_in_use, strength)
        return recorder.cache()

    @contextmanager
    def _without_step_cache(self) -> Iterator[None]:
        """Within, diffusers' step caching neither skips a block nor remembers one."""
        config = self._cache_config
        if config is None:
            yield
            return
        self.disable_cache()
        try:
            yield
        finally:
            self.enable_cache(config)

    def use_condition(self, cache: ConditionCache | None, strength: float = 1.0) -> None:
        """Let the following denoising steps read a condition.

        Args:
            cache: of this transformer; None for the base model.
            strength: 0 is exactly the base model, 1 as trained, up to 2 (counts every condition token twice).

        Raises:
            FlexTrajError: the cache belongs to another model, or the strength is out of range.
        """
        if not (math.isfinite(strength) and 0 <= strength <= MAX_STRENGTH):
            raise FlexTrajError(
                f"The control strength {strength:g} is out of range: give 0 to {MAX_STRENGTH:g}.",
                ErrorCode.REQUEST,
            )
        if cache is not None:
            self._check_cache(cache)
        reading = cache is not None and strength > 0
        self._cache_in_use, self._strength = (cache if reading else None), strength
        if self._cache_in_use is None:
            self._clear_processors(None, None)
        else:
            self._clear_processors(self._cache_in_use.kept, self._cache_in_use.grid)
            self._hand_out(self._cache_in_use, strength)

    def _clear_processors(self, kept: KeptTokens | None, grid: TokenGrid | None) -> None:
        """No condition; the next one holds these tokens."""
        representatives = 0 if kept is None else len(kept.representatives)
        weight = 1.0 if kept is None or grid is None else kept.weight(grid)
        for processor in self._processors():
            processor.clear()
            processor.represent(representatives, weight)

    def _hand_out(self, cache: ConditionCache, strength: float) -> None:
        waits_on_host = cache.device.type == "cpu" and torch.cuda.is_available()
        log_strength = None if strength == 1 else torch.tensor(math.log(strength))
        for layer, processor in enumerate(self._processors()):
            processor.log_strength = log_strength
            if waits_on_host:
                processor.source = cache.prefetch.source(layer)
            else:
                processor.keys, processor.values = cache.keys[layer], cache.values[layer]
            if cache.key_scales:
                processor.key_scale, processor.value_scale = (
                    cache.key_scales[layer],
                    cache.value_scales[layer],
                )

    def _check_cache(self, cache: ConditionCache) -> None:
        self._require_control()
        config = self.config
        own = (self.backbone, config.num_layers, config.num_attention_heads, config.attention_head_dim)
        other = (cache.backbone, cache.layers, cache.heads, cache.head_size)
        if own != other:
            raise FlexTrajError(
                "The condition cache belongs to another model ({}, {} layers, {} heads of {}) than this one "
                "({}, {} layers, {} heads of {}): encode the condition again.".format(*other, *own),
                ErrorCode.ENGINE,
            )
        control = self._fingerprint.digest(config)
        if control and cache.control and control != cache.control:
            raise FlexTrajError(
                "The condition cache was encoded with another control or base model than this transformer's: "
                "encode the condition again.",
                ErrorCode.ENGINE,
            )

    def _check_condition_in_use(self, hidden_states: torch.Tensor) -> None:
        """Raises FlexTrajError if the condition in use does not fit the latents."""
        cache = self._cache_in_use
        if cache is None:
            return
        grid = self._token_grid(hidden_states)
        if cache.grid != grid:
            raise FlexTrajError(
                f"The condition cache was made for a video of {cache.grid} tokens (frames x height x width), "
                f"but this one has {grid}: encode the condition at the size and length of the video.",
                ErrorCode.ENGINE,
            )
        if cache.batch not in (1, len(hidden_states)):
            raise FlexTrajError(
                f"The condition cache holds {cache.batch} conditions for a batch of {len(hidden_states)}: "
                "encode one for all, or one for each.",
                ErrorCode.ENGINE,
            )

    # Other LoRAs: they act on the main stream only, and the control is never active on it

    def set_adapter(self, adapter_name: str | list[str]) -> None:
        """Activate LoRAs of the main stream; the control acts on the condition stream, always and only."""
        super().set_adapter(_others(adapter_name))

    def set_adapters(
        self,
        adapter_names: list[str] | str,
        weights: float | dict | list[float] | list[dict] | list[None] | None = None,
    ) -> None:
        """Activate LoRAs of the main stream with weights; `use_condition` sets the control's strength."""
        names = [adapter_names] if isinstance(adapter_names, str) else adapter_names
        scales = weights if isinstance(weights, list) else [weights] * len(names)
        chosen = [pair for pair in zip(names, scales, strict=True) if pair[0] != CONDITION_ADAPTER]
        super().set_adapters([name for name, _ in chosen], [scale for _, scale in chosen])  # pyright: ignore[reportArgumentType] (a mix is fine)

    def delete_adapters(self, adapter_names: list[str] | str) -> None:
        """Remove LoRAs, the control too if it is named."""
        names = [adapter_names] if isinstance(adapter_names, str) else adapter_names
        # Otherwise peft activates one of those that stay, which may be the control.
        self.set_adapter([name for name in self._other_active_adapters() if name not in names])
        super().delete_adapters(names)

    def unload_lora(self) -> None:
        """Remove every LoRA but the control."""
        others = _others(list(self._adapters()))
        if others:
            self.delete_adapters(others)

    def fuse_lora(self, *args: Any, **kwargs: Any) -> None:
        """Refused once there is a control, for fused weights would act on both streams."""
        if CONDITION_ADAPTER in self._adapters():
            raise FlexTrajError(
                "LoRAs cannot be fused into a transformer with trajectory control, for they would change the "
                "condition as well: leave them unfused.",
                ErrorCode.ENGINE,
            )
        super().fuse_lora(*args, **kwargs)

    def fuse_qkv_projections(self) -> None:
        """Refused once there is a control, for it would replace the processors that read the condition."""
        if CONDITION_ADAPTER in self._adapters():
            raise FlexTrajError(
                "Projections cannot be fused in a transformer with trajectory control: leave them unfused.",
                ErrorCode.ENGINE,
            )
        super().fuse_qkv_projections()  # pyright: ignore[reportAttributeAccessIssue] (both backbones have it)

    def _adapters(self) -> Iterable[str]:
        return getattr(self, "peft_config", {})

    def _other_active_adapters(self) -> list[str]:
        return _others(self.active_adapters()) if self._adapters() else []

    # Parts of the model

    def _run_block(self, block: nn.Module, *inputs: Any) -> Any:
        """A block's outputs, kept for the backward pass or computed again there."""
        if torch.is_grad_enabled() and self.gradient_checkpointing:
            return self._gradient_checkpointing_func(block, *inputs)
        return block(*inputs)

    def _processors(self) -> list[ConditionAttention]:
        """The self-attention processor of each block; none without a control."""
        processors = (block.attn1.processor for block in self._blocks())
        return [processor for processor in processors if isinstance(processor, ConditionAttention)]

    def _require_control(self) -> None:
        if CONDITION_ADAPTER not in self._adapters() or not self._processors():
            raise FlexTrajError(
                "The transformer has no trajectory control: load the control's weights first.",
                ErrorCode.ENGINE,
            )

    def _require_no_condition_in_use(self) -> None:
        if self._cache_in_use is not None:
            raise FlexTrajError(
                "A condition cache is in use, so that no other condition can be given: take it out with "
                "use_condition(None) first.",
                ErrorCode.ENGINE,
            )

    def _leave_storage_format(self) -> None:
        """Give LoRA over weights that are stored in 8 bits the number format of computing."""
        dtype = self._patch_weight().dtype
        for layer in self.modules():
            if isinstance(layer, LoraLayer) and has_control(layer):
                down, up = layer.lora_A[CONDITION_ADAPTER], layer.lora_B[CONDITION_ADAPTER]
                if down.weight.dtype.itemsize == 1:
                    down.to(dtype)
                    up.to(dtype)
                    layer.reset_lora_parameters(CONDITION_ADAPTER, init_lora_weights=True)

    def _add_fuse_linear(self) -> None:
        like = self._patch_weight()
        self.fuse_linear = nn.Linear(self.hidden_size, self.hidden_size, device=like.device, dtype=like.dtype)
        nn.init.zeros_(self.fuse_linear.weight)
        nn.init.zeros_(self.fuse_linear.bias)

    @abstractmethod
    def _blocks(self) -> Iterable[Any]:
        """The transformer blocks."""

    @abstractmethod
    def _install_processors(self) -> None:
        """Give every block the two-stream class and attention processors."""

    @abstractmethod
    def _patch_weight(self) -> torch.Tensor:
        """The weight that turns latents into tokens; new layers take its device and number format."""

    @abstractmethod
    def _token_grid(self, latents: torch.Tensor) -> TokenGrid:
        """The tokens of one sample of latents."""

    @abstractmethod
    def _unused_lora(self) -> str:
        """Regular expression of the names of the control's LoRA tensors that have no effect."""

    @abstractmethod
    def _check_base(self) -> None:
        """Raises FlexTrajError if the control does not exist for this variant of the base model."""


def _check_kept(keep: KeptTokens, grid: TokenGrid) -> None:
    if len(keep.occupied) == 0:
        raise FlexTrajError(
            "No condition token is kept, so there is nothing to follow: keep at least one, or generate "
            "without a condition.",
            ErrorCode.REQUEST,
        )
    keep.check(grid)


def _others(adapter_names: str | list[str]) -> list[str]:
    names = [adapter_names] if isinstance(adapter_names, str) else adapter_names
    return [name for name in names if name != CONDITION_ADAPTER]
