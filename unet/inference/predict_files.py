"""From photographs' files, or a pipe, to files of what was found: the work of ``unet-predict``.

Each result's file holds a note of how it was made: the photograph's and the models' hashes, and the
settings. A result with the note that it would get now is up to date; any other file in its place is
left alone and named, unless ``--overwrite`` is given.
"""

import argparse
import errno
import io
import json
import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any, TextIO

from PIL import Image, ImageColor
from PIL.PngImagePlugin import PngInfo
from tqdm import tqdm

from unet.data.photos import SUFFIXES, is_photo, read_photo
from unet.inference import pictures
from unet.inference.command import ENDINGS
from unet.inference.model_file import DEFAULT, find_model, load_model
from unet.inference.predict import Photo, predict_all
from unet.runtime.device import resolve_device
from unet.runtime.files import file_sha256, write

JPEG = (".jpg", ".jpeg")
NOTE = "unet-predict"  # the note's name among a PNG's text chunks; in a JPEG it is the comment
NOTHING_FOUND = 3  # exit status
# Errors in writing that concern one photograph: its name is too long, a folder has its result's
# name, or (no number, from Pillow) it is too large for a JPEG.
OF_ONE = (errno.ENAMETOOLONG, errno.EISDIR, None)


def predict_files(arguments: argparse.Namespace) -> None:
    """Do what the arguments of :mod:`unet.inference.command` ask for."""
    warnings.filterwarnings("ignore", module=r"PIL\.")  # large pictures, damaged tags
    with TemporaryDirectory() as scratch:  # pipes are files here
        stdin, stdout = Path(scratch, "stdin"), Path(scratch, "stdout.png")
        if "-" in arguments.photos:
            stdin.write_bytes(sys.stdin.buffer.read())
        given = [stdin if name == "-" else Path(name) for name in arguments.photos]
        to_pipe = arguments.out == "-"
        _predict_files(arguments, given, stdout if to_pipe else Path(arguments.out))
        if to_pipe:
            sys.stdout.buffer.write(stdout.read_bytes())


def _predict_files(arguments: argparse.Namespace, given: Sequence[Path], out: Path) -> None:
    one = out.suffix.lower() in SUFFIXES and not out.is_dir()
    kinds = _kinds(arguments, given, out, one=one)
    device = resolve_device(arguments.device)
    files = [find_model(name) for name in arguments.model or [DEFAULT]]
    photos = find_photos(given, out)
    targets = {
        photo: {kind: out if one else out / f"{name}{ENDINGS[kind]}" for kind in kinds}
        for photo, name in output_names(photos).items()
    }
    background, ground = _background(arguments.background)
    inputs = {path.resolve() for path in [*photos, Path(arguments.background or "")]}
    for path in (path for paths in targets.values() for path in paths.values()):
        if path.resolve() in inputs:
            raise ValueError(f"{path} is one of the photographs (or the background): name another "
                             "--out")  # fmt: skip
    models = [load_model(file, device) for file in files]
    threshold = arguments.threshold
    if threshold is None:
        threshold = fmean(info["threshold"] for _, info in models)
    options = {"tta": arguments.tta, "refine": arguments.refine, "threshold": threshold}
    cutout = {"background": background, "crop": arguments.crop}
    settings = options | {"models": [file_sha256(file) for file in files]}
    settings |= {"cutout": cutout | {"background": ground}}
    lines = sys.stderr if arguments.out == "-" else sys.stdout
    counts: Counter[str] = Counter()
    made: dict[Path, dict[str, Any]] = {}  # by photograph: what its results' notes say
    hidden = True if len(photos) == 1 else None  # None: if the output is not a terminal
    bar = tqdm(total=len(photos), unit="photo", leave=False, disable=hidden)

    def say(line: str, outcome: str, stream: TextIO = lines) -> None:
        tqdm.write(line, file=stream)
        bar.update()
        counts[outcome] += 1

    def fail(_: Photo, problem: object) -> None:
        say(f"predict: {problem}", "failed", sys.stderr)

    def to_do() -> Iterator[Photo]:
        for photo, paths in targets.items():
            try:
                made[photo] = settings | {"photograph": file_sha256(photo)}
                there = not arguments.overwrite and is_up_to_date(paths, made[photo])
            except (OSError, ValueError) as error:
                fail(photo, f"{photo}: {error}")
                continue
            if there:
                say(f"{photo}: up to date", "up to date")
            else:
                yield photo

    options["batch_size"] = arguments.batch_size
    for photo, found in predict_all(to_do(), *models, **options, on_error=fail):
        share = found.mask.float().mean().item()
        if one and not share:
            least = f"{threshold:.2g}: nothing was written (a lower --threshold finds more)"
            say(f"predict: {photo}: nothing found above {least}", "nothing", sys.stderr)
            sys.exit(NOTHING_FOUND)
        try:
            for kind, path in targets[photo].items():
                if kind == "cutout" and not share:
                    path.unlink(missing_ok=True)  # of an earlier run, with --overwrite
                    continue
                draw = getattr(pictures, f"{kind}_picture")
                drawn = draw(found, photo, **(cutout if kind == "cutout" else {}))
                _save(drawn, path, _note(made[photo], kind, found=share > 0))
        except OSError as error:
            if error.errno not in OF_ONE:
                raise
            fail(photo, f"{photo}: {error}")
        else:
            say(f"{photo}: {f'object {share:.1%}' if share else 'nothing found'}", "done")
    bar.close()
    by = ", ".join(map(str, files))  # so that nobody takes a released model for their own
    before = f", {counts['up to date']} up to date" if counts["up to date"] else ""
    print(f"{counts['done']} done{before}, by {by}, into {arguments.out}", file=lines)
    if counts["failed"]:
        raise ValueError(f"{counts['failed']} of {len(photos)} not done: see above")


def _kinds(
    arguments: argparse.Namespace, photos: Sequence[Path], out: Path, *, one: bool
) -> list[str]:
    """The kinds of results that are asked for; ``one``: into one file or pipe."""
    only = arguments.only
    asked = [kind for kind in ENDINGS if getattr(arguments, kind, False)]
    if only and asked:
        raise ValueError(f"--only {only} with --{asked[0]}: leave one out")
    kinds = [only] if only else (asked or ["cutout"]) if one else ["mask", *asked]
    if "cutout" not in kinds and (arguments.background or arguments.crop):
        raise ValueError("--background and --crop are for cut-outs: add --cutout or --only cutout")
    if one:
        name, suffix = f"--out {arguments.out}", out.suffix.lower()
        if len(photos) > 1 or photos[0].is_dir() or len(kinds) > 1:
            raise ValueError(f"{name}: holds one result of one photograph: name a folder")
        if suffix not in (".png", *JPEG):
            raise ValueError(f"{name}: must be a .png or .jpg, or a folder")
        if suffix in JPEG and (only == "mask" or kinds == ["cutout"] and not arguments.background):
            raise ValueError(
                f"{name}: JPEG blurs a mask and has no transparency: name a .png, or add "
                "--background white to a cut-out"
            )
    return kinds


def _background(given: str | None) -> tuple[str | Image.Image | None, Any]:
    """What to put behind cut-outs, a colour or a picture, and how a note names it."""
    if given is None:
        return None, None
    try:
        return given, list(ImageColor.getrgb(given))  # as JSON keeps it
    except ValueError:
        pass
    try:
        return read_photo(Path(given)), file_sha256(Path(given))
    except ValueError as error:
        colour = 'no colour (as white or "#1a2b6d")'
        raise ValueError(f"--background {given}: {colour}, and as a picture {error}") from None


def find_photos(given: Sequence[Path], out: Path) -> dict[Path, Path]:
    """The photographs, each once -> its path below the given folder (of a file: its name).

    Folders are searched with their sub-folders, but not ``out``, nor hidden or linked folders.
    """

    def unreadable(error: OSError) -> None:  # a folder, which os.walk would pass over
        raise error

    photos: dict[Path, Path] = {}
    for path in given:
        if not path.exists():
            raise ValueError(f"{path}: no such file or folder")
        if not path.is_dir():
            photos.setdefault(path, Path(path.name))
            continue
        if path.resolve() == out.resolve():
            results = "its results would be the next run's photographs"
            raise ValueError(f"--out {out}: is the photographs' own folder, {results}")
        chosen: list[Path] = []
        for folder, folders, files in os.walk(path, onerror=unreadable):
            chosen += filter(is_photo, (Path(folder, name) for name in sorted(files)))
            folders[:] = [  # those that os.walk enters
                name
                for name in sorted(folders)
                if name[0] != "." and Path(folder, name).resolve() != out.resolve()
            ]
        if not chosen:
            raise ValueError(f"{path}: no pictures in this folder")
        for photo in chosen:
            photos.setdefault(photo, photo.relative_to(path))
    return photos


def output_names(photos: Mapping[Path, Path]) -> dict[Path, str]:
    """How the results' names begin: with the stem, or the whole name if stems are equal.

    Args:
        photos: photograph -> its path below the output folder.
    """
    names = {photo: str(path.with_suffix("")) for photo, path in photos.items()}
    # Compared as case-insensitive file systems do.
    count = Counter(name.casefold() for name in names.values())
    names = {k: n if count[n.casefold()] == 1 else str(photos[k]) for k, n in names.items()}
    owners = {name.casefold(): photo for photo, name in names.items()}
    for photo, name in names.items():
        if (other := owners[name.casefold()]) != photo:
            way = "rename one, or do them in two runs, each with an --out of its own"
            raise ValueError(f"{photo} and {other}: their results would have the same name; {way}")
    return names


def _note(made: dict[str, Any], kind: str, *, found: bool) -> dict[str, Any]:
    """What a result's file says of how it was made."""
    about = made if kind == "cutout" else {k: v for k, v in made.items() if k != "cutout"}
    return about | {"kind": kind, "found": found}


def _read_note(path: Path) -> dict[str, Any]:
    """The note in a file; empty if there is none."""
    try:
        with Image.open(path) as image:
            return dict(json.loads(image.info.get(NOTE) or image.info["comment"]))
    except Exception:  # Pillow raises nearly anything on what is no picture
        return {}


def is_up_to_date(targets: dict[str, Path], made: dict[str, Any]) -> bool:
    """Whether all results of a photograph are there, made as they would be made now.

    Raises:
        ValueError: another file is in the place of one.
    """
    there = {kind: _read_note(path) for kind, path in targets.items() if path.exists()}
    for kind, note in there.items():
        if note != _note(made, kind, found=note.get("found", False)):
            raise ValueError(
                f"{targets[kind]} is there, made with other settings or by something else "
                "(--overwrite replaces it)"
            )
    missing = targets.keys() - there.keys()
    nothing_found = not any(note["found"] for note in there.values())
    return bool(there) and (not missing or (missing == {"cutout"} and nothing_found))


def _save(picture: Image.Image, path: Path, note: dict[str, Any]) -> None:
    text = json.dumps(note, sort_keys=True)
    content = io.BytesIO()
    profile = picture.info.get("icc_profile")
    if path.suffix.lower() in JPEG:
        picture.save(content, "JPEG", quality=90, icc_profile=profile, comment=text)
    else:
        chunks = PngInfo()
        chunks.add_text(NOTE, text)
        picture.save(content, "PNG", compress_level=1, icc_profile=profile, pnginfo=chunks)
    write(path, content.getbuffer())
