"""What the tiny models are trained on: words drawn in shares, their sentences and their renders."""

from collections.abc import Mapping

import numpy as np
import torch

from rldf_utils import grammar
from rldf_utils.tiny import world

HELD_OUT = 2**31  #: seeds below it are for training, seeds from it on for evaluation and inputs
MIX = (0.05, 0.15, 0.4)  #: cumulative shares of the base world, the 9x world and all nouns in plain contexts; the rest has all axes
SHARES = {
    "Frequency": {"one": 0.3, "two": 0.25, "three": 0.25, "many": 0.2},
    "Style": {"a photo of": 0.2, "a flat icon of": 0.25, "an oil painting of": 0.08, "a pixel art picture of": 0.12,
              "a line drawing of": 0.2, "a silhouette of": 0.15},
}  #: in a diffusion model's training; large things, faint lines and masses of one colour take more learning  # fmt: skip
BASE, LARGE, FULL = grammar.load("base"), grammar.load("large"), grammar.load("full")
PLAIN = FULL.decode((0,) * len(FULL.axes))


def unseen(semantics: dict[str, str]) -> bool:
    """Whether a (noun, scene) pair is kept from the diffusion models' training: one in ten, spread evenly over both."""
    nouns, scenes = FULL.axes["Noun"], FULL.axes["Scene"]
    return (nouns.index(semantics["Noun"]) + 3 * scenes.index(semantics["Scene"])) % 10 == 0


def sample_semantics(rng: np.random.Generator, mix: tuple[float, float, float] = MIX, seen_only: bool = False,
                     shares: Mapping[str, Mapping[str, float]] = {}, vary: float = 0.5) -> dict[str, str]:  # fmt: skip
    """Words for one training picture: base world, 9x world, all nouns, or all nouns with inference axes.

    Args:
        mix: the cumulative shares of the first three; the fourth has the rest.
        seen_only: no `unseen` pair.
        shares: axis -> word -> share, where words are not to be equally likely; an inference axis in the fourth only.
        vary: how likely each other inference axis of the fourth is drawn anew, not plain.
    """
    kind = int(np.searchsorted(mix, rng.random(), side="right"))
    core = (BASE, LARGE, FULL, FULL)[kind]
    semantics = dict(PLAIN)
    while True:
        for axis in BASE.axes:
            semantics[axis] = core.axes[axis][rng.integers(len(core.axes[axis]))]
        if not (seen_only and unseen(semantics)):
            break
    if kind == 3:
        for axis in FULL.axes:
            if axis not in BASE.axes and rng.random() < vary:
                semantics[axis] = FULL.axes[axis][rng.integers(len(FULL.axes[axis]))]
    for axis, words in shares.items():
        if axis in BASE.axes or kind == 3:
            semantics[axis] = str(rng.choice(list(words), p=list(words.values())))
    return semantics


def families(rng: np.random.Generator, count: int, size: int, nouns: bool = False) -> list[dict[str, str]]:
    """Semantics in `count` families of `size`: a random one and neighbours that differ from it in one or two axes.

    Such near misses in a batch are what makes a contrastive model look at every axis. `nouns`: more of the hundred, and
    in every other family the neighbours differ in the noun alone.
    """
    out = []
    for number in range(count):
        first = sample_semantics(rng, mix=(0.05, 0.15, 0.7) if nouns else (0.35, 0.65, 0.9))
        core = next(g for g in (BASE, LARGE, FULL) if all(first[a] in g.axes[a] for a in BASE.axes))
        open_axes = [a for a in FULL.axes if a in BASE.axes or first[a] != PLAIN[a]]
        out.append(first)
        for _ in range(size - 1):
            other = dict(first)
            for axis in ["Noun"] if nouns and number % 2 else rng.choice(open_axes, rng.integers(1, 3), replace=False):
                words = (core if axis in BASE.axes else FULL).axes[axis]
                other[axis] = words[rng.integers(len(words))]
            out.append(other)
    return out


def crowd(rng: np.random.Generator, objects: int, people: int) -> world.Layout:
    """A layout of so many objects and people, at places and sizes that say as little as can be about their number.

    Up to seven stand on the lattice, 16, 24 or 32 pixels large (people: 16 or 24), all alike or mixed, smaller where there is
    no room, nothing over anything else; in half of the layouts objects keep to the lower half and people to the upper. More,
    sixteen at most, take slots of 16 x 16.
    """
    if objects + people > 7:
        boxes = [(16 * int(s % 4), 16 * int(s // 4), 16) for s in rng.permutation(16)[: objects + people]]
        return boxes[:objects], boxes[objects:]
    while True:
        taken, anywhere, layout = np.zeros((8, 8), bool), rng.random() < 0.5, ([], [])
        for boxes, count, largest, top in ((layout[0], objects, 4, 4), (layout[1], people, 3, 0)):
            cells = rng.integers(2, largest + 1, count if rng.random() < 0.5 else 1)
            for size in -np.sort(-np.broadcast_to(cells, count)):
                for edge in range(size, 1, -1):
                    rows = range(9 - edge) if anywhere else range(top, top + 5 - edge)
                    free = [(x, y) for y in rows for x in range(9 - edge) if not taken[y : y + edge, x : x + edge].any()]
                    if free:
                        x, y = free[rng.integers(len(free))]
                        taken[y : y + edge, x : x + edge] = True
                        boxes.append((world.LATTICE * x, world.LATTICE * y, world.LATTICE * edge))
                        break
        if (len(layout[0]), len(layout[1])) == (objects, people):
            return layout


def loosened(rng: np.random.Generator, semantics: Mapping[str, str]) -> world.Layout:
    """A `crowd` of as many objects and people as the words say; many are 5 to 7 objects, 4 to 6 people."""
    most = {"Frequency": (5, 7), "Density": (4, 6)}
    ranges = [most[axis] if semantics[axis] == "many" else world.COUNTS[semantics[axis]] for axis in most]
    return crowd(rng, *(int(rng.integers(low, high + 1)) for low, high in ranges))


def prompt(semantics: dict[str, str]) -> str:
    """The full grammar's sentence."""
    return FULL.surface(FULL.encode(semantics))


def sampled(rng: np.random.Generator, size: int, **options) -> tuple[list[dict[str, str]], list[int]]:
    """The semantics and the seeds of training pictures; `options`: of `sample_semantics`."""
    semantics = [sample_semantics(rng, **options) for _ in range(size)]
    return semantics, [int(rng.integers(HELD_OUT)) for _ in semantics]


def renders(rng: np.random.Generator, size: int, **options) -> tuple[torch.Tensor, list[dict[str, str]]]:
    """Pictures, uint8 (size, 64, 64, 3), and their semantics, which are `sampled`."""
    semantics, seeds = sampled(rng, size, **options)
    return torch.from_numpy(np.stack([world.render(*one) for one in zip(semantics, seeds, strict=True)])), semantics


def scaled(images: torch.Tensor) -> torch.Tensor:
    """Pictures, uint8 (n, 64, 64, 3), as float (n, 3, 64, 64) in [-1, 1]."""
    return images.permute(0, 3, 1, 2).float().div(127.5).sub(1)
