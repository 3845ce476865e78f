"""Find the object in photographs and write what was found: ``unet-predict --help``."""

import argparse
import sys

from unet.runtime.process import run_stage

# Kind of result -> its file's ending.
ENDINGS = {
    "mask": "_mask.png",
    "cutout": "_cutout.png",
    "overlay": "_overlay.jpg",
    "probabilities": "_probabilities.png",
}


def main() -> None:
    """Run the command by ``sys.argv``.

    Exit status: 1 if a photograph fails, 2 if an argument is wrong, 3 if one file was asked for and
    nothing was found.
    """
    run_stage("predict", _main, smaller="--batch-size, or take smaller pictures")


def _main() -> None:
    for stream in (sys.stdout, sys.stderr):  # the terminal may be unable to encode a name
        stream.reconfigure(errors="backslashreplace", line_buffering=True)
    arguments = _parse()
    # Late: torch takes seconds to import, in which Ctrl-C must end quietly, too.
    from unet.inference.predict_files import predict_files

    predict_files(arguments)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "unet-predict", "%(prog)s [options] PHOTO-OR-FOLDER ...", allow_abbrev=False,
        description="Find the object in photographs (the released models: a pet).",
    )  # fmt: skip
    add = parser.add_argument
    add(
        "photos", nargs="+", metavar="PHOTO-OR-FOLDER",
        help="pictures, folders of them (with their sub-folders), or - for one from a pipe",
    )  # fmt: skip
    add(
        "-o", "--out", default="predicted",
        help="folder (default: predicted), a file (.png or .jpg) for one result of one photograph, "
        "or - for a PNG into a pipe",
    )  # fmt: skip
    add("--only", choices=ENDINGS, help="this result alone (default for one file: cutout)")
    add("--cutout", action="store_true", help="into a folder: also the object alone, a PNG")
    add("--overlay", action="store_true", help="also the photograph with the object outlined")
    add("--probabilities", action="store_true", help="also the probabilities: PNG, 255 = 1")
    add(
        "--background", metavar="COLOUR-OR-PICTURE",
        help='behind a cut-out, white or "#1a2b6d" for example (default: transparent)',
    )  # fmt: skip
    add("--crop", action="store_true", help="cut a cut-out to the object's box")
    add("--overwrite", action="store_true", help="replace what is there and was made otherwise")
    add(
        "--model", action="append", metavar="KEY-OR-FILE",
        help="a model's file, or its key in models/ or released/ (default: pets); may be given "
        "several times: their mean",
    )  # fmt: skip
    add("--threshold", type=float, help="in (0, 1); lower finds more (default: the model's own)")
    add(
        "--no-tta", action="store_false", dest="tta",
        help="without test-time augmentation, the mean over the photograph and its mirror image at "
        "three sizes: faster, a little worse",
    )  # fmt: skip
    add(
        "--no-refine", action="store_false", dest="refine",
        help="do not fit the result to the photograph's edges",
    )  # fmt: skip
    add(
        "--device", choices=("cpu", "cuda", "mps", "auto"), default="cpu",
        help="cpu (default), cuda, mps or auto",
    )  # fmt: skip
    add("--batch-size", type=int, default=16, help="photographs at once (default: 16)")
    given = parser.parse_args()
    if given.batch_size < 1:
        parser.error(f"--batch-size {given.batch_size}: must be at least 1")
    if "" in [*given.photos, *(given.model or []), given.out, given.background]:
        parser.error("an argument is empty: a variable that is not set?")
    return given
