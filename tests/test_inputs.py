"""Inputs: the small world's examples; at paper scale photographs, scikit-image's or a folder's."""

import shutil

import pytest

from rldf_utils import inputs, perceive
from rldf_utils.results import DATA


def test_below_paper_scale_they_are_the_examples(monkeypatch):
    monkeypatch.setenv("RLDF_INPUTS", "/no/such/folder")
    assert list(inputs.inputs("tiny")) == sorted(path.stem for path in (DATA / "examples").glob("*.png"))


def test_at_paper_scale_they_are_photographs_of_the_package(monkeypatch):
    monkeypatch.delenv("RLDF_INPUTS", raising=False)
    found = inputs.inputs("paper")
    assert list(found) == ["chelsea", "coffee", "camera", "rocket", "astronaut"]
    assert all(min(perceive.read_image(path).shape[:2]) >= 300 for path in found.values())
    monkeypatch.setattr(inputs, "find_spec", lambda _: None)
    with pytest.raises(FileNotFoundError, match="no photographs: scikit-image. pip install scikit-image, or name a folder: RLDF_INPUTS"):
        inputs.inputs("paper")


def test_or_those_of_a_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("RLDF_INPUTS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"no photographs: {tmp_path}"):
        inputs.inputs("paper")
    for place in ("mine.png", "sub/other.png"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        shutil.copy(next((DATA / "examples").glob("*.png")), tmp_path / place)
    assert inputs.inputs("paper") == {"mine": tmp_path / "mine.png", "other": tmp_path / "sub" / "other.png"}
    shutil.copy(tmp_path / "mine.png", tmp_path / "sub" / "mine.png")
    with pytest.raises(ValueError, match="3 images under 2 names"):
        inputs.inputs("paper")
