"""The panel of training pairs names what `flextraj synthesize` has, nothing less and nothing else."""

from __future__ import annotations

from blender_addon.core.training_pairs import PairAction, PairCamera, PairRenderer
from flextraj_backend.synthesis.cameras import CameraMove
from flextraj_backend.synthesis.scene import ActionName, Renderer


def test_every_action_camera_and_renderer_can_be_chosen_in_blender() -> None:
    for of_panel, of_command in (
        (PairAction, ActionName),
        (PairCamera, CameraMove),
        (PairRenderer, Renderer),
    ):
        assert [one.value for one in of_panel] == [one.value for one in of_command]
