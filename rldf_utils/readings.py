"""What the paper leaves open about its agents, as data: one field per question, with the levels that its words allow.

A `Reading` answers every question. Environment, agents, sweep and search take one; `DEFAULT` is what every notebook uses
unless its parameter READING says otherwise. Why it is the default: notebook 2. What the others would give: notebook 3.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import product

import numpy as np

from rldf_utils.arguments import integer, real
from rldf_utils.results import choose

#: field -> {level: what in the paper allows it}; a number's field takes any other value of its range as well
LEVELS = {
    "alpha": {0.1: "the update rule has a step size without a value", 0.5: "the same"},
    "gamma": {0.9: "the MDP is discounted by a gamma without a value", 0.5: "the same"},
    "initial": {
        "near zero": "line 3 initialises Q randomly; the common choice is small numbers around 0",
        "optimistic": "line 3 says neither where nor how wide: around the largest return, Rmax / (1 - gamma), is random too",
    },
    "offset": {
        "cost": "the loop runs until the state is terminal, so arriving is the purpose: the reward minus its maximum is a cost a step",
        "printed": "equations 2, 5 and 6 as they stand, which pay at every step on the way",
    },
    "c_s": {1.0: "C and C_s have no values: object and scene weigh the same", 3.0: "or the scene weighs as much as the three elements"},
    "end": {
        "stop": "the inner loop ends at the terminal state",
        "go on": "the abstract and Figure 10 let the search continue past the goal",
    },
    "bonus": {0.0: "no equation pays for arriving", 10.0: "an agent is said to find the terminal state, so finding it may pay"},
    "border": {"stay": "a step over the edge leaves the state, as in the cited gridworld", "wrap": "or comes in opposite"},
    "actions": {"step": "an action moves along one axis of the grid", "set": "or sets one element of the encoding to a word"},
    "start": {"random": "an episode starts at a random encoding (section 3)", "first": "or always at one, the first word of every axis"},
    "episode": {100: "100 steps per run, one episode", 25: "or several episodes: line 5 loops over them, no number is given"},
    "order": {"listed": "words are label-encoded in the grammar's order", "shuffled": "no order of the words is given"},
}
RANGES = {"alpha": (0, 1), "gamma": (0, 0.999), "c_s": (1e-6, 1e6), "bonus": (-1e6, 1e6)}  #: of the fields that are real numbers


@dataclass(frozen=True)
class Reading:
    """One answer to every question that the paper leaves open about its agents; see `LEVELS`.

    Raises:
        ValueError: an unknown level, a number out of range, or levels that contradict each other: an action that sets a
            word meets no border.
    """

    alpha: float = 0.1  #: step size
    gamma: float = 0.9  #: discount
    initial: str = "near zero"  #: initial Q
    offset: str = "cost"  #: what is added to a reward
    c_s: float = 1.0  #: C_s of equations 4 and 5, in units of C
    end: str = "stop"  #: what happens at the target
    bonus: float = 0.0  #: reward added at the target
    border: str = "stay"
    actions: str = "step"
    start: str = "random"
    episode: int = 100  #: most steps an episode
    order: str = "listed"  #: of the words on an axis

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in RANGES:
                real(field.name, value, *RANGES[field.name])
            elif field.name == "episode":
                integer("episode", value, least=1)
            else:
                choose(field.name, value, LEVELS[field.name])
        if self.actions == "set" and self.border == "wrap":
            raise ValueError("the levels actions = set and border = wrap contradict each other: an action that sets a word meets no border")

    def __str__(self) -> str:
        """What differs from the default, in the form that `parse` reads."""
        return ", ".join(f"{f.name}={getattr(self, f.name)}" for f in fields(self) if getattr(self, f.name) != f.default)

    def positions(self, shape: Sequence[int]) -> list[np.ndarray]:
        """Where on its axis each word lies: a permutation per axis, the same for the same number of words."""
        rng = np.random.default_rng(15)
        return [np.arange(n) if self.order == "listed" else rng.permutation(n) for n in shape]

    def apart(self, shape: Sequence[int]) -> list[np.ndarray]:
        """Per axis, the least number of actions from each word to each, int (words, words)."""
        gaps = [np.abs(p[:, None] - p) for p in self.positions(shape)]
        if self.actions == "set":
            return [np.minimum(gap, 1) for gap in gaps]
        return [np.minimum(gap, n - gap) if self.border == "wrap" else gap for gap, n in zip(gaps, shape, strict=True)]


DEFAULT = Reading()
PRINTED = Reading(offset="printed")  #: the equations as they stand


def parse(text: str) -> Reading:
    """The default with changes, written as "offset=printed, gamma=0.5"; "" is the default.

    Raises:
        ValueError: what is not field=level, a field that there is not or that comes twice, and as `Reading`.
    """
    changes = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, level = (piece.strip() for piece in part.partition("="))
        if not equals or name in changes:
            wrong = "given twice" if equals else "not field=level"
            raise ValueError(f"READING: {part!r} is {wrong}; write fields and levels such as offset=printed, gamma=0.5")
        kind = type(getattr(DEFAULT, choose("field of a reading", name, LEVELS)))
        try:
            changes[name] = kind(level)
        except ValueError:
            raise ValueError(f"{name} = {level!r} is not legal; choose {'an integer' if kind is int else 'a number'}") from None
    return replace(DEFAULT, **changes)


def departures() -> list[Reading]:
    """The default, and every reading that differs from it in one field."""
    changes = [{name: level} for name, levels in LEVELS.items() for level in levels if level != getattr(DEFAULT, name)]
    return [DEFAULT, *(replace(DEFAULT, **change) for change in changes)]


def multiverse(count: int) -> list[Reading]:
    """`departures`, filled up to `count` readings by random ones out of all combinations of levels, the same ones each time.

    Left out are contradictions, and optimism where the largest reward is 0: it is what near zero is.

    Raises:
        ValueError: fewer than `departures` has, or more readings than there are.
    """
    found = departures()
    combinations = [dict(zip(LEVELS, levels, strict=True)) for levels in product(*LEVELS.values())]
    legal = [c for c in combinations if (c["actions"], c["border"]) != ("set", "wrap")
             and (c["initial"], c["offset"], c["bonus"]) != ("optimistic", "cost", 0.0)]  # fmt: skip
    others = [reading for reading in (Reading(**c) for c in legal) if reading not in found]
    integer("number of readings", count, len(found), len(found) + len(others))
    return found + random.Random(0).sample(others, count - len(found))
