"""The three rewards (equations 2 to 6): diffusion feedback as plain functions; and a reward of one's own.

`seen` and `target` are semantics, {axis: word}, of the generated image and of the input. The paper leaves C and C_s
open; both are 1 here, unless a reading says otherwise. Elements of an image's objects are the words of `OBJECT_AXES`:
what, how many, how many people.
A vocabulary with other names works too: see `scene_axis` and `object_axes`.
"""

import runpy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np

from rldf_utils.readings import Reading

C = 1.0  #: reward of one matching object element (equation 3)
C_S = 1.0  #: reward or penalty of the scene (equations 4 and 5)
OBJECT_AXES = ("Noun", "Frequency", "Density", "Verb")


def scene_axis(axes: Iterable[str]) -> str:
    """The axis that is the scene: Scene; without it the last axis that is no object element, or just the last."""
    axes = list(axes)
    return "Scene" if "Scene" in axes else ([a for a in axes if a not in OBJECT_AXES] or axes)[-1]


def object_axes(axes: Iterable[str]) -> list[str]:
    """The object elements: those of `OBJECT_AXES` that there are; without any, all axes but the scene; or the only axis."""
    axes = list(axes)
    return [a for a in OBJECT_AXES if a in axes] or [a for a in axes if a != scene_axis(axes)] or axes


def scene_indicator(seen: Mapping[str, str], target: Mapping[str, str], c_s: float = C_S) -> float:
    """Equation 4: +C_s if the scene matches, else -C_s. (The paper writes g for the scene; s is meant.)"""
    axis = scene_axis(target)
    return c_s if seen[axis] == target[axis] else -c_s


def object_indicator(seen: Mapping[str, str], target: Mapping[str, str], c: float = C) -> float:
    """Equation 3, summed over the object elements: C for each that matches. (Equation 2 writes one g and no sum.)"""
    return c * sum(seen[axis] == target[axis] for axis in object_axes(target))


def multi_semantic(seen: Mapping[str, str], target: Mapping[str, str], c: float = C, c_s: float = C_S) -> float:
    """Reward 1, equation 2: objects and scene."""
    return object_indicator(seen, target, c) + scene_indicator(seen, target, c_s)


def partial_semantic(seen: Mapping[str, str], target: Mapping[str, str], c_s: float = C_S) -> float:
    """Reward 2, equation 5: the scene alone."""
    return scene_indicator(seen, target, c_s)


SEMANTIC = {1: multi_semantic, 2: partial_semantic}  #: number of a reward -> the function of semantics; reward 3 has none


def clip_similarity(x: np.ndarray, y: np.ndarray) -> float:
    """Reward 3, equation 6: cosine of two CLIP embeddings, each (d,).

    Raises:
        ValueError: shapes differ, or a vector of length zero.
    """
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"two vectors of one shape are needed, not {x.shape} and {y.shape}")
    norm = float(np.linalg.norm(x) * np.linalg.norm(y))
    if norm == 0:
        raise ValueError("a zero vector has no direction, so no cosine")
    return float(x @ y) / norm


def offset(number: int, axes: Iterable[str], reading: Reading) -> float:
    """What a reading adds to reward 1, 2 or 3: 0, or minus the largest value that the equation allows."""
    largest = {1: C * len(object_axes(axes)) + reading.c_s, 2: reading.c_s, 3: 1.0}[number]
    return -largest if reading.offset == "cost" else 0.0


def most(number: int, axes: Iterable[str], reading: Reading) -> float:
    """The largest value that reward 1, 2 or 3 can take under a reading."""
    return offset(number, axes, reading) - offset(number, axes, replace(reading, offset="cost"))


def semantic(number: int, axes: Iterable[str], reading: Reading) -> Callable[[Mapping[str, str], Mapping[str, str]], float]:
    """Reward 1 or 2 under a reading, a function of (seen, target)."""
    function, added = SEMANTIC[number], offset(number, axes, reading)
    return lambda seen, target: function(seen, target, c_s=reading.c_s) + added


def named(name: str) -> int | Callable[[Mapping[str, str], Mapping[str, str]], float]:
    """Reward 1, 2 or 3 by its number in text, or `own`."""
    return int(name) if name in {"1", "2", "3"} else own(name)


def own(name: str) -> Callable[[Mapping[str, str], Mapping[str, str]], float]:
    """A reward of one's own, a function of (seen, target), by its name: "my_rewards.py:warmth".

    Raises:
        ValueError: a name of another form, or a file without such a function; what the file itself raises.
    """
    path, colon, function = name.rpartition(":")
    if not (colon and path.endswith(".py")):
        raise ValueError(f"reward {name!r} is not known; choose 1, 2, 3, or a function of yours such as my_rewards.py:warmth")
    try:
        found = runpy.run_path(path).get(function)
    except FileNotFoundError:
        raise ValueError(f"reward {name!r}: there is no file {path}") from None
    if not callable(found):
        raise ValueError(f"reward {name!r}: {path} has no function {function}")
    return found
