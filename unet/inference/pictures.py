"""What is drawn of a prediction: mask, cut-out, overlay, probabilities. All at the photo's size."""

import torch
from PIL import Image, ImageFilter
from torch import Tensor

from unet.inference.predict import Prediction

RAMP = 0.15  # a cut-out's edge: probabilities so far from the threshold are all or nothing
OUTLINE = (255, 196, 0)


def mask_picture(found: Prediction) -> Image.Image:
    """Mode L: 255 is the object, 0 the rest."""
    return _grey(found.mask.to(torch.uint8) * 255)


def probabilities_picture(found: Prediction) -> Image.Image:
    """Mode L: 255 is probability 1."""
    return _grey((found.probabilities * 255).round_().to(torch.uint8))


def cutout_picture(found: Prediction, photo: Image.Image) -> Image.Image:
    """RGBA: the object with a soft edge, half transparent at the threshold.

    What is wholly transparent is black: neither seen nor stored is what surrounded the object.
    """
    alpha = _grey(_ramp(found.probabilities, found.threshold))
    picture = photo.copy()
    picture.paste((0, 0, 0), mask=alpha.point([255] + 255 * [0]))
    picture.putalpha(alpha)
    return picture


def overlay_picture(found: Prediction, photo: Image.Image) -> Image.Image:
    """RGB: the object outlined in its own colours, all else grey and darker."""
    mask = mask_picture(found)
    around = photo.convert("L").point([round(0.6 * v) for v in range(256)]).convert("RGB")
    picture = Image.composite(photo, around, mask)
    reach = max(1, round(max(photo.size) / 300))
    # Blurred, the mask is grey along its edge alone.
    band = [min(255, 8 * min(v, 255 - v)) for v in range(256)]
    edge = mask.filter(ImageFilter.BoxBlur(reach)).point(band)
    picture.paste(OUTLINE, mask=edge)
    return picture


def _ramp(probabilities: Tensor, threshold: float) -> Tensor:
    """uint8: 0 to 255 around the threshold, rising as 3 x^2 - 2 x^3 does from 0 to 1."""
    reach = min(RAMP, threshold, 1 - threshold)
    x = ((probabilities - (threshold - reach)) / (2 * reach)).clamp_(0, 1)
    return (255 * x * x * (3 - 2 * x)).round_().to(torch.uint8)


def _grey(values: Tensor) -> Image.Image:
    return Image.fromarray(values.numpy())
