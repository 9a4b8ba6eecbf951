"""The factored agent: a value-based agent that uses what the paper calls semantic locality. Ours; the paper has none."""

from collections.abc import Callable, Sequence
from heapq import heappop, heappush

import gymnasium as gym
import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular

from rldf_utils import agents
from rldf_utils.agents import Agent
from rldf_utils.arguments import integer, real
from rldf_utils.env import RLDFEnv

PRIOR = 100.0  #: variance of a word's worth, in units of the noise's
SCALE = 0.01  #: the prior's guess of the noise's variance, in units of the rewards' own variance
AGAIN = 2  #: further pictures of each state that may be the answer


class Factored:
    """Posterior sampling on rewards that are a sum over axes, with moves that are known: no table of states.

    The reward of a state is modelled as the sum of its words' worths plus noise: Bayesian linear regression on one-hot axes
    with a normal-inverse-gamma prior. Whenever a picture was new, worths are drawn from the posterior (Thompson sampling,
    Russo et al., 2018), and the goal is the best state, by these worths, that was not visited. The agent walks there on a
    shortest path, over visited states where it can, for these cost no picture. Where a second visit pays another reward
    the seeds move: then visited states may be goals as well, and every visit counts.

    It explores only; `answer` says what was found. Time per step: the cube of the number of words.

    Args:
        env: gives the grid's shape, and what an action does.
        seed: of the posterior's draws; its stream is not the environment's of the same seed.
        prior, scale: see `PRIOR` and `SCALE`; the scale of the rewards does not matter.

    Raises:
        ValueError: a negative seed, or a prior or scale out of range.
    """

    def __init__(self, env: RLDFEnv, seed: int = 0, prior: float = PRIOR, scale: float = SCALE):
        self.rng, self.env = np.random.default_rng([integer("seed", seed), 2]), env
        self.shape, self.scale = env.grammar.shape, real("scale", scale, 1e-12, 1e12)
        self.first = np.cumsum([0, *self.shape])  #: place of each axis's first word among the worths
        words = int(self.first[-1])
        self.precision = np.diag([1 / real("prior", prior, 1e-12, 1e12)] * words + [1e-6])  #: the last is the constant
        self.moment, self.rewards = np.zeros(words + 1), []
        self.paid: dict[int, float] = {}  #: visited state -> its last reward
        self.moving = False  #: whether a state paid two different rewards
        self.worth: np.ndarray | None = None  #: the draw of the posterior that the goal is best by
        self.goal: tuple[int, ...] | None = None
        self.apart = env.reading.apart(self.shape)

    def begin(self) -> None:
        """A new episode begins."""

    def fits(self, env: gym.Env) -> None:
        """Raises a ValueError if the environment has another grid."""
        if getattr(env.unwrapped, "grammar", None) is None or env.unwrapped.grammar.shape != self.shape:
            raise ValueError(f"a factored agent of a grid {self.shape} cannot walk {env}")

    def _columns(self, encodings: np.ndarray) -> np.ndarray:
        """Places of the words of encodings, (..., axes), among the worths."""
        return self.first[:-1] + encodings

    def update(self, state: int, action: int, reward: float, next_state: int, terminated: bool) -> None:
        """Learn from one transition."""
        known = self.paid.get(next_state)
        self.moving |= known is not None and known != reward
        if known is not None and not self.moving:
            return
        self.paid[next_state] = reward
        x = np.append(self._columns(np.array(self.env.grammar.encoding(next_state))), len(self.moment) - 1)
        self.precision[np.ix_(x, x)] += 1
        self.moment[x] += reward
        self.rewards.append(reward)
        self.worth = None

    def value(self, state: int) -> float:
        """Posterior mean of a state's reward."""
        worths = cho_solve((cholesky(self.precision, lower=True), True), self.moment)
        return float(worths[self._columns(np.array(self.env.grammar.encoding(state)))].sum() + worths[-1])

    def answer(self, again: Callable[[Sequence[int]], np.ndarray] | None = None) -> int:
        """What was found: of the visited states the best one by the model, the first of equals.

        The model knows nothing of what two words do together, and a single picture may be a lucky one; so, given further
        pictures, the two best states by the model and the one whose picture paid most are looked at again, and the answer
        is the one whose pictures pay most in the mean, the better one by the model of equals.

        Args:
            again: rewards of further pictures of states, (pictures, states); not asked where seeds move, since there the
                model has seen several pictures of a state.
        """
        ranked = sorted(self.paid, key=self.value, reverse=True)
        if again is None or self.moving:
            return ranked[0]
        states = list(dict.fromkeys([*ranked[:2], max(self.paid, key=self.paid.get)]))
        pictures = np.vstack([[self.paid[state] for state in states], again(states)])
        return states[int(pictures.mean(0).round(9).argmax())]

    def _draw(self) -> np.ndarray:
        """Worths drawn from the posterior, (words,)."""
        lower = cholesky(self.precision, lower=True)
        mean, paid = cho_solve((lower, True), self.moment), np.array(self.rewards)
        left = 0.5 * max(paid @ paid - mean @ self.moment, 0.0) + self.scale * (paid.var() or 1.0) if len(paid) else 1.0
        noise = np.sqrt(left / self.rng.gamma(1 + len(paid) / 2))
        return (mean + noise * solve_triangular(lower, self.rng.normal(size=len(mean)), lower=True, trans=1))[:-1]

    def _best(self) -> tuple[int, ...]:
        """The best state by the drawn worths that was not visited; where seeds move or all were, the best of all."""
        ranked = [np.argsort(-self.worth[a:b], kind="stable") for a, b in zip(self.first, self.first[1:], strict=False)]
        top = tuple(int(words[0]) for words in ranked)
        if self.moving or len(self.paid) >= self.env.grammar.size:
            return top
        worths = [self.worth[a + words] for a, words in zip(self.first, ranked, strict=False)]
        queue, queued = [(0.0, (0,) * len(ranked))], set()
        while True:  # states in the order of their worth: each has one that lost less before it
            lost, ranks = heappop(queue)
            state = tuple(int(words[r]) for words, r in zip(ranked, ranks, strict=True))
            if self.env.grammar.index(state) not in self.paid:
                return state
            for k, r in enumerate(ranks):
                after = (*ranks[:k], r + 1, *ranks[k + 1 :])
                if r + 1 < len(worths[k]) and after not in queued:
                    queued.add(after)
                    heappush(queue, (lost + worths[k][r] - worths[k][r + 1], after))

    def select_action(self, state: int) -> int:
        """The next step towards the goal."""
        here = self.env.grammar.encoding(state)
        if self.worth is None or here == self.goal:
            self.worth = self._draw()
            self.goal = self._best()
        options = np.stack(np.unravel_index(self.env.successors(state), self.shape), 1)
        away = sum(table[options[:, k], goal] for k, (table, goal) in enumerate(zip(self.apart, self.goal, strict=True)))
        seen = np.array([s in self.paid for s in self.env.successors(state)])
        value = self.worth[self._columns(options)].sum(1)
        return int(np.lexsort((-value, ~seen | self.moving, away))[0])


def spare(calls: int) -> int:
    """How many of a search's calls are to be left for `Factored.answer`: as many as it may need, of fewer than 32 none."""
    return 3 * AGAIN if calls >= 32 else 0


def make(name: str, env: RLDFEnv, epsilon: float = 0.1, seed: int = 0) -> Factored | Agent:
    """"Factored", or one of the paper's agents by its name, for an environment; epsilon is of the latter."""
    return Factored(env, seed) if name == "Factored" else agents.make(name, env, epsilon, seed=seed)
