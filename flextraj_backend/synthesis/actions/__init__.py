"""Seeded motions of synthetic characters, written as keyframes."""

from flextraj_backend.synthesis.actions.keying import apply_action, performs
from flextraj_backend.synthesis.actions.recipe import ACTIONS_OF_KIND, ActionName, ActionRecipe, draw_action

__all__ = ["ACTIONS_OF_KIND", "ActionName", "ActionRecipe", "apply_action", "draw_action", "performs"]
