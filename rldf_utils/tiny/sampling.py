"""What the tiny models are trained on: words drawn in shares, their sentences and their renders."""

from collections.abc import Mapping

import numpy as np
import torch

from rldf_utils import grammar
from rldf_utils.tiny import world

HELD_OUT = 2**31  #: seeds below it are for training, seeds from it on for evaluation and inputs
MIX = (0.05, 0.15, 0.4)  #: cumulative shares of the base world, the 9x world and all nouns in plain contexts; the rest has all axes
SHARES = {
    "Frequency": {"one": 0.4, "two": 0.3, "three": 0.15, "many": 0.15},
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


def prompt(semantics: dict[str, str]) -> str:
    """The full grammar's sentence."""
    return FULL.surface(FULL.encode(semantics))


def batch(rng: np.random.Generator, size: int, **options) -> tuple[torch.Tensor, list[dict[str, str]]]:
    """Renders, float (size, 3, 64, 64) in [-1, 1], and their semantics."""
    semantics = [sample_semantics(rng, **options) for _ in range(size)]
    images = np.stack([world.render(s, int(rng.integers(HELD_OUT))) for s in semantics])
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div(127.5).sub(1), semantics
