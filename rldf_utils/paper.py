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
        runs), `iqm` with its 95 % interval by the stratified bootstrap (`iqm_low`, `iqm_high`; strata: targets), `n`
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
            middle = stats.interval(scores, rng, draws=draws)
            rank = 100 * ((ours < paper).mean() + (ours == paper).mean() / 2)
            rows.append((*setting, statistic, paper, median, low, high, stats.interquartile_mean(ours), *middle, len(ours), rank))
    columns = [*SETTING, "statistic", "paper", "median", "low", "high", "iqm", "iqm_low", "iqm_high", "n", "percentile"]
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
    head = f"Each cell: the paper's number; ours at scale {scale}: median (2.5 to 97.5 percentile), n = {compared['n'].iloc[0]} runs a row."
    note = "Bold: the paper's number lies outside our central 95 %."
    return f"{head} {note}\n\n{pd.DataFrame(rows).to_markdown(index=False)}\n"
