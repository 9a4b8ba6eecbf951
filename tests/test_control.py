"""Searches judged on fresh pictures, and diversity: verdicts on what is known to hold and known not to."""

import numpy as np
import pandas as pd
import pytest

from rldf_utils import control, generate, grammar, perceive, studio
from rldf_utils.tiny import judge, sampling, world

BASE, ACTIONS, FULL = grammar.load("base"), grammar.load("actions"), grammar.load("full")


def test_inputs_hold_every_word_equally_often_and_the_fixed_ones_in_turn():
    verbs = [verb for verb in ACTIONS.axes["Verb"] if verb]
    words = pd.DataFrame(control.inputs(ACTIONS, 28, np.random.default_rng(0), Verb=verbs, Density=["one", "two"]))
    assert words["Verb"].value_counts().eq(4).all() and set(words["Density"]) == {"one", "two"}
    assert words.groupby("Verb")["Density"].nunique().eq(2).all()
    assert np.ptp(words["Scene"].value_counts()) <= 1
    assert all("Verb" in world.visible(row) for row in words.to_dict("records"))


class World:
    """A model whose pictures hold their state's number, and eyes that read it; the states in `odd` are drawn as state 0."""

    fingerprint, batch = "world", 8

    def __init__(self, odd=()):
        self.odd = odd

    def __call__(self, prompts, seeds):
        states = [BASE.index(BASE.parse(prompt)) for prompt in prompts]
        return np.stack([np.full((2, 2, 3), divmod(0 if s in self.odd else s, 256) + (0,), np.uint8) for s in states])

    def embed_images(self, images):
        return np.stack([image[0, 0].astype(np.float32) + 1 for image in images])

    def read(self, embeddings, grammar):
        states = (embeddings[:, :2] - 1) @ [256, 1]
        return [perceive.Percept(grammar.encoding(int(state)), {}) for state in states]


@pytest.mark.parametrize("method", ["factored agent", "Q"])
def test_a_search_ends_at_the_largest_reward_or_with_its_last_call(method):
    states = [7, 130, 471]
    images = World()([BASE.surface(BASE.encoding(state)) for state in states], [])
    for odd, calls in (((), 480), (states, 40)):
        world = World(odd)
        found = control.raced(images, studio.Studio(world, world, BASE, 0), method, calls)
        assert found["perceived"].tolist() == [BASE.surface(BASE.encoding(state)) for state in states]
        assert found["calls"].eq(calls).all() if odd else found["calls"].lt(calls).all()
        assert odd or (found["found"] == found["perceived"]).all()


def test_fresh_pictures_of_equal_sentences_are_equal_and_their_seeds_differ():
    model = generate.Null(size=4, batch=64)
    pictures = control.fresh(lambda prompts, seeds, progress=None: model(prompts, seeds), ["a", "b", "a"], 3)
    assert pictures.shape == (3, 3, 4, 4, 3) and (pictures[0] == pictures[2]).all()
    assert len({picture.tobytes() for picture in pictures.reshape(9, -1)}) == 6


def test_a_picture_is_right_if_all_that_the_input_shows_is_seen():
    wanted = control.inputs(BASE, 8, np.random.default_rng(1))
    seen = judge.Judge()(control.renders([words for words in wanted for _ in range(2)], 2**31))
    right = control.all_shown(seen, wanted)
    assert right.shape == (8, 2) and right.mean() > 0.9
    moved = [{**one, "Scene": "a farm" if one["Scene"] != "a farm" else "a street"} for one in seen]
    assert not control.all_shown(moved, wanted).any()


def test_a_verb_that_is_not_seen_is_not_counted():
    wanted = control.inputs(ACTIONS, 14, np.random.default_rng(2), Verb=["running", "cycling"], Density=["one", "two"])
    seen = judge.Judge()(control.renders(wanted, 2**31))
    table = control.by_verb(control.deeds(seen, wanted), wanted)
    assert table["n"].tolist() == [7, 7] and (table["right"] >= 6).all()
    nobody = [{**one, "Density": "no"} for one in seen]
    assert not control.deeds(nobody, wanted).any()


@pytest.mark.parametrize(("share", "verdict"), [(0.99, "reproduced"), (0.5, "contradicted"), (0.8, "undecided")])
def test_a_share_is_held_to_its_least(share, verdict):
    rng = np.random.default_rng(3)
    right = rng.random((24, 9)) < share
    row = control.above(right, 0.8, rng, "a claim")
    assert row["low"] <= row["effect"] <= row["high"] and row["n"] == 216
    assert row["verdict"] == verdict


def test_all_right_and_all_wrong_are_not_without_doubt():
    rng = np.random.default_rng(4)
    assert control.share(np.ones((10, 20), bool), rng)["low"] == pytest.approx(1 - 3 / 200)
    assert control.share(np.zeros((10, 20), bool), rng)["high"] == pytest.approx(3 / 200)


def test_two_models_are_compared_input_by_input():
    rng = np.random.default_rng(5)
    good, bad = rng.random((40, 9)) < 0.95, rng.random((40, 9)) < 0.6
    assert control.compared(good, good, rng, "equal")["verdict"] == "reproduced"
    assert control.compared(bad, good, rng, "worse")["verdict"] == "contradicted"
    assert control.compared(good, bad, rng, "better", least=0.05)["verdict"] == "reproduced"
    assert control.compared(good, good, rng, "better", least=0.05)["verdict"] == "contradicted"


def test_varied_sentences_keep_the_core_and_contradict_nothing():
    core = {"Frequency": "two", "Noun": "dog", "Density": "one", "Scene": "a farm"}
    told = control.varied(FULL, core, 40, np.random.default_rng(6))
    assert all({axis: words[axis] for axis in core} == core for words in told)
    assert all(len({words[axis] for words in told}) > 1 for axis in ("Style", "Weather", "Time", "Tone", "Verb"))


def test_diversity_tells_one_picture_from_many():
    core = {"Frequency": "one", "Noun": "dog", "Density": "no", "Scene": "a farm"}
    told = [sampling.PLAIN | core] * 12
    many, one = control.renders(told, 2**31), np.stack([world.render(told[0], 2**31)] * 12)
    seen = judge.Judge()(many)
    measured = {name: control.diversity(pictures, pictures.reshape(12, -1) / 255, told, seen, list(core))
                for name, pictures in (("many", many), ("one", one))}  # fmt: skip
    assert measured["one"]["spread"] == 0 and measured["one"]["layouts"] == 1
    assert measured["many"]["spread"] > 0 and measured["many"]["layouts"] > 1 and measured["many"]["right"] > 0.9


def test_claims_on_diversity_know_a_collapsed_model():
    rng = np.random.default_rng(7)
    spread = {"one sentence": 0.1, "inference axes": 0.1, "one sentence (renders)": 8.0, "inference axes (renders)": 12.0}
    rows = [{"condition": name, "encoding": k, "n": 20, "right": 1.0, "spread": value + rng.random() / 10, "layouts": 1.0}
            for name, value in spread.items() for k in range(10)]  # fmt: skip
    table, claims = control.diverse(pd.DataFrame(rows), rng)
    assert table["n"].eq(200).all()
    assert claims["verdict"].tolist() == ["contradicted", "reproduced", "contradicted", "contradicted"]


def test_inputs_are_renders_or_a_model_s_pictures_of_the_same_sentences():
    base = grammar.load("base")
    words = [base.decode(e) for e in base.spread(3, np.random.default_rng(0))]
    told, images = control.asked(base, words, 50)
    assert told == [base.surface(base.encode(w)) for w in words] and (images == control.renders(words, 50)).all()
    drawn = control.asked(base, words, 50, lambda prompts, seeds: [*zip(prompts, seeds, strict=True)])[1]
    assert drawn == [*zip(told, range(50, 53), strict=True)]
