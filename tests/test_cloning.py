"""What notebook 6 measures: who finds the object, marginals, evenness, and the verdicts on them."""

import numpy as np
import pandas as pd
import pytest

from rldf_utils import cloning, cloning_charts, grammar, imagenet, perceive, plan
from rldf_utils.tiny import world

FULL = grammar.load("full")
AXES = {axis: words for axis, words in FULL.axes.items() if axis != "Noun"}


def sentences(n: int, kind: str = "all", noun: str = "dog", seed: int = 0) -> pd.DataFrame:
    codes = plan.sentences(FULL, noun, n, np.random.default_rng(seed), plan.shares(kind, FULL))
    return pd.DataFrame([FULL.decode(tuple(row)) for row in codes.tolist()])


@pytest.fixture(scope="module")
def clip():
    return perceive.Clip("tiny-clip")


# Who finds the object.


def test_finders_are_counted_beside_the_encoder():
    truth = ["dog", "dog", "car", "car"] * 25
    table = pd.DataFrame({"perceived": ["dog", "cat", "car", "cat"] * 25, "searched": ["dog", "dog", "", ""] * 25,
                          "final": ["dog", "dog", "car", "cat"] * 25, "nearest": ["cow"] * 100, "calls": [10] * 100})  # fmt: skip
    found = cloning.finders({"Q": table}, truth, 7, np.random.default_rng(0))
    assert found["right"].to_dict() == {"encoder only": 50, "Q: search only": 50, "Q: search, else encoder": 75,
                                        "nearest of all pictures, no word read": 0}  # fmt: skip
    assert found["calls"].tolist() == [0, 10, 10, 7] and (found["n"] == 100).all()
    assert ((found["low"] <= found["share"]) & (found["share"] <= found["high"])).all()
    both = found.loc["Q: search, else encoder"]
    assert both["difference"] == 0.25 and 0.1 < both["less"] < 0.25 < both["more"] < 0.4
    assert found.loc["encoder only", ["difference", "less", "more"]].tolist() == [0, 0, 0]


def test_where_nobody_knows_the_words_the_finders_are_not_counted():
    table = pd.DataFrame(columns=["perceived", "searched", "final", "nearest", "calls"])
    found = cloning.finders({"Q": table}, [], 7, np.random.default_rng(0))
    assert len(found) == 0 and found.round(3)["share"].to_dict() == {}
    assert cloning.majority(table[["final", "perceived"]], []).eq(np.array([]), axis=0).sum().tolist() == [0, 0]
    shown = {name: sentences(30, seed=k) for k, name in enumerate(("real", "context", "sampled"))}
    table = cloning.claims(shown, found, (0, 0), AXES, np.random.default_rng(0)).set_index("claim")
    assert table["verdict"]["three pictures tell what a class shows"].startswith("not testable here (needs classes whose words")


def test_the_majority_of_a_group_in_the_order_of_the_groups():
    words = pd.Series(["b", "a", "a", "z", "y", "x", "c"])
    assert cloning.majority(words, ["2", "2", "2", "1", "1", "1", "3"]).to_dict() == {"2": "a", "1": "x", "3": "c"}
    two = cloning.majority(pd.DataFrame({"p": words, "q": "k"}), ["2", "2", "2", "1", "1", "1", "3"])
    assert two["p"].tolist() == ["a", "x", "c"] and two["q"].tolist() == ["k"] * 3


# Marginals.


def test_pictures_are_read_axis_by_axis_without_a_label(clip):
    """Number, people, place, weather and time of renders; the judge's word would be no part of the method."""
    wanted = sentences(40, "context", seed=3).to_dict("records")
    embeddings = clip.embed_images([world.render(words, 2**44 + i) for i, words in enumerate(wanted)])
    read = cloning.read(embeddings, clip, FULL, ["dog"] * 40)
    assert list(read) == list(FULL.axes) and set(read["Noun"]) == {"dog"}
    for axis in ("Density", "Scene", "Time"):
        assert np.mean([row[axis] == words[axis] for row, words in zip(read.to_dict("records"), wanted, strict=True)]) > 0.7, axis
    first = clip.embed_texts([FULL.surface(FULL.encode(row)) for row in read.to_dict("records")])
    better = []
    for i, row in enumerate(read.to_dict("records")[:5]):
        for axis, words in AXES.items():
            texts = clip.embed_texts([FULL.surface(FULL.encode(row | {axis: word})) for word in words])
            better.append((texts @ embeddings[i]).max() - first[i] @ embeddings[i])
    assert max(better) < 1e-5, "no change of one axis is nearer"


def test_each_axis_is_tallied_where_it_shows():
    words = pd.DataFrame([
        world.DEFAULTS,
        world.DEFAULTS | {"Density": "one", "Tone": "dark-skinned"},
        world.DEFAULTS | {"Density": "two", "Verb": "surfing"},
        world.DEFAULTS | {"Density": "two", "Style": "a silhouette of", "Age": "old"},
    ])  # fmt: skip
    counts = cloning.tally(words, AXES)
    assert {axis: int(n.sum()) for axis, n in counts.items()} == {axis: 4 for axis in AXES} | {
        "Verb": 3, "Colour": 3, "Age": 1, "Gender": 1, "Tone": 2}  # fmt: skip
    assert counts["Tone"].tolist() == [1, 0, 0, 1] and counts["Density"].tolist() == [1, 1, 2, 0]
    table = cloning.table({"real": words}, AXES)
    assert len(table) == sum(map(len, AXES.values())) and table.groupby("axis")["share"].sum().round(3).eq(1).all()
    assert cloning.rows("none", "Age", AXES["Age"], [0, 0, 0])["share"].isna().all()


def test_evenness_is_one_for_all_words_and_zero_for_one():
    assert cloning.even([3, 3, 3, 3]) == pytest.approx(1) and cloning.even([7, 0]) == 0 and np.isnan(cloning.even([0, 0]))
    assert cloning.even([3, 1]) == pytest.approx(-(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25)))
    assert cloning.even(np.array([[1, 1], [1, 0]])).tolist() == [1, 0]
    table = cloning.evenness({"all": sentences(600), "context": sentences(600, "context")}, AXES)
    assert table["all"].drop("Verb").min() > 0.999 and table.loc[["Style", "Colour"], "context"].tolist() == [0, 0]


def test_the_gap_of_two_sets_is_nothing_for_equals_and_holds_its_value():
    rng, axes = np.random.default_rng(0), {axis: AXES[axis] for axis in cloning.LOOKS}
    even, one = sentences(400), sentences(400).assign(Age="", Tone="", Gender="person")
    same = cloning.gap(even, even, axes, rng, paired=True)
    assert same["effect"] == same["low"] == same["high"] == 0
    apart = cloning.gap(even, one, axes, rng)
    assert apart["effect"] > 0.99 and apart["low"] <= apart["effect"] + 0.01 and apart["low"] > 0.9
    covered = 0
    for seed in range(40):  # two samples of one distribution
        pair = [sentences(1600, seed=seed).sample(400, random_state=10 * seed + k) for k in (0, 1)]
        found = cloning.gap(*pair, axes, np.random.default_rng(seed), draws=200)
        covered += found["low"] <= 0 <= found["high"]
    assert covered >= 34


def test_looks_are_counted_where_there_are_faces():
    words = sentences(600)
    faces = cloning.outlook(words)
    assert 100 < len(faces) < 400 and not (faces["Density"] == "no").any() and (faces["Verb"] == "").all()


# What is seen, and the verdicts.


def test_the_judge_sees_in_renders_what_their_sentences_say(clip):
    words = sentences(400)
    seen = cloning.seen("tiny", {"": cloning.renders(words)}, {}, clip, FULL)
    for axis in AXES:
        there = [axis in world.visible(row) for row in words.to_dict("records")]
        assert (seen[axis] == words[axis])[there].mean() > 0.8, axis


def test_pictures_of_any_size_are_seen_as_one_s_own_folder_has_them(clip):
    image = cloning.renders(sentences(1))[0]
    large = image.repeat(5, 0).repeat(5, 1)
    seen = cloning.seen("tiny", {"a": [image, large], "b": [np.pad(large, ((0, 0), (100, 100), (0, 0)))]}, {}, clip, FULL)
    assert len(seen) == 3 and (seen["Noun"] == "dog").all()


def test_at_paper_scale_clip_sees_number_people_and_place(clip):
    words = pd.DataFrame([FULL.decode(FULL.parse(f"a photo of one dog and no people in a {s}")) for s in ("farm", "street", "park")])
    seen = cloning.seen("paper", {"d": cloning.renders(words)}, {"d": "dog/dogs"}, clip, FULL)
    assert list(seen) == ["Frequency", "Noun", "Density", "Scene"] or list(seen) == ["Frequency", "Density", "Scene"]
    assert seen["Scene"].tolist() == ["a farm", "a street", "a park"] and set(seen["Density"]) == {"no"}


def test_a_survey_looks_at_all_sets_alike_and_at_renders_of_the_same_sentences(clip, tmp_path):
    table = imagenet.classes("tiny").iloc[[3, 40]]
    real = imagenet.folder("tiny", "IN", "train", table, tmp_path, 3)
    words = pd.concat([sentences(5, noun=noun.split("/")[0]) for noun in table["noun"]], ignore_index=True)
    codes = ["-".join(map(str, FULL.encode(row))) for row in words.to_dict("records")]
    manifest = pd.DataFrame({"split": [*["train"] * 4, "val"] * 2, "class_id": table["class_id"].repeat(5).to_list(), "encoding": codes})
    nouns = dict(zip(table["class_id"], table["noun"], strict=True))
    found = cloning.survey("tiny", {"real": real}, {"all": manifest}, FULL, nouns, 3, clip)
    assert {name: len(part) for name, part in found.items()} == {"real": 6, "all (renders)": 6}
    assert set(found["real"]["Noun"]) <= set(FULL.axes["Noun"])
    assert found["all (renders)"]["Frequency"].tolist() == words["Frequency"][[0, 1, 2, 5, 6, 7]].tolist()


def claims(sets: dict, right: int = 95, found: float = 0.3, axes: dict = AXES) -> dict:
    row = {"difference": found, "less": found - 0.02, "more": found + 0.02}
    table = cloning.claims(sets, pd.DataFrame({"Q: search, else encoder": row}).T, (right, 100), axes, np.random.default_rng(0))
    shown = table.dropna(subset="effect")
    assert ((shown["low"] <= shown["high"]) & table["verdict"].ne("")[shown.index]).all()
    return dict(zip(table["claim"], table["verdict"], strict=True))


def test_verdicts_follow_what_is_seen():
    even, plain = sentences(600), sentences(600).assign(Age="", Tone="", Gender="person", Frequency="one", Density="one")
    good = claims({"real": plain, "sampled": plain, "all": even, "all (renders)": even}, 100)
    assert set(good.values()) == {"reproduced"} and len(good) == 6
    bad = claims({"real": even, "sampled": even, "all": plain, "all (renders)": even}, 50, -0.2)
    assert set(bad.values()) == {"contradicted"}
    assert claims({"real": even, "sampled": even, "all": even}, 90)["three pictures tell what a class shows"] == "undecided"
    row = pd.DataFrame({"Q: search, else encoder": {"difference": 0.03, "less": -0.07, "more": 0.13}}).T
    table = cloning.claims({"real": even, "sampled": even}, row, (100, 100), AXES, np.random.default_rng(0))
    assert table["verdict"].tolist() == ["reproduced", "undecided"] and table["times_n"][1] == pytest.approx(100), "0.1 wide, 0.01 off"
    few = {axis: AXES[axis] for axis in plan.BALANCED}
    assert claims({"real": even, "sampled": plain, "context": even}, axes=few)[
        "looks of people are more even than in the set that it clones"].startswith("not testable here (needs")  # fmt: skip


# Charts.


def test_a_wrong_class_is_red_and_says_as_what_it_was_cloned():
    picture = [np.zeros((8, 8, 3), np.uint8)]
    figure = cloning_charts.sheet({"dog": [picture] * 2, "tennis ball": [picture] * 2}, ["real", "context"], {"tennis ball": "ice cream"})
    labels = {ax.get_ylabel(): ax.yaxis.label.get_color() for ax in figure.axes if ax.get_ylabel()}
    assert labels["tennis ball\n(cloned as\nice cream)"] == cloning_charts.WRONG and labels["dog"] != cloning_charts.WRONG


def test_bars_stand_where_the_table_says_and_what_is_not_there_is_named():
    table = pd.DataFrame({"real": [0.5, 0.7], "plain": [0.2, np.nan], "real (renders)": [0.9, 1.0]}, index=["Scene", "Age"])
    (ax,) = cloning_charts.balance(table).axes
    assert [bar.get_height() for bar in ax.patches] == [0.5, 0.7, 0.2, 0] and [t.get_text() for t in ax.texts] == ["none"]
    (lines,) = ax.collections
    assert [segment[0][1] for segment in lines.get_segments()] == [0.9, 1.0]
