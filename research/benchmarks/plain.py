"""The training loop of typical tutorials, for comparison: float32, default memory layout, a
DataLoader that decodes each JPEG and mask again in every epoch, ``.item()`` in every step. The
model is this project's, with torch's default initialisation and pixels in [0, 1].
"""

import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from unet.data import oxford_pets
from unet.model import UNet

RAW = Path("data/raw")
PET = 1  # the value in the dataset's trimaps


class PetFiles(Dataset):
    """Images (3, S, S) float32 in [0, 1] and masks (1, S, S) of the files ``names``."""

    def __init__(self, folder: Path, names: tuple[str, ...], size: int) -> None:
        self.folder, self.names, self.size = folder, names, (size, size)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        name = self.names[index]
        image = Image.open(self.folder / f"images/{name}.jpg").convert("RGB").resize(self.size)
        trimap = Image.open(self.folder / f"annotations/trimaps/{name}.png")
        trimap = np.array(trimap.resize(self.size, Image.Resampling.NEAREST))
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        return pixels, torch.from_numpy(trimap == PET).float()[None]


def extract() -> Path:
    """A temporary folder with the files of the archives in ``data/raw``; reused if it exists."""
    digest = oxford_pets.md5(RAW / oxford_pets.IMAGES)[:8]
    folder = Path(tempfile.gettempdir()) / f"unet-benchmark-files-{digest}"
    if not folder.exists():
        temporary = folder.with_name(f"{folder.name}.part")
        for archive in (oxford_pets.IMAGES, oxford_pets.ANNOTATIONS):
            with tarfile.open(RAW / archive) as files:
                files.extractall(temporary, filter="data")
        temporary.rename(folder)
    return folder


def plain_model(width: int) -> UNet:
    """The project's U-Net (mp, tr) with torch's initialisation and without normalised pixels."""
    model = UNet(width=width)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.reset_parameters()
    model.pixel_mean.zero_()
    model.pixel_std.fill_(1)
    return model


FOREGROUND_WEIGHT = 3.0


class PlainTraining:
    """Adam with a constant learning rate on a BCE with foreground weight 3.

    Args:
        folder: the extracted dataset.
        names: split (train, val) -> names of its images.
    """

    def __init__(
        self,
        folder: Path,
        names: dict[str, tuple[str, ...]],
        *,
        size: int,
        width: int,
        batch_size: int = 32,
        seed: int = 0,
        device: str = "cpu",
        num_workers: int = 2,
    ) -> None:
        torch.manual_seed(seed)
        self.device = device
        self.model = plain_model(width).to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        weight = torch.tensor(FOREGROUND_WEIGHT, device=device)
        self.criterion = nn.BCEWithLogitsLoss(pos_weight=weight)
        self.train_loader, self.val_loader = (
            DataLoader(
                PetFiles(folder, names[split], size), batch_size=batch_size,
                shuffle=split == "train", num_workers=num_workers,
            )
            for split in ("train", "val")
        )  # fmt: skip

    def steps(self) -> Iterator[int]:
        """Train for one epoch; yield the number of images after each step."""
        self.model.train()
        total = 0.0
        for images, masks in self.train_loader:
            images, masks = images.to(self.device), masks.to(self.device)
            self.optimizer.zero_grad()
            loss = self.criterion(self.model(images), masks)
            loss.backward()
            self.optimizer.step()
            total += loss.item()
            yield len(images)

    @torch.no_grad()
    def val_accuracies(self) -> tuple[float, float]:
        """Share of correct validation pixels: at the threshold that belongs to the loss's weight
        (as in this project's scores), and at 0.5 (as in tutorials)."""
        self.model.eval()
        thresholds = (FOREGROUND_WEIGHT / (1 + FOREGROUND_WEIGHT), 0.5)
        right, pixels = [0, 0], 0
        for images, masks in self.val_loader:
            probabilities = torch.sigmoid(self.model(images.to(self.device)))
            truth = masks.to(self.device).bool()
            for number, threshold in enumerate(thresholds):
                right[number] += ((probabilities > threshold) == truth).sum().item()
            pixels += masks.numel()
        return right[0] / pixels, right[1] / pixels

    def epochs(self) -> Iterator[dict[str, float]]:
        """Train; yield each epoch's seconds, validation included, and its validation accuracies."""
        while True:
            started = time.perf_counter()
            for _ in self.steps():
                pass
            accuracy, at_half = self.val_accuracies()
            seconds = time.perf_counter() - started
            yield {"seconds": seconds, "val_accuracy": accuracy, "val_accuracy_at_half": at_half}
