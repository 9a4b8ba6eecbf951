"""Ray with GPUs, by logical ones: one process a GPU, which keeps what it loaded; whatever is lost, the same results."""

import hashlib
import json
import os
import time
from functools import lru_cache

import pandas as pd
import psutil
import pytest

from rldf_utils import clone, cluster, generate, grammar

ray = pytest.importorskip("ray")
CLASSES = pd.DataFrame({"class_id": ["1F34C", "1F436"], "noun": ["banana", "dog"]})


@lru_cache
def loaded() -> int:
    return time.monotonic_ns()


def _fail():
    raise OSError("no such model here")


def work(task):
    time.sleep(0.02)
    return task, os.getpid(), loaded()


def until(folder, files):
    """Wait until a folder has so many files; on a busy machine a process takes seconds to begin."""
    for _ in range(600):
        if len(list(folder.iterdir())) >= files:
            return
        time.sleep(0.1)


def test_as_many_processes_as_gpus_and_each_loads_once(two_gpus, capsys, tmp_path):
    def together(task):
        (tmp_path / str(os.getpid())).touch()
        if task < 2:
            until(tmp_path, 2)
        return work(task)

    found = list(cluster.over(together, range(40), two_gpus.address, True))
    assert [task for task, *_ in found] == list(range(40)), "in order"
    assert len({pid for _, pid, _ in found}) == len({at for *_, at in found}) == 2
    assert "2 GPUs of the cluster, one process each" in capsys.readouterr().out


def test_a_killed_worker_is_replaced_and_its_task_done_again(two_gpus, tmp_path):
    def deadly(task):
        if task == 5 and not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            os.kill(os.getpid(), 9)
        time.sleep(0.02)
        return task, os.getpid()

    found = list(cluster.over(deadly, range(30), two_gpus.address, True))
    assert [task for task, _ in found] == list(range(30)) and (tmp_path / "died").exists()


def test_a_slow_task_does_not_hold_up_the_other_gpu_for_long(two_gpus, tmp_path):
    def uneven(task):
        if task == 0:
            until(tmp_path, 8)
        (tmp_path / str(task)).touch()
        return task, os.getpid()

    found = list(cluster.over(uneven, range(30), two_gpus.address, True))
    assert sum(pid != found[0][1] for _, pid in found) >= 8 and [task for task, _ in found] == list(range(30))


def test_a_worker_that_cannot_begin_is_an_error_and_not_hired_for_ever(two_gpus):
    class Unreadable:
        def __reduce__(self):
            return _fail, ()

        def __call__(self, task):
            return task

    with pytest.raises(ray.exceptions.RayActorError, match="no such model here"):
        list(cluster.over(Unreadable(), range(3), two_gpus.address, True))


def test_an_error_of_a_task_is_raised_and_the_gpus_are_free_again(two_gpus):
    def failing(task):
        raise KeyError(f"task {task}")

    with pytest.raises(KeyError, match="task 0"):
        list(cluster.over(failing, [0, 1, 2], two_gpus.address, True))
    assert len(list(cluster.over(work, range(3), two_gpus.address, True))) == 3


def test_a_cluster_without_gpus_is_an_error_at_once(two_nodes):
    assert cluster.gpus(two_nodes.address) == 0
    begun = time.monotonic()
    with pytest.raises(RuntimeError, match="to be drawn on GPUs, and RAY_ADDRESS = .* has none"):
        list(cluster.over(work, range(3), two_nodes.address, True))
    assert time.monotonic() - begun < 30


def test_the_cluster_says_on_what_is_drawn(two_gpus, two_nodes):
    model = generate.Diffusers("tiny-sd-v1", device="cpu")
    recipes = [clone.recipe(model, address) for address in ("", two_gpus.address, two_nodes.address)]
    assert [json.loads(recipe["settings"])["device"] for recipe in recipes] == ["cpu", "cuda", "cpu"] and recipes[0] == model.recipe


def test_a_clone_on_gpus_that_loses_a_worker_has_the_same_bytes(two_gpus, tmp_path):
    words = grammar.load("full")
    plans = {name: clone.plan(CLASSES, words, {"train": 700}, generate.Null(16, 4, device=name).recipe) for name in ("cpu", "cuda")}
    clone.clone(plans["cpu"], tmp_path / "cpu", progress=None)

    killed = []
    seen = clone._seen_from_here

    def sabotage(*arguments):
        if not killed:
            at_work = [p for p in psutil.process_iter(["cmdline"]) if (p.info["cmdline"] or [""])[0].startswith("ray::Worker")]
            killed.extend(p.pid for p in at_work[:1])
            at_work[0].kill()
        seen(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clone, "_seen_from_here", sabotage)
        done = clone.clone(plans["cuda"], tmp_path / "cuda", two_gpus.address, progress=None)
    assert killed and clone.verify(tmp_path / "cuda") == {"missing": [], "damaged": [], "extra": []}
    digests = [{p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (tmp_path / name).rglob("*.png")} for name in ("cpu", "cuda")]
    assert digests[0] == digests[1] and len(digests[0]) == 1400 and "made" not in done
