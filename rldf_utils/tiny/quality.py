"""What the tiny models are worth: tests on sentences and seeds that no training used, and the bars (notebook A1)."""

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from tqdm import tqdm

from rldf_utils.generate import TextToImage
from rldf_utils.results import DATA
from rldf_utils.tiny import counting, world
from rldf_utils.tiny.judge import Judge, table
from rldf_utils.tiny.networks import RECIPES
from rldf_utils.tiny.sampling import FULL, HELD_OUT, crowd, prompt, sample_semantics, unseen

EYES = {"Noun": 0.99, "Scene": 0.99, "Frequency": 0.95, "Density": 0.93}
COUNTERS = ("judge", "second counter")  #: see `counters`
CONTEXTS = "100 nouns in random contexts"  #: the test of `contexts`
Counter = Callable[[np.ndarray, Sequence[Mapping[str, str]]], np.ndarray]  #: pictures (n, 64, 64, 3), words -> int (n, 2): objects, people
DRAWN = {"Noun": 0.90, "Scene": 0.97, **dict.fromkeys(("Frequency", "Density", "Verb", "Weather", "Time", "Style"), 0.80)}
BARS = {
    ("judge", "fresh renders"): dict.fromkeys(FULL.axes, 0.90) | EYES,
    ("tiny-clip", "fresh renders, zero-shot"): {"Noun": 0.95, "Scene": 0.97, "Frequency": 0.80, "Density": 0.80},
    ("tiny-captioner", "fresh renders"): {"Noun": 0.90},
    ("tiny-sd-v1", CONTEXTS): DRAWN,
    ("tiny-sd-v2", CONTEXTS): {"Noun": 0.85},
    ("tiny-clip", "crowds, zero-shot"): {"Frequency": 0.90, "Density": 0.90},
    **{(eye, "golden set"): {"objects": 0.92} for eye in COUNTERS},
    **{(eye, f"crowds, {size}"): dict.fromkeys(("objects", "people"), 0.98) for eye in COUNTERS
       for size in ("16 px", "24 px", "32 px", "mixed")},
    **{(name, f"{on}, counted by the {eye}"): {"objects": least} for eye in COUNTERS for name, on, least in (
        ("tiny-sd-v1", CONTEXTS, 0.85), ("tiny-sd-v2", CONTEXTS, 0.80),
        *((name, "base world", 0.95) for name in RECIPES))},
}  #: (model, test) -> axis -> least share that makes the model good enough to believe in
NEAR = 0.05
PEERS = {
    ("tiny-sd-v2", CONTEXTS): (("tiny-sd-v1", CONTEXTS), set(DRAWN) - {"Noun"}),
    **{(name, "unseen pairs"): ((name, "seen pairs"), {"Noun"}) for name in RECIPES},
}  #: (model, test) -> another one that it may lie `NEAR` below, in these axes


def contexts(rng: np.random.Generator, each: int) -> list[dict[str, str]]:
    """Every noun of the full grammar in `each` random contexts of all axes: what the models are measured on."""
    return [sample_semantics(rng, mix=(0, 0, 0)) | {"Noun": noun} for noun in FULL.axes["Noun"] for _ in range(each)]


def pairs(rng: np.random.Generator, count: int, held_out: bool) -> list[dict[str, str]]:
    """Plain sentences whose (noun, scene) pairs are all `unseen`, or all seen."""
    out: list[dict[str, str]] = []
    while len(out) < count:
        semantics = sample_semantics(rng, mix=(0, 0, 1))
        if unseen(semantics) == held_out:
            out.append(semantics)
    return out


def draw(model: TextToImage, wanted: Sequence[Mapping[str, str]], progress: str | None) -> np.ndarray:
    """One picture of each semantics, uint8 (n, 64, 64, 3), by the full grammar's sentence; the seed is its number, held out."""
    parts = []
    for start in tqdm(range(0, len(wanted), model.batch), desc=progress, unit="batch", mininterval=10, disable=progress is None):
        part = wanted[start : start + model.batch]
        parts.append(model([prompt(w) for w in part], [HELD_OUT + start + i for i in range(len(part))]))
    return np.concatenate(parts)


def crowds(rng: np.random.Generator, count: int) -> tuple[np.ndarray, list[dict[str, str]], list[world.Layout]]:
    """Renders of all axes whose number of objects and people neither the words nor the sizes tell, their words, and what is there.

    0 to 9 objects and 0 to 6 people; in every other picture at most 4 and 3, so that large ones have room.
    """
    wanted = [sample_semantics(rng, mix=(0, 0, 0)) for _ in range(count)]
    most = [(9, 6) if k % 2 else (4, 3) for k in range(count)]
    layouts = [crowd(rng, int(rng.integers(objects + 1)), int(rng.integers(people + 1))) for objects, people in most]
    pictures = [world.render(w, HELD_OUT + k, places=layout) for k, (w, layout) in enumerate(zip(wanted, layouts, strict=True))]
    return np.stack(pictures), wanted, layouts


def by_size(found: np.ndarray, layouts: Sequence[world.Layout]) -> dict[str, dict[str, tuple[int, int]]]:
    """How often the exact number is found, apart for what is there: all of 16, 24 or 32 px, sizes mixed, or none.

    Args:
        found: int (n, 2), objects and people.

    Returns:
        {size: {"objects" or "people": (right, of how many)}}
    """
    rows: dict[str, dict[str, tuple[int, int]]] = {}
    for numbers, layout in zip(found, layouts, strict=True):
        for what, number, boxes in zip(("objects", "people"), numbers, layout, strict=True):
            sizes = {size for _, _, size in boxes}
            row = rows.setdefault("none" if not sizes else "mixed" if len(sizes) > 1 else f"{sizes.pop()} px", {})
            right, n = row.get(what, (0, 0))
            row[what] = right + int(number == len(boxes)), n + 1
    return rows


def counted(found: np.ndarray, wanted: Sequence[Mapping[str, str]]) -> dict[str, tuple[int, int]]:
    """How often pictures show the number that their sentences say: (right, of how many), in all and for each word.

    `found`: int (n, 2), objects and people. Many objects are 5 to 7, many people 4; "objects" are those of one, two and three.
    """
    rows: dict[str, tuple[int, int]] = {}
    for numbers, words in zip(found, wanted, strict=True):
        for what, number, word in zip(("objects", "people"), numbers, (words["Frequency"], words["Density"]), strict=True):
            fewest, most = (4, 4) if (what, word) == ("people", "many") else world.COUNTS[word]
            for row in ([] if (what, word) == ("objects", "many") else [what]) + [f"{what}: {word}"]:
                right, n = rows.get(row, (0, 0))
                rows[row] = right + int(fewest <= number <= most), n + 1
    return dict(sorted(rows.items()))


def counters(judge: Judge) -> dict[str, Counter]:
    """The two who count: the judge, and the one without a network, which is told what to look for."""

    def judged(pictures: np.ndarray, wanted: Sequence[Mapping[str, str]]) -> np.ndarray:
        found = judge.choices(pictures)
        return np.array([found["Frequency"], found["Density"]]).T

    return dict(zip(COUNTERS, (judged, counting.count), strict=True))


def count_crowds(generators: Sequence[np.random.Generator], count: int, eyes: Mapping[str, Counter]) -> pd.DataFrame:
    """`judge.table` of each of the `counters` on `crowds`, so many of each generator, apart for each size."""
    found: dict[str, list[np.ndarray]] = {eye: [] for eye in eyes}
    layouts: list[world.Layout] = []
    for rng in generators:
        pictures, wanted, places = crowds(rng, count)
        layouts += places
        for eye, look in eyes.items():
            found[eye].append(look(pictures, wanted))
    rows = {eye: by_size(np.concatenate(parts), layouts) for eye, parts in found.items()}
    return pd.concat([table(right, model=eye, on=f"crowds, {size}") for eye in eyes for size, right in sorted(rows[eye].items())])


def count_drawn(pictures: np.ndarray, wanted: Sequence[Mapping[str, str]], eyes: Mapping[str, Counter],
                model: str, on: str) -> pd.DataFrame:  # fmt: skip
    """`judge.table` of `counted` by each of the `counters`, and how often they agree (axis "objects", "people")."""
    found = {eye: look(pictures, wanted) for eye, look in eyes.items()}
    rows = [table(counted(numbers, wanted), model=model, on=f"{on}, counted by the {eye}") for eye, numbers in found.items()]
    return pd.concat([*rows, table(_same(*found.values()), model=model, on=f"{on}, both count the same")])


def count_golden(eyes: Mapping[str, Counter], load: Callable[[str], TextToImage], most: int | None = None) -> pd.DataFrame:
    """`judge.table` of each of the `counters` on the `golden` set of all models together.

    Args:
        load: name of a model -> the model, at the 6 steps in which its golden pictures were drawn.
        most: pictures of each model, the first ones; None for all.
    """
    parts = [part[:most] for _, part in golden().groupby("model")]
    pictures = np.concatenate([redraw(load(part["model"].iloc[0]), part) for part in parts])
    rows = pd.concat(parts)
    wanted = [FULL.decode(FULL.parse(sentence)) for sentence in rows["prompt"]]
    there = rows[["objects", "people"]].to_numpy()
    return pd.concat([table(_same(look(pictures, wanted), there), model=eye, on="golden set") for eye, look in eyes.items()])


def _same(found: np.ndarray, there: np.ndarray) -> dict[str, tuple[int, int]]:
    return {what: (int(k), len(found)) for what, k in zip(("objects", "people"), (found == there).sum(0), strict=True)}


def golden() -> pd.DataFrame:
    """Generated pictures counted by looking, data/golden/counts.csv: model, prompt, seed, objects, people."""
    return pd.read_csv(DATA / "golden" / "counts.csv")


def redraw(model: TextToImage, rows: pd.DataFrame) -> np.ndarray:
    """The pictures of `golden`'s rows of one model, uint8 (n, 64, 64, 3)."""
    parts = [rows.iloc[start : start + model.batch] for start in range(0, len(rows), model.batch)]
    return np.concatenate([model(part["prompt"].tolist(), part["seed"].tolist()) for part in parts])


def named(caption: str) -> str:
    """The longest of the hundred nouns that a caption holds, in either form; '' if none."""
    held = [form for word in FULL.words["Noun"] for form in word.split("/") if re.search(rf"\b{re.escape(form)}\b", caption)]
    longest = max(held, key=len, default="")
    return next((word.split("/")[0] for word in FULL.words["Noun"] if longest in word.split("/")), "")


def against_bars(measured: pd.DataFrame) -> pd.DataFrame:
    """The rows of `judge.table` (with columns model and on) with their `bar`, whether the share has `met` it, and is `sure` to.

    Sure: the whole interval lies on that side of the bar.
    """
    shares = {(row.model, row.on, row.axis): row.share for row in measured.itertuples()}

    def bar(model: str, on: str, axis: str) -> float:
        peer, axes = PEERS.get((model, on), (("", ""), ()))
        if axis in axes:
            return shares.get((*peer, axis), np.nan) - NEAR
        return BARS.get((model, on), {}).get(axis, np.nan)

    bars = [bar(row.model, row.on, row.axis) for row in measured.itertuples()]
    met = [None if np.isnan(bar) else share >= bar for bar, share in zip(bars, measured["share"], strict=True)]
    sure = [np.nan if np.isnan(bar) else low >= bar or high < bar
            for bar, low, high in zip(bars, measured["low"], measured["high"], strict=True)]  # fmt: skip
    return measured.assign(bar=bars, met=met, sure=sure)


def titles(wanted: Sequence[Mapping[str, str]], judged: Sequence[Mapping[str, str]], width: int = 22) -> tuple[list[str], list[int]]:
    """What stands over pictures: the sentence, and what the judge sees instead where an axis is wrong; and which are all right."""
    out, right = [], []
    for k, (words, seen) in enumerate(zip(wanted, judged, strict=True)):
        wrong = [axis for axis in FULL.axes if axis in world.visible(words) and seen[axis] != words[axis]]
        seen_instead = "; ".join(f"{axis.lower()}: {seen[axis] or 'plain'}" for axis in wrong)
        texts = [prompt(dict(words)), *([f"[{seen_instead}]"] if wrong else [])]
        out.append("\n".join(textwrap.fill(text, width) for text in texts))
        right += [] if wrong else [k]
    return out, right


def figure_counts(measured: pd.DataFrame, tests: Sequence[str]) -> plt.Figure:
    """Share of exact numbers for each word, with intervals; one panel a model and test, one colour a counter.

    `measured`: with the rows of `count_drawn`.
    """
    panels = [(name, on) for on in tests for name in RECIPES]
    words = [f"objects: {word}" for word in FULL.axes["Frequency"]] + [f"people: {word}" for word in FULL.axes["Density"]]
    figure, axes = plt.subplots(1, len(panels), figsize=(2.7 * len(panels), 2.8), sharey=True)
    for ax, (name, on) in zip(axes, panels, strict=True):
        for shift, eye, color in zip((-0.12, 0.12), COUNTERS, ("#0072b2", "#d55e00"), strict=True):
            part = measured[(measured["model"] == name) & (measured["on"] == f"{on}, counted by the {eye}")].set_index("axis")
            part = part.reindex(words)
            error = part["share"] - part["low"], part["high"] - part["share"]
            ax.errorbar(np.arange(len(part)) + shift, part["share"], error, fmt="o", ms=4, color=color, label=eye)
        ax.set_xticks(range(len(words)), words, rotation=90)
        ax.set(title=f"{name}\n{on}", ylim=(0, 1.03))
    axes[0].set_ylabel("exact number right")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
