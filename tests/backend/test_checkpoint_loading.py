"""Control files in a transformer: loading, replacing, saving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from control_files import (
    GOLDEN_DIR,
    WIDTH,
    control_arrays,
    golden_config,
    golden_control,
    write_arrays,
)
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXTransformer3DModel
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.checkpoint import (
    Adapter,
    SavedPrecision,
    adapter_of,
    adapter_summary,
    load_adapter,
    read_adapter,
    save_adapter,
    write_adapter,
)
from flextraj_backend.models.checkpoint_names import authors_name, control_shapes
from flextraj_backend.models.cogvideox_transformer import FlexTrajCogVideoXTransformer
from flextraj_backend.models.condition import ConditionLatents
from flextraj_backend.models.injection import FlexTrajMixin
from flextraj_backend.models.real_configs import RELEASED
from flextraj_backend.models.streams import CONDITION_ADAPTER
from flextraj_backend.models.wan_transformer import FlexTrajWanTransformer

BACKBONES = list(Backbone)
STOCK = {Backbone.COGVIDEOX: CogVideoXTransformer3DModel, Backbone.WAN: WanTransformer3DModel}
CLASSES: dict[Backbone, type[FlexTrajMixin]] = {
    Backbone.COGVIDEOX: FlexTrajCogVideoXTransformer,
    Backbone.WAN: FlexTrajWanTransformer,
}
BLOCKS = {Backbone.COGVIDEOX: "transformer_blocks", Backbone.WAN: "blocks"}


def transformer_of(config: dict[str, Any], backbone: Backbone, device: str = "cpu") -> FlexTrajMixin:
    arguments = {key: value for key, value in config.items() if not key.startswith("_")}
    with torch.device(device):
        return CLASSES[backbone].adopt(STOCK[backbone](**arguments))


def tiny(backbone: Backbone) -> FlexTrajMixin:
    return transformer_of(golden_config(backbone), backbone)


def state(transformer: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in transformer.state_dict().items()}


def assert_same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        assert torch.equal(tensor, right[name]), name


def golden_arrays(backbone: Backbone) -> dict[str, torch.Tensor]:
    with np.load(GOLDEN_DIR / f"{backbone}_tiny.npz") as arrays:
        return {name: torch.from_numpy(array) for name, array in arrays.items() if array.ndim}


def cogvideox_inputs(golden: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Arguments of the prediction `out_t1`."""
    return {
        "hidden_states": torch.cat([golden["noisy_t1"], golden["image_latents"]], dim=2),
        "encoder_hidden_states": golden["text"],
        "timestep": golden["timesteps"][:1],
        "image_rotary_emb": (golden["rope_cos"], golden["rope_sin"]),
        "return_dict": False,
    }


def parameters_of(transformer: FlexTrajMixin) -> dict[str, torch.Tensor]:
    """What a forward pass would read, by its name in the transformer without the adapter's."""
    return {
        name.replace(f".{CONDITION_ADAPTER}.", "."): parameter
        for name, parameter in transformer.named_parameters()
        if f".{CONDITION_ADAPTER}." in name or "fuse_linear" in name
    }


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_authors_file_arrives_in_the_transformer_value_for_value(
    backbone: Backbone, dtype: torch.dtype
) -> None:
    transformer = tiny(backbone)
    transformer.to(dtype)  # pyright: ignore[reportArgumentType] (diffusers wraps it)
    summary = load_adapter(transformer, golden_control(backbone))
    assert (summary.rank, summary.alpha, summary.backbone) == (4, 4.0, backbone)
    stored = load_file(golden_control(backbone))
    placed = parameters_of(transformer)
    assert len(placed) == len(stored)
    for name, parameter in placed.items():
        expected = stored[authors_name(backbone, name)]
        assert torch.equal(parameter, expected.to(parameter.dtype)), name
    assert placed["fuse_linear.weight"].dtype == dtype


@pytest.mark.parametrize("backbone", BACKBONES)
def test_reading_gives_every_tensor_in_its_own_number_format(backbone: Backbone) -> None:
    adapter = read_adapter(golden_control(backbone))
    assert adapter.tensors.keys() == control_shapes(backbone, 2, WIDTH[backbone], 4).keys()
    assert {tensor.dtype for tensor in adapter.tensors.values()} == {torch.float32}
    assert any("text keys and values" in note for note in adapter.notes) == (backbone is Backbone.WAN)


@pytest.mark.parametrize(("backbone", "count"), [(Backbone.COGVIDEOX, 338), (Backbone.WAN, 482)])
def test_a_full_size_control_fits_the_real_model(tmp_path: Path, backbone: Backbone, count: int) -> None:
    shape = RELEASED[backbone]
    generator = torch.Generator().manual_seed(0)
    tensors = {
        authors_name(backbone, name): torch.randn(size, generator=generator).to(torch.bfloat16)
        for name, size in control_shapes(backbone, shape.layers, shape.hidden_size, rank=1).items()
    }
    assert len(tensors) == count
    path = tmp_path / "control.safetensors"
    save_file(tensors, path)
    transformer = transformer_of(dict(shape.config), backbone, "meta")
    summary = load_adapter(transformer, path)
    assert (summary.tensors, summary.layers, summary.width) == (count, shape.layers, 3072)
    placed = parameters_of(transformer)
    assert len(placed) == count
    for name, parameter in placed.items():
        assert torch.equal(parameter, tensors[authors_name(backbone, name)].to(parameter.dtype)), name
    assert all(p.is_meta for name, p in transformer.named_parameters() if name.endswith("base_layer.weight"))
    trainable = {name for name, parameter in transformer.named_parameters() if parameter.requires_grad}
    assert trainable == {name for name, _ in transformer.trainable_parameters()}


def style_lora(transformer: FlexTrajMixin, name: str) -> None:
    targets = r".*attn1\.(to_q|to_out\.0)|.*(ffn|ff)\.net\.2"
    transformer.add_adapter(
        LoraConfig(r=2, lora_alpha=3, target_modules=targets, init_lora_weights=False), name
    )


def style_tensors(transformer: FlexTrajMixin) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in state(transformer).items() if ".style" in name}


def active(transformer: FlexTrajMixin) -> list[tuple[list[str], dict[str, float]]]:
    """The adapters that the main stream reads and their scales, layer by layer."""
    layers: list[Any] = [module for module in transformer.modules() if isinstance(module, LoraLayer)]
    return [
        (
            sorted(layer.active_adapters),
            {name: scale for name, scale in layer.scaling.items() if name != CONDITION_ADAPTER},
        )
        for layer in layers
        if "style" in layer.lora_A
    ]


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("names", [["style"], ["style", "style_fast"], ["style_fast"]])
@pytest.mark.filterwarnings("ignore:Already found a `peft_config`")
def test_a_second_control_replaces_the_first_and_leaves_other_loras_alone(
    tmp_path: Path, backbone: Backbone, names: list[str]
) -> None:
    transformer = tiny(backbone)
    base = state(transformer)
    for name in ("style", "style_fast"):
        style_lora(transformer, name)
    transformer.set_adapters(names, [0.25 * (place + 1) for place, _ in enumerate(names)])
    before, active_before = style_tensors(transformer), active(transformer)
    for rank, seed in ((4, 1), (4, 2), (7, 3), (2, 4)):
        path = tmp_path / f"{seed}.safetensors"
        arrays = control_arrays(backbone, rank=rank, seed=seed)
        load_adapter(transformer, write_arrays(path, arrays, {"alpha": str(rank / 2)}))
        placed = parameters_of(transformer)
        assert placed.keys() == control_shapes(backbone, 2, WIDTH[backbone], rank).keys()
        for name, parameter in placed.items():
            assert np.array_equal(parameter.detach().numpy(), arrays[authors_name(backbone, name)])
        assert adapter_of(transformer).alpha == rank / 2
        assert_same(style_tensors(transformer), before)
        assert active(transformer) == active_before
    now = state(transformer)
    for name, tensor in base.items():
        kept = now.get(name)
        if kept is None:
            module, _, end = name.rpartition(".")
            kept = now[f"{module}.base_layer.{end}"]
        assert torch.equal(kept, tensor)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_control_of_the_same_rank_keeps_the_parameters_that_an_optimizer_holds(
    tmp_path: Path, backbone: Backbone
) -> None:
    transformer = tiny(backbone)
    load_adapter(transformer, golden_control(backbone))
    held = [id(parameter) for _, parameter in transformer.trainable_parameters()]
    path = write_arrays(tmp_path / "c.safetensors", control_arrays(backbone, seed=5))
    load_adapter(transformer, path)
    assert [id(parameter) for _, parameter in transformer.trainable_parameters()] == held


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("has_control", ["without a control", "with a control"])
def test_a_file_that_does_not_fit_leaves_the_transformer_as_it_was(
    tmp_path: Path, backbone: Backbone, has_control: str
) -> None:
    transformer = tiny(backbone)
    if has_control == "with a control":
        load_adapter(transformer, golden_control(backbone))
    before = state(transformer)
    other = Backbone.WAN if backbone is Backbone.COGVIDEOX else Backbone.COGVIDEOX
    short = write_arrays(tmp_path / "short.safetensors", control_arrays(backbone, layers=1))
    wide = write_arrays(tmp_path / "wide.safetensors", control_arrays(backbone, width=24))
    broken = control_arrays(backbone, rank=3)
    next(iter(broken.values()))[0, 0] = np.nan
    nan = write_arrays(tmp_path / "nan.safetensors", broken)
    for path, words in (
        (golden_control(other), f"engine {other}"),
        (short, "missing"),
        (wide, "of a wrong shape"),
        (nan, "not numbers"),
        (GOLDEN_DIR / f"{backbone}_tiny.safetensors", "no control file"),
    ):
        with pytest.raises(FlexTrajError, match=words) as caught:
            load_adapter(transformer, path)
        assert caught.value.code is ErrorCode.WEIGHTS
        assert_same(state(transformer), before)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_authors_file_gives_the_authors_numbers(backbone: Backbone) -> None:
    transformer = tiny(backbone)
    transformer.load_state_dict(load_file(GOLDEN_DIR / f"{backbone}_tiny.safetensors"))
    load_adapter(transformer, golden_control(backbone))
    golden = golden_arrays(backbone)
    latents = ConditionLatents(golden["id_latents"], golden["color_latents"])
    if backbone is Backbone.COGVIDEOX:
        inputs = cogvideox_inputs(golden)
    else:
        inputs = {
            "hidden_states": golden["latents_t1"],
            "timestep": golden["token_timesteps_t1"].unsqueeze(0),
            "encoder_hidden_states": golden["text"],
            "return_dict": False,
        }
    with torch.no_grad():
        out = transformer(**inputs, condition=latents)[0]
    assert (out - golden["out_t1"]).abs().max() < 1e-5


def test_a_condition_of_the_old_control_is_not_read_with_the_new_one(tmp_path: Path) -> None:
    transformer = tiny(Backbone.COGVIDEOX)
    assert isinstance(transformer, FlexTrajCogVideoXTransformer)
    load_adapter(transformer, golden_control(Backbone.COGVIDEOX))
    golden = golden_arrays(Backbone.COGVIDEOX)
    latents = ConditionLatents(golden["id_latents"], golden["color_latents"])
    inputs = cogvideox_inputs(golden)
    rope = inputs["image_rotary_emb"]
    with torch.no_grad():
        base = transformer(**inputs)[0]
        for seed, rank in ((1, 4), (2, 6)):
            transformer.use_condition(transformer.encode_condition(latents, image_rotary_emb=rope))
            assert not torch.equal(transformer(**inputs)[0], base)
            arrays = control_arrays(Backbone.COGVIDEOX, rank=rank, seed=seed)
            load_adapter(transformer, write_arrays(tmp_path / f"{seed}.safetensors", arrays))
            assert torch.equal(transformer(**inputs)[0], base)


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("precision", list(SavedPrecision))
def test_a_saved_control_is_the_authors_format_and_comes_back(
    tmp_path: Path, backbone: Backbone, precision: SavedPrecision
) -> None:
    transformer = tiny(backbone)
    load_adapter(transformer, golden_control(backbone))
    path = save_adapter(transformer, tmp_path / "ours.safetensors", precision)
    golden, saved = load_file(golden_control(backbone)), load_file(path)
    assert saved.keys() == golden.keys()
    for name, tensor in saved.items():
        assert tensor.dtype == precision.dtype
        assert torch.equal(tensor, golden[name].to(precision.dtype)), name
    summary = adapter_summary(path)
    assert (summary.rank, summary.alpha, summary.backbone) == (4, 4.0, backbone)
    assert summary.version is not None
    again = tiny(backbone)
    load_adapter(again, path)
    for name, parameter in parameters_of(again).items():
        assert torch.equal(parameter, saved[authors_name(backbone, name)].float())


def test_alpha_and_rank_survive_saving(tmp_path: Path) -> None:
    transformer = tiny(Backbone.WAN).add_control(6, 2.5)
    path = save_adapter(transformer, tmp_path / "a.safetensors")
    assert (adapter_summary(path).rank, adapter_summary(path).alpha) == (6, 2.5)
    other = tiny(Backbone.WAN)
    load_adapter(other, path)
    assert (adapter_of(other).rank, adapter_of(other).alpha) == (6, 2.5)


def test_a_saved_cogvideox_control_loads_with_diffusers_own_loader(tmp_path: Path) -> None:
    transformer = tiny(Backbone.COGVIDEOX)
    load_adapter(transformer, golden_control(Backbone.COGVIDEOX))
    saved = load_file(save_adapter(transformer, tmp_path / "ours.safetensors", SavedPrecision.FLOAT32))
    lora = {name: tensor for name, tensor in saved.items() if "fuse_linear" not in name}
    config = {k: v for k, v in golden_config(Backbone.COGVIDEOX).items() if not k.startswith("_")}
    stock = CogVideoXTransformer3DModel(**config)
    stock.load_lora_adapter(lora, prefix="transformer", adapter_name="theirs")
    theirs = {n.replace(".theirs.", "."): p for n, p in stock.named_parameters() if ".theirs." in n}
    ours = {n: p for n, p in parameters_of(transformer).items() if "fuse_linear" not in n}
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)


def test_a_control_with_values_that_are_not_finite_is_not_saved_over_a_good_one(tmp_path: Path) -> None:
    transformer = tiny(Backbone.COGVIDEOX)
    load_adapter(transformer, golden_control(Backbone.COGVIDEOX))
    path = save_adapter(transformer, tmp_path / "good.safetensors")
    good = path.read_bytes()
    with torch.no_grad():
        transformer.fuse_linear.bias[3] = float("nan")
    with pytest.raises(FlexTrajError, match=r"transformer\.fuse_linear\.bias.*diverged"):
        save_adapter(transformer, path)
    assert path.read_bytes() == good
    assert list(tmp_path.iterdir()) == [path]


def test_saving_to_a_bad_place_is_a_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    adapter = read_adapter(golden_control(Backbone.WAN))
    with pytest.raises(FlexTrajError, match=r"must end in \.safetensors"):
        write_adapter(adapter, tmp_path / "control.pt")
    with pytest.raises(FlexTrajError, match="cannot be written"):
        write_adapter(adapter, tmp_path / "no folder" / "control.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_saving_a_transformer_without_a_control_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="add_control"):
        save_adapter(tiny(Backbone.WAN), tmp_path / "c.safetensors")


def test_a_control_that_was_read_outlives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "control.safetensors"
    path.write_bytes(golden_control(Backbone.WAN).read_bytes())
    adapter = read_adapter(path)
    content = path.read_bytes()
    with path.open("r+b") as file:
        file.write(b"\0" * len(content))
    expected = load_file(golden_control(Backbone.WAN))
    for name, tensor in adapter.tensors.items():
        assert torch.equal(tensor, expected[authors_name(Backbone.WAN, name)])


@pytest.mark.parametrize("backbone", BACKBONES)
def test_feed_forward_lora_is_left_out_when_loading(tmp_path: Path, backbone: Backbone) -> None:
    arrays = control_arrays(Backbone.WAN)
    arrays["blocks.0.ffn.0.lora_A.weight"] = np.ones((4, 40), np.float32)
    path = write_arrays(tmp_path / "ffn.safetensors", arrays)
    if backbone is Backbone.WAN:
        transformer = tiny(backbone)
        assert "feed-forward" in load_adapter(transformer, path).notes[-1]
        assert parameters_of(transformer).keys() == control_shapes(backbone, 2, 40, 4).keys()
        return
    arrays = control_arrays(backbone) | {
        "transformer.transformer_blocks.0.ff.net.2.lora_A.weight": np.ones((4, 32), np.float32)
    }
    with pytest.raises(FlexTrajError, match="1 tensor unknown"):
        load_adapter(tiny(backbone), write_arrays(path, arrays))


def test_metadata_say_what_wrote_the_file(tmp_path: Path) -> None:
    adapter = read_adapter(golden_control(Backbone.WAN))
    own = Adapter(adapter.backbone, adapter.rank, 2.0, adapter.tensors)
    with safe_open(write_adapter(own, tmp_path / "c.safetensors"), "pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "pt" and metadata["backbone"] == "wan"
    assert (metadata["rank"], float(metadata["alpha"])) == ("4", 2.0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_control_loads_into_a_transformer_on_the_gpu(tmp_path: Path, backbone: Backbone) -> None:
    transformer = tiny(backbone)
    transformer.to("cuda", torch.bfloat16)  # pyright: ignore[reportArgumentType] (diffusers wraps it)
    load_adapter(transformer, golden_control(backbone))
    assert {parameter.device.type for parameter in parameters_of(transformer).values()} == {"cuda"}
    saved = load_file(save_adapter(transformer, tmp_path / "c.safetensors"))
    golden = load_file(golden_control(backbone))
    assert all(torch.equal(saved[name], golden[name].to(torch.bfloat16)) for name in golden)
