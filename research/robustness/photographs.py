"""Bad photographs and folders: ``python -m research.robustness.photographs [--cases 400]``.

Each case is a folder of generated photographs for the command ``tools.predict``, or of photographs
and masks for the stage ``preprocess``. Every photograph must give the right result, by a reference
made from the stored pixels, or be refused in a line that names its file, while the others are
processed and nothing is left half-written.
"""

import argparse
import functools
import json
import random
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter

from research.robustness import forms, own_folders
from research.robustness.bad_input import PATIENCE, Ended, Outcome, inside, run_main
from unet.data.photos import is_photo
from unet.inference.command import main as predict_main
from unet.inference.model_file import TrainedModel, load_model
from unet.inference.predict import predict

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).parent / "results/photographs.json"
MODEL = ROOT / "released/mp_tr_bce.safetensors"
VERDICTS = ("used", "refused", "some refused")
NAMES = [
    "plain", "two words", " blank first", "dots.and.more", "-dash", "--out", "comma, and 'quotes\"",
    "caf\u00e9", "cafe\u0301", "\u5199\u771f", "\U0001f408\u200d\u2b1b", "at 3.01\u202fPM", "100%",
    "a_mask", "a_mask_mask", "#1", "new\nline", "\x1b[31mred", "\udcff\udcfe", "x" * 240, "~",
    "$HOME", "CAPITALS", "[1]*?", "semi;colon", "back\\slash", "{}", "tab\there", "\u200emark",
    "n" * 250,
]  # fmt: skip
SIZES = [
    (1, 1), (1, 2), (3, 2), (1, 5000), (5000, 1), (2, 900), (7, 7), (999, 31), (16, 16),
    (1200, 800), (1, 70000), (16500, 3),
]  # fmt: skip


@dataclass(frozen=True)
class Photo:
    """A generated photograph in a folder.

    Attributes:
        name: its file name.
        content: the file's bytes; None if it is a folder or a broken link.
        upright: what a viewer shows, (H, W, 3) uint8; None: nothing.
        may_be_refused: it is damaged in a way that some readers accept.
        any_pixels: the damage may change the pixels.
        is_link: it is a broken link.
        is_folder: it is a folder, which must be ignored.
    """

    name: str
    content: bytes | None
    upright: np.ndarray | None
    tolerance: float = 0.0
    may_be_refused: bool = False
    any_pixels: bool = False
    is_link: bool = False
    is_folder: bool = False
    what: str = ""


def photo(
    rng: random.Random,
    name: str = "",
    *,
    form: str = "",
    size: tuple[int, int] | None = None,
    orientation: int = 1,
    block: bytes = b"",
) -> Photo:
    """Draw a photograph.

    Args:
        form: its form in ``forms``; empty: a random one.
        orientation: the EXIF orientation by which it is stored.
        block: its EXIF data.
    """
    form = form or rng.choice(list(forms.WITH_EXIF if block else forms.PHOTOS))
    pixels, _ = forms.animal(rng)
    if size:
        pixels = np.asarray(Image.fromarray(pixels).resize(size))
    made, suffix = forms.photograph(form, pixels, rng, orientation=orientation, block=block)
    shown = None if made.shown is None else forms.upright(made.shown, orientation)
    what = f"{form} {pixels.shape[1]} x {pixels.shape[0]}, turned {orientation}"
    return Photo((name or f"photo {rng.randrange(10**6)}") + suffix, made.content, shown,
                 made.tolerance, what=what)  # fmt: skip


def any_form(rng: random.Random) -> Photo:
    """Any form that a camera, scanner or web page uses."""
    return photo(rng)


def odd_size(rng: random.Random) -> Photo:
    """An odd size: one pixel, one line, or very large."""
    return photo(rng, size=rng.choice(SIZES))


def turned(rng: random.Random) -> Photo:
    """Turned by its EXIF tag, or with EXIF data that have no valid orientation."""
    if rng.random() < 0.7:
        value = rng.randrange(2, 9)
        return photo(rng, orientation=value, block=forms.exif(value))
    odd = [forms.exif(0), forms.exif(9), forms.exif(65535), forms.exif("6"), forms.exif("up")]
    return photo(rng, block=rng.choice([*odd, forms.damaged_exif(rng), forms.damaged_exif(rng)]))


def wrong_suffix(rng: random.Random) -> Photo:
    """A suffix that may belong to another format, as in a PNG called .jpg."""
    found = photo(rng)
    suffix = rng.choice([".jpg", ".png", ".GIF", ".webp", ".tiff", ".bmp", ".jfif", ".avif"])
    return replace(found, name=Path(found.name).stem + suffix)


def cut_short(rng: random.Random) -> Photo:
    """A truncated file: refused, unless the missing part is not needed."""
    found = photo(rng)
    return replace(found, content=forms.truncated(found.content, rng), may_be_refused=True,
                   what=f"{found.what}, cut short")  # fmt: skip


def bytes_changed(rng: random.Random) -> Photo:
    """A file with some changed bytes: the original pixels are not known."""
    found = photo(rng)
    return replace(found, content=forms.flipped(found.content, rng), may_be_refused=True,
                   any_pixels=True, what=f"{found.what}, bytes changed")  # fmt: skip


def no_picture(rng: random.Random) -> Photo:
    """No picture: other bytes, an empty file, a folder or a broken link."""
    suffix = rng.choice([".jpg", ".PNG", ".webp", ".tif", ".gif", ".heic"])
    name = f"none {rng.randrange(10**6)}{suffix}"
    kind = rng.choice(["bytes", "bytes", "bytes", "link", "folder"])
    content = forms.no_picture(rng) if kind == "bytes" else None
    return Photo(name, content, None, is_link=kind == "link", is_folder=kind == "folder", what=kind)


def odd_name(rng: random.Random) -> Photo:
    """A good photograph with an odd name."""
    return photo(rng, rng.choice(NAMES), form=rng.choice(["JPEG", "PNG"]))


PHOTO_KINDS: dict[str, Callable[[random.Random], Photo]] = {
    "photograph: form": any_form,
    "photograph: size": odd_size,
    "photograph: EXIF": turned,
    "photograph: wrong suffix": wrong_suffix,
    "photograph: cut short": cut_short,
    "photograph: bytes": bytes_changed,
    "photograph: none": no_picture,
    "photograph: name": odd_name,
}
MIXED = "photographs of all these kinds"


def try_photographs(folder: Path, kind: str, rng: random.Random) -> Outcome:
    """Write a folder of photographs and run the command on it."""
    if kind == MIXED:
        photos = [rng.choice(list(PHOTO_KINDS.values()))(rng) for _ in range(rng.randrange(2, 7))]
    else:
        photos = [PHOTO_KINDS[kind](rng)] + [photo(rng, "good", form="JPEG")] * rng.randrange(2)
    photos = list({photo.name.casefold(): photo for photo in photos}.values())
    place = folder / "photos"
    place.mkdir(parents=True)
    for given in photos:
        path = place / given.name
        if given.is_folder:
            path.mkdir()
        elif given.is_link:
            path.symlink_to("nowhere")
        else:
            path.write_bytes(given.content)
    extra = ["--cutout", "--probabilities"] + ["--overlay"] * (rng.random() < 0.8)
    started = time.perf_counter()
    with inside(folder):
        try:
            ended = run_main("predict", predict_main, "photos", "--model", str(MODEL), *extra)
        except Exception as error:
            verdict, line = "traceback", repr(error)
        else:
            verdict = judge(photos, ended, folder, "--overlay" in extra)
            line = " | ".join([*ended.err, ended.message or ""])
    seconds = round(time.perf_counter() - started, 2)
    verdict = verdict if seconds < PATIENCE else "too slow"
    return Outcome(kind, "; ".join(f"{p.name!a} {p.what}" for p in photos), verdict, line, seconds)


def judge(photos: list[Photo], ended: Ended, folder: Path, overlay: bool) -> str:
    """``used``, ``refused`` or ``some refused``, or what the command did wrong."""
    real = [p for p in photos if not p.is_folder and is_photo(Path(p.name))]
    if not real:
        return "refused" if "no pictures in this folder" in (ended.message or "") else "not said"
    refused = 0
    there = {path.name for path in (folder / "predicted").glob("*")}
    stems = Counter(Path(p.name).stem.casefold() for p in real)
    for given in real:
        stem = Path(given.name).stem
        name = given.name if stems[stem.casefold()] > 1 else stem
        said = [x for x in ended.err if x.startswith(f"predict: photos/{shown(given.name)}")]
        made = {f"{name}{end}" for end in ("_mask.png", "_cutout.png", "_probabilities.png")}
        made |= {f"{name}_overlay.jpg"} if overlay else set()
        if said:
            refused += 1
            if len(said) > 1:
                return f"{given.name!a}: more than a line"
            if made & there:
                return f"{given.name!a}: left behind"
            too_long = "long" in said[0] and len(given.name) > 200
            too_large = "too many for" in said[0] and max(given.upright.shape) > 65500
            if given.upright is not None and not (given.may_be_refused or too_long or too_large):
                return f"{given.name!a}: refused"
            continue
        missing = made - there
        if missing == {f"{name}_cutout.png"}:  # the only one that is not made of nothing
            with Image.open(folder / "predicted" / f"{name}_mask.png") as mask:
                missing = missing if mask.getextrema()[1] else set()
        if missing:
            return f"{given.name!a}: neither done nor said"
        if given.upright is None and not given.any_pixels:
            return f"{given.name!a}: accepted"
        if not given.any_pixels and (problem := compare(given, folder / "predicted" / name)):
            return f"{given.name!a}: {problem}"
        there -= made
    if not refused and there:
        return f"left behind: {sorted(there)}"
    # C libraries may print warnings of their own about a damaged file.
    if len(ended.err) != refused and not any(given.any_pixels for given in real):
        return "other lines on stderr"
    expected = f"{refused} of {len(real)} not done: see above"
    if ended.message != (f"predict: {expected}" if refused else None):
        return "wrong end"
    return "used" if not refused else "refused" if refused == len(real) else "some refused"


def shown(name: str) -> str:
    """A file name as it appears in the output."""
    return name.encode("utf-8", "backslashreplace").decode()


def compare(given: Photo, results: Path) -> str:
    """What is wrong with the results, compared with the prediction for the stored pixels."""
    height, width = given.upright.shape[:2]
    pixels = torch.from_numpy(given.upright.copy()).permute(2, 0, 1)
    reference = predict(pixels, _model())
    ending = [Image.open(f"{results}_{kind}.png") for kind in ("mask", "probabilities")]
    mask, probabilities = map(np.asarray, ending)
    if mask.shape != (height, width):
        return f"the mask is {mask.shape}, the photograph {(height, width)}"
    wanted = reference.probabilities.numpy()
    if not set(np.unique(mask)) <= {0, 255}:
        return "the mask is not black and white"
    off = np.abs(probabilities / 255 - wanted)
    # Masks of lossless forms must be equal; of others, pixels near the threshold may differ.
    exact = given.tolerance == 0
    if off.mean() > (0.003 if exact else 0.1):
        return f"probabilities differ by {off.mean():.3f}"
    if exact and ((mask > 0) != reference.mask.numpy()).any():
        return "another mask"
    sure = np.abs(wanted - reference.threshold) > 0.3
    if sure.any() and ((mask > 0) != reference.mask.numpy())[sure].mean() > 0.02:
        return "another mask where the answer is sure"
    if mask.any():  # without an object there is no cut-out
        cutout = np.asarray(Image.open(f"{results}_cutout.png"))
        seen = cutout[..., 3] == 255  # at its edge the surroundings' share is taken out
        colours = np.abs(cutout[..., :3].astype(float) - given.upright)[seen]
    if mask.any() and seen.any() and colours.mean() > given.tolerance:
        return f"colours differ by {colours.mean():.1f}"
    # Around the object, an overlay shows the photograph in a darker grey.
    overlay = Path(f"{results}_overlay.jpg")
    if not overlay.exists() or min(height, width) < 16 or max(height, width) > 1000:
        return ""
    around = np.asarray(ending[0].point(lambda v: 255 - v).filter(ImageFilter.MinFilter(15))) > 0
    grey = 0.6 * (given.upright @ (0.299, 0.587, 0.114))
    off = np.abs(np.asarray(Image.open(overlay).convert("L")) - grey)[around]
    if around.any() and off.mean() > 0.6 * given.tolerance + 4:
        return f"the overlay differs by {off.mean():.1f}"
    return ""


@functools.cache
def _model() -> TrainedModel:
    return load_model(MODEL)


def run_cases(
    num_cases: int, seed: int, only: str, report: Callable[[Outcome], None]
) -> list[Outcome]:
    """Run ``num_cases`` cases; the kinds that begin with ``only`` take turns."""
    kinds = [*PHOTO_KINDS, MIXED, *own_folders.KINDS]
    kinds = [kind for kind in kinds if kind.startswith(only)]
    outcomes = []
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(num_cases):
            kind = kinds[number % len(kinds)]
            folder = Path(temporary) / "case"
            attempt = own_folders.try_folder if kind in own_folders.KINDS else try_photographs
            outcome = attempt(folder, kind, random.Random(f"{seed} {number}"))
            outcome = replace(outcome, what=f"case {number}: {outcome.what}")
            outcomes.append(outcome)
            report(outcome)
            shutil.rmtree(folder)
    return outcomes


def main() -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=400)
    parser.add_argument("--only", default="", help="kinds that begin so")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()

    def report(outcome: Outcome) -> None:
        if outcome.verdict not in VERDICTS:
            print(outcome, file=sys.stderr, flush=True)

    # Limit memory, so that a case that needs too much fails and is not killed by the system.
    resource.setrlimit(resource.RLIMIT_DATA, (8 << 30, resource.RLIM_INFINITY))
    outcomes = run_cases(arguments.cases, arguments.seed, arguments.only, report)
    counts: dict[str, Counter[str]] = {}
    for outcome in outcomes:
        counts.setdefault(outcome.damage, Counter())[outcome.verdict] += 1
    slowest = max(outcome.seconds for outcome in outcomes)
    results = {"seed": arguments.seed, "slowest_seconds": slowest, "kinds": counts}
    arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    wrong = [outcome for outcome in outcomes if outcome.verdict not in VERDICTS]
    print(f"{len(outcomes)} cases, {len(wrong)} wrong; the slowest took {slowest} s")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
