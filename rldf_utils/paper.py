"""The paper's published numbers, and how our runs stand beside them.

The tables are transcriptions in data/paper/*.csv; `tests/test_paper.py` checks them.
"""

import numpy as np
import pandas as pd

from rldf_utils import stats
from rldf_utils.results import DATA

CITATION = """\
@article{marathe2023rldf,
  title   = {Reinforcement Learning from Diffusion Feedback: {Q*} for Image Search},
  author  = {Marathe, Aboli},
  journal = {arXiv preprint arXiv:2311.15648},
  year    = {2023}
}"""
SETTING = ["agent", "reward", "epsilon"]  #: what names a row of Table 3
STATISTICS = ["D_f", "D_max", "D_min", "rho", "sigma2", "conv", "f_semantic", "c_semantic"]  #: Table 3's columns


def _table(number: int) -> pd.DataFrame:
    return pd.read_csv(DATA / "paper" / f"table_{number}.csv")


def table_1() -> pd.DataFrame:
    """Table 1, one row per value: FID and KID to ImageNet and its shifted sets; NaN where the paper has no report."""
    return _table(1)


def table_2() -> pd.DataFrame:
    """Table 2: top-1 accuracy, in per cent, of the ResNet-18 trained on the clone."""
    return _table(2)


def table_3() -> pd.DataFrame:
    """Table 3: 18 training runs, one per setting. `rho` is the standard deviation and `sigma2` the variance of D."""
    return _table(3)


def compare_table_3(runs: pd.DataFrame, rng: np.random.Generator, draws: int = 1000) -> pd.DataFrame:
    """Where each number of Table 3 falls among our runs of the same setting.

    Args:
        runs: one row per run, with the columns SETTING and STATISTICS; and `target`, if there are several, and `seed`.
        rng: draws the bootstrap samples.

    Returns:
        One row per setting and statistic: `paper`, our `median`, `low` and `high` (2.5 and 97.5 percentiles over the
        runs), `mean` with its 95 % interval by the stratified bootstrap (`mean_low`, `mean_high`; strata: targets), `n`
        runs, and `percentile`: the mid-rank, 0 to 100, of the paper's value among ours.

    Raises:
        ValueError: a column is missing, or a setting is not in Table 3.
    """
    if missing := [column for column in SETTING + STATISTICS if column not in runs]:
        raise ValueError(f"the runs have no column {', '.join(missing)}")
    published = table_3().set_index(SETTING)
    rows = []
    for setting, group in runs.groupby(SETTING, sort=False):
        if setting not in published.index:
            raise ValueError(f"Table 3 has no setting agent, reward, epsilon = {setting}")
        strata = [part for _, part in group.groupby("target")] if "target" in group else [group]
        for statistic in STATISTICS:
            ours, paper = group[statistic].to_numpy(float), float(published.loc[setting, statistic])
            low, median, high = np.percentile(ours, [2.5, 50, 97.5])
            scores = np.stack([part[statistic].to_numpy(float) for part in strata])
            middle = stats.interval(scores, rng, lambda drawn: drawn.mean(-1), draws)
            rank = 100 * ((ours < paper).mean() + (ours == paper).mean() / 2)
            rows.append((*setting, statistic, paper, median, low, high, ours.mean(), *middle, len(ours), rank))
    columns = [*SETTING, "statistic", "paper", "median", "low", "high", "mean", "mean_low", "mean_high", "n", "percentile"]
    return pd.DataFrame(rows, columns=columns)


def layout_table_3(compared: pd.DataFrame, scale: str) -> str:
    """Table 3 in the paper's layout, as Markdown: in each cell the paper's number, then our median and central 95 %.

    Bold: the paper's number lies outside our central 95 %.
    """
    rows = []
    for setting, group in compared.groupby(SETTING, sort=False):
        row = dict(zip(SETTING, setting, strict=True))
        for r in group.itertuples():
            paper = f"**{r.paper:g}**" if r.paper < r.low or r.paper > r.high else f"{r.paper:g}"
            row[r.statistic] = f"{paper}; {r.median:.3g} ({r.low:.3g} to {r.high:.3g})"
        rows.append(row)
    head = f"Each cell: the paper's number; ours at scale {scale}: median (2.5 to 97.5 percentile)"
    head += f", n = {compared['n'].iloc[0]} runs per row."
    note = "Bold: the paper's number lies outside our central 95 %."
    return f"{head} {note}\n\n{pd.DataFrame(rows).to_markdown(index=False)}\n"


def contradictions(compared: pd.DataFrame, one_policy: bool) -> pd.DataFrame:
    """Where the paper's statements about Table 3 and its own numbers or algorithm disagree: claim, its two places, verdict.

    Args:
        compared: of `compare_table_3`.
        one_policy: whether neither reward nor epsilon changed any of our Random runs.
    """
    table = table_3()
    random, learners = table[table["agent"] == "Random"], table[table["agent"] != "Random"]
    ours = compared[(compared["agent"] == "Random") & (compared["statistic"] == "D_f")]
    d_f, arrived = learners.groupby("epsilon")["D_f"].mean(), table.groupby("epsilon")["conv"].sum()
    two = int(table[table["reward"] == 2]["conv"].sum())
    rows = [
        ("reward and epsilon change what Random does", f"Table 3: its six rows span D_f {random['D_f'].min():g} to {random['D_f'].max():g}",
         f"Algorithm 1, line 18: at random; ours spans {ours['low'].min():.3g} to {ours['high'].max():.3g} in any one of them",
         one_policy),
        ("0.1 is the optimal epsilon", f"caption of Table 3; {arrived[0.1]:g} of its {arrived.sum():g} arrivals are at 0.1",
         f"Table 3: the learners' mean D_f is {d_f[0.1]:.2f} at 0.1 and {d_f[0.01]:.2f} at 0.01", d_f[0.1] > d_f[0.01]),
        ("the partial-semantic reward serves arriving", "section 5, 3, and Figure 6", f"Table 3: {two} arrivals in its six rows", two == 0),
    ]  # fmt: skip
    verdicts = ["ill-posed" if contradicted else "undecided" for *_, contradicted in rows]
    return pd.DataFrame([row[:3] for row in rows], columns=["claim", "place", "against it"]).assign(verdict=verdicts)


def theorem(errors: pd.DataFrame, pairs: int, steps: int) -> pd.DataFrame:
    """The convergence theorem (section 3) in two rows: its conclusion under its conditions, and what it says of runs of `steps` steps.

    The conclusion is reproduced if with every step size that meets the conditions the error still falls: by half or more
    over the last two decades of steps. A run can visit every pair only if it has as many steps as there are pairs.

    Args:
        errors: of `sweep.convergence`; labels that begin with "1/N" meet the conditions.
        pairs: of state and action.
    """
    ratios = {}
    for name, part in errors.groupby("step_size", sort=False):
        last = part[part["steps"] >= part["steps"].max() / 100]["error"]
        ratios[name] = last.iloc[-1] / last.iloc[0]
    falls = all(ratio <= 0.5 for name, ratio in ratios.items() if name.startswith("1/N"))
    text = ", ".join(f"{name}: {ratio:.2g}" for name, ratio in ratios.items())
    return pd.DataFrame([
        {"claim": "Q-learning converges under the theorem's conditions", "measured": f"the error's ratio over the last two decades: {text}",
         "verdict": "reproduced" if falls else "undecided"},
        {"claim": f"the theorem guarantees anything about {steps} steps", "measured": f"{pairs:,} pairs, each to be visited for ever",
         "verdict": "contradicted" if steps < pairs else "undecided"},
    ])  # fmt: skip
