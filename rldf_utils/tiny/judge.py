"""The judge: a half-width ResNet-18 trained on renders alone, which says what a picture shows.

It never saw a generated image and no search method may ask it, so its verdict is about something nobody optimised.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import timm
import torch
from safetensors.torch import load_file

from rldf_utils.results import MODELS
from rldf_utils.stats import wilson
from rldf_utils.tiny import world


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
    def __call__(self, images: np.ndarray) -> list[dict[str, str]]:
        """Images, uint8 (n, 64, 64, 3), to the likeliest word of each head."""
        logits = []
        for start in range(0, len(images), 64):
            x = torch.from_numpy(np.asarray(images[start : start + 64])).permute(0, 3, 1, 2).float().div(127.5).sub(1)
            logits.append(self.model(x))
        parts = torch.cat(logits).split([len(words) for words in self.heads.values()], dim=1)
        choices = [part.argmax(1).tolist() for part in parts]
        return [{axis: self.heads[axis][i] for axis, i in zip(self.heads, row, strict=True)} for row in zip(*choices, strict=True)]

    @torch.inference_mode()
    def features(self, images: np.ndarray) -> np.ndarray:
        """What the heads see of images, uint8 (n, 64, 64, 3): float32 (n, 192)."""
        x = torch.from_numpy(np.asarray(images)).permute(0, 3, 1, 2).float().div(127.5).sub(1)
        return torch.cat([self.model.forward_head(self.model.forward_features(part), pre_logits=True) for part in x.split(64)]).numpy()


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
