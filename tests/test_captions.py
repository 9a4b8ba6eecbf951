"""Figure 7's measures: what a text says, what pictures keep, intervals where no input differs, and the encoding over all axes."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from rldf_utils import captions
from rldf_utils.tiny import sampling, world
from rldf_utils.tiny.sampling import BASE, FULL, PLAIN

AXES = list(FULL.axes)


def test_inputs_have_every_word_of_an_axis_equally_often_and_can_be_drawn():
    found = captions.truths(np.random.default_rng(0), 96)
    assert {name: len(words) for name, words in found.items()} == {"base": 96, "large": 96, "all axes": 48}
    for name, grammar in (("base", BASE), ("large", sampling.LARGE)):
        for axis, words in grammar.axes.items():
            counts = [sum(w[axis] == word for w in found[name]) for word in words]
            assert max(counts) - min(counts) <= 1
    rich = found["all axes"]
    assert all(set(w) == set(FULL.axes) and w["Noun"] in BASE.axes["Noun"] for w in rich)
    assert sum(w["Verb"] == "" for w in rich) >= 24 and len({w["Verb"] for w in rich}) == len(FULL.axes["Verb"])
    assert {w["Style"] for w in rich} == set(FULL.axes["Style"])
    world.render(rich[0], sampling.HELD_OUT)


def test_a_sentence_names_the_axes_that_are_given_and_leaves_the_others_plain():
    words = {"Frequency": "two", "Noun": "dog", "Density": "no", "Scene": "a farm"}
    assert captions.sentence(words) == BASE.surface(BASE.encode(words)) == "a photo of two dogs and no people in a farm"
    assert captions.sentence(words | {"Time": "at night"}) == "a photo of two dogs and no people in a farm at night"


def test_what_a_sentence_says_is_its_semantics_for_every_state_of_the_base_world():
    for state in BASE.states():
        assert captions.said(BASE.surface(state)) == PLAIN | BASE.decode(state)


@pytest.mark.parametrize(
    ("text", "words"),
    [("Two Dogs are playing in a park at night", {"Noun": "dog", "Scene": "a park", "Time": "at night"}),
     ("a tennis ball", {"Noun": "tennis ball"}),
     ("three palm trees and some men", {"Noun": "palm tree", "Gender": "man"}),
     ("a carpet", {}),
     ("women running", {"Gender": "woman", "Verb": "running"})],
)  # fmt: skip
def test_prose_is_searched_for_whole_words_the_longest_first_and_numbers_are_left_out(text, words):
    assert captions.said(text) == words


def test_words_are_right_wrong_or_omitted():
    truth = PLAIN | {"Noun": "dog", "Frequency": "two", "Density": "one", "Tone": "dark-skinned", "Colour": "", "Weather": "in the fog"}
    text = captions.sentence(truth | {"Noun": "car", "Tone": "", "Weather": "in the rain", "Colour": "red"})
    table = captions.in_words([text], [truth]).set_index("axis")
    assert (table["n"] == 1).all() and (table[["right", "wrong", "omitted"]].sum(axis=1) == 1).all()
    assert set(table.index[table["wrong"] == 1]) == {"Noun", "Weather", "Colour"}
    assert set(table.index[table["omitted"] == 1]) == {"Tone"}
    prose = captions.in_words(["a dog"], [{"Noun": "dog", "Frequency": "one", "Density": "no", "Scene": "a farm"}]).set_index("axis")
    assert set(prose.index) == set(BASE.axes) and prose["right"].to_dict() == {"Frequency": 0, "Noun": 1, "Density": 0, "Scene": 0}
    assert prose["omitted"].sum() == 3


def test_what_the_world_does_not_show_is_not_counted():
    nobody = PLAIN | {"Density": "no", "Gender": "woman"}
    assert "Gender" not in set(captions.in_words(["a dog"], [nobody])["axis"])
    assert np.isnan(captions.kept([[nobody]], [nobody])[0, AXES.index("Gender")])


def test_kept_is_the_share_of_pictures_that_agree():
    truth = PLAIN | {"Density": "one", "Gender": "woman"}
    seen = [truth, truth | {"Noun": "coin"}, truth | {"Density": "no"}, truth]
    shares = dict(zip(AXES, captions.kept([seen], [truth])[0], strict=True))
    assert shares["Noun"] == 0.75 and shares["Density"] == 0.75 and shares["Scene"] == 1
    assert shares["Gender"] == 0.75, "nobody is seen, so no woman is, whatever the judge's guess"
    assert np.isnan(captions.kept([[truth]], [{"Noun": "dog"}])[0, AXES.index("Scene")]), "axes that the truth does not name"


def test_shares_and_differences_are_those_of_the_inputs():
    rng, one, two = np.random.default_rng(0), np.full((40, len(AXES)), np.nan), np.full((40, len(AXES)), np.nan)
    one[:, 1], two[:, 1] = np.arange(40) % 2, 0.5  # Noun
    one[:20, 3], two[:20, 3] = 1, 0  # Scene, in half of the inputs
    table = captions.shares_table(one, rng, world="base").set_index("axis")
    assert table.loc["Noun", "share"] == 0.5 and table.loc["Noun", "n"] == 40 and table.loc["Scene", "n"] == 20
    assert table.loc["all", "share"] == pytest.approx(np.mean([0.5, 1] * 10 + [0, 1] * 10))
    assert table.loc["Noun", "low"] == pytest.approx(0.5 - 1.96 * 0.5 / 40**0.5, abs=0.03)
    rows = captions.differences(one, two, rng, 0.05).set_index("axis")
    assert rows.loc["Noun", "difference"] == 0 and rows.loc["Noun", "verdict"] == "undecided"
    assert rows.loc["Noun", "n to decide"] == pytest.approx((1.96 * 0.5 / 0.05) ** 2, rel=0.15), "so many inputs would"
    assert rows.loc["Scene", "difference"] == 1 and rows.loc["Scene", "verdict"] == "reproduced"
    assert np.isnan(rows.loc["Scene", "n to decide"])


def test_where_no_input_differs_the_interval_is_the_rule_of_three():
    rng = np.random.default_rng(0)
    for n, verdict in ((64, "contradicted"), (40, "undecided")):
        same = np.full((n, len(AXES)), np.nan)
        same[:, 1] = 0.5
        row = captions.differences(same, same, rng, 0.05).iloc[0]
        assert (row["low"], row["high"], row["verdict"]) == (-3 / n, 3 / n, verdict)
        share = captions.shares_table(np.where(np.isnan(same), np.nan, 1.0), rng).iloc[0]
        assert (share["low"], share["share"], share["high"]) == (1 - 3 / n, 1, 1)


def test_losses_add_up_and_every_pair_that_there_is_becomes_a_claim():
    truth = [PLAIN | {"Noun": "dog"}, PLAIN | {"Noun": "car"}] * 8
    wrong = [words | {"Noun": "coin"} for words in truth]
    told = {"true sentence": truth, "caption": wrong, "encoding": truth}
    seen = {("base", prompt): [[words] for words in each] for prompt, each in told.items()}
    shares = {key: captions.kept(words, truth) for key, words in seen.items()}
    loss = captions.losses({"base": shares["base", "true sentence"]}, shares).set_index("prompt")
    axes = len(world.visible(truth[0]) & set(AXES))
    assert loss.loc["caption", "words"] == pytest.approx(1 / axes) == loss.loc["caption", "whole loss"]
    assert (loss.loc[["true sentence", "encoding"], "whole loss"] == 0).all()
    table = captions.claims(shares, seen, {"base": truth}, 0.05, np.random.default_rng(0))
    noun = table[table["axis"] == "Noun"].set_index("claim")["verdict"]
    assert noun.index.tolist() == ["encoding keeps more than caption", f"caption keeps more than {captions.CONTROL}"]
    assert noun.iloc[0] == "reproduced" and captions.claims({}, {}, {}, 0.05, np.random.default_rng(0)).empty


def test_the_gallery_frames_what_is_wrong_and_says_it():
    truth = PLAIN | {"Noun": "dog"}
    picture = np.zeros((8, 8, 3), np.uint8)
    figure = captions.gallery([(picture, truth, {"caption": ("a dog", [picture] * 2, [truth, truth | {"Noun": "cow"}])}),
                               (picture, None, {"caption": ("$5 dogs", [picture] * 2, None)})])  # fmt: skip
    frames = [patch for ax in figure.axes for patch in ax.patches]
    told = [text.get_text() for ax in figure.axes for text in ax.texts]
    plt.close(figure)
    assert len(frames) == 1 and told == ["Noun cow"]


def test_the_chart_shows_every_share():
    shares = np.full((5, len(AXES)), 0.5)
    rng = np.random.default_rng(0)
    parts = [captions.shares_table(shares, rng, world=name, prompt=prompt) for name in ("base", "large") for prompt in ("caption", "PEZ")]
    figure = captions.chart(pd.concat(parts))
    points = sum(len(line.get_xdata()) for ax in figure.axes for line in ax.lines if line.get_marker() == "o")
    plt.close(figure)
    assert points == 4 * (len(AXES) + 1)
