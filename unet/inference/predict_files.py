"""From photographs' files, or a pipe, to files of what was found: the work of ``unet-predict``."""

import argparse
import hashlib
import io
import json
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, TextIO

from PIL import Image, ImageColor
from PIL.PngImagePlugin import PngInfo
from tqdm import tqdm

from unet.data.photos import SUFFIXES, is_photo, read_photo
from unet.inference import pictures
from unet.inference.command import ENDINGS
from unet.inference.model_file import DEFAULT, find_model, load_model
from unet.inference.predict import Photo, Prediction, predict_all
from unet.runtime.device import resolve_device
from unet.runtime.files import atomic_write, file_sha256

LONGEST_NAME = 255 - 20  # bytes; the rest is for the file's temporary name
JPEG = (".jpg", ".jpeg")
JPEG_SIDE = 65500  # pixels
NOTE = "unet-predict"  # of a PNG's text chunks, the one that says how it was made
STDIN = Path("standard input")  # stands for the photograph from a pipe
STDOUT = Path("-")  # a result into a pipe
NOTHING_FOUND = 3  # exit status


def predict_files(arguments: argparse.Namespace) -> None:
    """Do what the arguments of :mod:`unet.inference.command` ask for.

    Raises:
        ValueError: an argument is invalid, or (at the end) some photographs failed.
    """
    # Pillow warns about large pictures and damaged tags; unreadable files raise errors anyway.
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    warnings.filterwarnings("ignore", module=r"PIL\.")
    device = resolve_device(arguments.device)
    out, to_pipe = Path(arguments.out), arguments.out == "-"
    one = to_pipe or (out.suffix.lower() in SUFFIXES and not out.is_dir())
    kinds = _kinds(arguments, one=one)
    background, ground = _background(arguments.background)
    files = [find_model(name) for name in arguments.model or [DEFAULT]]
    piped = sys.stdin.buffer.read() if "-" in arguments.photos else None
    if piped == b"":
        raise ValueError("-: nothing came through the pipe")
    photos, passed_over = ({STDIN: STDIN}, 0) if piped else find_photos(arguments.photos, out)
    targets = {
        photo: {kind: out if one else out / f"{name}{ENDINGS[kind]}" for kind in kinds}
        for photo, name in output_names(photos).items()
    }
    inputs = {place for photo in photos for place in (_place(photo), photo.resolve())}
    if isinstance(background, Image.Image):
        inputs.add(Path(arguments.background).resolve())
    for path in (path for paths in targets.values() for path in paths.values()):
        if _place(path) in inputs:
            raise ValueError(
                f"{path} is one of the photographs (or the background): name another --out"
            )
    models = [load_model(file, device) for file in files]
    threshold = arguments.threshold or fmean(info["threshold"] for _, info in models)
    options = {"tta": arguments.tta, "refine": arguments.refine, "threshold": threshold}
    settings = options | {
        "models": [file_sha256(file) for file in files],
        "cutout": {"background": ground, "crop": arguments.crop},
    }
    draw = {
        "mask": lambda found, _: pictures.mask_picture(found),
        "cutout": partial(pictures.cutout_picture, background=background, crop=arguments.crop),
        "overlay": pictures.overlay_picture,
        "probabilities": lambda found, _: pictures.probabilities_picture(found),
    }

    lines = sys.stderr if to_pipe else sys.stdout
    if passed_over:
        print(
            f"passed over: {passed_over} (no pictures; hidden or linked folders; --out)", file=lines
        )
    done = up_to_date = 0
    made: dict[Path, dict[str, Any]] = {}  # by photograph: what its results' notes say
    hidden = True if len(photos) == 1 else None  # None: if the output is not a terminal
    with tqdm(total=len(photos), unit="photo", leave=False, disable=hidden) as bar:

        def say(line: str, stream: TextIO = lines) -> None:
            tqdm.write(line, file=stream)
            bar.update()

        def fail(photo: Photo, problem: object) -> None:
            say(f"predict: {problem}", sys.stderr)

        def to_do() -> Iterator[Photo]:
            nonlocal up_to_date
            for photo, paths in targets.items():
                longest = max(len(os.fsencode(path.name)) for path in paths.values())
                try:
                    if longest > LONGEST_NAME:
                        raise ValueError("skipped: its results' names would be too long: rename it")
                    if folder := next((path for path in paths.values() if path.is_dir()), None):
                        raise ValueError(f"skipped: {folder} is a folder: move it")
                    content = piped or photo.read_bytes()
                    made[photo] = settings | {"photograph": hashlib.sha256(content).hexdigest()}
                    there = not arguments.overwrite and _are_there(paths, made[photo])
                    given = read_photo(piped) if piped else photo
                except OSError as error:
                    fail(photo, f"{photo} cannot be read ({error.strerror})")
                except ValueError as error:
                    fail(photo, f"{photo} {error}")
                else:
                    if there:
                        say(f"{photo}: up to date")
                        up_to_date += 1
                    else:
                        yield given

        for given, found in predict_all(
            to_do(), *models, **options, batch_size=arguments.batch_size, on_error=fail
        ):
            started = time.perf_counter()
            photo = STDIN if piped else given
            share = found.mask.float().mean().item()
            if one and not share:
                least = f"{threshold:.2g}: nothing was written (a lower --threshold finds more)"
                say(f"predict: {photo}: nothing found above {least}", sys.stderr)
                if arguments.overwrite and _read_note(out):  # of an earlier run
                    out.unlink()
                sys.exit(NOTHING_FOUND)
            try:
                _write(piped or photo, found, targets[photo], made[photo], draw)
            except ValueError as error:
                fail(photo, f"{photo} {error}")
                continue
            seconds = found.seconds + time.perf_counter() - started
            what = f"object {share:.1%}" if share else "nothing found"
            say(f"{photo}: {what}, {seconds:.2f} s")
            done += 1
    by = ", ".join(map(str, files))  # so that nobody takes a released model for their own
    before = f", {up_to_date} up to date" if up_to_date else ""
    print(f"{done} done{before}, by {by}, into {out}", file=lines)
    if failed := len(photos) - done - up_to_date:
        raise ValueError(f"{failed} of {len(photos)} not done: see above")


def _kinds(arguments: argparse.Namespace, *, one: bool) -> list[str]:
    """The kinds of results that are asked for; ``one``: into one file or pipe.

    Raises:
        ValueError: they do not go together, or not with the output.
    """
    only, photos = arguments.only, arguments.photos
    asked = [kind for kind in ENDINGS if getattr(arguments, kind, False)]
    kinds = [only] if only else (asked or ["cutout"]) if one else ["mask", *asked]
    if only and {*asked} - {only}:
        raise ValueError(f"--only {only} with --{asked[0]}: leave one out")
    if "cutout" not in kinds and (arguments.background or arguments.crop):
        raise ValueError("--background and --crop are for cut-outs: add --cutout or --only cutout")
    out, suffix = f"--out {arguments.out}", Path(arguments.out).suffix.lower()
    if not one:
        if "-" in photos:
            raise ValueError("-: a photograph from a pipe has no name: add -o cut.png, or -o -")
        if Path(arguments.out).is_file():
            raise ValueError(f"{out}: is a file: name a folder, or a .png or .jpg")
        return kinds
    if len(photos) > 1 or Path(photos[0]).is_dir():
        raise ValueError(f"{out}: holds the result of one photograph: name a folder")
    if len(kinds) > 1:
        raise ValueError(f"{out}: holds one result, not {' and '.join(kinds)}: name a folder")
    if suffix not in ("", ".png", *JPEG):
        raise ValueError(f"{out}: must be a .png or .jpg, or a folder")
    if suffix in JPEG and kinds == ["mask"]:
        raise ValueError(f"{out}: JPEG would blur the mask: name a .png")
    if suffix in JPEG and kinds == ["cutout"] and not arguments.background:
        raise ValueError(f"{out}: JPEG has no transparency: name a .png, or add --background white")
    return kinds


def _background(given: str | None) -> tuple[str | Image.Image | None, Any]:
    """What to put behind cut-outs, a colour or a picture, and how a note names it.

    Raises:
        ValueError: it is neither.
    """
    if given is None:
        return None, None
    with suppress(ValueError):
        return given, ImageColor.getrgb(given)
    try:
        return read_photo(Path(given)), file_sha256(Path(given))
    except ValueError as error:
        colour = 'no colour (as white or "#1a2b6d")'
        raise ValueError(f"--background {given}: {colour}, and as a picture {error}") from None


def _note(made: dict[str, Any], kind: str, *, found: bool) -> str:
    """What a result's file says of how it was made."""
    about = made if kind == "cutout" else {k: v for k, v in made.items() if k != "cutout"}
    return json.dumps(about | {"kind": kind, "found": found}, sort_keys=True)


def _read_note(path: Path) -> str | None:
    """The note in a file; None if there is none."""
    try:
        with Image.open(path) as image:
            image.load()  # it may be cut off
            return image.info.get(NOTE) or image.info["comment"].decode()
    except Exception:  # Pillow raises nearly anything on what is no picture
        return None


def _are_there(targets: dict[str, Path], made: dict[str, Any]) -> bool:
    """Whether all results of a photograph are there, made as they would be made now.

    Raises:
        ValueError: one is there that was made otherwise; worded to follow the photograph's name.
    """
    there = {kind: path for kind, path in targets.items() if path != STDOUT and path.exists()}
    optional = set()
    for kind, path in there.items():
        note = _read_note(path)
        if note == _note(made, kind, found=False):
            optional = {"cutout"}
        elif note != _note(made, kind, found=True):
            how = "with other settings" if note else "by something else"
            raise ValueError(f"skipped: {path} is there, made {how} (--overwrite replaces it)")
    return bool(there) and targets.keys() - there.keys() <= optional


def _write(
    source: Path | bytes,
    found: Prediction,
    targets: dict[str, Path],
    made: dict[str, Any],
    draw: dict[str, Callable[[Prediction, Image.Image | None], Image.Image]],
) -> None:
    """Write the results of one photograph, all of them or none; no cut-out if nothing was found.

    Raises:
        ValueError: it can no longer be read, or is too large for a JPEG; worded to follow its name.
    """
    jpegs = [path for path in targets.values() if path.suffix.lower() in JPEG]
    if jpegs and max(found.mask.shape) > JPEG_SIDE:
        raise ValueError(f"has more than {JPEG_SIDE} pixels a side, too many for {jpegs[0].name}")
    # Read again if needed: keeping a batch of large photographs would fill the memory.
    picture = read_photo(source) if targets.keys() & {"cutout", "overlay"} else None
    any_found = bool(found.mask.any())
    with ExitStack() as stack:  # all files are renamed at its end
        for kind, path in targets.items():
            if kind == "cutout" and not any_found:
                continue
            drawn, note = draw[kind](found, picture), _note(made, kind, found=any_found)
            profile = drawn.info.pop("icc_profile", None)
            if profile and profile[16:20] != b"RGB ":  # e.g. of a CMYK picture
                profile = None
            # To memory first: Pillow's own error on a full disk would not say so.
            content = io.BytesIO()
            if path in jpegs:
                drawn.save(content, "JPEG", quality=90, icc_profile=profile, comment=note)
            else:
                text = PngInfo()
                text.add_text(NOTE, note)
                drawn.save(content, "PNG", compress_level=1, icc_profile=profile, pnginfo=text)
            if path == STDOUT:
                sys.stdout.buffer.write(content.getbuffer())
            else:
                stack.enter_context(atomic_write(path)).write_bytes(content.getbuffer())
    if "cutout" in targets and not any_found and _read_note(targets["cutout"]):
        targets["cutout"].unlink()  # of an earlier run


def find_photos(given: Sequence[str], out: Path) -> tuple[dict[Path, Path], int]:
    """The photographs, each once, and the number of other files and folders that were passed over.

    Folders are searched with their sub-folders, but not ``out``, nor hidden or linked folders.

    Returns:
        Photograph -> its path below the given folder (of a file that was given: its name).

    Raises:
        ValueError: an input is not a file or folder, or a folder holds no picture.
    """
    photos: dict[Path, tuple[Path, Path]] = {}
    passed_over = 0
    for path in map(Path, given):
        chosen, top = [path], path.parent
        if path.is_dir():
            if path.resolve() == out.resolve():
                results = "its results would be the next run's photographs"
                raise ValueError(f"--out {out}: is the photographs' own folder, {results}")
            (chosen, others), top = _walk(path, out.resolve()), path
            if not chosen:
                raise ValueError(f"{path}: no pictures in this folder ({others} other entries)")
            passed_over += others
        elif not path.is_file():
            raise ValueError(f"{path}: no such file or folder")
        for photo in chosen:
            photos.setdefault(_place(photo), (photo, photo.relative_to(top)))
    return dict(photos.values()), passed_over


def _walk(folder: Path, out: Path) -> tuple[list[Path], int]:
    """The pictures in a folder and below, and the number of other files and folders."""
    inside = sorted(folder.iterdir())
    # A broken link is kept: reading it says what is wrong.
    chosen = [p for p in inside if is_photo(p) and (p.is_file() or not p.exists())]
    below = [p for p in inside if p.is_dir() and not p.is_symlink() and not p.name.startswith(".")]
    others = len(inside) - len(chosen) - len(below)
    for path in below:
        more, passed_over = _walk(path, out) if path.resolve() != out else ([], 1)
        chosen, others = chosen + more, others + passed_over
    return chosen, others


def _place(path: Path) -> Path:
    """A unique path per file; a link to a file is not followed."""
    return path.parent.resolve() / path.name


def output_names(photos: Mapping[Path, Path]) -> dict[Path, str]:
    """How the results' names begin: with the stem, or the whole name if stems are equal.

    Args:
        photos: photograph -> its path below the output folder.

    Raises:
        ValueError: the results of two photographs would have one name.
    """
    stems = {photo: str(path.with_suffix("")) for photo, path in photos.items()}
    # Compared as case-insensitive file systems do.
    count = Counter(stem.casefold() for stem in stems.values())
    names: dict[Path, str] = {}
    seen: dict[str, Path] = {}
    for photo, stem in stems.items():
        name = names[photo] = str(photos[photo]) if count[stem.casefold()] > 1 else stem
        if (other := seen.setdefault(name.casefold(), photo)) != photo:
            way = "rename one, or do them in two runs, each with an --out of its own"
            raise ValueError(f"{other} and {photo}: their results would have the same name; {way}")
    return names
