"""Notebooks 7 and 8 at SCALE=paper, on stand-ins of the five sets, of Inception and of a clone; counts and widths are small."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import standins

from rldf_utils import classify, distances, fid, imagenet, perceive, results, trainings, transfer


@pytest.fixture(scope="module")
def classes():
    return imagenet.evenly(imagenet.classes("paper"), 4)


@pytest.fixture(scope="module")
def paper(tmp_path_factory, classes):
    """A machine on which notebook 6 has run: 48 training pictures in each set that was made, 24 in the real one."""
    place = tmp_path_factory.mktemp("paper")
    standins.imagenets(place / "data" / "raw")
    (place / "data" / "imagenet").symlink_to(results.DATA / "imagenet")
    counts = {"train": 12, "val": 2, "test": 2}
    standins.clones(place / "results" / "paper" / "06_imagenet100_cloning", classes, counts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLDF_DEVICE", "cpu")  # paper scale without a GPU, on purpose
        patch.setattr(fid, "INCEPTION", standins.inception(place / "cache" / "inception-2015-12-05.pt"))
        patch.setattr(results, "RESULTS", place / "results")
        patch.setattr(imagenet, "DATA", place / "data")
        for module in (fid, imagenet, trainings):
            patch.setattr(module, "CACHE", place / "cache" / "images")
        patch.setitem(classify.RECIPES, "paper", classify.Recipe("cifar", 32, 2, batch=16, width=8))
        yield place


@pytest.mark.filterwarnings("ignore::rldf_utils.fid.FewImages")
def test_notebook_8_takes_the_sets_as_they_unpack_and_the_clone_s_classes_alone(paper, classes):
    with pytest.warns(UserWarning, match=r"imagenet-r holds 1 files that are not taken for images: README.txt"):
        found = standins.executed("08_fid_kid_imagenet_variants", SCALE="paper")
    files, ids = found["files"], set(classes["class_id"])
    assert {name: len(part) for name, part in files.items()} == {
        "context clone": 44, "sampled sentences": 48, "plain names": 48, "IN": 24, "Sketch": 16, "Im-R": 110, "Im-A": 110, "Im-O": 110,
        distances.HELD_OUT: 24,
    }  # fmt: skip
    for name in ("IN", "Sketch", distances.HELD_OUT):
        assert {Path(file).parent.name for file in files[name]} == ids, "the sets hold more classes than the clone"
    black = {file for file in found["files"]["context clone"] if file.name.endswith("_000001.png")}
    assert not black, "a picture that a safety checker blackened is in no distance"
    assert found["n"] == 16 and all(len(values) == 16 for name, values in found["features"].items() if name != "reference")
    assert found["surveys"]["Sketch"].grey == 16 and found["surveys"]["context clone"].sizes == ((32, 32),)
    table = pd.read_csv(paper / "results" / "paper" / "08_fid_kid_imagenet_variants" / "table_1.csv")
    assert table["value"].notna().all() and set(table["row"]) == {"context clone", "sampled sentences", "plain names", distances.HELD_OUT}


def test_notebook_7_cuts_all_sets_to_the_real_one_and_keeps_its_trainings(paper, monkeypatch):
    first = standins.executed("07_resnet18_classification", SCALE="paper", SEEDS=2)
    assert first["n"] == 24 and {kind: len(labels) for kind, (_, labels) in first["sets"].items()} == dict.fromkeys(
        ("context", "sampled", "plain", "real", "wrong"), 24
    ) | {"steps": 48, "epochs": 48}
    for kind in ("context", "wrong", "steps"):
        assert first["sets"][kind][0][:].max((1, 2, 3)).all(), "none is black: what was flagged is not learnt from"
    parts = [part for one in first["sets"].values() for part in transfer.joined(one)[0].parts]
    assert all(isinstance(part, np.memmap) for part in parts), "pictures stay on disk"
    assert len(list((paper / "cache" / "trainings").glob("*.npz"))) == 2 * len(first["sets"])
    monkeypatch.setattr(classify, "train", None)
    monkeypatch.setattr(fid, "features", None)
    again = standins.executed("07_resnet18_classification", SCALE="paper", SEEDS=2)
    assert again["metrics"] == first["metrics"]


def test_clip_prepares_pictures_batch_by_batch(monkeypatch):
    """All at once, 480 states with 16 renders each took 5 GB at the size that ViT-L/14 sees."""
    clip, seen = perceive.Clip("tiny-clip", batch=4), []
    pictures = list(np.random.default_rng(0).integers(0, 256, (10, 64, 64, 3), np.uint8))
    wanted = np.concatenate([clip.embed_images(pictures[start : start + 4]) for start in (0, 4, 8)])
    prepare, encode = clip.preprocess, clip.model.encode_image
    monkeypatch.setattr(clip, "preprocess", lambda image: seen.append("picture") or prepare(image))
    monkeypatch.setattr(clip.model, "encode_image", lambda *args, **options: seen.append("batch") or encode(*args, **options))
    assert (clip.embed_images(pictures) == wanted).all()
    assert " ".join(seen) == " ".join([*(["picture"] * 4 + ["batch"]) * 2, "picture", "picture", "batch"])
