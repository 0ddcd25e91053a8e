# pyright: reportAttributeAccessIssue=false
import bpy

settings = bpy.context.scene.flextraj

settings.engine = "preview"
