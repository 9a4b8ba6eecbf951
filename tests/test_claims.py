"""Section 5's claims as data: every measure by hand, and claims of which the truth is known."""

import numpy as np
import pandas as pd
import pytest

from rldf_utils import claims, grammar, landscape, readings, sweep
from rldf_utils.env import RLDFEnv

BASE = grammar.load("base")
TARGET = (1, 2, 1, 2)
STATES = np.array(list(BASE.states()))
PERFECT = {"one": landscape.perfect(BASE, TARGET)}


def test_every_claim_names_conditions_that_an_experiment_fills():
    rng, runs = np.random.default_rng(0), range(3)
    grown = pd.concat([sweep.growth(shape, {"agent": agent, "epsilon": 0.1}, runs, 2000)
                       for shape in ((2, 3), (3, 4), (4, 5), (5, 6)) for agent in ("Q", "Random")])  # fmt: skip
    small = grammar.load("smoke")
    draws = rng.normal(size=(8, small.size, 5))
    three = {"one": {1: PERFECT["one"], 2: landscape.perfect(BASE, TARGET, 2), 3: rng.normal(size=480)}}
    filled = [
        claims.by_start(small, {"one": (1, 1, 1, 1)}, {"one": landscape.perfect(small, (1, 1, 1, 1))}, runs, 20, readings.DEFAULT, rng),
        claims.moving(small, draws, [3, 5], draws[0, [3, 5]], runs, 20, readings.DEFAULT),
        claims.climbing(BASE, {"one": TARGET}, three, rng),
        claims.equidistant(BASE), claims.growing(grown), claims.easiest(rng.random((3, 8))),
        claims.unrealistic(BASE, STATES, {"one": TARGET}, PERFECT, runs, 20, readings.DEFAULT),
        claims.misread(BASE, STATES, {"one": TARGET}, runs, 20, (0, 0.4), readings.DEFAULT, 0),
    ]  # fmt: skip
    scores = {name: found for part in filled for name, found in part.items()}
    table = claims.judged(claims.CLAIMS, scores, rng)
    assert table["claim"].tolist() == [claim.text for claim in claims.CLAIMS]
    over = claims.over([table, table], claims.CLAIMS, readings.departures()[:2])
    assert set(over["verdict"]) <= {"reproduced", "contradicted", "undecided", "depends on the reading"}


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
    assert claims.explained(np.array([[1.0, 1.0], [3.0, 3.0]])) == 1
    assert claims.explained(np.zeros((3, 4))) == 0
    noise = np.random.default_rng(0).normal(size=(400, 20))
    assert abs(claims.explained(noise)) < 0.02
    assert claims.explained(noise + np.random.default_rng(1).normal(size=(400, 1))) == pytest.approx(0.5, abs=0.05)


def test_looping_by_hand():
    loop, rise = np.tile([1.0, 2.0], 10), np.arange(20.0)
    assert claims.looping(np.stack([loop, rise]), 4).tolist() == [1, 0]
    assert claims.looping(np.array([[1.0, 2, 3, 4, 1, 2, 3, 4, 9]]), 4).tolist() == [0.5]


def test_greedy_walks_climb_a_hill_and_stop_on_a_wrong_one():
    env = RLDFEnv(BASE, TARGET)
    assert claims.greedy(-env.distance.astype(float), env, np.random.default_rng(0)) == 1
    assert claims.greedy(env.distance.astype(float), env, np.random.default_rng(0)) == pytest.approx(1 / 480)
    flat = claims.greedy(np.zeros(480), env, np.random.default_rng(0), walks=2)
    assert 0.02 < flat < 0.5, "on a plateau it wanders, and comes upon the target by chance"


def test_equidistant_pairs_by_brute_force():
    squared, matching = ((STATES - TARGET) ** 2).sum(1), (STATES == TARGET).sum(1)
    pairs = [(i, j) for i in range(480) for j in range(i) if squared[i] == squared[j]]
    differ = np.mean([matching[i] != matching[j] for i, j in pairs])
    assert claims.equidistant(BASE)["equidistant pairs"]["differ"][0, BASE.index(TARGET)] == pytest.approx(differ)


def test_misread_words_are_as_many_as_asked_and_none_is_none():
    found = claims.misread(BASE, STATES, {"one": TARGET}, range(200), 100, (0, 1.0), readings.DEFAULT, 0)
    perfect = sweep.reached(*((env := RLDFEnv(BASE, TARGET)), *sweep.runs(env, claims.Q, range(200), 100)))
    assert (found["as perceived"]["reached"][0] == perfect).all()
    assert set(found) == {"as perceived", "100 % of words misread"}


def test_unrealistic_states_are_treated():
    seen = STATES.copy()
    seen[::10, 0] = (seen[::10, 0] + 1) % 4
    found = claims.unrealistic(BASE, seen, {"one": TARGET}, PERFECT, range(300), 100, readings.DEFAULT)
    rare = {name: part["unrealistic"].mean() for name, part in found.items()}
    assert 0.05 < rare["no such ends"] < 0.15 and rare["unrealistic ends"] != rare["no such ends"]


def test_easiest_is_chosen_on_one_half_and_measured_on_the_other():
    reached = np.array([[1, 1, 0, 0], [0, 0, 1, 1]])
    found = claims.easiest(reached)
    assert found["easiest input"]["reached"].tolist() == [0, 0] and found["hardest input"]["reached"].tolist() == [1, 1]


def test_three_measures_by_hand():
    env = RLDFEnv(BASE, TARGET)
    states = np.array([[0, env.target, 0]])
    (found,) = claims.three_measures(env, states, np.array([[-1.0, 0.0, -2.0]]), epsilon=0.1)
    assert found == {"reached": 1.0, "D_f": env.distance[0], "reward per step": -1.0, "epsilon": 0.1}
