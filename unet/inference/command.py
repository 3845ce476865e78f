"""Find the object in photographs and write what was found: ``unet-predict --help``."""

import argparse
import io
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from unet.data.photos import is_photo, read_photo
from unet.inference import pictures
from unet.inference.model_file import DEFAULT, find_model, load_model
from unet.inference.predict import Photo, Prediction, predict_all
from unet.runtime.device import resolve_device
from unet.runtime.files import atomic_write
from unet.runtime.process import OUT_OF_MEMORY, run_stage

# By ``source`` in a model's info; printed so that nobody takes a released model for their own.
TRAINED_ON = {
    "official": "Oxford-IIIT Pet",
    "mirror": "Oxford-IIIT Pet",
    "synthetic": "drawn images",
    "folder": "a folder of one's own",
}
# By ``boundary`` in the info, if it is not the default and the data have one.
LEARNT_BOUNDARY = {
    "object": ", the outline as object",
    "middle": ", the outline divided in the middle",
    "ignore": ", the outline left out",
}
LONGEST_NAME = 255 - 20  # bytes; the rest is for the file's temporary name
JPEG_SIDE = 65500  # pixels
# Kind of result -> its file's ending.
ENDINGS = {
    "mask": "_mask.png",
    "cutout": "_cutout.png",
    "overlay": "_overlay.jpg",
    "probabilities": "_probabilities.png",
}


class _Parser(argparse.ArgumentParser):
    """Reports an error in one line, without the usage."""

    def error(self, message: str) -> None:
        advice = "--help lists the options"
        if dashed := [word for word in sys.argv[1:] if word[:1] == "-" and Path(word).exists()]:
            advice = f"for the file of that name write ./{dashed[0]}"
        raise ValueError(f"{message} ({advice})")


def main() -> None:
    """Run the command by ``sys.argv``; exits with status 1 if any photograph fails."""
    run_stage("predict", _main)


def _main() -> None:
    for stream in (sys.stdout, sys.stderr):  # the terminal may be unable to encode a name
        stream.reconfigure(errors="backslashreplace")
    # Pillow warns about large pictures and damaged tags; unreadable files raise errors anyway.
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        _predict(_parse())
    except (MemoryError, RuntimeError) as error:
        text = str(error).lower()
        if not isinstance(error, MemoryError) and not any(sign in text for sign in OUT_OF_MEMORY):
            raise
        raise ValueError("out of memory: lower --batch-size, or take smaller pictures") from None


def _parse() -> argparse.Namespace:
    parser = _Parser(
        "unet-predict",
        allow_abbrev=False,
        description="Find the object in photographs (the released models: a pet).",
    )
    add = parser.add_argument
    add("photos", nargs="+", metavar="PHOTO-OR-FOLDER", help="pictures, or folders of them")
    add(
        "--model", action="append", metavar="KEY-OR-FILE",
        help=f"a model's file, or its key in models/ or released/ (default: {DEFAULT}); may be "
        "given several times: their mean",
    )  # fmt: skip
    add("--out", default="predicted", help="folder (default: predicted)")
    add("--cutout", action="store_true", help="also the object alone: PNG, transparent around it")
    add("--overlay", action="store_true", help="also the photograph with the object outlined")
    add("--probabilities", action="store_true", help="also the probabilities: PNG, 255 = 1")
    add("--overwrite", action="store_true", help="replace results that are there")
    add("--threshold", type=float, help="in (0, 1); lower finds more (default: the model's own)")
    add(
        "--no-tta", action="store_false", dest="tta",
        help="without test-time augmentation, the mean over the photograph and its mirror image at "
        "three sizes: faster, a little worse",
    )  # fmt: skip
    add("--device", default="cpu", help="cpu (default), cuda, mps or auto")
    add("--batch-size", type=int, default=16, help="photographs at once (default: 16)")
    return parser.parse_args()


def _predict(arguments: argparse.Namespace) -> None:
    """Do what the arguments ask for.

    Raises:
        ValueError: an argument is invalid, or (at the end) some photographs failed.
    """
    if arguments.threshold is not None and not 0 < arguments.threshold < 1:
        raise ValueError(f"--threshold {arguments.threshold:g}: must lie between 0 and 1")
    if arguments.batch_size < 1:
        raise ValueError(f"--batch-size {arguments.batch_size}: must be at least 1")
    if arguments.device not in ("auto", "cpu", "cuda", "mps"):
        raise ValueError(f"--device {arguments.device}: must be cpu, cuda, mps or auto")
    device = resolve_device(arguments.device)
    if "" in [*arguments.photos, *(arguments.model or []), arguments.out]:
        raise ValueError("an argument is empty: a variable that is not set?")
    out = Path(arguments.out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out}: is a file, must be a folder")
    if out.resolve() in [Path(given).resolve() for given in arguments.photos]:
        raise ValueError(
            f"--out {out}: is the photographs' own folder, where the next run would take the "
            "results for photographs: name another"
        )
    files = [find_model(name) for name in arguments.model or [DEFAULT]]
    photos, passed_over = find_photos(arguments.photos)
    kinds = [kind for kind in ENDINGS if kind == "mask" or getattr(arguments, kind)]
    targets = {
        photo: {kind: out / f"{name}{ENDINGS[kind]}" for kind in kinds}
        for photo, name in zip(photos, output_names(photos), strict=True)
    }
    inputs = set(map(_place, photos))
    for path in (path for paths in targets.values() for path in paths.values()):
        if _place(path) in inputs:
            raise ValueError(f"{path} is one of the photographs: name another folder with --out")
    models = [load_model(file, device) for file in files]
    out.mkdir(parents=True, exist_ok=True)

    if passed_over:
        print(f"passed over: {passed_over} that are no pictures, or folders", flush=True)
    done = 0
    hidden = True if len(photos) == 1 else None  # None: if the output is not a terminal
    with tqdm(total=len(photos), unit="photo", leave=False, disable=hidden) as bar:

        def fail(photo: Photo, problem: object) -> None:
            tqdm.write(f"predict: {problem}", file=sys.stderr)
            bar.update()

        to_do = []
        for photo, paths in targets.items():
            if max(len(os.fsencode(path.name)) for path in paths.values()) > LONGEST_NAME:
                fail(photo, f"{photo} skipped: its results' names would be too long: rename it")
                continue
            there = [path for path in paths.values() if path.exists()]
            if there and not arguments.overwrite:
                fail(photo, f"{photo} skipped: {there[0]} is there (--overwrite replaces it)")
            else:
                to_do.append(photo)
        for photo, found in predict_all(
            to_do, *models, tta=arguments.tta, threshold=arguments.threshold,
            batch_size=arguments.batch_size, on_error=fail,
        ):  # fmt: skip
            started = time.perf_counter()
            try:
                _write(photo, found, targets[photo])
            except ValueError as error:
                fail(photo, f"{photo} {error}")
                continue
            seconds = found.seconds + time.perf_counter() - started
            share = found.mask.float().mean().item()
            tqdm.write(f"{photo}: object {share:.1%}, {seconds:.2f} s", file=sys.stdout)
            bar.update()
            done += 1
    by = [
        f"{file} (trained on {trained_on(info)})"
        for file, (_, info) in zip(files, models, strict=True)
    ]
    print(f"{done} done, by {', '.join(by)}, into {out}")
    if done < len(photos):
        raise ValueError(f"{len(photos) - done} of {len(photos)} not done: see above")


def trained_on(info: dict[str, Any]) -> str:
    """What a model with this ``info`` was trained on, in a few words."""
    source = info.get("source")
    # A user's own masks have no boundary.
    boundary = "" if source == "folder" else LEARNT_BOUNDARY.get(info.get("boundary"), "")
    return TRAINED_ON.get(source, "unknown images") + boundary


def _write(photo: Path, found: Prediction, targets: dict[str, Path]) -> None:
    """Write the files of one photograph, all of them or none.

    Raises:
        ValueError: it can no longer be read, has changed, or is too large for a JPEG; worded to
            follow its name.
    """
    if "overlay" in targets and max(found.mask.shape) > JPEG_SIDE:
        raise ValueError(f"has more than {JPEG_SIDE} pixels a side: do it without --overlay")
    # Read again if needed: keeping a batch of large photographs would fill the memory.
    picture = read_photo(photo) if targets.keys() & {"cutout", "overlay"} else None
    if picture is not None and picture.size != tuple(reversed(found.mask.shape)):
        raise ValueError("changed while it was read")
    draw = {
        "mask": lambda: pictures.mask_picture(found),
        "cutout": lambda: pictures.cutout_picture(found, picture),
        "overlay": lambda: pictures.overlay_picture(found, picture),
        "probabilities": lambda: pictures.probabilities_picture(found),
    }
    with ExitStack() as stack:  # all files are renamed at its end
        for kind, path in targets.items():
            drawn = draw[kind]()
            profile = drawn.info.pop("icc_profile", None)
            if profile and profile[16:20] != b"RGB ":  # e.g. of a CMYK picture
                profile = None
            # To memory first: Pillow's own error on a full disk would not say so.
            content = io.BytesIO()
            if path.suffix == ".png":
                drawn.save(content, "PNG", compress_level=1, icc_profile=profile)
            else:
                drawn.save(content, "JPEG", quality=90, icc_profile=profile)
            stack.enter_context(atomic_write(path)).write_bytes(content.getbuffer())


def find_photos(given: Sequence[str]) -> tuple[list[Path], int]:
    """The photographs, each once, and the number of other files and folders in the folders.

    Raises:
        ValueError: an input is not a file or folder, or a folder holds no picture.
    """
    photos: dict[Path, Path] = {}
    passed_over = 0
    for path in map(Path, given):
        if not path.exists():
            raise ValueError(f"{path}: no such file or folder")
        if not path.is_dir() and not path.is_file():
            raise ValueError(f"{path}: is neither a file nor a folder")
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        # A broken link is kept: reading it says what is wrong.
        chosen = [p for p in inside if is_photo(p) and not p.is_dir()] if path.is_dir() else inside
        if not chosen:
            raise ValueError(f"{path}: no pictures in this folder ({len(inside)} other entries)")
        passed_over += len(inside) - len(chosen)
        photos |= {_place(photo): photo for photo in chosen}
    return list(photos.values()), passed_over


def _place(path: Path) -> Path:
    """A unique path per file; a link to a file is not followed."""
    return path.parent.resolve() / path.name


def output_names(photos: Sequence[Path]) -> list[str]:
    """How the results' names begin: with the stem, or the whole name if stems are equal.

    Raises:
        ValueError: the results of two photographs would have one name.
    """
    names = [photo.stem for photo in photos]
    for _ in range(2):  # the whole name of one may be the stem of another
        # As case-insensitive file systems compare them.
        counts = Counter(name.casefold() for name in names)
        names = [
            photo.name if counts[name.casefold()] > 1 else name
            for photo, name in zip(photos, names, strict=True)
        ]
    seen: dict[str, Path] = {}
    for photo, name in zip(photos, names, strict=True):
        other = seen.setdefault(name.casefold(), photo)
        if other is not photo:
            raise ValueError(
                f"{other} and {photo}: their results would have the same name; give them in two "
                "runs, each with an --out of its own"
            )
    return names
