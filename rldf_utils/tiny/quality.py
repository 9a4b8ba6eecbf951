"""What the tiny models are worth: tests on sentences and seeds that no training used, and the bars (notebook A1)."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from rldf_utils.generate import TextToImage
from rldf_utils.tiny import world
from rldf_utils.tiny.judge import Judge
from rldf_utils.tiny.networks import RECIPES, Recipe
from rldf_utils.tiny.sampling import FULL, HELD_OUT, prompt, sample_semantics, unseen
from rldf_utils.tiny.train import diffusion_batch

EYES = {"Noun": 0.99, "Scene": 0.99, "Frequency": 0.95, "Density": 0.93}
DRAWN = {"Noun": 0.90, "Scene": 0.97, **dict.fromkeys(("Frequency", "Density", "Verb", "Weather", "Time", "Style"), 0.80)}
BARS = {
    ("judge", "fresh renders"): dict.fromkeys(FULL.axes, 0.90) | EYES,
    ("tiny-clip", "fresh renders, zero-shot"): {"Noun": 0.95, "Scene": 0.97, "Frequency": 0.80, "Density": 0.80},
    ("tiny-captioner", "fresh renders"): {"Noun": 0.90},
    ("tiny-sd-v1", "100 nouns in random contexts"): DRAWN,
    ("tiny-sd-v2", "100 nouns in random contexts"): {"Noun": 0.85},
}  #: (model, test) -> axis -> least share that makes the model good enough to believe in
NEAR = 0.05
PEERS = {
    ("tiny-sd-v2", "100 nouns in random contexts"): (("tiny-sd-v1", "100 nouns in random contexts"), set(DRAWN) - {"Noun"}),
    **{(name, "unseen pairs"): ((name, "seen pairs"), {"Noun"}) for name in RECIPES},
}  #: (model, test) -> another one that it may lie `NEAR` below, in these axes


def contexts(rng: np.random.Generator, each: int) -> list[dict[str, str]]:
    """Every noun of the full grammar in `each` random contexts of all axes: what the models are measured on."""
    return [sample_semantics(rng, mix=(0, 0, 0)) | {"Noun": noun} for noun in FULL.axes["Noun"] for _ in range(each)]


def pairs(rng: np.random.Generator, count: int, held_out: bool) -> list[dict[str, str]]:
    """Plain sentences whose (noun, scene) pairs are all `unseen`, or all seen."""
    out: list[dict[str, str]] = []
    while len(out) < count:
        semantics = sample_semantics(rng, mix=(0, 0, 1))
        if unseen(semantics) == held_out:
            out.append(semantics)
    return out


def draw(model: TextToImage, wanted: Sequence[Mapping[str, str]], progress: str | None) -> np.ndarray:
    """One picture of each semantics, uint8 (n, 64, 64, 3), by the full grammar's sentence; the seed is its number, held out."""
    parts = []
    for start in tqdm(range(0, len(wanted), model.batch), desc=progress, unit="batch", mininterval=10, disable=progress is None):
        part = wanted[start : start + model.batch]
        parts.append(model([prompt(w) for w in part], [HELD_OUT + start + i for i in range(len(part))]))
    return np.concatenate(parts)


def named(caption: str) -> str:
    """The longest of the hundred nouns that a caption holds, in either form; '' if none."""
    held = [form for word in FULL.words["Noun"] for form in word.split("/") if re.search(rf"\b{re.escape(form)}\b", caption)]
    longest = max(held, key=len, default="")
    return next((word.split("/")[0] for word in FULL.words["Noun"] if longest in word.split("/")), "")


def against_bars(measured: pd.DataFrame) -> pd.DataFrame:
    """The rows of `judge.table` (with columns model and on) with their `bar`, and whether the share has `met` it."""
    shares = {(row.model, row.on, row.axis): row.share for row in measured.itertuples()}

    def bar(model: str, on: str, axis: str) -> float:
        peer, axes = PEERS.get((model, on), (("", ""), ()))
        if axis in axes:
            return shares.get((*peer, axis), np.nan) - NEAR
        return BARS.get((model, on), {}).get(axis, np.nan)

    bars = [bar(row.model, row.on, row.axis) for row in measured.itertuples()]
    met = [None if np.isnan(bar) else share >= bar for bar, share in zip(bars, measured["share"], strict=True)]
    return measured.assign(bar=bars, met=met)


def nearest(pictures: np.ndarray, recipe: Recipe, judge: Judge, batches: int) -> dict[str, dict[str, np.ndarray]]:
    """Distance of each picture to the nearest training picture, and to the nearest of as many that no training saw.

    Args:
        pictures: uint8 (n, 64, 64, 3).
        recipe: the model's; the training pictures are those of its last `batches` steps.

    Returns:
        {"pixels" or "features": {"training" or "held out": (n,)}}, Euclidean; features: the judge's, before its heads.
    """
    spaces = {"pixels": lambda x: x.reshape(len(x), -1), "features": judge.features}
    ours = {space: torch.from_numpy(embed(pictures)).double() for space, embed in spaces.items()}
    distances = {space: {} for space in spaces}
    for name in ("training", "held out"):
        found = {space: np.full(len(pictures), np.inf) for space in spaces}
        for k in range(max(0, recipe.steps - batches), recipe.steps):
            _, images, semantics = diffusion_batch(recipe, k)
            if name == "training":
                images = images.add(1).mul(127.5).round().byte().permute(0, 2, 3, 1).numpy()
            else:
                images = np.stack([world.render(s, HELD_OUT + len(semantics) * k + i) for i, s in enumerate(semantics)])
            for space, embed in spaces.items():
                gaps = torch.cdist(ours[space], torch.from_numpy(embed(images)).double())  # in single precision a copy is not at 0
                found[space] = np.minimum(found[space], gaps.min(1).values.numpy())
        for space in spaces:
            distances[space][name] = found[space]
    return distances
