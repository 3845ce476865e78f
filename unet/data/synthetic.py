"""The synthetic dataset: drawn animals, in two archives like those of the official release.

It has the release's oddities too (see :func:`write_archives`), so that the demo and the tests run
the same code as real data. The same Pillow and number of images give the same bytes.
"""

import gzip
import io
import math
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from tqdm import tqdm

from unet.data.oxford_pets import ANNOTATIONS, IMAGES

BREEDS = ("Grey_Cat", "Long_Cat", "Round_Cat", "small_dog", "tall_dog", "terrier_dog")
PET, BACKGROUND, BOUNDARY = 1, 2, 3  # codes of a trimap in the release
ODDITIES = {13: ("JPEG", "L"), 17: ("PNG", "P"), 19: ("PNG", "RGBA")}  # of these images' files
SEED = 20120616  # of the drawings; fixed, so that there is only one such dataset


def write_archives(folder: Path, *, num_images: int) -> None:
    """Write both archives with ``num_images`` (at least 40) images of 96 to 224 pixels a side.

    Oddities as in the release: a greyscale JPEG, a palette and an RGBA PNG under a .jpg name, a
    ``._`` file beside each trimap, a stray .mat, a background-only trimap, an image on no list.
    """
    images: dict[str, bytes] = {}
    annotations: dict[str, bytes] = {}
    lines: dict[str, list[str]] = {"trainval": [], "test": []}
    for index in tqdm(range(num_images), desc="draw", unit="image", leave=False, disable=None):
        breed = index % len(BREEDS)
        nth = index // len(BREEDS) + 1
        name = f"{BREEDS[breed]}_{nth}"
        empty = index == 7
        image, trimap = draw_animal(np.random.default_rng([SEED, index]), empty=empty)
        images[f"images/{name}.jpg"] = _encode(image, *ODDITIES.get(index, ()))
        annotations[f"annotations/trimaps/._{name}.png"] = b"\x00\x05\x16\x07" + bytes(28)
        annotations[f"annotations/trimaps/{name}.png"] = _encode(trimap, "PNG")
        if index != 11:  # on no list
            species = 1 if name[0].isupper() else 2
            line = f"{name} {breed + 1} {species} {breed % 3 + 1}\n"
            lines["trainval" if nth % 2 else "test"].append(line)
    images["images/stray.mat"] = b"no picture"
    header = "#Image CLASS-ID SPECIES BREED ID\n"
    annotations["annotations/list.txt"] = (header + "".join(sum(lines.values(), []))).encode()
    for name, entries in lines.items():
        annotations[f"annotations/{name}.txt"] = "".join(entries).encode()
    folder.mkdir(parents=True, exist_ok=True)
    _write_tar(folder / IMAGES, images)
    _write_tar(folder / ANNOTATIONS, annotations)


def draw_animal(
    rng: np.random.Generator, *, empty: bool = False
) -> tuple[Image.Image, Image.Image]:
    """A picture (RGB) and its trimap (L, codes 1 to 3), of the same random size.

    Args:
        empty: draw no animal; the trimap is background all over.
    """
    size = tuple(int(side) for side in rng.integers(96, 225, 2))
    mask = Image.new("L", size) if empty else _animal_mask(rng, size)
    background = _background(rng, size)
    fur = _fur(rng, size)
    image = Image.composite(fur, background, mask.filter(ImageFilter.GaussianBlur(1)))

    # In the release the band along the outline is about 3 % of the side, wider at whiskers.
    reach = 2 * max(1, round(0.013 * min(size))) + 1
    inner = np.asarray(mask.filter(ImageFilter.MinFilter(reach))) > 127
    outer = np.asarray(mask.filter(ImageFilter.MaxFilter(reach))) > 127
    trimap = np.full(inner.shape, BACKGROUND, dtype=np.uint8)
    trimap[outer] = BOUNDARY
    trimap[inner] = PET
    return image, Image.fromarray(trimap)


def _animal_mask(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A body, a head with two ears, four legs and a tail, turned and placed at random."""
    side = 256
    canvas = Image.new("L", (side, side))
    draw = ImageDraw.Draw(canvas)
    x, y = side * rng.uniform(0.42, 0.58), side * rng.uniform(0.5, 0.6)
    length, height = side * rng.uniform(0.22, 0.32), side * rng.uniform(0.13, 0.2)
    head = side * rng.uniform(0.1, 0.15)
    hx, hy = x + length * rng.uniform(0.8, 1.05), y - height * rng.uniform(0.7, 1.4)
    legs = side * rng.uniform(0.06, 0.14)
    thick = int(side * rng.uniform(0.05, 0.08))

    def disc(cx: float, cy: float, rx: float, ry: float) -> None:
        draw.ellipse((cx - rx, cy - ry, cx + rx, cy + ry), fill=255)

    disc(x, y, length, height)
    draw.line((x + 0.6 * length, y, hx, hy), fill=255, width=int(1.1 * head))
    disc(hx, hy, head * 1.15, head)
    ear = head * rng.uniform(0.7, 1.3)
    for lean in (-0.6, 0.5):
        tip = (hx + lean * 1.5 * head, hy - head - ear * 0.7)
        base = [(hx + (lean + off) * head, hy - 0.5 * head) for off in (-0.45, 0.45)]
        draw.polygon([*base, tip], fill=255)
    for along in (-0.75, -0.45, 0.4, 0.7):
        foot = (x + along * length + rng.normal(0, 5), y + height + legs)
        draw.line((x + along * length, y, *foot), fill=255, width=thick)
        disc(*foot, thick / 2, thick / 2)
    swing = rng.uniform(-1.2, 0.6)
    bend = np.linspace(0, 1, 12)
    tail_x = x - 0.9 * length - bend * length * 0.7
    tail_y = y - 0.2 * height + np.sin(bend * 2.2) * swing * height
    points = np.stack([tail_x, tail_y], 1).ravel().tolist()
    draw.line(points, fill=255, width=thick // 2 + 2, joint="curve")

    turn = rng.uniform(-20, 20)
    zoom = rng.uniform(0.75, 1.05)
    shift = rng.uniform(-0.06, 0.06, 2) * side
    if rng.random() < 0.5:
        canvas = canvas.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    cos, sin = math.cos(math.radians(turn)) * zoom, math.sin(math.radians(turn)) * zoom
    c = side / 2
    across = (cos, sin, c - cos * c - sin * c + shift[0])
    down = (-sin, cos, c + sin * c - cos * c + shift[1])
    affine, bilinear = Image.Transform.AFFINE, Image.Resampling.BILINEAR
    canvas = canvas.transform((side, side), affine, across + down, bilinear)
    return canvas.resize(size, bilinear).point(lambda v: 255 * (v > 127))


def _noise(rng: np.random.Generator, size: tuple[int, int], cells: tuple[int, int]) -> np.ndarray:
    """Smooth noise (H, W) in [-1, 1] with about ``cells`` blobs across and down."""
    coarse = Image.fromarray(rng.uniform(-1, 1, cells[::-1]).astype(np.float32))
    return np.asarray(coarse.resize(size, Image.Resampling.BICUBIC))


def _paint(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _background(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Two colours in smooth patches, furniture-like boxes, a little grain."""
    colours = rng.uniform(30, 225, (2, 3))
    blend = (_noise(rng, size, (4, 4))[..., None] + 1) / 2
    picture = _paint(colours[0] * blend + colours[1] * (1 - blend))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.integers(0, 4)):
        x, y = rng.uniform(0, 1, 2) * size
        w, h = rng.uniform(0.1, 0.35, 2) * size
        draw.rectangle((x, y, x + w, y + h), fill=tuple(int(v) for v in rng.uniform(30, 225, 3)))
    grain = rng.normal(0, 5, (size[1], size[0], 1))
    return _paint(np.asarray(picture, dtype=float) + grain)


def _fur(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """One colour with shading, and stripes or spots finer than anything in the background."""
    colour = rng.uniform(30, 225, 3)
    shade = 25 * _noise(rng, size, (3, 3))
    fine = (size[0] // 3, size[1] // 8) if rng.random() < 0.5 else (size[0] // 4, size[1] // 4)
    coat = rng.uniform(18, 40) * _noise(rng, size, fine)
    grain = rng.normal(0, 8, shade.shape)
    return _paint(colour + (shade + coat + grain)[..., None])


def _encode(image: Image.Image, form: str = "JPEG", mode: str = "") -> bytes:
    image = image.convert(mode) if mode else image
    image.save(buffer := io.BytesIO(), form, quality=90)
    return buffer.getvalue()


def _write_tar(path: Path, files: dict[str, bytes]) -> None:
    """A .tar.gz without time stamps or owners: the same files give the same bytes."""
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0, compresslevel=6) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
