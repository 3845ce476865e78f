"""From photographs' files, or a pipe, to files of what was found: the work of ``unet-predict``.

Each result's file holds a note of how it was made: the photograph's and the models' hashes, and the
settings. A result with the note that it would get now is up to date; any other file in its place is
left alone and named, unless ``--overwrite`` is given.
"""

import argparse
import io
import json
import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

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
    results = {path.resolve() for paths in targets.values() for path in paths.values()}
    for path in inputs & results:
        problem = "is one of the photographs (or the background): name another --out"
        raise ValueError(f"{path} {problem}")
    models = [load_model(file, device) for file in files]
    options = {name: getattr(arguments, name) for name in ("tta", "refine", "threshold")}
    cutout = {"background": background, "crop": arguments.crop}
    settings = options | {"models": [file_sha256(file) for file in files]}
    lines = sys.stderr if arguments.out == "-" else sys.stdout
    counts: Counter[str] = Counter()
    notes: dict[Path, str] = {}  # of each result: how it is made

    def say(outcome: str, line: str) -> None:
        tqdm.write(line, file=sys.stderr if outcome == "failed" else lines)
        counts[outcome] += 1

    def fail(_: Photo, problem: object) -> None:
        say("failed", f"predict: {problem}")

    def to_do() -> Iterator[Photo]:
        for photo, paths in tqdm(targets.items(), unit="photo", leave=False, disable=None):
            try:
                there = [p for p in paths.values() if not arguments.overwrite and p.exists()]
                made = settings | {"photograph": file_sha256(photo)}
                for kind, path in paths.items():
                    own = {"cutout": cutout | {"background": ground}} if kind == "cutout" else {}
                    notes[path] = json.dumps(made | own | {"kind": kind}, sort_keys=True)
            except OSError as error:
                fail(photo, f"{photo}: {error.strerror}")
                continue
            if other := [path for path in there if _read_note(path) != notes[path]]:
                how = "made with other settings or by something else (--overwrite replaces it)"
                fail(photo, f"{photo}: {other[0]} is there, {how}")
            elif len(there) == len(paths):
                say("up to date", f"{photo}: up to date")
            else:
                yield photo

    options["batch_size"] = arguments.batch_size
    for photo, found in predict_all(to_do(), *models, **options, on_error=fail):
        share = found.mask.float().mean().item()
        if one and not share:
            least = f"{found.threshold:.2g}: nothing was written (a lower --threshold finds more)"
            fail(photo, f"{photo}: nothing found above {least}")
            sys.exit(NOTHING_FOUND)
        try:
            for kind, path in targets[photo].items():
                if kind == "cutout" and not share:
                    path.unlink(missing_ok=True)  # of an earlier run, with --overwrite
                    continue
                draw = getattr(pictures, f"{kind}_picture")
                drawn = draw(found, photo, **(cutout if kind == "cutout" else {}))
                _save(drawn, path, notes[path])
        except OSError as error:
            fail(photo, f"{photo}: {error}")
        else:
            say("done", f"{photo}: {f'object {share:.1%}' if share else 'nothing found'}")
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
    if not one and out.exists() and not out.is_dir():
        raise ValueError(f"--out {out}: is a file: name a folder, or a .png or .jpg")
    if one:
        name, suffix = f"--out {arguments.out}", out.suffix.lower()
        if len(photos) > 1 or photos[0].is_dir() or len(kinds) > 1:
            raise ValueError(f"{name}: holds one result of one photograph: name a folder")
        if suffix not in (".png", *JPEG):
            raise ValueError(f"{name}: must be a .png or .jpg, or a folder")
        if suffix in JPEG and (only == "mask" or kinds == ["cutout"] and not arguments.background):
            way = "name a .png, or add --background white to a cut-out"
            raise ValueError(f"{name}: JPEG blurs a mask and has no transparency: {way}")
    return kinds


def _background(given: str | None) -> tuple[str | Image.Image | None, Any]:
    """What to put behind cut-outs, a colour or a picture, and how a note names it."""
    if given is None:
        return None, None
    with suppress(ValueError):
        return given, list(ImageColor.getrgb(given))  # as JSON keeps it
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
        if not path.is_dir():
            photos.setdefault(path, Path(path.name))
            continue
        if path.resolve() == out.resolve():
            raise ValueError(f"--out {out}: results would be the next run's photographs")
        chosen: list[Path] = []
        for folder, folders, files in os.walk(path, onerror=unreadable):
            chosen += filter(is_photo, (Path(folder, name) for name in sorted(files)))
            below = {name: Path(folder, name).resolve() for name in sorted(folders)}
            # Those that os.walk enters.
            folders[:] = [n for n, p in below.items() if n[0] != "." and p != out.resolve()]
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

    def shared(names: Mapping[Path, str]) -> set[Path]:
        """Those whose name another has, too, as case-insensitive file systems compare names."""
        count = Counter(name.casefold() for name in names.values())
        return {photo for photo, name in names.items() if count[name.casefold()] > 1}

    stems = {photo: str(path.with_suffix("")) for photo, path in photos.items()}
    names = stems | {photo: str(photos[photo]) for photo in shared(stems)}
    if same := sorted(map(str, shared(names))):
        way = "rename some, or do them in several runs, each with an --out of its own"
        raise ValueError(f"{', '.join(same)}: some results would have the same name; {way}")
    return names


def _read_note(path: Path) -> str:
    """The note in a file; empty if there is none."""
    try:
        with Image.open(path) as image:
            return image.info.get(NOTE) or image.info["comment"].decode()
    except Exception:  # Pillow raises nearly anything on what is no picture
        return ""


def _save(picture: Image.Image, path: Path, note: str) -> None:
    content = io.BytesIO()
    profile = picture.info.get("icc_profile")
    if path.suffix.lower() in JPEG:
        picture.save(content, "JPEG", quality=90, icc_profile=profile, comment=note)
    else:
        chunks = PngInfo()
        chunks.add_text(NOTE, note)
        picture.save(content, "PNG", compress_level=1, icc_profile=profile, pnginfo=chunks)
    write(path, content.getbuffer())
