"""The scene in words."""

from __future__ import annotations

from flextraj_backend.synthesis.cameras import CameraMove
from flextraj_backend.synthesis.scene import SceneRecipe

_MOVES = {
    CameraMove.STATIC: "The camera stands still.",
    CameraMove.ORBIT: "The camera moves around the scene.",
    CameraMove.SHAKE: "The camera is held by hand.",
}


def describe_scene(recipe: SceneRecipe, performances: tuple[str, ...]) -> str:
    """Return the prompt of a clip.

    Args:
        recipe: the scene.
        performances: what each subject looks like and does, such as "a tall person in red waves".
    """
    subjects = " and ".join(performances)
    move = _MOVES.get(recipe.camera.move)
    if move is None:
        direction = "towards" if recipe.camera.approach < 1 else "away from"
        move = f"The camera moves {direction} the scene."
    sentence = f"{subjects}, {recipe.background.description}, in {recipe.light.mood.value}. {move}"
    return sentence[0].upper() + sentence[1:]
