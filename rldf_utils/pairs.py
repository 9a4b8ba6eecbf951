"""Two kinds of objects in one picture, "two dogs and one football": drawn by the world, and counted by its known sprites.

The grammar is data/grammar/pairs.cfg: axes Frequency and Noun, Others and Other, Scene.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from rldf_utils.tiny import counting, world  # known sprites stand in for a detector, paintings for photographs

SIZE = 16  #: edge of an object, pixels
NUMBERS = ("no", "one", "two", "three")


def render(semantics: Mapping[str, str], seed: int) -> np.ndarray:
    """A picture of both kinds, uint8 (64, 64, 3): the first in the left half, the other one in the right.

    Args:
        semantics: a word on each axis of the grammar; the same noun twice makes one kind of both numbers together.
        seed: chooses places and the painting of the scene.
    """
    rng = np.random.default_rng(seed)
    canvas = world.background(semantics["Scene"], int(rng.integers(world.VARIANTS))).astype(np.uint16)
    for left, number, noun in ((0, "Frequency", "Noun"), (32, "Others", "Other")):
        for slot in rng.permutation(4)[: world.COUNTS[semantics[number]][0]]:
            sprite = world.sprite(world.nouns()[semantics[noun]][0], SIZE)
            world.paste(canvas, sprite, left + SIZE * int(slot % 2), 32 + SIZE * int(slot // 2))
    return canvas.astype(np.uint8)


def count(pictures: Sequence[np.ndarray], semantics: Sequence[Mapping[str, str]]) -> np.ndarray:
    """How many objects of either kind are in each picture, int (n, 2), told what to look for (see `counting`).

    Where a sprite of each kind explains the same place, the likelier one counts.
    """
    rows = []
    for picture, words in zip(pictures, semantics, strict=True):
        kinds = [[one for one in counting.find(picture, {"Noun": words[noun]}) if one.kind == "object"] for noun in ("Noun", "Other")]
        rows.append([sum(all(one.likeness > two.likeness or not _over(one, two) for two in other) for one in mine)
                     for mine, other in (kinds, kinds[::-1])])  # fmt: skip
    return np.array(rows).reshape(-1, 2)


def exact(found: np.ndarray, semantics: Sequence[Mapping[str, str]]) -> np.ndarray:
    """Which numbers, (n, 2) of `count`, are those that the sentences say: bool (n, 2)."""
    return found == [[NUMBERS.index(words[axis]) for axis in ("Frequency", "Others")] for words in semantics]


def table(counts: Mapping[str, np.ndarray], semantics: Sequence[Mapping[str, str]]) -> pd.DataFrame:
    """One row per set of pictures of these sentences: shares in which the first, the second, both numbers are exact, both kinds seen."""
    rows = {}
    for name, found in counts.items():
        right = exact(found, semantics)
        rows[name] = {"first exact": right[:, 0].mean(), "second exact": right[:, 1].mean(), "both exact": right.all(1).mean(),
                      "both kinds seen": (found > 0).all(1).mean(), "n": len(found)}  # fmt: skip
    return pd.DataFrame(rows).T


def _over(one: counting.Found, two: counting.Found) -> bool:
    return max(one.x, two.x) < min(one.x + one.size, two.x + two.size) and max(one.y, two.y) < min(one.y + one.size, two.y + two.size)
