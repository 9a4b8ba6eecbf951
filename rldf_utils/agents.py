"""Tabular agents of Algorithm 1: Q-learning, SARSA, Random.

An agent is `select_action` and `update`. All choose epsilon-greedily, ties broken at random. What the paper leaves open
is named here: alpha, gamma, and the scale of the random initial Q.
"""

from collections.abc import Callable
from dataclasses import dataclass

import gymnasium as gym
import numpy as np

ALPHA = 0.1  #: step size; chosen by us
GAMMA = 0.9  #: discount; chosen by us
Q_SCALE = 0.01  #: standard deviation of the initial Q (line 3 says "randomly"); chosen by us


class Agent:
    """What the three share: the table Q, float64 (states, actions), and the epsilon-greedy choice."""

    def __init__(self, states: int, actions: int, epsilon: float = 0.1, alpha: float = ALPHA, gamma: float = GAMMA, seed: int = 0):
        self.rng = np.random.default_rng(seed)
        self.q = self.rng.normal(0, Q_SCALE, (states, actions))
        self.epsilon, self.alpha, self.gamma = epsilon, alpha, gamma

    def select_action(self, state: int) -> int:
        """Epsilon-greedy choice in a state."""
        if self.rng.random() < self.epsilon:
            return int(self.rng.integers(self.q.shape[1]))
        row = self.q[state]
        best = np.flatnonzero(row == row.max())
        return int(best[self.rng.integers(len(best))] if len(best) > 1 else best[0])

    def update(self, state: int, action: int, reward: float, next_state: int, terminated: bool) -> None:
        """Learn from one transition."""

    def begin(self) -> None:
        """A new episode begins."""


class QLearning(Agent):
    """Off-policy: the target takes the best next action (Algorithm 1, line 10)."""

    def update(self, state, action, reward, next_state, terminated):
        best = 0.0 if terminated else self.q[next_state].max()
        self.q[state, action] += self.alpha * (reward + self.gamma * best - self.q[state, action])


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
        self.q[state, action] += self.alpha * (reward + self.gamma * value - self.q[state, action])


class Random(Agent):
    """Uniform whatever epsilon and reward are (Algorithm 1, line 18)."""

    def select_action(self, state):
        return int(self.rng.integers(self.q.shape[1]))


AGENTS = {"Q": QLearning, "SARSA": Sarsa, "Random": Random}  #: Table 3's names


@dataclass
class Trajectory:
    """A run's steps in order: arrays (steps,), and the state of every start, (episodes,)."""

    states: np.ndarray  #: state after the step
    actions: np.ndarray
    rewards: np.ndarray
    episodes: np.ndarray  #: number of the episode that the step belongs to
    starts: np.ndarray


def run(env: gym.Env, agent: Agent, steps: int, seed: int = 0, after_step: Callable[[], object] = lambda: None) -> Trajectory:
    """Let the agent learn for `steps` steps, beginning a new episode whenever one ends; `after_step` is called after each."""
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
        after_step()
        if (terminated or truncated) and step < steps - 1:
            agent.begin()
            state, _ = env.reset()
            starts.append(state)
    return Trajectory(*map(np.array, (states, actions, rewards, episodes, starts)))
