"""Equations 2 to 6 on hand cases, and their landscapes over every state and target of the base world."""

import numpy as np
import pytest

from rldf_utils import grammar, rewards

BASE = grammar.load()
DOG = {"Frequency": "two", "Noun": "dog", "Density": "one", "Scene": "a farm"}


@pytest.mark.parametrize(
    ("change", "objects", "scene"),
    [
        ({}, 3, 1),
        ({"Noun": "car"}, 2, 1),
        ({"Noun": "car", "Frequency": "many"}, 1, 1),
        ({"Noun": "car", "Frequency": "many", "Density": "no"}, 0, 1),
        ({"Scene": "a street"}, 3, -1),
        ({"Noun": "car", "Frequency": "many", "Density": "no", "Scene": "a street"}, 0, -1),
    ],
)
def test_indicators_and_their_sum(change, objects, scene):
    seen = DOG | change
    assert rewards.object_indicator(seen, DOG) == objects
    assert rewards.scene_indicator(seen, DOG) == scene
    assert rewards.multi_semantic(seen, DOG) == objects + scene
    assert rewards.partial_semantic(seen, DOG) == scene


def test_constants_scale_their_own_part():
    seen = DOG | {"Noun": "car"}
    assert rewards.multi_semantic(seen, DOG, c=10, c_s=0.5) == 20.5
    assert rewards.multi_semantic(seen | {"Scene": "a street"}, DOG, c=10, c_s=0.5) == 19.5
    assert rewards.partial_semantic(seen, DOG, c_s=7) == 7
    assert rewards.partial_semantic(DOG | {"Scene": "a street"}, DOG, c_s=7) == -7


def test_a_verb_counts_where_the_grammar_has_one():
    acting = DOG | {"Verb": "running"}
    assert rewards.object_indicator(acting, acting) == 4
    assert rewards.object_indicator(acting | {"Verb": ""}, acting) == 3
    assert rewards.object_indicator(acting, DOG) == 3


def test_axes_outside_objects_and_scene_do_not_count():
    assert rewards.multi_semantic(DOG | {"Weather": "in the rain"}, DOG | {"Weather": ""}) == 4


def test_multi_semantic_has_its_only_maximum_at_every_target():
    words = [BASE.decode(state) for state in BASE.states()]
    landscape = np.array([[rewards.multi_semantic(seen, target) for seen in words] for target in words])
    assert (np.diag(landscape) == 4).all()
    assert ((landscape == 4).sum(1) == 1).all()
    assert landscape.min() == -1


def test_partial_semantic_takes_two_values():
    words = [BASE.decode(state) for state in BASE.states()]
    landscape = np.array([rewards.partial_semantic(seen, words[137]) for seen in words])
    assert set(landscape) == {-1.0, 1.0}
    assert (landscape == 1).sum() == 480 / 5
    assert all((landscape[i] == 1) == (words[i]["Scene"] == words[137]["Scene"]) for i in range(480))


@pytest.mark.parametrize(
    ("x", "y", "cosine"),
    [([3, 4], [3, 4], 1), ([1, 0], [0, 2], 0), ([1, 2], [-2, -4], -1), ([1, 0], [1, 1], 0.5**0.5), ([3, 4], [4, 3], 24 / 25)],
)
def test_clip_similarity_is_the_cosine(x, y, cosine):
    x, y = np.array(x, float), np.array(y, float)
    assert rewards.clip_similarity(x, y) == pytest.approx(cosine, abs=1e-12)
    assert rewards.clip_similarity(5 * y, 0.1 * x) == pytest.approx(cosine, abs=1e-12)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.ones(3), np.ones(4), r"not \(3,\) and \(4,\)"),
        (np.ones((1, 3)), np.ones((1, 3)), r"not \(1, 3\) and \(1, 3\)"),
        (np.zeros(3), np.ones(3), "no direction"),
        (np.ones(3), np.zeros(3), "no direction"),
    ],
)
def test_clip_similarity_errors(x, y, message):
    with pytest.raises(ValueError, match=message):
        rewards.clip_similarity(x, y)


@pytest.mark.parametrize(
    ("axes", "scene", "objects"),
    [
        (["Frequency", "Noun", "Density", "Scene"], "Scene", ["Noun", "Frequency", "Density"]),
        (["Scene", "Noun", "Weather"], "Scene", ["Noun"]),
        (["Number", "Thing", "When", "Place"], "Place", ["Number", "Thing", "When"]),
        (["Scene", "Weather"], "Scene", ["Weather"]),
        (["Weather", "Noun"], "Weather", ["Noun"]),
        (["Frequency", "Noun"], "Noun", ["Noun", "Frequency"]),
        (["Noun"], "Noun", ["Noun"]),
        (["Axis0"], "Axis0", ["Axis0"]),
    ],
)
def test_any_vocabulary_has_objects_and_a_scene(axes, scene, objects):
    assert (rewards.scene_axis(axes), rewards.object_axes(axes)) == (scene, objects)
    target = dict.fromkeys(axes, "this")
    for wrong in axes:
        seen = target | {wrong: "that"}
        assert rewards.object_indicator(seen, target) == len(objects) - (wrong in objects)
        assert rewards.partial_semantic(seen, target) == (-1 if wrong == scene else 1)
    assert rewards.multi_semantic(target, target) == len(objects) + 1
