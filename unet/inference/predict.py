"""Find the object in users' photographs.

The network takes square images of the size that it was trained on. So a photograph is stretched to
that square, as in preprocessing, and the result is stretched back to the photograph's size, where
:mod:`unet.inference.refine` fits it to the edges.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from unet.data.photos import read_photo
from unet.inference.model_file import TrainedModel, load_model
from unet.inference.refine import refine as follow_edges
from unet.model import TTA

__all__ = ["Photo", "Prediction", "load_model", "predict", "predict_all"]

Photo = str | Path | Image.Image | Tensor
READERS = 2  # threads; Pillow releases the GIL while it decodes and resizes


@dataclass(frozen=True, eq=False)
class Prediction:
    """What was found in one photograph of H x W pixels, upright. On the CPU.

    Attributes:
        mask: (H, W) bool, the object: the probabilities above the threshold.
        probabilities: (H, W) float32 in [0, 1].
        threshold: in (0, 1).
        seconds: to read and predict it, including an equal share of its batch's time.
    """

    mask: Tensor
    probabilities: Tensor
    threshold: float
    seconds: float


def predict(
    photo: Photo,
    *models: TrainedModel,
    tta: bool = True,
    refine: bool = True,
    threshold: float | None = None,
) -> Prediction:
    """Find the object in one photograph.

    Args:
        photo: a file's path; a Pillow image, which is turned upright by its EXIF tag; or a tensor
            (3, H, W), RGB, uint8 or floats in [0, 1] (rounded to 8 bits).
        models: what :func:`load_model` returns; the probabilities of several are averaged.
        tta: test-time augmentation: the mean over the photograph and its mirror image, at 0.9, 1
            and 1.1 times the model's size (:data:`unet.model.TTA`). False is one pass of the
            network instead of six, and a little worse.
        refine: fit the result to the photograph's edges (:mod:`unet.inference.refine`).
        threshold: in (0, 1); default: the one in the model's file, or the mean of several models'.

    Raises:
        ValueError: an argument is invalid, or the file cannot be read.
    """
    ((_, prediction),) = predict_all([photo], *models, tta=tta, refine=refine, threshold=threshold)
    return prediction


def predict_all(
    photos: Iterable[Photo],
    *models: TrainedModel,
    tta: bool = True,
    refine: bool = True,
    threshold: float | None = None,
    batch_size: int = 16,
    on_error: Callable[[Photo, ValueError], None] | None = None,
) -> Iterator[tuple[Photo, Prediction]]:
    """:func:`predict` for many photographs: in batches, read ahead on threads.

    Only one or two batches of resized photographs, and one result, are in memory at a time: to
    refine it, a photograph is read once more.

    Args:
        photos: as for :func:`predict`; taken one by one as they are needed.
        batch_size: photographs per forward pass.
        on_error: called for each photograph that cannot be read, which is then skipped. By default
            the first such error is raised.

    Yields:
        Each photograph as it was given, with its prediction, in the given order.

    Raises:
        ValueError: as :func:`predict`.
    """
    threshold = _threshold(models, threshold)
    batch: list[tuple[Photo, _Shrunk]] = []
    for photo, future in _read_ahead(
        photos, {info["image_size"] for _, info in models}, batch_size
    ):
        if future is not None:
            try:
                batch.append((photo, future.result()))
            except ValueError as error:
                if on_error is None:
                    raise
                on_error(photo, error)
        if batch and (future is None or len(batch) == batch_size):
            for item, found in _predict_batch(
                batch, models, tta=tta, refine=refine, threshold=threshold
            ):
                if isinstance(found, Prediction):
                    yield item, found
                elif on_error is None:
                    raise found
                else:
                    on_error(item, found)
            batch = []


@dataclass(frozen=True)
class _Shrunk:
    """A photograph's height and width, and per size S the image (S, S, 3) uint8."""

    height: int
    width: int
    images: dict[int, Tensor]
    seconds: float
    picture: Image.Image | None  # of what is not a file, which the caller may change


def _threshold(models: tuple[TrainedModel, ...], threshold: float | None) -> float:
    """The threshold to use; the models must mean the same by an object."""
    # A folder's masks have no boundary.
    rules = {
        info.get("boundary", "background") for _, info in models if info.get("source") != "folder"
    }
    if len(rules) > 1:
        raise ValueError(
            f"the models learnt the object's outline by different rules ({', '.join(sorted(rules))}"
            "): the mean of what they say is neither; take models of one rule"
        )
    if threshold is None:
        return sum(info["threshold"] for _, info in models) / len(models)
    if not 0 < threshold < 1:
        raise ValueError(f"threshold = {threshold!r}: must lie between 0 and 1, 0.5 for example")
    return threshold


def _read_ahead(
    photos: Iterable[Photo], sizes: Collection[int], ahead: int
) -> Iterator[tuple[Photo, Future | None]]:
    """Yield each photo with its future, reading ``ahead`` photos early; at the end a None."""
    waiting: deque[tuple[Photo, Future | None]] = deque()
    with ThreadPoolExecutor(READERS) as pool:
        for photo in photos:
            reading = pool.submit(_read, photo, sizes)
            if not isinstance(photo, str | Path):  # the caller may change it in the meantime
                wait([reading])
            waiting.append((photo, reading))
            if len(waiting) > ahead:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    yield "", None


def _read(photo: Photo, sizes: Collection[int]) -> _Shrunk:
    started = time.perf_counter()
    picture = to_picture(photo)
    images = {
        size: torch.from_numpy(
            np.array(picture.resize((size, size), Image.Resampling.BILINEAR))
        )
        for size in sizes
    }  # fmt: skip
    own = None if isinstance(photo, str | Path) else picture
    return _Shrunk(picture.height, picture.width, images, time.perf_counter() - started, own)


def to_picture(photo: Photo) -> Image.Image:
    """A new picture, RGB, upright, of a photograph in any form that :func:`predict` takes.

    Raises:
        ValueError: in one line, what is wrong with ``photo``.
    """
    if isinstance(photo, str | Path | Image.Image):
        is_picture = isinstance(photo, Image.Image)
        try:
            picture = read_photo(photo if is_picture else Path(photo))
        except ValueError as error:
            raise ValueError(f"{'the picture' if is_picture else photo} {error}") from None
        picture.format = None  # no file any more, if it is read once more
        return picture
    shape = tuple(photo.shape)
    if len(shape) != 3 or shape[0] != 3 or 0 in shape:
        raise ValueError(f"a photo of shape {shape}: must be (3, H, W), one image, RGB")
    if photo.dtype != torch.uint8:
        photo = photo.detach()
        if not photo.is_floating_point() or not (photo.amin() >= 0 and photo.amax() <= 1):
            raise ValueError(
                f"a photo of {photo.dtype} from {photo.amin():.4g} to {photo.amax():.4g}: must be "
                "uint8, or floats in [0, 1]"
            )
        photo = (photo * 255).round().to(torch.uint8)
    return Image.fromarray(photo.permute(1, 2, 0).cpu().contiguous().numpy())


@torch.no_grad()
def _square(model: nn.Module, images: Tensor, *, tta: bool) -> Tensor:
    """Probabilities (N, S, S) float32 of images (N, S, S, 3) uint8, on the CPU."""
    device = next(model.parameters()).device
    # As in Split.batch: with the same `tta`, users get the predictions that are scored.
    batch = images.to(device).permute(0, 3, 1, 2).float().div_(255)
    return model.predict(batch, **(TTA if tta else {})).squeeze(1).cpu()


@torch.no_grad()
def _predict_batch(
    batch: list[tuple[Photo, _Shrunk]],
    models: tuple[TrainedModel, ...],
    *,
    tta: bool,
    refine: bool,
    threshold: float,
) -> Iterator[tuple[Photo, Prediction | ValueError]]:
    """Each photo with its prediction, or with why it could not be read again."""
    started = time.perf_counter()
    squares = [
        _square(model, torch.stack([s.images[info["image_size"]] for _, s in batch]), tta=tta)
        for model, info in models
    ]
    side = max(square.shape[-1] for square in squares)
    square = torch.stack([_resize(square, (side, side)) for square in squares]).mean(0)
    share = (time.perf_counter() - started) / len(batch)
    for (photo, shrunk), values in zip(batch, square, strict=True):
        started = time.perf_counter()
        size = (shrunk.height, shrunk.width)
        if refine:
            try:
                picture = shrunk.picture or to_picture(photo)
                if picture.size != size[::-1]:
                    raise ValueError(f"{photo} changed while it was read")
            except ValueError as error:
                yield photo, error
                continue
            probabilities = follow_edges(values, picture)
        else:
            probabilities = _resize(values[None], size)[0]
        mask = probabilities > threshold
        seconds = shrunk.seconds + share + time.perf_counter() - started
        yield photo, Prediction(mask, probabilities, threshold, seconds)


def _resize(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize probabilities (N, h, w) to the height and width ``size``."""
    resized = F.interpolate(values[:, None], size, mode="bilinear", antialias=True)[:, 0]
    return resized.clamp_(0, 1)  # rounding may leave [0, 1]
