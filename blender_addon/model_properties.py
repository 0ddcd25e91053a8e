"""Properties that only diffusion engines read, saved with the scene."""

# Blender reads the annotations of property groups as values, so they cannot be postponed nor type-checked.
# pyright: reportInvalidTypeForm=false

import bpy
from bpy.props import (
    CollectionProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    StringProperty,
)

from .core.model_options import (
    MAX_WINDOW_OVERLAP,
    AttentionBackend,
    CachePlace,
    CacheStorage,
    CompileMode,
    ConditionTokens,
    GuidanceSchedule,
    MemoryMode,
    SchedulerChoice,
    StepCache,
)

MEMORY_MODES = (
    (MemoryMode.AUTO.value, "Automatic", "The fastest way that fits the free GPU memory", 0),
    (MemoryMode.RESIDENT.value, "All on the GPU", "Fastest, and needs the most memory", 1),
    (MemoryMode.MODEL_OFFLOAD.value, "One Model at a Time", "Models wait in main memory for their turn", 2),
    (MemoryMode.GROUP_OFFLOAD.value, "Layer by Layer", "Layers wait in main memory for their turn", 3),
    (MemoryMode.FP8_WEIGHTS.value, "8-Bit Weights", "Layer by layer, with weights of half the size", 4),
    (MemoryMode.FP8_TILED.value, "Least Memory", "8-bit weights, and pictures decoded in tiles", 5),
)
_GUIDANCE_SCHEDULES = (
    (GuidanceSchedule.AUTHORS.value, "Authors'", "As in the published runs of the model", 0),
    (GuidanceSchedule.CONSTANT.value, "Constant", "The same guidance on every step", 1),
    (GuidanceSchedule.RAMP.value, "Ramp", "From none up to the guidance along a cosine", 2),
)
_SCHEDULERS = (
    (SchedulerChoice.AUTHORS.value, "Authors'", "The sampler of the published runs", 0),
    (SchedulerChoice.MODEL.value, "Base Model's", "The sampler that the base model's folder names", 1),
)
_CONDITION_TOKENS = (
    (ConditionTokens.ALL.value, "All", "Exact", 0),
    (
        ConditionTokens.OCCUPIED.value,
        "Occupied",
        "Only where there are points, and around: faster for sparse control, approximate",
        1,
    ),
)
_CACHE_STORAGES = (
    (CacheStorage.MODEL.value, "As Computed", "Exact", 0),
    (CacheStorage.BF16.value, "16 Bit", "Half the memory of 32 bit, nearly exact", 1),
    (CacheStorage.FP8.value, "8 Bit", "Half the memory of 16 bit, approximate", 2),
)
_CACHE_PLACES = (
    (CachePlace.AUTO.value, "Automatic", "On the GPU where it fits", 0),
    (CachePlace.DEVICE.value, "GPU", "Fastest", 1),
    (CachePlace.HOST.value, "Main Memory", "Saves GPU memory", 2),
)
_STEP_CACHES = (
    (StepCache.NONE.value, "None", "Exact", 0),
    (StepCache.FIRST_BLOCK.value, "First Block", "Skip a step where its first block hardly changes", 1),
    (StepCache.MAG.value, "Magnitude", "Skip a step where the outputs' magnitude hardly changes", 2),
    (StepCache.PYRAMID.value, "Pyramid Attention", "Reuse attention for some steps", 3),
    (StepCache.FASTER.value, "Faster", "Reuse attention and the guidance's half for some steps", 4),
    (StepCache.TAYLOR.value, "Taylor", "Predict the layers of some steps from earlier ones", 5),
)
_COMPILE_MODES = (
    (CompileMode.NONE.value, "None", "The first step starts at once", 0),
    (CompileMode.REGIONAL.value, "Layers", "Compile before the first step, for faster steps after it", 1),
)
_ATTENTION_BACKENDS = (
    (AttentionBackend.AUTO.value, "Automatic", "The fastest exact one that is installed", 0),
    (AttentionBackend.NATIVE.value, "PyTorch", "PyTorch's own", 1),
    (AttentionBackend.CUDNN.value, "cuDNN", "NVIDIA's cuDNN", 2),
    (AttentionBackend.FLASH.value, "Flash 2", "The package flash-attn", 3),
    (AttentionBackend.FLASH_3.value, "Flash 3", "Flash attention 3, for Hopper GPUs", 4),
    (AttentionBackend.SAGE.value, "Sage", "The package sageattention: 8 bit, approximate", 5),
    (AttentionBackend.XFORMERS.value, "xFormers", "The package xformers", 6),
)


class FlexTrajLora(bpy.types.PropertyGroup):
    """One row of the list of LoRAs; `name` is the file without '.safetensors'."""

    name: StringProperty(
        name="LoRA", description="File in the weights folder's 'loras', without '.safetensors'", maxlen=100
    )
    scale: FloatProperty(
        name="Scale", description="How strongly it acts", default=1.0, min=-4.0, max=4.0, soft_min=0.0
    )


class FlexTrajModelSettings(bpy.types.PropertyGroup):
    """`Scene.flextraj.model`: how a diffusion engine runs; the defaults give the authors' result."""

    guidance_schedule: EnumProperty(
        name="Schedule",
        description="How the guidance runs over the steps",
        items=_GUIDANCE_SCHEDULES,
    )
    scheduler: EnumProperty(name="Sampler", description="Which sampler runs the denoising", items=_SCHEDULERS)
    step_cache: EnumProperty(
        name="Step Cache",
        description="Reuse what hardly changes between denoising steps: faster, approximate",
        items=_STEP_CACHES,
    )
    attention: EnumProperty(
        name="Attention", description="Which attention kernels run", items=_ATTENTION_BACKENDS
    )
    compile: EnumProperty(
        name="Compile", description="What is compiled before the first step", items=_COMPILE_MODES
    )
    condition_tokens: EnumProperty(
        name="Tokens",
        description="Which condition tokens the model reads, that is, which parts of the control",
        items=_CONDITION_TOKENS,
    )
    cache_storage: EnumProperty(
        name="Control Cache", description="Number format of the cached control", items=_CACHE_STORAGES
    )
    cache_place: EnumProperty(
        name="Cache Place",
        description="Where the cached control waits between the steps",
        items=_CACHE_PLACES,
    )
    window_overlap: IntProperty(
        name="Window Overlap",
        description="Frames that neighbouring windows of a shot share that is longer than the model's clip",
        default=8,
        min=1,
        max=MAX_WINDOW_OVERLAP,
    )
    loras: CollectionProperty(type=FlexTrajLora)
    lora_index: IntProperty(name="Active LoRA", min=0)


MODEL_CLASSES = (FlexTrajLora, FlexTrajModelSettings)
