"""One task of a clone: its images are read, or made and written, and their sha256 is taken."""

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from rldf_utils import shards
from rldf_utils.cache import TextToImage, finished, png
from rldf_utils.generate import from_recipe
from rldf_utils.results import write

RECIPE = ["model", "revision", "negative", "settings"]  #: the columns that `generate.from_recipe` takes
END = b"IEND\xaeB`\x82"  #: how a whole PNG file ends


def sha(data: bytes) -> str:
    """sha256 of a file's content."""
    return hashlib.sha256(data).hexdigest()


def pngs(rows: Sequence[Mapping], model: TextToImage, then: Callable = lambda i, data: data) -> Iterator[tuple]:
    """`then` of (number, PNG file) of every row, and why it is flagged."""

    def finish(i: int, pixels: np.ndarray, why: str) -> tuple:
        return then(i, png(pixels, prompt=rows[i]["prompt"], flagged=why)), why

    return finished(model, [row["prompt"] for row in rows], [row["seed"] for row in rows], finish)


def make(task: tuple[Path, pd.DataFrame, Mapping[str, int], str]) -> list[tuple[str, str, str]]:
    """Make what is missing of some rows (a whole tar file, or single images); of each its sha256, why it is flagged, what made it."""
    folder, frame, numbered, model = task
    rows = frame.to_dict("records")
    recipe = model, *(rows[0][column] for column in RECIPE[1:])
    found = _shard(folder, rows, recipe, numbered) if rows[0]["shard"] else _files(folder, rows, recipe)
    for row, (digest, *_) in zip(rows, found, strict=True):
        compare(row, digest)
    return found


def flag(data: bytes) -> str:
    """Why a PNG file is flagged."""
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            return image.info.get("flagged", "")
    except OSError:  # the manifest's sha256 says what it is worth
        return ""


def compare(row: Mapping, digest: str) -> None:
    """Raise ValueError if the manifest says another sha256."""
    if row["sha256"] not in ("", digest):
        raise ValueError(f"{row['path']} came out with other bytes than its manifest says: other versions, or another kind of machine")


def _files(folder: Path, rows: list[dict], recipe: Sequence[str]) -> list[tuple[str, str, str]]:
    found = {}
    for row in rows:
        path = folder / row["path"]
        data = path.read_bytes() if path.exists() else b""
        if data.endswith(END) and row["sha256"] in ("", sha(data)):
            found[row["path"]] = sha(data), flag(data), ""
    if missing := [row for row in rows if row["path"] not in found]:
        model = from_recipe(*recipe)

        def save(i: int, data: bytes) -> str:
            write(folder / missing[i]["path"], data)
            return sha(data)

        for row, (digest, why) in zip(missing, pngs(missing, model, save), strict=True):
            found[row["path"]] = digest, why, getattr(model, "made", "")
    return [found[row["path"]] for row in rows]


def _shard(folder: Path, rows: list[dict], recipe: Sequence[str], numbered: Mapping[str, int]) -> list[tuple[str, str, str]]:
    path = folder / rows[0]["shard"]
    there = shards.found(path, rows, numbered)
    if list(there) == [row["path"] for row in rows] and all(
        digest and row["sha256"] in ("", digest) for row, digest in zip(rows, there.values(), strict=True)
    ):
        with tarfile.open(path) as tar:
            return [(digest, flag(tar.extractfile(name).read()), "") for name, digest in there.items()]
    model = from_recipe(*recipe)
    images, flags = zip(*pngs(rows, model), strict=True)
    data, digests = shards.pack(rows, images, numbered)
    write(path, data)
    return [(digest, why, getattr(model, "made", "")) for digest, why in zip(digests, flags, strict=True)]
