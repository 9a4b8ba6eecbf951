"""Notebooks at SCALE=paper and offline, on stand-ins of its models: nothing is edited, settings make them small.

Notebooks 7 and 8 are in test_paper_data.py. A1 is of the small world at every scale: it trains its models.
"""

import json
from pathlib import Path

import numpy as np
import papermill
import pytest
import standins
import standins_models as models
from PIL import Image

from rldf_utils import cache, detect, fid, imagenet, results, trainings

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def paper(tmp_path_factory):
    """A machine for paper scale, small; notebook 2 has run there."""
    folder = tmp_path_factory.mktemp("paper")
    settings = {"RESULTS": folder / "results", "CACHE": folder / "cache", "DEVICE": "cpu", "STEPS": 1, "SIZE": 64, "SHARE": 0.002}
    settings |= {"MODEL": models.stable_diffusion(folder / "sd"), "VAE": models.vae(folder / "vae"), "EFFORT": "smoke"}
    settings |= {"CLIP": models.clip(folder / "clip"), "CAPTIONER": models.blip_2(folder / "blip"), "DETECTOR": models.owl(folder / "owl")}
    settings |= {"INCEPTION": folder / "inception-2015-12-05.pt"}
    for place in (folder / "own" / "cats", folder / "own" / "dogs"):
        place.mkdir(parents=True)
        for i in range(4):
            pixels = np.random.default_rng(i).integers(0, 256, (60, 80, 3), np.uint8)
            Image.fromarray(pixels).save(place / f"{i}.jpg")
    with pytest.MonkeyPatch.context() as patch:
        for key, value in settings.items():
            patch.setenv(f"RLDF_{key}", str(value))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setattr(fid, "INCEPTION", standins.inception(settings["INCEPTION"]))
        patch.setattr(results, "RESULTS", folder / "results")
        patch.setattr(results, "_noted", {})
        patch.setattr(cache.Cache.__init__, "__defaults__", (folder / "cache",))
        for module in (fid, imagenet, trainings):
            patch.setattr(module, "CACHE", folder / "cache")
        results.device.cache_clear()
        standins.executed("02_environment_design", SCALE="paper", GRAMMAR="smoke")
        yield folder
        results.device.cache_clear()


def record(folder: Path, name: str) -> dict:
    (path,) = (folder / "results" / "paper" / name).rglob("metrics.json")
    return json.loads(path.read_text())


def test_notebook_2_looks_for_photographs(paper):
    found = record(paper, "02_environment_design")
    assert found["notes"]["drawn with"].endswith("cpu, float32") and found["parameters"]["SCALE"] == "paper"
    with np.load(paper / "results" / "paper" / "02_environment_design" / "landscape.npz") as file:
        assert file["inputs"].tolist() == ["chelsea", "coffee", "camera", "rocket", "astronaut"]


def printed(name: str, folder: Path, **parameters) -> str:
    """What a notebook prints at paper scale, in a process of its own."""
    paths = str(ROOT / "notebooks" / f"{name}.ipynb"), str(folder / "executed.ipynb")
    settings = {"kernel_name": "python3", "progress_bar": False, "start_timeout": 600}
    executed = papermill.execute_notebook(*paths, {"SCALE": "paper"} | parameters, **settings)
    return "".join(o.get("text", "") for cell in executed.cells if cell.cell_type == "code" for o in cell.outputs)


def test_notebook_6_clones_pictures_of_one_s_own_without_imagenet(paper):
    said = printed("06_imagenet100_cloning", paper, MODEL="null", INPUT=str(paper / "own"))
    found = record(paper, "06_imagenet100_cloning")
    assert "device: cpu" in said and found["metrics"]["classes_found"] == [0, 0]
    assert "not testable here" in found["metrics"]["verdicts"]["three pictures tell what a class shows"]


def test_notebook_6_clones_imagenet_as_it_unpacks_with_a_stable_diffusion(paper, monkeypatch):
    standins.imagenets(paper / "data" / "raw", train=4, val=3)
    (paper / "data" / "imagenet").symlink_to(results.DATA / "imagenet")
    monkeypatch.setattr(imagenet, "DATA", paper / "data")
    cells = standins.executed("06_imagenet100_cloning", SCALE="paper", CLASSES=2)
    made, seen = cells["finished"]["context"], cells["seen"]
    assert set(cells["finders"]["n"]) == {300} and cells["metrics"]["classes_found"][1] == 100, "three pictures of each of the hundred"
    assert set(cells["finished"]) == {"context", "sampled", "plain"} and made["class_id"].nunique() == 2
    assert made["made"].str.endswith("cpu, float32").all() and cells["again"] is True
    assert set(seen) == {"real", "context", "sampled", "plain"} and len(seen["real"]) == len(seen["context"]) == 6
    assert len(cells["rows"]) == 2 and cells["figure"] is not None


def test_notebook_4_searches_with_a_detector_beside_clip(paper):
    cells = standins.executed("04_image_search", SCALE="paper", GRAMMAR="smoke", STEPS=5)
    words, feedback = cells["grammar"], cells["feedback"]
    assert record(paper, "04_image_search")["notes"]["detector"] == feedback.detector.fingerprint
    (boxed,) = detect.read(feedback.detector, [cells["image"]], words)
    assert words.decode(feedback.target) | {axis: word for axis, word in boxed.items() if word} == words.decode(feedback.target)


def test_a4_judges_pictures_of_photographs_by_what_is_boxed_in_both(paper, monkeypatch):
    cells = standins.executed("A4_captions_and_encodings", SCALE="paper", DRAWS=2)
    (boxed,), shares = cells["wanted"].values(), cells["kept"]["base", "caption"]
    assert len(boxed) == 5 and all(row["Density"] for row in boxed) and "Scene" not in set().union(*boxed)
    first = [row["Density"] == boxed[0]["Density"] for row in cells["eyes"](cells["pictures"]["base", "caption"][0])]
    assert shares[0, list(cells["captions"].FULL.axes).index("Density")] == np.mean(first)
    assert set(cells["claims"]["world"]) == {"base"} and set(cells["words"].index.get_level_values("prompt")) == {"caption", "encoding"}
    monkeypatch.setenv("RLDF_DETECTOR", "none")
    cells = standins.executed("A4_captions_and_encodings", SCALE="paper", DRAWS=2)
    assert set(cells["claims"]["verdict"]) == {cells["captions"].NOT_HERE} and len(cells["words"]) == 0


@pytest.mark.parametrize(("name", "parameters"), [
    ("01_grammar_encoding", {"GRAMMAR": "smoke"}), ("03_agent_training_sweeps", {"STEPS": 20}),
    ("04_image_search", {"GRAMMAR": "smoke"}), ("05_noisy_diffusion_gradient", {}), ("09_control", {}),
    ("A2_agent_claims", {"STEPS": 20}), ("A3_search_at_equal_cost", {"BUDGET": 8}),
    ("A5_ablation_and_memorisation", {})])  # fmt: skip
def test_a_notebook_runs_at_paper_scale(name, parameters, paper):
    standins.executed(name, SCALE="paper", **parameters)
    assert record(paper, name)["parameters"]["SCALE"] == "paper"


def test_notebook_10_writes_its_page_beside_these_results(paper):
    """In a process of its own: the ledger's folder is a default, bound when it is imported."""
    assert "index.html" in printed("10_claims_ledger", paper)
    assert record(paper, "10_claims_ledger")["parameters"]["SCALE"] == "paper"
    assert (paper / "results" / "paper" / "index.html").exists()
