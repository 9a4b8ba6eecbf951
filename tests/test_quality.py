"""The shipped models are worth what their cards say (in samples small enough for a test), and how that is counted."""

import numpy as np
import pandas as pd
import pytest

from rldf_utils import generate, grammar, judge, perceive, quality, train, world


@pytest.fixture(scope="module")
def plain():
    """(semantics, renders) of 100 nouns in plain contexts, seeds that no training used."""
    wanted = quality.pairs(np.random.default_rng(5), 200, held_out=False)
    return wanted, np.stack([world.render(w, train.HELD_OUT + 77 + i) for i, w in enumerate(wanted)])


def share(judged, wanted, axis: str) -> float:
    right, n = judge.accuracy(judged, wanted)[axis]
    return right / n


# The shipped models.


def test_the_judge_is_right_on_fresh_renders(plain):
    wanted, renders = plain
    judged = judge.Judge()(renders)
    assert share(judged, wanted, "Noun") >= 0.9
    assert all(share(judged, wanted, axis) >= 0.95 for axis in ("Frequency", "Density", "Scene"))


def test_clip_reads_fresh_renders_zero_shot(plain):
    wanted, renders = plain
    eyes = grammar.load("large", nouns=train.FULL.words["Noun"])
    read = [eyes.decode(percept.encoding) for percept in perceive.Clip().perceive(renders, eyes)]
    assert share(read, wanted, "Noun") >= 0.9 and share(read, wanted, "Scene") >= 0.9


@pytest.mark.parametrize("name", train.RECIPES)
def test_a_diffusion_model_draws_its_prompt(name):
    wanted = quality.contexts(np.random.default_rng(11), 1)
    judged = judge.Judge()(quality.draw(generate.Diffusers(name), wanted, None))
    assert share(judged, wanted, "Noun") >= 0.38 and share(judged, wanted, "Scene") >= 0.8


# How it is counted.


def test_an_axis_counts_where_it_shows():
    wanted = [{"Noun": "dog", "Density": "no", "Tone": ""}, {"Noun": "cat", "Density": "two", "Tone": "dark-skinned"}]
    seen = [{"Noun": "dog", "Density": "no", "Tone": "light-skinned"}, {"Noun": "dog", "Density": "two", "Tone": "dark-skinned"}]
    assert judge.accuracy(seen, wanted) == {"Noun": (1, 2), "Density": (2, 2), "Tone": (1, 1)}


def test_table_has_wilsons_interval():
    row = judge.table({"Noun": (8, 10), "Tone": (0, 0)}, model="m").set_index("axis")
    assert row.loc["Noun", "low"] == pytest.approx(0.4902, abs=1e-3) and row.loc["Noun", "high"] == pytest.approx(0.9433, abs=1e-3)
    assert np.isnan(row.loc["Tone", "share"]), "an axis that never shows has no share"


def test_bars_are_met_or_not_and_some_axes_have_none():
    counts = {"Noun": (989, 1000), "Scene": (990, 1000), "Weather": (1, 1000)}
    table = quality.against_bars(judge.table(counts, model="judge", on="fresh renders")).set_index("axis")
    assert not table.loc["Noun", "met"] and table.loc["Scene", "met"] and not table.loc["Weather", "met"]
    other = quality.against_bars(judge.table(counts, model="judge", on="something else"))
    assert other["bar"].isna().all() and not any(other["met"])


def test_pairs_and_contexts():
    assert all(train.unseen(w) for w in quality.pairs(np.random.default_rng(11), 20, True)) and not any(
        train.unseen(w) for w in quality.pairs(np.random.default_rng(11), 20, False)
    )
    nouns = pd.Series([w["Noun"] for w in quality.contexts(np.random.default_rng(11), 2)]).value_counts()
    assert sorted(nouns.index) == sorted(train.FULL.axes["Noun"]) and set(nouns) == {2}


def test_a_copy_of_a_training_picture_is_nearest_to_training():
    recipe = train.Recipe("sample", (8, 8), 3, steps=2)
    images, _ = train.batch(np.random.default_rng([3, 1]), 32, seen_only=True)
    copies = images.add(1).mul(127.5).round().byte().permute(0, 2, 3, 1).numpy()[:5]
    for found in quality.nearest(copies, recipe, judge.Judge(), batches=2).values():
        assert found["training"].max() < 1e-2 < found["held out"].min()
