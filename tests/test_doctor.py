"""The doctor says before days of work what would stop them, in seconds and with the network off."""

import shutil
import socket
import time
from collections import namedtuple

import pandas as pd
import pytest
import standins_models as standins
from PIL import Image

from rldf_utils import doctor, results

HUNDRED = pd.read_csv(results.DATA / "imagenet" / "imagenet100.csv", keep_default_na=False)["class_id"].tolist()


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No network, an empty hub cache, results and caches of nobody, no device remembered."""

    def closed(*_, **__):
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", closed)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("RESULTS", "CACHE"):
        monkeypatch.setattr(results, name, tmp_path / name.lower() / "x")
    results.device.cache_clear()
    yield
    results.device.cache_clear()


def sets(raw, classes=HUNDRED):
    """The class folders of all sets, with one empty picture each: nothing decodes them."""
    for name, number in doctor.FOLDERS.items():
        for class_id in [*classes, *(f"n9{i:07d}" for i in range(number - len(classes)))]:
            (raw / name / class_id).mkdir(parents=True)
            (raw / name / class_id / "a.JPEG").touch()


@pytest.fixture
def ready(monkeypatch, tmp_path):
    """A machine on which nothing is amiss, but that its device is a CPU and its pictures are noise."""
    data = tmp_path / "data"
    (data / "imagenet").mkdir(parents=True)
    shutil.copy(results.DATA / "imagenet" / "imagenet100.csv", data / "imagenet")
    sets(data / "raw")
    monkeypatch.setattr(results, "DATA", data)
    for name in ("vae", "clip", "captioner", "detector"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").touch()
        monkeypatch.setenv(f"RLDF_{name.upper()}", str(tmp_path / name))
    for name, value in {"DEVICE": "cpu", "MODEL": "null", "SIZE": "8"}.items():
        monkeypatch.setenv(f"RLDF_{name}", value)
    space = namedtuple("space", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: space(10**13))
    monkeypatch.setattr(doctor, "memory", lambda: 64.0)
    return data


def test_a_machine_that_has_all_is_told_so_with_hours_and_the_bill(ready, capsys):
    begun = time.monotonic()
    assert doctor.main("paper", price=2) == 0
    assert time.monotonic() - begun < 30
    said = capsys.readouterr().out
    assert "nothing would stop a notebook" in said and "STOP" not in said
    assert f"{doctor.clones('paper') + 100}" in said and "as timed here" in said and " at 2 an hour" in said
    assert "CreativeML OpenRAIL-M" in said


def test_hours_follow_from_the_pace_and_what_is_done_is_left_out(ready, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "pace", lambda scale: 10.0)
    results.write(results.RESULTS / "paper" / "07_resnet18_classification" / "run.json", '{"seconds": 7200}')
    doctor.main("paper")
    table = capsys.readouterr().out
    pictures = sum(n for n, *_ in doctor.NEEDS.values()) + doctor.clones("paper")
    hours = pictures / 10 / 3600 + sum(h for _, h, *_ in doctor.NEEDS.values())
    assert f"in all {hours:,.0f} GPU-hours" in table and "yes, 2.0 h" in table
    assert "the paper's 1,664,000 images: 46 h on 1, 9 h on 5, 1 h on 64 GPUs, 915 GB; a worker that is lost costs at most 26 s" in table
    drawn, further, *_ = doctor.NEEDS["07_resnet18_classification"]
    assert f"not yet done: {hours - drawn / 10 / 3600 - further:,.0f}" in table


def test_it_knows_every_notebook():
    assert set(doctor.NEEDS) == {path.stem for path in (results.ROOT / "notebooks").glob("*.ipynb")} - {"A1_train_tiny_models"}


def test_the_paper_s_counts_of_a_clone():
    assert doctor.clones("paper") == 3 * 166_400, "the clone over context axes, sampled sentences, plain names"


def test_what_is_missing_stops_it_and_is_named(capsys, monkeypatch, tmp_path):
    (tmp_path / "data").mkdir()
    shutil.copytree(results.DATA / "imagenet", tmp_path / "data" / "imagenet")
    monkeypatch.setattr(results, "DATA", tmp_path / "data")
    if results.device("tiny") != "cpu":
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert doctor.main("paper") == 1
    said = capsys.readouterr().out
    for words in ("SCALE=paper needs a GPU, and torch sees none", "RLDF_DEVICE=cpu",
                  "hf download CompVis/stable-diffusion-v1-4 --revision 133a221b", "RLDF_VAE=FOLDER", "RLDF_CLIP=FOLDER",
                  "RLDF_CAPTIONER=FOLDER", "RLDF_DETECTOR=FOLDER; RLDF_DETECTOR=none does without",
                  "imagenet100/train is missing (notebooks 6, 7, 8)", "nothing was timed"):  # fmt: skip
        assert words in said
    assert f"{said.count('STOP')} things would stop a notebook" in said


@pytest.mark.parametrize(("spoil", "words"), [
    (lambda raw: shutil.rmtree(raw / "imagenet100" / "val" / HUNDRED[3]), f"1 of the paper's classes are missing, such as {HUNDRED[3]}"),
    (lambda raw: (shutil.rmtree(raw / "imagenet100" / "val"), flat(raw)), "its pictures lie in no class folders: sort them by class"),
    (lambda raw: [path.unlink() for path in (raw / "imagenet-r").rglob("*.JPEG")], "200 of 200 classes, 0 images")])  # fmt: skip
def test_sets_that_are_not_as_they_should_be(ready, capsys, spoil, words):
    spoil(ready / "raw")
    assert doctor.main("paper") == 1 and words in capsys.readouterr().out


def flat(raw):
    (raw / "imagenet100" / "val").mkdir()
    Image.new("RGB", (8, 8)).save(raw / "imagenet100" / "val" / "ILSVRC2012_val_00000001.JPEG")


@pytest.mark.parametrize(("what", "words"), [("disk", "1 GB free, up to"), ("memory", "memory: 4 GB; the notebooks want up to 16")])
def test_too_little_disk_or_memory_stops_it(ready, capsys, monkeypatch, what, words):
    if what == "disk":
        monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("space", "free")(10**9))
    else:
        monkeypatch.setattr(doctor, "memory", lambda: 4.0)
    assert doctor.main("paper") == 1 and words in capsys.readouterr().out


def test_results_and_caches_on_one_disk_need_their_sum(ready, capsys):
    doctor.main("paper")
    pictures = sum(n for n, *_ in doctor.NEEDS.values()) + doctor.clones("paper")
    need = pictures * doctor.PICTURE / doctor.GB + sum(disk for *_, disk in doctor.NEEDS.values()) + 8
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "GB free" in line)
    assert f"up to {need:,.0f} needed" in line and str(results.CACHE) in line and str(results.RESULTS) in line


def test_a_safety_checker_that_is_not_asked_for_may_be_missing(ready, capsys, monkeypatch, tmp_path):
    folder = standins.as_pickles(standins.stable_diffusion(tmp_path / "sd"), tmp_path / "odd", only="safety_checker")
    monkeypatch.setenv("RLDF_MODEL", str(folder))
    assert doctor.main("paper") == 1 and "RLDF_CHECKER=no does without" in capsys.readouterr().out
    monkeypatch.setenv("RLDF_CHECKER", "no")
    assert doctor.main("paper") == 0, capsys.readouterr().out


def test_at_tiny_scale_all_is_in_the_checkout(capsys):
    assert doctor.main("tiny") == 0
    said = capsys.readouterr().out
    assert "tiny-sd-v1: " in said and "pictures a second" in said and "A2_agent_claims: done: no" in said
