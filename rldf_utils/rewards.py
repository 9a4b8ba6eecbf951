"""The three rewards (equations 2 to 6): diffusion feedback as plain functions.

`seen` and `target` are semantics, {axis: word}, of the generated image and of the input. The paper leaves C and C_s
open; both are 1 here. Elements of an image's objects are the words of `OBJECT_AXES`: what, how many, how many people.
"""

from collections.abc import Mapping

import numpy as np

C = 1.0  #: reward of one matching object element (equation 3)
C_S = 1.0  #: reward or penalty of the scene (equations 4 and 5)
OBJECT_AXES = ("Noun", "Frequency", "Density", "Verb")


def scene_indicator(seen: Mapping[str, str], target: Mapping[str, str], c_s: float = C_S) -> float:
    """Equation 4: +C_s if the scene matches, else -C_s. (The paper writes g for the scene; s is meant.)

    Raises:
        ValueError: the grammar has no axis Scene.
    """
    if "Scene" not in target:
        raise ValueError(f"rewards 1 and 2 need an axis named Scene; this grammar has {', '.join(target)}")
    return c_s if seen["Scene"] == target["Scene"] else -c_s


def object_indicator(seen: Mapping[str, str], target: Mapping[str, str], c: float = C) -> float:
    """Equation 3, summed over the object elements: C for each that matches. (Equation 2 writes one g and no sum.)"""
    return c * sum(seen[axis] == target[axis] for axis in OBJECT_AXES if axis in target)


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
