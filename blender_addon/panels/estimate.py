"""Time and memory of the job, shown before it is generated."""

from __future__ import annotations

from ..blender_types import Context, Layout
from ..bridge.shot_request import estimate_question
from ..client.backend_process import BackendPhase
from ..client.job_texts import estimate_text
from ..core.errors import FlexTrajError
from ..fix_button import draw_fix
from ..properties import FlexTrajSettings
from ..session import current_session
from ..translations import filled
from .layout import wrapped_text


def draw_estimate(layout: Layout, context: Context, settings: FlexTrajSettings) -> None:
    """Draw what the job will take, as the backend plans it; or why it cannot be made."""
    session = current_session()
    if session.backend.phase is not BackendPhase.RUNNING:
        if session.backend.phase is not BackendPhase.STARTING:
            row = layout.row(align=True)
            row.label(text="No estimate yet", icon="TIME")
            row.operator("flextraj.start_backend", text="Start Backend")
        return
    try:
        question = estimate_question(context, settings)
    except FlexTrajError as error:
        wrapped_text(layout, context, error.message, "ERROR")
        return
    report = session.estimate_of(question)
    if report is None:
        layout.label(text="Estimating…", icon="TIME")
    elif report.answer is None:
        assert report.error is not None
        wrapped_text(layout, context, filled("No estimate: {reason}", reason=report.error.message), "TIME")
    elif report.answer.refusal:
        wrapped_text(layout, context, report.answer.refusal, "ERROR")
        code = report.answer.refusal_code
        draw_fix(layout, "" if code is None else code.value, report.answer.refusal)
    else:
        wrapped_text(layout, context, estimate_text(report.answer), "TIME")
        if report.answer.note:
            wrapped_text(layout, context, report.answer.note, "BLANK1")
