"""The models of a page, as its browser runs them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unet.inference.export import to_onnx
from unet.inference.model_file import DEFAULT, find_model, load_model
from unet.model import TTA
from unet.runtime.files import file_sha256

# What an experiment's params choose, in words; a choice that is not here is named as it is.
WORDS = {
    "mp": "max pooling", "str_conv": "strided convolution",
    "tr": "transposed convolution", "ups": "nearest upsampling",
    "bce": "weighted BCE", "dice": "Dice",
}  # fmt: skip


def page_models(root: Path, keys: Sequence[str]) -> dict[str, tuple[dict[str, Any], bytes]]:
    """Key -> what ``page/src/photo.js`` needs to know of the model, and its ONNX file with kernels
    always stored as float16, which halves the page and moves probabilities by about 1e-3.

    Args:
        root: the repository whose ``models/`` hold the experiments ``keys``; else their released
            ones, and the model for photographs, DEFAULT, which comes first.

    Raises:
        ValueError: a model is missing or damaged.
    """
    models = {}
    for key in dict.fromkeys([DEFAULT, *keys]):
        path = root / "models" / f"{key}.safetensors"
        path = path if path.is_file() else find_model(key)
        model, info = load_model(path)
        choices = [info.get(name) for name in ("downsample", "upsample", "loss")]
        about = {
            "title": ", ".join(WORDS.get(choice, choice) for choice in choices if choice),
            "threshold": info["threshold"],
            "image_size": info["image_size"],  # of the square images, in pixels
            "tta_sizes": [round(scale * info["image_size"]) for scale in TTA["scales"]],
            "multiple": 2 ** info["depth"],  # of which the sides that the network takes must be
            "boundary": info.get("boundary", "background"),
            "default": key == DEFAULT,
        }
        models[key] = about, to_onnx(model, info | {"store": "float16"}, file_sha256(path))
    return models
