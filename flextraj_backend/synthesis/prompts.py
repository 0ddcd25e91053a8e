"""The scene in words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from flextraj_backend.synthesis.actions.recipe import ActionName, ActionRecipe
from flextraj_backend.synthesis.cameras import CameraMove, CameraRecipe
from flextraj_backend.synthesis.scene import Action, SceneRecipe

VERBS: Mapping[ActionName, str] = {
    ActionName.WALK: "walks",
    ActionName.WAVE: "waves",
    ActionName.SQUAT: "does squats",
    ActionName.DANCE: "dances",
    ActionName.TURN: "turns around",
    ActionName.JUMP: "jumps",
    ActionName.REACH: "reaches out",
    ActionName.KICK: "kicks",
    ActionName.BOW: "bows",
    ActionName.LEAN: "leans over",
    ActionName.CLAP: "claps",
    ActionName.JUMPING_JACK: "does jumping jacks",
    ActionName.HOP: "hops",
    ActionName.LOOK_AROUND: "looks around",
    ActionName.WAG: "wags and sways",
    ActionName.SLIDE: "slides to and fro",
    ActionName.SPIN: "spins",
    ActionName.ORBIT: "moves in circles",
    ActionName.BOUNCE: "bounces",
    ActionName.TUMBLE: "tumbles in the air",
    ActionName.SCALE: "grows and shrinks",
}
"""What a subject does, in the third person."""
_ARTICLE = re.compile(r"\ba(?= [aeiou])")


def describe_action(action: Action) -> str:
    """What a subject does, such as "waves"; a motion of the user's has only its name."""
    return VERBS[action.name] if isinstance(action, ActionRecipe) else f'performs "{action.name}"'


def describe_scene(recipe: SceneRecipe, descriptions: Sequence[str]) -> str:
    """Return the prompt of a clip, one sentence.

    Args:
        recipe: the scene.
        descriptions: what each subject looks like, such as "a tall person in red".
    """
    performances = [
        f"{_ARTICLE.sub('an', description)} {describe_action(action)}"
        for description, action in zip(descriptions, recipe.actions, strict=True)
    ]
    subjects = ", ".join(performances[:-1]) + (" and " if len(performances) > 1 else "") + performances[-1]
    sentence = (
        f"{subjects}, {recipe.background.description}, in {recipe.light.mood.value}, "
        f"{_describe_move(recipe.camera)}."
    )
    return sentence[0].upper() + sentence[1:]


def _describe_move(camera: CameraRecipe) -> str:
    if camera.move is CameraMove.STATIC:
        return "the camera stands still"
    if camera.move is CameraMove.ORBIT:
        return "the camera moves around the scene"
    if camera.move is CameraMove.SHAKE:
        return "the camera is held by hand"
    return f"the camera moves {'towards' if camera.approach < 1 else 'away from'} the scene"
