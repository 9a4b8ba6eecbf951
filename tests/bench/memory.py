"""Peak memory of the notebooks' large steps at paper counts, on null pictures and random features: `make bench BENCH=memory`.

Each step is a process of its own. What is measured is anonymous memory (RssAnon of /proc/PID/status, of the process and its workers,
every half second; what workers share with it counts for each, so this is an upper bound): arrays that are mapped from disk are the
page cache's and can be dropped at any time, so neither address space nor resident size would tell. The pictures are sparse files of
the true shape, which take no disk. KID of the full sets takes hours on a processor: its two sums run for a while, in which memory
has long been level, and are then cut off.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from rldf_utils import results

CLONE, REAL, VAL, EDGE = 150_800, 126_689, 5_000, 224  #: training pictures of a clone and of ImageNet-100; real test pictures; edge, px
LIMIT = 16  #: GiB that every notebook may take


def plan_and_clone(folder: Path, share: float) -> str:
    """Notebook 6: a plan of 166,400 rows, its pictures (8 px), verified; the sets looked at."""
    from rldf_utils import clone, cloning, generate, grammar, imagenet, perceive, plan

    os.environ |= {"RLDF_SHARE": str(share), "RLDF_DETECTOR": "none"}  # a detector's 0.6 GB are the GPU's
    classes, words, eyes = imagenet.classes("paper"), grammar.load("full", imagenet.classes("paper")["noun"]), perceive.Clip("tiny-clip")
    table = classes.assign(noun=classes["noun"].str.split("/").str[0])
    rows = clone.plan(table, words, plan.sizes("paper").made, generate.Null(8).recipe, draw=plan.sentences)
    made = clone.clone(rows, folder / "context", progress=None)
    clone.record(made, folder / "manifest_context.parquet")
    assert clone.verify(folder / "context") == {"missing": [], "damaged": [], "extra": []}
    nouns = dict(zip(classes["class_id"], classes["noun"], strict=True))
    seen = cloning.survey("paper", {"context": folder / "context" / "train"}, {}, words, nouns, plan.sizes("paper").looked, eyes)
    return f"{len(rows):,} rows, {len(seen['context']):,} looked at"


def trainings(folder: Path, share: float) -> str:
    """Notebook 7: its sets of 224 px pictures, the trainings' and tests' rows, and four batches of 256."""
    from rldf_utils import classify, transfer

    def mapped(name: str, n: int) -> transfer.Data:
        path = folder / f"{name}.npy"
        np.lib.format.open_memmap(path, "w+", np.uint8, (n, EDGE, EDGE, 3)).flush()
        return np.load(path, mmap_mode="r"), np.arange(n) * 100 // n

    clone, real, val = (round(n * share) for n in (CLONE, REAL, VAL))
    data = {("real", "train"): mapped("train", real), ("real", "test"): mapped("test", val), ("real", "own"): mapped("own", val)}
    for name in ("context", "sampled", "plain"):
        data |= {(name, "train"): mapped(name, clone), (name, "own"): mapped(f"{name}-own", clone // 10)}
    wrong = mapped("wrong", clone * 3 // 10)
    data |= {("wrong", split): (wrong[0], wrong[1] * 3 // 10) for split in ("train", "own")}
    rng = np.random.default_rng(0)
    data["real", "sample"] = transfer.drawn(data["real", "train"], val, rng)
    data |= {(name, "train"): transfer.drawn(data[name, "train"], real, rng) for name in ("context", "sampled", "plain", "real")}
    sets, tests = transfer.trainings(data), transfer.tests(data)
    pixels, labels = sets["epochs"]
    for _ in range(4):
        part = np.sort(rng.permutation(len(labels))[:256])
        classify.augment(classify.as_tensor(pixels[part], "cpu"), EDGE, rng)
    classify.as_tensor(tests["epochs, training"][0][:256], "cpu")
    return f"{len(sets)} trainings, {sum(len(y) for _, y in data.values()):,} pictures"


def linear_head(folder: Path, share: float) -> str:
    """Notebook 7: the linear head on features of clone and real together, and its answers on them."""
    from rldf_utils import classify

    n, rng = round(2 * REAL * share), np.random.default_rng(0)
    x = np.lib.format.open_memmap(folder / "features.npy", "w+", np.float32, (n, 1280))
    for start in range(0, n, 10_000):
        x[start : start + 10_000] = rng.random((len(x[start : start + 10_000]), 1280), np.float32)
    labels, part = np.arange(n) * 100 // n, rng.integers(n, size=n)
    weights = classify.head(x[part], labels[part], 100)
    return f"{n:,} x 1,280, accuracy {(classify.decide(weights, x[:]) == labels).mean():.2f}"


def interval(folder: Path, share: float) -> str:
    """Notebook 7: one number of Table 2 with its interval, over ten seeds and the training pictures of clone and real together."""
    from rldf_utils import transfer

    n, rng = round(2 * REAL * share), np.random.default_rng(0)
    value, low, high = transfer.effect([(100, rng.random((10, n)) < 0.5, np.arange(n) * 100 // n, "")], rng)
    return f"{n:,} pictures, {value:.1f} ({low:.1f} to {high:.1f})"


def features(folder: Path, share: float) -> str:
    """Notebook 8: 512 px pictures read by 16 processes, resized to Inception's 299 px, and their features, 2,048 each, of nothing."""
    import torch

    from rldf_utils import fid, images
    from rldf_utils.cache import png

    fid.CACHE, images.os.sched_getaffinity = folder / "cache" / "images", lambda _: range(16)
    data, files = png(np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)), []
    for i in range(round(3333 * share)):  # two thirds of the held-out pictures: no set gives more
        files.append(folder / f"{i}.png")
        os.link(files[0], files[i]) if i else files[0].write_bytes(data)
    network = fid.Network("null", 299, "null", lambda x: torch.zeros(len(x), 2048))
    return f"{len(fid.survey(files, network).features):,} pictures"


def distances(folder: Path, share: float) -> str:
    """Notebook 8: FID of all features of the full sets, with its jackknife on 64 of them; KID's sums."""
    from rldf_utils import fid

    rng = np.random.default_rng(0)
    x, y = (rng.random((round(n * share), 2048), np.float32) for n in (CLONE, REAL))
    value = fid.frechet(x, y)
    fid.jackknife(fid.frechet, x[:, :64], y[:, :64])

    def cut(*_) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, cut)
    sums = fid._sums
    for pair in ((x, x), (x, y)):
        signal.alarm(10)
        try:
            sums(*pair)
        except TimeoutError:
            pass
        signal.alarm(0)
    fid._sums = lambda a, b: (np.ones(len(a)), np.ones(len(b)))  # all else of it
    fid.kernel(x, y)
    return f"{len(x):,} x {len(y):,} x 2,048, FID {value:.3f}"


STEPS = {"6": [plan_and_clone], "7": [trainings, linear_head, interval], "8": [features, distances]}


def anonymous(process: psutil.Process) -> int:
    """Bytes of anonymous memory of a process and all below it."""
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            lines = Path(f"/proc/{one.pid}/status").read_text().splitlines()
            total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))
        except (OSError, psutil.NoSuchProcess):  # it has just ended
            continue
    return total


def measured(step: str, share: float) -> tuple[float, float, str]:
    """Peak GiB, seconds, and what the step says that it did."""
    peak, begun = 0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        child = subprocess.Popen([sys.executable, __file__, step, folder, str(share)], stdout=subprocess.PIPE, text=True)
        while child.poll() is None:
            peak = max(peak, anonymous(psutil.Process(child.pid)))
            time.sleep(0.5)
        if child.returncode:
            raise SystemExit(f"{step} failed")
        return peak / 2**30, time.monotonic() - begun, child.stdout.read().splitlines()[-1]


def main(share: float = 1.0) -> None:
    rows = []
    for notebook, steps in STEPS.items():
        for step in steps:
            peak, seconds, did = measured(step.__name__, share)
            rows.append({"notebook": notebook, "step": step.__doc__.partition(": ")[2].rstrip("."), "did": did, "peak, GiB": round(peak, 2),
                         "seconds": round(seconds)})  # fmt: skip
            print(rows[-1], flush=True)
            assert peak < LIMIT, f"{step.__name__} takes {peak:.1f} GiB"
    text = f"{__doc__}\n{pd.DataFrame(rows).to_markdown(index=False)}\n\n{results.provenance()['machine']}\n"
    results.write(results.RESULTS / "bench" / "memory.md", text)
    print(text)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        print(globals()[sys.argv[1]](Path(sys.argv[2]), float(sys.argv[3])))
    else:
        main(*map(float, sys.argv[1:]))
