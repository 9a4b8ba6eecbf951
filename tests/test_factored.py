"""The factored agent: its posterior, its goals and its paths by brute force, and how many pictures it needs."""

from itertools import product

import numpy as np
import pytest

from rldf_utils import agents, grammar, landscape, readings
from rldf_utils.env import RLDFEnv
from rldf_utils.factored import AGAIN, Factored, spare

BASE = grammar.load("base")


def walked(env, agent, steps, seed=0):
    trajectory = agents.run(env, agent, steps, seed, until=lambda reward: reward == env.most)
    return trajectory, len(set(trajectory.states.tolist()))


def test_the_posterior_is_that_of_ridge_regression():
    rng = np.random.default_rng(0)
    env = RLDFEnv(BASE, landscape=rng.normal(size=480))
    agent = Factored(env, prior=3.0)
    trajectory = agents.run(env, agent, 60, 1)
    states = sorted(set(trajectory.states.tolist()))
    x = np.zeros((len(states), sum(BASE.shape) + 1))
    x[:, -1] = 1
    for row, state in enumerate(states):
        for axis, word in enumerate(BASE.encoding(state)):
            x[row, sum(BASE.shape[:axis]) + word] = 1
    penalty = np.diag([1 / 3] * sum(BASE.shape) + [1e-6])
    worths = np.linalg.lstsq(x.T @ x + penalty, x.T @ env.rewards[0, states], rcond=None)[0]
    for row, state in enumerate(states):
        assert agent.value(state) == pytest.approx(x[row] @ worths)


def test_draws_of_the_posterior_have_its_mean_and_shrink_with_what_was_seen():
    env = RLDFEnv(BASE)
    agent = Factored(env)
    spread = []
    for steps in (10, 200):
        agents.run(env, agent, steps, 1)
        drawn = np.array([agent._draw() for _ in range(4000)])
        spread.append(drawn.std(0).mean())
        state = (1, 2, 3, 1)
        words = agent._columns(np.array(state))
        gap = drawn[:, words].sum(1) - drawn[:, agent._columns(np.array((0, 0, 0, 0)))].sum(1)
        truth = agent.value(BASE.index(state)) - agent.value(0)
        assert gap.mean() == pytest.approx(truth, abs=5 * gap.std() / np.sqrt(4000))
    assert spread[1] < spread[0] / 2


def test_the_goal_is_the_best_state_not_visited():
    env = RLDFEnv(grammar.load("smoke"))
    agent = Factored(env, seed=3)
    states = list(env.grammar.states())
    for seed in range(20):
        agents.run(env, agent, 5, seed)
        agent.worth = agent.rng.normal(size=sum(env.grammar.shape))
        left = [s for s in range(24) if s not in agent.paid] or range(24)
        value = {s: sum(agent.worth[agent._columns(np.array(states[s]))]) for s in left}
        assert agent._best() == states[max(value, key=value.get)]
    assert len(agent.paid) == 24, "all were visited in the end"


@pytest.mark.parametrize("text", ["", "border=wrap", "order=shuffled", "actions=set"])
def test_every_step_is_on_a_shortest_path_to_the_goal(text):
    reading = readings.parse(text)
    env = RLDFEnv(BASE, (2, 3, 1, 4), reading=reading)
    apart = reading.apart(BASE.shape)
    agent, (state, _) = Factored(env, seed=1), env.reset(seed=1)
    for _ in range(200):
        action = agent.select_action(state)
        far = [sum(t[w, g] for t, w, g in zip(apart, BASE.encoding(s), agent.goal, strict=True))
               for s in (state, env.transitions[state, action])]  # fmt: skip
        assert far[1] == far[0] - 1
        after, reward, *_ = env.step(action)
        agent.update(state, action, reward, after, False)
        state = after


def test_words_apart_are_the_shortest_paths():
    for text, shape in product(("", "border=wrap", "order=shuffled", "actions=set"), ((5,), (4, 3))):
        reading = readings.parse(text)
        rules = [f"{axis} -> " + " | ".join(f"'{axis.lower()}{i}'" for i in range(n)) for axis, n in zip("AB", shape, strict=False)]
        env = RLDFEnv(grammar.from_text("\n".join(["S -> " + " ".join("AB"[: len(shape)]), *rules])), reading=reading)
        reach = np.full((env.grammar.size,) * 2, 99)
        np.fill_diagonal(reach, 0)
        for _ in range(12):  # Bellman's equation on the table
            reach = np.minimum(reach, 1 + reach[env.transitions].min(1))
        words, tables = np.array(list(env.grammar.states())), reading.apart(env.grammar.shape)
        assert (sum(t[w[:, None], w] for t, w in zip(tables, words.T, strict=True)) == reach).all()


def test_few_pictures_are_enough_on_perfect_landscapes():
    needed = []
    for number, target in enumerate(BASE.spread(48, np.random.default_rng(0))):
        env = RLDFEnv(BASE, target)
        needed.append(walked(env, Factored(env, number), 500, number)[1])
    assert np.median(needed) <= 16 and np.quantile(needed, 0.95) <= 32 and max(needed) <= 64


def test_the_scale_of_the_rewards_does_not_matter():
    walks = []
    for factor in (1.0, 1024.0, 2.0**-10):
        env = RLDFEnv(BASE, (2, 3, 1, 4), landscape.perfect(BASE, (2, 3, 1, 4)) * factor)
        walks.append(walked(env, Factored(env, 5), 200, 5)[0].states.tolist())
    assert walks[0] == walks[1] == walks[2]


def test_where_seeds_move_it_looks_again_and_finds_the_best_in_the_mean():
    rng, target = np.random.default_rng(0), (2, 3, 1, 4)
    noisy = landscape.perfect(BASE, target) + rng.normal(0, 0.5, (4, 480))
    env = RLDFEnv(BASE, target, noisy, reading=readings.parse("end=go on"))
    agent = Factored(env, 1)
    states = agents.run(env, agent, 300, 1).states
    assert agent.moving and max(range(480), key=agent.value) == BASE.index(target)
    assert (states[-100:] == BASE.index(target)).mean() > 0.2, "and stays around there"


def test_a_world_of_any_size_without_a_table():
    full, target = grammar.load("full"), (1, 7, 2, 3, 1, 1, 1, 1, 1, 1, 1, 1)

    def reward(state):
        return float(sum(a == b for a, b in zip(full.encoding(state), target, strict=True)))

    env = RLDFEnv(full, target, reward, reading=readings.parse("actions=set"))
    env.most = 12.0
    agent = Factored(env, 0)
    trajectory, calls = walked(env, agent, 1500)
    assert trajectory.rewards[-1] == 12 and calls < 400, "every word was tried, few twice"
    with pytest.raises(ValueError, match="cannot walk"):
        agents.run(RLDFEnv(BASE), agent, 5)


def looked_everywhere(values, target=(2, 3, 1, 4)):
    """An agent that has seen every state's picture once."""
    agent = Factored(RLDFEnv(BASE, target, values))
    for state in range(480):
        agent.update(0, 0, float(np.atleast_2d(values)[0, state]), state, False)
    return agent


def test_a_lucky_picture_is_not_the_answer_and_a_picture_is_looked_at_again():
    target, lucky = BASE.index((2, 3, 1, 4)), BASE.index((0, 0, 0, 0))
    values = landscape.perfect(BASE, (2, 3, 1, 4))
    values[target], values[lucky] = -1.0, 0.0
    agent = looked_everywhere(values)
    assert agent.answer() == target, "by the model"
    asked = []

    def again(states):
        asked.extend(states)
        return np.array([[0.0 if state == target else -3.0 for state in states]] * AGAIN)

    assert agent.answer(again) == target
    assert asked[0] == target and lucky in asked and len(asked) == len(set(asked)) == 3 and spare(32) == 3 * AGAIN
    assert spare(31) == 0


def test_what_two_words_do_together_is_found_by_looking_again():
    """A sum over the axes cannot tell that two words are good together; the picture can, and further pictures confirm it."""
    values = landscape.perfect(BASE, (2, 3, 1, 4))
    best = BASE.index((2, 4, 1, 4))
    values[best] = 1.0
    agent = looked_everywhere(values)
    assert agent.answer() != best
    assert agent.answer(lambda states: np.array([[values[s] for s in states]] * AGAIN)) == best
    unlucky = {best: -3.0}
    assert agent.answer(lambda states: np.array([[unlucky.get(s, values[s]) for s in states]] * AGAIN)) != best


def test_of_equal_means_the_better_by_the_model_and_where_seeds_move_nothing_is_asked():
    values = landscape.perfect(BASE, (2, 3, 1, 4))
    agent = looked_everywhere(values)
    first = agent.answer()
    assert agent.answer(lambda states: np.array([[-agent.paid[s] / AGAIN for s in states]] * AGAIN)) == first == BASE.index((2, 3, 1, 4))
    agent.update(0, 0, -7.0, 5, False)
    assert agent.moving
    agent.answer(lambda states: pytest.fail("the model has seen several pictures of a state"))


def test_bad_settings_are_named():
    for options, message in (({"seed": -1}, "seed = -1"), ({"prior": 0}, "prior = 0"), ({"scale": -1}, "scale = -1")):
        with pytest.raises(ValueError, match=message):
            Factored(RLDFEnv(BASE), **options)
