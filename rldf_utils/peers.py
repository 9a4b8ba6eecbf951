"""Search methods side by side at equal cost: what RLDF's agents have to be better than.

A method is a function of `look`, which maps a state number to its picture's reward, of the grid's shape and a random
generator; it looks until it is done, or `Enough` is raised. `METHODS` has them all with their settings; `race` runs one.
"""

import inspect
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from math import prod

import numpy as np
import optuna

from rldf_utils import agents, factored, gradient, sweep
from rldf_utils import grammar as grammars
from rldf_utils.env import RLDFEnv, transition_table
from rldf_utils.looks import Enough, Looks
from rldf_utils.readings import DEFAULT, PRINTED, Reading
from rldf_utils.results import choose

optuna.logging.set_verbosity(optuna.logging.WARNING)
Shape = tuple[int, ...]
PROPOSALS = 20_000  #: most looks of a race, repeats included

grid, transitions = lru_cache(grammars.grid), lru_cache(transition_table)  # of a shape, kept for the next race


def encoder_only(look: Looks, shape: Shape, rng: np.random.Generator, target: int) -> None:
    """Algorithm 1, line 2, and one look to see what it says."""
    look(target)


def exhaustive(look: Looks, shape: Shape, rng: np.random.Generator) -> None:
    """Every state in its order, and again."""
    while True:
        for state in range(prod(shape)):
            look(state)


def without_replacement(look: Looks, shape: Shape, rng: np.random.Generator) -> None:
    """Every state in random order, and again: found within k of n calls with probability k / n."""
    while True:
        for state in rng.permutation(prod(shape)):
            look(state)


def random_walk(look: Looks, shape: Shape, rng: np.random.Generator) -> None:
    """Steps of one word along a random axis, whatever they bring."""
    moves = transitions(shape)
    state = rng.integers(len(moves))
    while True:
        look(state)
        state = moves[state, rng.integers(moves.shape[1])]


def one_axis(look: Looks, shape: Shape, rng: np.random.Generator) -> None:
    """Coordinate search: tries all words of an axis, keeps the best, goes to the next; begins anew where no axis helps."""
    while True:
        words = rng.integers(shape)
        best, still, axis = look(np.ravel_multi_index(words, shape)), 0, -1
        while still < len(shape):
            axis, still = (axis + 1) % len(shape), still + 1
            for word in [w for w in range(shape[axis]) if w != words[axis]]:
                other = np.where(np.arange(len(shape)) == axis, word, words)
                reward = look(np.ravel_multi_index(other, shape))
                if reward > best:
                    best, words, still = reward, other, 1


def hill_climb(look: Looks, shape: Shape, rng: np.random.Generator, steepest: bool = False) -> None:
    """Goes to a neighbour (one word along one axis) that is better, the first or the best; begins anew where none is."""
    moves = transitions(shape)
    while True:
        state = rng.integers(len(moves))
        best, here = look(state), None
        while here != state:
            here = state
            for neighbour in rng.permutation(moves[here]):
                reward = look(neighbour)
                if reward > best:
                    best, state = reward, neighbour
                    if not steepest:
                        break


SAMPLERS = {"TPE": optuna.samplers.TPESampler, "GA": optuna.samplers.NSGAIISampler}


def optuna_search(look: Looks, shape: Shape, rng: np.random.Generator, sampler: str, **settings) -> None:
    """A sampler of Optuna, serial and seeded; an axis is an integer, so that its neighbours count as near.

    Samplers repeat themselves on finite grids; `Looks` then answers from memory, which is no call.
    """
    study = optuna.create_study(direction="maximize", sampler=SAMPLERS[sampler](seed=int(rng.integers(2**31)), **settings))
    while True:
        trial = study.ask()
        words = [trial.suggest_int(str(axis), 0, size - 1) for axis, size in enumerate(shape)]
        study.tell(trial, look(np.ravel_multi_index(words, shape)))


@lru_cache
def one_hot(shape: Shape) -> np.ndarray:
    """A constant and the indicators of all words of all axes, float64 (states, 1 + words)."""
    words = np.indices(shape).reshape(len(shape), -1)
    return np.column_stack([np.ones(prod(shape)), *(row[:, None] == np.arange(n) for row, n in zip(words, shape, strict=True))])


def posterior(gram: np.ndarray, moment: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the weights w of y = x w + N(0, noise^2), a priori N(0, 1); gram: x'x, moment: x'y."""
    covariance = np.linalg.inv(gram / noise**2 + np.eye(len(gram)))
    return covariance @ moment / noise**2, covariance


def additive(look: Looks, shape: Shape, rng: np.random.Generator, noise: float, width: float | None = None) -> None:
    """A linear bandit: the reward as a sum over the axes, by Bayesian regression on what was seen, standardised.

    It looks where weights drawn from the posterior say that the reward is highest (Thompson, 1933); or, given a `width`,
    where mean plus `width` standard deviations is (LinUCB; Li et al., 2010). Never at a picture that it has seen.
    """
    x, left = one_hot(shape), np.full(prod(shape), look.draws)
    gram, moment, rewards = np.zeros((x.shape[1],) * 2), np.zeros(x.shape[1]), []
    while left.any():
        spread = np.std(rewards) if len(set(rewards)) > 1 else 1.0
        mean, covariance = posterior(gram, (moment - gram[0] * np.mean(rewards or 0)) / spread, noise)
        if width is None:
            scores = x @ (mean + np.linalg.cholesky(covariance) @ rng.normal(size=len(mean)))
        else:
            scores = x @ mean + width * np.sqrt(((x @ covariance) * x).sum(1)) + 1e-9 * rng.random(len(x))
        state = np.where(left > 0, scores, -np.inf).argmax()
        rewards.append(look(state))
        left[state] -= 1
        gram += np.outer(x[state], x[state])
        moment += x[state] * rewards[-1]


@lru_cache
def answers(shape: Shape, weights: tuple[int, ...], error: float) -> tuple[np.ndarray, np.ndarray]:
    """How likely a picture misses the target by so much: (costs, probability (matches, costs)).

    A cost is the sum of the weights of the axes on which the picture is not seen as the target: minus reward 1 under the
    default reading. matches: which axes of the picture's sentence are the target's, as bits. An axis is misread with
    probability `error`, and then alike likely as any other word.
    """
    patterns, total = np.indices((2,) * len(shape)).reshape(len(shape), -1).T, int(sum(weights))
    chances = np.zeros((len(patterns), total + 1))
    for row, pattern in enumerate(patterns):
        right = np.where(pattern, 1 - error, error / (np.array(shape) - 1))  # of each axis to be seen as the target's
        for seen in patterns:
            chances[row, int((1 - seen) @ np.array(weights))] += np.where(seen, right, 1 - right).prod()
    return np.arange(total + 1), chances


def consistent(look: Looks, shape: Shape, rng: np.random.Generator, weights: tuple[int, ...], error: float, top: float = 0.0) -> None:
    """Mastermind: looks at a state that may be the target by all answers so far, the likeliest one, ties at random.

    For reward 1 alone: its answer says how many axes are right, as black pegs do. Guessing any consistent code is near
    the optimum (Knuth, 1977; Jaeger and Peczarski, 2011). Misread pictures make an answer likely, not sure: see `answers`.

    Args:
        weights: of the axes in the reward; `top`: the reward where all match.
    """
    words, (costs, chances) = np.indices(shape).reshape(len(shape), -1), answers(shape, weights, error)
    bits, left, belief = 2 ** np.arange(len(shape))[::-1], np.full(words.shape[1], look.draws), np.zeros(words.shape[1])
    while left.any():
        open_ = np.flatnonzero(left)
        best = open_[belief[open_] >= belief[open_].max() - 1e-9]
        state = best[rng.integers(len(best))]
        reward = look(state)
        left[state] -= 1
        matches = bits @ (words == words[:, [state]])
        belief = belief + np.log(chances[matches, np.abs(costs + reward - top).argmin()] + 1e-12)


class _Looked(RLDFEnv):
    """The grid of a shape, whose rewards are looks."""

    def __init__(self, look: Looks, shape: Shape, target: int, reading: Reading):
        super().__init__(grid(shape), grid(shape).encoding(target), np.zeros(prod(shape)), reading=reading)
        self.reward = lambda state, draw=0: look(state)

    def _info(self) -> dict:
        return {}


def walk(look: Looks, shape: Shape, rng: np.random.Generator, target: int, agent: str, reading: Reading = DEFAULT, **settings) -> None:
    """An agent in the loop of `agents.run`. Its episodes end at the target, which tells it more than other methods know.

    Args:
        agent: a name that `factored.make` knows; `settings` are its.
    """
    seed = int(rng.integers(2**31))
    env = _Looked(look, shape, target, reading)
    learner = factored.make(agent, env, seed=seed, **settings)
    try:
        agents.run(env, learner, PROPOSALS, seed)
    finally:
        if agent == "Factored" and learner.paid:  # the stop signal may come before the first reward
            look.answer = learner.answer(look.again)


METHODS: dict[str, tuple[Callable, dict]] = {
    "encoder only": (encoder_only, {}),
    "factored agent": (walk, {"agent": "Factored"}),
    "consistent": (consistent, {"weights": (1, 1, 1, 2), "error": 0.05}),
    "Thompson, additive": (additive, {"noise": 0.1}),
    "UCB, additive": (additive, {"noise": 0.3, "width": 1.0}),
    "one axis at a time": (one_axis, {}),
    "noisy gradient": (gradient.descend, {}),
    "TPE": (optuna_search, {"sampler": "TPE"}),
    "GA": (optuna_search, {"sampler": "GA", "population_size": 5}),
    "hill-climb": (hill_climb, {"steepest": False}),
    "Q": (walk, {"agent": "Q"}),
    "SARSA": (walk, {"agent": "SARSA"}),
    "Q, printed": (walk, {"agent": "Q", "reading": PRINTED}),
    "SARSA, printed": (walk, {"agent": "SARSA", "reading": PRINTED}),
    "random walk": (random_walk, {}),
    "random draw": (without_replacement, {}),
    "exhaustive": (exhaustive, {}),
}  #: name -> (method, its settings)


def race(method: str, values: np.ndarray | Callable[[int, int], float], shape: Shape, calls: int, seed: int, target: int,
         stop: int | Sequence | None = None, draws: int = 1, spare: np.ndarray | None = None, **settings) -> Looks:  # fmt: skip
    """One run of a method: what it looked at.

    Args:
        values, calls, stop, draws, spare: of `Looks`.
        target: the input's encoding as a state, told only to a method that has a parameter of that name.
        settings: in place of those of `METHODS`.

    Raises:
        ValueError: an unknown method; one that looks outside the grid, or whose settings are illegal.
    """
    function, defaults = METHODS[choose("method", method, METHODS)]
    look = Looks(values, calls, PROPOSALS, stop, prod(shape), draws, spare)
    told = {"target": target} if "target" in inspect.signature(function).parameters else {}
    try:
        with suppress(Enough):
            function(look, shape, np.random.default_rng(seed), **told, **(defaults | settings))
    except ValueError as error:
        raise ValueError(f"the method {method!r} failed: {error}") from error
    return look


def walks(values: np.ndarray, shape: Shape, target: int, seeds: Sequence[int], calls: int, stop: int | Sequence | None = None,
          agent: str = "Q", epsilon: float = 0.1, reading: Reading = DEFAULT) -> list[Looks]:  # fmt: skip
    """What `race` gives for the paper's agents and fixed seeds, by the compiled loop; values: (states,)."""
    env = RLDFEnv(grid(shape), grid(shape).encoding(target), values, reading=reading)
    own = [int(np.random.default_rng(seed).integers(2**31)) for seed in seeds]  # as in `walk`
    states, _ = sweep.runs(env, {"agent": agent, "epsilon": epsilon}, own, PROPOSALS)
    found = []
    for row in states:
        first = np.sort(np.unique(row, return_index=True)[1])
        look = Looks(values, calls, PROPOSALS, stop)
        with suppress(Enough):
            for state in row[first].tolist():
                look(state)
        look.proposals = int(first[len(look.states) - 1]) + 1
        found.append(look)
    return found
