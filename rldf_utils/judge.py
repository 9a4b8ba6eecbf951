"""The judge: a half-width ResNet-18 trained on renders alone, which says what a picture shows.

It never saw a generated image and no search method may ask it, so its verdict is about something nobody optimised.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import load_file
from scipy.stats import binomtest

from rldf_utils.results import MODELS


def network(heads: dict[str, Sequence[str]]) -> torch.nn.Module:
    """An untrained judge: images (n, 3, 64, 64) in [-1, 1] to logits (n, total words), the heads side by side."""
    return timm.create_model("resnet18", channels=(32, 64, 128, 256), stem_width=32, num_classes=sum(map(len, heads.values())))


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


def accuracy(judged: Sequence[dict[str, str]], truth: Sequence[dict[str, str]]) -> dict[str, float]:
    """Share of pictures in which each of the judge's axes agrees with the truth, 0 to 1."""
    return {axis: float(np.mean([j[axis] == t[axis] for j, t in zip(judged, truth, strict=True)])) for axis in judged[0]}


def wilson(successes: int, n: int) -> tuple[float, float]:
    """95 % interval of a share by Wilson's score method, which is sound near 0 and 1 too."""
    interval = binomtest(successes, n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)
