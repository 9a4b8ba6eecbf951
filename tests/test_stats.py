"""Intervals, tests and verdicts, by hand, by theory, and on claims of which the truth is known."""

import numpy as np
import pytest

from rldf_utils import stats


def test_interquartile_mean_by_hand():
    assert stats.interquartile_mean(np.array([100.0, 1, 2, 3, 4, 5, 6, -50])) == 3.5
    assert stats.interquartile_mean(np.array([[0.0, 1, 1, 9], [4, 4, 8, 8]])).tolist() == [1, 6]


def test_interval_has_the_width_of_theory_and_needs_its_random_state():
    """For the mean of n normal scores, 2 x 1.96 / sqrt(n); two strata of unlike level do not widen it."""
    scores = np.random.default_rng(0).normal(size=(2, 400)) + np.array([[0.0], [100.0]])
    low, high = stats.interval(scores, np.random.default_rng(1), lambda x: x.mean(-1), draws=4000)
    assert high - low == pytest.approx(2 * 1.96 * scores.std(1).mean() / 800**0.5, rel=0.06)
    assert low < scores.mean() < high
    assert stats.interval(scores, np.random.default_rng(1), draws=50) == stats.interval(scores, np.random.default_rng(1), draws=50)
    assert stats.interval(scores, np.random.default_rng(1), draws=50) != stats.interval(scores, np.random.default_rng(2), draws=50)


def test_profile_by_hand():
    scores = np.array([[0.0, 1.0, 2.0, 3.0]])
    share, low, high = stats.profile(scores, np.array([-1.0, 1.0, 2.5, 9.0]), np.random.default_rng(0))
    assert share.tolist() == [1, 0.75, 0.25, 0]
    assert (low <= share).all() and (share <= high).all() and low[0] == high[0] == 1 and high[3] == 0


def test_effect_by_hand():
    ours, other = np.array([3.0, 5.0, 4.0]), np.array([1.0, 3.0, 2.0])
    got = stats.effect(ours, other, np.random.default_rng(0))
    assert (got["ours"], got["other"], got["difference"], got["low"], got["high"], got["n"]) == (4, 2, 2, 2, 2, 3)
    got = stats.effect(np.random.default_rng(0).normal(size=900), np.zeros(900), np.random.default_rng(1))
    assert got["high"] - got["low"] == pytest.approx(2 * 1.96 / 30, rel=0.1)


def test_how_many_more_runs_would_decide():
    """Four times as many runs halve the interval."""
    assert stats.more(2.0, 1.0) == 4 and stats.more(1.0, 1.0) == 1 and stats.more(1.0, 0.0) == np.inf


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda rng: stats.interval(np.empty((2, 0)), rng), r"scores must be finite .* not of shape \(2, 0\)"),
        (lambda rng: stats.interval(np.array([0, np.nan]), rng), "scores must be finite"),
        (lambda rng: stats.profile(np.zeros((2, 2)), np.zeros(1), rng, draws=0), "draws = 0 is not legal"),
        (lambda rng: stats.effect(np.zeros((3, 5)), np.zeros(5), rng), r"\(3, 5\) and \(1, 5\) runs; paired runs"),
    ],
)
def test_what_is_out_of_range_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.random.default_rng(0))


def neighbours(matrix):
    """Mean of the entries one off the diagonal."""
    return float(np.diagonal(matrix, 1).mean())


def test_the_permutation_test_knows_every_order_of_a_few_words():
    line = -np.abs(np.subtract.outer(np.arange(4.0), np.arange(4.0)))  # likeness falls with the distance on a line
    found = stats.permutation_test(line, neighbours, np.random.default_rng(0))
    assert found["orders"] == 12 and found["rank"] == 1 and found["p"] == found["least_p"] == 1 / 12 and found["score"] == -1
    worst = line[np.ix_([1, 3, 0, 2], [1, 3, 0, 2])]
    assert stats.permutation_test(worst, neighbours, np.random.default_rng(0))["p"] == 1
    assert stats.permutation_test(np.ones((3, 3)), neighbours, np.random.default_rng(0))["p"] == 1, (
        "where nothing differs no order is better"
    )


def test_the_permutation_test_draws_orders_of_many_words_and_is_seldom_wrong_by_chance():
    line = -np.abs(np.subtract.outer(np.arange(9.0), np.arange(9.0)))
    found = stats.permutation_test(line, neighbours, np.random.default_rng(0))
    assert found["orders"] == 1000 and found["rank"] == 1
    rng, p = np.random.default_rng(1), []
    for _ in range(200):
        noise = rng.normal(size=(6, 6))
        p.append(stats.permutation_test(noise + noise.T, neighbours, rng)["p"])
    assert (np.array(p) <= 0.05).sum() <= 20 and 0.4 < np.mean(p) < 0.6


@pytest.mark.parametrize(("low", "high", "direction", "smallest", "word"), [
    (0.1, 0.2, 1, 0, "reproduced"), (-0.2, -0.1, -1, 0, "reproduced"), (-0.2, -0.1, 1, 0, "contradicted"), (-0.2, 0.1, 1, 0, "undecided"),
    (0, 0, -1, 0, "undecided"), (0.1, 0.2, 1, 0.1, "reproduced"), (0.1, 0.2, 1, 0.15, "undecided"), (0.1, 0.2, 1, 0.3, "contradicted"),
    (0, 0, 1, 0.1, "contradicted"), (-0.2, 0.05, 1, 0.1, "contradicted"), (-0.3, -0.05, -1, 0.1, "undecided")])  # fmt: skip
def test_a_verdict_by_hand(low, high, direction, smallest, word):
    assert stats.verdict(low, high, direction, smallest) == word


def judged(difference, rng, readings=100, seeds=200, smallest=0.1, flip=()):
    """The verdict on "ours is larger" over readings, from noisy paired runs whose true difference is given."""
    ends = []
    for reading in range(readings):
        other = rng.normal(size=seeds)
        true = -difference if reading in flip else difference
        found = stats.effect(other + true + rng.normal(0, 0.3, seeds), other, rng, draws=300)
        ends.append((found["low"], found["high"]))
    return stats.verdict_over(*zip(*ends, strict=True), 1, smallest)


def test_controls_come_out_as_they_must():
    """A claim known true, one known false, one of no effect, one that hinges on the reading, and too few runs."""
    rng = np.random.default_rng(0)
    assert judged(0.3, rng) == ("reproduced", {"holds": 100, "opposite": 0, "no_effect": 0, "open": 0})
    assert judged(-0.3, rng) == ("contradicted", {"holds": 0, "opposite": 100, "no_effect": 0, "open": 0})
    word, count = judged(0.0, rng)
    assert word == "contradicted" and count["no_effect"] > 90 and count["holds"] == count["opposite"] == 0
    assert judged(0.3, rng, flip=range(40))[0] == "depends on the reading"
    assert judged(0.3, rng, flip=range(3))[0] == "reproduced"
    assert judged(0.1, rng, seeds=10)[0] == "undecided"


def test_shuffled_labels_decide_nothing_and_a_planted_defect_is_seen():
    rng = np.random.default_rng(0)
    both = np.stack([rng.normal(0.4, 1, 400), rng.normal(0, 1, 400)])
    found = stats.effect(*both, rng)
    assert stats.verdict(found["low"], found["high"], 1, 0.1) == "reproduced"
    swapped = np.where(rng.random(400) < 0.5, both, both[::-1])  # which condition a run belonged to is forgotten
    found = stats.effect(*swapped, rng)
    assert stats.verdict(found["low"], found["high"], 1) == "undecided"
    spoilt = both - np.array([[1.0], [0.0]])  # a defect that costs the first condition a whole unit
    found = stats.effect(*spoilt, rng)
    assert stats.verdict(found["low"], found["high"], 1, 0.1) == "contradicted"


def test_few_deciding_readings_do_not_make_a_claim_hold():
    lows, highs = [0.2] * 10 + [-0.05] * 90, [0.3] * 10 + [0.05] * 90
    assert stats.verdict_over(lows, highs, 1, 0.1) == ("depends on the reading", {"holds": 10, "opposite": 0, "no_effect": 90, "open": 0})
    assert stats.verdict_over(lows, highs, -1, 0.1)[0] == "contradicted"


def test_the_nested_interval_takes_both_targets_and_seeds_for_samples():
    rng = np.random.default_rng(0)
    targets, seeds = 40, 30
    between, within = rng.normal(size=(targets, 1)), rng.normal(size=(targets, seeds))
    cases = [
        (between + 0 * within, between.std() / targets**0.5),  # seeds say nothing new
        (within - within.mean(1, keepdims=True), within.std() / (targets * seeds) ** 0.5),  # targets are alike
    ]
    for scores, error in cases:
        low, high = stats.nested(scores, rng, draws=4000)
        assert abs((high - low) / (2 * 1.96 * error) - 1) < 0.1 and low < scores.mean() < high


def test_the_nested_interval_of_a_ratio():
    rng = np.random.default_rng(0)
    scores = rng.uniform(1, 2, size=(2, 12, 10))
    low, high = stats.nested(scores, rng, lambda drawn: drawn[0].sum(-1) / drawn[1].sum(-1))
    assert 0.9 < low < scores[0].sum() / scores[1].sum() < high < 1.15
    same = np.stack([scores[0], 2 * scores[0]])  # drawn together, so that the ratio is the same in each sample
    assert np.allclose(stats.nested(same, rng, lambda drawn: drawn[0].sum(-1) / drawn[1].sum(-1)), 0.5)


def test_values_that_are_all_equal_are_not_without_doubt():
    rng = np.random.default_rng(0)
    ends = stats.interval(np.full(60, 0.25), rng, lambda drawn: drawn.mean(-1))
    assert stats.doubted(*ends, 60) == pytest.approx((0.2, 0.3))
    one = np.where(np.arange(60) == 7, 1.0, 0.25)
    ends = stats.interval(one, rng, lambda drawn: drawn.mean(-1))
    assert ends[0] < ends[1] and stats.doubted(*ends, 60) == ends


def test_enough_is_the_n_at_which_the_interval_ends_at_the_smallest_effect():
    assert stats.enough("undecided", 100, -0.25, 0.25, 0.125) == 400, "an interval of half its width"
    assert np.isnan(stats.enough("reproduced", 100, 0.2, 0.4, 0.1)) and np.isnan(stats.enough("undecided", 100, -0.2, 0.4, 0.0))
