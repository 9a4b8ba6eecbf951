"""The loop of `agents.run` on `RLDFEnv`, compiled over steps and over runs: the same trajectories, some hundred times as fast."""

from collections.abc import Sequence

import numpy as np
from numba import njit

from rldf_utils.agents import AGENTS, Agent, QLearning, Random, Sarsa, Trajectory
from rldf_utils.arguments import integer, real
from rldf_utils.env import RLDFEnv
from rldf_utils.results import choose


@njit(inline="always")
def _best(row):
    """Largest value of a row, how often it occurs, and where first."""
    top, ties, first = row[0], 1, 0
    for a in range(1, len(row)):
        if row[a] > top:
            top, ties, first = row[a], 1, a
        else:
            ties += row[a] == top
    return top, ties, first


@njit(inline="always")
def _choose(u, row, best, epsilon):
    """`Agent.select_action`, given its uniform number and the row's `_best`."""
    if u < epsilon:
        return int(u / epsilon * len(row))
    top, ties, action = best
    if ties > 1:
        skip = min(int((u - epsilon) / (1 - epsilon) * ties), ties - 1)
        while skip:
            action += 1
            skip -= row[action] == top
    return action


@njit(cache=True, error_model="numpy")
def _loop(
    kind, q, visits, uniforms, chances, rng, transitions, rewards, ends, target, start, epsilon, alpha, gamma, omega, most, out, paid
):
    """`agents.run` on `RLDFEnv`, whose numbers come from `chances`, or from `rng` if that is empty.

    Fills out[:, step] with state, action and episode, and paid[step] with the reward.

    Returns the starts, and how many of the agent's uniform numbers it used.
    """
    states, actions, episodes = out[0], out[1], out[2]
    starts = []
    state, action, t, used, drawn, ended = 0, -1, 0, 0, 0, True
    best = _best(q[0])
    for step in range(len(states)):
        if ended:
            state = start
            if start < 0:
                state = int((chances[drawn] if len(chances) else rng.random()) * (len(q) - 1))
                state += state >= target
                drawn += 1
            starts.append(state)
            action, t = -1, 0
            best = _best(q[state])
        if action < 0:
            action = int(uniforms[used] * q.shape[1]) if kind == 2 else _choose(uniforms[used], q[state], best, epsilon)
            used += 1
        arrived, following, draw = transitions[state, action], -1, 0
        if len(rewards) > 1:
            draw = int((chances[drawn] if len(chances) else rng.random()) * len(rewards))
            drawn += 1
        reward = rewards[draw, arrived]
        t += 1
        ended = ends[arrived]
        if kind != 2:
            best = _best(q[arrived])
            value = 0.0
            if not ended:
                value = best[0]
                if kind == 1:
                    following = _choose(uniforms[used], q[arrived], best, epsilon)
                    used += 1
                    value = q[arrived, following]
            if omega > 0:
                visits[state, action] += 1
                alpha = visits[state, action] ** -omega
            q[state, action] += alpha * (reward + gamma * value - q[state, action])
            if arrived == state:
                best = _best(q[state])
        states[step], actions[step], episodes[step], paid[step] = arrived, action, len(starts) - 1, reward
        ended = ended or t >= most
        state, action = arrived, following
    return starts, used


@njit(cache=True, error_model="numpy")
def _many(
    kind, tables, shift, uniforms, chances, rng, transitions, rewards, ends, target, start, epsilon, alpha, gamma, most, states, paid
):
    """`_loop` for every row of uniforms and chances, from the table of the same number plus shift; fills states and paid."""
    q, visits, out = np.empty(tables.shape[1:]), np.empty((0, 0), np.int64), np.empty((3, states.shape[1]), np.int32)
    for run in range(len(states)):
        q[:] = tables[run]
        q += shift
        _loop(kind, q, visits, uniforms[run], chances[run], rng, transitions, rewards, ends, target, start, epsilon, alpha, gamma, 0.0,
              most, out, paid[run])  # fmt: skip
        states[run] = out[0]


KINDS = (QLearning, Sarsa, Random)  #: what the compiled loop knows


def _checked(env: RLDFEnv) -> int:
    """The environment's max_steps, or a ValueError if the compiled loop cannot walk it."""
    if env.rewards is None:
        raise ValueError("the compiled loop needs the landscape as an array; a function's rewards come one by one: use agents.run")
    return integer("max_steps", env.max_steps, least=1)


def run(env: RLDFEnv, agent: Agent, steps: int, seed: int = 0) -> Trajectory:
    """The compiled twin of `agents.run`: the same arguments, trajectory and Q, some hundred times as fast.

    Raises:
        ValueError: an environment whose landscape is a function, an agent that is not one of the three or was made for
            another number of states or actions, steps below 1, or a negative seed.
    """
    steps, seed, max_steps = integer("steps", steps, least=1), integer("seed", seed), _checked(env)
    if type(agent) not in KINDS:
        raise ValueError(f"the compiled loop knows {', '.join(AGENTS)}; use agents.run for {type(agent).__name__}")
    agent.fits(env)
    out, rewards = np.empty((3, steps), np.int32), np.empty(steps)
    generator, before = agent.rng, agent.rng.bit_generator.state
    uniforms = generator.random(steps + steps // max_steps + 1)  # SARSA draws once more for an episode cut short
    starts, used = _loop(
        KINDS.index(type(agent)), agent.q, agent.visits, uniforms, np.empty(0), np.random.default_rng(seed),
        env.transitions, env.rewards, env.ends,
        env.target, -1 if env.start is None else env.start, agent.epsilon, agent.alpha, agent.gamma, agent.omega or 0.0, max_steps, out,
        rewards,
    )  # fmt: skip
    generator.bit_generator.state = before  # as if each had been drawn when it was needed
    generator.bit_generator.advance(used)
    states, actions, episodes = out
    return Trajectory(states, actions, rewards, episodes, np.array(starts))


class Seeds:
    """What many runs draw, made once for all that share seeds, number of states and actions, and steps.

    Args:
        seeds: of agents and environments: a run of one of them is `run` with an agent of that seed, and that seed.
    """

    def __init__(self, seeds: Sequence[int], states: int, actions: int, steps: int):
        learners = [Random(states, actions, seed=seed) for seed in seeds]
        self.tables = np.stack([learner.q for learner in learners])
        self.uniforms = np.stack([learner.rng.random(2 * steps + 1) for learner in learners])
        self.chances = np.stack([np.random.default_rng(seed).random(2 * steps + 1) for seed in seeds])
        self.steps = steps


def many(env: RLDFEnv, agent: str, epsilon: float, seeds: Seeds) -> tuple[np.ndarray, np.ndarray]:
    """The states after each step and the rewards, each (seeds, steps), of one new agent per seed.

    Raises:
        ValueError: an unknown agent, epsilon outside 0..1, a landscape that is a function, or `seeds` made for another
            number of states or actions.
    """
    learning, max_steps = env.learning(), _checked(env)
    kind, shift = KINDS.index(AGENTS[choose("agent", agent, AGENTS)]), learning["initial"]
    if seeds.tables.shape[1:] != env.transitions.shape:
        raise ValueError(f"the seeds are for {seeds.tables.shape[1:]} states and actions, the environment has {env.transitions.shape}")
    states, paid = np.empty((len(seeds.tables), seeds.steps), np.int32), np.empty((len(seeds.tables), seeds.steps))
    start = -1 if env.start is None else env.start
    _many(kind, seeds.tables, shift, seeds.uniforms, seeds.chances, np.random.default_rng(0), env.transitions, env.rewards, env.ends,
          env.target, start, real("epsilon", epsilon, 0, 1), learning["alpha"], learning["gamma"], max_steps, states, paid)  # fmt: skip
    return states, paid
