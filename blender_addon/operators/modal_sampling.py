"""What operators share that sample a shot: between UI events until Esc, or at once for scripts."""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import bpy

from ..blender_types import Context, OperatorResult
from ..bridge.shot_sampling import run_to_end, sample_shot
from ..core.errors import FlexTrajError
from ..core.sample_settings import SampleProgress, SampleSettings
from ..overlay.viewport import SampledShot, viewport_overlay
from ..properties import runtime_state
from ..sampling_slot import Sampling, show_sampling
from ..session import current_session, show_error
from ..translations import filled, translated
from .modal_window import borrow_timer, return_timer
from .sampling_guard import guard_other_windows, leaves_scene_alone

# Blender registers only the classes that are operators themselves.
_Operator = bpy.types.Operator if TYPE_CHECKING else object

_TIMER_SECONDS = 0.01
_STEP_SECONDS = 0.03


class SamplingOperator(_Operator):
    """An operator that samples the shot first.

    `invoke` samples between UI events; `execute` does the whole job before it returns, which is what scripts
    and `blender -b` want.
    """

    _sampling: Sampling
    _scene_uid: int
    _settings: SampleSettings
    _timer: bpy.types.Timer

    @abstractmethod
    def prepare(self, context: Context) -> SampleSettings:
        """Read and check the settings. Raises FlexTrajError with the sentence for the user."""

    def start_sampling(self, context: Context, settings: SampleSettings) -> Sampling:
        """What is sampled, step by step: the shot, or a part of it."""
        return sample_shot(context.scene, context.view_layer, settings)

    @abstractmethod
    def conclude(self, context: Context, sampled: Any) -> OperatorResult:
        """Use what was sampled; a window waits for it."""

    def conclude_at_once(self, context: Context, sampled: Any) -> OperatorResult:
        """Use what was sampled; a script waits for all that follows. Raises FlexTrajError."""
        return self.conclude(context, sampled)

    def execute(self, context: Context) -> OperatorResult:
        session = current_session()
        try:
            self._begin(context)
            sampled = run_to_end(self._sampling)
            session.end_sampling()
            self.show(sampled)
            return self.conclude_at_once(context, sampled)
        except FlexTrajError as error:
            return self.refuse(error)
        finally:
            session.end_sampling()

    def invoke(self, context: Context, event: bpy.types.Event) -> OperatorResult:
        try:
            self._begin(context)
        except FlexTrajError as error:
            return self.refuse(error)
        manager = context.window_manager
        self._timer = borrow_timer(context, _TIMER_SECONDS)
        manager.progress_begin(0, 100)
        manager.modal_handler_add(self)
        guard_other_windows(context)
        return {"RUNNING_MODAL"}

    def modal(self, context: Context, event: bpy.types.Event) -> OperatorResult:
        session = current_session()
        if session.sampling is not self._sampling or session.is_sampling_unwanted:
            # Undo, saving, rendering, playback, another file or the Cancel button ended it meanwhile.
            return self._leave(context, filled("Sampling was cancelled"))
        if event.type == "ESC" and event.value == "PRESS":
            return self._leave(context, filled("Sampling was cancelled"))
        if event.type != "TIMER":
            return {"PASS_THROUGH"} if leaves_scene_alone(context, event) else {"RUNNING_MODAL"}
        try:
            sampled = self._step(context)
        except FlexTrajError as error:
            self._clean_up(context)
            return self.refuse(error)
        except ReferenceError:
            message = filled("Sampling was cancelled, because its scene or an object was deleted")
            return self._leave(context, message)
        except BaseException:
            self._clean_up(context)
            raise
        if sampled is None:
            return {"RUNNING_MODAL"}
        self._clean_up(context)
        self.show(sampled)
        return self.conclude(context, sampled)

    def cancel(self, context: Context) -> None:
        """Blender ends the operator itself, for instance because its window is closed."""
        self._clean_up(context)

    def _begin(self, context: Context) -> None:
        show_error(None)
        self._settings = self.prepare(context)
        self._sampling = self.start_sampling(context, self._settings)
        self._scene_uid = context.scene.session_uid
        current_session().begin_sampling(self._sampling)
        show_sampling(SampleProgress(0, 1))

    def _step(self, context: Context) -> Any:
        """Sample for a moment; return what was sampled once it is complete, None before."""
        until = time.monotonic() + _STEP_SECONDS
        try:
            progress = next(self._sampling)
            while time.monotonic() < until:
                progress = next(self._sampling)
        except StopIteration as end:
            return end.value
        show_sampling(progress)
        context.window_manager.progress_update(100 * progress.done // max(progress.total, 1))
        context.workspace.status_text_set(
            filled(
                "FlexTraj: sampling frame {done} of {total} – Esc to cancel",
                done=progress.done,
                total=progress.total,
            )
        )
        return None

    def show(self, sampled: Any) -> None:
        """Show what was sampled in the viewport."""
        viewport_overlay().show(SampledShot(self._scene_uid, self._settings, sampled))

    def _leave(self, context: Context, message: str) -> OperatorResult:
        self._clean_up(context)
        self.report({"INFO"}, message)
        return {"CANCELLED"}

    def refuse(self, error: FlexTrajError) -> OperatorResult:
        """Tell why it cannot be done."""
        show_error(error)
        self.report({"ERROR"}, translated(error.message))
        return {"CANCELLED"}

    def _clean_up(self, context: Context) -> None:
        session = current_session()
        if session.sampling is self._sampling:
            session.end_sampling()
        return_timer(context, self._timer)
        context.window_manager.progress_end()
        if context.workspace is not None:
            context.workspace.status_text_set(None)


def why_not_sample(context: Context) -> str:
    """Why sampling cannot begin now, whatever is sampled; empty where it can."""
    if runtime_state().is_sampling:
        return "The animation is being sampled"
    if context.screen is not None and context.screen.is_animation_playing:
        return "Stop the playback first"
    if bpy.app.is_job_running("RENDER"):
        return "Wait until Blender has rendered"
    return ""
