"""Properties: what is saved with the scene, and the run-time state that panels show."""

# Blender reads the annotations of property groups as values, so they cannot be postponed nor type-checked.
# pyright: reportInvalidTypeForm=false

import bpy
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

from . import ADDON_ID
from .bridge.chosen_subjects import add_collection, add_subjects, can_be_subject
from .bridge.compat import forget_callbacks_at_exit, path_options
from .core.frame_choice import FrameChoice
from .core.model_options import MAX_STRENGTH
from .core.request import MAX_PROMPT, FitMode
from .core.sample_settings import SampleMode, SegmentBy
from .model_properties import MEMORY_MODES, MODEL_CLASSES, FlexTrajModelSettings
from .overlay.settings import FlexTrajOverlaySettings
from .placement_properties import CLASSES as PLACEMENT_CLASSES
from .placement_properties import FlexTrajPlacement, FlexTrajPlacementState
from .training_properties import FlexTrajTrainingSettings

SOURCES = (
    ("CHARACTER", "Character", "One character: its armature, or one object", 0),
    ("SELECTION", "Selection", "The objects that are selected when Generate is pressed", 1),
    ("LIST", "List", "A list of objects, some of which may be props or ground", 2),
)
RANGES = (
    ("ANIMATION", "Animation", "The frames over which the subjects are animated", 0),
    ("SCENE", "Scene", "The scene's frame range", 1),
    ("CUSTOM", "Custom", "First and last frame given here", 2),
)
SIZES = (
    ("DRAFT", "720 × 480", "The size that the engines are made for", 0),
    ("SCENE", "Scene", "The scene's render size, which may be slow", 1),
    ("CUSTOM", "Custom", "Width and height given here", 2),
)
SEGMENTS = (
    (SegmentBy.OBJECT.value, "Object", "Every object is controlled by itself", 0),
    (SegmentBy.COLLECTION.value, "Collection", "Objects of a collection move as one", 1),
    (SegmentBy.MATERIAL.value, "Material", "Surfaces of a material move as one", 2),
)
MODES = (
    (SampleMode.SURFACE.value, "Surface", "Points spread evenly over the surface", 0),
    (SampleMode.VERTICES.value, "Vertices", "The meshes' own vertices", 1),
)
FITS = (
    (FitMode.AUTO.value, "Automatic", "Place the motion on the photo's subject", 0),
    (FitMode.GIVEN.value, "Placed", "Keep the motion where Fit to Photo or you put it on the photo", 2),
    (
        FitMode.NONE.value,
        "Unaligned (Leave It to the Model)",
        "Send the motion as the scene's camera sees it. Models that were trained on unaligned control carry "
        "it over to the photo's subject, wherever that stands; the preview cannot",
        1,
    ),
)
FRAME_CHOICES = (
    (FrameChoice.SHARE.value, "Share", "A share of all frames, evenly spread", 0),
    (FrameChoice.EVERY_NTH.value, "Every Nth", "The first frame and every n-th after it", 1),
    (FrameChoice.KEYFRAMES.value, "Keyframes", "The frames nearest to the subjects' own keyframes", 2),
    (FrameChoice.MARKERS.value, "Markers", "The frames nearest to the timeline's markers", 3),
)


def _is_subject(_settings: bpy.types.PropertyGroup, candidate: bpy.types.Object) -> bool:
    return can_be_subject(candidate)


class FlexTrajSubject(bpy.types.PropertyGroup):
    """One row of the list of subjects."""

    object: PointerProperty(
        name="Object", description="Object or armature to follow", type=bpy.types.Object, poll=_is_subject
    )
    include: BoolProperty(name="Include", description="Follow this subject", default=True)
    points: IntProperty(
        name="Points",
        description="Trajectories on each of this subject's segments; 0 = as many as on the others",
        min=0,
        max=65_536,
        soft_max=20_000,
    )
    vertex_group: StringProperty(
        name="Density",
        description="Vertex group whose painted weights say where the points go: many where it is red, none "
        "where it is blue; empty = evenly",
    )
    background: BoolProperty(
        name="Prop or Ground",
        description="Nothing in the photo corresponds to it: it only moves with the camera",
    )


def _add_picked_object(settings: "FlexTrajSettings", _context: bpy.types.Context) -> None:
    if settings.picked_object is not None:
        add_subjects(settings, [settings.picked_object])
        settings.picked_object = None


def _add_picked_collection(settings: "FlexTrajSettings", _context: bpy.types.Context) -> None:
    if settings.picked_collection is not None:
        add_collection(settings, settings.picked_collection)
        settings.picked_collection = None


class FlexTrajSettings(bpy.types.PropertyGroup):
    """`Scene.flextraj`: one shot, saved with the file."""

    source: EnumProperty(name="Subjects", description="What drives the photo", items=SOURCES)
    character: PointerProperty(
        name="Character",
        description="Armature (it stands for the meshes that it deforms) or object that drives the photo",
        type=bpy.types.Object,
        poll=_is_subject,
    )
    subjects: CollectionProperty(type=FlexTrajSubject)
    subject_index: IntProperty(name="Active Subject", min=0)
    picked_object: PointerProperty(
        name="Add Object",
        description="Object to add to the list; a rig is added as the meshes that it deforms",
        type=bpy.types.Object,
        poll=_is_subject,
        update=_add_picked_object,
    )
    picked_collection: PointerProperty(
        name="Add Collection",
        description="Collection whose objects are added to the list",
        type=bpy.types.Collection,
        update=_add_picked_collection,
    )
    points: IntProperty(
        name="Points",
        description="Trajectories on each subject",
        default=2500,
        min=16,
        max=65_536,
        soft_max=20_000,
    )
    mode: EnumProperty(name="Points On", description="Where the points sit", items=MODES)
    segment_by: EnumProperty(
        name="Segments By", description="What is told apart in the photo", items=SEGMENTS
    )

    photo: StringProperty(
        name="Photo",
        description="Image that will move",
        subtype="FILE_PATH",
        options=path_options(),
    )
    mask: StringProperty(
        name="Mask",
        description="Image that is white where the subject of the photo is; found automatically if empty",
        subtype="FILE_PATH",
        options=path_options(),
    )
    aligned: BoolProperty(
        name="Rig Is Posed over the Photo",
        description="On the first frame the rig covers the photo's subject exactly, seen through the camera",
    )
    fit: EnumProperty(name="Fit", description="How the motion is placed on the photo", items=FITS)

    placement: PointerProperty(type=FlexTrajPlacement)

    keep_points: FloatProperty(
        name="Keep Points",
        description="Share of the sampled points that the engine gets: fewer leave it more freedom",
        default=1.0,
        min=0.001,
        max=1.0,
        subtype="FACTOR",
    )
    keep_frames: FloatProperty(
        name="Keep Frames",
        description="Share of the frames on which the engine gets points, evenly spread; "
        "the first and the last always belong to them",
        default=1.0,
        min=0.001,
        max=1.0,
        subtype="FACTOR",
    )
    frame_choice: EnumProperty(
        name="Keep Frames",
        description="Which frames give the engine points; the first and the last always belong to them",
        items=FRAME_CHOICES,
    )
    frame_step: IntProperty(
        name="Step", description="Keep every n-th frame of the video", default=4, min=1, soft_max=48
    )
    surface: BoolProperty(
        name="Dense",
        description="Every visible pixel of the subjects carries the ID of its nearest point, "
        "not only a square around each point",
    )
    strength: FloatProperty(
        name="Strength",
        description="Strength of the trajectory control: 0 is the base model, 1 as trained",
        default=1.0,
        min=0.0,
        max=MAX_STRENGTH,
    )
    color_cue: BoolProperty(
        name="Colour Cue",
        description="Also give the engine the colours of the points' materials",
    )
    photo_colors: BoolProperty(
        name="Photo's Colours",
        description="Give the points the colours that the photo shows at them on the first frame, "
        "instead of their materials'",
    )

    engine: StringProperty(name="Engine", description="Program that renders the video", default="preview")
    prompt: StringProperty(
        name="Prompt", description="What the video shows, for engines that read it", maxlen=MAX_PROMPT
    )
    negative_prompt: StringProperty(
        name="Negative Prompt",
        description="What the video should not show, for engines that read it",
        maxlen=MAX_PROMPT,
    )
    steps: IntProperty(
        name="Steps",
        description="Denoising steps: more are slower and finer; 0 = as the model's authors had it",
        min=0,
        max=1000,
        soft_max=100,
    )
    guidance: FloatProperty(
        name="Guidance",
        description="How closely the prompt is followed; 0 = as the model's authors had it",
        min=0.0,
        max=100.0,
        soft_max=20.0,
    )
    model: PointerProperty(type=FlexTrajModelSettings)
    training: PointerProperty(type=FlexTrajTrainingSettings)
    seed: IntProperty(name="Seed", description="Same scene, settings and seed, same video", min=0)
    memory: EnumProperty(
        name="GPU Memory", description="How a model's weights share the GPU's memory", items=MEMORY_MODES
    )
    frames: IntProperty(
        name="Frames",
        description="Frames of the video",
        default=49,
        min=2,
        max=2000,
        soft_max=161,
    )
    frame_rate: FloatProperty(
        name="Frame Rate",
        description="Frames per second of the video, from the first frame of the range on; "
        "0 = the frames are spread evenly over the whole range",
        min=0.0,
        max=240.0,
    )
    frame_range: EnumProperty(name="Range", description="Which frames of the scene are used", items=RANGES)
    first_frame: IntProperty(name="First Frame", description="First scene frame of the shot", default=1)
    last_frame: IntProperty(name="Last Frame", description="Last scene frame of the shot", default=49)
    size: EnumProperty(name="Size", description="Size of the video", items=SIZES)
    width: IntProperty(
        name="Width", description="Width of the video", default=720, min=16, max=4096, subtype="PIXEL"
    )
    height: IntProperty(
        name="Height", description="Height of the video", default=480, min=16, max=4096, subtype="PIXEL"
    )
    file_id: StringProperty(
        name="File Identity", description="By which the file finds its jobs again", options={"HIDDEN"}
    )


class FlexTrajJobRow(bpy.types.PropertyGroup):
    """One row of the job list: a copy of what the worker thread reported."""

    key: StringProperty()
    title: StringProperty()
    stage: StringProperty()
    text: StringProperty()
    factor: FloatProperty(min=0.0, max=1.0)
    message: StringProperty()
    code: StringProperty()
    label: StringProperty()
    warnings: StringProperty()
    folder: StringProperty()
    video: StringProperty()
    thumbnail: StringProperty()
    file: StringProperty()
    origin: StringProperty()
    first_frame: FloatProperty()


class FlexTrajRuntime(bpy.types.PropertyGroup):
    """`WindowManager.flextraj`: what panels show of running work; made anew for every file."""

    overlay: PointerProperty(type=FlexTrajOverlaySettings, options={"SKIP_SAVE"})
    placement: PointerProperty(type=FlexTrajPlacementState, options={"SKIP_SAVE"})
    jobs: CollectionProperty(type=FlexTrajJobRow, options={"SKIP_SAVE"})
    job_index: IntProperty(name="Active Job", options={"SKIP_SAVE"})
    backend_phase: StringProperty(default="stopped", options={"SKIP_SAVE"})
    backend_text: StringProperty(options={"SKIP_SAVE"})
    backend_version: StringProperty(options={"SKIP_SAVE"})
    help_command: StringProperty(options={"SKIP_SAVE"})
    unsaved_jobs: IntProperty(options={"SKIP_SAVE"})
    error_text: StringProperty(options={"SKIP_SAVE"})
    error_code: StringProperty(options={"SKIP_SAVE"})
    error_job: StringProperty(options={"SKIP_SAVE"})
    is_sampling: BoolProperty(options={"SKIP_SAVE"})
    sampling_factor: FloatProperty(min=0.0, max=1.0, options={"SKIP_SAVE"})
    sampling_text: StringProperty(options={"SKIP_SAVE"})


_CLASSES = (
    *PLACEMENT_CLASSES,
    *MODEL_CLASSES,
    FlexTrajTrainingSettings,
    FlexTrajSubject,
    FlexTrajSettings,
    FlexTrajOverlaySettings,
    FlexTrajJobRow,
    FlexTrajRuntime,
)


def scene_settings(scene: bpy.types.Scene) -> FlexTrajSettings:
    """The shot's settings, typed."""
    return scene.flextraj  # pyright: ignore[reportAttributeAccessIssue]


def runtime_state() -> FlexTrajRuntime:
    """The run-time state, typed."""
    return bpy.context.window_manager.flextraj  # pyright: ignore[reportAttributeAccessIssue]


def register() -> None:
    forget_callbacks_at_exit(ADDON_ID)
    for cls in _CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.Scene.flextraj = PointerProperty(type=FlexTrajSettings)  # pyright: ignore[reportAttributeAccessIssue]
    bpy.types.WindowManager.flextraj = PointerProperty(  # pyright: ignore[reportAttributeAccessIssue]
        type=FlexTrajRuntime, options={"SKIP_SAVE"}
    )


def unregister() -> None:
    del bpy.types.WindowManager.flextraj  # pyright: ignore[reportAttributeAccessIssue]
    del bpy.types.Scene.flextraj  # pyright: ignore[reportAttributeAccessIssue]
    for cls in reversed(_CLASSES):
        bpy.utils.unregister_class(cls)
