"""Table 1: FID and KID of rows of pictures to ImageNet and the sets around it, the paper's claims as paired differences, the figure."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import ceil

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from rldf_utils import cloning_charts, paper, stats
from rldf_utils.fid import GROUPS, Estimate, frechet, jackknife

FOLDERS = {name: folder for folder, name in cloning_charts.NAMES.items() if folder != "real"}  #: row -> folder of notebook 6
HELD_OUT = "held-out real"
PAPER = {"context clone": "RLDF", "all-axes clone": "RLDF", "plain names": "Gen [19]", HELD_OUT: "Real [19]"}  #: ours -> the paper's row
COLOURS = {row: cloning_charts.COLOURS[folder] for row, folder in (FOLDERS | {HELD_OUT: "real"}).items()}
Found = Mapping[tuple[str, str, str], Estimate]  #: (metric, row, column) -> its estimate
METRICS = ("FID", "KID")
MANY = 1_000_000  #: images per set; more are not told apart


def tidy(found: Found, classic: Mapping[tuple[str, str], float], n: int) -> pd.DataFrame:
    """One line per number of Table 1: metric, row, dataset, value, low, high (NaN for the classic FID), n images per set.

    Args:
        classic: (row, column) -> FID of all features.
    """
    lines = [(*key, *estimate) for key, estimate in found.items()]
    lines += [("classic FID", *key, value, np.nan, np.nan) for key, value in classic.items()]
    return pd.DataFrame(lines, columns=["metric", "row", "dataset", "value", "low", "high"]).assign(n=n)


def layout(table: pd.DataFrame, labels: Mapping[str, str]) -> pd.DataFrame:
    """Table 1 as in the paper, one column per set: the paper's numbers (NR: not reported), under them ours with 95 % intervals.

    Args:
        table: of `tidy`.
        labels: metric of the table -> what to call it.
    """
    lines = []
    for name, metrics in (("FID", ("classic FID", "FID")), ("KID", ("KID",))):
        published = paper.table_1().query("metric == @name")
        for row in (row for row in ("RLDF", "Gen [19]", "Real [19]") if row in set(published["row"])):
            cells = published[published["row"] == row].set_index("dataset")["value"]
            lines.append({"distance": f"{name}, paper", "row": row, **cells.map(lambda value: "NR" if np.isnan(value) else f"{value:g}")})
        for metric in metrics:
            for row, part in table[table["metric"] == metric].groupby("row", sort=False):
                cells = {r.dataset: written(r.value, r.low, r.high, 3 if name == "KID" else 1) for r in part.itertuples()}
                lines.append({"distance": labels[metric], "row": row, **cells})
    return pd.DataFrame(lines)[["distance", "row", *dict.fromkeys(table["dataset"])]]


def written(value: float, low: float, high: float, digits: int) -> str:
    """A number with its interval, if it has one."""
    return f"{value:.{digits}f}" + ("" if np.isnan(low) else f" ({low:.{digits}f} to {high:.{digits}f})")


def claims(rows: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    """The questions to Table 1, one line per difference: claim, farther (row, column), nearer (row, column).

    A claim holds if its `farther` lies farther than its `nearer`. The paper's own clone has all axes; where it was not
    made, the other stands for it.

    Args:
        rows: of `FOLDERS`, those that were made; held-out real images always are.
    """
    clones = [row for row in ("context clone", "all-axes clone") if row in rows]
    ours = clones[-1]
    lines = [(f"{clone}: nearer to IN than to {c}", (clone, c), (clone, "IN")) for clone in clones for c in columns if c != "IN"]
    others = [row for row in ("sampled sentences", "plain names") if row in rows]
    lines += [(f"{clone}: nearer to IN than {row}", (row, "IN"), (clone, "IN")) for clone in clones for row in others]
    if len(clones) == 2:
        lines += [("inference axes cost: all-axes clone farther from IN than context clone", *((row, "IN") for row in reversed(clones)))]
    lines += [(f"{row}: nearer to {c} than {ours}", (ours, c), (row, c)) for c in ("Sketch", "Im-R")
              for row in (HELD_OUT, *(row for row in others if row == "plain names"))]  # fmt: skip
    return pd.DataFrame(lines, columns=["claim", "farther", "nearer"])


def answers(found: Found, questions: pd.DataFrame, smallest: Mapping[str, float], n: int) -> pd.DataFrame:
    """What the paired differences say about each claim, by FID and by KID, beside the paper's own numbers.

    Args:
        questions: of `claims`.
        smallest: metric -> the smallest difference of interest, named before the run.
        n: images per set.

    Returns:
        One line per claim and metric: paper (the difference in the paper's Table 1; NaN if not reported), difference, low,
        high, verdict, and images: how many per set would decide (at most `MANY`), as far as the interval shrinks with their root.
    """
    published = paper.table_1().set_index(["metric", "row", "dataset"])["value"].to_dict()
    lines = []
    for metric in METRICS:
        for claim, farther, nearer in questions.itertuples(index=False):
            cells = {(metric, PAPER.get(row), column) for row, column in (farther, nearer)}
            theirs = [published.get((metric, PAPER.get(row), column), np.nan) for row, column in (farther, nearer)]
            theirs = theirs if len(cells) == 2 else [np.nan, np.nan]  # the paper has one clone
            difference, low, high = estimate = found[metric, *farther] - found[metric, *nearer]
            verdict = stats.verdict(low, high, 1, smallest[metric])
            away = abs(difference - smallest[metric])
            more = ceil(min(n * stats.more(estimate.half, away), MANY)) if verdict == "undecided" else None
            lines.append((claim, metric, theirs[0] - theirs[1], difference, low, high, verdict, more))
    columns = ["claim", "metric", "paper", "difference", "low", "high", "verdict", "images"]
    return pd.DataFrame(lines, columns=columns).astype({"images": "Int64"})


def side_by_side(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `answers` to be read: one line per claim, FID and KID side by side, each with the images that would decide."""
    parts = {}
    for metric, part in table.groupby("metric", sort=False):
        part = part.set_index("claim")
        digits = 3 if metric == "KID" else 1
        parts[f"{metric}, paper"] = part["paper"].map(lambda value: "NR" if np.isnan(value) else f"{value:.3g}")
        parts[f"{metric}, ours"] = [written(r.difference, r.low, r.high, digits) for r in part.itertuples()]
        more = part["images"].map(lambda more: "" if pd.isna(more) else f" (n = {more:,}{' or more' * (more == MANY)})")
        parts[f"{metric}, verdict"] = part["verdict"] + more
    return pd.DataFrame(parts)


def every(verdicts: Sequence[str]) -> str:
    """The verdict on a claim that holds if all its parts do."""
    return next((word for word in ("contradicted", "undecided") if word in set(verdicts)), "reproduced")


def orders(found: Found, row: str, columns: Sequence[str], smallest: Mapping[str, float]) -> pd.DataFrame:
    """Whether FID and KID put the sets in one order: each pair of sets, and which one lies farther from the row by each.

    Returns:
        One line per pair: pair, FID, KID (the farther set, or "open"), and agree: yes, no, or open if either is.
    """
    lines = []
    for one, other in combinations(columns, 2):
        farther = []
        for metric in METRICS:
            _, low, high = found[metric, row, one] - found[metric, row, other]
            sides = ((one, stats.verdict(low, high, 1, smallest[metric])), (other, stats.verdict(low, high, -1, smallest[metric])))
            farther.append(next((name for name, word in sides if word == "reproduced"), "open"))
        agree = "open" if "open" in farther else "yes" if farther[0] == farther[1] else "no"
        lines.append((row, f"{one}, {other}", *farther, agree))
    return pd.DataFrame(lines, columns=["row", "pair", *METRICS, "agree"])


def overview(table: pd.DataFrame) -> plt.Figure:
    """Table 1 at a glance: left FID, right KID, the sets side by side, one colour per row, with 95 % intervals.

    Raises:
        ValueError: an interval that does not hold its value.
    """
    drawn, panels = plt.subplots(1, 2, figsize=(9, 3.6))
    columns, rows = (list(dict.fromkeys(table[name])) for name in ("dataset", "row"))
    for ax, metric in zip(panels, METRICS, strict=True):
        for place, row in enumerate(rows):
            part = table[(table["metric"] == metric) & (table["row"] == row)].set_index("dataset").loc[columns]
            x = np.arange(len(columns)) + 0.15 * (place - (len(rows) - 1) / 2)
            bars = (part["value"] - part["low"], part["high"] - part["value"])
            ax.errorbar(x, part["value"], bars, fmt="o", ms=4, capsize=2, color=COLOURS[row], label=row)
        for edge in np.arange(len(columns) - 1) + 0.5:
            ax.axvline(edge, color="#dddddd", lw=0.8, zorder=0)
        ax.axhline(0, color="black", lw=0.8, zorder=0)
        ax.set_xticks(range(len(columns)), columns)
        ax.set(ylabel=f"{metric}; lower is nearer", xlim=(-0.5, len(columns) - 0.5))
    panels[0].set_title("FID of the principal components")
    panels[1].set_title("KID of all features")
    drawn.legend(*panels[0].get_legend_handles_labels(), frameon=False, ncols=len(rows), loc="outside lower center")
    return drawn


def control(x: np.ndarray, y: np.ndarray, basis: np.ndarray, sizes: Sequence[int]) -> pd.DataFrame:
    """FID of two sets of one distribution, whose true FID is 0, against the number of images: of all features, and of components.

    Args:
        x, y: features, (n, d) and (m, d). The first images are taken at even distances, so that all classes are in each size.
        basis: of `fid.components`.

    Returns:
        One line per size: n, classic, raw (components, as it is), value, low, high (components, by the jackknife).
    """
    lines = []
    for n in sizes:
        one, other = (features[np.linspace(0, len(features) - 1, n).astype(int)] for features in (x, y))
        estimate = jackknife(frechet, one @ basis, other @ basis, groups=min(GROUPS, n))
        lines.append((n, frechet(one, other), estimate.raw, *estimate))
    return pd.DataFrame(lines, columns=["n", "classic", "raw", "value", "low", "high"])


def control_figure(table: pd.DataFrame, components: int) -> plt.Figure:
    """The table of `control`: three ways to state an FID that is 0."""
    drawn, ax = plt.subplots(figsize=(6.5, 3.2))
    ax.plot(table["n"], table["classic"], "s-", color="#7f7f7f", ms=4, label="all features")
    ax.plot(table["n"], table["raw"], "o--", color="#0072b2", ms=4, mfc="white", label=f"{components} components, as it is")
    bars = (table["value"] - table["low"], table["high"] - table["value"])
    ax.errorbar(table["n"], table["value"], bars, fmt="o-", color="#0072b2", ms=4, capsize=3, label=f"{components} components, jackknife")
    ax.axhline(0, color="black", lw=0.8, zorder=0)
    ax.set_xticks(table["n"], table["n"])
    ax.set(xlabel="images per set", ylabel="FID; its true value is 0")
    ax.legend(frameon=False)
    return drawn
