"""Find copies of a photograph in the dataset: ``python -m research.labels.pairs``.

Writes ``pairs.csv``: pairs of images of one breed in which one image equals the other or a window
of it, possibly mirrored. Candidates are found by comparing thumbnails of each whole image and of a
grid of windows of each other image. Then the window is fitted; similar details make a pair.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from research.labels.fold import HERE, joined, packed_splits
from unet.data.oxford_pets import breed
from unet.runtime.files import write
from unet.runtime.process import run_stage

GRID, THUMB = 40, 8  # sides in pixels: of the image that windows are cut from; of thumbnails
WINDOWS = [(side, start) for side in (40, 32, 24) for start in range(0, GRID - side + 1, 4)]
CANDIDATE = 0.9  # correlation of two thumbnails; most pairs above it are different photographs
# Correlation of the fitted window's details. All 59 pairs above it were inspected and show the same
# photograph. Pairs from 0.9 to 0.95 show the same scene but may be another shot.
SAME = 0.95
FITTED, BLUR, STEPS = 32, 9, 40  # side, width of the subtracted blur (pixels), steps of the fit
WHOLE = 0.04  # a window that is off by less than this counts as the whole image


def unit(images: Tensor) -> Tensor:
    """Images (N, ...) as vectors (N, D) of mean 0 and length 1."""
    flat = images.flatten(1)
    return F.normalize(flat - flat.mean(1, keepdim=True), dim=1)


def details(images: Tensor) -> Tensor:
    """:func:`unit` of images (N, 3, S, S) minus their blur, so that a bright sky is no match."""
    margin = [BLUR // 2] * 4
    return unit(images - F.avg_pool2d(F.pad(images, margin, mode="reflect"), BLUR, 1))


def candidates(images: Tensor) -> list[tuple[int, int, bool, Tensor]]:
    """Pairs (i, j, mirrored, window) of images (N, 3, S, S), each pair once: image i, mirrored or
    not, looks like the window (centre x, y, half width, half height in [-1, 1]) of image j."""
    small = F.interpolate(images, size=(GRID, GRID), mode="area")
    whole = [unit(F.avg_pool2d(x, GRID // THUMB)) for x in (small, small.flip(-1))]
    best = torch.zeros(2, len(images), len(images))
    which = torch.zeros(2, len(images), len(images), dtype=torch.long)
    windows = list(product(WINDOWS, WINDOWS))
    for k, ((height, top), (width, left)) in enumerate(windows):
        cut = small[:, :, top : top + height, left : left + width]
        thumbs = unit(F.avg_pool2d(cut, (height // THUMB, width // THUMB)))
        for mirrored in (0, 1):
            alike = whole[mirrored] @ thumbs.T
            which[mirrored][alike > best[mirrored]] = k
            best[mirrored] = best[mirrored].maximum(alike)
    best.diagonal(dim1=1, dim2=2).zero_()
    found = []
    for mirrored in (0, 1):
        both = best[mirrored].maximum(best[mirrored].T)
        for i, j in (both.triu() > CANDIDATE).nonzero().tolist():
            if best[mirrored, j, i] > best[mirrored, i, j]:
                i, j = j, i
            (height, top), (width, left) = windows[which[mirrored, i, j]]
            centre = [(2 * left + width) / GRID - 1, (2 * top + height) / GRID - 1]
            window = torch.tensor([*centre, width / GRID, height / GRID])
            found.append((i, j, bool(mirrored), window))
    return found


def fit(first: Tensor, second: Tensor, windows: Tensor) -> tuple[Tensor, Tensor]:
    """Fit ``windows`` (N, 4) of ``second`` (N, 3, S, S) to the whole images ``first`` (N, 3, S, S)
    by gradient descent.

    Returns:
        The correlation of the details (N,) and the fitted windows (N, 4).
    """
    target = details(F.interpolate(first, size=(FITTED, FITTED), mode="area"))
    source = F.interpolate(second, size=(3 * FITTED // 2,) * 2, mode="area")
    windows = windows.clone().requires_grad_()
    optimizer = torch.optim.Adam([windows], lr=0.01)
    pick = torch.zeros(4, 2, 3)  # places (x, y, width, height) in an affine matrix
    pick[0, 0, 2] = pick[1, 1, 2] = pick[2, 0, 0] = pick[3, 1, 1] = 1
    size = [len(first), 3, FITTED, FITTED]
    for _ in range(STEPS):
        before = windows.detach().clone()
        grid = F.affine_grid(torch.einsum("nk,kij->nij", windows, pick), size, align_corners=False)
        seen = F.grid_sample(source, grid, padding_mode="border", align_corners=False)
        alike = (details(seen) * target).sum(1)
        optimizer.zero_grad()
        (-alike.sum()).backward()
        optimizer.step()
    return alike.detach(), before


def find_pairs(images: Tensor, names: Sequence[str], splits: list[str]) -> pd.DataFrame:
    """The pairs among images (N, 3, S, S) uint8, one row per pair: names, splits, kind, distance
    (1 minus the correlation of details), whether it crosses trainval and test, and the window of
    the second image that the first shows."""
    rows = []
    breeds = np.array([breed(name) for name in names])
    for one in np.unique(breeds):
        index = np.flatnonzero(breeds == one)
        own = images[torch.from_numpy(index)].float() / 255
        if not (found := candidates(own)):
            continue
        i, j, mirrored, windows = zip(*found, strict=True)
        first, turned = own[list(i)], torch.tensor(mirrored)
        first = torch.where(turned[:, None, None, None], first.flip(-1), first)
        alike, windows = fit(first, own[list(j)], torch.stack(windows))
        for k in (alike > SAME).nonzero()[:, 0].tolist():
            a, b = index[i[k]], index[j[k]]
            x, y, width, height = windows[k].tolist()
            whole = max(abs(x), abs(y), 1 - width, 1 - height) < WHOLE
            kind = " ".join(["mirrored"] * mirrored[k] + ["crop"] * (not whole)) or "same"
            rows.append(
                {
                    "first": names[a], "second": names[b], "first_split": splits[a],
                    "second_split": splits[b], "kind": kind, "distance": 1 - alike[k].item(),
                    "across": (splits[a] == "test") != (splits[b] == "test"),
                    "x": x, "y": y, "width": width, "height": height,
                }
            )  # fmt: skip
    return pd.DataFrame(rows).sort_values(["distance", "first"], ignore_index=True)


def main() -> None:
    """See the module docstring."""
    splits = packed_splits()
    everything = joined(*splits.values())
    of_split = [name for name, split in splits.items() for _ in split.names]
    table = find_pairs(everything.images.permute(0, 3, 1, 2), everything.names, of_split)
    write(HERE / "pairs.csv", table.to_csv(index=False, lineterminator="\n", float_format="%.3f"))


if __name__ == "__main__":
    run_stage("pairs", main)
