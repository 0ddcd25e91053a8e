"""The ControlNet-style alternative to the two-stream injection, for the ablation.

A trainable copy of the first blocks runs beside the frozen ones, as in ControlNet and, on CogVideoX, in
Diffusion as Shader. It starts from main plus condition tokens, and what each copied block puts out is added
to the main stream through a linear projection that starts at zero. The copy sees the noise, so that it has to
run in every step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from diffusers.configuration_utils import ConfigMixin
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXBlock, CogVideoXTransformer3DModel
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel, WanTransformerBlock
from safetensors import SafetensorError, safe_open
from torch import nn

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.condition import ConditionLatents
from flextraj_backend.models.real_configs import CONTROLNET_DEPTH_SHARE
from flextraj_backend.models.tensor_file import write_tensors

FORMAT = "flextraj-controlnet"
VERSION = "1"

Rotary = tuple[torch.Tensor, torch.Tensor]


class ControlledCogVideoXBlock(CogVideoXBlock):
    """CogVideoX's block with its trainable copy.

    The copy's tokens travel behind the main ones in one sequence, so that the stock forward carries them and
    a checkpointed block finds all it needs among its inputs. Without them this is the stock block.
    """

    control: CogVideoXBlock
    control_projection: nn.Linear
    passes_on: bool
    """Whether the next block has a copy too."""
    main_tokens: int | None
    """Of the last forward with a condition; None after one without."""

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        temb: torch.Tensor,
        image_rotary_emb: Rotary | None = None,
        attention_kwargs: dict[str, Any] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Args: as diffusers' block; `hidden_states` may be [main; copy], (B, 2 N, C)."""
        # Without rotary positions, as in CogVideoX-2B, the block is told how many tokens are the main ones.
        positions = self.main_tokens if image_rotary_emb is None else len(image_rotary_emb[0])
        main, control = _streams(hidden_states, positions)
        if control is not None:
            control, _ = self.control(control, encoder_hidden_states, temb, image_rotary_emb)
        main, text = super().forward(main, encoder_hidden_states, temb, image_rotary_emb, attention_kwargs)
        return _joined(self, main, control), text


class ControlledWanBlock(WanTransformerBlock):
    """Wan's block with its trainable copy; see `ControlledCogVideoXBlock`."""

    control: WanTransformerBlock
    control_projection: nn.Linear
    passes_on: bool

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        temb: torch.Tensor,
        rotary_emb: Any,
    ) -> torch.Tensor:
        """Args: as diffusers' block; `hidden_states` may be [main; copy], (B, 2 N, C)."""
        main, control = _streams(hidden_states, rotary_emb[0].shape[1])
        if control is not None:
            control = self.control(control, encoder_hidden_states, temb, rotary_emb)
        main = super().forward(main, encoder_hidden_states, temb, rotary_emb)
        return _joined(self, main, control)


class ControlNetMixin(ModelMixin, ConfigMixin, ABC):
    """Adds a trainable copy of the first blocks to a stock transformer.

    Nothing is added before `add_control_blocks`, so a base model's folder loads as it is. Afterwards the
    stock forward takes one more argument, `condition`; without it, and right after `add_control_blocks` also
    with it, the result is exactly the base model's.
    """

    backbone: ClassVar[Backbone]
    fuse_linear: nn.Linear
    _controlled_block: ClassVar[type[nn.Module]]

    @classmethod
    def adopt(cls, transformer: nn.Module) -> Self:
        """Turn a loaded stock transformer into this class, in place; its weights are untouched."""
        if not isinstance(transformer, cls):
            transformer.__class__ = cls
        return transformer  # pyright: ignore[reportReturnType] (it is one now)

    def add_control_blocks(self, count: int | None = None) -> Self:
        """Copy the first `count` blocks; only the copies, projections and fuse layer are trainable then.

        Args:
            count: 1 to all; None: the share that Diffusion as Shader copies, 18 of 42 (13 of 30 on Wan).

        Raises:
            ValueError: there are copies already, or that many blocks do not exist.
        """
        blocks = self._blocks()
        count = max(1, round(len(blocks) * CONTROLNET_DEPTH_SHARE)) if count is None else count
        if not 1 <= count <= len(blocks):
            raise ValueError(f"Cannot copy {count} blocks of a transformer that has {len(blocks)}.")
        if self.control_blocks:
            raise ValueError(f"{self.control_blocks} blocks have copies already.")
        self.requires_grad_(False)
        for index, block in enumerate(blocks[:count]):
            copied = deepcopy(block).requires_grad_(True)
            controlled: Any = block
            controlled.__class__ = self._controlled_block
            controlled.control = copied
            controlled.control_projection = self._zero_linear()
            controlled.passes_on = index < count - 1
        self.fuse_linear = self._zero_linear()
        self._tell_blocks(None)
        return self

    @property
    def control_blocks(self) -> int:
        """Number of blocks that have a copy."""
        return sum(isinstance(block, self._controlled_block) for block in self._blocks())

    @property
    def hidden_size(self) -> int:
        """Width of a token."""
        config: Any = self.config
        return config.num_attention_heads * config.attention_head_dim

    def trainable_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Names and tensors that training changes."""
        return [(name, parameter) for name, parameter in self.named_parameters() if _is_control(name)]

    def save_control(self, path: Path) -> Path:
        """Write what training changes as a safetensors file, atomically.

        Raises:
            FlexTrajError: the file cannot be written.
        """
        tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in self.trainable_parameters()}
        metadata = {"format": FORMAT, "version": VERSION, "backbone": self.backbone.value}
        return write_tensors(path, tensors, metadata)

    def load_control(self, path: Path) -> Self:
        """Read a file of `save_control`; the copies are made when there are none yet.

        Raises:
            FlexTrajError: not such a file, or of another backbone, depth or width.
        """
        try:
            with safe_open(path, framework="pt") as file:
                if (file.metadata() or {}).get("format") != FORMAT:
                    raise _refused(path, "is no ControlNet-style control")
                if file.metadata().get("backbone") != self.backbone.value:
                    raise _refused(path, f"does not belong to {self.backbone.value}")
                if not self.control_blocks:
                    self.add_control_blocks(_copied_blocks(path, list(file.keys()), len(self._blocks())))
                self._copy_from(path, file)
        except (OSError, SafetensorError) as error:
            raise _refused(path, f"cannot be read ({error})") from error
        return self

    def forward(self, *args: Any, condition: ConditionLatents | None = None, **kwargs: Any) -> Any:
        """Diffusers' forward; with a condition (batch B or 1) under its control."""
        if condition is None:
            self._tell_blocks(None)
            return super().forward(*args, **kwargs)
        if not self.control_blocks:
            raise FlexTrajError(
                "The transformer has no ControlNet-style control: add or load its blocks first.",
                ErrorCode.ENGINE,
            )
        with self._copied_stream(condition):
            return super().forward(*args, **kwargs)

    @contextmanager
    def _copied_stream(self, condition: ConditionLatents) -> Iterator[None]:
        """Within, main plus condition tokens follow the main tokens out of the patch embedding."""
        embedding = self._patch_embedding()
        weight = next(embedding.parameters())
        condition = condition.to(weight.device, weight.dtype)
        tokens = self._embed(condition.ids) + self._fuse(self._embed(condition.color))
        # Not taken back at the end: a checkpointed block runs once more in the backward pass.
        self._tell_blocks(tokens.shape[1])

        def append(_module: nn.Module, _inputs: Any, embedded: Any) -> torch.Tensor:
            return self._with_copy(embedded, tokens)

        hook = embedding.register_forward_hook(append)
        try:
            yield
        finally:
            hook.remove()

    def _tell_blocks(self, main_tokens: int | None) -> None:
        """Tell the copies how many tokens are the main ones; Wan's see that by their rotary positions."""

    def _copy_from(self, path: Path, file: Any) -> None:
        own = dict(self.trainable_parameters())
        if own.keys() != set(file.keys()):
            name = min(own.keys() ^ set(file.keys()))
            raise _refused(path, f"does not fit this transformer ({name} is on one side only)")
        tensors = {name: file.get_tensor(name) for name in own}
        for name, parameter in own.items():
            if tensors[name].shape != parameter.shape:
                sizes = f"{tuple(tensors[name].shape)}, not {tuple(parameter.shape)}"
                raise _refused(path, f"does not fit this transformer ({name} is {sizes})")
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(tensors[name])

    def _zero_linear(self) -> nn.Linear:
        like = next(self._patch_embedding().parameters())
        linear = nn.Linear(self.hidden_size, self.hidden_size, device=like.device, dtype=like.dtype)
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
        return linear

    @abstractmethod
    def _blocks(self) -> nn.ModuleList:
        """The transformer blocks."""

    @abstractmethod
    def _patch_embedding(self) -> nn.Module:
        """The module that turns latents into tokens."""

    @abstractmethod
    def _embed(self, latents: torch.Tensor) -> torch.Tensor:
        """One condition video as the patch embedding gives it out, without text."""

    @abstractmethod
    def _fuse(self, embedded: torch.Tensor) -> torch.Tensor:
        """The fuse layer over what `_embed` gives."""

    @abstractmethod
    def _with_copy(self, embedded: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """What the patch embedding gave, and behind it the copy's first tokens: main plus condition."""


class ControlNetCogVideoXTransformer(ControlNetMixin, CogVideoXTransformer3DModel):
    """CogVideoX-5B-I2V's transformer with a ControlNet-style control."""

    backbone: ClassVar[Backbone] = Backbone.COGVIDEOX
    _controlled_block = ControlledCogVideoXBlock
    _no_split_modules: ClassVar[list[str]] = [
        "CogVideoXBlock",
        "ControlledCogVideoXBlock",
        "CogVideoXPatchEmbed",
    ]

    def _blocks(self) -> nn.ModuleList:
        return self.transformer_blocks

    def _patch_embedding(self) -> nn.Module:
        return self.patch_embed

    def _tell_blocks(self, main_tokens: int | None) -> None:
        for block in self.transformer_blocks:
            if isinstance(block, ControlledCogVideoXBlock):
                block.main_tokens = main_tokens

    def _embed(self, latents: torch.Tensor) -> torch.Tensor:
        """(B, F, 32, h, w) to (B, N, C), learned positions included."""
        config: Any = self.config
        text_tokens = config.max_text_seq_length
        text = latents.new_zeros(len(latents), text_tokens, config.text_embed_dim)
        return self.patch_embed(text, latents)[:, text_tokens:]

    def _fuse(self, embedded: torch.Tensor) -> torch.Tensor:
        return self.fuse_linear(embedded)

    def _with_copy(self, embedded: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        main = embedded[:, -tokens.shape[1] :]
        return torch.cat([embedded, main + tokens], dim=1)


class ControlNetWanTransformer(ControlNetMixin, WanTransformer3DModel):
    """Wan2.2-TI2V-5B's transformer with a ControlNet-style control."""

    backbone: ClassVar[Backbone] = Backbone.WAN
    _controlled_block = ControlledWanBlock
    _repeated_blocks: ClassVar[list[str]] = ["WanTransformerBlock", "ControlledWanBlock"]
    _no_split_modules: ClassVar[list[str]] = ["WanTransformerBlock", "ControlledWanBlock"]

    def _blocks(self) -> nn.ModuleList:
        return self.blocks

    def _patch_embedding(self) -> nn.Module:
        return self.patch_embedding

    def _embed(self, latents: torch.Tensor) -> torch.Tensor:
        """(B, C, F, h, w) to (B, C', F, h', w')"""
        return self.patch_embedding(latents)

    def _fuse(self, embedded: torch.Tensor) -> torch.Tensor:
        return self.fuse_linear(embedded.movedim(1, -1)).movedim(-1, 1)

    def _with_copy(self, embedded: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        # As further latent frames: flattened, they come behind the main tokens.
        return torch.cat([embedded, embedded + tokens], dim=2)


def _streams(hidden_states: torch.Tensor, positions: int | None) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Main tokens, and the copy's if there are more tokens than rotary positions. (B, N, C) each"""
    if positions is None or hidden_states.shape[1] == positions:
        return hidden_states, None
    main, control = hidden_states.chunk(2, dim=1)
    return main, control


def _joined(block: Any, main: torch.Tensor, control: torch.Tensor | None) -> torch.Tensor:
    """The main tokens with the control added; the copy's behind them if the next block has a copy."""
    if control is None:
        return main
    main = main + block.control_projection(control)
    return torch.cat([main, control], dim=1) if block.passes_on else main


def _is_control(name: str) -> bool:
    return bool({"control", "control_projection", "fuse_linear"} & set(name.split(".")))


def _copied_blocks(path: Path, names: list[str], available: int) -> int:
    count = sum(name.endswith(".control_projection.weight") for name in names)
    if not 1 <= count <= available:
        raise _refused(path, f"copies {count} blocks of a transformer that has {available}")
    return count


def _refused(path: Path, reason: str) -> FlexTrajError:
    return FlexTrajError(f"{path} {reason}: give a file trained with this base model.", ErrorCode.WEIGHTS)
