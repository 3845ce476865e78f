"""The U-Net (Ronneberger, Fischer, Brox 2015, arXiv 1505.04597) with a choice of resamplers.

``width`` channels on the first level, twice as many on each of the ``depth`` levels below; at each
level two 3 x 3 convolutions with batch normalisation and ReLU; "same" padding, so that the logits
are as large as the images.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DOWNSAMPLE = ("mp", "str_conv")
UPSAMPLE = ("tr", "ups")

# Mean and standard deviation of ImageNet's channels, for pixels in [0, 1].
PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)


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
        depth: number of levels below the first; heights and widths are multiples of 2 ** depth.
        prior: the logit's probability before training, in (0, 1): the foreground's share.
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
            ValueError: on another shape, or H or W not a multiple of 2 ** depth.
        """
        self._check(images)
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

    def _check(self, images: Tensor) -> None:
        step = 2**self.depth
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images of shape {tuple(images.shape)}: must be (N, 3, H, W)")
        height, width = images.shape[2:]
        if height % step or width % step or not height * width:
            padded = tuple(max(1, math.ceil(side / step)) * step for side in (height, width))
            raise ValueError(
                f"images of {height} x {width} pixels: both sides must be multiples of {step}; "
                f"the next size is {padded[0]} x {padded[1]} (predict() pads by itself)"
            )

    @torch.inference_mode()
    def predict(self, images: Tensor) -> Tensor:
        """Probabilities (N, 1, H, W) in [0, 1], float32, of images of any size.

        Pads to the next valid size by repeating the border, and crops back. Evaluation mode's
        statistics are used whatever mode the model is in, and that mode is restored.
        """
        height, width = images.shape[-2:]
        step = 2**self.depth
        padded = F.pad(images, (0, -width % step, 0, -height % step), mode="replicate")
        was_training = self.training
        self.eval()
        try:
            logits = self(padded)
        finally:
            self.train(was_training)
        return logits[..., :height, :width].float().sigmoid()
