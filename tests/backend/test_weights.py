"""Weights: a user points the backend at what was downloaded, once, and is told exactly what is missing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fake_hub import FakeHub, fake_hub
from hypothesis import given
from hypothesis import strategies as st
from tiny_pipelines import TINY_RANK, build_tiny, write_tiny_adapter

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.models import weights, weights_download
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.base_model import read_base_model
from flextraj_backend.models.weights import (
    WeightsLocation,
    control_file_name,
    locate_lora,
    locate_weights,
    lora_names,
    read_sizes,
    settings_file,
    use_weights,
)

COG, WAN = Backbone.COGVIDEOX, Backbone.WAN


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`<engine>/base` and the control, for both engines."""
    folder = tmp_path_factory.mktemp("weights")
    for backbone in Backbone:
        place = folder / backbone.value
        build_tiny(backbone, place / "base")
        write_tiny_adapter(backbone, place / "base", place / control_file_name(backbone))
    return folder


@pytest.fixture
def folder(originals: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(originals, tmp_path / "my weights"))


@pytest.fixture(autouse=True)
def user_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who has never run this program."""
    monkeypatch.setattr("platformdirs.user_config_dir", lambda *_, **__: str(tmp_path / "config"))
    monkeypatch.setattr("platformdirs.user_data_dir", lambda *_, **__: str(tmp_path / "data"))
    monkeypatch.delenv(weights.WEIGHTS_VARIABLE, raising=False)


def use(backbone: Backbone, folder: Path) -> WeightsLocation:
    place = folder / backbone.value
    return use_weights(backbone, place / "base", place / control_file_name(backbone))


def refusal_of(backbone: Backbone) -> str:
    with pytest.raises(FlexTrajError) as caught:
        locate_weights(backbone)
    assert caught.value.code is ErrorCode.WEIGHTS
    sentence = caught.value.message
    assert sentence.endswith(".") and "\n" not in sentence
    return sentence


def test_two_folders_named_once_are_found_from_then_on(folder: Path) -> None:
    used = use(WAN, folder)
    assert locate_weights(WAN) == used
    assert used.base == folder / "wan/base" and used.adapter == folder / "wan/flextraj_wan.safetensors"
    use(COG, folder)
    assert locate_weights(WAN) == used, "naming one engine's weights forgot the other's"


def test_a_folder_will_do_for_the_control_and_relative_paths_survive_another_working_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    use_weights(WAN, Path("wan/base"), Path("wan"))
    monkeypatch.chdir("/")
    assert locate_weights(WAN).adapter == folder / "wan/flextraj_wan.safetensors"


def test_without_weights_the_sentence_has_both_commands() -> None:
    sentence = refusal_of(COG)
    assert "flextraj weights fetch cogvideox" in sentence
    assert "flextraj weights use cogvideox --base DIR --adapter FILE" in sentence


def test_the_variable_overrides_what_was_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(WAN, folder)
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    monkeypatch.setenv(weights.WEIGHTS_VARIABLE, str(other))
    location = locate_weights(WAN)
    assert location.base == other / "wan/base" and location.loras == other / "loras"
    (other / "wan/flextraj_wan.safetensors").rename(other / "wan/mine.safetensors")
    assert locate_weights(WAN).adapter.name == "mine.safetensors", "any name will do"
    shutil.copy(other / "wan/mine.safetensors", other / "wan/second.safetensors")
    assert "mine.safetensors, second.safetensors" in refusal_of(WAN)
    shutil.rmtree(other / "cogvideox/base")
    assert f'flextraj weights fetch cogvideox --to "{other}"' in refusal_of(COG)
    for file in (other / "wan").glob("*.safetensors"):
        file.unlink()
    assert "no control file for 'wan'" in refusal_of(WAN)


def test_weights_that_moved_are_reported_with_the_command_for_their_new_place(folder: Path) -> None:
    use(WAN, folder)
    folder.rename(folder.with_name("moved"))
    sentence = refusal_of(WAN)
    assert "is gone" in sentence and "flextraj weights use wan --base" in sentence


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def _edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def _shards(base: Path) -> list[Path]:
    return sorted((base / "transformer").glob("*-of-*.safetensors"))


DAMAGES = {
    "no model_index": (lambda base: (base / "model_index.json").unlink(), "model_index.json"),
    "no scheduler": (lambda base: shutil.rmtree(base / "scheduler"), "scheduler/scheduler_config.json"),
    "no vocabulary": (
        lambda base: [file.unlink() for file in (base / "tokenizer").glob("[st][po][ik]e*")],
        "tokenizer/",
    ),
    "missing shard": (lambda base: _shards(base)[1].unlink(), "00002-of-"),
    "truncated shard": (lambda base: _truncate(_shards(base)[0]), "cut short"),
    "truncated single file": (
        lambda base: _truncate(base / "vae/diffusion_pytorch_model.safetensors"),
        "cut short",
    ),
    "pointer file": (
        lambda base: _write(base / "text_encoder/model.safetensors", "version https://git-lfs.github.com/"),
        "download it again",
    ),
    "broken JSON": (lambda base: _write(base / "vae/config.json", "{"), "vae/config.json cannot be read"),
    "pickles only": (
        lambda base: (base / "text_encoder/model.safetensors").rename(base / "text_encoder/model.bin"),
        "pickled weights only",
    ),
    "another model": (
        lambda base: _edit(base / "transformer/config.json", _class_name="LTXVideoTransformer3DModel"),
        "is of class LTXVideoTransformer3DModel",
    ),
    "a text-to-video relative": (
        lambda base: _edit(base / "transformer/config.json", in_channels=7),
        "relative of",
    ),
    "another VAE": (
        lambda base: _edit(base / "vae/config.json", latent_channels=4, z_dim=4),
        "do not belong together",
    ),
    "index out of its folder": (
        lambda base: _edit(
            base / "transformer/diffusion_pytorch_model.safetensors.index.json",
            weight_map={"a": "../../../secret.safetensors"},
        ),
        "does not list weight files",
    ),
    "index without its tensors": (
        lambda base: _edit(
            base / "transformer/diffusion_pytorch_model.safetensors.index.json",
            weight_map={"not.there": _shards(base)[0].name},
        ),
        "lacks 1 tensors",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("backbone", Backbone)
def test_incomplete_or_wrong_base_models_are_refused_with_what_to_do(
    folder: Path, backbone: Backbone, damage: str
) -> None:
    base = folder / backbone.value / "base"
    spoil, words = DAMAGES[damage]
    use(backbone, folder)
    spoil(base)
    assert words in refusal_of(backbone)


def test_swapped_engines_are_told_apart(folder: Path) -> None:
    with pytest.raises(FlexTrajError, match="is not CogVideoX-5B-I2V"):
        use_weights(COG, folder / "wan/base", folder / "wan/flextraj_wan.safetensors")
    with pytest.raises(FlexTrajError, match="is a control for CogVideoX-5B-I2V, not for Wan2"):
        use_weights(WAN, folder / "wan/base", folder / "cogvideox/flextraj_cogvideox.safetensors")
    assert not settings_file().exists(), "a refused choice must not be remembered"


def test_a_control_for_another_size_of_model_is_refused(folder: Path) -> None:
    build_tiny(WAN, folder / "deeper", layers=3)
    with pytest.raises(FlexTrajError) as caught:
        use_weights(WAN, folder / "deeper", folder / "wan/flextraj_wan.safetensors")
    assert caught.value.code is ErrorCode.WEIGHTS


def test_a_refused_choice_keeps_the_former_one(folder: Path) -> None:
    before = use(WAN, folder)
    with pytest.raises(FlexTrajError):
        use_weights(WAN, folder / "nowhere", before.adapter)
    assert locate_weights(WAN) == before


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 9, "engines": {}}', '{"version": 1, "engines": 3}'])
def test_a_damaged_settings_file_is_named_and_never_overwritten(folder: Path, text: str) -> None:
    use(WAN, folder)
    settings_file().write_text(text)
    assert str(settings_file()) in refusal_of(WAN)
    with pytest.raises(FlexTrajError, match="delete it"):
        use(WAN, folder)
    assert settings_file().read_text() == text


@pytest.mark.parametrize("backbone", Backbone)
def test_sizes_are_those_of_the_models_that_torch_loads(folder: Path, backbone: Backbone) -> None:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

    sizes = read_sizes(backbone, use(backbone, folder))
    pipeline = DiffusionPipeline.from_pretrained(folder / backbone.value / "base", local_files_only=True)
    parts = {name: getattr(pipeline, name) for name in ("transformer", "text_encoder", "vae")}
    counted = {name: sum(value.numel() for value in part.parameters()) for name, part in parts.items()}
    if backbone is COG:
        counted["transformer"] += pipeline.transformer.patch_embed.pos_embedding.numel()  # stored as a buffer
    assert counted == {name: getattr(sizes, name).parameters for name in parts}
    blocks = pipeline.transformer.transformer_blocks if backbone is COG else pipeline.transformer.blocks
    assert sizes.transformer.blocks == len(blocks)
    assert sizes.transformer.block_parameters == sum(value.numel() for value in blocks.parameters())
    assert sizes.text_encoder.blocks == 2 and sizes.text_encoder.outside_blocks > 0
    assert sizes.rank == TINY_RANK
    assert sizes.fixed_size == ((64, 96) if backbone is COG else None)
    grid = sizes.shape(9, 64, 96).grid
    assert str(grid) == ("3x4x6" if backbone is COG else "3x2x3")


def test_a_configuration_that_lacks_a_setting_is_named(folder: Path) -> None:
    location = use(WAN, folder)
    path = folder / "wan/base/vae/config.json"
    values = json.loads(path.read_text())
    del values["dim_mult"]
    path.write_text(json.dumps(values))
    with pytest.raises(FlexTrajError, match="lacks the setting 'dim_mult'"):
        read_sizes(WAN, location)


def test_loras_are_found_by_name_and_missing_ones_list_the_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(weights.WEIGHTS_VARIABLE, str(folder))
    assert lora_names() == ()
    with pytest.raises(FlexTrajError, match=r"put its \.safetensors file into"):
        locate_lora("film.v2")
    loras = folder / "loras"
    loras.mkdir()
    for name in ("film.v2", "fast-4"):
        shutil.copy(folder / "wan/flextraj_wan.safetensors", loras / f"{name}.safetensors")
    assert lora_names() == ("fast-4", "film.v2")
    assert locate_lora("film.v2") == loras / "film.v2.safetensors"
    with pytest.raises(FlexTrajError, match=r"choose one of fast-4, film\.v2,") as caught:
        locate_lora("other")
    assert caught.value.code is ErrorCode.WEIGHTS


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_lora_that_links_out_of_its_folder_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(weights.WEIGHTS_VARIABLE, str(folder))
    loras = folder / "loras"
    loras.mkdir()
    (loras / "out.safetensors").symlink_to(folder / "wan/flextraj_wan.safetensors")
    (loras / "gone.safetensors").symlink_to(loras / "nothing")
    assert lora_names() == ()
    for name in ("out", "gone"):
        with pytest.raises(FlexTrajError):
            locate_lora(name)


@given(
    st.text(max_size=30) | st.sampled_from(["../wan/flextraj_wan", "..", ".", "a/b", "a\\b", "C:x", "x\0"])
)
def test_no_name_of_a_lora_reaches_a_file_elsewhere(name: str) -> None:
    with pytest.raises(FlexTrajError):
        locate_lora(name)


def run(arguments: list[str], tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command line as a user runs it, with folders of its own."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("HF_", "FLEXTRAJ_W"))},
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "COLUMNS": "300",
        **variables,
    }
    command = [sys.executable, "-m", "flextraj_backend", "weights", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


needs_xdg = pytest.mark.skipif(sys.platform != "linux", reason="the user's folders are set by XDG variables")


@needs_xdg
def test_commands_use_and_list_tell_the_whole_story(folder: Path, tmp_path: Path) -> None:
    base, adapter = folder / "wan/base", folder / "wan/flextraj_wan.safetensors"
    used = run(["use", "wan", "--base", str(base), "--adapter", str(adapter)], tmp_path)
    assert used.returncode == 0 and str(base) in used.stdout, used.stderr
    listed = run(["list"], tmp_path)
    assert listed.returncode == 0 and str(adapter) in listed.stdout
    assert "flextraj weights fetch cogvideox" in listed.stdout
    values = json.loads(run(["list", "--json"], tmp_path).stdout)
    engines = {engine["engine"]: engine for engine in values["engines"]}
    assert engines["wan"]["location"]["base"] == str(base) and not engines["wan"]["problem"]
    assert engines["cogvideox"]["location"] is None and engines["cogvideox"]["problem"]
    hidden = run(
        ["use", "wan", "--base", str(base), "--adapter", str(adapter)], tmp_path, FLEXTRAJ_WEIGHTS_DIR="/x"
    )
    assert "FLEXTRAJ_WEIGHTS_DIR is set and comes first" in hidden.stdout
    wrong = run(["use", "cogvideox", "--base", str(base), "--adapter", str(adapter)], tmp_path)
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1 and "Traceback" not in wrong.stderr


@pytest.fixture
def hub(folder: Path, tmp_path: Path) -> FakeHub:  # type: ignore[misc]
    """The repositories as they are published, with files that must stay there."""
    repository = tmp_path / "hub/base"
    shutil.copytree(folder / "wan/base", repository)
    for name in ("text_encoder/pytorch_model.bin", "vae/old.pt", "README.md", "assets/sample.mp4"):
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_bytes(b"not for us")
    controls = tmp_path / "hub/control"
    controls.mkdir()
    for backbone in Backbone:
        shutil.copy(folder / backbone.value / control_file_name(backbone), controls)
    repositories = {"Wan-AI/Wan2.2-TI2V-5B-Diffusers": repository, "bestzzhang/FlexTraj": controls}
    with fake_hub(repositories) as hub:
        yield hub  # type: ignore[misc]


@needs_xdg
def test_fetching_downloads_what_is_needed_and_the_engine_is_ready(hub: FakeHub, tmp_path: Path) -> None:
    to = tmp_path / "big disk"
    done = run(["fetch", "wan", "--to", str(to)], tmp_path, HF_ENDPOINT=hub.url)
    assert done.returncode == 0, done.stderr
    assert "Downloading 0.0 GiB" in done.stdout
    names = {Path(name).name for name in hub.downloads}
    assert "flextraj_wan.safetensors" in names and "model_index.json" in names
    assert not {name for name in names if name.endswith((".bin", ".pt", ".md", ".mp4"))}
    assert "flextraj_cogvideox.safetensors" not in names
    listed = json.loads(run(["list", "--json"], tmp_path).stdout)["engines"][1]
    assert listed["location"]["base"] == str(to / "wan/base")
    # The folder also serves as FLEXTRAJ_WEIGHTS_DIR, on a machine without network.
    moved = json.loads(run(["list", "--json"], tmp_path, FLEXTRAJ_WEIGHTS_DIR=str(to)).stdout)["engines"][1]
    assert not moved["problem"]


@needs_xdg
def test_fetching_again_goes_on_where_it_stopped(hub: FakeHub, tmp_path: Path) -> None:
    to = tmp_path / "disk"
    arguments = ["fetch", "wan", "--to", str(to)]
    assert run(arguments, tmp_path, HF_ENDPOINT=hub.url).returncode == 0
    lost = sorted((to / "wan/base/transformer").glob("*.safetensors"))[0]
    lost.unlink()
    hub.downloads.clear()
    again = run(arguments, tmp_path, HF_ENDPOINT=hub.url)
    assert again.returncode == 0, again.stderr
    assert [Path(name).name for name in hub.downloads] == [lost.name]
    read_base_model(to / "wan/base", WAN)


@needs_xdg
def test_a_disk_that_is_too_small_is_told_before_anything_is_downloaded(hub: FakeHub, tmp_path: Path) -> None:
    hub.claimed_bytes = 1 << 50
    done = run(["fetch", "wan", "--to", str(tmp_path / "disk")], tmp_path, HF_ENDPOINT=hub.url)
    assert done.returncode == 2 and "GiB are free" in done.stderr and "--to DIR" in done.stderr
    assert not any(name.endswith(".safetensors") for name in hub.downloads)


@needs_xdg
@pytest.mark.parametrize(
    ("engine", "variables", "words"),
    [
        ("wan", {"HF_ENDPOINT": "http://127.0.0.1:9"}, "no connection"),
        ("wan", {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
        ("cogvideox", {}, "missing or closed"),
    ],
)
def test_a_download_that_cannot_start_ends_with_one_sentence(
    hub: FakeHub, tmp_path: Path, engine: str, variables: dict[str, str], words: str
) -> None:
    done = run(["fetch", engine], tmp_path, **{"HF_ENDPOINT": hub.url, **variables})
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2 and len(lines) == 1 and words in lines[0], done.stderr


def test_a_full_disk_in_mid_download_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, dry_run: bool, **__: object) -> list[object]:
        if dry_run:
            return [object.__new__(_ListedFile)]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fails)
    with pytest.raises(FlexTrajError, match="free some space") as caught:
        weights_download.fetch_weights(WAN, tmp_path, lambda _: None)
    assert caught.value.code is ErrorCode.DISK


class _ListedFile:
    file_size = 100
    will_download = True


def test_a_backend_without_torch_still_finds_weights_and_sizes(folder: Path) -> None:
    program = """
import sys
sys.modules["torch"] = None
import flextraj_backend.cli
from flextraj_backend.models import estimates
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.weights import locate_weights, read_sizes
print(read_sizes(Backbone.WAN, locate_weights(Backbone.WAN)).transformer.parameters)
"""
    environment = {**os.environ, weights.WEIGHTS_VARIABLE: str(folder)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and int(done.stdout) > 0, done.stderr
