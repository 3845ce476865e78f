"""Pictures of a prediction at the photo's size: mask, cut-out, overlay, probabilities.

A photograph is given to them as it was to :func:`unet.inference.predict.predict`.
"""

import torch
from PIL import Image, ImageFilter
from torch import Tensor

from unet.inference.predict import Photo, Prediction, to_picture

RAMP = 0.15  # of a cut-out's edge: this far from the threshold, alpha is 0 or 255
OUTLINE = (255, 196, 0)


def mask_picture(found: Prediction) -> Image.Image:
    """Mode L: 255 is the object, 0 the rest."""
    return _grey(found.mask.to(torch.uint8) * 255)


def probabilities_picture(found: Prediction) -> Image.Image:
    """Mode L: 255 is probability 1."""
    return _grey((found.probabilities * 255).round_().to(torch.uint8))


def cutout_picture(found: Prediction, photo: Photo) -> Image.Image:
    """RGBA: the object with a soft edge, half transparent at the threshold.

    Fully transparent pixels are black, so that the object's surroundings are not stored.
    """
    alpha = _grey(_ramp(found.probabilities, found.threshold))
    picture = to_picture(photo)
    picture.paste((0, 0, 0), mask=alpha.point([255] + 255 * [0]))
    picture.putalpha(alpha)
    return picture


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


def _grey(values: Tensor) -> Image.Image:
    return Image.fromarray(values.numpy())
