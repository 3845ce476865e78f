"""A trained model's file: safetensors, with the metadata needed to use it."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from unet.model import ARCHITECTURE, UNet
from unet.runtime.files import write

DEFAULT = "pets"
# Where a model is looked for by its name: what was trained here, what is released here, what came
# with the package (beside it in a clone, inside it where it is installed).
PACKAGE = Path(__file__).parents[1]
FOLDERS = (Path("models"), Path("released"), PACKAGE / "released", PACKAGE.parent / "released")


class TrainedModel(NamedTuple):
    """A model and its file's metadata: ``model, info = load_model(path)``.

    Attributes:
        model: in evaluation mode.
        info: as in :func:`save_model`; training adds ``image_size``, the side of the square images
            in pixels, and its settings.
    """

    model: UNet
    info: dict[str, Any]


def save_model(
    path: Path, state: dict[str, torch.Tensor], info: dict[str, Any], *, store: str = "float32"
) -> None:
    """Write a float32 state dict to ``path``.

    Args:
        info: JSON values, among them the four of ARCHITECTURE, a ``threshold`` in (0, 1) and an
            ``epoch``.
        store: dtype of the kernels, which are nearly all of the bytes: ``float32`` or ``float16``
            (the file's info then says so). Other tensors keep their dtype.
    """
    tensors = {name: tensor.cpu().contiguous() for name, tensor in state.items()}
    if store == "float16":  # float32 adds no entry, so recorded models keep their bytes
        tensors = {k: t.half() if is_kernel(k, t) else t for k, t in tensors.items()}
        info = info | {"store": store}
    # One entry: the order of several is undefined, so the file's bytes would vary.
    metadata = {"unet": json.dumps(info, sort_keys=True)}
    write(path, safetensors.torch.save(tensors, metadata))


def is_kernel(name: str, tensor: torch.Tensor) -> bool:
    """Whether an entry of a state dict is a convolution's kernel, which ``store`` is about."""
    return name.endswith(".weight") and tensor.ndim == 4


def find_model(name: str) -> Path:
    """The file of a model: NAME.safetensors in the first of FOLDERS that has it, or NAME itself.

    Raises:
        ValueError: there is none; the message lists the names that there are.
    """
    for path in [*(folder / f"{name}.safetensors" for folder in FOLDERS), Path(name)]:
        if path.is_file():
            return path
    names = sorted({path.stem for folder in FOLDERS for path in folder.glob("*.safetensors")})
    raise ValueError(f"model {name}: no such file, and no such model; there are {', '.join(names)}")


def load_model(path: str | Path, device: str | torch.device = "cpu") -> TrainedModel:
    """Load the model at ``path``, float32, in evaluation mode, and its info.

    Raises:
        ValueError: the file is missing, is not one of :func:`save_model`, or holds weights that are
            not finite.
    """
    try:
        with safe_open(path, framework="pt") as file:
            info = json.loads((file.metadata() or {})["unet"])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        with torch.random.fork_rng(devices=[]):  # the weights drawn here are discarded
            model = UNet(**{name: info[name] for name in ARCHITECTURE})
        model.load_state_dict(state)
        if not all(tensor.isfinite().all() for tensor in state.values()):
            raise ValueError("weights that are not finite")
    except FileNotFoundError:
        raise ValueError(
            f"{path} is missing: run `dvc repro`, or `make models` for the released ones"
        ) from None
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        problem = " ".join(str(error).split())
        wanted = "a model of this project, a .safetensors file that its training wrote"
        raise ValueError(f"{path} is not {wanted} ({problem})") from None
    return TrainedModel(model.to(device, memory_format=torch.channels_last).eval(), info)
