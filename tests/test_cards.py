"""The models' cards: they report measurements; what cannot be measured again is kept or refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from tests.repo import ROOT
from tests.tiny import tiny_model
from tools.cards import cards, main, weaknesses
from tools.models import recorded_outputs, release
from tools.table import scores
from unet.config import load_params
from unet.data.oxford_pets import md5
from unet.inference.evaluation import RULE_ENDINGS
from unet.inference.model_file import save_model
from unet.report.tables import fill, rewrite
from unet.runtime.files import sha256

KEY, OTHER = "mp_tr_bce", "mp_tr_dice"
INFO: dict[str, Any] = {
    "experiment": KEY, "downsample": "mp", "upsample": "tr", "width": 4, "depth": 2,
    "loss": "bce", "threshold": 0.7, "image_size": 16, "source": "mirror", "split": "official",
    "boundary": "background", "epoch": 15, "epochs": 15, "seed": 3, "device": "cpu",
    "amp": "bf16", "threads": 1, "ranks": 1,
}  # fmt: skip
ENDINGS = ("", *RULE_ENDINGS.values(), "_at_half")
SCORES: dict[str, Any] = {
    **dict.fromkeys((f"{score}{end}" for score in ("accuracy", "iou") for end in ENDINGS), 0.9),
    **dict.fromkeys(("dice", "precision", "recall", "boundary_iou", "iou_per_image"), 0.8),
    "gflops": 1.5, "parameters": 1000, "num_images": 6, "threshold": 0.7, "epoch": 15,
}  # fmt: skip
# Of 100 pixels each: small and large objects, a failed one, one without an object, an inverted one.
TABLE = pd.DataFrame(
    [
        ("Birman_1", 4, 1, 1, 94), ("Birman_2", 50, 5, 5, 40), ("Persian_268", 0, 90, 10, 0),
        ("pug_1", 20, 0, 0, 80), ("pug_2", 1, 0, 9, 90), ("pug_3", 0, 7, 0, 93),
    ],
    columns=["name", "tp", "fp", "fn", "tn"],
)  # fmt: skip
TABLE["iou"] = TABLE["tp"] / (TABLE["tp"] + TABLE["fp"] + TABLE["fn"])


def evaluated(root: Path, key: str, table: pd.DataFrame = TABLE) -> None:
    """What an evaluation of ``key`` leaves."""
    folder = root / f"predictions/{key}"
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "images.csv", index=False)
    np.save(folder / "masks.npy", np.zeros(3, np.uint8))
    predictions = sha256(folder / "images.csv", folder / "masks.npy")
    path = root / f"metrics/scores/{key}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(SCORES | {"predictions": predictions}))


def trained(root: Path, key: str, seed: int = 0, **changes: Any) -> None:
    """What a training of ``key`` leaves, recorded."""
    path = root / f"models/{key}.safetensors"
    save_model(path, tiny_model(seed, random_head=True).state_dict(), INFO | changes)
    lock = root / "dvc.lock"
    stages = yaml.safe_load(lock.read_text())["stages"] if lock.exists() else {}
    stages[f"train@{key}"] = {"outs": [{"path": f"models/{key}.safetensors", "md5": md5(path)}]}
    lock.write_text(yaml.safe_dump({"stages": stages}))
    times = pd.DataFrame({"seconds": [7.0, 9.0], "images_per_second": [3312 / 7, 3312 / 9]})
    (root / "plots/timing").mkdir(parents=True, exist_ok=True)
    times.to_csv(root / f"plots/timing/{key}.csv", index=False)


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with two experiments, trained, evaluated and released."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    trained(tmp_path, KEY)
    trained(tmp_path, OTHER, loss="dice", threshold=0.5)
    for key in (KEY, OTHER):
        evaluated(tmp_path, key)
    release(recorded_outputs())
    return tmp_path


def written(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / "released").glob("*.md")}


def test_weaknesses_are_those_of_the_table() -> None:
    text = weaknesses(TABLE, "background")
    dogs = (1 + 0.1) / 2  # pug_3 has no object
    for part in (
        "50.0% of them have an IoU below 0.5.",
        f"cats {(4 / 6 + 50 / 60 + 0) / 3:.3f}, dogs {dogs:.3f}.",
        f"Persian (0.000, n = 1), pug ({dogs:.3f}, n = 2), Birman (0.750, n = 2).",
        "Persian_268 (0.000), pug_2 (0.100), Birman_1 (0.667), Birman_2 (0.833), pug_1 (1.000).",
        "the trimaps of Persian_268 are inverted", "Without an object in their trimap: 1,",
        "| up to 10% | 3 | 0.256 | 66.7% |\n| 10% to 20% | 1 | 1.000 | 0.0% |\n"
        "| 40% to 100% | 1 | 0.833 | 0.0% |",
    ):  # fmt: skip
        assert part in text


def test_without_its_predictions_the_measured_part_is_kept(record: Path) -> None:
    main()
    before = written(record)
    assert len(before) == 2
    # Of another run: the first line alone would change.
    TABLE[:3].to_csv(record / f"predictions/{KEY}/images.csv", index=False)
    main()
    assert written(record) == before
    (record / f"predictions/{KEY}/masks.npy").unlink()
    params = (record / "params.yaml").read_text(encoding="utf-8")
    (record / "params.yaml").write_text(params.replace("rotate: 6", "rotate: 9"), encoding="utf-8")
    changed = cards(record)[Path(f"released/{KEY}.md")]  # what needs no predictions is made anew
    assert changed == before[f"{KEY}.md"].decode().replace("up to 6 degrees", "up to 9 degrees")


@pytest.mark.parametrize("kept", [False, True])
def test_what_is_neither_measured_nor_kept_is_refused(record: Path, kept: bool) -> None:
    main()
    if kept:  # but of another evaluation
        evaluated(record, KEY, TABLE[:5])
    else:
        (record / f"released/{KEY}.md").unlink()
    (record / f"predictions/{KEY}/masks.npy").unlink()
    before = written(record)
    with pytest.raises(ValueError, match=rf"^released/{KEY}.md: .*`dvc repro -s -f evaluate@{KEY}"):
        main()
    assert written(record) == before


def test_a_release_keeps_the_cards_of_the_same_models_alone(record: Path) -> None:
    main()
    (record / f"predictions/{OTHER}/masks.npy").unlink()
    kept = written(record)[f"{OTHER}.md"]
    trained(record, KEY, seed=1)
    release(recorded_outputs())
    assert written(record) == {f"{OTHER}.md": kept}
    (record / "released/old.md").write_text("a card of a model that is no more")
    main()
    assert written(record).keys() == {f"{KEY}.md", f"{OTHER}.md"}
    assert written(record)[f"{OTHER}.md"] == kept


# Tables


def test_pages_are_filled_between_their_markers_all_or_none(tmp_path: Path) -> None:
    first, second = tmp_path / "a.md", tmp_path / "b.md"
    text = "before\n<!-- x -->\nold\n<!-- /x -->\nafter\n"
    for wrong in ("no marker\n", "<!-- x -->\n", text + text):
        first.write_text(text)
        second.write_text(wrong)
        with pytest.raises(ValueError, match="markers of x stand [02] times"):
            rewrite({first: {"x": "new"}, second: {"x": "new"}})
        assert first.read_text() == text
    rewrite({first: {"x": "new | \\1"}})
    assert first.read_text() == text.replace("old", "new | \\1")
    assert fill(first.read_text(), {"x": "old"}) == text


def test_an_experiment_without_scores_is_named(tmp_path: Path) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    key = next(iter(load_params(ROOT / "params.yaml").experiments))
    with pytest.raises(ValueError, match=f"^{key} has no scores .*run `dvc repro`$"):
        scores(tmp_path)
