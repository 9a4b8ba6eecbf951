"""Agents: updates by hand, choices, the loop's bookkeeping, and convergence to value iteration's Q."""

from collections import Counter

import numpy as np
import pytest

from rldf_utils import agents, grammar
from rldf_utils.agents import AGENTS, QLearning, Random, Sarsa, run
from rldf_utils.env import RLDFEnv, transition_table
from rldf_utils.readings import Reading

TABLE = transition_table(grammar.load().shape)


def filled(kind, **settings):
    """An agent with two states and two actions, whose Q is [[1, 2], [3, 5]]."""
    agent = kind(2, 2, **settings)
    agent.q = np.array([[1.0, 2.0], [3.0, 5.0]])
    return agent


def test_q_learning_update_by_hand():
    agent = filled(QLearning, alpha=0.1, gamma=0.9)
    agent.update(0, 1, 0.5, 1, False)  # 2 + 0.1 (0.5 + 0.9 * 5 - 2) = 2.3
    np.testing.assert_allclose(agent.q, [[1, 2.3], [3, 5]], atol=1e-12)


def test_q_learning_update_at_the_end_by_hand():
    agent = filled(QLearning, alpha=0.1, gamma=0.9)
    agent.update(0, 1, 0.5, 1, True)  # 2 + 0.1 (0.5 - 2) = 1.85
    np.testing.assert_allclose(agent.q, [[1, 1.85], [3, 5]], atol=1e-12)


def test_sarsa_bootstraps_on_the_action_that_it_then_plays():
    played = set()
    for seed in range(50):
        agent = filled(Sarsa, epsilon=0.9, alpha=0.1, gamma=0.9, seed=seed)
        agent.update(0, 1, 0.5, 1, False)
        action = agent.select_action(1)
        wanted = {0: 2 + 0.1 * (0.5 + 0.9 * 3 - 2), 1: 2 + 0.1 * (0.5 + 0.9 * 5 - 2)}[action]
        np.testing.assert_allclose(agent.q, [[1, wanted], [3, 5]], atol=1e-12)
        played.add(action)
    assert played == {0, 1}


def test_sarsa_update_at_the_end_by_hand():
    agent = filled(Sarsa, epsilon=0, alpha=0.1, gamma=0.9)
    agent.update(0, 1, 0.5, 1, True)
    np.testing.assert_allclose(agent.q, [[1, 1.85], [3, 5]], atol=1e-12)


def test_sarsa_forgets_its_next_action_when_an_episode_begins():
    agent = filled(Sarsa, epsilon=0)
    agent.q[1] = [5, 3]
    agent.update(0, 1, 0.5, 1, False)  # action 0 is next, for state 1
    agent.begin()
    assert agent.select_action(0) == 1  # greedy in state 0


def test_random_learns_nothing():
    agent = filled(Random)
    agent.update(0, 1, 0.5, 1, False)
    assert (agent.q == [[1, 2], [3, 5]]).all()


@pytest.mark.parametrize("kind", [QLearning, Sarsa])
def test_epsilon_zero_is_greedy_and_breaks_ties_at_random(kind):
    agent = kind(2, 4, epsilon=0, seed=1)
    agent.q = np.array([[0.0, 7.0, 7.0, 1.0], [0.0, 0.0, 9.0, 0.0]])
    counts = Counter(agent.select_action(0) for _ in range(2000))
    assert set(counts) == {1, 2}
    assert abs(counts[1] - 1000) < 5 * np.sqrt(500)  # five standard deviations
    assert {agent.select_action(1) for _ in range(100)} == {2}


@pytest.mark.parametrize("kind", [QLearning, Sarsa])
def test_epsilon_is_the_share_of_random_choices(kind):
    agent = kind(1, 4, epsilon=0.4, seed=1)
    agent.q = np.array([[0.0, 0.0, 1.0, 0.0]])
    counts = Counter(agent.select_action(0) for _ in range(5000))
    assert abs(counts[2] - 5000 * 0.7) < 5 * np.sqrt(5000 * 0.7 * 0.3)
    assert set(counts) == {0, 1, 2, 3}


@pytest.mark.parametrize("kind", AGENTS.values())
def test_initial_q_is_random_small_and_seeded(kind):
    q = kind(480, 8, seed=3).q
    assert (q == kind(480, 8, seed=3).q).all()
    assert (q != kind(480, 8, seed=4).q).all()
    assert abs(q.std() - 0.01) < 0.001


def trajectory(kind, seed=0, steps=400, epsilon=0.1, **settings):
    env = RLDFEnv(target=(1, 1, 1, 1), max_steps=50, **settings)
    return env, run(env, kind(480, 8, epsilon=epsilon, seed=seed), steps, seed)


@pytest.mark.parametrize("kind", AGENTS.values())
def test_run_keeps_the_books(kind):
    env, t = trajectory(kind)
    assert [len(a) for a in (t.states, t.actions, t.rewards, t.episodes)] == [400] * 4
    assert t.episodes[0] == 0 and set(np.diff(t.episodes)) <= {0, 1}
    assert len(t.starts) == t.episodes[-1] + 1 > 1
    assert env.target not in t.starts
    for episode, start in enumerate(t.starts):
        steps = np.flatnonzero(t.episodes == episode)
        before = np.concatenate([[start], t.states[steps][:-1]])
        assert (t.states[steps] == TABLE[before, t.actions[steps]]).all()
        assert env.target not in t.states[steps][:-1]
        if episode < len(t.starts) - 1:
            assert len(steps) == 50 or t.states[steps[-1]] == env.target
        assert len(steps) <= 50
    assert (t.rewards == [env.reward(s) for s in t.states]).all()


def test_run_stops_at_the_last_step_without_an_empty_episode():
    env = RLDFEnv(target=(3, 5, 3, 4), max_steps=10)
    t = run(env, QLearning(480, 8), 20)
    assert len(t.starts) == 2
    assert t.episodes.tolist() == [0] * 10 + [1] * 10


def test_run_asks_after_each_step_whether_it_is_to_end():
    paid = []
    assert run(RLDFEnv(), Random(480, 8), 30, until=paid.append).rewards.tolist() == paid
    short = run(RLDFEnv(), Random(480, 8), 30, until=lambda reward: reward == paid[11])
    assert short.rewards.tolist() == paid[: paid.index(paid[11]) + 1]


@pytest.mark.parametrize("kind", AGENTS.values())
def test_a_seed_fixes_the_trajectory(kind):
    same = [trajectory(kind, seed)[1] for seed in (5, 5, 6)]
    for name in ("states", "actions", "rewards", "episodes", "starts"):
        assert (getattr(same[0], name) == getattr(same[1], name)).all()
    assert (same[0].states != same[2].states).any()


def test_random_depends_on_neither_epsilon_nor_reward():
    plain = trajectory(Random, epsilon=0.01)[1]
    other = trajectory(Random, epsilon=0.9, landscape=np.random.default_rng(1).normal(size=480), reading=Reading(bonus=5))[1]
    assert (plain.actions == other.actions).all()
    assert (plain.states == other.states).all()
    assert (plain.rewards != other.rewards).any()


@pytest.mark.parametrize("kind", [QLearning, Sarsa])
def test_learners_depend_on_epsilon_and_reward(kind):
    plain = trajectory(kind, epsilon=0.1)[1]
    assert (plain.states != trajectory(kind, epsilon=0.5)[1].states).any()
    assert (plain.states != trajectory(kind, landscape=np.arange(480.0))[1].states).any()


def test_q_learning_converges_to_value_iteration(tmp_path):
    path = tmp_path / "small.cfg"
    path.write_text("S -> A B\nA -> 'x' | 'y' | 'z'\nB -> 'u' | 'v' | 'w'\n")
    landscape = np.array([0.0, -1.0, 0.5, 0.2, -0.3, 0.7, -0.5, 0.1, 0.4])
    env = RLDFEnv(grammar.load(path), target=(2, 2), landscape=landscape, reading=Reading(bonus=10), max_steps=20)
    agent = QLearning(9, 4, epsilon=1, alpha=0.5, gamma=0.8)
    run(env, agent, 12_000)
    wanted = env.optimal_q(0.8)
    others = np.arange(9) != env.target  # nothing is learnt about leaving the target
    assert np.ptp(wanted[others]) > 5
    np.testing.assert_allclose(agent.q[others], wanted[others], atol=1e-6)
    # Greedy in Q* means the shortest path here: from the far corner, four steps.
    state, steps = 0, 0
    while state != env.target and steps < 10:
        state, steps = int(env.transitions[state, agent.q[state].argmax()]), steps + 1
    assert steps == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epsilon": 1.5}, "epsilon = 1.5 is not legal; choose a number from 0 to 1"),
        ({"epsilon": -0.1}, "epsilon = -0.1 is not legal"),
        ({"epsilon": "0.1"}, "epsilon = '0.1' is not legal"),
        ({"epsilon": float("nan")}, "epsilon = nan is not legal"),
        ({"alpha": 2}, "alpha = 2 is not legal; choose a number from 0 to 1"),
        ({"gamma": 1.01}, "gamma = 1.01 is not legal; choose a number from 0 to 1"),
        ({"omega": 0}, "omega = 0 is not legal; choose a number from 0.001 to 1"),
        ({"seed": -1}, "seed = -1 is not legal; choose an integer, 0 or more"),
        ({"seed": 1.5}, "seed = 1.5 is not legal"),
        ({"seed": None}, "seed = None is not legal"),
        ({"states": 0}, "states = 0 is not legal; choose an integer, from 1 to 2,000,000"),
        ({"states": 2_488_320_000}, "states = 2488320000 is not legal"),
        ({"actions": 0}, "actions = 0 is not legal; choose an integer, from 1 to 1,000"),
    ],
)
@pytest.mark.parametrize("kind", AGENTS.values())
def test_settings_out_of_range_are_named(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(**({"states": 2, "actions": 2} | settings))


@pytest.mark.parametrize("epsilon", [0, 1, np.float32(0.5)])
def test_the_ends_of_the_range_are_legal(epsilon):
    agent = QLearning(np.int64(2), 2, epsilon=epsilon, alpha=1, gamma=0, seed=np.int32(7))
    assert {agent.select_action(0) for _ in range(50)} <= {0, 1}


def test_runs_out_of_range_are_named():
    env, agent = RLDFEnv(), QLearning(480, 8)
    for steps in (0, -1, 2.5):
        with pytest.raises(ValueError, match=f"steps = {steps} is not legal; choose an integer, 1 or more"):
            run(env, agent, steps)
    with pytest.raises(ValueError, match="seed = -1 is not legal"):
        run(env, agent, 10, seed=-1)
    with pytest.raises(ValueError, match=r"an agent of \(24, 8\) states and actions cannot walk Discrete\(480\), Discrete\(8\)"):
        run(env, QLearning(24, 8), 10)


def test_agents_are_made_by_name():
    env = RLDFEnv("smoke")
    made, plain = agents.make("SARSA", env, 0.3, seed=5, gamma=0.5), Sarsa(24, 8, 0.3, gamma=0.5, seed=5)
    assert type(made) is Sarsa and (made.q == plain.q).all() and (made.epsilon, made.gamma) == (0.3, 0.5)
    with pytest.raises(ValueError, match="agent = 'DQN' is not known; choose one of 'Q', 'SARSA', 'Random'"):
        agents.make("DQN", env)
