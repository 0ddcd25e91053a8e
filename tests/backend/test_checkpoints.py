"""Control files without torch: names, strict checks, notes, `flextraj checkpoint`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from control_files import (
    WIDTH,
    control_arrays,
    golden_config,
    golden_control,
    refusal,
    tiny_base,
    write_arrays,
    write_raw,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blender_addon.core.errors import FlexTrajError
from flextraj_backend.cli import main
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.checkpoint_layout import PUBLISHED_SHAPES, BaseShape, base_shape, control_layout
from flextraj_backend.models.checkpoint_names import TensorRole, authors_name, control_shapes, parse_name
from flextraj_backend.models.checkpoint_summary import FuseState, adapter_summary, check_adapter
from flextraj_backend.models.safetensors_header import is_finite, read_header

BACKBONES = list(Backbone)
COG_QUERY = "transformer.transformer_blocks.0.attn1.to_q.lora_A.weight"
WAN_QUERY = "blocks.0.self_attn.q.lora_A.weight"
QUERY = {Backbone.COGVIDEOX: COG_QUERY, Backbone.WAN: WAN_QUERY}
FUSE = {Backbone.COGVIDEOX: "transformer.fuse_linear.weight", Backbone.WAN: "fuse_linear.weight"}


# Names


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_authors_files_have_exactly_the_names_and_shapes_that_are_asked_for(backbone: Backbone) -> None:
    header = read_header(golden_control(backbone))
    shapes = control_shapes(backbone, layers=2, width=WIDTH[backbone], rank=4)
    expected = {authors_name(backbone, name): shape for name, shape in shapes.items()}
    assert {name: tensor.shape for name, tensor in header.tensors.items()} == expected


@pytest.mark.parametrize(("backbone", "count"), [(Backbone.COGVIDEOX, 338), (Backbone.WAN, 482)])
def test_a_published_control_has_as_many_tensors_as_the_authors_code_reads(
    backbone: Backbone, count: int
) -> None:
    base = PUBLISHED_SHAPES[backbone]
    assert base.width == 3072
    assert len(control_shapes(backbone, base.layers, base.width, rank=128)) == count


PREFIXES = ("", "pipe.dit.", "dit.", "transformer.", "diffusion_model.", "base_model.model.", "module.")


@given(
    backbone=st.sampled_from(BACKBONES),
    layers=st.integers(1, 60),
    rank=st.integers(1, 256),
    prefix=st.sampled_from(PREFIXES),
    adapter=st.sampled_from(("", ".default")),
    data=st.data(),
)
def test_a_name_in_any_spelling_leads_to_its_tensor_and_back(
    backbone: Backbone, layers: int, rank: int, prefix: str, adapter: str, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(control_shapes(backbone, layers, 16, rank))))
    for spelling in (name, authors_name(backbone, name)):
        if "lora" in name:
            spelling = spelling.removesuffix(".weight") + adapter + ".weight"
        parsed = parse_name(prefix + spelling)
        assert parsed is not None and parsed.name == name
        assert parsed.backbone in (backbone, None) and (parsed.backbone is None) == (
            parsed.role is TensorRole.FUSE
        )
    assert parse_name(authors_name(backbone, name)) == parse_name(name)


@given(
    backbone=st.sampled_from(BACKBONES),
    layers=st.integers(1, 3),
    width=st.integers(1, 9),
    rank=st.integers(1, 9),
    prefix=st.sampled_from(PREFIXES),
    adapter=st.sampled_from(("", ".default")),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
def test_a_control_of_any_rank_depth_and_prefix_is_understood(
    tmp_path: Path, backbone: Backbone, layers: int, width: int, rank: int, prefix: str, adapter: str
) -> None:
    arrays = control_arrays(backbone, layers=layers, width=width, rank=rank)
    renamed = {
        prefix + (name.removesuffix(".weight") + adapter + ".weight" if "lora" in name else name): array
        for name, array in arrays.items()
    }
    path = write_arrays(tmp_path / "control.safetensors", renamed)
    layout = control_layout(read_header(path), BaseShape(backbone, layers, width))
    assert (layout.rank, layout.alpha) == (rank, rank)
    assert layout.stored_names.keys() == control_shapes(backbone, layers, width, rank).keys()
    assert layout == control_layout(read_header(path))


@pytest.mark.parametrize(
    "name",
    [
        "blocks.01.self_attn.q.lora_A.weight",
        "blocks.٣.self_attn.q.lora_A.weight",
        "blocks.0.self_attn.to_q.lora_A.weight",
        "blocks.0.self_attn.q.lora_A.weight\n",
        "blocks.0.self_attn.q.lora_C.weight",
        "blocks.0.self_attn.q.lora_A.other.weight",
        "blocks.0.self_attn.q.alpha",
        "transformer_blocks.0.attn2.to_q.lora_A.weight",
        "transformer_blocks.0.ff.net.2.lora_A.weight",
        "evil.blocks.0.self_attn.q.lora_A.weight",
        "fuse_linear.scale",
        "",
    ],
)
def test_a_name_that_only_resembles_a_controls_is_not_taken_for_one(name: str) -> None:
    assert parse_name(name) is None


def test_a_tensor_of_the_other_model_is_never_written() -> None:
    for backbone, name in (
        (Backbone.COGVIDEOX, "blocks.0.attn1.to_q.lora_A.weight"),
        (Backbone.WAN, "transformer_blocks.0.attn1.to_q.lora_A.weight"),
        (Backbone.WAN, "blocks.0.ffn.net.2.lora_A.weight"),
        (Backbone.WAN, "blocks.0.self_attn.q.lora_A.weight"),
        (Backbone.WAN, "patch_embedding.weight"),
    ):
        with pytest.raises(ValueError, match="no tensor"):
            authors_name(backbone, name)


# What does not fit


@pytest.mark.parametrize("backbone", BACKBONES)
def test_missing_unknown_and_wrong_tensors_are_named_in_one_sentence(
    tmp_path: Path, backbone: Backbone
) -> None:
    arrays = control_arrays(backbone)
    del arrays[QUERY[backbone]]
    arrays["transformer.surprise.weight"] = np.zeros(3, np.float32)
    arrays[FUSE[backbone]] = np.zeros((3, 5), np.float32)
    path = write_arrays(tmp_path / "odd.safetensors", arrays)
    for base in (None, tiny_base(backbone)):
        sentence = refusal(path, base)
        assert f"1 tensor missing: {QUERY[backbone]}" in sentence
        assert "1 tensor unknown: transformer.surprise.weight" in sentence
        width = WIDTH[backbone]
        assert f"{FUSE[backbone]} (3, 5) instead of ({width}, {width})" in sentence


@pytest.mark.parametrize("backbone", BACKBONES)
def test_many_missing_tensors_are_counted_not_listed(tmp_path: Path, backbone: Backbone) -> None:
    path = write_arrays(tmp_path / "short.safetensors", control_arrays(backbone, layers=1))
    sentence = refusal(path, tiny_base(backbone))
    per_layer = {Backbone.COGVIDEOX: 8, Backbone.WAN: 16}[backbone]
    assert f"{per_layer} tensors missing" in sentence and f"and {per_layer - 3} more" in sentence
    assert len(sentence) < 600
    assert "unknown" in refusal(
        write_arrays(tmp_path / "long.safetensors", control_arrays(backbone, layers=3)), tiny_base(backbone)
    )


def test_a_control_of_a_wider_model_is_refused_with_both_shapes(tmp_path: Path) -> None:
    path = write_arrays(tmp_path / "wide.safetensors", control_arrays(Backbone.WAN, width=48))
    sentence = refusal(path, tiny_base(Backbone.WAN))
    assert "(4, 48) instead of (4, 40)" in sentence and "Wan2.2-TI2V-5B" in sentence


@pytest.mark.parametrize(("of", "other"), [BACKBONES, BACKBONES[::-1]])
def test_the_other_models_control_is_sent_to_its_engine(of: Backbone, other: Backbone) -> None:
    sentence = refusal(golden_control(of), tiny_base(other))
    assert f"use it with the engine {of}" in sentence


def test_a_style_lora_is_sent_to_the_loras(tmp_path: Path) -> None:
    arrays = {name: array for name, array in control_arrays(Backbone.WAN).items() if "lora" in name}
    for names in (arrays, {"lora_unet_blocks_0_self_attn_q.lora_down.weight": np.zeros((4, 40), np.float32)}):
        sentence = refusal(write_arrays(tmp_path / "style.safetensors", names))
        assert "plain LoRA" in sentence and "loras" in sentence


def test_base_weights_are_no_control() -> None:
    sentence = refusal(golden_control(Backbone.WAN).with_name("wan_tiny.safetensors"))
    assert "no control file" in sentence and "flextraj_wan.safetensors" in sentence


def test_a_lone_fuse_layer_and_a_mixture_of_two_models_are_refused(tmp_path: Path) -> None:
    cog, wan = control_arrays(Backbone.COGVIDEOX), control_arrays(Backbone.WAN)
    fuse = {name: array for name, array in wan.items() if "fuse" in name}
    assert "no LoRA of the attention" in refusal(write_arrays(tmp_path / "fuse.safetensors", fuse))
    mixed = wan | {name: array for name, array in cog.items() if "lora" in name}
    assert "two models" in refusal(write_arrays(tmp_path / "mixed.safetensors", mixed))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_ranks_that_differ_between_tensors_are_refused(tmp_path: Path, backbone: Backbone) -> None:
    arrays = control_arrays(backbone)
    other = QUERY[backbone]
    arrays[other] = np.zeros((8, WIDTH[backbone]), np.float32)
    arrays[other.replace("lora_A", "lora_B")] = np.zeros((WIDTH[backbone], 8), np.float32)
    sentence = refusal(write_arrays(tmp_path / "ranks.safetensors", arrays))
    assert f"mixes LoRA ranks (4 in most tensors; 8 in {other}" in sentence


def test_a_transposed_or_flat_lora_is_a_wrong_shape(tmp_path: Path) -> None:
    arrays = control_arrays(Backbone.WAN)
    arrays[WAN_QUERY] = arrays[WAN_QUERY].T.copy()
    assert f"{WAN_QUERY} (40, 4) instead of (4, 40)" in refusal(
        write_arrays(tmp_path / "turned.safetensors", arrays)
    )
    flat = {name: array.ravel() for name, array in arrays.items()}
    assert "(rank, width)" in refusal(write_arrays(tmp_path / "flat.safetensors", flat))


def test_one_tensor_under_two_names_is_refused(tmp_path: Path) -> None:
    arrays = control_arrays(Backbone.WAN)
    arrays[f"pipe.dit.{WAN_QUERY}"] = arrays[WAN_QUERY]
    assert "twice" in refusal(write_arrays(tmp_path / "twice.safetensors", arrays))


def test_whole_numbers_are_no_weights(tmp_path: Path) -> None:
    arrays = control_arrays(Backbone.WAN) | {WAN_QUERY: np.zeros((4, 40), np.int8)}
    assert f"stores {WAN_QUERY} as I8" in refusal(write_arrays(tmp_path / "whole.safetensors", arrays))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, dtype: type, value: float) -> None:
    arrays = {name: array.astype(dtype) for name, array in control_arrays(Backbone.COGVIDEOX).items()}
    path = tmp_path / "control.safetensors"
    check_adapter(write_arrays(path, arrays), tiny_base(Backbone.COGVIDEOX))
    arrays[FUSE[Backbone.COGVIDEOX]][-1, -1] = value
    sentence = refusal(write_arrays(path, arrays), tiny_base(Backbone.COGVIDEOX))
    assert FUSE[Backbone.COGVIDEOX] in sentence and "not numbers" in sentence


@pytest.mark.parametrize(
    ("bits", "finite"), [(0x7F7F, True), (0xFF7F, True), (0x7F80, False), (0xFF80, False), (0x7FC1, False)]
)
def test_bfloat16_is_finite_up_to_its_largest_number(tmp_path: Path, bits: int, finite: bool) -> None:
    header = {"x": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}}
    data = np.array([0, bits, 0x3F80], "<u2").tobytes()
    assert is_finite(read_header(write_raw(tmp_path / "x.safetensors", header, data)), "x") is finite


# What is explained


def test_the_unused_lora_of_wans_text_is_kept_and_explained() -> None:
    header = read_header(golden_control(Backbone.WAN))
    layout = control_layout(header)
    assert len(layout.without_effect) == 8 and set(layout.without_effect) < set(layout.stored_names.values())
    assert all(".cross_attn.k." in name or ".cross_attn.v." in name for name in layout.without_effect)
    notes = " ".join(adapter_summary(header.path).notes)
    assert "8 tensors (blocks.0.cross_attn.k.lora_A.weight" in notes
    assert "have no effect: the text keys and values never use it" in notes


@pytest.mark.parametrize("spelling", [("ffn.0", "ffn.2"), ("ffn.net.0.proj", "ffn.net.2")])
def test_lora_on_wans_feed_forward_is_left_out_and_explained(
    tmp_path: Path, spelling: tuple[str, str]
) -> None:
    arrays = control_arrays(Backbone.WAN)
    names = {
        f"blocks.{layer}.{module}.lora_{side}.weight"
        for layer in (0, 1)
        for module in spelling
        for side in "AB"
    }
    path = write_arrays(
        tmp_path / "ffn.safetensors", arrays | {name: np.zeros((7, 9), np.float32) for name in names}
    )
    layout = control_layout(read_header(path), tiny_base(Backbone.WAN))
    assert set(layout.dropped) == names and layout.rank == 4
    assert not names & set(layout.stored_names.values())
    assert (
        "8 tensors" in adapter_summary(path).notes[-1]
        and "authors' loader ignores" in adapter_summary(path).notes[-1]
    )


@pytest.mark.parametrize(
    ("metadata", "alpha"),
    [
        ({}, 4.0),
        ({"format": "pt"}, 4.0),
        ({"rank": "4", "alpha": "2.0"}, 2.0),
        ({"lora_adapter_metadata": json.dumps({"transformer.r": 4, "transformer.lora_alpha": 8})}, 8.0),
    ],
)
def test_alpha_is_the_stored_one_or_else_the_rank(
    tmp_path: Path, metadata: dict[str, str], alpha: float
) -> None:
    path = write_arrays(tmp_path / "a.safetensors", control_arrays(Backbone.COGVIDEOX), metadata)
    summary = adapter_summary(path)
    assert (summary.alpha, summary.scaling) == (alpha, alpha / 4)
    assert any("authors' own code would apply it with 1" in note for note in summary.notes) == (alpha != 4)


@pytest.mark.parametrize(
    "metadata",
    [
        {"rank": "8"},
        {"rank": "four"},
        {"alpha": "nan"},
        {"alpha": "-4"},
        {"alpha": "1e999"},
        {"lora_adapter_metadata": "{"},
        {"lora_adapter_metadata": "[]"},
        {"lora_adapter_metadata": '{"transformer.lora_alpha": {}}'},
    ],
)
def test_metadata_that_contradict_the_tensors_are_refused(tmp_path: Path, metadata: dict[str, str]) -> None:
    path = write_arrays(tmp_path / "a.safetensors", control_arrays(Backbone.COGVIDEOX), metadata)
    assert "metadata that contradict" in refusal(path)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_an_untrained_fuse_layer_is_told(tmp_path: Path, backbone: Backbone) -> None:
    arrays = control_arrays(backbone)
    for name in arrays:
        if "fuse" in name:
            arrays[name] = np.full_like(arrays[name], -0.0)
    summary = adapter_summary(write_arrays(tmp_path / "zero.safetensors", arrays))
    assert summary.fuse is FuseState.ZERO and "colour video has no effect" in summary.notes[-1]
    fuse = next(name for name in arrays if name.endswith("fuse_linear.bias"))
    arrays[fuse][-1] = 1e-30
    assert adapter_summary(write_arrays(tmp_path / "one.safetensors", arrays)).fuse is FuseState.TRAINED


# The base model's folder


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_base_models_folder_or_its_transformer_can_be_given(tmp_path: Path, backbone: Backbone) -> None:
    folder = tmp_path / "transformer"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(golden_config(backbone)))
    assert base_shape(tmp_path) == base_shape(folder) == tiny_base(backbone)


@pytest.mark.parametrize(
    "config",
    [
        "",
        "[]",
        "{}",
        '{"_class_name": "FluxTransformer2DModel"}',
        '{"_class_name": "WanTransformer3DModel", "num_layers": "30"}',
        json.dumps({**golden_config(Backbone.WAN), "num_attention_heads": 0}),
        '{"_class_name": 3}',
    ],
)
def test_another_models_folder_is_told(tmp_path: Path, config: str) -> None:
    with pytest.raises(FlexTrajError, match=r"no transformer/config\.json"):
        base_shape(tmp_path)
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(FlexTrajError, match="describes no transformer"):
        base_shape(tmp_path)


# The command


WITHOUT_TORCH = (
    "import sys\n"
    "for name in ('torch', 'safetensors', 'diffusers', 'peft'): sys.modules[name] = None\n"
    "from flextraj_backend.cli import main\n"
    "main(sys.argv[1:])\n"
)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_info_works_without_torch(backbone: Backbone) -> None:
    path = golden_control(backbone)
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, "checkpoint", "info", str(path), "--json"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    info = json.loads(run.stdout)
    assert info["backbone"] == backbone and info["rank"] == 4 and info["alpha"] == 4 and info["scaling"] == 1
    assert info["tensors"] == {Backbone.COGVIDEOX: 18, Backbone.WAN: 34}[backbone]
    assert info["parameters"] == {Backbone.COGVIDEOX: 3104, Backbone.WAN: 6760}[backbone]
    assert info["file_bytes"] == path.stat().st_size
    assert (info["layers"], info["dtypes"], info["fuse"]) == (2, ["F32"], "trained")
    assert (
        info["version"] is None and len(info["notes"]) == {Backbone.COGVIDEOX: 1, Backbone.WAN: 2}[backbone]
    )


def test_info_reads_well_for_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["checkpoint", "info", str(golden_control(Backbone.WAN))])
    shown = capsys.readouterr().out
    assert caught.value.code == 0
    assert (
        "Wan2.2-TI2V-5B (engine wan)" in shown and "rank 4, alpha 4" in shown and "6,760 parameters" in shown
    )
    assert "have no effect: the text keys and values never use it." in shown


def test_check_tells_whether_a_control_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(golden_config(Backbone.COGVIDEOX)))
    for backbone, code in ((Backbone.COGVIDEOX, 0), (Backbone.WAN, 2)):
        with pytest.raises(SystemExit) as caught:
            main(["checkpoint", "check", str(golden_control(backbone)), "--base", str(tmp_path)])
        assert caught.value.code == code
    output = capsys.readouterr()
    assert "It fits this base model." in output.out
    assert "is a control for Wan2.2-TI2V-5B, not for CogVideoX-5B-I2V" in output.err
    assert len(output.err.strip().splitlines()) == 1
