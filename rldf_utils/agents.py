"""Tabular agents of Algorithm 1: Q-learning, SARSA, Random.

An agent is `select_action` and `update`. All choose epsilon-greedily, ties broken at random, with one uniform number a
choice, so that the compiled loop (`compiled.run`) can follow the same trajectory. What the paper leaves open about them
is in `readings`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import gymnasium as gym
import numpy as np

from rldf_utils.arguments import integer, real
from rldf_utils.grammar import TABLE_STATES
from rldf_utils.readings import DEFAULT
from rldf_utils.results import choose

ACTIONS = 1_000  #: most actions of a table
Q_SCALE = 0.01  #: standard deviation of the initial Q


class Agent:
    """What the three share: the table Q, float64 (states, actions), and the epsilon-greedy choice.

    Args:
        alpha: step size of every update; or, if `omega` is given,
        omega: the step size is 1 / N^omega, N being how often (state, action) was updated. In (0.5, 1] it meets the
            conditions of the convergence theorem (section 3).
        initial: mean of the random initial Q.
        seed: of the initial Q and the choices; its stream is not the environment's of the same seed.

    Raises:
        ValueError: epsilon, alpha or gamma outside 0..1, omega outside 0.001..1, a negative seed, or more than
            two million states or a thousand actions.
    """

    def __init__(self, states: int, actions: int, epsilon: float = 0.1, alpha: float = DEFAULT.alpha, gamma: float = DEFAULT.gamma,
                 seed: int = 0, omega: float | None = None, initial: float = 0.0):  # fmt: skip
        self.rng = np.random.default_rng([integer("seed", seed), 1])
        shape = integer("states", states, 1, TABLE_STATES), integer("actions", actions, 1, ACTIONS)
        self.q = self.rng.normal(0, Q_SCALE, shape) + real("initial", initial)
        self.visits = np.zeros(shape, np.int64)  #: N, counted if omega is given
        self.epsilon, self.alpha, self.gamma = real("epsilon", epsilon, 0, 1), real("alpha", alpha, 0, 1), real("gamma", gamma, 0, 1)
        self.omega = None if omega is None else real("omega", omega, 1e-3, 1)

    def select_action(self, state: int) -> int:
        """Epsilon-greedy choice in a state."""
        u, row = self.rng.random(), self.q[state]
        if u < self.epsilon:
            return int(u / self.epsilon * len(row))
        best = np.flatnonzero(row == row.max())
        return int(best[min(int((u - self.epsilon) / (1 - self.epsilon) * len(best)), len(best) - 1)])

    def update(self, state: int, action: int, reward: float, next_state: int, terminated: bool) -> None:
        """Learn from one transition."""

    def learn(self, state: int, action: int, target: float) -> None:
        """Move Q(state, action) towards the target by the step size."""
        alpha = self.alpha
        if self.omega is not None:
            self.visits[state, action] += 1
            alpha = float(self.visits[state, action]) ** -self.omega  # numpy's own power differs in the last bit on some CPUs
        self.q[state, action] += alpha * (target - self.q[state, action])

    def begin(self) -> None:
        """A new episode begins."""

    def fits(self, env: gym.Env) -> None:
        """Raises a ValueError if the table is not that of the environment's states and actions."""
        if self.q.shape != (env.observation_space.n, env.action_space.n):
            raise ValueError(f"an agent of {self.q.shape} states and actions cannot walk {env.observation_space}, {env.action_space}")


class QLearning(Agent):
    """Off-policy: the target takes the best next action (Algorithm 1, line 10)."""

    def update(self, state, action, reward, next_state, terminated):
        best = 0.0 if terminated else self.q[next_state].max()
        self.learn(state, action, reward + self.gamma * best)


class Sarsa(Agent):
    """On-policy: the target takes the next action that will be played (Algorithm 1, lines 13 to 16)."""

    _next: int | None = None

    def begin(self):
        self._next = None

    def select_action(self, state):
        action, self._next = self._next, None
        return super().select_action(state) if action is None else action

    def update(self, state, action, reward, next_state, terminated):
        self._next = None if terminated else super().select_action(next_state)
        value = 0.0 if terminated else self.q[next_state, self._next]
        self.learn(state, action, reward + self.gamma * value)


class Random(Agent):
    """Uniform whatever epsilon and reward are (Algorithm 1, line 18)."""

    def select_action(self, state):
        return int(self.rng.random() * self.q.shape[1])


AGENTS = {"Q": QLearning, "SARSA": Sarsa, "Random": Random}  #: Table 3's names


def make(name: str, env: gym.Env, epsilon: float = 0.1, **settings) -> Agent:
    """The agent of a name for an environment of discrete states and actions; `settings` as of `Agent`.

    For an `RLDFEnv` what is not given is as its reading says.

    Raises:
        ValueError: an unknown name, or a setting out of range.
    """
    settings = getattr(env.unwrapped, "learning", dict)() | settings
    return AGENTS[choose("agent", name, AGENTS)](env.observation_space.n, env.action_space.n, epsilon, **settings)


@dataclass
class Trajectory:
    """A run's steps in order: arrays (steps,), and the state of every start, (episodes,)."""

    states: np.ndarray  #: state after the step
    actions: np.ndarray
    rewards: np.ndarray
    episodes: np.ndarray  #: number of the episode that the step belongs to
    starts: np.ndarray


def run(env: gym.Env, agent: Agent, steps: int, seed: int = 0, until: Callable[[float], bool] = lambda reward: False) -> Trajectory:
    """Let the agent learn for `steps` steps, beginning a new episode whenever one ends; or until `until` says so.

    Args:
        until: called after each step with its reward; True ends the run.

    Raises:
        ValueError: steps below 1, a negative seed, or an agent of another number of states or actions.
    """
    steps, seed = integer("steps", steps, least=1), integer("seed", seed)
    agent.fits(env)
    states, actions, rewards, episodes, starts = [], [], [], [], []
    agent.begin()
    state, _ = env.reset(seed=seed)
    starts.append(state)
    for step in range(steps):
        action = agent.select_action(state)
        next_state, reward, terminated, truncated, _ = env.step(action)
        agent.update(state, action, reward, next_state, terminated)
        states.append(next_state)
        actions.append(action)
        rewards.append(reward)
        episodes.append(len(starts) - 1)
        state = next_state
        if until(reward):
            break
        if (terminated or truncated) and step < steps - 1:
            agent.begin()
            state, _ = env.reset()
            starts.append(state)
    return Trajectory(*map(np.array, (states, actions, rewards, episodes, starts)))
