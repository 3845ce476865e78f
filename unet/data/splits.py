"""Assign images to training, validation and test."""

import hashlib

from unet.data.config import PreprocessConfig
from unet.data.oxford_pets import Index, breed


def assign_splits(index: Index, config: PreprocessConfig) -> dict[str, list[str]]:
    """``train``, ``val`` and ``test`` -> names, sorted.

    ``official``: trainval is divided into training and validation, with the same share of each
    breed in validation; test is test. ``sorted``: the published table's split. It cuts the sorted
    names of all trimaps, ``._`` files first, at 80 %: the first 60 % of the real names are for
    training, the rest (dogs of mostly unseen breeds) for both validation and test.
    """
    if config.split == "sorted":
        names = sorted(index.trimaps)
        cut = int(0.8 * 2 * len(names)) - len(names)
        return _limited({"train": names[:cut], "val": names[cut:], "test": names[cut:]}, config)
    trainval = index.lists["trainval"]
    # Shuffled within each breed, then picked at regular steps: stratified to within one image.
    ordered = sorted(trainval, key=lambda name: (breed(name), _shuffled(name, config.seed)))
    share = config.val_fraction
    val = {name for i, name in enumerate(ordered) if int((i + 1) * share) > int(i * share)}
    train = [name for name in trainval if name not in val]
    return _limited({"train": train, "val": list(val), "test": index.lists["test"]}, config)


def folder_splits(
    names: list[str], lists: dict[str, list[str]], config: PreprocessConfig
) -> dict[str, list[str]]:
    """``train``, ``val`` and ``test`` -> names of a folder's images, sorted.

    Args:
        names: of all images.
        lists: split -> names from the folder's lists: all three, ``train`` and ``test``, or none.
            The others are drawn: ``config.test_fraction`` of all, ``config.val_fraction`` of what
            is not test.
    """
    splits = dict(lists)
    if not lists:
        splits["test"], splits["train"] = _drawn(names, config.test_fraction, config.seed)
    if "val" not in splits:
        splits["val"], splits["train"] = _drawn(splits["train"], config.val_fraction, config.seed)
    return _limited({name: splits[name] for name in ("train", "val", "test")}, config)


def _drawn(names: list[str], share: float, seed: int) -> tuple[list[str], list[str]]:
    """``share`` of ``names`` (at least one) and the rest; adding a name moves few others."""
    ordered = sorted(names, key=lambda name: _shuffled(name, seed))
    count = max(1, round(share * len(names)))
    return ordered[:count], ordered[count:]


def _limited(splits: dict[str, list[str]], config: PreprocessConfig) -> dict[str, list[str]]:
    """At most ``config.limit`` names of each split, sorted; ValueError if one is empty."""
    limited = {}
    for split, names in splits.items():
        if not names:
            counts = ", ".join(f"{name} {len(found)}" for name, found in splits.items())
            raise ValueError(
                f"the {split} split is empty ({counts}): take more images, list more, or change "
                "preprocess.val_fraction or preprocess.test_fraction"
            )
        if config.limit is not None:
            names = sorted(names, key=lambda n: _shuffled(n, config.seed))[: config.limit]
        limited[split] = sorted(names)
    return limited


def _shuffled(name: str, seed: int) -> str:
    """A pseudorandom sort key that does not depend on any library's generator."""
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()
