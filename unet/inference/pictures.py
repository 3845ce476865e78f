"""Pictures of a prediction at the photo's size: mask, cut-out, overlay, probabilities."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps
from scipy.ndimage import label, uniform_filter
from torch import Tensor

from unet.inference.model_file import DEFAULT, TrainedModel, find_model, load_model
from unet.inference.predict import Photo, Prediction, predict, to_picture

RAMP = 0.15  # of a cut-out's edge: this far from the threshold, alpha is 0 or 255
NEAR = 0.01  # diagonals around the mask: the reach of a cut-out's soft edge
SPECK = 0.1  # of the largest part's area: smaller parts are left out of cut-outs
BLUR, BLUR_SIDE = 0.02, 1024  # window in diagonals, pixels of the longer side: of colours at edges
OUTLINE = (255, 196, 0)


def cutout(photo: Photo, model: TrainedModel | str | Path = DEFAULT) -> Image.Image:
    """The animal in a photograph, transparent around it: RGBA, of the photograph's size, upright.
    Where nothing is found, all of it is transparent.

    Args:
        photo: a file's path, or a Pillow image.
        model: what :func:`unet.load_model` returns, or a file's path; by default the model `pets`,
            which comes with the package.

    Raises:
        ValueError: the photograph or the model cannot be read.
    """
    if not isinstance(model, TrainedModel):
        model = load_model(find_model(str(model)))
    picture = to_picture(photo)
    return cutout_picture(predict(picture, model), picture)


def mask_picture(found: Prediction, photo: Photo | None = None) -> Image.Image:
    """Mode L: 255 is the object, 0 the rest."""
    return Image.fromarray(found.mask.numpy() * np.uint8(255))


def probabilities_picture(found: Prediction, photo: Photo | None = None) -> Image.Image:
    """Mode L: 255 is probability 1."""
    return Image.fromarray((found.probabilities * 255).round_().to(torch.uint8).numpy())


def cutout_picture(
    found: Prediction, photo: Photo, *, background: str | Image.Image | None = None,
    crop: bool = False,
) -> Image.Image:  # fmt: skip
    """The object with a soft edge, half transparent at the threshold. Parts of less than a tenth of
    the largest one are left out.

    Fully transparent pixels are black, so that the object's surroundings are not stored.

    Args:
        background: a colour as :mod:`PIL.ImageColor` names it, or a picture, which is scaled to
            cover; None: transparent.
        crop: cut to the object, with a margin of 2 % of its longer side.

    Returns:
        RGBA; with a background RGB.
    """
    alpha = _largest_parts(_ramp(found.probabilities, found.threshold).numpy(), found.mask.numpy())
    picture = to_picture(photo)
    pixels = _without_background(picture, alpha)
    pixels[alpha == 0] = 0
    drawn, mask = Image.fromarray(pixels), Image.fromarray(alpha)
    if isinstance(background, Image.Image):
        drawn = Image.composite(drawn, ImageOps.fit(background.convert("RGB"), drawn.size), mask)
    elif background is not None:
        drawn = Image.composite(drawn, Image.new("RGB", drawn.size, background), mask)
    else:
        drawn.putalpha(mask)
    if crop and (box := mask.getbbox()):
        margin = round(0.02 * max(box[2] - box[0], box[3] - box[1]))
        left, top = (max(0, side - margin) for side in box[:2])
        right, bottom = (min(b + margin, s) for b, s in zip(box[2:], drawn.size, strict=True))
        drawn = drawn.crop((left, top, right, bottom))
    drawn.info = picture.info
    return drawn


def overlay_picture(found: Prediction, photo: Photo) -> Image.Image:
    """RGB: the object outlined, in its own colours; all else grey and darker."""
    mask, own = mask_picture(found), to_picture(photo)
    around = own.convert("L").point([round(0.6 * v) for v in range(256)]).convert("RGB")
    picture = Image.composite(own, around, mask)
    reach = max(1, round(max(own.size) / 300))
    # The blurred mask is grey only along its edge.
    band = [min(255, 8 * min(v, 255 - v)) for v in range(256)]
    edge = mask.filter(ImageFilter.BoxBlur(reach)).point(band)
    picture.paste(OUTLINE, mask=edge)
    return picture


def _ramp(probabilities: Tensor, threshold: float) -> Tensor:
    """Alpha, uint8: rises from 0 to 255 around the threshold as 3 x^2 - 2 x^3 (smoothstep)."""
    reach = min(RAMP, threshold, 1 - threshold)
    x = ((probabilities - (threshold - reach)) / (2 * reach)).clamp_(0, 1)
    return (255 * x * x * (3 - 2 * x)).round_().to(torch.uint8)


def _largest_parts(alpha: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """``alpha`` near the mask, without the parts of it that are smaller than SPECK of the largest.

    Farther off, where the model is merely unsure, a cut-out would show a haze.
    """
    size = 2 * round(NEAR * np.hypot(*mask.shape)) + 3
    alpha = np.where(uniform_filter(mask.astype(np.float32), size) > 1e-7, alpha, 0)
    parts, _ = label(alpha > 0)
    areas = np.bincount(parts.ravel(), mask.ravel())
    areas[0] = 0  # around them
    return np.where((areas >= max(1, SPECK * areas.max()))[parts], alpha, 0)


def _without_background(picture: Image.Image, alpha: np.ndarray) -> np.ndarray:
    """Pixels (H, W, 3) uint8 with the background's share taken out where ``alpha`` is partial.

    Otherwise a cut-out from a lawn has a green rim on white. Blur fusion (Forte 2021, *Approximate
    Fast Foreground Colour Estimation*): the local mean colours of object and background, by
    ``alpha``, then the pixel's own difference from their mixture.
    """
    pixels = np.array(picture)
    soft = (alpha > 0) & (alpha < 255)
    side = min(1, BLUR_SIDE / max(picture.size))
    size = tuple(max(1, round(side * s)) for s in picture.size)
    small = np.asarray(picture.resize(size, Image.Resampling.BOX), dtype=np.float32)
    share = Image.fromarray(alpha).resize(size, Image.Resampling.BOX)
    share = np.asarray(share, dtype=np.float32)[..., None] / 255
    around = 2 * round(BLUR * np.hypot(*size)) + 1

    def local_mean(weight: np.ndarray) -> np.ndarray:
        """The mean colours in a window around each of the ``soft`` pixels: (n, 3) float32."""
        sums, weights = (
            uniform_filter(x, (around, around, 0), mode="nearest") for x in (small * weight, weight)
        )
        means = (sums / np.maximum(weights, 1e-3)).round().clip(0, 255).astype(np.uint8)
        return np.asarray(Image.fromarray(means).resize(picture.size))[soft].astype(np.float32)

    own, ground, a = local_mean(share), local_mean(1 - share), alpha[soft, None] / np.float32(255)
    mixed = a * own + (1 - a) * ground
    pixels[soft] = (own + a * (pixels[soft] - mixed)).round().clip(0, 255)
    return pixels
