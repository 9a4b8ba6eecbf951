"""The noisy diffusion gradient: estimates by hand, unbiasedness, convergence, plateaus by brute force, counting, bad input."""

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest

from rldf_utils import gradient, landscape
from rldf_utils import gradient_claims as experiments
from rldf_utils import grammar as grammars
from rldf_utils.env import distances, transition_table
from rldf_utils.gradient import ESTIMATORS, central, descend, ending, forward, spsa
from rldf_utils.looks import Enough, Looks
from rldf_utils.readings import DEFAULT

SHAPE = (4, 6, 4, 5)
SIZES = np.array(SHAPE)
GRID = np.indices(SHAPE).reshape(4, -1).T
WRAP, SHUFFLED = replace(DEFAULT, border="wrap"), replace(DEFAULT, order="shuffled")


def l1(goal):
    return -np.abs(GRID - goal).sum(1).astype(float)


def squared(goal):
    return -((GRID - goal) ** 2).sum(1).astype(float)


class Signs:
    """A generator whose signs D are given."""

    def __init__(self, signs):
        self.bits = (np.array(signs) + 1) // 2

    def integers(self, high, size):
        assert (high, size) == (2, len(self.bits))
        return self.bits


# Estimates by hand: a plane of 3 x 4, r(a, b) = -(a - 1)^2 - |b - 2| + a b / 10.


def plane(z):
    a, b = z.tolist()
    return -((a - 1) ** 2) - abs(b - 2) + a * b / 10


PLANE = np.array([3, 4])


def test_forward_difference_by_hand():
    # r(0, 1) = -1 - 1 = -2; r(1, 1) = 0 - 1 + .1 = -0.9; r(0, 2) = -1
    assert forward(plane, np.array([0.4, 1.4]), PLANE, False, None) == pytest.approx([1.1, 1.0])
    # at the last word of both axes backward: r(2, 3) = -1 - 1 + .6 = -1.4; r(1, 3) = -0.7; r(2, 2) = -0.6
    assert forward(plane, np.array([2.0, 3.0]), PLANE, False, None) == pytest.approx([-0.7, -0.8])


def test_central_difference_by_hand():
    # r(2, 2) - r(0, 2) = -0.6 - -1 = 0.4; r(1, 3) - r(1, 1) = -0.7 - -0.9 = 0.2
    assert central(plane, np.array([1.0, 2.0]), PLANE, False, None) == pytest.approx([0.2, 0.1])
    # at the first word of both: one-sided, not halved: r(1, 0) - r(0, 0) = -2 - -3; r(0, 1) - r(0, 0) = -2 - -3
    assert central(plane, np.array([0.0, 0.0]), PLANE, False, None) == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize(
    ("signs", "expected"),
    [
        # x = (0.3, 1.8): cell from (0, 1) to (1, 2); r(1, 2) = 0.2, r(0, 1) = -2, r(1, 1) = -0.9, r(0, 2) = -1
        ((1, 1), (2.2, 2.2)),
        ((-1, -1), (2.2, 2.2)),
        ((1, -1), (0.1, -0.1)),
        ((-1, 1), (0.1, -0.1)),
    ],
)
def test_spsa_by_hand(signs, expected):
    assert spsa(plane, np.array([0.3, 1.8]), PLANE, False, Signs(signs)) == pytest.approx(expected)


def test_spsa_at_the_last_words_takes_the_cell_before():
    seen = []
    spsa(lambda z: seen.append(tuple(z.tolist())) or 0.0, np.array([2.0, 3.0]), PLANE, False, Signs((1, -1)))
    assert seen == [(2, 2), (1, 3)]


def test_beyond_a_wrapped_border_comes_the_other_end():
    ring = lambda z: float((10, 0, 5, 7)[int(z[0]) % 4])  # noqa: E731
    sizes = np.array([4])
    assert forward(ring, np.array([3.0]), sizes, True, None) == pytest.approx([3])
    assert central(ring, np.array([0.0]), sizes, True, None) == pytest.approx([(0 - 7) / 2])
    assert spsa(ring, np.array([3.5]), sizes, True, Signs([1])) == pytest.approx([3])


def test_spsa_is_unbiased_on_a_separable_landscape():
    """The mean over all signs is the slope of the cell along every axis: Wang and Spall's E[g] for a separable loss."""
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=n) for n in SHAPE]
    at = lambda z: sum(part[i] for part, i in zip(parts, z.tolist(), strict=True))  # noqa: E731
    for corner in product(*(range(n - 1) for n in SHAPE)):
        mean = np.mean([spsa(at, np.array(corner) + 0.5, SIZES, False, Signs(s)) for s in product((1, -1), repeat=4)], axis=0)
        assert mean == pytest.approx([part[i + 1] - part[i] for part, i in zip(parts, corner, strict=True)], abs=1e-12)


def test_on_a_plane_all_estimates_agree():
    """On a linear landscape forward and central are the slope everywhere, and so is spsa in the mean."""
    slope = np.array([0.5, -1.0, 2.0, 0.25])
    at, x = (lambda z: float(slope @ z)), np.array([1.2, 3.4, 0.9, 2.0])
    assert forward(at, x, SIZES, False, None) == pytest.approx(slope)
    assert central(at, x, SIZES, False, None) == pytest.approx(slope)
    rng = np.random.default_rng(0)
    drawn = np.array([spsa(at, x, SIZES, False, rng) for _ in range(4000)])
    assert np.abs(drawn.mean(0) - slope).max() < 4 * drawn.std(0).max() / 4000**0.5


@pytest.mark.parametrize("height", [l1, squared])
@pytest.mark.parametrize("estimator", ["central", "spsa"])
@pytest.mark.parametrize("reading", [DEFAULT, SHUFFLED], ids=str)
def test_concave_separable_landscapes_are_climbed_to_the_target(height, estimator, reading):
    rng = np.random.default_rng(1)
    for _ in range(30):
        goal, start = rng.integers(SIZES), int(rng.integers(480))
        places = reading.positions(SHAPE)
        values = height([p[g] for p, g in zip(places, goal, strict=True)])
        values = values.reshape(SHAPE)[np.ix_(*places)].ravel()  # of the state, whose words lie at these places
        target, looks = int(np.ravel_multi_index(goal, SHAPE)), Looks(values, 480)
        path = gradient.run(looks, SHAPE, rng, estimator=estimator, start=start, iterations=400, reading=reading)
        assert target in path and looks.found()[-1] == target
        away = np.abs(GRID[path[-50:]] - goal).sum(1)
        assert away.max() == 0 if estimator == "central" else away.mean() < 1.5, "it stays"


def test_wrapped_iterates_take_the_short_way():
    """On a ring of 12 the reward falls with the distance around it; from 10 to 1 are three steps over the border."""
    ring = -np.minimum(np.abs(np.arange(12) - 1), 12 - np.abs(np.arange(12) - 1)).astype(float)
    path = gradient.run(
        Looks(ring, 12), (12,), np.random.default_rng(0), estimator="central", start=10, gain=1, decay=0, iterations=5, reading=WRAP
    )
    assert path.tolist() == [10, 11, 0, 1, 1, 1]


def test_at_a_peak_forward_leaves_and_central_stays():
    goal = (1, 3, 2, 2)
    target = int(np.ravel_multi_index(goal, SHAPE))
    found = gradient.differences(l1(goal), transition_table(SHAPE))
    assert found["forward"][target].tolist() == [-1] * 4 and found["central"][target].tolist() == [0] * 4
    rng = np.random.default_rng(0)
    paths = {e: gradient.run(Looks(l1(goal), 480), SHAPE, rng, estimator=e, start=target, iterations=30) for e in ("forward", "central")}
    assert paths["forward"][1] == np.ravel_multi_index(np.subtract(goal, 1), SHAPE), "one word down every axis"
    assert (paths["central"] == target).all()


# The step.


def test_the_first_step_is_gain_words_long_whatever_the_scale_of_the_reward():
    slope = np.arange(20.0)
    for scale in (1e-3, 1.0, 1e3):
        path = gradient.run(Looks(scale * slope, 20), (20,), np.random.default_rng(0), estimator="central", start=5, gain=3, iterations=1)
        assert path.tolist() == [5, 8]


def test_gains_follow_the_formula():
    """On a slope of 1 the iterate is start + the sum of gain ((1 + delay) / (1 + delay + i)) ^ decay."""
    path = gradient.run(Looks(np.arange(1000.0), 1000), (1000,), np.random.default_rng(0), estimator="central", start=100, gain=7.3,
                        decay=0.6, delay=4, iterations=40)  # fmt: skip
    x = 100 + np.cumsum(7.3 * (5 / (5 + np.arange(40))) ** 0.6)
    assert path.tolist() == [100, *np.floor(x + 0.5).astype(int).tolist()]


def test_a_search_without_a_signal_is_stuck_and_ends():
    looks = Looks(np.zeros(480), 480)
    path = gradient.run(looks, SHAPE, np.random.default_rng(0), start=7, patience=12)
    assert path.tolist() == [7] * 13 and looks.proposals == 12 * 3


# Counting.


@pytest.mark.parametrize(("estimator", "states"), [("forward", 5), ("central", 8), ("spsa", 2)])
@pytest.mark.parametrize("pictures", [1, 3])
def test_pictures_per_estimate_are_counted(estimator, states, pictures):
    looks = Looks(np.random.default_rng(0).normal(size=(9, 480)), 9 * 480)
    descend(looks, SHAPE, np.random.default_rng(0), estimator=estimator, start=234, pictures=pictures, iterations=1)
    assert looks.proposals == states * pictures + 2, "and a look at the walk's own state before and after"
    assert len(looks.states) == len(set(zip(looks.states, looks.rewards, strict=True))) == looks.proposals


def test_with_a_fixed_seed_a_repeated_look_is_free():
    looks = Looks(np.zeros(480), 480)
    descend(looks, SHAPE, np.random.default_rng(0), estimator="forward", start=234, pictures=3, iterations=10)
    assert len(looks.states) == 5 and looks.proposals == 10 * (1 + 3 * 5) + 1


def test_pictures_are_averaged():
    draws = np.array([[0.0, 4, 0], [0, 0, 0], [0, -1, 0]])  # of the middle state: 4, 0, -1
    path = gradient.run(Looks(draws, 9), (3,), np.random.default_rng(0), estimator="forward", start=0, gain=1, pictures=3, iterations=1)
    assert path.tolist() == [0, 1]
    low = gradient.run(Looks(-draws, 9), (3,), np.random.default_rng(0), estimator="forward", start=0, gain=1, pictures=3, iterations=1)
    assert low.tolist() == [0, 0]


def test_the_path_survives_the_end_of_the_calls():
    looks, path = Looks(l1((3, 5, 3, 4)), 20), []
    with pytest.raises(Enough):
        descend(looks, SHAPE, np.random.default_rng(0), start=0, path=path)
    assert len(looks.states) == 20 and len(path) > 5 and path[0] == 0


def test_runs_say_when_the_target_was_seen():
    goals = {"a": 100, "b": 250}
    table = gradient.runs({n: l1(GRID[g]) for n, g in goals.items()}, goals, SHAPE, range(6), 480, iterations=300)
    assert table["input"].tolist() == ["a"] * 6 + ["b"] * 6 and table["seed"].tolist() == [*range(6)] * 2
    for row in table.itertuples():
        assert row.looked[int(row.calls) - 1] == goals[row.input] == row.found and len(row.looked) == row.calls
    again = gradient.runs({n: l1(GRID[g]) for n, g in goals.items()}, goals, SHAPE, range(6), 480, iterations=300)
    assert again["looked"].tolist() == table["looked"].tolist() and table["path"].str[0].nunique() > 8
    flat = gradient.runs({"a": np.zeros(480)}, {"a": 100}, SHAPE, range(3), 480, start=0)
    assert np.isinf(flat["calls"]).all()


def test_endings():
    still = np.array([3] * 51)
    assert ending(still, 3) == "at the target" and ending(still, 4) == "stuck"
    assert ending(np.array([4, *still]), 4) == "left it"
    assert ending(still[:50], 4) == "moving" and ending(np.arange(60), 90) == "moving"
    assert ending(np.arange(60) % 5, 90) == "in a loop" and ending(np.arange(60) % 6, 90) == "moving"


def test_leaving_again_counts_the_iterations_after_the_first_arrival():
    table = pd.DataFrame({"input": ["a"] * 3, "path": [np.array(p) for p in ([1, 7, 7, 2, 3, 9], [7, 1, 2, 7, 7], [1, 2, 3, 4, 7])]})
    assert experiments.left_again(table, {"a": 7}, 4).tolist() == [0.75, 0.5], "the third arrives too late"


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("reading", [DEFAULT, replace(DEFAULT, c_s=3.0)], ids=str)
def test_perfect_landscapes_of_all_targets_are_those_of_the_rewards_up_to_a_constant(number, reading):
    small = grammars.load("smoke")
    found = list(experiments.perfect(small, number, reading))
    assert len(found) == small.size
    for target, values in enumerate(found):
        assert np.ptp(values - landscape.perfect(small, small.encoding(target), number, reading)) < 1e-12


def test_eight_readings_beside_the_chosen_one():
    assert len(experiments.kinds(DEFAULT)) == 8 and experiments.kinds(DEFAULT)[0] == DEFAULT
    assert len(experiments.kinds(replace(DEFAULT, c_s=2.0))) == 9


# Plateaus.


def brute(values, shape, reading):
    """Zero shares by looking at every state with the estimators themselves."""
    places, size = reading.positions(shape), int(np.prod(shape))
    ordered = values.reshape(shape)[np.ix_(*map(np.argsort, places))]
    wrap, sizes = reading.border == "wrap", np.array(shape)
    at = lambda z: float(ordered[tuple(z % sizes)])  # noqa: E731
    zero = {name: [] for name in ESTIMATORS}
    for state in range(size):
        x = np.array([p[w] for p, w in zip(places, np.unravel_index(state, shape), strict=True)], float)
        for name in ("forward", "central"):
            zero[name].append(ESTIMATORS[name](at, x, sizes, wrap, None) == 0)
        half = [signs for signs in product((1, -1), repeat=len(shape)) if signs[0] == 1]
        zero["spsa"].append([spsa(at, x, sizes, wrap, Signs(s))[0] == 0 for s in half])
    return {name: np.array(found) for name, found in zero.items()}


@pytest.mark.parametrize("reading", [DEFAULT, WRAP, SHUFFLED, replace(WRAP, order="shuffled")], ids=str)
@pytest.mark.parametrize("shape", [(4, 3, 2), (1, 5), (3, 1, 3)])
def test_plateaus_equal_what_the_estimators_meet(reading, shape):
    values = np.random.default_rng(3).integers(0, 3, size=int(np.prod(shape))).astype(float)
    found, zero, goal = gradient.plateaus([values], [1], transition_table(shape, reading)).iloc[0], brute(values, shape, reading), 1
    for name, by_state in zero.items():
        assert found[f"zero, {name}"] == pytest.approx(by_state.mean())
        assert found[f"stuck, {name}"] == pytest.approx(np.delete(by_state.all(1), goal).mean())


def test_share_of_blind_axes_in_the_base_world_is_446_in_1000():
    """Reward 1 changes along axis k only within one word of the target: (3 n - 2) / n^2 of all pairs of words."""
    base = grammars.load("base")
    targets = range(0, 480, 7)
    values = [landscape.perfect(base, base.encoding(t)) for t in targets]
    table = gradient.plateaus(values, targets, transition_table(base.shape))
    by_hand = [np.mean([abs(int(w) - t) > 1 for t, n in zip(base.encoding(g), base.shape, strict=True) for w in range(n)]) for g in targets]
    assert len(by_hand) == len(table)
    exact = gradient.plateaus(((GRID == e) @ np.ones(4) for e in GRID), range(480), transition_table(base.shape))["blind"].mean()
    assert exact == pytest.approx(1 - np.mean([(3 * n - 2) / n**2 for n in SHAPE])) == pytest.approx(0.4464, abs=1e-4)
    for goal, share in zip(targets, table["blind"], strict=True):
        alone = np.mean([np.mean(np.abs(np.arange(n) - t) > 1) for t, n in zip(base.encoding(goal), base.shape, strict=True)])
        assert share == pytest.approx(alone)


def test_no_signal_at_all_where_every_word_is_two_steps_away():
    goal = (0, 0, 0, 0)
    values = (GRID == goal).sum(1).astype(float)
    stuck = gradient.plateaus([values], [0], transition_table(SHAPE))["stuck, central"][0]
    assert stuck == pytest.approx((GRID >= 2).all(1).sum() / 479)


# Signal and noise.


def test_signal_and_noise_of_known_draws():
    """On a slope of 3 per word with independent noise of sd 2 per state: signal 3, noise 2 sqrt(2)."""
    rng = np.random.default_rng(0)
    shape = (60, 60)
    slope = 3.0 * np.indices(shape).sum(0).ravel()
    draws = slope + rng.normal(0, 2, (6, 3600))
    groups = np.repeat([0, 1], 1800)
    signal, noise = gradient.signal_and_noise(draws, transition_table(shape), groups)
    assert signal == pytest.approx([3, 3], rel=0.03) and noise == pytest.approx([8**0.5] * 2, rel=0.03)
    none, all_noise = gradient.signal_and_noise(draws - slope, transition_table(shape), groups)
    assert none.max() < 0.5 and all_noise == pytest.approx(noise)
    fixed = gradient.signal_and_noise(np.stack([slope, slope]), transition_table(shape), groups)
    assert fixed[0] == pytest.approx([3, 3]) and fixed[1].tolist() == [0, 0]
    with pytest.raises(ValueError, match="at least two"):
        gradient.signal_and_noise(draws[:1], transition_table(shape), groups)


# The experiments.


def test_every_claim_finds_its_conditions():
    small = grammars.load("smoke")
    targets = {"a": (0, 1, 1, 0), "b": (1, 2, 0, 1)}
    goals = {n: small.index(t) for n, t in targets.items()}
    rng = np.random.default_rng(0)
    draws = [{n: {k: rng.normal(size=24) for k in (1, 2, 3)} for n in goals} for _ in range(2)]
    runs, scores = experiments.reach(draws[0], goals, small.shape, ESTIMATORS, range(4), 6, DEFAULT)
    ratios, found = experiments.noise(small, targets, draws, DEFAULT)
    scores |= found
    percepts = np.array([[[*s[:-1], 0] for s in small.states() if s[-1] == 0]] * 9)
    vectors = rng.normal(size=(9, 12, 5))
    needed, found = experiments.several(small, percepts, vectors, range(2), DEFAULT)
    scores |= found
    panels = {"perfect": {n: landscape.perfect(small, t) for n, t in targets.items()}} | {
        f"reward {k}": {n: draws[0][n][k] for n in goals} for k in (1, 3)
    }
    walks, found = experiments.after(panels, targets, small, range(3), DEFAULT, 20)
    scores |= found
    answers = runs.query("estimator == 'spsa' and reward != 2").assign(start="x", true="y", found="y")
    truth = {"a": {"Noun": "car"}, "b": {"Noun": "dog"}}
    told, found = experiments.kept(answers, {"x": [{"Noun": "car"}], "y": [{"Noun": "dog"}, {"Noun": "car"}]}, truth)
    scores |= found
    assert (told["axes right"] == 0.5).all()
    for claim in (*experiments.reaching(6, 24), *experiments.KEPT, *experiments.SIGNAL, *experiments.AFTER):
        ours, other = scores[claim.ours][claim.measure], scores[claim.other][claim.measure]
        assert ours.shape == other.shape and np.isfinite(ours).all(), claim
    assert scores["start, reward 1"]["axes right"].tolist() == [[1] * 4, [0] * 4]
    assert (scores["found, reward 1"]["axes right"] == 0.5).all()
    random = {m: v[0, 0] for m, v in scores["random"].items()}
    assert random == {"seen": 6 / 24, "calls": 12.5, "stuck": 0}, "drawing without replacement, in closed form"
    spsa_runs = runs.query("estimator == 'spsa' and reward == 1")
    assert scores["spsa, reward 1"]["seen"].ravel().tolist() == (spsa_runs["calls"] <= 6).tolist()
    assert set(needed["pictures"]) == {1, 2, 4, 8} and needed["calls"].between(1, 24).all()
    assert (walks["distances"].str[0] == 0).all() and walks["distances"].map(len).eq(21).all()
    walk = walks.query("estimator == 'forward' and landscape == 'reward 3' and input == 'b'")["distances"]
    assert scores["forward, after"]["away"][1, 1] == pytest.approx(np.mean([(d[1:] > 0).mean() for d in walk]))
    assert scores["forward, after"]["distance"][1, 1] == pytest.approx(np.mean([d[11:].mean() for d in walk]))
    half = distances(small.shape, targets["a"]).mean() / 2
    assert scores["bound"]["distance"][:, 0] == pytest.approx([half] * 2)
    assert set(ratios) == {1, 2, 3}


# Bad input.


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"estimator": "newton"}, "'newton' is not known; choose one of 'forward', 'central', 'spsa'"),
        ({"start": 480}, "start = 480 is not legal; choose an integer, from 0 to 479"),
        ({"start": -1}, "start = -1"),
        ({"gain": -1}, "gain = -1"),
        ({"gain": float("nan")}, "gain = nan"),
        ({"decay": 1.5}, "decay = 1.5"),
        ({"delay": "many"}, "delay = 'many'"),
        ({"pictures": 0}, "pictures = 0"),
        ({"iterations": 2.5}, "iterations = 2.5"),
        ({"patience": 0}, "patience = 0"),
    ],
)
def test_bad_settings_are_refused_before_any_look(settings, message):
    looks = Looks(np.zeros(480), 480)
    with pytest.raises(ValueError, match=message):
        descend(looks, SHAPE, np.random.default_rng(0), **settings)
    assert looks.proposals == 0


def test_proposals_stay_on_the_grid():
    for shape, reading in product([(1,), (2, 1, 3), (1, 1), (5, 2)], (DEFAULT, WRAP, SHUFFLED)):
        for estimator in ESTIMATORS:
            looks = Looks(np.random.default_rng(0).normal(size=int(np.prod(shape))), 100)
            path = gradient.run(looks, shape, np.random.default_rng(1), estimator=estimator, gain=50, iterations=60, reading=reading)
            assert 0 <= path.min() and path.max() < np.prod(shape)
