"""Model files: the same bytes each time, and a one-line message for invalid files."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from tests import photographs
from tests.tiny import same_weights, tiny_model
from unet.inference.model_file import load_model, save_model
from unet.model import UNet

INFO = photographs.INFO | {"downsample": "str_conv", "upsample": "ups", "experiment": "tiny"}
State = dict[str, torch.Tensor]


def saved_model(seed: int = 0) -> UNet:
    """A model whose kernels, biases and buffers are all in use."""
    model = tiny_model(seed, random_head=True, downsample="str_conv", upsample="ups")
    model.train()(torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(seed)))
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=float(name.endswith("weight")), std=0.1)
    return model.eval()


def test_a_saved_model_comes_back(tmp_path: Path) -> None:
    model = saved_model()
    path = tmp_path / "deep" / "model.safetensors"
    save_model(path, model.state_dict(), INFO)
    before = torch.get_rng_state()
    loaded, info = load_model(path)
    assert info == INFO and torch.equal(torch.get_rng_state(), before)
    assert not loaded.training
    assert same_weights(loaded.state_dict(), model.state_dict())
    images = torch.rand(2, 3, 11, 16)
    # Another memory layout may sum in another order.
    torch.testing.assert_close(loaded.predict(images), model.predict(images))
    assert torch.equal(load_model(str(path))[0].predict(images), loaded.predict(images))


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    """Whatever the order of its info and its layout in memory, and after it was loaded."""
    paths = [tmp_path / name for name in "abcd"]
    model = saved_model()
    save_model(paths[0], model.state_dict(), INFO)
    save_model(paths[1], model.state_dict(), dict(reversed(INFO.items())))
    save_model(paths[2], model.to(memory_format=torch.channels_last).state_dict(), INFO)
    loaded = load_model(paths[0])
    assert loaded == (loaded.model, loaded.info)
    save_model(paths[3], loaded.model.state_dict(), loaded.info)
    assert len({path.read_bytes() for path in paths}) == 1
    assert sorted(tmp_path.iterdir()) == paths


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


def saved(tensors: State, **changes: object) -> bytes:
    """The content of a model's file with other tensors or metadata."""
    metadata = {"unet": json.dumps({k: v for k, v in (INFO | changes).items() if v is not None})}
    return safetensors.torch.save(saved_model().state_dict() | tensors, metadata)


WEIGHT = {"weight": torch.zeros(3)}
NO_MODELS: dict[str, Callable[[], bytes]] = {
    "garbage": lambda: b"\x80 no model at all " * 20,
    "cut short": lambda: saved({})[:-100],
    "no metadata": lambda: safetensors.torch.save(WEIGHT),
    "no JSON": lambda: safetensors.torch.save(WEIGHT, {"unet": "width: 4"}),
    "without upsample": lambda: saved({}, upsample=None),
    "another architecture": lambda: saved({}, downsample="mp"),
    "a tensor more": lambda: saved(WEIGHT),
    "NaN": lambda: saved({"head.bias": torch.tensor([math.nan])}),
}


@pytest.mark.parametrize("name", NO_MODELS)
def test_what_is_no_model_is_one_line_naming_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(NO_MODELS[name]())
    with pytest.raises(ValueError) as error:
        load_model(path)
    text = str(error.value)
    assert text.startswith(f"{path} is not a model of this project") and "\n" not in text
