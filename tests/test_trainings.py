"""Trainings that are killed, kept, and run side by side; features that are kept."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from rldf_utils import classify, fid, trainings, transfer

KILLED = """
import os, signal, sys
import test_trainings as test
from rldf_utils import classify, trainings
trainings.CACHE = test.Path(sys.argv[1]) / "images"
calls, augment = [], classify.augment
def killed(*args):
    calls.append(1)
    if len(calls) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return augment(*args)
classify.augment, classify.OFTEN = killed, 0
test.table_2()
"""


RECIPE = classify.Recipe("imagenet", 16, 3, batch=16, rate=2e-3, optimizer="adamw", width=8)


def given() -> tuple[dict, dict]:
    """A training set and its tests."""
    rng, labels = np.random.default_rng(0), np.arange(64) % 2
    pictures = (120 + 60 * labels[:, None, None, None] + rng.normal(0, 40, (64, 16, 16, 3))).clip(0, 255).astype(np.uint8)
    own = (pictures, labels)
    return {"plain": own}, {name: transfer.taken(own, slice(k, None, 5)) for k, name in enumerate(transfer.asked("plain"))}


def table_2() -> list[dict[str, np.ndarray]]:
    """Two trainings of 3 epochs of 4 steps each."""
    return [trainings.trained("plain", *given(), 2, RECIPE, seed) for seed in (0, 1)]


def test_trainings_side_by_side_give_the_bits_of_one_alone(tmp_path, monkeypatch):
    threads, found = torch.get_num_threads(), []
    try:
        for cores in (1, 3):
            torch.set_num_threads(cores)
            monkeypatch.setattr(trainings, "CACHE", tmp_path / f"{cores}" / "images")
            found.append([*trainings.done(*given(), 2, {"plain": RECIPE}, range(5))])
            assert torch.get_num_threads() == cores
    finally:
        torch.set_num_threads(threads)
    for (kind, one), (other_kind, other) in zip(*found, strict=True):
        assert kind == other_kind == "plain" and all((one[name] == other[name]).all() for name in one)
    files = [sorted(file.read_bytes() for file in (tmp_path / cores / "trainings").iterdir()) for cores in "13"]
    assert files[0] == files[1] and len(set(files[0])) > 1, "seeds differ"


def test_killed_trainings_go_on_and_finished_ones_are_not_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(trainings, "CACHE", tmp_path / "whole" / "images")
    whole, steps, augment = table_2(), [], classify.augment
    assert all((a == b).all() for a, b in zip(whole[0].values(), table_2()[0].values(), strict=True))
    command = [sys.executable, "-c", KILLED, str(tmp_path / "killed"), "22"]
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert run.returncode == -signal.SIGKILL, run.stderr
    kept = sorted((tmp_path / "killed" / "trainings").iterdir())
    assert sorted(file.suffix for file in kept) == [".npz", ".pt"], "one is finished, of the other two epochs are kept"
    monkeypatch.setattr(trainings, "CACHE", tmp_path / "killed" / "images")
    monkeypatch.setattr(classify, "augment", lambda *args: steps.append(1) or augment(*args))
    again = table_2()
    assert len(steps) == 4, "its last epoch"
    assert all((a[name] == b[name]).all() for a, b in zip(whole, again, strict=True) for name in a)
    assert [file.suffix for file in kept[0].parent.iterdir()] == [".npz", ".npz"]


def test_a_training_is_known_by_its_pictures_labels_and_recipe(tmp_path):
    x, labels = np.arange(24, dtype=np.uint8).reshape(6, 2, 2, 1), np.arange(6) % 2
    np.save(tmp_path / "a.npy", x)
    np.save(tmp_path / "b.npy", x)
    mapped = [(np.load(tmp_path / f"{name}.npy", mmap_mode="r"), labels) for name in "aab"]
    ones = [trainings.identity(part) for part in (*mapped, (x, labels), (x + 1, labels), (x, 1 - labels))]
    ones += [trainings.identity(transfer.taken(mapped[0], rows)) for rows in (slice(None), slice(3), np.arange(6)[::-1])]
    assert ones[0] == ones[1] == ones[6] and len(set(ones)) == 7


def test_features_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(trainings, "CACHE", tmp_path / "images")
    net, calls = fid.network("tiny"), []
    pictures = transfer.joined((np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8), np.arange(40) % 2))
    first, labels = trainings.embedded(pictures, net)
    assert (first == fid.features(list(pictures[0]), net)).all() and labels is pictures[1]
    monkeypatch.setattr(fid, "features", lambda *_: calls.append(1))
    assert (trainings.embedded(pictures, net)[0] == first).all() and not calls
