"""The second counter: exact on renders and on crowds, blind to the number it ought to find."""

import numpy as np
import pytest

from rldf_utils.tiny import counting, sampling, world


def pictures(count: int, crowded: bool, seed: int = 0):
    """(semantics, pictures, layouts) of all axes; crowded: 0 to 9 objects and 0 to 6 people of any size."""
    rng, wanted, shown, layouts = np.random.default_rng(seed), [], [], []
    for k in range(count):
        semantics = sampling.sample_semantics(rng, mix=(0, 0, 0), vary=0.8)
        layout = world.layout(semantics["Frequency"], semantics["Density"], rng)
        layout = sampling.crowd(rng, int(rng.integers(10)), int(rng.integers(7))) if crowded else layout
        wanted.append(semantics)
        layouts.append(layout)
        shown.append(world.render(semantics, sampling.HELD_OUT + k, places=layout))
    return wanted, shown, layouts


@pytest.mark.parametrize(("crowded", "least"), [(False, 0.985), (True, 0.97)])
def test_the_counter_finds_what_is_there(crowded, least):
    wanted, shown, layouts = pictures(400, crowded)
    truth = np.array([[len(part) for part in layout] for layout in layouts])
    assert (counting.count(shown, wanted) == truth).all(1).mean() >= least


def test_what_is_found_stands_where_it_was_put():
    wanted, shown, layouts = pictures(30, crowded=False, seed=3)
    for semantics, picture, (objects, people) in zip(wanted, shown, layouts, strict=True):
        found = counting.find(picture, semantics)
        assert sorted((f.x, f.y, f.size) for f in found if f.kind == "object") == sorted(objects)
        if semantics["Age"] != "young" or semantics["Verb"]:  # children are smaller than their place
            assert sorted((f.x, f.y, f.size) for f in found if f.kind == "person") == sorted(people)
        assert all(counting.ALIKE < f.likeness < 1 + 1e-6 for f in found)


def test_number_words_and_scene_are_not_read():
    wanted, shown, _ = pictures(40, crowded=True, seed=4)
    lied = [{**w, "Frequency": "one", "Density": "no", "Scene": "a farm"} for w in wanted]
    assert (counting.count(shown, lied) == counting.count(shown, wanted)).all()


def test_two_objects_more_are_two_more():
    semantics, place = {"Noun": "dog", "Scene": "a park"}, [(0, 32, 16), (24, 48, 16), (48, 32, 16), (0, 48, 16), (48, 48, 16)]
    shown = [world.render(semantics, 7, places=(place[:n], [])) for n in (3, 5)]
    assert counting.count(shown, [semantics] * 2).tolist() == [[3, 0], [5, 0]]


def test_a_ghost_and_an_empty_scene_are_not_counted():
    semantics = {"Noun": "dog", "Scene": "a park"}
    empty, dog = (world.render(semantics, 7, places=places) for places in (([], []), ([(16, 32, 32)], [])))
    ghost = (0.8 * empty + 0.2 * dog).round().astype(np.uint8)
    assert counting.count([empty, ghost, dog], [semantics] * 3)[:, 0].tolist() == [0, 0, 1]


def test_other_things_are_mostly_not_counted():
    wanted, shown, layouts = pictures(60, crowded=False, seed=9)
    nouns = list(world.nouns())
    other = [{**w, "Noun": nouns[(nouns.index(w["Noun"]) + 37) % 100]} for w in wanted]
    assert counting.count(shown, other)[:, 0].sum() < 0.6 * sum(len(objects) for objects, _ in layouts)


def test_noise_hardly_matters():
    wanted, shown, layouts = pictures(100, crowded=False, seed=6)
    noisy = (shown + np.random.default_rng(0).normal(0, 12, (64, 64, 3))).clip(0, 255).astype(np.uint8)
    truth = np.array([[len(part) for part in layout] for layout in layouts])
    assert (counting.count(noisy, wanted) == truth).all(1).mean() >= 0.95
