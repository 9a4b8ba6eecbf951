"""The paper's whole clone, 1,664,000 images, with a null generator on a local Ray cluster that loses workers: `make bench`.

Planned with all axes of the full grammar, sharded into WebDataset tar files, made, and verified by reading everything again.
Every half minute a worker is killed. Pictures are 8 x 8 noise, so that what is measured is the machinery.
"""

import resource
import sys
import tempfile
import threading
import time
from pathlib import Path

import pandas as pd
import psutil

from rldf_utils import clone, generate, grammar, results

CLASSES, COUNTS, SHARD = 1000, {"train": 1508, "val": 56, "test": 100}, 1000


def main(share: float = 1.0) -> None:
    words = grammar.load("full")
    nouns = (words.axes["Noun"] * 10)[: round(CLASSES * share)]
    classes = pd.DataFrame({"class_id": [f"n{i:08d}" for i in range(len(nouns))], "noun": nouns})
    seconds, workers, killed, done = {}, [0], [0], threading.Event()

    def sabotage() -> None:
        last = time.monotonic()
        while not done.wait(1):
            ours = [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] and p.info["cmdline"][0].startswith("ray::make")]
            workers[0] = max(workers[0], sum(p.memory_info().rss for p in ours if p.is_running()))
            if ours and time.monotonic() - last > 30:
                last = time.monotonic()
                ours[0].kill()
                killed[0] += 1

    with tempfile.TemporaryDirectory() as folder:
        begun = time.monotonic()
        manifest = clone.plan(classes, words, COUNTS, generate.Null().recipe, shard=SHARD)
        seconds["plan"] = time.monotonic() - begun
        saboteur = threading.Thread(target=sabotage)
        saboteur.start()
        begun = time.monotonic()
        finished = clone.clone(manifest, Path(folder) / "clone", address="local")
        seconds["make"] = time.monotonic() - begun
        done.set()
        saboteur.join()
        begun = time.monotonic()
        report = clone.verify(Path(folder) / "clone")
        seconds["verify"] = time.monotonic() - begun
    assert report == {"missing": [], "damaged": [], "extra": []} and finished["path"].is_unique and killed[0]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    rows = {"images": f"{len(finished):,}", "tar files": f"{finished['shard'].nunique():,}", "workers killed": killed[0]}
    rows |= {f"seconds to {what}": round(value) for what, value in seconds.items()}
    rows |= {"peak memory, driver, GB": round(peak, 1), "peak memory, all workers, GB": round(workers[0] / 1e9, 1)}
    text = f"{__doc__}\n{pd.Series(rows, name='measured').to_markdown(disable_numparse=True)}\n\n{results.provenance()['machine']}\n"
    results.write(results.RESULTS / "bench" / "clone.md", text)
    print(text)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)
