"""Verdicts under other seeds of the whole chain, from results/reference.json: which change, and into what.

Notebooks that were run with `-p SEED 10000` come in by `make reference NAME="seed 10000"`, which renews this table.
"""

import json

import pandas as pd

from rldf_utils import compare, results

committed, *others = json.loads(compare.REFERENCE.read_text())["tiny"]["runs"]
others = sorted((run for run in others if run["seed"] != committed["seed"]), key=lambda run: run["seed"])
totals, changed = [], []
for notebook in committed["notebooks"]:
    runs = [(run["seed"], compare.flat(run["notebooks"][notebook])) for run in (committed, *others) if notebook in run["notebooks"]]
    verdicts = {name: [word_of.get(name, "absent") for _, word_of in runs] for name, value in runs[0][1].items()
                if compare.kind(value) == "verdicts"}  # fmt: skip
    if len(runs) == 1 or not verdicts:
        continue
    short = {name: [word.split(" (")[0].split(":")[0].split(";")[0] for word in words] for name, words in verdicts.items()}
    unequal = {name: words for name, words in short.items() if len(set(words)) > 1}
    turned = sum({"reproduced", "contradicted"} <= set(words) for words in unequal.values())
    totals.append({"notebook": notebook, "seeds": ", ".join(str(seed) for seed, _ in runs), "verdicts": len(verdicts),
                   "the same under all": len(verdicts) - len(unequal), "reproduced here, contradicted there": turned})  # fmt: skip
    changed += [{"notebook": notebook, "verdict on": name.split(" / ", 1)[1], **{f"seed {seed}": word for (seed, _), word
                 in zip(runs, words, strict=True)}} for name, words in unequal.items()]  # fmt: skip
parts = [pd.DataFrame(table).fillna("").to_markdown(index=False) for table in (totals, changed)]
text = f"{__doc__}\n{parts[0]}\n\nThose that change:\n\n{parts[1]}\n"
results.write(results.ROOT / "results" / "bench" / "seeds.md", text)
print(text)
