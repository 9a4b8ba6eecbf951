"""Stand-ins for the data and the feature network of SCALE=paper: the files' names, folders and oddities of the real ones, small."""

import hashlib
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import torch
from PIL import Image

from rldf_utils import clone, folders, generate, imagenet, plan

ROOT = Path(__file__).resolve().parent.parent
OTHERS = [f"n9{i:07d}" for i in range(100)]  #: class ids that are none of the hundred


def put(path: Path, key: str, rng: np.random.Generator, grey: bool = False) -> None:
    """A JPEG of coloured noise, 40 to 90 px; the colour is its key's, so that a classifier can learn it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = (int(v) for v in rng.integers(40, 90, 2))
    tint = np.random.default_rng(list(key.encode())).integers(0, 256, 3)
    coarse = Image.fromarray((rng.integers(0, 256, (5, 5, 3)) * 0.3 + tint * 0.7).astype(np.uint8))
    image = coarse.resize((width, height), Image.Resampling.BICUBIC)
    (image.convert("L").convert("RGB") if grey else image).save(path, "JPEG", quality=92)


def imagenets(raw: Path, train: int = 6, val: int = 6, others: int = 2) -> Path:
    """The five sets as they unpack, README.txt and what systems leave included; imagenet100 holds `others` classes more than its list."""
    rng, hundred = np.random.default_rng(0), list(imagenet.classes("paper")["class_id"])
    for split, n in (("train", train), ("val", val)):
        for class_id in hundred + OTHERS[:others]:
            for i in range(n):
                put(raw / "imagenet100" / split / class_id / f"ILSVRC2012_{split}_{i:08d}.JPEG", class_id, rng)
    for class_id in hundred + OTHERS[:others]:
        for i in range(4):
            put(raw / "imagenet-sketch" / class_id / f"sketch_{i}.JPEG", class_id, rng, grey=True)
    for name, pattern in (("imagenet-r", "art_{}.jpg"), ("imagenet-a", "0.00{}_stuff _ thing_0.5.jpg"), ("imagenet-o", "n0_{}.jpg")):
        for class_id in hundred[:10] + OTHERS:
            put(raw / name / class_id / pattern.format(0), class_id, rng)
        (raw / name / "README.txt").write_text("The test set of ...\n")
        (raw / name / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    return raw


class Layers(torch.nn.Module):
    def __init__(self, features: int):
        super().__init__()
        self.a, self.b = torch.nn.Conv2d(3, 8, 11, 8), torch.nn.Linear(8, features)

    def forward(self, x):
        return torch.relu(self.b(torch.relu(self.a(x)).mean((2, 3)))).unsqueeze(-1).unsqueeze(-1)


class Inception(torch.nn.Module):
    """Of the interface of inception-2015-12-05.pt: (x, return_features=True) to (n, features)."""

    def __init__(self, features: int):
        super().__init__()
        self.layers = Layers(features)

    def forward(self, x, return_features: bool = False):
        return self.layers((x.float() - 128) / 128).flatten(1)


def inception(path: Path, features: int = 2048) -> str:
    """A random one, written to a file; its sha256."""
    torch.manual_seed(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.jit.script(Inception(features).eval()).save(str(path))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def clones(folder: Path, classes: pd.DataFrame, counts: dict[str, int], size: int = 32) -> Path:
    """What notebook 6 leaves at paper scale, of pictures that cost nothing: a context clone, sampled sentences, plain names.

    Of the context clone one training picture per class is black, and flagged.
    """
    full, model = plan.vocabulary("paper", imagenet.classes("paper")["noun"]), generate.Null(size, 8)
    for number, name in enumerate(("context", "sampled", "plain")):
        table = classes.assign(noun=classes["noun"].str.split("/").str[0])
        rows = clone.plan(table, full, counts, model.recipe, number, draw=plan.sentences)
        made = clone.clone(rows, folder / name, progress=None)
        if name == "context":
            black = made["path"].str.contains("train/.*_000001.png")
            made["flagged"] = np.where(black, "blackened by the model's safety checker", "")
            for path in made["path"][black]:
                Image.new("RGB", (size, size)).save(folder / name / path)
            folders.save(made, folder / name)
        clone.record(made, folder / f"manifest_{name}.parquet")
    return folder


def executed(name: str, **parameters) -> dict:
    """The names of a notebook after all its cells ran, in this process."""
    space = {"__name__": "__main__"}
    for number, cell in enumerate(nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4).cells):
        if cell.cell_type == "code":
            exec(compile(cell.source, f"{name}[{number}]", "exec"), space)
        if "parameters" in cell.metadata.get("tags", []):
            space.update(parameters)
    return space
