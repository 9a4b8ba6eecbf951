"""Readings of the paper: every level changes what it says, the compiled loops follow the plain one under all of them."""

import re
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT

from rldf_utils import agents, compiled, grammar, landscape, multiverse, readings, rewards, stats
from rldf_utils.env import RLDFEnv, distances, transition_table
from rldf_utils.readings import DEFAULT, LEVELS, PRINTED, Reading

BASE = grammar.load("base")
TARGET = (1, 2, 1, 2)
EMBEDDINGS = np.random.default_rng(0).normal(size=(480, 5))
SEEN = list(BASE.states())


@pytest.mark.parametrize("reading", readings.multiverse(40), ids=str)
@pytest.mark.parametrize("name", agents.AGENTS)
def test_under_every_level_the_compiled_loops_are_the_plain_agents_step_for_step(reading, name):
    rough = np.random.default_rng(1).normal(size=480).round(1)
    env = RLDFEnv(BASE, TARGET, rough, reading=reading, max_steps=min(reading.episode, 37))
    seeds = compiled.Seeds(range(3), *env.transitions.shape, 100)
    states, paid = compiled.many(env, name, 0.1, seeds)
    for seed in range(3):
        plain, fast = (agents.make(name, env, 0.1, seed=seed) for _ in range(2))
        walk = agents.run(env, plain, 100, seed)
        assert (walk.states == states[seed]).all() and (walk.rewards == paid[seed]).all()
        assert (compiled.run(env, fast, 100, seed).states == walk.states).all() and (plain.q == fast.q).all()


def test_the_sample_has_every_departure_and_both_levels_of_every_field():
    found = readings.multiverse(128)
    assert len(set(found)) == 128 and found[0] == DEFAULT and found[: len(readings.departures())] == readings.departures()
    assert len(readings.departures()) == 1 + sum(len(levels) - 1 for levels in LEVELS.values())
    for name, levels in LEVELS.items():
        share = np.mean([getattr(reading, name) == list(levels)[1] for reading in found])
        assert 0.25 < share < 0.7, name
    assert readings.multiverse(128) == found


def test_a_reading_is_read_back_from_its_text():
    for reading in readings.multiverse(128):
        assert readings.parse(str(reading)) == reading
    assert readings.parse("") == DEFAULT and readings.parse(" offset = printed ,gamma=0.25") == Reading(offset="printed", gamma=0.25)


@pytest.mark.parametrize(("text", "message"), [
    ("offset=free", "offset = 'free' is not known; choose one of 'cost', 'printed'"), ("gamma=1", "gamma = 1.0 is not legal"),
    ("alpha=2", "alpha = 2.0 is not legal; choose a number from 0 to 1"), ("episode=0", "episode = 0 is not legal"),
    ("episode=2.5", "episode = '2.5' is not legal; choose an integer"), ("bonus=nan", "bonus = nan is not legal"),
    ("gamma=half", "gamma = 'half' is not legal; choose a number"), ("colour=red", "field of a reading = 'colour' is not known"),
    ("offset", "'offset' is not field=level"), ("end=stop, end=go on", "'end=go on' is given twice"),
    ("actions=set, border=wrap", "actions = set and border = wrap contradict each other")])  # fmt: skip
def test_what_is_no_reading_is_named(text, message):
    with pytest.raises(ValueError, match=message):
        readings.parse(text)


@pytest.mark.parametrize("count", [12, 10**6])
def test_too_few_or_too_many_readings(count):
    with pytest.raises(ValueError, match="number of readings"):
        readings.multiverse(count)


def test_a_wrapped_border_and_words_set_by_hand():
    wrapped = transition_table((3, 2), Reading(border="wrap"))
    assert wrapped[0].tolist() == [2, 4, 1, 1] and wrapped[5].tolist() == [1, 3, 4, 4]
    set_ = transition_table((3, 2), Reading(actions="set"))
    assert set_[3].tolist() == [1, 3, 5, 2, 3]


def test_another_order_is_the_same_grid_with_the_words_in_other_places():
    reading = Reading(order="shuffled")
    shape, positions = (4, 6), reading.positions((4, 6))
    moves, listed = transition_table(shape, reading), transition_table(shape)
    place = np.ravel_multi_index([p[w] for p, w in zip(positions, np.indices(shape).reshape(2, -1), strict=True)], shape)
    assert (place[moves] == listed[place]).all() and (place != np.arange(24)).any()
    goal = (1, 2)
    there = tuple(int(p[w]) for p, w in zip(positions, goal, strict=True))
    assert (distances(shape, goal, reading) == distances(shape, there)[place]).all()


def test_offset_and_weight_of_the_scene_by_hand():
    got = {
        kind: landscape.perceived(BASE, SEEN, EMBEDDINGS, TARGET, EMBEDDINGS[5], Reading(offset=kind, c_s=3.0)) for kind in LEVELS["offset"]
    }
    right, other = BASE.index(TARGET), BASE.index((0, 0, 0, 0))
    assert (got["printed"][1][right], got["printed"][1][other]) == (6, -3) and (got["cost"][1][right], got["cost"][1][other]) == (0, -9)
    assert (got["printed"][2][right], got["cost"][2][right], got["cost"][2][other]) == (3, 0, -6)
    np.testing.assert_allclose(got["printed"][3] - got["cost"][3], 1)
    assert rewards.most(1, BASE.axes, PRINTED) == 4 and rewards.most(3, BASE.axes, DEFAULT) == 0


@pytest.mark.parametrize("number", [1, 2])
def test_where_a_step_costs_the_best_policy_arrives_and_as_printed_it_stays_away(number):
    """The argument for the default, on the perfect landscapes, by value iteration."""

    def arrives(reading):
        env = RLDFEnv(BASE, TARGET, landscape.perfect(BASE, TARGET, number, reading), reading=reading)
        best, state = env.optimal_q(reading.gamma).argmax(1), np.arange(480)
        there = np.zeros(480, bool)
        for _ in range(100):
            state = env.transitions[state, best[state]]
            there |= state == env.target
        return there[np.arange(480) != env.target].mean()

    assert arrives(PRINTED) < 0.2
    assert arrives(DEFAULT) == 1 if number == 1 else arrives(DEFAULT) > arrives(PRINTED)


def test_optimism_lies_at_the_largest_return_and_the_start_and_end_are_the_readings():
    env = RLDFEnv(BASE, TARGET, reading=Reading(offset="printed", initial="optimistic"))
    agent = agents.make("Q", env)
    assert agent.q.mean() == pytest.approx(40, abs=0.01)
    assert RLDFEnv(BASE, TARGET, reading=Reading(start="first")).reset(seed=3)[0] == 0
    assert not RLDFEnv(BASE, TARGET, reading=Reading(end="go on")).ends.any()
    with pytest.raises(ValueError, match="initial = optimistic needs the largest reward"):
        agents.make("Q", RLDFEnv(BASE, TARGET, lambda state: 0.0, reading=Reading(initial="optimistic")))


def own(tmp_path, body):
    path = tmp_path / "my_rewards.py"
    path.write_text(f"def warmth(seen, target):\n    {body}\n")
    return rewards.own(f"{path}:warmth")


def test_a_reward_of_ones_own_by_name(tmp_path):
    values = landscape.perfect(BASE, TARGET, own(tmp_path, "return -sum(seen[axis] != target[axis] for axis in target)"))
    assert values[BASE.index(TARGET)] == 0 and values.min() == -4


@pytest.mark.parametrize(("body", "error", "message"), [
    ("return float('nan')", ValueError, "the reward is not finite at state 0, 'a photo of one"),
    ("return [1, 2]", ValueError, "the reward is no number at state 0"), ("return seen['Mood']", KeyError, "Mood")])  # fmt: skip
def test_a_wrong_reward_of_ones_own_is_named_with_its_state(tmp_path, body, error, message):
    with pytest.raises(error, match=message) as caught:
        landscape.perfect(BASE, TARGET, own(tmp_path, body))
    assert error is ValueError or "raised by the reward at state 0, 'a photo of one" in caught.value.__notes__[0]


@pytest.mark.parametrize(("name", "message"), [
    ("4", "reward '4' is not known; choose 1, 2, 3, or a function of yours"),
    ("absent.py:warmth", "there is no file absent.py")])  # fmt: skip
def test_a_reward_that_there_is_not_is_named(name, message):
    with pytest.raises(ValueError, match=message):
        rewards.own(name)


def test_the_readmes_reward_works(tmp_path):
    text = (ROOT / "README.md").read_text()
    code = text[text.index("# my_rewards.py") :].split("```")[0]
    (tmp_path / "my_rewards.py").write_text(code)
    values = landscape.perfect(BASE, TARGET, rewards.named(f"{tmp_path}/my_rewards.py:elements"))
    assert values[BASE.index(TARGET)] == 0 and values.min() == -5 and rewards.named("2") == 2
    assert readings.parse(re.search(r'READING "([^"]+)"', text)[1]) == Reading(gamma=0.5, episode=25)


def test_a_file_without_the_function_is_named(tmp_path):
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(ValueError, match="has no function warmth"):
        rewards.own(f"{tmp_path / 'empty.py'}:warmth")


# The multiverse.


def test_a_claim_known_true_and_one_known_false_come_out_so_and_name_what_they_hinge_on():
    """A made-up world of effects: the first claim's holds everywhere, the second's is decided by the offset alone."""
    found = readings.multiverse(64)
    rng = np.random.default_rng(0)
    scores = {measure: rng.normal(0, 0.1, (64, 18, 50)) for measure in multiverse.SMALLEST}
    printed = np.array([reading.offset == "printed" for reading in found])
    q, sarsa = (multiverse.group({"agent": agent}) for agent in ("Q", "SARSA"))
    scores["reached"][:, q] += 0.5
    scores["reached"][:, sarsa] += np.where(printed, -0.5, 0.5)[:, None, None]
    first, second = multiverse.CLAIMS[:2]
    true = multiverse.judge(multiverse.effects(scores, first, rng), first, found)
    assert true["verdict"] == "reproduced" and true["holds"] == true["readings"] == 64
    depends = multiverse.judge(multiverse.effects(scores, second, rng), second, found)
    assert depends["verdict"] == "depends on the reading" and depends["hinges_on"] == "offset" and depends["explains"] > 0.95
    assert depends["holds"] == (~printed).sum() and depends["opposite"] == printed.sum()
    scores["reached"][:, q] -= 1
    assert multiverse.judge(multiverse.effects(scores, first, rng), first, found)["verdict"] == "contradicted"


def test_hinges_of_noise_are_small():
    found = readings.multiverse(128)
    assert multiverse.hinges(np.random.default_rng(0).normal(size=128), found).max() < 0.1


def test_the_multiverse_is_the_sweep_run_by_hand():
    targets = {"one": (TARGET, EMBEDDINGS[5]), "two": ((0, 0, 0, 0), EMBEDDINGS[9])}
    chosen = [DEFAULT, replace(DEFAULT, offset="printed", c_s=3.0)]
    got = multiverse.scores(BASE, SEEN, EMBEDDINGS, targets, chosen, range(3), 40, progress=None)
    number = 13  # SARSA, reward 1, epsilon 0.1
    for row, reading in enumerate(chosen):
        walks = []
        for target, embedding in targets.values():
            env = RLDFEnv(BASE, target, landscape.perceived(BASE, SEEN, EMBEDDINGS, target, embedding, reading)[1], reading=reading)
            walks.append((env, [agents.run(env, agents.make("SARSA", env, 0.1, seed=s), 40, s) for s in range(3)]))
        by_hand = np.mean([[env.distance[walk.states[-1]] for walk in part] for env, part in walks], axis=0)
        assert (got["D_f"][row, number] == by_hand).all()
        np.testing.assert_allclose(got["reward per step"][row, number], np.mean([[w.rewards.mean() for w in p] for _, p in walks], axis=0))
    assert (got["D_f"][:, 6] == got["D_f"][:, 7]).all(), "epsilon is nothing to Random"


def test_intervals_are_those_of_effect():
    rng = np.random.default_rng(0)
    difference = rng.normal(1, 1, (2, 300))
    low, high = stats.intervals(difference, rng, 4000)
    one = stats.effect(difference[1], np.zeros(300), rng, 4000)
    assert low[1] == pytest.approx(one["low"], abs=0.02) and high[1] == pytest.approx(one["high"], abs=0.02)
