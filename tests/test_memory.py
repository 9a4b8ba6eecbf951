"""Memorisation: training's pictures are made again, the test is fair where there is nothing to find, and finds what there is."""

import inspect

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest

from rldf_utils import generate
from rldf_utils.tiny import judge, memory, networks, sampling, train, world

RECIPE = networks.Recipe("epsilon", (8, 8), 8, seed=3, steps=3, batch=40)


def pool(rng, pairs: int, size: int = 6) -> tuple[np.ndarray, np.ndarray]:
    return tuple(rng.integers(0, 256, (2, pairs, size), np.uint8))


# The pictures.


def test_training_pictures_are_those_that_training_saw_the_last_ones_first():
    words, pictures = memory.training(RECIPE, {}, 100)
    batches = [train.diffusion_renders(RECIPE, k)[1:] for k in (2, 1, 0)]
    assert words == [semantics for _, part in batches for semantics in part][:100]
    assert (pictures == np.concatenate([part.numpy() for part, _ in batches])[:100]).all()


def test_only_those_with_the_wanted_words_are_taken():
    words, pictures = memory.training(RECIPE, {"Frequency": "two"}, 20)
    every, others = memory.training(RECIPE, {}, 120)
    which = [i for i, semantics in enumerate(every) if semantics["Frequency"] == "two"][:20]
    assert words == [every[i] for i in which] and (pictures == others[which]).all()
    with pytest.raises(ValueError, match="training had 0 pictures with .*'Noun': 'nothing'.*, not 1; ask for fewer"):
        memory.training(RECIPE, {"Noun": "nothing"}, 1)


def test_held_out_pictures_are_of_the_same_words_by_other_seeds_and_none_of_the_known():
    words = [dict(world.DEFAULTS)] * 8  # of which the world has few pictures
    one = memory.held_out(words)
    assert (one[0] == world.render(words[0], sampling.HELD_OUT)).all()
    two = memory.held_out(words, one)
    three = memory.held_out(words, one, two)
    for some, other in ((one, two), (one, three), (two, three)):
        assert not (some == other).all((1, 2, 3)).any()
    possible = {world.render(words[0], seed).tobytes() for seed in range(300)}
    assert {picture.tobytes() for picture in np.concatenate([one, two, three])} <= possible


# Nearest neighbours.


def test_the_nearest_of_all_and_of_either_kind():
    ours, other = np.array([[[0, 0]], [[10, 0]], [[20, 0]]], np.uint8), np.array([[[0, 4]], [[10, 5]], [[27, 0]]], np.uint8)
    found = memory.nearest(np.array([[[0, 1]], [[10, 4]], [[24, 0]]], np.uint8), ours, other, np.random.default_rng(0))
    assert found["pair"].tolist() == [0, 1, 2] and found["nearer"].tolist() == [True, False, False]
    assert found["training"].tolist() == [1, 4, 4] and found["held-out"].tolist() == [3, 1, 3]


def test_a_copy_is_at_0_and_a_tie_is_a_coin():
    rng = np.random.default_rng(0)
    ours, other = pool(rng, 400)
    assert (memory.nearest(ours, ours, other, rng)[["training", "nearer"]] == [0, 1]).all().all()
    shares = [memory.nearest(ours, ours, ours, rng)["nearer"].mean() for _ in range(20)]
    assert abs(np.mean(shares) - 0.5) < 0.02, "neither kind is preferred for its place"


# The test.


def test_p_is_uniform_where_nothing_was_learnt():
    """Pictures that share neighbours: a test that took them for independent would find copies in many of these runs."""
    rng, found = np.random.default_rng(4), []
    for _ in range(400):
        ours, other = pool(rng, 20)
        found.append(memory.split_test(memory.nearest(pool(rng, 200)[0], ours, other, rng), rng, splits=400))
    found = pd.DataFrame(found)
    assert kstest(found["p"], "uniform").pvalue > 0.01
    assert (found["p"] <= 0.05).mean() < 0.08
    inside = ((found["low"] <= 0.5) & (found["high"] >= 0.5)).mean()
    assert 0.92 <= inside <= 0.98
    by_binomial = (abs(found["share"] - 0.5) < 1.96 * (0.25 / 200) ** 0.5).mean()
    assert by_binomial < 0.85, "one binomial is too sure of itself"


def test_copies_are_found_and_few_pairs_are_no_evidence():
    rng = np.random.default_rng(5)
    ours, other = pool(rng, 300)
    pictures = np.concatenate([ours[:40], pool(rng, 160)[0]])
    row = memory.split_test(memory.nearest(pictures, ours, other, rng), rng)
    assert row["p"] < 0.05 and row["share"] == pytest.approx(0.6, abs=0.08) and row["n"] == 200
    one = pd.DataFrame({"pair": [7] * 100, "nearer": [True] * 100})
    assert memory.split_test(one, rng)["p"] == pytest.approx(0.5, abs=0.05), "a hundred pictures, one coin"


def test_the_verdict_is_on_the_claim_that_nothing_is_copied():
    rng = np.random.default_rng(6)

    def row(share: float, n: int) -> dict:
        return memory.memorised(pd.DataFrame({"pair": np.arange(n), "nearer": np.arange(n) < share * n}), rng, pictures="m")

    assert [row(*case)["verdict"] for case in ((0.5, 4000), (0.5, 100), (0.7, 4000))] == ["reproduced", "undecided", "contradicted"]
    assert row(0.5, 100)["pictures"] == "m" and row(1.0, 50)["high"] == 1.0
    assert row(0.5, 100)["n to decide"] == pytest.approx(1.96**2 / 4 / memory.SMALLEST**2, rel=0.1)
    assert np.isnan(row(0.5, 4000)["n to decide"])


# The control.


def test_overfitting_has_trainings_loss_and_learns():
    """From weights as they are, the error of 16 of training's own pictures is small, and falls."""
    words, pictures = memory.training(networks.RECIPES["tiny-sd-v1"], {}, 4)
    model = generate.Diffusers("tiny-sd-v1")
    losses = memory.overfit(model, pictures, [sampling.prompt(semantics) for semantics in words], steps=12)
    assert len(losses) == 12 and np.mean(losses[-4:]) < 1.5 and not model.pipe.unet.training
    again = memory.overfit(generate.Diffusers("tiny-sd-v1"), pictures, [sampling.prompt(semantics) for semantics in words], steps=2)
    assert again == pytest.approx(losses[:2], rel=1e-4), "the seed decides"
    assert "1 + alphas[t] / (1 - alphas[t])).clamp(max=6)" in inspect.getsource(train.train_diffusion)


def test_the_figure_has_a_panel_for_each_set_of_pictures():
    rng = np.random.default_rng(0)
    ours, other = pool(rng, 30)
    found = {title: memory.nearest(part, ours, other, rng) for title, part in (("a", ours), ("b", pool(rng, 20)[0]))}
    table = pd.DataFrame([memory.memorised(part, rng, pictures=title) for title, part in found.items()])
    figure = memory.chart(found, table, "pixels")
    assert [ax.get_title().split("\n")[0] for ax in figure.axes] == ["a", "b"]
    assert "nearer to training: 1.00" in figure.axes[0].get_title()


def test_the_judge_s_features_are_the_mean_of_its_map():
    eyes, pictures = judge.Judge(), np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    whole = eyes.features(pictures, pooled=False).reshape(3, 192, -1)
    assert np.allclose(whole.mean(2), eyes.features(pictures), atol=1e-4) and whole.std(2).max() > 0.1
