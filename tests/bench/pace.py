"""Whether drawing hides the rest, at 512 px: a null model that takes one batch's time of an H100 (0.84 s for 8 pictures): `make bench`.

What is left to this machine's cores while the GPU draws: PNG, sha256, writing. 100 % is a model that never waits; beside it the
cores that are busy at that pace, which other work on the machine does not change. An H100's time for a batch is derived (20 steps of
Stable Diffusion 1.4 with guidance at 35 % of its peak, and the autoencoder), not measured.
"""

import os
import tempfile
import time
from pathlib import Path

import pandas as pd

from rldf_utils import clone, generate, grammar, results

BATCH, SECONDS, BATCHES = 8, 0.84, 24


def main() -> None:
    model = generate.Null(512, BATCH, "cuda", SECONDS)  # "cuda": tasks of a GPU's size
    words = grammar.load("full")
    classes = pd.DataFrame({"class_id": ["a"], "noun": words.axes["Noun"][:1]})
    manifest = clone.plan(classes, words, {"train": BATCH * BATCHES}, model.recipe)
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, run in {
            "a clone in class folders": lambda: clone.clone(manifest, Path(folder) / "clone", progress=None),
            "pictures of a search (cache)": lambda: generate.Cache(model, Path(folder))(manifest["prompt"], manifest["seed"]),
        }.items():
            began, busy = time.monotonic(), time.process_time()
            run()
            busy = (time.process_time() - busy) / (BATCHES * SECONDS)
            share = BATCHES * SECONDS / (time.monotonic() - began)
            rows[name] = f"{share:.0%}, {busy:.2f} cores"
            assert share >= 0.9, f"{name}: {share:.0%} of the pace, less than 90 %"
    rows["cores; load while it ran"] = f"{os.cpu_count()}; {os.getloadavg()[0]:.1f}"
    text = f"{__doc__}\n{pd.Series(rows, name='of the pace').to_markdown()}\n\n{results.provenance()['machine']}\n"
    results.write(results.RESULTS / "bench" / "pace.md", text)
    print(text)


if __name__ == "__main__":
    main()
