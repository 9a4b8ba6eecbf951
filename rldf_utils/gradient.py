"""The noisy diffusion gradient, nDg (section 3, Figure 11): gradient ascent on the lattice of encodings.

The paper says that nDg takes the gradient, delta f, of the feedback on the encodings, and gives no formula. Three that are
known are here. The iterate x is a point of R^p, one coordinate per axis, in words; r is the reward of a lattice point, as
the mean of `pictures` looks; e_k is one word along axis k:

- forward (p + 1 states):  g_k = r(z + e_k) - r(z),              z = x rounded
- central (2 p states):    g_k = (r(z + e_k) - r(z - e_k)) / 2
- spsa (2 states):         g_k = (r(c + D / 2) - r(c - D / 2)) / D_k,   c = floor(x) + 1/2, D_k = +1 or -1 at random

The last is the middle-point discrete SPSA of Wang and Spall (2011), "Discrete simultaneous perturbation stochastic
approximation on loss function with noisy measurements". Iteration i moves x by a_i g / s, where a_i = gain
((1 + delay) / (1 + delay + i)) ^ decay. Spall (1998) chooses the gain so that the first steps have a wanted length; to
that end s is the mean, over the estimates so far other than 0, of their largest component. So `gain` is the length of
the first step in words, whatever the scale of the reward. An estimate of 0 leaves x where it is: a plateau.
Every iteration first looks at the state nearest to x: it is what the walk shows, and may be the target.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import prod

import numpy as np
import pandas as pd

from rldf_utils.arguments import integer, real
from rldf_utils.looks import Enough, Looks
from rldf_utils.readings import DEFAULT, Reading
from rldf_utils.results import choose

At = Callable[[np.ndarray], float]  #: reward at a lattice point, integer (axes,); under border = wrap any integers


def _nearest(x: np.ndarray) -> np.ndarray:
    return np.floor(x + 0.5).astype(int)


def forward(at: At, x: np.ndarray, sizes: np.ndarray, wrap: bool, rng: np.random.Generator) -> np.ndarray:
    """Forward difference; at the last word, where there is no next, the backward one."""
    z, gradient = _nearest(x), np.zeros(len(x))
    here = at(z)
    for k, unit in enumerate(np.eye(len(x), dtype=int)):
        step = 1 if wrap or z[k] < sizes[k] - 1 else -1
        if sizes[k] > 1:
            gradient[k] = step * (at(z + step * unit) - here)
    return gradient


def central(at: At, x: np.ndarray, sizes: np.ndarray, wrap: bool, rng: np.random.Generator) -> np.ndarray:
    """Central difference; at the first and the last word the one-sided one."""
    z, gradient = _nearest(x), np.zeros(len(x))
    for k, unit in enumerate(np.eye(len(x), dtype=int)):
        down, up = int(wrap or z[k] > 0), int(wrap or z[k] < sizes[k] - 1)
        if sizes[k] > 1:
            gradient[k] = (at(z + up * unit) - at(z - down * unit)) / (up + down)
    return gradient


def spsa(at: At, x: np.ndarray, sizes: np.ndarray, wrap: bool, rng: np.random.Generator) -> np.ndarray:
    """Middle-point discrete SPSA: two opposite corners of the cell that x lies in; at the last word, of the cell before it."""
    sign, corner = 2 * rng.integers(2, size=len(x)) - 1, np.floor(x).astype(int)
    if not wrap:
        corner = np.clip(corner, 0, np.maximum(sizes - 2, 0))
    plus, minus = corner + (1 + sign) // 2, corner + (1 - sign) // 2
    if not wrap:
        plus, minus = np.minimum(plus, sizes - 1), np.minimum(minus, sizes - 1)  # an axis of one word has no cell
    return (at(plus) - at(minus)) * sign


ESTIMATORS = {"forward": forward, "central": central, "spsa": spsa}


def descend(look: Callable[[int], float], shape: Sequence[int], rng: np.random.Generator, *, estimator: str = "spsa",
            start: int | None = None, gain: float = 0.75, decay: float = 0.602, delay: float = 50.0, pictures: int = 1,
            iterations: int | None = None, patience: int = 50, reading: Reading = DEFAULT,
            path: list[int] | None = None) -> None:  # fmt: skip
    """Climb the reward (descend its cost) by one of the estimators; see the module's formulas.

    The default gain, decay and delay were chosen on 24 targets that no notebook reports, for SPSA under rewards 1 and 3.

    Args:
        look: `Looks`, or another function of the state number that returns its reward.
        shape: words per axis.
        rng: draws the start and the signs D.
        estimator: "forward", "central" or "spsa".
        start: state number; None draws one.
        gain, decay, delay: of the step's length; decay 0 keeps it.
        pictures: looks at a state whose mean is its reward.
        iterations: None goes on until the search is stuck or `look` raises `Enough`.
        patience: the search is stuck, and ends, after so many estimates of 0 in a row.
        reading: says the order of the words and what lies beyond the border.
        path: gets the state nearest to x, at the start and after each iteration, also when `look` raises.

    Raises:
        ValueError: an unknown estimator, or a number out of range.
        Enough: of `look`.
    """
    estimate, sizes = ESTIMATORS[choose("estimator", estimator, ESTIMATORS)], np.array([integer("words of an axis", n, 1) for n in shape])
    gain, decay, delay = real("gain", gain, 0, 1e6), real("decay", decay, 0, 1), real("delay", delay, 0, 1e6)
    pictures, patience = integer("pictures", pictures, 1), integer("patience", patience, 1)
    wrap, size, most = reading.border == "wrap", prod(shape), None if iterations is None else integer("iterations", iterations)
    place = reading.positions(shape)
    strides = [prod(shape[k + 1 :]) for k in range(len(shape))]
    numbers = [(stride * np.argsort(p)).tolist() for stride, p in zip(strides, place, strict=True)]  # of the words in their order
    start = int(rng.integers(size)) if start is None else integer("start", start, 0, size - 1)
    x = np.array([p[start // stride % n] for p, stride, n in zip(place, strides, shape, strict=True)], float)

    def state(z: np.ndarray) -> int:
        return sum(number[i % len(number)] for number, i in zip(numbers, z.tolist(), strict=True))

    def at(z: np.ndarray) -> float:
        number = state(z)
        return sum(look(number) for _ in range(pictures)) / pictures

    path = [] if path is None else path
    path.append(start)
    total, count, idle = 0.0, 0, 0
    for i in range(most) if most is not None else itertools.count():
        look(path[-1])
        gradient = estimate(at, x, sizes, wrap, rng)
        largest = float(np.abs(gradient).max())
        total, count, idle = total + largest, count + (largest > 0), 0 if largest else idle + 1
        if largest:
            x = x + gain * ((1 + delay) / (1 + delay + i)) ** decay * gradient * count / total
            x = x % sizes if wrap else np.clip(x, 0, sizes - 1)
        path.append(state(_nearest(x)))
        if idle == patience:
            return
    look(path[-1])


def run(looks: Looks, shape: Sequence[int], rng: np.random.Generator, **settings) -> np.ndarray:
    """The states nearest to the iterates of `descend`, (iterations + 1,), until it ended or `looks` had enough."""
    path: list[int] = []
    with suppress(Enough):
        descend(looks, shape, rng, path=path, **settings)
    return np.array(path)


def runs(landscapes: Mapping[str, np.ndarray], goals: Mapping[str, int], shape: Sequence[int], seeds: Sequence[int], calls: int,
         stop: bool = True, **settings) -> pd.DataFrame:  # fmt: skip
    """`run` from many random starts for every input.

    Args:
        landscapes: input -> rewards as `Looks` takes them; goals: input -> target, a state number.
        calls: most calls of a run.
        stop: whether the look at the target ends the run.

    Returns:
        One row per run: input, seed, calls (until the look at the target; infinite if there was none), path (of `run`),
        looked (the states of the calls in order), found (state of the highest reward).
    """
    rows = []
    for number, (name, values) in enumerate(landscapes.items()):
        for seed in seeds:
            looks = Looks(values, calls, stop=goals[name] if stop else None)
            path = run(looks, shape, np.random.default_rng([seed, number, 5]), **settings)
            needed = looks.states.index(goals[name]) + 1 if goals[name] in looks.states else np.inf
            found = int(looks.found()[-1])
            rows.append({"input": name, "seed": seed, "calls": needed, "path": path, "looked": looks.states, "found": found})
    return pd.DataFrame(rows)


def ending(path: np.ndarray, goal: int, last: int = 50) -> str:
    """How a run ended: "at the target"; "left it" (it was there before); "stuck", "in a loop" or "moving".

    Stuck: the `last` moves led nowhere. In a loop: they led to at most a tenth as many states.
    """
    if goal in path:
        return "at the target" if path[-1] == goal else "left it"
    visited = len(set(path[-last - 1 :].tolist()))
    return "moving" if len(path) <= last or visited > max(last // 10, 1) else "in a loop" if visited > 1 else "stuck"


def differences(values: np.ndarray, transitions: np.ndarray) -> dict[str, np.ndarray]:
    """What the estimators find at every state of one landscape or of many, (..., states), exactly.

    Args:
        transitions: of `env.transition_table` under a reading with actions = step.

    Returns:
        up, down: r(z + e_k) - r(z) and r(z) - r(z - e_k), 0 over the border; forward, central: the estimates; each
        (..., states, axes). spsa: (..., states, half of the signs D), the corners' difference for each D with D_1 = 1.
    """
    here, above, below = np.arange(len(transitions))[:, None], transitions[:, ::2], transitions[:, 1::2]
    up, down = values[..., above] - values[..., here], values[..., here] - values[..., below]
    edge = (above == here) | (below == here)
    corner = here[:, 0]
    for axis in range(above.shape[1]):  # from the last word to the cell before it
        corner = np.where(above[corner, axis] == corner, below[corner, axis], corner)
    opposite = []
    for sign in itertools.product((1, -1), repeat=above.shape[1] - 1):
        plus = minus = corner
        for axis, s in enumerate((1, *sign)):
            plus, minus = (above[plus, axis], minus) if s > 0 else (plus, above[minus, axis])
        opposite.append(values[..., plus] - values[..., minus])
    return {"up": up, "down": down, "forward": np.where(above == here, down, up), "central": (up + down) / np.where(edge, 1, 2),
            "spsa": np.stack(opposite, -1)}  # fmt: skip


def plateaus(values: np.ndarray, goals: Sequence[int], transitions: np.ndarray) -> pd.DataFrame:
    """Where landscapes, (landscapes, states), tell the estimators nothing, exactly.

    Args:
        goals: the target of each, a state number.

    Returns:
        One row per landscape. blind: share of (state, axis) along which neither neighbour pays differently; zero, by
        estimator: share of its differences that are 0; stuck, by estimator: share of the states other than the target
        where all of them are.
    """
    rows = []
    for landscape, goal in zip(values, goals, strict=True):
        zero = {name: found == 0 for name, found in differences(landscape, transitions).items()}
        away = np.arange(len(landscape)) != goal
        row = {"blind": (zero["up"] & zero["down"]).mean()}
        row |= {f"zero, {name}": zero[name].mean() for name in ESTIMATORS}
        rows.append(row | {f"stuck, {name}": zero[name].all(1)[away].mean() for name in ESTIMATORS})
    return pd.DataFrame(rows).astype(float)


def signal_and_noise(draws: np.ndarray, transitions: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a difference of one word says, and how much it varies with the seeds of the pictures, per group of states.

    Args:
        draws: rewards of at least two draws, (draws, states).
        groups: number of each state's group, from 0, (states,).

    Returns:
        signal, noise: root mean squares over the group's states and axes, borders aside, of the mean difference, less what
        the noise adds to it, and of the standard deviation over the draws; each (groups,), in units of the reward.

    Raises:
        ValueError: fewer than two draws.
    """
    if len(draws) < 2:
        raise ValueError("one draw of every state shows no noise; at least two are needed")
    up, inside = differences(draws, transitions)["up"], transitions[:, ::2] != np.arange(len(transitions))[:, None]
    variance = up.var(0, ddof=1)
    square = up.mean(0) ** 2 - variance / len(draws)
    number = np.maximum(np.bincount(groups, inside.sum(1)), 1)
    signal, noise = (np.bincount(groups, part.sum(1)) / number for part in (square, variance))  # a border's difference is 0
    return np.sqrt(np.maximum(signal, 0)), np.sqrt(noise)
