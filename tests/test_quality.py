"""The shipped models are worth what their cards say (in samples small enough for a test), and how that is counted."""

from functools import partial

import numpy as np
import pandas as pd
import pytest

from rldf_utils import generate, grammar, perceive
from rldf_utils.tiny import judge, networks, quality, sampling, world


@pytest.fixture(scope="module")
def plain():
    """(semantics, renders) of 100 nouns in plain contexts, seeds that no training used."""
    wanted = quality.pairs(np.random.default_rng(5), 200, held_out=False)
    return wanted, np.stack([world.render(w, sampling.HELD_OUT + 77 + i) for i, w in enumerate(wanted)])


def share(judged, wanted, axis: str) -> float:
    right, n = judge.accuracy(judged, wanted)[axis]
    return right / n


# The shipped models.


def test_the_judge_is_right_on_fresh_renders(plain):
    wanted, renders = plain
    judged = judge.Judge()(renders)
    assert share(judged, wanted, "Noun") >= 0.95
    assert all(share(judged, wanted, axis) >= 0.95 for axis in ("Frequency", "Density", "Scene"))


def test_clip_reads_fresh_renders_zero_shot(plain):
    wanted, renders = plain
    eyes = grammar.load("large", nouns=sampling.FULL.words["Noun"])
    read = [eyes.decode(percept.encoding) for percept in perceive.Clip().perceive(renders, eyes)]
    assert share(read, wanted, "Noun") >= 0.9 and share(read, wanted, "Scene") >= 0.9


@pytest.mark.parametrize(("name", "least"), [("tiny-sd-v1", 0.8), ("tiny-sd-v2", 0.75)])
def test_a_diffusion_model_draws_its_prompt(name, least):
    wanted = quality.contexts(np.random.default_rng(11), 1)
    judged = judge.Judge()(quality.draw(generate.Diffusers(name), wanted, None))
    assert share(judged, wanted, "Noun") >= least and share(judged, wanted, "Scene") >= 0.9


@pytest.mark.parametrize("name", networks.RECIPES)
def test_a_negative_prompt_keeps_away_the_scene_that_it_names(name):
    def scenes(negative: str) -> list[str]:
        model = generate.Diffusers(name, negative=negative)
        pictures = [model(["a photo of two dogs"] * 8, list(range(first, first + 8))) for first in range(0, 32, 8)]
        return [judged["Scene"] for judged in judge.Judge()(np.concatenate(pictures))]

    free = scenes("")
    usual = max(free, key=free.count)
    assert scenes(usual).count(usual) < free.count(usual) / 2


def test_the_captioner_names_the_noun(plain):
    wanted, renders = plain
    captions = perceive.Captioner()(renders)
    assert np.mean([quality.named(caption) == w["Noun"] for caption, w in zip(captions, wanted, strict=True)]) >= 0.85


def test_judge_and_second_counter_agree_with_the_golden_set():
    found = quality.count_golden(quality.counters(judge.Judge()), partial(generate.Diffusers, steps=6))
    assert (found["n"] >= 200).all() and (found["share"] >= 0.92).all()


def test_the_judge_counts_whatever_the_size():
    found = quality.count_crowds([np.random.default_rng(3)], 400, quality.counters(judge.Judge())).query("model == 'judge'")
    assert found["right"].sum() >= 0.97 * found["n"].sum()


# How it is counted.


def test_the_golden_set_is_what_its_readme_says():
    golden = quality.golden()
    assert golden.columns.tolist() == ["model", "prompt", "seed", "objects", "people"]
    assert len(golden) >= 200 and not golden.duplicated(["model", "prompt", "seed"]).any()
    assert (golden["seed"] >= sampling.HELD_OUT).all() and set(golden["model"]) == set(networks.RECIPES)
    asked = pd.Series([sampling.FULL.decode(sampling.FULL.parse(prompt))["Frequency"] for prompt in golden["prompt"]])
    assert asked.value_counts().loc[["one", "two", "three"]].min() >= 60


def test_crowds_hold_every_number_at_every_size():
    pictures, wanted, layouts = quality.crowds(np.random.default_rng(0), 600)
    assert pictures.shape == (600, 64, 64, 3) and len(wanted) == 600
    assert {len(objects) for objects, _ in layouts} == set(range(10)) and {len(people) for _, people in layouts} == set(range(7))
    alike = [(objects[0][2], len(objects)) for objects, _ in layouts if len({size for _, _, size in objects}) == 1]
    assert {(size, n) for size in (16, 24, 32) for n in (1, 2, 3)} <= set(alike)


def test_exact_numbers_are_told_apart_by_size():
    layouts = [([(0, 32, 16), (16, 32, 16)], []), ([(0, 32, 32)], [(0, 0, 16), (32, 0, 24)]), ([], [])]
    found = quality.by_size(np.array([[2, 1], [2, 2], [0, 0]]), layouts)
    assert found == {"16 px": {"objects": (1, 1)}, "none": {"people": (1, 2), "objects": (1, 1)}, "32 px": {"objects": (0, 1)},
                     "mixed": {"people": (1, 1)}}  # fmt: skip


def test_a_number_is_right_if_it_is_the_sentences():
    wanted = [{"Frequency": f, "Density": d} for f, d in (("one", "no"), ("three", "two"), ("three", "many"), ("many", "many"))]
    rows = quality.counted(np.array([[1, 1], [4, 2], [3, 5], [7, 4]]), wanted)
    assert rows["objects"] == (2, 3), "many objects are no exact number"
    assert rows["objects: three"] == (1, 2) and rows["objects: many"] == (1, 1)
    assert rows["people"] == (2, 4) and rows["people: many"] == (1, 2) and rows["people: no"] == (0, 1)




def test_both_counters_are_asked_and_compared():
    eyes = {eye: lambda pictures, wanted, n=n: np.array([[n, 0]] * len(wanted)) for eye, n in zip(quality.COUNTERS, (1, 2), strict=True)}
    wanted = [{"Frequency": "one", "Density": "no"}] * 3
    found = quality.count_drawn(np.zeros((3, 64, 64, 3), np.uint8), wanted, eyes, "m", "t").set_index(["on", "axis"])["share"]
    assert found["t, counted by the judge", "objects"] == 1 and found["t, counted by the second counter", "objects"] == 0
    assert found["t, both count the same", "objects"] == 0 and found["t, both count the same", "people"] == 1


def test_a_title_says_what_is_seen_instead():
    wanted = [sampling.PLAIN | {"Noun": "dog", "Scene": "a park"}] * 2
    titles, right = quality.titles(wanted, [wanted[0], wanted[0] | {"Frequency": "two"}])
    assert right == [0] and titles[1] == titles[0] + "\n[frequency: two]" and "dog" in titles[0]


def test_every_panel_of_the_figure_shows_both_counters():
    rows = [judge.table({"objects: one": (9, 10), "people: no": (10, 10)}, model=name, on=f"t, counted by the {eye}")
            for name in networks.RECIPES for eye in quality.COUNTERS]  # fmt: skip
    figure = quality.figure_counts(pd.concat(rows), ["t"])
    assert [len(ax.containers) for ax in figure.axes] == [2, 2]


@pytest.mark.parametrize(("caption", "noun"), [
    ("a photo of two palm trees and no people in a farm", "palm tree"), ("one tree", "tree"), ("many fish", "fish"),
    ("three loaves of bread", "loaf of bread"), ("a street in the rain", ""), ("two carts", ""),
])  # fmt: skip
def test_the_noun_that_a_caption_names(caption, noun):
    assert quality.named(caption) == noun


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


def test_a_bar_is_surely_met_or_missed_if_the_whole_interval_says_so():
    for right, met, sure in ((1990, True, True), (1982, True, False), (1978, False, False), (1900, False, True)):
        row = quality.against_bars(judge.table({"Noun": (right, 2000)}, model="judge", on="fresh renders")).iloc[0]
        assert (row["met"], row["sure"]) == (met, sure), right


def test_the_second_model_is_measured_against_the_first_and_unseen_pairs_against_seen_ones():
    contexts = "100 nouns in random contexts"
    rows = [("tiny-sd-v1", contexts, "Scene", 90), ("tiny-sd-v2", contexts, "Scene", 86), ("tiny-sd-v2", contexts, "Style", 86),
            ("tiny-sd-v1", "seen pairs", "Noun", 80), ("tiny-sd-v1", "unseen pairs", "Noun", 74)]  # fmt: skip
    tables = [judge.table({axis: (right, 100)}, model=model, on=on) for model, on, axis, right in rows]
    table = quality.against_bars(pd.concat(tables, ignore_index=True))
    assert table["bar"].iloc[[0, 1, 4]].tolist() == pytest.approx([0.97, 0.85, 0.75]) and table["bar"].iloc[[2, 3]].isna().all()
    assert table["met"].iloc[[0, 1, 4]].tolist() == [False, True, False]


def test_pairs_and_contexts():
    assert all(sampling.unseen(w) for w in quality.pairs(np.random.default_rng(11), 20, True)) and not any(
        sampling.unseen(w) for w in quality.pairs(np.random.default_rng(11), 20, False)
    )
    nouns = pd.Series([w["Noun"] for w in quality.contexts(np.random.default_rng(11), 2)]).value_counts()
    assert sorted(nouns.index) == sorted(sampling.FULL.axes["Noun"]) and set(nouns) == {2}
