"""What a tiny model cost and is worth, beside its weights: training.json and the model card."""

import json
import os
import platform
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import torch


def record(folder: Path, losses: list[float], batch_size: int, seconds: float) -> dict:
    """Write folder/training.json: what the training cost, and its loss as a hundred means. Returns it."""
    width = max(1, len(losses) // 100)
    curve = np.array(losses[: len(losses) // width * width]).reshape(-1, width).mean(1)
    machine = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    what = {
        "steps": len(losses), "images": len(losses) * batch_size, "hours": round(seconds / 3600, 3),
        "date": f"{datetime.now(UTC):%Y-%m-%d}", "hardware": f"{platform.machine()}, {os.cpu_count()} cores, {machine}",
        "loss": [round(float(v), 5) for v in curve],
    }  # fmt: skip
    (folder / "training.json").write_text(json.dumps(what) + "\n")
    return what


def cost(folder: Path) -> dict:
    """What `record` wrote of a model."""
    return json.loads((folder / "training.json").read_text())


def write_card(folder: Path, what: str, measured: pd.DataFrame, more: Mapping[str, str] | None = None, picture: Path | None = None) -> None:
    """Write a model folder's README.md: data, recipe, cost, measured figures, licence.

    Args:
        folder: holds training.json, see `record`.
        what: one sentence on the model.
        measured: rows of `judge.table` with a column `on`.
        more: further rows.
        picture: a contact sheet to be copied beside it.
    """
    spent = cost(folder)
    rows = {
        "data": "renders of the OpenMoji world (`rldf_utils.tiny.world`), seeds below 2^31, made on the spot",
        "recipe": f"`rldf_utils.tiny.train`, notebook A1; {spent['steps']:,} steps from nothing, {spent['images']:,} images seen",
        "hardware": spent["hardware"],
        "time": f"{spent['hours']} h",
        "date": spent["date"],
        "weights": "safetensors, fp16 (a text encoder of diffusers: fp32)",
        "licence": "CC BY-SA 4.0, as OpenMoji (openmoji.org), from whose glyphs the renders are made",
        **(more or {}),
    }
    lines = [f"# {folder.name}", "", what, "", "| | |", "|---|---|", *[f"| {name} | {value} |" for name, value in rows.items()], ""]
    lines += ["Measured on the shipped files, with seeds that no training used; 95 % intervals by Wilson's method.", ""]
    lines += ["| on | axis | right | n | interval |", "|---|---|---|---|---|"]
    lines += [f"| {r.on} | {r.axis} | {r.share:.1%} | {r.n} | {r.low:.1%} to {r.high:.1%} |" for r in measured.itertuples() if r.n] + [""]
    if picture:
        shutil.copyfile(picture, folder / "contact_sheet.png")
        lines += [
            "![contact sheet](contact_sheet.png)",
            "",
            "Green frame: the judge sees all that the prompt, over the picture, asks for; else brackets say what it sees instead.",
            "",
        ]
    (folder / "README.md").write_text("\n".join(lines))
