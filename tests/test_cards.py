"""The models' cards: they report measurements; what cannot be measured again is kept or refused."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from tests.repo import ROOT
from tests.tiny import tiny_model
from tools import models as models_tool
from tools.cards import BOUNDARY_AS, cards, main, score_table, size_table, weaknesses
from unet.data.masks import BOUNDARY_RULES
from unet.data.oxford_pets import md5
from unet.inference.model_file import save_model
from unet.runtime.files import sha256

KEY, OTHER = "mp_tr_bce", "mp_tr_dice"
INFO: dict[str, Any] = {
    "experiment": KEY, "downsample": "mp", "upsample": "tr", "width": 4, "depth": 2,
    "loss": "bce", "threshold": 0.7, "image_size": 16, "source": "mirror", "split": "official",
    "boundary": "background", "epoch": 15, "epochs": 15, "seed": 3, "device": "cpu",
    "amp": "bf16", "threads": 1, "ranks": 1,
}  # fmt: skip
SCORES: dict[str, Any] = {
    "accuracy": 0.91, "iou": 0.81, "dice": 0.89, "precision": 0.88, "recall": 0.87,
    "boundary_iou": 0.45, "iou_per_image": 0.79, "accuracy_boundary_object": 0.85,
    "iou_boundary_object": 0.65, "accuracy_boundary_middle": 0.93, "iou_boundary_middle": 0.84,
    "accuracy_boundary_ignored": 0.95, "iou_boundary_ignored": 0.86,
    "accuracy_at_half": 0.90, "iou_at_half": 0.80, "gflops": 1.5, "parameters": 1000,
    "num_images": 6, "threshold": 0.7, "epoch": 15,
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


def release() -> None:
    models_tool.release(models_tool.recorded_outputs())


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with two experiments, trained, evaluated and released."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    trained(tmp_path, KEY)
    trained(tmp_path, OTHER, loss="dice", threshold=0.5)
    for key in (KEY, OTHER):
        evaluated(tmp_path, key)
    release()
    return tmp_path


def remove_predictions(root: Path, key: str) -> None:
    for path in (root / f"predictions/{key}").iterdir():
        path.unlink()


def test_a_card_says_what_the_model_is(record: Path) -> None:
    texts = cards(record)
    assert list(texts) == [Path(f"released/{key}.md") for key in (KEY, OTHER)]
    text = texts[Path(f"released/{KEY}.md")]
    for part in (
        f"# {KEY}\n", "max pooling and transposed convolution, 4 channels", "1.50 GFLOP",
        "16 x 16 pixels", f"tools.predict photo.jpg --model {KEY} ", "3,312 images",
        "15 epochs in batches of 16", "after epoch 15 (the last); seed 3", "bf16 on cpu, 1 thread;",
        "horizontal flip, a window of 0.9 to 1.05 sides", "band between object and background "
        "counts as background", "weighing 2.33", "trained on the Oxford-IIIT Pet dataset (CC BY-SA",
        "photographs stays with their owners", "[MIT](../LICENSE)", "Dice 0.8900",
    ):  # fmt: skip
        assert part in text, part
    assert "**loss**: Dice." in texts[Path(f"released/{OTHER}.md")]


@pytest.mark.parametrize(
    ("tta", "says"), [(False, "in one pass each"), (True, "with test-time\naugmentation")]
)
def test_a_card_says_how_the_test_images_were_predicted(record: Path, tta: bool, says: str) -> None:
    params = yaml.safe_load((record / "params.yaml").read_text())
    params["evaluate"]["tta"] = tta
    (record / "params.yaml").write_text(yaml.safe_dump(params))
    assert says in cards(record)[Path(f"released/{KEY}.md")]


@pytest.mark.parametrize(
    ("source", "says"), [("folder", "images of the owner's"), ("synthetic", "the project drew")]
)
def test_a_model_of_other_data_says_nothing_of_pets(record: Path, source: str, says: str) -> None:
    trained(record, KEY, source=source)
    release()
    text = cards(record)[Path(f"released/{KEY}.md")]
    assert says in text and "Oxford" not in text and "CC BY-SA" not in text
    assert "inverted" not in text
    assert ("breeds" in text) == (source == "synthetic")


def test_scores_stand_at_their_rule_and_threshold() -> None:
    assert score_table(SCORES, "background").splitlines()[2:] == [
        "| background, as in training | 0.700 | 91.00% | 0.8100 |",
        "| background, as in training | 0.500 | 90.00% | 0.8000 |",
        "| object | 0.700 | 85.00% | 0.6500 |",
        "| divided in the middle | 0.700 | 93.00% | 0.8400 |",
        "| not counted | 0.700 | 95.00% | 0.8600 |",
    ]
    at_half = score_table(SCORES | {"threshold": 0.5}, "background").splitlines()[2:]
    assert [row.split(" | ")[1] for row in at_half] == ["0.500"] * 4


@pytest.mark.parametrize("rule", [rule for rule in BOUNDARY_RULES if rule != "background"])
def test_a_card_follows_the_models_rule(record: Path, rule: str) -> None:
    rows = [BOUNDARY_AS[rule]] * 2 + [BOUNDARY_AS[r] for r in BOUNDARY_RULES if r != rule]
    path = record / f"metrics/scores/{KEY}.json"
    scores = json.loads(path.read_text()) | {"accuracy_boundary_background": 0.8}
    path.write_text(json.dumps(scores | {"iou_boundary_background": 0.6}))
    trained(record, KEY, boundary=rule)
    release()
    text = cards(record)[Path(f"released/{KEY}.md")]
    table = score_table(scores | {"iou_boundary_background": 0.6}, rule).splitlines()[2:]
    assert [row.split(" | ")[0].removeprefix("| ") for row in table] == [
        f"{name}{', as in training' * (i < 2)}" for i, name in enumerate(rows)
    ]
    assert "| background | 0.700 | 80.00% | 0.6000 |" in table and "\n".join(table) in text
    words = BOUNDARY_RULES[rule]
    assert f"{words.capitalize()}, at the threshold" in text
    assert f"at the threshold, {words}." in text
    treated = {"object": "counts as object", "ignore": "does not count", "middle": "is divided"}
    assert treated[rule] in text


def test_weaknesses_are_those_of_the_table() -> None:
    lines = weaknesses(TABLE, source="official", rule="background").splitlines()
    birman1, birman2, pug1, pug2 = 4 / 6, 50 / 60, 1.0, 0.1
    assert "- 50.0% of them have an IoU below 0.5." in lines
    cats, dogs = (birman1 + birman2 + 0) / 3, (pug1 + pug2) / 2
    assert f"- Mean IoU: cats {cats:.3f}, dogs {dogs:.3f}." in lines
    breeds = f"Persian (0.000, n = 1), pug ({dogs:.3f}, n = 2), Birman (0.750, n = 2)"
    assert f"- The three breeds of least mean IoU: {breeds}." in lines
    (worst,) = (line for line in lines if "worst" in line)
    assert worst == (
        "- The five worst images: Persian_268 (0.000), pug_2 (0.100), Birman_1 (0.667), "
        "Birman_2 (0.833), pug_1 (1.000)."
    )
    assert any("trimaps of Persian_268 are inverted" in line for line in lines)
    assert any("object in their trimap: 1, where" in line for line in lines)
    assert lines[-3:] == [
        "| up to 10% | 3 | 0.256 | 66.7% |",
        "| 10% to 20% | 1 | 1.000 | 0.0% |",
        "| 40% to 100% | 1 | 0.833 | 0.0% |",
    ]


def test_of_images_as_bad_the_one_with_more_wrong_pixels_is_the_worse() -> None:
    rows = [("Birman_1", 0, 5, 5, 90), ("Birman_2", 0, 9, 5, 86), ("Birman_3", 0, 5, 5, 90)]
    table = pd.DataFrame(rows, columns=["name", "tp", "fp", "fn", "tn"]).assign(iou=0.0)
    for shuffled in (table, table[::-1], table.sample(frac=1, random_state=1)):
        text = weaknesses(shuffled, source="official", rule="background")
        assert "Birman_2 (0.000), Birman_1 (0.000), Birman_3 (0.000)" in text


def test_a_size_without_images_has_no_row() -> None:
    text = size_table(TABLE[:1], pd.Series([0.05]))
    assert text.splitlines()[2:] == ["| up to 10% | 1 | 0.667 | 0.0% |"]


def test_without_predictions_the_measured_part_is_kept(record: Path) -> None:
    main()
    before = {path.name: path.read_bytes() for path in (record / "released").glob("*.md")}
    assert len(before) == 2
    remove_predictions(record, KEY)
    main()
    assert {path.name: path.read_bytes() for path in (record / "released").glob("*.md")} == before
    params = (record / "params.yaml").read_text(encoding="utf-8")
    (record / "params.yaml").write_text(params.replace("rotate: 6", "rotate: 9"), encoding="utf-8")
    changed = cards(record)[Path(f"released/{KEY}.md")]  # what needs no predictions is made anew
    assert changed == before[f"{KEY}.md"].decode().replace("up to 6 degrees", "up to 9 degrees")


def nothing_kept(root: Path) -> None:
    (root / f"released/{KEY}.md").unlink()


def of_another_evaluation(root: Path) -> None:
    evaluated(root, KEY, TABLE[:5])


def edited_hash(root: Path) -> None:
    path = root / f"released/{KEY}.md"
    path.write_text(path.read_text().replace("<!-- predictions ", "<!-- predictions 0"))


@pytest.mark.parametrize("spoil", [nothing_kept, of_another_evaluation, edited_hash])
def test_what_is_neither_measured_nor_kept_is_refused(
    record: Path, spoil: Callable[[Path], None]
) -> None:
    main()
    spoil(record)
    remove_predictions(record, KEY)
    before = {path.name: path.read_bytes() for path in (record / "released").iterdir()}
    with pytest.raises(ValueError, match=rf"run `dvc repro evaluate@{KEY}`") as error:
        main()
    assert str(error.value).startswith(f"released/{KEY}.md: ") and "\n" not in str(error.value)
    assert {path.name: path.read_bytes() for path in (record / "released").iterdir()} == before


def test_predictions_of_another_run_are_not_measured(record: Path) -> None:
    main()
    before = cards(record)
    TABLE[:3].to_csv(record / f"predictions/{KEY}/images.csv", index=False)
    assert cards(record) == before


def test_a_model_that_is_not_the_recorded_one_gets_no_card(record: Path) -> None:
    trained(record, KEY, seed=1)
    with pytest.raises(ValueError, match=rf"released/{KEY}\.safetensors is not .*--release"):
        cards(record)


@pytest.mark.parametrize("file", [f"metrics/scores/{KEY}.json", f"plots/timing/{KEY}.csv"])
def test_missing_scores_or_times_name_the_experiment(record: Path, file: str) -> None:
    (record / file).unlink()
    with pytest.raises(ValueError, match=rf"scores or times of {KEY}.*run `dvc repro`") as error:
        cards(record)
    assert "\n" not in str(error.value)


def test_a_release_keeps_the_cards_of_the_same_models_alone(record: Path) -> None:
    main()
    remove_predictions(record, OTHER)
    kept = (record / f"released/{OTHER}.md").read_bytes()
    trained(record, KEY, seed=1)
    release()
    found = {path.name for path in (record / "released").iterdir()}
    assert found == {f"{KEY}.safetensors", f"{OTHER}.safetensors", f"{OTHER}.md"}
    assert (record / f"released/{OTHER}.md").read_bytes() == kept
    main()
    assert (record / f"released/{OTHER}.md").read_bytes() == kept
    assert (record / f"released/{KEY}.md").exists()


def test_a_card_without_a_model_goes(record: Path) -> None:
    main()
    (record / "released/old.md").write_text("a card of a model that is no more")
    stages = yaml.safe_load((record / "dvc.lock").read_text())["stages"]
    del stages[f"train@{OTHER}"]
    (record / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}))
    release()
    main()
    assert {p.name for p in (record / "released").iterdir()} == {f"{KEY}.safetensors", f"{KEY}.md"}


def test_no_released_models_no_cards(
    record: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (record / "released").iterdir():
        path.unlink()
    monkeypatch.setattr(sys, "argv", ["cards"])
    main()
    assert capsys.readouterr().out == "released/: no models, no cards\n"
