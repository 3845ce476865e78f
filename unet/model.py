"""The U-Net (Ronneberger, Fischer, Brox 2015, arXiv 1505.04597) with a choice of resampling.

``width`` channels on the first level, twice as many on each of the ``depth`` levels below; at each
level two 3 x 3 convolutions with batch normalisation and ReLU; "same" padding, so that the logits
are as large as the images.
"""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DOWNSAMPLE = ("mp", "str_conv")
UPSAMPLE = ("tr", "ups")
ARCHITECTURE = ("downsample", "upsample", "width", "depth")  # arguments of UNet

# Mean and standard deviation of ImageNet's channels, for pixels in [0, 1].
PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)

# Test-time augmentation, as arguments of :meth:`UNet.predict`: six passes of the network.
TTA: Mapping[str, Any] = MappingProxyType({"flip": True, "scales": (0.9, 1.0, 1.1)})

TOLERANCE = 1e-3  # for values in [0, 1], which resizing and rounding may exceed


class ConvBlock(nn.Sequential):
    """Two 3 x 3 convolutions, each with batch normalisation and ReLU.

    (N, in_channels, H, W) -> (N, out_channels, H, W).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


def build_downsample(kind: str, channels: int) -> nn.Module:
    """(N, channels, H, W) -> (N, channels, H / 2, W / 2).

    ``mp``: 2 x 2 max pooling. ``str_conv``: a learned 3 x 3 convolution with stride 2.
    """
    if kind == "mp":
        return nn.MaxPool2d(2)
    if kind == "str_conv":
        return nn.Conv2d(channels, channels, 3, stride=2, padding=1)
    raise ValueError(f"downsample = {kind!r}: must be one of {', '.join(DOWNSAMPLE)}")


def build_upsample(kind: str, in_channels: int, out_channels: int) -> nn.Module:
    """(N, in_channels, H, W) -> (N, out_channels, 2 H, 2 W).

    ``tr``: a 2 x 2 transposed convolution with stride 2. ``ups``: nearest-neighbour upsampling,
    then a 3 x 3 convolution.
    """
    if kind == "tr":
        return nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)
    if kind == "ups":
        return nn.Sequential(
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
        )
    raise ValueError(f"upsample = {kind!r}: must be one of {', '.join(UPSAMPLE)}")


class UNet(nn.Module):
    """U-Net for one foreground class.

    Args:
        downsample: ``mp`` or ``str_conv``, see :func:`build_downsample`.
        upsample: ``tr`` or ``ups``, see :func:`build_upsample`.
        width: channels of the first level.
        depth: number of levels below the first; images' sides must be multiples of 2 ** depth.
        prior: the probability predicted before training, in (0, 1): the foreground's share.
    """

    def __init__(
        self,
        *,
        downsample: str = "mp",
        upsample: str = "tr",
        width: int = 64,
        depth: int = 4,
        prior: float = 0.5,
    ) -> None:
        super().__init__()
        self.depth = depth
        channels = [width * 2**level for level in range(depth + 1)]
        self.encoder = nn.ModuleList(
            ConvBlock(before, after)
            for before, after in zip([3, *channels[:-2]], channels[:-1], strict=True)
        )
        self.down = nn.ModuleList(build_downsample(downsample, c) for c in channels[:-1])
        self.bottleneck = ConvBlock(channels[-2], channels[-1])
        self.up = nn.ModuleList(build_upsample(upsample, 2 * c, c) for c in channels[-2::-1])
        self.decoder = nn.ModuleList(ConvBlock(2 * c, c) for c in channels[-2::-1])
        self.head = nn.Conv2d(width, 1, 1)
        self.register_buffer("pixel_mean", torch.tensor(PIXEL_MEAN).view(1, 3, 1, 1))
        self.register_buffer("pixel_std", torch.tensor(PIXEL_STD).view(1, 3, 1, 1))
        self._initialise(prior)

    def _initialise(self, prior: float) -> None:
        """Keep the variance of activations through the depth; start at the prior everywhere.

        Kaiming's normal weights (He et al. 2015, arXiv 1502.01852) before a ReLU; gain 1 for the
        linear resamplers; a head of zeros with bias log(p / (1 - p)) (Lin et al. 2017,
        arXiv 1708.02002, section 4.1), so that the first loss equals its closed form.
        """
        for module in [*self.encoder, self.bottleneck, *self.decoder]:
            for layer in module:
                if isinstance(layer, nn.Conv2d):
                    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        for layer in [*self.down.modules(), *self.up.modules()]:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
                nn.init.zeros_(layer.bias)
            elif isinstance(layer, nn.ConvTranspose2d):
                # Stride equals kernel: each output pixel sees one tap of each input channel.
                nn.init.normal_(layer.weight, std=layer.in_channels**-0.5)
                nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.head.weight)
        nn.init.constant_(self.head.bias, math.log(prior / (1 - prior)))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 1, H, W) of float ``images`` (N, 3, H, W), RGB in [0, 1].

        Raises:
            ValueError: H or W is not a multiple of 2 ** depth.
        """
        step, (height, width) = 2**self.depth, images.shape[2:]
        if height % step or width % step or not height * width:
            raise ValueError(
                f"images of {height} x {width} pixels: both sides must be multiples of {step} "
                "(predict() pads by itself)"
            )
        x = (images - self.pixel_mean) / self.pixel_std
        skips = []
        for encoder, down in zip(self.encoder, self.down, strict=True):
            skip = encoder(x)
            skips.append(skip)
            x = down(skip)
        x = self.bottleneck(x)
        for up, decoder, skip in zip(self.up, self.decoder, reversed(skips), strict=True):
            x = decoder(torch.cat([skip, up(x)], dim=1))
        return self.head(x)

    @torch.no_grad()
    def predict(
        self, images: Tensor, *, flip: bool = False, scales: Sequence[float] = (1.0,)
    ) -> Tensor:
        """Probabilities (N, 1, H, W) in [0, 1], float32, on the model's device.

        Results are good only for images of about the size that the model was trained on, the
        ``image_size`` in its file's info. :func:`unet.inference.predict.predict` resizes a
        photograph to that size, and its result back.

        Pads to the next multiple of 2 ** depth by repeating the border, and crops back. Runs in
        evaluation mode, then restores each module's mode.

        Args:
            images: (N, 3, H, W), RGB, floats in [0, 1].
            flip: average over the images and their mirror images, which takes twice the time.
            scales: average over the images resized by these factors.

        Raises:
            ValueError: the images are not as above: pixels of 8 bits, for example.
        """
        _check(images)
        images = images.to(self.pixel_mean.device)
        side = images.shape[-2:]
        answers = []
        for scale in scales:
            resized = resize(images, [max(1, round(scale * pixels)) for pixels in side])
            answer = self._predict_once(resized)
            if flip:
                answer = (answer + self._predict_once(resized.flip(-1)).flip(-1)) / 2
            answers.append(resize(answer, side))
        return torch.stack(answers).mean(0)

    def _predict_once(self, images: Tensor) -> Tensor:
        """Probabilities from one forward pass."""
        height, width = images.shape[-2:]
        step = 2**self.depth
        images = images.to(self.pixel_mean)  # the model's dtype and device
        padded = F.pad(images, (0, -width % step, 0, -height % step), mode="replicate")
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            with torch.autocast(padded.device.type, enabled=False):
                logits = self(padded)
        finally:
            for module, training in modes:
                module.training = training
        return logits[..., :height, :width].float().sigmoid()


def resize(values: Tensor, side: Sequence[int]) -> Tensor:
    """Resize float values (N, C, H, W) in [0, 1] to the height and width ``side``."""
    if tuple(side) == values.shape[-2:]:
        return values
    resized = F.interpolate(values.float(), tuple(side), mode="bilinear", antialias=True)
    return resized.clamp(0, 1)  # rounding may leave [0, 1]


def _check(images: Tensor) -> None:
    """Check the images of :meth:`UNet.predict`. Not for ``forward``: reading the values would stall
    training on a GPU."""
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise ValueError(
            f"images of {images.dtype} and shape {tuple(images.shape)}: must be floats in [0, 1], "
            "(N, 3, H, W)"
        )
    if images.numel():
        low, high = (value.item() for value in images.aminmax())
        if not (low >= -TOLERANCE and high <= 1 + TOLERANCE):  # also false if one is NaN
            raise ValueError(
                f"images from {low:.4g} to {high:.4g}: must be in [0, 1]; of 8-bit pixels: "
                "images / 255"
            )
