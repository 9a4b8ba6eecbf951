"""This run against the committed one: `make compare`, and the last lines of `make reproduce`.

`results/reference.json` holds the numbers and verdicts of the committed run, and of others: other seeds of the whole
chain, other processors. Their spread is the tolerance.
"""

import argparse
import json
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

from rldf_utils.results import RESULTS, ROOT, SCALES, provenance, sha256, write

REFERENCE = ROOT / "results" / "reference.json"
FACTOR = 3  #: tolerance: this many times the largest difference between the committed run and the others
VERDICT = re.compile(r"reproduced|contradicted|depends on|undecided|not testable|ill-posed|in \d+%")  #: how a verdict begins
KINDS = ("verdicts", "texts", "numbers")
COUNTS = [*KINDS, *(f"{kind} differ" for kind in KINDS)]
ROUNDING = 1e-6  #: relative; what the last digits of single precision may do to a number whose spread was 0


def flat(value, name: str = "") -> dict[str, object]:
    """Nested dicts and lists as one dict, such as {"accuracy / Noun": 0.98}.

    The items of a list of dicts are named by their first text where that tells them apart, else by their place.
    """
    if not isinstance(value, dict | list):
        return {name: value}
    items = value.items() if isinstance(value, dict) else list(enumerate(value))
    if isinstance(value, list):
        texts = [next((v for v in item.values() if isinstance(v, str)), None) for item in value if isinstance(item, dict)]
        if None not in texts and len(set(texts)) == len(value):
            items = list(zip(texts, value, strict=True))
    return {k: v for key, part in items for k, v in flat(part, f"{name} / {key}" if name else str(key)).items()}


def is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def tolerance(name: str, committed: Mapping, others: list[Mapping]) -> float:
    """How far a number may lie from the committed one: `FACTOR` times the largest difference measured, or a last digit.

    Args:
        committed, others: name -> value, of the committed run and of those that the comparison counts.
    """
    value = committed[name]
    differences = [abs(run[name] - value) for run in others if is_number(run.get(name))]
    places = -Decimal(repr(value)).as_tuple().exponent
    last_digit = 1.01 * 10**-places if isinstance(value, float) and 3 <= places <= 6 else 0.0  # of a number rounded for reading
    return max(FACTOR * max(differences, default=0.0), ROUNDING * abs(value), last_digit)


def kind(value) -> str:
    """ "numbers", "verdicts" (the kit's words for one) or "texts" (anything else)."""
    return "numbers" if is_number(value) else "verdicts" if isinstance(value, str) and VERDICT.match(value) else "texts"


def differences(ours: Mapping, committed: Mapping, others: list[Mapping], texts: bool = True) -> tuple[list[str], dict[str, int]]:
    """One line per value of a notebook that differs, and how many of which kind there are: {"numbers": 9, "numbers differ": 1, ...}.

    Numbers may differ by their tolerance; a verdict or a text only into what it was on another processor, at the same seed: that
    is a line, too, but is not counted.

    Args:
        texts: whether texts count; sentences that a search ends in are others at another seed.
    """
    lines, count = [], dict.fromkeys(COUNTS, 0)
    for name in [*committed, *(name for name in ours if name not in committed)]:
        was, now = committed.get(name, "absent"), ours.get(name, "absent")
        what = kind(now if name not in committed else was)
        if what == "texts" and not texts:
            continue
        count[what] += 1
        if is_number(was) and is_number(now):
            if abs(now - was) <= (allowed := tolerance(name, committed, others)):
                continue
            lines.append(f"{name}: {was:.6g} -> {now:.6g} (tolerance {allowed:.3g})")
        elif was != now:
            if texts and now in [run.get(name) for run in others]:
                lines.append(f"{name}: {was!r} -> {now!r}, as on another processor that was measured")
                continue
            unstable = sum(run.get(name, "absent") != was for run in others)
            lines.append(f"{name}: {was!r} -> {now!r}" + f"; it differed in {unstable} of {len(others)} measured runs too" * bool(unstable))
        else:
            continue
        count[f"{what} differ"] += 1
    return lines, count


def read_run(folder: Path) -> dict[str, dict]:
    """Notebook -> its metrics.json, of a results folder."""
    return {path.parent.name: json.loads(path.read_text()) for path in sorted(folder.glob("*/metrics.json"))}


def made_here(folder: Path) -> dict | None:
    """The run.json beside a metrics.json, if it is of that very file; None for a committed copy."""
    try:
        run = json.loads((folder / "run.json").read_text())
    except FileNotFoundError:
        return None
    return run if run["metrics"] == sha256(folder / "metrics.json") else None


def report(scale: str, results: Path = RESULTS, reference: Path = REFERENCE) -> tuple[list[str], bool]:
    """(lines to print, whether this run agrees with the committed one)."""
    known = json.loads(reference.read_text()).get(scale)
    if known is None:
        return [f"There is no committed run at SCALE={scale} to compare with."], True
    (committed, *others), metrics = known["runs"], read_run(results / scale)
    lines, total, seeds = [], dict.fromkeys(COUNTS, 0), set()
    missing = [name for name in committed["notebooks"] if not made_here(results / scale / name)]
    for name in (name for name in committed["notebooks"] if name not in missing):
        seed = metrics[name]["parameters"]["SEED"]
        seeds.add(seed)
        # At the committed run's seed, what other processors did to it; at another seed, what other seeds did.
        same = seed == committed["seed"]
        counted = [run["notebooks"] for run in others if (run["seed"] == committed["seed"]) == same]
        pair = metrics[name]["metrics"], committed["notebooks"][name]
        found, count = differences(*map(flat, pair), [flat(run[name]) for run in counted if name in run], texts=same)
        total = {kind: total[kind] + n for kind, n in count.items()}
        says = ", ".join(f"{count[f'{what} differ'] or 'no'} of {count[what]} {what}" for what in KINDS if count[what])
        lines += [f"{name:32s} differ: {says}", *(f"    {line}" for line in found)]
    if missing:
        lines.append(f"not run here: {', '.join(missing)} (make reproduce)")
    if any(total[f"{what} differ"] for what in KINDS):
        says = ", ".join(f"{total[f'{what} differ']} of {total[what]} {what}" for what in KINDS)
        lines += ["", f"DIFFERS from the committed run: {says}"]
    elif missing:
        lines += ["", f"INCOMPLETE: {len(missing)} of {len(committed['notebooks'])} notebooks were not run here"]
    else:
        says = ", ".join(f"{total[what]} {what}" for what in KINDS)
        lines += ["", f"AGREES with the committed run: {says}"]
    return [*_head(scale, committed, seeds), "", *lines], lines[-1].startswith("AGREES")


def _head(scale: str, committed: Mapping, seeds: set[int]) -> list[str]:
    now, then = provenance(), committed["provenance"]
    lines = [f"SCALE={scale}: this run against the committed one. Tolerance: {FACTOR} x the largest difference between measured runs."]
    for what, run, seed in (("committed", then, {committed["seed"]}), ("here", now, seeds)):
        lines.append(
            f"{what:10s} SEED {', '.join(map(str, sorted(seed))) or '-'}; Python {run['python']}; {run['machine']}; code {run['code']}"
        )
    changed = [
        f"{name} {then['versions'].get(name)} -> {new}" for name, new in now["versions"].items() if then["versions"].get(name) != new
    ]
    return [*lines, f"packages   {', '.join(changed) or 'the same versions'}"]


def add(scale: str, name: str, results: Path = RESULTS, reference: Path = REFERENCE) -> None:
    """Write the run in a results folder into reference.json, under a name; "committed" takes the place of the first.

    Notebooks that were not run here keep what the run of that name had.
    """
    known = json.loads(reference.read_text()) if reference.exists() else {}
    metrics = {n: m for n, m in read_run(results / scale).items() if made_here(results / scale / n)}
    last = max((made_here(results / scale / n) for n in metrics), key=lambda run: run["written"])
    run = {"name": name, "seed": next(iter(metrics.values()))["parameters"]["SEED"]}
    run["provenance"] = {k: last[k] for k in ("code", "python", "machine", "versions")}
    runs = known.get(scale, {"runs": []})["runs"]
    before = next((r for r in runs if r["name"] == name), {"notebooks": {}})
    run["seconds"] = before.get("seconds", {}) | {n: made_here(results / scale / n)["seconds"] for n in metrics}
    run["notebooks"] = before["notebooks"] | {n: m["metrics"] for n, m in metrics.items()}
    others = [r for r in runs if r["name"] != name]
    known[scale] = {"runs": [run, *others] if name == "committed" else [*others, run]}
    write(reference, json.dumps(known, indent=1) + "\n")


def tidy(path: Path) -> None:
    """Take out of an executed notebook what differs between two runs of it: times, progress, file names of the kernel."""
    notebook = json.loads(path.read_text())
    notebook["metadata"] = {"kernelspec": notebook["metadata"]["kernelspec"], "language_info": {"name": "python"}}
    for cell in notebook["cells"]:
        tags = cell["metadata"].get("tags", [])
        cell["metadata"] = {"tags": tags} if tags else {}
        if "injected-parameters" in tags:
            cell["id"] = "injected-parameters"
        outputs = []
        for output in cell.get("outputs", []):
            if output["output_type"] == "stream":
                lines = "".join(output["text"]).splitlines(keepends=True)
                if output["name"] == "stderr":  # warnings stay, without the kernel's temporary file
                    lines = [m[1] + "\n" for line in lines if (m := re.search(r"(\w*Warning: .*)", line))]
                if outputs and outputs[-1].get("name") == output["name"]:
                    outputs[-1]["text"] += lines
                    continue
                output["text"] = lines
            if "application/vnd.jupyter.widget-view+json" in output.get("data", {}):  # its model lives in the kernel
                output["data"] = {"text/plain": "a widget, which moves where a kernel runs: open the notebook in JupyterLab"}
            if output.get("text") != []:
                outputs.append(output)
        if "outputs" in cell:
            cell["outputs"] = outputs
    write(path, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m rldf_utils.compare", description=__doc__)
    parser.add_argument("scale", nargs="?", default="tiny", choices=SCALES)
    parser.add_argument("--add", metavar="NAME", help="write this run into results/reference.json under a name")
    parser.add_argument("--tidy", metavar="FILE", type=Path, help="only take times and progress out of an executed notebook")
    options = parser.parse_args(arguments)
    if options.tidy:
        tidy(options.tidy)
        return 0
    if options.add:
        add(options.scale, options.add)
        return 0
    lines, agrees = report(options.scale)
    print(*lines, sep="\n")
    return 0 if agrees else 1


if __name__ == "__main__":
    raise SystemExit(main())
