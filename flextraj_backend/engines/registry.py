"""The engines that this program knows, imported only when asked for."""

from __future__ import annotations

from collections.abc import Callable

from flextraj_backend.engines.base import Engine, EngineError


def _preview() -> Engine:
    from flextraj_backend.engines.preview.engine import PreviewEngine

    return PreviewEngine()


def _mini() -> Engine:
    from flextraj_backend.engines.mini.engine import MiniEngine

    return MiniEngine()


def _cogvideox() -> Engine:
    from flextraj_backend.engines.diffusion.engine import DiffusionEngine
    from flextraj_backend.engines.diffusion.profiles import COGVIDEOX

    return DiffusionEngine(COGVIDEOX)


def _wan() -> Engine:
    from flextraj_backend.engines.diffusion.engine import DiffusionEngine
    from flextraj_backend.engines.diffusion.profiles import WAN

    return DiffusionEngine(WAN)


_MAKERS: dict[str, Callable[[], Engine]] = {
    "preview": _preview,
    "mini": _mini,
    "wan": _wan,
    "cogvideox": _cogvideox,
}


def engine(name: str) -> Engine:
    """Return an engine by its name. Raises EngineError that lists the known names."""
    maker = _MAKERS.get(name)
    if maker is None:
        known = ", ".join(f"'{item}'" for item in _MAKERS)
        raise EngineError(f"There is no engine '{name}': choose one of {known}.")
    return maker()


def engines() -> tuple[Engine, ...]:
    """Return all engines, available or not."""
    return tuple(maker() for maker in _MAKERS.values())
