"""Ways to damage the files of a finished pipeline, drawn from a random generator."""

import gzip
import io
import json
import random
import re
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import yaml
from PIL import Image

KEY = "mp_tr_bce"
ODD_VALUES: list[Any] = [
    None, True, False, "", "text", "off", "1e3", "0x10", "\u2603", -1, 0, 1, 2, 10**30, -(10**30),
    0.5, -0.5, 1.5, float("inf"), float("-inf"), float("nan"), 1e-320, 1e308, [], {}, [1, 2],
    [0.5, "x"], {"a": 1}, [[[]]], "${train.epochs}", "../../etc/passwd", "a\nb",
]  # fmt: skip


@dataclass(frozen=True)
class Damage:
    """One way to damage a finished pipeline.

    Attributes:
        stage: the stage that reads the damaged file.
        culprits: the message must name one of these.
        apply: damages the pipeline's files in a folder and returns what it did.
        may_pass: whether some of the damage cannot be distinguished from good input.
        num_lines: lines that the message may have (one per problem).
    """

    name: str
    stage: str
    culprits: tuple[str, ...]
    apply: Callable[[Path, random.Random], str]
    may_pass: bool = False
    num_lines: int = 1


def rewrite(path: Path, content: bytes) -> None:
    """Replace a file; hard links to the old one keep its content."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def damage_bytes(path: Path, rng: random.Random) -> str:
    """Cut, flip, repeat or replace bytes of a file."""
    whole = path.read_bytes()
    content = bytearray(whole)
    kind = rng.choice(["cut", "flip", "flip", "zeros", "repeat", "empty", "page", "noise"])
    at = rng.randrange(len(content))
    if kind == "cut":
        del content[at:]
    elif kind == "flip":
        for _ in range(rng.choice([1, 1, 3, 50])):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif kind == "zeros":
        length = min(rng.randrange(1, 4096), len(content) - at)
        content[at : at + length] = bytes(length)
    elif kind == "repeat":
        content[at:at] = content[at : at + rng.randrange(1, 4096)]
    elif kind == "empty":
        content.clear()
    elif kind == "page":
        content = bytearray(b"<html><body>404 Not Found</body></html>\n")
    else:
        content = bytearray(rng.randbytes(rng.randrange(1, 5000)))
    if content == whole:  # zeros replaced by zeros, or a bit flipped twice
        content[at] ^= 1
    rewrite(path, bytes(content))
    return f"{path.name}: {kind} at {at}"


def bytes_of(*names: str) -> Callable[[Path, random.Random], str]:
    """A damage to the bytes of one of the files ``names``."""
    return lambda folder, rng: damage_bytes(folder / rng.choice(names), rng)


# params.yaml


def leaves(node: dict, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The paths of all keys below ``node``."""
    found = []
    for key, value in node.items():
        found.append((*path, key))
        if isinstance(value, dict):
            found += leaves(value, (*path, key))
    return found


def damage_params(folder: Path, rng: random.Random, *, sections: str = "") -> str:
    """Change a value, a key or a section of params.yaml.

    Args:
        sections: names of the sections to choose from, separated by spaces; empty: all.
    """
    path = folder / "params.yaml"
    params = yaml.safe_load(path.read_text())
    # Numbers of drawn images, epochs and widths are left out: large ones are valid but slow.
    keys = [k for k in leaves(params) if k[-1] not in ("num_synthetic", "epochs", "width")]
    keys = [k for k in keys if not sections or k[0] in sections.split()]
    place = rng.choice(keys)
    section = params
    for key in place[:-1]:
        section = section[key]
    kind = rng.choice(["value", "value", "value", "delete", "add", "rename", "misspell"])
    if kind == "value":
        section[place[-1]] = rng.choice(ODD_VALUES)
    elif kind == "delete":
        del section[place[-1]]
    elif kind == "add":
        section[rng.choice(["learning_rate", "", "x y", "épochs", "__class__"])] = 1
    else:
        value = section.pop(place[-1])
        section[place[-1].upper() if kind == "rename" else place[-1] + "s"] = value
    rewrite(path, yaml.safe_dump(params, sort_keys=False, allow_unicode=True).encode())
    return f"{kind} at {'.'.join(place)}: {section.get(place[-1], '-')!r}"


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9)
)
ODD_TEXTS = [
    "", "---\n---\n", "[1, 2]", "3", "null", "train", "\t: x", "a: b: c", "{", "&a [*a]", BOMB,
    "? [a]\n: b\n", "!!python/object/apply:os.system ['true']", "!!binary zzz", "a: !x y",
    "<<: *nothing", "\ufeff", "\x00", "[" * 2000, "{a: " * 2000, "- " * 2000, "x" * 10**6,
]  # fmt: skip


def damage_yaml(folder: Path, rng: random.Random) -> str:
    """Replace, extend or damage the text of params.yaml."""
    path = folder / "params.yaml"
    text = path.read_text()
    kind = rng.choice(["replace", "append", "insert", "cut", "twice", "bytes"])
    odd = rng.choice(ODD_TEXTS)
    if kind == "replace":
        text = odd
    elif kind == "append":
        text += f"\nextra: {odd}"
    elif kind == "insert":
        at = rng.randrange(len(text))
        text = (
            text[:at]
            + rng.choice(["{", "]", ":", "\t", "'", '"', "*", "&", "%", "@", "`"])
            + text[at:]
        )
    elif kind == "cut":
        text = text[: rng.randrange(len(text))]
    elif kind == "twice":
        line = rng.choice([x for x in text.splitlines() if x.endswith(":")])
        text += f"\n{line}\n  a: 1\n"
    content = text.encode()
    if kind == "bytes":
        at = rng.randrange(len(content))
        content = content[:at] + rng.randbytes(3) + content[at:]
    rewrite(path, content)
    return f"{kind}: {odd[:20]!r}" if kind in ("replace", "append") else kind


# The archives

Members = list[tuple[tarfile.TarInfo, bytes]]


def read_tar(path: Path) -> Members:
    """All members of an archive, with their contents."""
    with tarfile.open(path) as tar:
        return [(m, tar.extractfile(m).read() if m.isfile() else b"") for m in tar]


def write_tar(path: Path, members: Members) -> None:
    """Write ``members`` unchecked to an archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for member, content in members:
            if member.isfile():
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    rewrite(path, gzip.compress(buffer.getvalue(), 1))


def picture(mode: str, size: tuple[int, int], color: Any = 0, form: str = "PNG") -> bytes:
    """An image file of one colour."""
    buffer = io.BytesIO()
    Image.new(mode, size, color).save(buffer, form)
    return buffer.getvalue()


def huge_png() -> bytes:
    """A PNG whose header claims 60,000 x 60,000 pixels."""
    content = bytearray(picture("L", (8, 8)))
    content[16:24] = (60_000).to_bytes(4, "big") * 2
    return bytes(content)


ODD_FILES: dict[str, Callable[[random.Random], bytes]] = {
    "empty": lambda rng: b"",
    "text": lambda rng: b"no picture",
    "huge": lambda rng: huge_png(),
    "noise": lambda rng: rng.randbytes(2000),
    "cut": lambda rng: picture("RGB", (64, 64), "red", "JPEG")[:300],
}
ODD_TRIMAPS = ODD_FILES | {
    "code": lambda rng: picture("L", (50, 40), rng.choice([0, 4, 255])),
    "mode": lambda rng: picture(rng.choice(["RGB", "P", "1", "LA"]), (50, 40)),
}


def damage_member(folder: Path, rng: random.Random, *, archive: str, pattern: str) -> str:
    """Replace, remove or duplicate one listed image or trimap."""
    path = folder / "data/raw" / archive
    members = read_tar(path)
    listed = set(re.findall(rb"(?m)^([A-Za-z]\S*) ", b"\n".join(
        content
        for member, content in read_tar(folder / "data/raw/annotations.tar.gz")
        if member.name in ("annotations/trainval.txt", "annotations/test.txt")
    )))  # fmt: skip
    there = [
        i
        for i, (member, _) in enumerate(members)
        if (match := re.fullmatch(pattern, member.name)) and match[1].encode() in listed
    ]
    at = rng.choice(there)
    member = members[at][0]
    odd = ODD_TRIMAPS if "trimaps" in pattern else ODD_FILES
    kind = rng.choice([*odd, "gone", "twice", "link", "device", "elsewhere"])
    if kind == "gone":
        del members[at]
    elif kind == "twice":
        members.append(members[at])
    elif kind == "link":
        member.type = rng.choice([tarfile.SYMTYPE, tarfile.LNKTYPE])
        member.linkname, member.size = "/etc/passwd", 0
    elif kind == "device":
        member.type, member.size = rng.choice([tarfile.CHRTYPE, tarfile.FIFOTYPE]), 0
    elif kind == "elsewhere":
        member.name = rng.choice(["../", "/tmp/", "x/../../"]) + member.name
    else:
        members[at] = (member, odd[kind](rng))
    write_tar(path, members)
    return f"{member.name}: {kind}"


def damage_lists(folder: Path, rng: random.Random) -> str:
    """Damage a list of the annotations: an unknown or duplicate name, or not a list at all."""
    path = folder / "data/raw/annotations.tar.gz"
    members = read_tar(path)
    name = rng.choice(["annotations/trainval.txt", "annotations/test.txt"])
    at = next(i for i, (member, _) in enumerate(members) if member.name == name)
    content = members[at][1]
    kind = rng.choice(["unknown", "twice", "empty", "gone", "noise", "comment", "path"])
    if kind == "gone":
        del members[at]
    else:
        first = content.splitlines(keepends=True)[0]
        content = {
            "unknown": content + b"Unicorn_1 1 1 1\n",
            "twice": content + first,
            "empty": b"",
            "noise": rng.randbytes(300).replace(b"#", b"x"),
            "comment": b"# " + content.replace(b"\n", b"\n# "),
            "path": content + b"../../../etc/passwd 1 1 1\n",
        }[kind]
        members[at] = (members[at][0], content)
    write_tar(path, members)
    return f"{name}: {kind}"


# Arrays, models, results


def damage_array(folder: Path, rng: random.Random, *, split: str) -> str:
    """Change the shape or dtype of an array, or add or remove names."""
    name = rng.choice(["images", "masks", "names"])
    if name == "names":
        path = folder / f"data/packed/{split}/names.txt"
        lines = path.read_text().splitlines()
        kind = rng.choice(["more", "less", "none"])
        lines = {"more": [*lines, "x"], "less": lines[1:], "none": []}[kind]
        rewrite(path, "".join(f"{line}\n" for line in lines).encode())
        return f"names.txt: {kind}"
    path = folder / f"data/packed/{split}/{name}.npy"
    array = np.load(path)
    kind = rng.choice(
        ["float32", "int8", "int64", "<U1", "object", "less", "smaller", "flat", "none", "scalar"]
    )
    if kind == "less":
        array = array[1:]
    elif kind == "smaller":
        array = array[:, :-1]
    elif kind == "flat":
        array = array.ravel()
    elif kind == "none":
        array = array[:0]
    elif kind == "scalar":
        array = np.array(1, dtype=np.uint8)
    else:
        array = array[:, :1].astype(kind) if kind == "object" else array.astype(kind)
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    rewrite(path, buffer.getvalue())
    return f"{path.name}: {kind}"


def damage_json(path: Path, keys: list[str], rng: random.Random) -> str:
    """Change or remove a value of a JSON file, or replace the whole content."""
    content = json.loads(path.read_text())
    kind = rng.choice(["value", "value", "gone", "list", "deep", "cut"])
    place = rng.choice(keys).split(".")
    section = content
    for key in place[:-1]:
        section = section[key]
    if kind == "value":
        odd = [None, "text", -1, 10**30, float("nan"), float("inf"), [], {}, True, "0.5"]
        section[place[-1]] = rng.choice(odd)
    elif kind == "gone":
        del section[place[-1]]
    text = json.dumps(content)
    if kind in ("list", "deep", "cut"):
        text = {"list": "[]", "deep": "[" * 10**5, "cut": text[: rng.randrange(len(text))]}[kind]
    what = f"{kind} at {'.'.join(place)}: {section.get(place[-1], '-')!r}"
    rewrite(path, text.encode())
    return what


def damage_scores(folder: Path, rng: random.Random) -> str:
    """Damage a score that the comparison reads."""
    keys = ["accuracy", "iou", "dice", "precision", "boundary_iou", "threshold", "predictions"]
    return damage_json(folder / f"metrics/scores/{KEY}.json", keys, rng)


def damage_model(folder: Path, rng: random.Random) -> str:
    """Change a model's metadata or tensors, or make a weight infinite or NaN."""
    path = folder / f"models/{KEY}.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    info = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["unet"])
    tensors = safetensors.torch.load(content)
    name = rng.choice([name for name, tensor in tensors.items() if tensor.is_floating_point()])
    kind = rng.choice(["nan", "inf", "shape", "dtype", "gone", "more", "info", "info", "no info"])
    if kind in ("nan", "inf"):
        tensors[name].view(-1)[rng.randrange(tensors[name].numel())] = float(kind)
    elif kind == "shape":
        tensors[name] = torch.zeros(3, 1, 2)
    elif kind == "dtype":
        tensors[name] = tensors[name].to(torch.complex64)
    elif kind == "gone":
        del tensors[name]
    elif kind == "more":
        tensors["another.weight"] = torch.zeros(2)
    elif kind == "info":
        name = rng.choice(["width", "depth", "downsample", "upsample", "threshold", "epoch"])
        odd = [None, "text", -1, 0, 10**9, 10**30, 7.5, [], {}, float("nan")]
        info[name] = rng.choice(odd)
        if info["threshold"] == 0.5 or (name == "epoch" and isinstance(info[name], int)):
            info[name] = "text"
    metadata = {} if kind == "no info" else {"unet": json.dumps(info)}
    rewrite(path, safetensors.torch.save(tensors, metadata))
    return f"{kind}: {name} = {info.get(name, '')!r}"


def damage_table(folder: Path, rng: random.Random) -> str:
    """Damage a cell, a column, the rows or the header of a CSV file."""
    curve = rng.random() < 0.5
    path = folder / (f"plots/curves/{KEY}.csv" if curve else f"predictions/{KEY}/images.csv")
    columns = ["epoch", "train_loss", "val_loss", "val_accuracy", "val_iou"]
    rows = [line.split(",") for line in path.read_text().splitlines()]
    column = rows[0].index(rng.choice(columns if curve else ["name", "tp", "fn", "iou"]))
    kind = rng.choice(["word", "nothing", "inf", "column", "rows", "header"])
    row = rng.randrange(1, len(rows))
    if kind in ("word", "nothing", "inf"):
        rows[row][column] = {"word": "much", "nothing": "", "inf": "inf"}[kind]
    elif kind == "column":
        rows = [cells[:column] + cells[column + 1 :] for cells in rows]
    elif kind == "rows":
        rows = rows[:1]
    else:
        rows[0][column] += "_"
    rewrite(path, "".join(",".join(cells) + "\n" for cells in rows).encode())
    return f"{path.name}: {kind} in row {row}, column {column}"


def damage_progress(folder: Path, rng: random.Random) -> str:
    """Damage the predictions that were saved during training."""
    path = folder / f"models/{KEY}.progress.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    name = rng.choice(sorted(arrays))
    kind = rng.choice(["gone", "less", "float", "object", "large"])
    if name == "curve":  # a text: the hash of the training curve
        kind = rng.choice(["gone", "object", "other"])
    if kind == "gone":
        del arrays[name]
    elif kind == "less":
        arrays[name] = arrays[name][1:]
    elif kind == "float":
        arrays[name] = arrays[name] + 0.5
    elif kind == "object":
        arrays[name] = arrays[name].astype(object)
    elif kind == "other":
        arrays[name] = np.array("0" * 64)
    else:
        arrays = arrays | {"indices": arrays["indices"] + 10**6}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    rewrite(path, buffer.getvalue())
    return f"{path.name}: {name} {kind}"


RAW = ("data/raw/images.tar.gz", "data/raw/annotations.tar.gz")
OF_RAW = ("images.tar.gz", "annotations.tar.gz", "the archives in")
PACKED = ("data/packed",)
MODEL = (f"models/{KEY}.safetensors",)
RESULT = (f"results of {KEY}",)


def of(function: Callable[..., str], **options: str) -> Callable[[Path, random.Random], str]:
    """``function`` with its keyword arguments filled in."""
    return lambda folder, rng: function(folder, rng, **options)


IMAGES = of(damage_member, archive="images.tar.gz", pattern=r"images/(.+)\.jpg")
TRIMAPS = of(
    damage_member, archive="annotations.tar.gz", pattern=r"annotations/trimaps/([^.].*)\.png"
)
PARAMS = ("params.yaml",)
DAMAGES = [
    Damage("params: values and keys", "code", PARAMS, damage_params, True, 9),
    Damage("archives: bytes", "preprocess", OF_RAW, bytes_of(*RAW), True),
    Damage("arrays: kind", "train", PACKED, of(damage_array, split="train")),
    Damage("model: tensors, metadata", "evaluate", MODEL, damage_model),
    Damage("scores: values", "plot", RESULT, damage_scores, True),
    Damage("params: text", "code", PARAMS, damage_yaml, True, 99),
    Damage("archives: an image", "preprocess", OF_RAW, IMAGES),
    Damage("archives: lists", "preprocess", OF_RAW, damage_lists),
    Damage("arrays: bytes", "evaluate", PACKED, bytes_of(
        "data/packed/test/images.npy", "data/packed/test/masks.npy",
    ), True),
    Damage("model: bytes", "evaluate", MODEL, bytes_of(*MODEL), True),
    Damage("curves, tables: cells", "plot", RESULT, damage_table),
    Damage("params: sections of preprocess", "preprocess", PARAMS, of(
        damage_params, sections="data preprocess",
    ), True, 9),
    Damage("params: sections of train", "train", PARAMS, of(
        damage_params, sections="train experiments",
    ), True, 9),
    Damage("archives: a trimap", "preprocess", OF_RAW, TRIMAPS),
    Damage("progress: arrays", "plot", RESULT, damage_progress),
    Damage("masks: bytes", "plot", RESULT, bytes_of(f"predictions/{KEY}/masks.npy")),
]  # fmt: skip
