"""Model files: the same bytes each time, and a one-line message for invalid files."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from tests.tiny import same_weights, tiny_model
from unet.inference.model_file import load_model, save_model
from unet.model import UNet

INFO = {
    "downsample": "str_conv", "upsample": "ups", "width": 4, "depth": 2,
    "threshold": 0.5, "epoch": 3, "image_size": 16, "experiment": "tiny",
}  # fmt: skip


State = dict[str, torch.Tensor]


def saved_model(seed: int = 0) -> UNet:
    """A model whose kernels, biases and buffers are all in use."""
    model = tiny_model(seed, random_head=True, downsample="str_conv", upsample="ups")
    model.train()(torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(seed)))
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=float(name.endswith("weight")), std=0.1)
    return model.eval()


def write_tensors(path: Path, state: State, info: dict) -> None:
    metadata = {"unet": json.dumps(info)}
    tensors = {name: tensor.contiguous() for name, tensor in state.items()}
    path.write_bytes(safetensors.torch.save(tensors, metadata))


def test_a_saved_model_comes_back(tmp_path: Path) -> None:
    model = saved_model()
    path = tmp_path / "deep" / "model.safetensors"
    save_model(path, model.state_dict(), INFO)
    loaded, info = load_model(path)
    assert info == INFO
    assert not loaded.training
    assert same_weights(loaded.state_dict(), model.state_dict())
    images = torch.rand(2, 3, 11, 16)
    # Another memory layout may sum in another order.
    torch.testing.assert_close(loaded.predict(images), model.predict(images))
    assert torch.equal(load_model(str(path))[0].predict(images), loaded.predict(images))


def test_a_loaded_model_is_saved_as_the_same_bytes(tmp_path: Path) -> None:
    save_model(tmp_path / "first", saved_model().state_dict(), INFO)
    model, info = load_model(tmp_path / "first")
    save_model(tmp_path / "second", model.state_dict(), info)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.safetensors" for name in ("a", "b", "other")]
    save_model(paths[0], saved_model().state_dict(), INFO)
    save_model(paths[1], saved_model().state_dict(), dict(reversed(INFO.items())))
    save_model(paths[2], saved_model(1).state_dict(), INFO)
    first, second, other = (path.read_bytes() for path in paths)
    assert first == second
    assert first != other
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_layout_in_memory_does_not_change_what_is_read(tmp_path: Path) -> None:
    model = saved_model()
    save_model(tmp_path / "a", model.state_dict(), INFO)
    save_model(tmp_path / "b", model.to(memory_format=torch.channels_last).state_dict(), INFO)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_kernels_are_stored_in_half_the_bytes(tmp_path: Path) -> None:
    model = saved_model()
    paths = [tmp_path / f"{name}.safetensors" for name in ("whole", "half", "again")]
    save_model(paths[0], model.state_dict(), INFO)
    save_model(paths[1], model.state_dict(), INFO, store="float16")
    kernels = sum(t.numel() for t in model.state_dict().values() if t.ndim == 4)
    assert paths[1].stat().st_size < paths[0].stat().st_size - 1.8 * kernels
    loaded, info = load_model(paths[1])
    assert info == INFO | {"store": "float16"}
    rounded = 0
    for name, tensor in model.state_dict().items():
        found = loaded.state_dict()[name]
        assert found.dtype == tensor.dtype
        is_kernel = name.endswith("weight") and tensor.ndim == 4
        assert torch.equal(found, tensor.half().float() if is_kernel else tensor), name
        rounded += not torch.equal(found, tensor)
    assert rounded
    images = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(loaded.predict(images), model.predict(images), atol=1e-2, rtol=0)
    # What was rounded once is rounded for good: the scored weights are the file's.
    save_model(paths[2], loaded.state_dict(), INFO, store="float16")
    assert paths[2].read_bytes() == paths[1].read_bytes()


def test_a_kernel_beyond_float16_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    path, state = tmp_path / "large.safetensors", saved_model().state_dict()
    state["head.weight"].view(-1)[0] = 1e6
    with pytest.raises(ValueError, match="head.weight is too large for float16: set train.store"):
        save_model(path, state, INFO, store="float16")
    assert not path.exists()
    save_model(path, state, INFO)


def nothing(path: Path) -> None:
    assert not path.exists()


def garbage(path: Path) -> None:
    path.write_bytes(b"\x80 no model at all " * 20)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def folder(path: Path) -> None:
    path.mkdir()


def cut_short(path: Path) -> None:
    save_model(path, saved_model().state_dict(), INFO)
    path.write_bytes(path.read_bytes()[:-100])


def without_metadata(path: Path) -> None:
    path.write_bytes(safetensors.torch.save({"weight": torch.zeros(3)}))


def with_other_metadata(path: Path) -> None:
    path.write_bytes(safetensors.torch.save({"weight": torch.zeros(3)}, {"format": "pt"}))


def with_metadata_that_is_no_json(path: Path) -> None:
    path.write_bytes(safetensors.torch.save({"weight": torch.zeros(3)}, {"unet": "width: 4"}))


def with_metadata_of_another_kind(path: Path) -> None:
    path.write_bytes(safetensors.torch.save({"weight": torch.zeros(3)}, {"unet": "[4, 2]"}))


def with_less_metadata(path: Path) -> None:
    metadata = {"unet": json.dumps({"width": 4, "depth": 2})}
    path.write_bytes(safetensors.torch.save(saved_model().state_dict(), metadata))


def of_another_width(path: Path) -> None:
    save_model(path, saved_model().state_dict(), INFO | {"width": 8})


def of_another_architecture(path: Path) -> None:
    save_model(path, tiny_model().state_dict(), INFO)


def of_a_giant_s_width(path: Path) -> None:
    save_model(path, saved_model().state_dict(), INFO | {"width": 1 << 20, "depth": 12})


def of_a_giant_s_depth(path: Path) -> None:
    save_model(path, saved_model().state_dict(), INFO | {"depth": 10**9})


def of_no_depth(path: Path) -> None:
    save_model(path, saved_model().state_dict(), INFO | {"depth": 0, "width": 16})


def of_no_threshold(path: Path) -> None:
    save_model(path, saved_model().state_dict(), INFO | {"threshold": 1.5})


def with_nan(path: Path) -> None:
    state = saved_model().state_dict()
    state["head.bias"][0] = math.nan
    save_model(path, state, INFO)


def with_an_infinite_kernel(path: Path) -> None:
    state = saved_model().state_dict()
    state["head.weight"].view(-1)[0] = math.inf
    save_model(path, state, INFO)


def with_kernels_rounded_in_silence(path: Path) -> None:
    state = saved_model().state_dict()
    write_tensors(path, {k: t.half() if t.ndim == 4 else t for k, t in state.items()}, INFO)


def with_a_kernel_beyond_float16(path: Path) -> None:
    state = saved_model().state_dict()
    state["head.weight"].view(-1)[0] = 1e6
    halves = {k: t.half() if t.ndim == 4 and k.endswith("weight") else t for k, t in state.items()}
    write_tensors(path, halves, INFO | {"store": "float16"})


def with_a_rounded_bias(path: Path) -> None:
    state = saved_model().state_dict()
    write_tensors(path, state | {"head.bias": state["head.bias"].half()}, INFO)


def with_kernels_of_another_kind(path: Path) -> None:
    state = saved_model().state_dict()
    write_tensors(path, state | {"head.weight": state["head.weight"].bfloat16()}, INFO)


def with_a_tensor_more(path: Path) -> None:
    write_tensors(path, saved_model().state_dict() | {"tail.weight": torch.zeros(3)}, INFO)


def of_an_unknown_resampler(path: Path) -> None:
    save_model(path, saved_model().state_dict(), INFO | {"upsample": "bicubic"})


@pytest.mark.parametrize(
    "make",
    [
        nothing, garbage, empty, folder, cut_short, without_metadata, with_other_metadata,
        with_metadata_that_is_no_json, with_metadata_of_another_kind, with_less_metadata,
        of_another_width, of_another_architecture, of_an_unknown_resampler, of_a_giant_s_width,
        of_a_giant_s_depth, of_no_depth,
        of_no_threshold, with_nan, with_an_infinite_kernel, with_a_rounded_bias,
        with_kernels_of_another_kind, with_a_tensor_more,
    ],
    ids=lambda make: make.__name__,
)  # fmt: skip
def test_what_is_no_model_is_one_line_naming_the_file(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    path = tmp_path / "model.safetensors"
    make(path)
    with pytest.raises(ValueError) as error:
        load_model(path)
    text = str(error.value)
    assert text.startswith(f"{path} is ")
    assert "\n" not in text


def test_loading_draws_no_random_numbers(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_model(path, saved_model().state_dict(), INFO)
    before = torch.get_rng_state()
    load_model(path)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_pair_with_names(tmp_path: Path) -> None:
    save_model(tmp_path / "model", saved_model().state_dict(), INFO)
    trained = load_model(tmp_path / "model")
    assert trained == (trained.model, trained.info)


def test_a_missing_model_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is missing: run `dvc repro`, or `make models`"):
        load_model(tmp_path / "model.safetensors")


def test_a_broken_off_writing_leaves_the_old_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    save_model(path, saved_model().state_dict(), INFO)
    before = path.read_bytes()

    def half_written(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:100])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half_written)
    with pytest.raises(OSError, match="No space left"):
        save_model(path, saved_model(1).state_dict(), INFO)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
