"""Which image is for training, validation or test."""

import hashlib

from unet.data.config import PreprocessConfig
from unet.data.oxford_pets import Index, breed


def assign_splits(index: Index, config: PreprocessConfig) -> dict[str, list[str]]:
    """``train``, ``val`` and ``test`` -> names, sorted.

    ``official``: trainval gives training and validation images, the latter the same share of each
    breed; test is test. ``sorted``: the split of the published table, which cut the sorted names of
    all trimaps, ``._`` files in front, at 80 %: the first 60 % of the real names for training, the
    others (dogs of mostly unseen breeds) for validation and evaluation both.

    Raises:
        ValueError: a split would be empty.
    """
    if config.split == "sorted":
        names = sorted(index.trimaps)
        cut = int(0.8 * 2 * len(names)) - len(names)
        splits = {"train": names[:cut], "val": names[cut:], "test": names[cut:]}
    else:
        trainval = index.lists["trainval"]
        # Shuffled within each breed, then every so-and-so-many-th: stratified to within one image.
        ordered = sorted(trainval, key=lambda name: (breed(name), _shuffled(name, config.seed)))
        share = config.val_fraction
        picked = {name for i, name in enumerate(ordered) if int((i + 1) * share) > int(i * share)}
        splits = {
            "train": [name for name in trainval if name not in picked],
            "val": list(picked),
            "test": index.lists["test"],
        }
    for name, names in splits.items():
        if not names:
            raise ValueError(
                f"the {name} split is empty: {len(index.trimaps)} trimaps, preprocess.split = "
                f"{config.split}, preprocess.val_fraction = {config.val_fraction}: take a larger "
                "fraction or more images"
            )
        if config.limit is not None:
            names = sorted(names, key=lambda n: _shuffled(n, config.seed))[: config.limit]
        splits[name] = sorted(names)
    return splits


def _shuffled(name: str, seed: int) -> str:
    """A sort key in no order, that no library's random numbers can change."""
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()
