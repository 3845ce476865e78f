"""The README's picture of cut-outs, ``plots/cutouts.jpg``: ``python -m tools.cutouts``.

The photographs of ``examples/``, below each what the model `pets` cuts out of it, on a coloured
ground.
"""

from pathlib import Path

from PIL import Image

from unet.inference.model_file import DEFAULT, find_model, load_model
from unet.inference.pictures import cutout_picture
from unet.inference.predict import predict, to_picture
from unet.runtime.files import atomic_write
from unet.runtime.process import run_stage

PICTURE = Path("plots/cutouts.jpg")
GROUND = "#1a2b6d"
HEIGHT, GAP = 420, 12  # pixels


def main() -> None:
    """See the module docstring."""
    model = load_model(find_model(DEFAULT))
    columns = []
    for path in sorted(Path("examples").glob("*.jpg")):
        photo = to_picture(path)
        cut = cutout_picture(predict(photo, model), photo, background=GROUND)
        size = (round(HEIGHT * photo.width / photo.height), HEIGHT)
        columns.append([picture.resize(size, Image.Resampling.LANCZOS) for picture in (photo, cut)])
    width = sum(photo.width + GAP for photo, _ in columns) - GAP
    sheet = Image.new("RGB", (width, 2 * HEIGHT + GAP), "white")
    left = 0
    for photo, cut in columns:
        sheet.paste(photo, (left, 0))
        sheet.paste(cut, (left, HEIGHT + GAP))
        left += photo.width + GAP
    with atomic_write(PICTURE) as temporary:
        sheet.save(temporary, "JPEG", quality=88)
    print(f"{PICTURE}: {sheet.width} x {sheet.height} pixels")


if __name__ == "__main__":
    run_stage("cutouts", main)
