"""A model as ONNX: the same probabilities, and a file that says how to use it."""

import functools
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from tests import photographs
from tests.repo import ROOT, readme_block
from tests.tiny import CPU, pack_drawn, tiny_model
from tools import export as tool
from unet.data.packed import Split, load_split
from unet.data.synthetic import draw_animal
from unet.inference.export import TOLERANCE, about, largest_difference, to_onnx
from unet.inference.model_file import TrainedModel, load_model, save_model
from unet.inference.predict import predict, to_picture
from unet.model import DOWNSAMPLE, UPSAMPLE, UNet
from unet.runtime.files import file_sha256

KINDS = list(zip(DOWNSAMPLE, UPSAMPLE, strict=True))  # each of them once: an export takes seconds
INFO: dict[str, Any] = photographs.INFO | {
    "downsample": "str_conv", "upsample": "ups", "threshold": 0.7005329, "image_size": 32,
    "experiment": "tiny", "source": "mirror",
}  # fmt: skip
KEY = "tiny"


def drawn(*sides: tuple[int, int]) -> torch.Tensor:
    """Drawn animals (N, 3, H, W) in [0, 1], one for each of ``sides``, which are all (H, W)."""
    images = []
    for i, (height, width) in enumerate(sides):
        picture, _ = draw_animal(np.random.default_rng(i))
        images.append(np.asarray(picture.resize((width, height)), dtype=np.float32) / 255)
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def used_model(downsample: str = "str_conv", upsample: str = "ups", seed: int = 0) -> UNet:
    """A model whose statistics and biases are in use, with probabilities on both sides of 0.5."""
    model = tiny_model(seed, random_head=True, downsample=downsample, upsample=upsample)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=float(name.endswith("weight")), std=0.1)
    images = drawn(*4 * [(32, 32)])
    with torch.no_grad():
        for _ in range(30):  # the running mean and variance come close to the images'
            model.train()(images)
        model.eval().head.bias -= model(drawn((32, 32))).median()
    return model


def run(content: bytes, images: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"images": images.contiguous().numpy()})[0])


@functools.cache  # an export takes seconds
def exported(downsample: str = "str_conv", upsample: str = "ups", seed: int = 0) -> bytes:
    return to_onnx(used_model(downsample, upsample, seed), INFO, "5a" * 32)


@pytest.mark.parametrize(("downsample", "upsample"), KINDS)
def test_the_probabilities_are_torch_s(downsample: str, upsample: str) -> None:
    model, other = used_model(downsample, upsample), used_model(downsample, upsample, seed=1)
    content = exported(downsample, upsample)
    for sides in ([(32, 32)], 3 * [(32, 32)], 2 * [(16, 44)], 5 * [(4, 8)], [(4, 4)]):
        images = drawn(*sides)
        found, expected = run(content, images), model.predict(images)
        assert found.shape == (len(sides), 1, *sides[0]) and found.dtype == torch.float32
        assert (found - expected).abs().max() < TOLERANCE
        assert (found - other.predict(images)).abs().max() > 100 * TOLERANCE
        assert (found - model.predict(images / 2)).abs().max() > 100 * TOLERANCE
    assert 0.1 < (run(content, drawn((32, 32))) > 0.5).float().mean() < 0.9


def test_the_file_says_how_to_use_it() -> None:
    content = exported()
    model = onnx.load_model_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, model.opset_import[0].version) == (8, 18)  # of one release of ONNX
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata == about(INFO) | {"model_sha256": "5a" * 32}
    said = {"image_size": "32", "threshold": "0.7005329", "classes": "background,object"}
    assert metadata.items() >= (said | {"depth": "2", "multiple": "4"}).items()
    assert "CC BY-SA 4.0" in metadata["licence"]
    others = {source: about(INFO | {"source": source})["licence"] for source in ("folder", "")}
    assert "licence is unknown" in others["folder"] and "unknown licence" in others[""]


def test_the_exported_file_is_the_released_model_s() -> None:
    """A new release comes with a new file (docs/maintaining.md, "A new record")."""
    released, content = ROOT / "released/pets.safetensors", ROOT / "exported/pets.onnx"
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    made_from = session.get_modelmeta().custom_metadata_map["model_sha256"]
    assert made_from == file_sha256(released), (
        f"`python -m tools.export pets --out {content.relative_to(ROOT)} --overwrite`"
    )
    model, info = load_model(released)
    assert session.get_modelmeta().custom_metadata_map == about(info) | {"model_sha256": made_from}
    images = drawn(*3 * [2 * (info["image_size"],)])
    (found,) = session.run(None, {"images": images.numpy()})
    assert (torch.from_numpy(found) - model.predict(images)).abs().max() < TOLERANCE
    proto = onnx.load(content)
    assert (proto.ir_version, proto.opset_import[0].version) == (8, 18)
    assert content.stat().st_size < 1.02 * released.stat().st_size


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory, raw: Path) -> Path:
    return pack_drawn(tmp_path_factory.mktemp("packed") / "packed", raw, image_size=32)


def test_the_largest_difference_is_found_wherever_it_is(packed: Path) -> None:
    model, split = used_model(), load_split(packed / "test", CPU)
    assert 0 <= largest_difference(exported(), model, split, batch_size=7) < TOLERANCE
    black = Split(split.images.clone(), split.masks, split.names)
    black.images[:-1] = 0  # the last image alone differs then
    other = exported(seed=1)
    found = largest_difference(other, model, black, batch_size=7)
    last = black.batch(torch.tensor([len(black) - 1]), CPU)[0]
    assert found >= (run(other, last) - model.predict(last)).abs().max() - TOLERANCE
    assert found > 100 * TOLERANCE
    torch.nn.init.constant_(model.head.bias, torch.nan)
    assert not largest_difference(other, model, split, batch_size=7) < TOLERANCE


def test_a_key_is_looked_up_in_models_first_and_checked(
    tmp_path: Path, packed: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def command(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["export", *arguments])
        tool.main()

    monkeypatch.chdir(tmp_path)
    save_model(Path(f"released/{KEY}.safetensors"), used_model().state_dict(), INFO)
    Path("data").mkdir()
    Path("data/packed").symlink_to(packed)
    monkeypatch.setattr(tool, "to_onnx", lambda *_: exported(seed=1))
    with pytest.raises(ValueError, match="not below 0.0001: nothing was written"):
        command(KEY, "--check")
    assert not Path(f"{KEY}.onnx").exists()
    save_model(Path(f"models/{KEY}.safetensors"), used_model(seed=1).state_dict(), INFO)
    command(KEY, "--check")
    check, written = capsys.readouterr().out.splitlines()
    assert check.startswith("data/packed/test: 23 images, largest difference")
    assert written.startswith(f"{KEY}.onnx: 0.1 MB")
    assert Path(f"{KEY}.onnx").read_bytes() == exported(seed=1)
    with pytest.raises(ValueError, match=r"tiny\.onnx exists: --overwrite"):
        command(KEY)
    command(f"released/{KEY}.safetensors", "--out", f"{KEY}.onnx", "--overwrite")


def test_the_script_of_the_readme(tmp_path: Path) -> None:
    script = readme_block("python", "import onnxruntime")
    imported = re.findall(r"^(?:import|from) (\w+)", script, re.MULTILINE)
    assert sorted(imported) == ["PIL", "numpy", "onnxruntime"]
    # A photograph that lies on its side, as a phone stores it.
    photo, _ = draw_animal(np.random.default_rng(3))
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "pet.jpg", quality=95, exif=exif)
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported/pets.onnx").write_bytes(exported())
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    subprocess.run([sys.executable, "script.py"], cwd=tmp_path, check=True)
    trained = TrainedModel(used_model(), INFO)
    expected = predict(tmp_path / "pet.jpg", trained, tta=False, refine=False).mask.numpy()
    cutout = np.asarray(Image.open(tmp_path / "cutout.png"))
    found = cutout[..., 3] > 0
    assert 0.02 < expected.mean() < 0.98
    assert (found & expected).sum() / (found | expected).sum() > 0.99
    assert np.array_equal(cutout[..., :3], to_picture(tmp_path / "pet.jpg"))
