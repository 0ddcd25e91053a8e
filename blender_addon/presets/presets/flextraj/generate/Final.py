# pyright: reportAttributeAccessIssue=false
import bpy

settings = bpy.context.scene.flextraj

bpy.ops.flextraj.choose_model()
settings.steps = 0
settings.guidance = 0.0
settings.memory = "auto"
settings.strength = 1.0
settings.model.guidance_schedule = "authors"
settings.model.scheduler = "authors"
settings.model.step_cache = "none"
settings.model.attention = "auto"
settings.model.compile = "none"
settings.model.condition_tokens = "all"
settings.model.cache_storage = "model"
settings.model.cache_place = "auto"
settings.model.window_overlap = 8
settings.model.loras.clear()
