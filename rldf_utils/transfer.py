"""Table 2: classifiers that are trained on one set of pictures and tested on others, the questions as paired effects, the figure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from rldf_utils import clone, cloning_charts, imagenet, paper, stats
from rldf_utils.grammar import Grammar

#: the training sets in their order, with what tables and figures call them
NAMES = cloning_charts.NAMES | {"steps": "clone + real, equal steps", "epochs": "clone + real, equal epochs", "wrong": "clone, wrong names"}
COLOURS = cloning_charts.COLOURS | {"steps": "#cc79a7", "epochs": "#9467bd", "wrong": "#7f7f7f"}
TEST = "real test"  #: real pictures that no training saw: the test of every question
SAMPLE = "real sample"  #: of the real training pictures
PAPER = {"Validation Set (Our clone)": None, "ImageNet100 (Random Sample)": SAMPLE, "ImageNet100 (Validation Set)": TEST,
         "Generated IN100 [19]": "plain"}  #: the paper's tests -> ours; None: each set's own  # fmt: skip
Data = tuple["np.ndarray | Rows", np.ndarray]  #: pictures (n, size, size, 3) or features (n, d), and labels (n,)
Hits = Mapping[tuple[str, str, str], np.ndarray]  #: (classifier, trained on, test) -> which were right: bool (seeds, pictures)
Term = tuple[float, np.ndarray, np.ndarray, str]  #: sign, hits (seeds, pictures), labels (pictures,), name of the test


@dataclass(frozen=True)
class Rows:
    """Rows of several arrays, read when they are asked for: at paper scale the pictures lie on disk and do not fit into memory."""

    parts: tuple[np.ndarray, ...]
    where: np.ndarray  #: (n, 2): number of the part, and of the row in it

    def __len__(self) -> int:
        return len(self.where)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        where = self.where[rows]
        found = np.empty((len(where), *self.parts[0].shape[1:]), self.parts[0].dtype)
        for number in np.unique(where[:, 0]):
            here = where[:, 0] == number
            found[here] = self.parts[number][where[here, 1]]
        return found

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.parts[number][row] for number, row in self.where)


def misnamed(manifest: pd.DataFrame, grammar: Grammar, nouns: Sequence[str], share: float = 0.3) -> pd.DataFrame:
    """The rows of a clone whose class names were taken for something else: its own sentences and seeds, with another noun.

    As an ambiguous name does: "crane" asks for a bird and gets a machine. The other thing is the next noun that is no class of
    the clone, if there is one.

    Args:
        manifest: of `clone.clone`; sha256 comes out empty.
        grammar: of its encodings.
        nouns: of the class ids in their order, 'dog/dogs' or 'dog'.
        share: of the classes, evenly spread; at least one.
    """
    words = list(grammar.axes["Noun"])
    ids = sorted(manifest["class_id"].unique())
    chosen = np.linspace(0, len(ids) - 1, max(1, round(share * len(ids)))).astype(int)
    column, taken = list(grammar.axes).index("Noun"), {noun.split("/")[0] for noun in nouns}
    parts = []
    for k in chosen:
        first = words.index(nouns[k].split("/")[0])
        after = [words[(first + step) % len(words)] for step in range(1, len(words))]
        other = next((word for word in after if word not in taken), after[0])
        taken.add(other)
        rows = manifest[manifest["class_id"] == ids[k]].drop(columns=clone.FILLED[1:], errors="ignore")
        codes = clone.encodings(rows)
        codes[:, column] = words.index(other)
        parts.append(rows.assign(noun=other, prompt=[grammar.surface(tuple(code)) for code in codes.tolist()],
                                 encoding=clone.written(codes), sha256=""))  # fmt: skip
    found = pd.concat(parts, ignore_index=True)
    found.attrs = {}
    return found


def read(roots: Sequence[Path], size: int, ids: Sequence[str]) -> Data:
    """Pictures, uint8 (n, size, size, 3), and labels of folders of one folder per class, mapped from disk.

    Args:
        ids: class ids in the order of their labels; a folder may lack some. What a clone's manifest flags is left out.
    """
    parts = []
    for root in roots:
        pixels, labels, names = imagenet.arrays(root, size, [i for i in ids if (root / i).is_dir()], clone.flagged(root.parent))
        parts.append((pixels, np.searchsorted(ids, names)[labels]))
    return joined(*parts)


def joined(*sets: Data) -> Data:
    """Several sets as one."""
    parts, where = (), []
    for x, _ in sets:
        rows = x if isinstance(x, Rows) else Rows((x,), np.stack([np.zeros(len(x), int), np.arange(len(x))], 1))
        where.append(rows.where + [len(parts), 0])
        parts += rows.parts
    return Rows(parts, np.concatenate(where)), np.concatenate([labels for _, labels in sets])


def taken(data: Data, rows: np.ndarray) -> Data:
    """The rows of a set that are numbered, or True."""
    (x, labels), rows = joined(data), np.arange(len(data[1]))[rows]
    return Rows(x.parts, x.where[rows]), labels[rows]


def replaced(data: Data, by: Data) -> Data:
    """A set in which the classes of another hold that one's pictures, as many as before: the first ones, or some of them twice."""
    rows = [np.resize(np.flatnonzero(by[1] == label), (data[1] == label).sum()) for label in np.unique(by[1])]
    return joined(taken(data, ~np.isin(data[1], by[1])), taken(by, np.sort(np.concatenate(rows))))


def drawn(data: Data, n: int, rng: np.random.Generator) -> Data:
    """n rows of a set, in its order; all of them if it has no more."""
    return taken(data, np.sort(rng.permutation(len(data[1]))[:n]))


def trainings(data: Mapping[tuple[str, str], Data]) -> dict[str, Data]:
    """What is trained on: the sets at hand, clone and real together (twice, see the notebook), and the clone with wrong names.

    Args:
        data: (set, split) -> pictures or features; "wrong" holds the misnamed classes only. The first clone of `NAMES` is meant.
    """
    sets = {kind: data[kind, "train"] for kind in NAMES if (kind, "train") in data and kind != "wrong"}
    first = next(kind for kind in ("context", "all") if kind in sets)
    sets["steps"] = sets["epochs"] = joined(sets[first], sets["real"])
    return sets | {"wrong": replaced(sets[first], data["wrong", "train"])}


def tests(data: Mapping[tuple[str, str], Data]) -> dict[str, Data]:
    """What is tested on: by its name each training set's own validation pictures, "<set>, training", `TEST` and `SAMPLE`."""
    own = trainings({(kind, "train"): part for (kind, split), part in data.items() if split == "own"})
    first = next(kind for kind in ("context", "all") if kind in own)
    own |= {"steps": own[first], "epochs": own[first], TEST: data["real", "test"], SAMPLE: data["real", "sample"]}
    return own | {f"{kind}, training": part for kind, part in trainings(data).items()}


def asked(kind: str) -> list[str]:
    """The tests of a training set."""
    return list(dict.fromkeys((f"{kind}, training", kind, SAMPLE, TEST, "plain")))


def effect(terms: Sequence[Term], rng: np.random.Generator, draws: int = 1000) -> tuple[float, float, float]:
    """A signed sum of mean accuracies, and its 95 % interval over seeds and pictures together.

    A crossed bootstrap (Owen, 2007): seeds are drawn, the same ones for all terms, and pictures, within their class, the same
    ones for all terms of one test. One fewer is drawn than there are, so that the variance of a mean is not too small where
    there are few (Rao and Wu, 1988).
    """

    def weights(n: int) -> np.ndarray:
        return rng.multinomial(max(1, n - 1), np.full(n, 1 / n), size=draws) / max(1, n - 1)

    value, total, pictures = 0.0, np.zeros(draws), {}
    seeds = weights(len(terms[0][1]))
    for sign, hits, labels, test in terms:
        if test not in pictures:
            pictures[test] = np.empty((draws, len(labels)))
            for label in np.unique(labels):
                rows = np.flatnonzero(labels == label)
                pictures[test][:, rows] = weights(len(rows)) * len(rows) / len(labels)
        value += sign * float(hits.mean())
        total += sign * (seeds * (pictures[test] @ hits.T.astype(float))).sum(1)
    low, high = np.percentile(total, [2.5, 97.5])
    return value, min(float(low), value), max(float(high), value)


def accuracies(hits: Hits, truth: Mapping[str, np.ndarray], rng: np.random.Generator) -> pd.DataFrame:
    """One row per classifier, training set and test: accuracy in per cent with its 95 % interval, seeds, pictures."""
    rows = []
    for (classifier, kind, test), right in hits.items():
        numbers = effect([(100, right, truth[test], test)], rng)
        rows.append((classifier, kind, test, *numbers, *right.shape))
    return pd.DataFrame(rows, columns=["classifier", "trained on", "test", "accuracy", "low", "high", "seeds", "pictures"])


def learnt(table: pd.DataFrame, classes: int) -> pd.DataFrame:
    """What each classifier learnt of its own set: accuracy in training and validation, and whether the latter passes 3 x chance.

    Args:
        table: of `accuracies`; training pictures are the test "<set>, training".
    """
    cells, rows = table.set_index(["classifier", "trained on", "test"]), []
    for classifier, kind in dict.fromkeys(zip(table["classifier"], table["trained on"], strict=True)):
        valid = cells.loc[classifier, kind, kind]
        training = cells.loc[classifier, kind, f"{kind}, training"]["accuracy"]
        rows.append((classifier, kind, training, *valid[["accuracy", "low", "high"]], valid["low"] > 300 / classes))
    return pd.DataFrame(rows, columns=["classifier", "trained on", "training", "validation", "low", "high", "learnt"])


def questions(kinds: Sequence[str]) -> list[tuple]:
    """The questions that the training sets at hand can answer: claim, (set, test) minus (set, test), smallest effect, classes.

    Accuracies in points; `classes` of the test that are looked at: "all" or "right" (those whose names were right).
    """
    clones = [kind for kind in ("context", "all") if kind in kinds]
    others = [kind for kind in ("plain", "sampled") if kind in kinds]
    rows = [(f"a gap from {NAMES[kind]} to real pictures", (kind, kind), (kind, TEST), 5, "all") for kind in clones]
    rows += [(f"{NAMES[kind]}: plain names' pictures are easier than real ones", (kind, "plain"), (kind, TEST), 5, "all")
             for kind in clones]  # fmt: skip
    rows += [(f"real pictures beat {NAMES[clones[0]]}", ("real", TEST), (clones[0], TEST), 2, "all")]
    rows += [(f"{NAMES[kind]} beats {NAMES[other]}", (kind, TEST), (other, TEST), 2, "all")
             for kind in clones for other in others]  # fmt: skip
    if len(clones) == 2:
        rows += [("inference axes cost: context beats all axes", ("context", TEST), ("all", TEST), 2, "all")]
    rows += [(f"{NAMES[kind]}: better than real alone", (kind, TEST), ("real", TEST), 2, "all") for kind in ("steps", "epochs")]
    rows += [(f"wrong names cost, {where}", (clones[0], TEST), ("wrong", TEST), 2, classes)
             for where, classes in (("all classes", "all"), ("classes with right names", "right"))]  # fmt: skip
    return rows


def answers(hits: Hits, truth: Mapping[str, np.ndarray], kinds: Sequence[str], wrong: Sequence[int], learning: pd.DataFrame,
            rng: np.random.Generator) -> pd.DataFrame:  # fmt: skip
    """Effect, interval and verdict of every question by every classifier.

    Args:
        wrong: labels of the classes with wrong names.
        learning: of `learnt`; where a set that takes part was not learnt, nothing can be said.

    Returns:
        claim, classifier, effect, low, high, smallest (points of accuracy), verdict; times_n: how many times as many test pictures
        and seeds would decide what is undecided, if the effect stays as it is (1,000 at most).
    """
    known, rows = learning.set_index(["classifier", "trained on"])["learnt"], []
    for claim, one, other, smallest, classes in questions(kinds):
        for classifier in dict.fromkeys(learning["classifier"]):
            if not {(classifier, *one), (classifier, *other)} <= set(hits):
                continue
            terms = []
            for sign, (kind, test) in ((100, one), (-100, other)):
                here = ~np.isin(truth[test], wrong) if classes == "right" else np.full(len(truth[test]), True)
                terms.append((sign, hits[classifier, kind, test][:, here], truth[test][here], test))
            value, low, high = effect(terms, rng) if all(len(term[2]) for term in terms) else (np.nan,) * 3
            word, more = stats.verdict(low, high, 1, smallest), None
            if lacking := [NAMES[kind] for kind in dict.fromkeys((one[0], other[0])) if not known[classifier, kind]]:
                word = f"not testable here (needs own validation above 3 x chance: {', '.join(lacking)})"
            elif word == "undecided":
                more = ceil(min(1000, stats.more((high - low) / 2, abs(value - smallest))))
            rows.append((claim, classifier, value, low, high, smallest, word, more))
    columns = ["claim", "classifier", "effect", "low", "high", "smallest", "verdict", "times_n"]
    return pd.DataFrame(rows, columns=columns).astype({"times_n": "Int64"})


def side_by_side(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `answers` to be read: one row per claim, the classifiers side by side."""
    parts = {"smallest": table.groupby("claim", sort=False)["smallest"].first()}
    for classifier, part in table.groupby("classifier", sort=False):
        part = part.set_index("claim")
        parts[classifier] = pd.Series({r.Index: f"{r.effect:+.1f} ({r.low:+.1f} to {r.high:+.1f})" for r in part.itertuples()})
        more = part["times_n"].map(lambda more: "" if pd.isna(more) else f" (n x {more:,})")
        parts[f"{classifier}, verdict"] = part["verdict"] + more
    return pd.DataFrame(parts).loc[parts["smallest"].index].fillna("").rename_axis("claim")


def layout(table: pd.DataFrame, scale: str) -> pd.DataFrame:
    """Table 2 as in the paper, one row per test: the paper's number, then ours with 95 % intervals, one column per training set.

    Args:
        table: of `accuracies`.
    """
    published = paper.table_2().set_index("dataset")["accuracy"]
    cells, kinds = table.set_index(["classifier", "trained on", "test"]), dict.fromkeys(table["trained on"])
    rows = []
    for classifier in dict.fromkeys(table["classifier"]):
        for dataset, test in PAPER.items():
            row = {"classifier": classifier, "test": dataset, "paper: RLDF clone": f"{published[dataset]:.2f}"}
            for kind in kinds:
                if (key := (classifier, kind, test or kind)) in cells.index:
                    value, low, high = cells.loc[key, ["accuracy", "low", "high"]]
                    row[f"{scale}: {NAMES[kind]}"] = f"{value:.1f} ({low:.1f} to {high:.1f})"
            rows.append(row)
    return pd.DataFrame(rows).fillna("")


def overview(table: pd.DataFrame, classes: int) -> plt.Figure:
    """Table 2 at a glance: one panel per classifier, one row per training set; full: real pictures, hollow: its own validation.

    Args:
        table: of `accuracies`.

    Raises:
        ValueError: an interval that does not hold its estimate.
    """
    if not (table["low"].le(table["accuracy"]) & table["accuracy"].le(table["high"])).all():
        raise ValueError("an interval does not hold its estimate")
    classifiers, kinds = dict.fromkeys(table["classifier"]), list(dict.fromkeys(table["trained on"]))
    figure, panels = plt.subplots(1, len(classifiers), figsize=(9, 0.36 * len(kinds) + 1.1), sharey=True, squeeze=False)
    for classifier, ax in zip(classifiers, panels.flat, strict=True):
        for place, kind in enumerate(reversed(kinds)):
            part = table[(table["classifier"] == classifier) & (table["trained on"] == kind)].set_index("test")
            for test, above, face in ((kind, 0.15, "white"), (TEST, -0.15, COLOURS[kind])):
                if test in part.index:
                    row = part.loc[test]
                    bar = [[row["accuracy"] - row["low"]], [row["high"] - row["accuracy"]]]
                    ax.errorbar(row["accuracy"], place + above, xerr=bar, fmt="o", ms=5, capsize=2, color=COLOURS[kind], mfc=face)
        ax.axvline(100 / classes, color="black", ls=":", lw=1)
        ax.set(title=classifier, xlabel="accuracy, %", xlim=(0, 101))
    panels[0, 0].set_yticks(range(len(kinds)), [NAMES[kind] for kind in reversed(kinds)])
    looks = {"real test pictures": {"marker": "o", "mfc": "black"}, "its own validation pictures": {"marker": "o", "mfc": "white"}}
    handles = [plt.Line2D([], [], ls="", color="black", label=label, **look) for label, look in looks.items()]
    handles.append(plt.Line2D([], [], color="black", ls=":", label="chance"))
    figure.legend(handles=handles, frameon=False, ncols=3, loc="outside upper center")
    return figure
