"""The factored agent in the largest grammar: 12 axes, 2.5 billion sentences, the real small model, 400 pictures an input.

Ten inputs are renders of sentences spread over all words, with seeds that no training used. What was found is drawn with
new seeds, and the judge, which no search may ask, says which axes agree with the input's truth; beside it the same of the
encoder alone (Algorithm 1, line 2) and of the true sentence. Shares: of the words of the sentence (words right), and of the axes
of the new pictures that show what the input truly shows (axes shown, then axis by axis): `make bench`.
"""

import time

import numpy as np
import pandas as pd

from rldf_utils import generate, grammar, perceive, readings, results, search
from rldf_utils.tiny import judge, world

INPUTS, CALLS, PICTURES = 10, 400, 8
full, one = grammar.load("full"), generate.Diffusers("tiny-sd-v1", batch=1)  # every picture depends on the one before
model, clip, ask = generate.Cache(one), perceive.Clip("tiny-clip", batch=1), judge.Judge()
rows, started = [], time.monotonic()
for number, truth in enumerate(full.spread(INPUTS, np.random.default_rng(0))):
    true = full.decode(truth)
    image = world.render(true, 2**31 + number)
    options = {"reward": 3, "calls": CALLS, "steps": 20_000, "seed": number, "reading": readings.parse("actions=set")}
    found = search.rldf(image, model, clip, full, **options, progress=f"input {number + 1} of {INPUTS}")
    for name, encoding in (("factored agent", found.final), ("encoder alone", found.feedback.target), ("true sentence", truth)):
        shown = ask(model([full.surface(encoding)] * PICTURES, range(1000, 1000 + PICTURES)))
        words = {f"{axis}": float(np.mean([look[axis] == word for look in shown])) for axis, word in true.items()}
        said = sum(a == b for a, b in zip(encoding, truth, strict=True))
        rows.append({"method": name, "words right": said / len(truth), "axes shown": np.mean(list(words.values())), **words})
table = pd.DataFrame(rows).groupby("method", sort=False).mean()
each = (time.monotonic() - started) / INPUTS
text = f"{__doc__}\n{table.T.to_markdown(floatfmt='.3f')}\n\n{each:.0f} s an input. {results.provenance()['machine']}\n"
results.write(results.ROOT / "results" / "bench" / "search.md", text)
print(text)
