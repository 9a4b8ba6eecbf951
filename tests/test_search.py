"""RLDF end to end, with a painter that draws every prompt right, so that only the search is tested."""

import csv

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from rldf_utils import generate, grammar, perceive, results, search
from rldf_utils.readings import DEFAULT, PRINTED, parse
from rldf_utils.tiny import world


class PerfectPainter:
    """Draws the prompt's render: a text-to-image model without errors."""

    fingerprint, batch = "perfect", 8

    def __call__(self, prompts, seeds):
        base = grammar.load("base")
        return np.stack([world.render(base.decode(base.parse(p)), s) for p, s in zip(prompts, seeds, strict=True)])


@pytest.fixture(scope="module")
def clip():
    return perceive.Clip("tiny-clip")


@pytest.fixture
def painter(tmp_path):
    return generate.Cache(PerfectPainter(), tmp_path)


TARGET = {"Frequency": "three", "Noun": "dog", "Density": "one", "Scene": "a street"}


@pytest.mark.parametrize("agent", ["Factored", "Q"])
def test_the_image_is_found(clip, painter, agent):
    base = grammar.load("base")
    found = search.rldf(world.render(TARGET, 2**31 + 5), painter, clip, base, agent=agent, calls=None, seed=3)
    assert base.decode(found.feedback.target) == TARGET
    assert base.decode(found.final) == TARGET and found.reached is not None
    assert found.trajectory.states[found.reached - 1] == base.index(found.final)
    assert found.calls == len({*found.trajectory.states}) < base.size, "a call for each state that was visited, none for neighbours"
    assert painter.made >= found.calls
    rows = found.visited()
    assert len(rows) == found.calls and [r["state"] for r in rows] == sorted({*found.trajectory.states.tolist()})
    assert rows[0]["prompt"] == base.surface(base.encoding(rows[0]["state"])) and max(r["reward"] for r in rows) == 0
    assert found.trajectory.rewards[-1] == 0 > found.trajectory.rewards[:-1].max(), "it ends with the picture that nothing can beat"
    assert found.calls < {"Factored": 32, "Q": 480}[agent]


def test_a_detector_perceives_beside_clip(clip, painter):
    """It boxes two dogs and three people everywhere: so has the target, and of the reward only the place is left, which CLIP reads."""
    base = grammar.load("base")

    def boxes(images, words):
        counts = np.tile([2 if word == "dog" else 3 if word == "person" else 0 for word in words], (len(images), 1))
        return counts, counts / 4

    image = world.render({"Frequency": "one", "Noun": "car", "Density": "no", "Scene": "a street"}, 2**31 + 5)
    found = search.rldf(image, painter, clip, base, seed=3, detector=boxes)
    assert base.surface(found.feedback.target) == "a photo of two dogs and many people in a street"
    assert all(row["seen"].startswith("a photo of two dogs and many people in ") for row in found.visited())
    assert base.decode(found.final)["Scene"] == "a street" and found.trajectory.rewards.max() == 0
    again = found.feedback.again([base.index(found.final)] * 2)
    assert again.shape == (2, 2) and (again == 0).all(), "further pictures are perceived in the same way"


class Overlap:
    """An encoder whose cosine is the share of axes that agree with a goal, the nearest; on the last axis only where the first agrees."""

    def __init__(self, grammar, *goals):
        self.grammar, self.goals = grammar, goals

    def embed_texts(self, texts):
        agree = np.array([[np.array(self.grammar.parse(text)) == goal for goal in self.goals] for text in texts])
        agree[..., -1] &= agree[..., 0]
        return agree.mean(-1).max(1, keepdims=True)


def test_a_large_grammar_is_read_to_the_end_also_where_an_axis_waits_for_another():
    full, rng = grammar.load("full"), np.random.default_rng(0)
    for _ in range(3):
        goal = (*full.encoding(int(rng.integers(full.size)))[:-1], 2)
        assert search.read(Overlap(full, goal), np.ones(1), full) == goal


def test_of_two_readings_as_good_the_start_decides():
    full = grammar.load("full")
    goals = (1,) * len(full.shape), (2,) * len(full.shape)
    for goal in goals:
        assert search.read(Overlap(full, *goals), np.ones(1), full, goal) == goal


def test_a_search_ends_with_its_calls(clip, painter):
    image = world.render(TARGET, 2**31)
    found = search.rldf(image, painter, clip, grammar.load("base"), reward=3, calls=7)
    assert found.calls == 7 and len(set(found.trajectory.states[:-1])) == 6


def test_the_last_calls_look_again_at_what_may_be_the_answer(clip, painter, monkeypatch):
    base, asked = grammar.load("base"), []
    original = search.Feedback.again
    monkeypatch.setattr(search.Feedback, "again", lambda self, states: asked.extend(states) or original(self, states))
    options = {"reward": 3, "seed": 2, "image_seed": 5}
    found = search.rldf(world.render(TARGET, 2**31), painter, clip, base, calls=40, **options)
    visited = list(dict.fromkeys(found.trajectory.states.tolist()))
    assert len(visited) == 34 and 2 <= len(set(asked)) == len(asked) <= 3 and set(asked) <= set(visited)
    assert found.calls == 34 + 2 * len(asked) <= 40 and base.index(found.final) in asked
    pictures = [PerfectPainter()([base.surface(base.encoding(s)) for s in asked], [seed] * len(asked)) for seed in (6, 7)]
    similar = [clip.embed_images(layer) @ found.feedback.target_embedding - 1 for layer in pictures]
    assert original(found.feedback, asked) == pytest.approx(np.array(similar), abs=1e-5), "with the next seeds"
    before = len(asked)
    search.rldf(world.render(TARGET, 2**31), painter, clip, base, calls=31, **options)
    search.rldf(world.render(TARGET, 2**31), painter, clip, base, calls=60, agent="Random", reward=3)
    best = search.rldf(world.render(TARGET, 2**31), painter, clip, base, calls=100, seed=3)
    assert best.trajectory.rewards[-1] == 0 and len(asked) == before, "a picture that nothing can beat is not looked at again"


def test_a_world_too_large_for_tables_is_searched(clip, tmp_path):
    full = grammar.load("full")

    class Painter(PerfectPainter):
        def __call__(self, prompts, seeds):
            return np.stack([world.render(full.decode(full.parse(p)), s) for p, s in zip(prompts, seeds, strict=True)])

    painter, image = generate.Cache(Painter(), tmp_path), world.render(TARGET, 2**31)
    found = search.rldf(image, painter, clip, full, reward=3, calls=12, reading=parse("actions=set"))
    assert found.calls == 12 and found.feedback.env.successors(5).shape == (sum(full.shape),)
    first = search.read(clip, found.feedback.target_embedding, full)
    assert first == found.feedback.target
    best = clip.embed_texts([full.surface(first)])[0] @ found.feedback.target_embedding
    for k, size in enumerate(full.shape):
        options = [full.surface((*first[:k], word, *first[k + 1 :])) for word in range(size)]
        assert (clip.embed_texts(options) @ found.feedback.target_embedding).max() == pytest.approx(best), "no axis can do better"
    for agent in ("Q", "Random"):
        with pytest.raises(grammar.GrammarError, match=f"a table of them, which agent {agent} needs"):
            search.rldf(image, painter, clip, full, agent=agent)


def test_milestones_rise_and_end_at_the_best(clip, painter):
    found = search.rldf(world.render(TARGET, 2**31), painter, clip, grammar.load("base"), steps=60, seed=1)
    rewards = found.trajectory.rewards[found.milestones]
    assert found.milestones[0] == 0 and (np.diff(rewards) > 0).all() and rewards[-1] == found.trajectory.rewards.max()


def test_a_second_search_is_the_same_and_makes_nothing(clip, painter):
    image = world.render(TARGET, 2**31)
    first = search.rldf(image, painter, clip, grammar.load("base"), steps=40, seed=2, reward=3)
    made = painter.made
    second = search.rldf(image, painter, clip, grammar.load("base"), steps=40, seed=2, reward=3)
    assert painter.made == made and first.calls == second.calls
    assert (first.trajectory.states == second.trajectory.states).all() and (first.trajectory.rewards == second.trajectory.rewards).all()


def test_rewards_of_the_feedback_are_the_equations(clip, painter):
    base, image = grammar.load("base"), world.render(TARGET, 2**31)
    for reading, top in ((PRINTED, (4, 1, 1)), (DEFAULT, (0, 0, 0))):
        every = {kind: search.Feedback(painter, clip, base, image, kind, reading=reading) for kind in search.REWARDS}
        best = {kind: feedback.reward(base.index(base.encode(TARGET))) for kind, feedback in every.items()}
        assert (best[1], best[2]) == top[:2] and top[2] - 0.2 < best[3] <= top[2] + 1e-6
        assert [feedback.env.most for feedback in every.values()] == list(top)
    with pytest.raises(ValueError, match="reward 4 is not known; choose one of 1 .multi-semantic."):
        search.Feedback(painter, clip, base, image, reward=4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"agent": "DQN"}, "agent = 'DQN' is not known; choose one of 'Factored', 'Q', 'SARSA', 'Random'"),
        ({"reward": 4}, "reward 4 is not known; choose one of 1 .multi-semantic."),
        ({"epsilon": 2}, "epsilon = 2 is not legal; choose a number from 0 to 1"),
        ({"steps": 0}, "steps = 0 is not legal; choose an integer, 1 or more"),
        ({"seed": -3}, "seed = -3 is not legal; choose an integer, 0 or more"),
        ({"image": np.zeros((8, 8))}, "the image must be uint8 .height, width, 3.; read a file with perceive.read_image"),
        ({"image": "picture.jpg"}, "the image must be uint8"),
        ({"grammar": grammar.load("full"), "agent": "Q"}, "full has 2,488,320,000 states .* at most 2,000,000: leave out axes"),
        ({"calls": 0}, "calls = 0 is not legal; choose an integer, 1 or more"),
    ],
)
def test_arguments_are_checked_before_anything_is_looked_at(options, message):
    """With neither a model nor a CLIP: an error of ours comes before either is used."""
    good = {"image": np.zeros((64, 64, 3), np.uint8), "model": None, "clip": None, "grammar": grammar.load("base")}
    with pytest.raises(ValueError, match=message):
        search.rldf(**(good | options))


def test_the_search_of_objects_needs_the_same_nouns():
    names, eyes = grammar.load("names", ("dog", "car")), grammar.load("large", ("dog", "car"))
    for pair, message in (
        ((eyes, eyes), "one axis Noun, not Frequency, Noun, Density, Scene"),
        ((names, grammar.load("large")), "eyes with the same nouns"),
        ((grammar.from_text("S -> Thing\nThing -> 'dog' | 'car'\n"), eyes), "one axis Noun, not Thing"),
    ):
        with pytest.raises(grammar.GrammarError, match=message):
            search.by_object([], None, None, *pair)
    with pytest.raises(ValueError, match="steps = 0 is not legal"):
        search.by_object([], None, None, names, eyes, steps=0)


@pytest.mark.parametrize("axes", [("Noun",), ("Noun", "Scene")])
def test_worlds_of_few_axes_are_searched(clip, tmp_path, axes):
    nouns, scenes = ("dog", "car", "banana"), ("a farm", "a street")
    rules = {"Noun": nouns, "Scene": scenes if "Scene" in axes else scenes[:1]}
    text = "S -> P Noun I Scene\nP -> 'a photo of one'\nI -> 'in'\n"
    small = grammar.from_text(text + "\n".join(f"{axis} -> " + " | ".join(map(repr, words)) for axis, words in rules.items()))

    class Painter(PerfectPainter):
        def __call__(self, prompts, seeds):
            return np.stack(
                [world.render({"Scene": "a farm"} | small.decode(small.parse(p)), s) for p, s in zip(prompts, seeds, strict=True)]
            )

    target = {"Noun": "car", "Scene": "a farm"}
    found = search.rldf(world.render(target, 2**31 + 1), generate.Cache(Painter(), tmp_path), clip, small, steps=60, agent="Random", seed=1)
    assert list(small.axes) == list(axes) and found.reached
    assert small.decode(found.final) == {axis: target[axis] for axis in axes} and found.calls <= small.size


def test_examples_are_renders_with_held_out_seeds():
    rows = list(csv.DictReader((results.DATA / "examples" / "examples.csv").open()))
    base = grammar.load("base")
    assert len(rows) >= 6 and len({base.parse(row["prompt"])[1] for row in rows}) == 6, "six nouns"
    for row in rows:
        pixels = np.asarray(Image.open(results.DATA / "examples" / row["file"]).convert("RGB"))
        assert int(row["seed"]) >= 2**31
        assert (pixels == world.render(base.decode(base.parse(row["prompt"])), int(row["seed"]))).all()


def test_perception_is_a_distribution_and_right_on_renders(clip):
    base = grammar.load("base")
    states = [base.encoding(i) for i in range(0, base.size, 16)]
    percepts = clip.perceive([world.render(base.decode(s), 2**31 + i) for i, s in enumerate(states)], base)
    for percept in percepts:
        assert list(percept.probabilities) == list(base.axes)
        assert all(abs(p.sum() - 1) < 1e-9 and p.min() >= 0 for p in percept.probabilities.values())
    assert np.mean([p.encoding == s for p, s in zip(percepts, states, strict=True)]) >= 0.9


def test_an_embedding_does_not_depend_on_its_neighbours(clip):
    images = [world.render(TARGET, i) for i in range(5)]
    assert (clip.embed_images(images)[2] == clip.embed_images(images[2:3])[0]).all()


class NounPainter(PerfectPainter):
    """Draws the one noun of the prompt, in a park."""

    def __call__(self, prompts, seeds):
        return np.stack(
            [world.render({"Noun": p.removeprefix("a photo of one "), "Scene": "a park"}, s) for p, s in zip(prompts, seeds, strict=True)]
        )


def test_search_of_the_object_axis(clip, tmp_path):
    """One picture a noun serves all inputs."""
    nouns = ("banana", "dog", "car", "horse")
    names, eyes, painter = grammar.load("names", nouns), grammar.load("large", nouns), generate.Cache(NounPainter(), tmp_path)
    inputs = [world.render({"Noun": noun, "Scene": "a park"}, 2**31 + i) for i, noun in enumerate(("dog", "car", "dog"))]
    pictures = painter([names.surface((i,)) for i in range(4)], [1] * 4)
    seen = [eyes.decode(p.encoding)["Noun"] for p in clip.perceive(pictures, eyes)]
    for agent in ("Q", "Factored"):
        table = search.by_object(inputs, painter, clip, names, eyes, agent=agent, steps=400, seed=1)
        assert painter.calls == 4 and table["calls"].between(1, 4).all()
        for row in table.itertuples():
            assert bool(row.searched) == (row.perceived in seen), "a search is paid where a picture shows what was read off the input"
            assert row.final == (row.searched or row.perceived)
            assert not row.searched or seen[nouns.index(row.searched)] == row.perceived
        assert (table.iloc[0] == table.iloc[2]).all() or table["perceived"][0] != table["perceived"][2], "one word, one search"
        pd.testing.assert_frame_equal(table, search.by_object(inputs, painter, clip, names, eyes, agent=agent, steps=400, seed=1))


def test_the_search_of_objects_pays_as_the_reading_says(clip, tmp_path, monkeypatch):
    """Equation 3 as printed pays C where an object matches and nothing elsewhere; as a cost it is 0 and minus C."""
    nouns, landscapes = ("banana", "dog"), []
    names, eyes, painter = grammar.load("names", nouns), grammar.load("large", nouns), generate.Cache(NounPainter(), tmp_path)
    image, real = world.render({"Noun": "dog", "Scene": "a park"}, 2**31), search.RLDFEnv
    monkeypatch.setattr(search, "RLDFEnv", lambda g, t, landscape, **o: landscapes.append(landscape) or real(g, t, landscape, **o))
    for reading in (PRINTED, DEFAULT):
        found = search.by_object([image], painter, clip, names, eyes, agent="Q", reading=reading)
        assert found["final"].tolist() == ["dog"]
    assert [sorted(values.tolist()) for values in landscapes] == [[0, 1], [-1, 0]]


@pytest.mark.parametrize("agent", ["Q", "Factored"])
def test_a_search_is_led_astray_where_the_model_draws_the_thing_for_another_word(clip, tmp_path, agent):
    class Swapped(NounPainter):
        def __call__(self, prompts, seeds):
            other = {"dog": "car", "car": "banana", "banana": "dog"}
            return super().__call__([f"a photo of one {other[p.removeprefix('a photo of one ')]}" for p in prompts], seeds)

    nouns = ("banana", "dog", "car")
    names, eyes, painter = grammar.load("names", nouns), grammar.load("large", nouns), generate.Cache(Swapped(), tmp_path)
    found = search.by_object([world.render({"Noun": "dog", "Scene": "a park"}, 2**31)], painter, clip, names, eyes, agent=agent)
    assert found[["perceived", "searched", "final"]].to_numpy().tolist() == [["dog", "banana", "banana"]]


@pytest.mark.parametrize("agent", ["Q", "Factored"])
def test_a_search_whose_word_no_picture_shows_falls_back_on_it(clip, tmp_path, agent):
    class Stubborn(NounPainter):
        def __call__(self, prompts, seeds):
            return super().__call__(["a photo of one banana"] * len(prompts), seeds)

    nouns = ("banana", "dog", "car")
    names, eyes, painter = grammar.load("names", nouns), grammar.load("large", nouns), generate.Cache(Stubborn(), tmp_path)
    found = search.by_object([world.render({"Noun": "dog", "Scene": "a park"}, 2**31)], painter, clip, names, eyes, agent=agent)
    assert found.drop(columns="nearest").to_dict("records") == [{"perceived": "dog", "searched": "", "final": "dog", "calls": 3}]


@pytest.mark.parametrize("reward", [1, 2, 3, lambda seen, target: float(seen["Noun"] == target["Noun"])])
def test_a_flagged_picture_shows_nothing(clip, tmp_path, reward):
    """Blackened or not by a safety checker: the target's own picture pays no more than one of which nothing is right."""

    class Prudish(PerfectPainter):
        flagged = {(grammar.load("base").surface(grammar.load("base").encode(TARGET)), 7): "blackened by the model's safety checker"}

    image, base = world.render(TARGET, 7), grammar.load("base")
    model = generate.Cache(Prudish(), tmp_path)
    feedback = search.Feedback(model, clip, base, image, reward, seed=7)
    open_one = search.Feedback(generate.Cache(PerfectPainter(), tmp_path / "open"), clip, base, image, reward, seed=7)
    state = int(np.ravel_multi_index(base.encode(TARGET), base.shape))
    assert feedback.reward(state) < open_one.reward(state) and len(model.flagged) == 1
    if reward != 3:
        assert feedback.reward(state) == min(open_one.reward(s) for s in range(0, base.size, 37))


def test_a_search_keeps_no_picture_in_memory(clip, painter):
    feedback = search.Feedback(painter, clip, grammar.load("base"), world.render(TARGET, 2**31))
    feedback.reward(0)
    assert len(feedback._known) == painter.batch and {e.ndim for e, _ in feedback._known.values()} == {1}
    assert (feedback.image(0) == painter([grammar.load("base").surface((0, 0, 0, 0))], [0])[0]).all() and painter.calls == 1
