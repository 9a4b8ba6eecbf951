"""Which sentences a clone is made of: shares, balance, and none that contradicts itself."""

import numpy as np
import pytest

from rldf_utils import grammar, imagenet, plan
from rldf_utils.results import LEGAL
from rldf_utils.tiny import world

FULL = grammar.load("full")
NAMES = list(FULL.axes)


def rng(seed=0) -> np.random.Generator:
    return np.random.default_rng(seed)


def said(codes: np.ndarray) -> list[dict[str, str]]:
    return [FULL.decode(tuple(row)) for row in codes.tolist()]


def counts(codes: np.ndarray, axis: str) -> np.ndarray:
    """How often each word stands, in the sentences in which its axis shows."""
    rows = [axis in world.visible(semantics) for semantics in said(codes)]
    return np.bincount(codes[rows, NAMES.index(axis)], minlength=len(FULL.axes[axis]))


# AXES.


def test_the_kinds_of_clone_are_named_and_others_refused_with_the_legal_ones():
    assert plan.kinds("tiny") == plan.kinds("smoke") == ["context", "all"] and plan.kinds("paper") == ["context"]
    for scale in plan.SIZES:
        assert [plan.kinds(scale, axes) for axes in LEGAL["AXES"][1:]] == [["context"], ["all"], ["context", "all"]]
    for wrong in ("everything", "context,all", "Style"):
        with pytest.raises(ValueError, match=f"AXES = '{wrong}' is not known; choose one of '', 'context', 'all', 'context all'"):
            plan.kinds("tiny", wrong)


def test_every_scale_has_three_splits():
    for scale, sizes in plan.SIZES.items():
        assert list(sizes.made) == ["train", "val", "test"] and min(sizes.made.values()) > 0
        assert scale == "paper" or (list(sizes.real) == ["train", "val", "test"] and sizes.real["train"] >= sizes.made["train"])
    assert [1000 * n for n in plan.SIZES["paper"].made.values()] == [1_508_000, 56_000, 100_000]
    assert plan.SIZES["tiny"].real["test"] >= 100


# Dealing words.


@pytest.mark.parametrize("n", [0, 1, 7, 60, 1508])
@pytest.mark.parametrize("share", [np.ones(4), np.ones(15), np.array([5, 0, 2, 1.0]), np.array([0, 0, 3.0])])
def test_words_are_dealt_in_their_shares_up_to_one(share, n):
    for seed in range(20):
        found = np.bincount(plan.dealt(share, n, rng(seed)), minlength=len(share))
        assert found.sum() == n and len(found) == len(share)
        assert (np.abs(found - n * share / share.sum()) < 1).all() and not found[share == 0].any()


def test_no_word_is_favoured_where_there_is_no_room_for_all():
    found = np.bincount(np.concatenate([plan.dealt(np.ones(15), 4, rng(seed)) for seed in range(3000)]), minlength=15)
    assert abs(found / 12_000 - 1 / 15).max() < 4 * np.sqrt(14 / 15**2 / 12_000)


def test_any_two_words_may_stand_together_where_there_is_no_room_for_all():
    pairs = {tuple(sorted(plan.dealt(np.ones(4), 2, rng(seed)).tolist())) for seed in range(100)}
    assert pairs == {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)}


def test_dealt_words_vary_less_than_drawn_ones_around_the_same_mean():
    share = np.array([3, 1.0])
    dealt, drawn = (np.array([(how(share, 10, rng(seed)) == 0).sum() for seed in range(2000)]) for how in (plan.dealt, plan.drawn))
    assert abs(dealt.mean() - 7.5) < 0.1 and abs(drawn.mean() - 7.5) < 0.15
    assert dealt.std() < 0.51 and drawn.std() == pytest.approx(np.sqrt(10 * 0.75 * 0.25), rel=0.1)


# Sentences.


@pytest.mark.parametrize("noun", ["dog", "tennis ball", "football", "fir tree"])
@pytest.mark.parametrize("how", [plan.dealt, plan.drawn])
@pytest.mark.parametrize("kind", ["context", "all"])
def test_no_sentence_says_what_its_picture_cannot_show(noun, how, kind):
    codes = plan.sentences(FULL, noun, 1000, rng(1), plan.shares(kind, FULL), how)
    for semantics in said(codes):
        assert "Noun" in world.visible(semantics) and semantics["Noun"] == noun
        assert not plan.contradicts(semantics), FULL.surface(FULL.encode(semantics))


@pytest.mark.parametrize("sentence, axes", [
    ("a photo of one dog and no old people surfing in a park", {"Age", "Verb"}),
    ("a photo of one dog and two old women surfing in a park", {"Age", "Gender"}),
    ("a silhouette of one red dog and one dark-skinned person in a park", {"Colour", "Tone"}),
    ("a line drawing of one red dog and one old woman in a park", {"Colour"}),
    ("a silhouette of one football and no people in a park", {"Noun"}),
    ("a photo of one red dog and two old dark-skinned women in a park in the rain at night", set()),
])  # fmt: skip
def test_what_a_sentence_says_in_vain(sentence, axes):
    assert plan.contradicts(FULL.decode(FULL.parse(sentence))) == axes


def test_all_axes_are_balanced_over_the_sentences_in_which_they_show():
    codes = plan.sentences(FULL, "dog", 1000, rng(), plan.shares("all", FULL))
    for axis in set(NAMES) - {"Noun", "Verb"}:
        found = counts(codes, axis)
        assert found.min() > 0 and found.max() - found.min() <= 1, axis
    deeds = counts(codes, "Verb")
    assert deeds.sum() == 750 and abs(deeds[0] - 375) <= 1 and np.ptp(deeds[1:]) <= 1, "half of the people do nothing"
    assert counts(codes, "Age").sum() > 250, "so that looks show"


def test_a_tennis_ball_has_no_silhouette_but_all_other_styles():
    found = counts(plan.sentences(FULL, "tennis ball", 1000, rng()), "Style")
    assert found[FULL.axes["Style"].index("a silhouette of")] == 0 and sorted(found)[1] == 200


def test_a_context_clone_is_a_natural_photo_with_the_rest_as_in_the_real_set():
    real = {"Weather": [6, 1, 1, 2], "Time": [8, 1, 1], "Verb": [5, 1, 1, 1, 1, 1, 0, 0], "Age": [3, 0, 1], "Tone": [0, 1, 1, 0],
            "Gender": [1, 0, 0]}  # fmt: skip
    codes = plan.sentences(FULL, "dog", 1000, rng(), plan.shares("context", FULL, real))
    for axis, wanted in real.items():
        found, wanted = counts(codes, axis), np.array(wanted)
        assert found.sum() > 300 and (np.abs(found - found.sum() * wanted / wanted.sum()) < 1).all(), axis
    for axis in plan.BALANCED:
        assert np.ptp(counts(codes, axis)) <= 1
    assert {(s["Style"], s["Colour"]) for s in said(codes)} == {("a photo of", "")}


def test_axes_are_independent_of_one_another():
    codes = plan.sentences(FULL, "dog", 4800, rng())
    joint = np.zeros((4, 4))
    np.add.at(joint, tuple(codes[:, [NAMES.index("Frequency"), NAMES.index("Density")]].T), 1)
    assert abs(joint - 300).max() < 75


@pytest.mark.parametrize("text", ["names", "large"])
def test_a_vocabulary_with_fewer_axes_is_planned_too(text):
    words = grammar.load(text)
    codes = plan.sentences(words, "dog", 60, rng(), plan.shares("context", words, {"Weather": [1, 0, 0, 0]}))
    assert codes.shape == (60, len(words.axes)) and {words.decode(tuple(row))["Noun"] for row in codes.tolist()} == {"dog"}
    assert (len({tuple(row) for row in codes.tolist()}) == 1) == (text == "names")


def test_plain_names_are_one_sentence_each_in_a_shape_that_the_models_were_told():
    nouns = imagenet.classes("tiny")["noun"]
    tiny, paper = plan.plain_names("tiny", list(nouns)), plan.plain_names("paper", ["boxer", "tub"])
    assert tiny.size == 100 and list(tiny.axes) == ["Noun"]
    for state in tiny.states():
        semantics = FULL.decode(FULL.parse(tiny.surface(state)))
        assert semantics == world.DEFAULTS | {"Noun": tiny.axes["Noun"][state[0]], "Scene": "a park"}
    assert [paper.surface(state) for state in paper.states()] == ["a photo of one boxer", "a photo of one tub"]


def test_a_share_of_paper_scale_is_a_rehearsal(monkeypatch):
    assert all(plan.sizes(scale) == sizes for scale, sizes in plan.SIZES.items())
    monkeypatch.setenv("RLDF_SHARE", "0.002")
    assert plan.sizes("paper").made == {"train": 3, "val": 2, "test": 2} and plan.sizes("paper").looked == 3
    assert plan.sizes("tiny") == plan.SIZES["tiny"]


# The grammar of a clone at paper scale.


def test_at_paper_scale_nobody_has_no_words_and_people_have_some_and_no_weather_is_indoors():
    words = plan.vocabulary("paper", ["dog/dogs", "oven/ovens"])
    codes = np.concatenate([plan.sentences(words, noun, 200, rng(), plan.shares("all", words)) for noun in ("dog", "oven")])
    told = [words.decode(tuple(row)) for row in codes.tolist()]
    looks = [forms for axis in ("Age", "Race", "Emotion", "Gender") for forms in words.words[axis]]
    people = {word for forms in looks for word in forms.split("/")} - {"", "white"} | {"with"}
    for row, code in zip(told, codes.tolist(), strict=True):
        sentence = words.surface(tuple(code))
        assert words.parse(sentence) == tuple(code) and not plan.contradicts(row), sentence
        if row["Density"]:
            assert row["Gender"], sentence
        else:
            assert not people & set(sentence.split()) and " no " not in sentence, sentence
        assert not (row["Scene"] in plan.INDOORS and row["Weather"]), sentence
    assert plan.INDOORS <= set(words.axes["Scene"]) and sum("photo" in row["Style"] for row in told) > 0.7 * len(told)
    for axis in words.axes:
        shows = [row[axis] for row in told if axis in plan.visible(row)]
        assert set(shows) == set(words.axes[axis]) - ({""} if axis == "Gender" else set()), axis


def test_numbers_agree_in_the_grammar_of_paper_scale():
    words = plan.vocabulary("paper", ["dog/dogs"])
    plain = words.decode((0,) * len(words.axes))
    assert words.surface(words.encode(plain)) == "a photo of one dog in a forest"
    crowd = plain | {"Frequency": "two", "Density": "with one", "Age": "old", "Race": "Asian", "Emotion": "smiling", "Gender": "woman"}
    crowd |= {"City": "in Tokyo", "Weather": "in the rain", "Time": "at night"}
    woman = "a photo of two dogs with one old Asian smiling woman in a forest in Tokyo in the rain at night"
    assert words.surface(words.encode(crowd)) == woman
    many = words.surface(words.encode(crowd | {"Density": "with many"}))
    assert "with many old Asian smiling women" in many


def test_what_clip_reads_has_the_words_of_the_plan_in_their_order():
    words = plan.vocabulary("paper", ["dog/dogs"])
    read = plan.reading(words, "dog/dogs")
    assert read.axes["Scene"] == words.axes["Scene"] and [len(read.axes[axis]) for axis in read.axes] == [4, 4, 9]
    assert plan.reading(FULL, "dog/dogs").axes == grammar.load("large", ["dog/dogs"]).axes
