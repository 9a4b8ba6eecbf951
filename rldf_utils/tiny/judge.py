"""The judge: a half-width ResNet-18 trained on renders alone, which says what a picture shows.

It never saw a generated image and no search method may ask it, so its verdict is about something nobody optimised.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import timm
import torch
from safetensors.torch import load_file

from rldf_utils.results import MODELS
from rldf_utils.stats import wilson
from rldf_utils.tiny import world
from rldf_utils.tiny.sampling import FULL, scaled

NUMBERS = {"Frequency": tuple("0123456789"), "Density": tuple("0123456")}  #: the axes that are counted: numbers of objects and people
HEADS = FULL.axes | NUMBERS  #: axis -> its words


def word(axis: str, count: int) -> str:
    """What a number of objects (Frequency) or people (Density) is called: many from five objects, or four people, on."""
    if count >= {"Frequency": 5, "Density": 4}[axis]:
        return "many"
    return ("no", "one", "two", "three", "four")[count]


def labels(semantics: Mapping[str, str], objects: int, people: int) -> list[int]:
    """The right choice of each head for a picture of so many objects and people; -100 where the axis does not show."""
    counts = {"Frequency": objects, "Density": people}
    shown = world.visible({**semantics, "Density": "one" if people else "no"}) - (set() if objects else {"Noun", "Colour"})
    return [counts.get(axis, -100) if axis in counts else words.index(semantics[axis]) if axis in shown else -100
            for axis, words in HEADS.items()]  # fmt: skip


def network(heads: dict[str, Sequence[str]]) -> torch.nn.Module:
    """An untrained judge: images (n, 3, 64, 64) in [-1, 1] to logits (n, total words), the heads side by side."""
    return timm.create_model("resnet18", channels=(24, 48, 96, 192), stem_width=24, num_classes=sum(map(len, heads.values())))


class Judge:
    """The shipped judge; `heads` maps each axis to its words.

    Args:
        folder: holds config.json (the heads) and model.safetensors.
    """

    def __init__(self, folder: Path = MODELS / "judge"):
        self.heads: dict[str, list[str]] = json.loads((folder / "config.json").read_text())["heads"]
        self.model = network(self.heads)
        self.model.load_state_dict({k: v.float() for k, v in load_file(folder / "model.safetensors").items()})
        self.model.eval()

    @torch.inference_mode()
    def choices(self, images: np.ndarray) -> dict[str, list[int]]:
        """Images, uint8 (n, 64, 64, 3), to the number of each head's likeliest word; `Frequency`, `Density`: how many are there."""
        logits = torch.cat([self.model(scaled(part)) for part in torch.from_numpy(np.asarray(images)).split(64)])
        parts = logits.split([len(words) for words in self.heads.values()], dim=1)
        return {axis: part.argmax(1).tolist() for axis, part in zip(self.heads, parts, strict=True)}

    def __call__(self, images: np.ndarray) -> list[dict[str, str]]:
        """Images, uint8 (n, 64, 64, 3), to the likeliest word of each axis."""
        words = {axis: [word(axis, i) if axis in NUMBERS else self.heads[axis][i] for i in found]
                 for axis, found in self.choices(images).items()}  # fmt: skip
        return [dict(zip(words, row, strict=True)) for row in zip(*words.values(), strict=True)]

    @torch.inference_mode()
    def features(self, images: np.ndarray, pooled: bool = True) -> np.ndarray:
        """What the heads see of images, uint8 (n, 64, 64, 3): float32 (n, 192); not pooled, where it is seen, too: (n, 768)."""
        maps = (self.model.forward_features(part) for part in scaled(torch.from_numpy(np.asarray(images))).split(64))
        return torch.cat([self.model.forward_head(x, pre_logits=True) if pooled else x.flatten(1) for x in maps]).numpy()


def accuracy(judged: Sequence[dict[str, str]], truth: Sequence[dict[str, str]]) -> dict[str, tuple[int, int]]:
    """How often each of the judge's axes agrees with the truth: (right, of how many pictures in which the axis shows)."""
    counts = {axis: (0, 0) for axis in judged[0]}
    for seen, wanted in zip(judged, truth, strict=True):
        for axis in world.visible(wanted) & set(wanted) & set(seen):
            right, n = counts[axis]
            counts[axis] = right + (seen[axis] == wanted[axis]), n + 1
    return counts


def table(counts: dict[str, tuple[int, int]], **columns) -> pd.DataFrame:
    """One row an axis: `columns`, then axis, right, n, share, and its 95 % interval (low, high). `counts`: of `accuracy`."""
    rows = []
    for axis, (right, n) in counts.items():
        low, high = wilson(right, n) if n else (np.nan, np.nan)
        rows.append({**columns, "axis": axis, "right": right, "n": n, "share": right / n if n else np.nan, "low": low, "high": high})
    return pd.DataFrame(rows)
