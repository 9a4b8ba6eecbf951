"""The detector: counts and names of boxes, on a stand-in of OWL-ViT and on boxes written by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import standins_models as standins
import torch

from rldf_utils import detect, grammar, perceive

BASE = grammar.load("base")


@pytest.fixture(scope="module")
def owl(tmp_path_factory):
    return detect.Detector(standins.owl(tmp_path_factory.mktemp("owl")), threshold=0.3, batch=2, device="cpu")


@pytest.fixture
def pictures():
    return list(np.random.default_rng(0).integers(0, 256, (3, 60, 80, 3), np.uint8))


@pytest.mark.parametrize("two", [False, True])
def test_stand_ins_of_owl_vit_and_owlv2_load_and_boxes_do_not_depend_on_the_neighbours(two, pictures, tmp_path):
    owl = detect.Detector(standins.owl(tmp_path, two), threshold=0.3, batch=2, device="cpu")
    counts, scores = owl(pictures, ["dog", "car", "person"])
    assert counts.shape == scores.shape == (3, 3) and counts.sum() > 0 and ((scores > 0) == (scores >= 0.3)).all()
    alone = [owl([picture], ["dog", "car", "person"]) for picture in pictures]
    assert (np.concatenate([one[0] for one in alone]) == counts).all()
    assert np.allclose(np.concatenate([one[1] for one in alone]), scores, atol=1e-6)
    assert owl([np.zeros((60, 80, 3), np.uint8)], ["dog"])[0].tolist() == [[0]], "a blackened picture shows nothing"


def test_boxes_are_counted_by_their_best_word_and_doubles_once(owl, pictures, monkeypatch):
    logits = torch.full((1, 4, 3), -9.0)
    logits[0, 0, 0], logits[0, 1, 0], logits[0, 2, 0], logits[0, 3, 2] = 3, 2, 2.5, 1
    boxes = torch.tensor([[[0.2, 0.2, 0.2, 0.2], [0.21, 0.2, 0.2, 0.2], [0.7, 0.7, 0.2, 0.2], [0.2, 0.2, 0.2, 0.2]]])
    monkeypatch.setattr(owl, "batch", 1)
    monkeypatch.setattr(owl, "model", lambda **_: SimpleNamespace(logits=logits, pred_boxes=boxes))
    counts, scores = owl(pictures[:1], ["dog", "car", "person"])
    assert counts.tolist() == [[2, 0, 1]], "two dogs, one of them boxed twice; the person stands where a dog is"
    assert scores[0].round(3).tolist() == [0.953, 0, 0.731]


def test_numbers_are_the_axis_s_own_words():
    frequency, density = BASE.axes["Frequency"], BASE.axes["Density"]
    assert [detect.number(n, frequency) for n in (0, 1, 3, 4, 9)] == ["", "one", "three", "many", "many"]
    assert [detect.number(n, density) for n in (0, 1, 2, 3)] == ["no", "one", "two", "many"]
    assert detect.number(2, ("plain",)) == ""


def test_eyes_tell_objects_and_people_by_boxes_and_the_place_by_clip(pictures):
    words = list(BASE.axes["Noun"])

    def found(images, asked):
        assert asked == [*words, "person"]
        counts, scores = np.zeros((len(images), 7), int), np.zeros((len(images), 7))
        counts[0, [words.index("dog"), words.index("car"), 6]] = 3, 1, 2
        scores[0, [words.index("dog"), words.index("car"), 6]] = 0.9, 0.5, 0.4
        return counts, scores

    clip = perceive.Clip("tiny-clip")
    rows = detect.eyes(found, clip, BASE)(pictures[:2])
    assert {axis: rows[0][axis] for axis in detect.AXES} == {"Noun": "dog", "Frequency": "three", "Density": "two"}
    assert {axis: rows[1][axis] for axis in detect.AXES} == {"Noun": "", "Frequency": "", "Density": "no"}, "nothing is found"
    black = np.zeros((60, 80, 3), np.uint8)
    assert detect.eyes(found, clip, BASE)([black]) == [dict.fromkeys(BASE.axes, "")], "a blackened one shows nothing, not even nobody"
    alone = detect.eyes(None, clip, BASE)(pictures[:2])
    assert [row["Scene"] for row in rows] == [row["Scene"] for row in alone]


def test_beside_clip_boxes_have_the_word_where_they_tell_one():
    read = BASE.encode({"Frequency": "one", "Noun": "car", "Density": "two", "Scene": "a farm"})
    boxed = {"Noun": "dog", "Frequency": "three", "Density": "no"}
    assert BASE.decode(detect.beside(BASE, read, boxed)) == {**boxed, "Scene": "a farm"}
    assert detect.beside(BASE, read, {"Noun": "", "Frequency": ""}) == detect.beside(BASE, read, {}) == read


def test_at_paper_scale_a_setting_names_it_or_says_none(tmp_path, monkeypatch):
    monkeypatch.setenv("RLDF_DEVICE", "cpu")
    monkeypatch.setenv("RLDF_DETECTOR", "none")
    assert detect.detector("paper") is None
    monkeypatch.setenv("RLDF_DETECTOR", str(standins.owl(tmp_path / "owl")))
    assert detect.detector("tiny") is None and len(detect.detector("paper").fingerprint) == 16
    monkeypatch.setenv("RLDF_DETECTOR", "google/owlvit-base-patch32")
    with pytest.raises(ValueError, match="name a revision"):
        detect.detector("paper")
