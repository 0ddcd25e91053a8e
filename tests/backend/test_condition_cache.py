"""The condition cache: exact, compact, portable, and never used for what it was not made for."""

from __future__ import annotations

import errno
import json
import math
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from toy_transformers import CONTROLLED, Toy, toy, with_inputs

from blender_addon.core.errors import FlexTrajError
from blender_addon.core.model_options import CacheStorage
from flextraj_backend.models import tensor_file
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.checkpoint import load_adapter, save_adapter
from flextraj_backend.models.condition import ConditionLatents
from flextraj_backend.models.condition_cache import ConditionCache
from flextraj_backend.models.condition_prefetch import ConditionPrefetch
from flextraj_backend.models.real_configs import RELEASED
from flextraj_backend.models.token_pruning import KeptTokens

BOTH = pytest.mark.parametrize("backbone", list(Backbone))
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def tensors(cache: ConditionCache) -> tuple[torch.Tensor, ...]:
    kept = () if cache.kept is None else (cache.kept.occupied, cache.kept.representatives)
    return (*cache.keys, *cache.values, *cache.key_scales, *cache.value_scales, *kept)


def assert_same(first: ConditionCache, second: ConditionCache) -> None:
    assert (first.grid, first.backbone, first.dtype) == (second.grid, second.backbone, second.dtype)
    assert first.control == second.control
    for one, other in zip(tensors(first), tensors(second), strict=True):
        assert torch.equal(one.float(), other.float())


def controlled(model: Toy, cache: ConditionCache | None) -> torch.Tensor:
    model.transformer.use_condition(cache)
    return model.predict()


def relative(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float(torch.linalg.norm(actual - expected) / torch.linalg.norm(expected))


@BOTH
def test_the_cache_says_what_it_is_and_how_large(backbone: Backbone) -> None:
    model = toy(backbone)
    cache = model.encode()
    grid = model.transformer.condition_token_grid(model.latents)
    size = model.transformer.hidden_size
    assert (cache.backbone, cache.grid, cache.kept) == (backbone, grid, None)
    assert cache.keys[0].shape == (1, grid.tokens, 2, size // 2)
    assert cache.nbytes == 3 * 2 * grid.tokens * size * 4
    assert cache.nbytes == sum(tensor.nbytes for tensor in tensors(cache))


@BOTH
@pytest.mark.parametrize(("storage", "share", "error"), [("bf16", 0.5, 0.005), ("fp8", 0.26, 0.05)])
def test_compact_storage_costs_little_of_the_result(
    backbone: Backbone, storage: str, share: float, error: float
) -> None:
    model = toy(backbone)
    cache = model.encode()
    compact = cache.stored(CacheStorage(storage), CPU)
    base, exact = controlled(model, None), controlled(model, cache)
    assert compact.nbytes <= share * cache.nbytes + 1024
    control_error = torch.linalg.norm(controlled(model, compact) - exact) / torch.linalg.norm(exact - base)
    assert 0 < control_error < error


@BOTH
@pytest.mark.parametrize("storage", list(CacheStorage))
def test_encoding_into_a_storage_is_the_same_as_converting_afterwards(
    backbone: Backbone, storage: CacheStorage
) -> None:
    model = toy(backbone)
    assert_same(model.encode(storage=storage, device="cpu"), model.encode().stored(storage, "cpu"))


def test_the_models_own_format_is_exact() -> None:
    cache = toy(Backbone.WAN).encode()
    assert_same(cache.stored(CacheStorage.MODEL, CPU), cache)


def test_eight_bits_keep_large_and_small_heads() -> None:
    cache = toy(Backbone.COGVIDEOX).encode()
    scaled = cache.values[0] * torch.tensor([1e4, 1e-4]).reshape(1, 1, 2, 1)  # beyond what float8 holds
    stored = replace(cache, values=(scaled, *cache.values[1:])).stored(CacheStorage.FP8, CPU)
    restored = stored.stored(CacheStorage.BF16, CPU).values[0].float()
    assert restored.isfinite().all()
    for head in range(2):
        assert relative(restored[:, :, head], scaled[:, :, head]) < 0.05


def test_a_head_of_zeros_survives_eight_bits() -> None:
    cache = toy(Backbone.WAN).encode()
    zero = replace(cache, values=tuple(torch.zeros_like(value) for value in cache.values))
    restored = zero.stored(CacheStorage.FP8, CPU).stored(CacheStorage.BF16, CPU)
    assert all(value.abs().max() == 0 for value in restored.values)


def test_converting_eight_bits_again_loses_nothing_more() -> None:
    stored = toy(Backbone.WAN).encode().stored(CacheStorage.FP8, CPU)
    assert_same(stored.stored(CacheStorage.FP8, CPU), stored)
    assert_same(stored.stored(CacheStorage.MODEL, CPU), stored)


@BOTH
@pytest.mark.parametrize("storage", list(CacheStorage))
def test_a_cache_comes_back_from_disk_as_it_was(
    backbone: Backbone, storage: CacheStorage, tmp_path: Path
) -> None:
    model = toy(backbone)
    keep = KeptTokens(torch.tensor([1, 5, 8]), torch.tensor([0, 20, 33]))
    cache = model.encode(keep=keep, storage=storage)
    loaded = ConditionCache.load(cache.save(tmp_path / "condition.safetensors"))
    assert_same(loaded, cache)
    assert torch.equal(controlled(model, loaded), controlled(model, cache))
    assert [path.name for path in tmp_path.iterdir()] == ["condition.safetensors"]


def test_a_cache_that_cannot_be_written_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = toy(Backbone.WAN).encode()
    with pytest.raises(FlexTrajError, match="cannot be written"):
        cache.save(tmp_path / "missing" / "condition.safetensors")
    path = cache.save(tmp_path / "condition.safetensors")
    before = path.read_bytes()

    def disk_full(tensors: object, temporary: Path, metadata: object) -> None:
        temporary.write_bytes(before[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tensor_file, "save_file", disk_full)
    with pytest.raises(FlexTrajError, match="No space left"):
        cache.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda stored, metadata: metadata.update(version="0"), "no condition cache of this version"),
        (lambda stored, metadata: metadata.pop("format"), "no condition cache of this version"),
        (lambda stored, metadata: stored.pop("values.1"), "damaged.*layers are missing"),
        (lambda stored, metadata: stored.pop("keys.0"), "damaged"),
        (
            lambda stored, metadata: stored.update({"keys.0": torch.zeros(1, 5, 2, 20)}),
            "damaged.*differ in shape",
        ),
        (
            lambda stored, metadata: stored.update(
                {"occupied": torch.arange(5), "representatives": torch.arange(5, 7)}
            ),
            "damaged.*tokens do not fit",
        ),
        (
            lambda stored, metadata: stored.update(
                {"occupied": torch.arange(70), "representatives": torch.arange(2)}
            ),
            "damaged.*each of them once",
        ),
        (lambda stored, metadata: stored.update({"occupied": torch.arange(72)}), "damaged.*representatives"),
        (lambda stored, metadata: metadata.pop("control"), "damaged.*control"),
        (lambda stored, metadata: metadata.update(grid="9x9x9"), "damaged.*tokens do not fit the grid 9x9x9"),
        (lambda stored, metadata: metadata.update(grid="many"), "damaged"),
        (lambda stored, metadata: metadata.update(backbone="sora"), "damaged"),
        (lambda stored, metadata: metadata.pop("backbone"), "damaged"),
    ],
)
def test_a_damaged_cache_file_is_refused_with_one_sentence(change, sentence: str, tmp_path: Path) -> None:
    path = toy(Backbone.WAN).encode().save(tmp_path / "condition.safetensors")
    header_size = int.from_bytes(path.read_bytes()[:8], "little")
    metadata = json.loads(path.read_bytes()[8 : 8 + header_size])["__metadata__"]
    stored = load_file(path)
    change(stored, metadata)
    save_file(stored, path, metadata)
    with pytest.raises(FlexTrajError, match=sentence) as error:
        ConditionCache.load(path)
    assert "\n" not in error.value.message


def test_a_file_that_is_no_cache_is_refused_with_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "condition.safetensors"
    path.write_bytes(b"not a safetensors file")
    with pytest.raises(FlexTrajError, match="cannot be read as a condition cache"):
        ConditionCache.load(path)
    with pytest.raises(FlexTrajError, match="cannot be read as a condition cache"):
        ConditionCache.load(tmp_path / "missing.safetensors")


def test_a_cache_of_another_backbone_is_refused() -> None:
    cache = toy(Backbone.WAN).encode()
    with pytest.raises(FlexTrajError, match=r"belongs to another model \(wan, 3 layers"):
        toy(Backbone.COGVIDEOX).transformer.use_condition(cache)


@BOTH
@pytest.mark.parametrize("config", [{"layers": 2}, {"num_attention_heads": 4}])
def test_a_cache_of_another_model_size_is_refused(backbone: Backbone, config: dict[str, int]) -> None:
    cache = toy(backbone, **config).encode()
    with pytest.raises(FlexTrajError, match="belongs to another model"):
        toy(backbone).transformer.use_condition(cache)


@BOTH
def test_a_saved_cache_of_another_control_is_refused_and_one_of_the_same_is_taken(
    backbone: Backbone, tmp_path: Path
) -> None:
    cache = ConditionCache.load(toy(backbone).encode().save(tmp_path / "condition.safetensors"))
    again = toy(backbone)
    again.transformer.use_condition(cache)
    expected = again.predict()
    with torch.no_grad():
        next(parameter for _, parameter in again.transformer.trainable_parameters()).mul_(1.5)
    with pytest.raises(FlexTrajError, match="another control or base model") as error:
        again.transformer.use_condition(cache)
    assert "\n" not in error.value.message
    assert torch.equal(again.predict(), expected), "what was in use stays in use"
    again.transformer.add_control(4)
    with pytest.raises(FlexTrajError, match="another control or base model"):
        again.transformer.use_condition(cache)


@BOTH
def test_the_same_control_is_recognised_in_another_number_format_and_after_it_moved(
    backbone: Backbone, tmp_path: Path
) -> None:
    model = toy(backbone)
    cache = model.encode()
    model.transformer.to(torch.bfloat16)
    model.transformer.use_condition(cache)
    model.transformer.float()
    assert model.encode().control == cache.control
    path = save_adapter(model.transformer, tmp_path / "control.safetensors")
    other = toy(backbone, seed=5)
    assert other.encode().control != cache.control
    load_adapter(other.transformer, path)
    assert other.encode().control == cache.control


def test_a_cache_of_another_base_model_is_refused() -> None:
    cache = toy(Backbone.WAN).encode()
    with pytest.raises(FlexTrajError, match="another control or base model"):
        toy(Backbone.WAN, eps=1e-5).transformer.use_condition(cache)


@BOTH
def test_a_cache_of_another_frame_count_is_refused_on_use(backbone: Backbone) -> None:
    model = toy(backbone)
    shorter = with_inputs(model.transformer, frames=2)
    model.transformer.use_condition(shorter.encode())
    with pytest.raises(FlexTrajError, match=r"made for a video of 2x4x6 tokens .* but this one has"):
        model.predict()


def test_a_cache_of_a_batch_is_refused_for_another_batch() -> None:
    model = toy(Backbone.WAN, batch=2)
    model.transformer.use_condition(model.encode())
    larger = with_inputs(model.transformer, batch=3)
    with pytest.raises(FlexTrajError, match="holds 2 conditions for a batch of 3"):
        larger.predict()


@BOTH
def test_keeping_no_token_is_refused_with_advice(backbone: Backbone) -> None:
    with pytest.raises(FlexTrajError, match="keep at least one"):
        toy(backbone).encode(keep=KeptTokens(torch.arange(0), torch.arange(4)))


@BOTH
@pytest.mark.parametrize("keep", [[-1, 3], [3, 1], [2, 2], [0, 100_000], [[0, 1]], [0.0, 1.0], [0, 7]])
def test_kept_tokens_that_do_not_exist_are_refused(backbone: Backbone, keep: list) -> None:
    with pytest.raises(ValueError, match="ascending places on the grid"):
        toy(backbone).encode(keep=KeptTokens(torch.tensor(keep), torch.tensor([7, 9])))
    with pytest.raises(ValueError, match="ascending places on the grid"):
        toy(backbone).encode(keep=KeptTokens(torch.tensor([7, 9]), torch.tensor(keep)))


# Prefetch: streams do nothing on a CPU, but order and reuse of the places are the same.


def layers_of(count: int) -> tuple[torch.Tensor, ...]:
    return tuple(torch.full((1, 2, 1, 4), float(layer)) for layer in range(count))


@settings(deadline=None, max_examples=60)
@given(count=st.integers(1, 6), order=st.lists(st.integers(0, 5), max_size=20))
def test_every_layer_reads_its_own_keys_in_any_order(count: int, order: list[int]) -> None:
    keys = layers_of(count)
    prefetch = ConditionPrefetch(keys, tuple(-key for key in keys))
    for layer in (*range(count), *(layer % count for layer in order), *range(count)):
        key, value = prefetch.fetch(layer, CPU)
        # The next layer is on its way already, and must not land here.
        assert torch.equal(key, keys[layer])
        assert torch.equal(value, -keys[layer])


def test_only_two_layers_are_on_the_device_at_once() -> None:
    keys = layers_of(7)
    prefetch = ConditionPrefetch(keys, keys)
    places = {prefetch.fetch(layer % 7, CPU)[0].data_ptr() for layer in range(21)}
    assert len(places) == 2
    assert not places & {key.data_ptr() for key in keys}


def test_the_copies_run_on_the_device_that_the_layer_computes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the second GPU of a process whose current one is the first."""
    current = ["cuda:0"]

    class Device:
        def __init__(self, device: torch.device) -> None:
            self.device = device

        def __enter__(self) -> None:
            current.append(str(self.device))

        def __exit__(self, *_: object) -> None:
            current.pop()

    class Stream:
        def __init__(self) -> None:
            self.device = current[-1]
            used.append(self.device)

        def wait_event(self, event: object) -> None: ...

        def wait_stream(self, stream: object) -> None: ...

        def record(self, stream: Stream) -> None:
            assert stream.device == self.device

    used: list[str] = []
    module = SimpleNamespace(
        device=Device,
        Stream=Stream,
        Event=Stream,
        current_stream=Stream,
        stream=lambda stream: nullcontext(),
    )
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda *_: None)
    monkeypatch.setattr(torch, "empty_like", lambda like, device: torch.zeros(like.shape))
    keys = layers_of(3)
    prefetch = ConditionPrefetch(keys, keys)
    for layer in (0, 1, 2, 0):
        assert torch.equal(prefetch.fetch(layer, torch.device("cuda", 1))[0], keys[layer])
    assert set(used) == {"cuda:1"}
    assert current == ["cuda:0"]


@BOTH
@pytest.mark.parametrize("storage", list(CacheStorage))
def test_a_cache_in_host_memory_gives_the_same_video(
    backbone: Backbone, storage: CacheStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = toy(backbone, layers=4)
    cache = model.encode(storage=storage)
    expected = controlled(model, cache)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # where the prefetch is used
    model.transformer.use_condition(cache)
    assert model.blocks[0].attn1.processor.keys is None
    assert torch.equal(model.predict(), expected)
    assert torch.equal(model.predict(), expected)


@pytest.mark.parametrize(
    ("backbone", "tensors_of_control", "trainable", "gibibytes"),
    [(Backbone.COGVIDEOX, 338, 334, 8.44), (Backbone.WAN, 482, 354, 1.74)],
)
def test_the_released_models_take_the_released_controls_and_half_the_authors_cache(
    backbone: Backbone, tensors_of_control: int, trainable: int, gibibytes: float
) -> None:
    shape = RELEASED[backbone]
    with torch.device("meta"):
        transformer = CONTROLLED[backbone].from_config(dict(shape.config)).to(torch.bfloat16)
        transformer.add_control(shape.rank)
        names = [name for name, _ in transformer.named_parameters()]
        grid = shape.grid
        video = (grid.frames, 2 * grid.height, 2 * grid.width)
        if backbone is Backbone.COGVIDEOX:
            latents = torch.empty(1, video[0], 32, *video[1:], dtype=torch.bfloat16)
            tables = torch.empty(grid.tokens, 64)
            inputs = {"image_rotary_emb": (tables, tables)}
        else:
            latents = torch.empty(1, 48, *video, dtype=torch.bfloat16)
            text = torch.empty(1, shape.text_tokens, shape.text_size, dtype=torch.bfloat16)
            inputs = {"encoder_hidden_states": text}
        cache = transformer.encode_condition(ConditionLatents(latents, latents), **inputs)
    assert (
        sum(".flextraj." in name or name.startswith("fuse_linear.") for name in names) == tensors_of_control
    )
    assert len(transformer.trainable_parameters()) == trainable
    assert cache.grid == grid
    assert math.isclose(cache.nbytes / 2**30, gibibytes, abs_tol=0.01)
