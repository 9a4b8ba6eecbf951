"""Notebooks that draw, at SCALE=paper and offline, on stand-ins of its models: nothing is edited, settings make them small."""

import json
import os
from pathlib import Path

import numpy as np
import papermill
import pytest
import standins_models as standins
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def paper(tmp_path_factory):
    """A function: the metrics and the printed text of a notebook that ran at paper scale."""
    folder = tmp_path_factory.mktemp("paper")
    settings = {"RESULTS": folder / "results", "CACHE": folder / "cache", "DEVICE": "cpu", "STEPS": 1, "SIZE": 64, "SHARE": 0.002}
    settings |= {"MODEL": standins.stable_diffusion(folder / "sd"), "VAE": standins.vae(folder / "vae")}
    settings |= {"CLIP": standins.clip(folder / "clip")}
    rng = np.random.default_rng(0)
    for place in (folder / "own" / "cats", folder / "own" / "dogs"):
        place.mkdir(parents=True)
        for i in range(4):
            Image.fromarray(rng.integers(0, 256, (60, 80, 3), np.uint8)).save(place / f"{i}.jpg")

    def run(name: str, **parameters) -> tuple[dict, str]:
        parameters = {key: str(folder / "own") if value == "own" else value for key, value in parameters.items()} | {"SCALE": "paper"}
        paths = str(ROOT / "notebooks" / f"{name}.ipynb"), str(folder / f"{name}.ipynb")
        executed = papermill.execute_notebook(*paths, parameters, kernel_name="python3", progress_bar=False, start_timeout=600)
        said = "".join(o.get("text", "") for cell in executed.cells if cell.cell_type == "code" for o in cell.outputs)
        (metrics,) = (folder / "results" / "paper" / name).rglob("metrics.json")
        return json.loads(metrics.read_text()), said

    with pytest.MonkeyPatch.context() as patch:
        for key, value in settings.items():
            patch.setenv(f"RLDF_{key}", str(value))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        yield run


@pytest.mark.parametrize(("name", "parameters"), [
    ("02_environment_design", {"GRAMMAR": "smoke"}), ("04_image_search", {"GRAMMAR": "smoke", "STEPS": 30}),
    ("06_imagenet100_cloning", {"MODEL": "null", "INPUT": "own"})])  # fmt: skip
def test_a_notebook_that_draws_runs_at_paper_scale(name, parameters, paper):
    record, said = paper(name, **parameters)
    assert "device: cpu" in said and record["parameters"]["SCALE"] == "paper"
    if parameters.get("MODEL") != "null":
        assert record["notes"]["drawn with"].endswith("cpu, float32") and "'checker': True" in said
