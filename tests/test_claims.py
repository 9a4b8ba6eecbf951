"""Section 5's claims as data: every measure by hand, and claims of which the truth is known."""

import numpy as np
import pandas as pd
import pytest

from rldf_utils import claims, experiments, grammar, landscape, readings, sweep
from rldf_utils.env import RLDFEnv

BASE = grammar.load("base")
TARGET = (1, 2, 1, 2)
STATES = np.array(list(BASE.states()))
PERFECT = {"one": landscape.perfect(BASE, TARGET)}
SENTENCE = "a photo of one banana and no people in a forest"


def test_every_claim_names_conditions_that_an_experiment_fills():
    rng, runs = np.random.default_rng(0), range(3)
    grown = pd.concat([sweep.growth(shape, {"agent": agent, "epsilon": 0.1}, runs, 2000)
                       for shape in ((2, 3), (3, 4), (4, 5), (5, 6)) for agent in ("Q", "Random")])  # fmt: skip
    small, perfect = grammar.load("smoke"), {"one": landscape.perfect(grammar.load("smoke"), (1, 1, 1, 1))}
    draws, fine = rng.normal(size=(8, small.size, 5)), experiments.finer(SENTENCE)
    three = {"one": {1: PERFECT["one"], 2: landscape.perfect(BASE, TARGET, 2), 3: rng.normal(size=480)}}
    filled = [
        experiments.by_start(small, {"one": (1, 1, 1, 1)}, perfect, runs, 20, readings.DEFAULT, rng),
        experiments.moving(small, draws, [3, 5], draws[0, [3, 5]], runs, 20, readings.DEFAULT),
        experiments.climbing(BASE, {"one": TARGET}, three, rng),
        experiments.equidistant(BASE), experiments.growing(grown), experiments.easiest(rng.random((3, 8))),
        experiments.unrealistic(BASE, STATES, {"one": TARGET}, PERFECT, runs, 20, readings.DEFAULT),
        experiments.misread(BASE, STATES, {"one": TARGET}, runs, 20, (0, 0.4), readings.DEFAULT),
        experiments.epsilons(pd.DataFrame({m: rng.random(40) for m in claims.BETTER} | {"epsilon": [0.1, 1.0] * 20})),
        experiments.past_goal([(fine, rng.normal(size=(72, 5)), [fine.decode(s) for s in fine.states()], [3, 9], rng.normal(size=(2, 5)))],
                              runs, 20, readings.DEFAULT),
    ]  # fmt: skip
    scores = {name: found for part in filled for name, found in part.items()}
    table = claims.judged(claims.CLAIMS, scores, rng)
    assert table["claim"].tolist() == [claim.text for claim in claims.CLAIMS]
    over = claims.over([table, table], claims.CLAIMS, readings.departures()[:2])
    assert set(over["verdict"]) <= {"reproduced", "contradicted", "undecided", "depends on the reading"}


def test_claims_without_scores_are_a_table_without_rows():
    """As the claims on what pictures keep are at paper scale, where no judge looks: notebook 5 goes on with the table's columns."""
    one = claims.Claim("a is larger", "0", "a", "b", "m", 0.1)
    some = claims.judged([one], {"a": {"m": np.arange(9.0)}, "b": {"m": np.zeros(9)}}, np.random.default_rng(0))
    none = claims.judged([one], {}, np.random.default_rng(0))
    assert list(none) == list(some) and len(none) == 0 and none["low"].le(none["high"]).all()
    assert pd.concat([some, none])["low"].dtype == some["low"].dtype


def row(difference, smallest, direction=1, n=400):
    """The verdict on a made-up claim whose true difference is given."""
    rng = np.random.default_rng(0)
    other = rng.normal(0, 0.1, (2, n))
    scores = {"a": {"m": other + difference + rng.normal(0, 0.1, (2, n))}, "b": {"m": other}}
    return claims.judged([claims.Claim("a is larger", "0", "a", "b", "m", smallest, direction)], scores, rng)["verdict"].item()


def test_a_claim_known_true_and_one_known_false_come_out_so():
    assert row(0.3, 0.1) == row(-0.3, 0.1, -1) == "reproduced"
    assert row(-0.3, 0.1) == row(0.0, 0.1) == "contradicted"
    assert row(0.1, 0.1) == "undecided"


def test_a_tolerance_asks_for_no_worse_than_it():
    assert row(0.0, -0.1) == row(0.3, -0.1) == "reproduced" and row(-0.3, -0.1) == "contradicted"


def test_explained_by_hand():
    assert experiments.explained(np.array([[1.0, 1.0], [3.0, 3.0]])) == 1
    assert experiments.explained(np.zeros((3, 4))) == 0
    noise = np.random.default_rng(0).normal(size=(400, 20))
    assert abs(experiments.explained(noise)) < 0.02
    assert experiments.explained(noise + np.random.default_rng(1).normal(size=(400, 1))) == pytest.approx(0.5, abs=0.05)


def test_looping_by_hand():
    loop, rise = np.tile([1.0, 2.0], 10), np.arange(20.0)
    assert experiments.looping(np.stack([loop, rise]), 4).tolist() == [1, 0]
    assert experiments.looping(np.array([[1.0, 2, 3, 4, 1, 2, 3, 4, 9]]), 4).tolist() == [0.5]


def test_greedy_walks_climb_a_hill_and_stop_on_a_wrong_one():
    env = RLDFEnv(BASE, TARGET)
    assert experiments.greedy(-env.distance.astype(float), env, np.random.default_rng(0)) == 1
    assert experiments.greedy(env.distance.astype(float), env, np.random.default_rng(0)) == pytest.approx(1 / 480)
    flat = experiments.greedy(np.zeros(480), env, np.random.default_rng(0), walks=2)
    assert 0.02 < flat < 0.5, "on a plateau it wanders, and comes upon the target by chance"


def test_equidistant_pairs_by_brute_force():
    squared, matching = ((STATES - TARGET) ** 2).sum(1), (STATES == TARGET).sum(1)
    pairs = [(i, j) for i in range(480) for j in range(i) if squared[i] == squared[j]]
    differ = np.mean([matching[i] != matching[j] for i, j in pairs])
    assert experiments.equidistant(BASE)["equidistant pairs"]["differ"][0, BASE.index(TARGET)] == pytest.approx(differ)


def test_misread_words_are_as_many_as_asked_and_none_is_none():
    found = experiments.misread(BASE, STATES, {"one": TARGET}, range(20), 100, (0, 1.0), readings.DEFAULT)
    env = RLDFEnv(BASE, TARGET, landscape.perfect(BASE, TARGET, reading=readings.DEFAULT))
    perfect = experiments.arrivals(env, sweep.runs(env, experiments.Q, range(20), 100)[0])
    assert found["as perceived"]["log arrivals"][0] == pytest.approx(perfect.reshape(-1, 2).mean(1))
    lost = found["100 % of words misread"]["log arrivals"] - found["as perceived"]["log arrivals"]
    assert found["by dose"]["slope"] == pytest.approx(lost / 10), "per 10 % of words"


def test_more_errors_and_shuffled_rewards_cost_arrivals_and_other_seeds_none():
    found = experiments.misread(BASE, STATES, {"one": TARGET}, range(20), 5000, (0, 0.4), readings.DEFAULT)
    mean = {name: part["log arrivals"].mean() for name, part in found.items() if "log arrivals" in part}
    assert mean["40 % of words misread"] < mean["as perceived"] - 0.5 and mean["shuffled rewards"] < mean["as perceived"] - 0.5
    assert mean["other seeds"] == pytest.approx(mean["as perceived"], abs=0.15)


def test_moving_seeds_of_equal_pictures_are_fixed_seeds():
    small, draw = grammar.load("smoke"), np.random.default_rng(0).normal(size=(1, 24, 5))
    same = experiments.moving(small, np.repeat(draw, 8, 0), [3, 5], draw[0, [3, 5]], range(4), 300, readings.DEFAULT)
    for measure, values in same["fixed seeds"].items():
        assert values == pytest.approx(same["moving seeds"][measure]), measure
    noisy = np.concatenate([draw, np.random.default_rng(1).normal(size=(7, 24, 5))])
    moved = experiments.moving(small, noisy, [3, 5], draw[0, [3, 5]], range(4), 300, readings.DEFAULT)
    assert (moved["moving seeds"]["log spread"] > moved["fixed seeds"]["log spread"]).all()


def test_growth_has_the_slope_that_was_put_in():
    rows = [{"states": size, "agent": agent, "seed": seed, "steps": size ** (1.5 if agent == "Random" else 1.0), "calls": size}
            for size, n in ((10, 4), (100, 4), (1000, 4), (10_000, 2)) for agent in ("Q", "Random") for seed in range(n)]  # fmt: skip
    assert experiments.growing(pd.DataFrame(rows))["by size"]["slope"] == pytest.approx([0.5 * np.log(10)] * 2)


def test_past_the_goal_the_answer_is_judged_by_other_eyes():
    fine = experiments.finer(SENTENCE)
    assert (sorted(fine.axes), fine.size, fine.surface((0, 0, 0))) == (["Style", "Time", "Weather"], 72, SENTENCE)
    pictures, shown = np.eye(72), [fine.decode(state) for state in fine.states()]
    found = experiments.past_goal([(fine, pictures, shown, [30, 71], pictures[[30, 71]])], range(3), 3000, readings.DEFAULT)
    assert (found["past the goal"]["finer"] == 1).all(), "3,000 steps see every state, and the input's own picture pays most"
    first = [np.mean([shown[0][axis] == shown[goal][axis] for axis in shown[0]]) for goal in (30, 71)]
    assert found["at the goal"]["finer"].tolist() == [first]
    blind = [shown[0]] * 72
    found = experiments.past_goal([(fine, pictures, blind, [30, 71], pictures[[30, 71]])], range(3), 3000, readings.DEFAULT)
    assert (found["past the goal"]["finer"] == found["at the goal"]["finer"]).all(), "pictures that show nothing of it gain nothing"
    assert experiments.past_goal([], range(3), 10, readings.DEFAULT) == {}


def test_the_best_epsilon_is_chosen_on_one_half_and_measured_on_the_other():
    rows = pd.DataFrame({"reached": [0.0, 1, 1, 0], "D_f": [3.0, 3, 1, 9], "reward per step": 0.0, "epsilon": [0.1, 0.1, 0.5, 0.5]})
    found = experiments.epsilons(rows)
    assert found["best epsilon"]["reached"].tolist() == [0] and found["epsilon 0.1"]["reached"].tolist() == [1]
    assert found["best epsilon"]["D_f"].tolist() == [9]


def test_an_undecided_row_says_how_many_would_decide():
    def table(n):
        noise = np.random.default_rng(0).permutation(np.linspace(-1, 1, n))
        return claims.judged([claims.Claim("a", "0", "a", "b", "m", 0.1)], {"a": {"m": 0.15 + noise}, "b": {"m": np.zeros(n)}},
                             np.random.default_rng(0)).iloc[0]  # fmt: skip

    found = table(100)
    assert found["verdict"] == "undecided" and found["n to decide"] > 100
    assert table(int(1.2 * found["n to decide"]))["verdict"] == "reproduced"


def test_unrealistic_states_are_treated():
    seen = STATES.copy()
    seen[::10, 0] = (seen[::10, 0] + 1) % 4
    found = experiments.unrealistic(BASE, seen, {"one": TARGET}, PERFECT, range(300), 100, readings.DEFAULT)
    rare = {name: part["unrealistic"].mean() for name, part in found.items()}
    assert 0.05 < rare["no such ends"] < 0.15 and rare["unrealistic ends"] != rare["no such ends"]


def test_easiest_is_chosen_on_one_half_and_measured_on_the_other():
    reached = np.array([[1, 1, 0, 0], [0, 0, 1, 1]])
    found = experiments.easiest(reached)
    assert found["easiest input"]["reached"].tolist() == [0, 0] and found["hardest input"]["reached"].tolist() == [1, 1]


def test_three_measures_by_hand():
    env = RLDFEnv(BASE, TARGET)
    found = experiments.three_measures(env, np.array([[0, env.target, 0]]), np.array([[-1.0, 0.0, -2.0]]))
    assert found.to_dict("records") == [{"reached": 1.0, "D_f": env.distance[0], "reward per step": -1.0}]
