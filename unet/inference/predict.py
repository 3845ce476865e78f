"""Find the object in users' photographs.

The network takes square images of the size that it was trained on. So a photograph is stretched to
that square, as in preprocessing, and the result is stretched back to the photograph's size, where
:mod:`unet.inference.refine` fits it to the edges.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unet.data.photos import read_photo
from unet.inference.model_file import TrainedModel
from unet.inference.refine import refine as follow_edges
from unet.model import TTA, resize

Photo = str | Path | Image.Image
READERS = 2  # threads; Pillow releases the GIL while it decodes and resizes


@dataclass(frozen=True, eq=False)
class Prediction:
    """What was found in one photograph of H x W pixels, upright. On the CPU.

    Attributes:
        mask: (H, W) bool, the object: the probabilities above the threshold.
        probabilities: (H, W) float32 in [0, 1].
        threshold: in (0, 1).
    """

    mask: Tensor
    probabilities: Tensor
    threshold: float


def predict(
    photo: Photo, *models: TrainedModel, tta: bool = True, refine: bool = True,
    threshold: float | None = None,
) -> Prediction:  # fmt: skip
    """Find the object in one photograph.

    Args:
        photo: a file's path, or a Pillow image, which is turned upright by its EXIF tag.
        models: what :func:`unet.load_model` returns; the probabilities of several are averaged.
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
    photos: Iterable[Photo], *models: TrainedModel, tta: bool = True, refine: bool = True,
    threshold: float | None = None, batch_size: int = 16,
    on_error: Callable[[Photo, ValueError], None] | None = None,
) -> Iterator[tuple[Photo, Prediction]]:  # fmt: skip
    """:func:`predict` for many photographs: in batches, of which the next is read on threads.

    Only two batches of resized photographs, and one result, are in memory at a time: to refine it,
    the photograph is read once more.

    Args:
        photos: as for :func:`predict`; taken a batch at a time, as they are needed.
        batch_size: photographs per forward pass.
        on_error: called for each photograph that cannot be read, which is then skipped. By default
            the first such error is raised.

    Yields:
        Each photograph as it was given, with its prediction, in the given order.
    """
    # A folder's masks have no boundary.
    rules = {i.get("boundary", "background") for _, i in models if i.get("source") != "folder"}
    if len(rules) > 1:
        which = f"the models learnt the border by different rules ({', '.join(sorted(rules))})"
        raise ValueError(f"{which}: the mean of what they say is neither; take models of one rule")
    if threshold is None:
        threshold = fmean(info["threshold"] for _, info in models)
    if not 0 < threshold < 1:
        raise ValueError(f"threshold = {threshold!r}: must lie between 0 and 1, 0.5 for example")
    sizes = {info["image_size"] for _, info in models}
    remaining = iter(photos)
    with ThreadPoolExecutor(READERS) as pool:

        def read_next() -> list[tuple[Photo, Future]]:
            batch = islice(remaining, batch_size)
            return [(photo, pool.submit(_read, photo, sizes)) for photo in batch]

        following = read_next()
        while following:
            batch, current, following = [], following, read_next()
            for photo, reading in current:
                try:
                    batch.append((photo, *reading.result()))
                except ValueError as error:
                    if on_error is None:
                        raise
                    on_error(photo, error)
            if not batch:
                continue
            squares = _squares([images for *_, images in batch], models, tta=tta)
            for (photo, side, _), square in zip(batch, squares, strict=True):
                if refine:
                    found = follow_edges(square, to_picture(photo))
                else:
                    found = resize(square[None, None], side)[0, 0]
                yield photo, Prediction(found > threshold, found, threshold)


def _read(photo: Photo, sizes: set[int]) -> tuple[tuple[int, int], dict[int, Tensor]]:
    """A photograph's height and width, and per size S the image (S, S, 3) uint8."""
    picture = to_picture(photo)
    small = {size: picture.resize((size, size), Image.Resampling.BILINEAR) for size in sizes}
    images = {size: torch.from_numpy(np.array(image)) for size, image in small.items()}
    return (picture.height, picture.width), images


def _squares(
    batch: list[dict[int, Tensor]], models: Iterable[TrainedModel], *, tta: bool
) -> Tensor:
    """The models' mean probabilities (N, S, S) float32, S the largest model's size, on the CPU."""
    squares = []
    for model, info in models:
        images = torch.stack([sizes[info["image_size"]] for sizes in batch])
        # As in Split.batch: with the same `tta`, users get the predictions that are scored.
        images = images.to(model.pixel_mean.device).permute(0, 3, 1, 2).float().div_(255)
        squares.append(model.predict(images, **(TTA if tta else {})).cpu())
    side = max(square.shape[-1] for square in squares)
    return torch.stack([resize(square, (side, side)) for square in squares]).mean(0).squeeze(1)


def to_picture(photo: Photo) -> Image.Image:
    """A new picture, RGB, upright; a ValueError says in one line what is wrong with ``photo``."""
    is_picture = isinstance(photo, Image.Image)
    try:
        picture = read_photo(photo if is_picture else Path(photo))
    except ValueError as error:
        raise ValueError(f"{'the picture' if is_picture else photo} {error}") from None
    picture.format = None  # no file any more, if it is read once more
    if picture.info.get("icc_profile", b"")[16:20] != b"RGB ":  # e.g. of a CMYK picture
        picture.info = {}
    return picture
