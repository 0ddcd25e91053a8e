"""The engines `cogvideox` and `wan`: the paper's method on the user's own weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.request import RenderRequest
from blender_addon.core.trajectories import TrajectorySet
from flextraj_backend.engines.base import (
    Availability,
    EngineInputs,
    EngineOutput,
    Estimate,
    IsCancelled,
    Limits,
    ReportProgress,
)
from flextraj_backend.engines.diffusion.installed import InstalledModel, check_packages, installed_model
from flextraj_backend.engines.diffusion.planning import GenerationPlan, plan_generation
from flextraj_backend.engines.diffusion.profiles import ModelProfile
from flextraj_backend.models.devices import Device, DeviceKind, probe_device
from flextraj_backend.models.estimates import nominal_job, refusal
from flextraj_backend.models.memory_plan import plan_memory
from flextraj_backend.models.model_sizes import RELEASED_SIZES, ModelSizes

_DRAFT_FRAMES, _DRAFT_SIZE = 25, (288, 512)
"""The least that an engine is offered for: length, and (height, width) where the size is free."""


_READS = frozenset(
    {"prompt", "negative_prompt", "seed", "steps", "guidance_scale", "keep_points", "keep_frames"}
    | {"kept_frames", "surface", "color_cue", "model"}
)


class DiffusionEngine:
    """One backbone with the trajectory control. Same inputs, seed and machine: same video.

    Listing and planning read configurations and headers only; torch is imported when a job renders.
    """

    def __init__(self, profile: ModelProfile, find_model: Callable[[], InstalledModel] | None = None) -> None:
        """`find_model` raises FlexTrajError where there is none; None looks for the user's weights."""
        self._profile = profile
        self._find_model = find_model or (lambda: installed_model(profile.backbone))

    @property
    def name(self) -> str:
        return self._profile.name

    @property
    def title(self) -> str:
        return self._profile.title

    @property
    def reads(self) -> frozenset[str]:
        return _READS

    def availability(self) -> Availability:
        try:
            check_packages()
            sizes = self._find_model().sizes
            reason = _refusal(_known_device(), sizes)
        except FlexTrajError as error:
            return Availability(False, error.message, error.code)
        except OSError as error:
            place = error.filename or "The weights' folder"
            return Availability(
                False, f"{place} cannot be read ({error.strerror or error}).", ErrorCode.WEIGHTS
            )
        return Availability(False, reason, ErrorCode.ENGINE) if reason else Availability(True)

    def limits(self) -> Limits:
        """Of the weights that are here; without any, of the released ones."""
        try:
            sizes = self._find_model().sizes
        except (FlexTrajError, OSError):
            sizes = RELEASED_SIZES[self._profile.backbone]
        return self._profile.limits(sizes)

    def prepare(self, request: RenderRequest, trajectories: TrajectorySet) -> Estimate:
        return self._plan(request, trajectories).estimate()

    def render(
        self, inputs: EngineInputs, report_progress: ReportProgress, cancelled: IsCancelled
    ) -> EngineOutput:
        """Generate the video; long shots window by window.

        Raises:
            EngineError: it cannot be made; out of memory, the sentence says what to change.
            Cancelled: at most one denoising step after `cancelled()` turned True.
        """
        plan = self._plan(inputs.request, inputs.trajectories)
        # Imported here: only a job that renders waits for torch.
        from flextraj_backend.engines.diffusion.generation import generate

        return generate(plan, inputs, report_progress, cancelled)

    def _plan(self, request: RenderRequest, trajectories: TrajectorySet) -> GenerationPlan:
        check_packages()
        model = self._find_model()
        return plan_generation(self._profile, model, request, trajectories, probe_device())


def _refusal(device: Device, sizes: ModelSizes) -> str:
    """Why nothing of use can be made on a device: one sentence, empty where something can."""
    nominal = nominal_job(sizes)
    try:
        plan_memory(sizes, nominal, device.when_idle)
    except FlexTrajError:
        # Where the usual clip does not fit, a draft may.
        height, width = sizes.fixed_size or _DRAFT_SIZE
        return refusal(device, sizes, replace(nominal, frames=_DRAFT_FRAMES, height=height, width=width))
    return refusal(device, sizes, nominal)


_device: Device | None = None


def _known_device() -> Device:
    """The device as it was found first: listing engines and submitting jobs wait for a probe but once."""
    global _device
    if _device is None or _device.kind is DeviceKind.NONE:
        _device = probe_device()
    return _device
