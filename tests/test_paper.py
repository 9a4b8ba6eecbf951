"""The published tables are transcriptions: checked by their own identities, by sums and by hand-read cells."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from rldf_utils import paper

ROWS = paper.table_3().to_dict("records")
IDS = [f"{r['agent']}-{r['reward']}-{r['epsilon']}" for r in ROWS]
HALF_UNIT = 0.005  # Table 3 prints rho and sigma squared with two decimals


def test_table_1_has_four_rows_of_five_datasets():
    table = paper.table_1()
    assert list(table.columns) == ["row", "metric", "dataset", "value", "source"]
    assert len(table) == 20
    for _, group in table.groupby(["row", "metric"]):
        assert list(group.dataset) == ["IN", "Sketch", "Im-R", "Im-A", "Im-O"]
    assert set(table[table.metric == "KID"].row) == {"RLDF"}


def test_table_1_keeps_apart_what_is_quoted():
    table = paper.table_1()
    assert (table.source == np.where(table.row == "RLDF", "this paper", "quoted from [19]")).all()
    assert (table.value.isna() == ((table.row != "RLDF") & table.dataset.isin(["IN", "Im-A", "Im-O"]))).all()


@pytest.mark.parametrize(
    ("row", "metric", "dataset", "value"),
    [("Real [19]", "FID", "Sketch", 248), ("Gen [19]", "FID", "Im-R", 190), ("RLDF", "FID", "IN", 180.8),
     ("RLDF", "FID", "Im-A", 303.7), ("RLDF", "KID", "IN", 0.08), ("RLDF", "KID", "Im-O", 0.06)],
)  # fmt: skip
def test_table_1_cells(row, metric, dataset, value):
    table = paper.table_1().set_index(["row", "metric", "dataset"])
    assert table.value[row, metric, dataset] == value


@pytest.mark.parametrize(
    ("row", "metric", "total"), [("Real [19]", "FID", 473), ("Gen [19]", "FID", 400), ("RLDF", "FID", 1231.4), ("RLDF", "KID", 0.55)]
)
def test_table_1_sums(row, metric, total):
    table = paper.table_1()
    assert table[(table.row == row) & (table.metric == metric)].value.sum() == pytest.approx(total, abs=1e-9)


def test_table_1_nearest_dataset_differs_between_fid_and_kid():
    ours = paper.table_1().query("row == 'RLDF'").pivot(index="dataset", columns="metric", values="value")
    assert (ours.FID.idxmin(), ours.KID.idxmin()) == ("IN", "Im-O")


def test_table_2():
    assert dict(paper.table_2().to_numpy()) == {
        "Validation Set (Our clone)": 85.11,
        "ImageNet100 (Random Sample)": 12.42,
        "ImageNet100 (Validation Set)": 13.16,
        "Generated IN100 [19]": 49.14,
    }


def test_table_3_has_every_setting_once():
    settings = [(r["agent"], r["reward"], r["epsilon"]) for r in ROWS]
    assert settings == list(itertools.product(["Q", "Random", "SARSA"], [1, 2, 3], [0.01, 0.1]))
    assert list(paper.table_3().columns) == paper.SETTING + paper.STATISTICS


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_table_3_rho_is_the_standard_deviation(row):
    least, most = (row["rho"] - HALF_UNIT) ** 2, (row["rho"] + HALF_UNIT) ** 2
    assert least - HALF_UNIT <= row["sigma2"] <= most + HALF_UNIT


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_table_3_final_distance_lies_between_extremes(row):
    assert 0 <= row["D_min"] <= row["D_f"] <= row["D_max"] <= 12
    assert row["sigma2"] <= (row["D_max"] - row["D_min"]) ** 2 / 4 + HALF_UNIT  # Popoviciu's inequality


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_table_3_converges_exactly_where_the_distance_reaches_zero(row):
    assert (row["conv"] > 0) == (row["D_min"] == 0)


def test_table_3_sums():
    assert paper.table_3()[paper.STATISTICS].sum().round(2).to_dict() == {
        "D_f": 111, "D_max": 155, "D_min": 62, "rho": 24.25, "sigma2": 42.82, "conv": 3, "f_semantic": 232, "c_semantic": 195,
    }  # fmt: skip


def test_table_3_means_and_convergences_as_the_notes_count_them():
    table = paper.table_3()
    assert table.groupby("epsilon").D_f.mean().round(2).to_dict() == {0.01: 5.67, 0.1: 6.67}
    assert table.groupby("agent").conv.sum().to_dict() == {"Q": 0, "Random": 1, "SARSA": 2}
    assert set(table[table.conv > 0].epsilon) == {0.1}
    assert table[table.reward == 2].conv.sum() == 0


@pytest.mark.parametrize(
    ("setting", "statistic", "value"),
    [(("Q", 1, 0.01), "c_semantic", 43), (("Q", 3, 0.1), "sigma2", 0.07), (("Random", 1, 0.1), "rho", 3.15),
     (("Random", 3, 0.01), "D_f", 4), (("SARSA", 2, 0.1), "f_semantic", 36), (("SARSA", 3, 0.1), "f_semantic", 51)],
)  # fmt: skip
def test_table_3_cells(setting, statistic, value):
    assert paper.table_3().set_index(paper.SETTING).loc[setting, statistic] == value


def runs(setting=("Q", 1, 0.01), **columns) -> pd.DataFrame:
    """Runs of one setting; statistics not given are 0."""
    n = len(next(iter(columns.values())))
    zeros = {name: [0.0] * n for name in paper.STATISTICS}
    return pd.DataFrame(dict(zip(paper.SETTING, setting, strict=True)) | zeros | columns)


def compare(table: pd.DataFrame) -> pd.DataFrame:
    return paper.compare_table_3(table, np.random.default_rng(0), draws=50)


def test_compare_table_3_on_known_percentiles():
    # The paper has D_f = 1 and D_max = 7 for (Q, 1, 0.01). Of 0..40 one value is below 1, one equals it.
    table = compare(runs(D_f=list(range(41)), D_max=[7.0] * 41)).set_index("statistic")
    assert list(table.index) == paper.STATISTICS
    d_f = table.loc["D_f"]
    assert (d_f.agent, d_f.reward, d_f.epsilon, d_f.paper, d_f.n) == ("Q", 1, 0.01, 1, 41)
    assert (d_f["median"], d_f.low, d_f.high) == (20, 1, 39)
    assert math.isclose(d_f.percentile, 100 * 1.5 / 41)
    assert d_f["mean"] == 20 and 14 < d_f.mean_low < 20 < d_f.mean_high < 26
    assert table.loc["D_max", ["mean", "mean_low", "mean_high"]].tolist() == [7, 7, 7]
    assert table.percentile["D_max"] == 50  # all equal: the middle
    assert table.percentile["c_semantic"] == 100  # the paper's 43 lies above all zeros
    assert table.percentile["conv"] == 50


def test_compare_table_3_takes_runs_of_a_setting_together_and_in_any_order():
    both = pd.concat([runs(D_f=[5.0, 3.0]), runs(("SARSA", 3, 0.1), D_f=[9.0, 8.0, 10.0]), runs(D_f=[4.0])])
    table = compare(both).query("statistic == 'D_f'").set_index("agent")
    assert table.n.to_dict() == {"Q": 3, "SARSA": 3}
    assert table["median"].to_dict() == {"Q": 4, "SARSA": 9}
    assert table.percentile.to_dict() == {"Q": 0, "SARSA": 50}


def test_compare_table_3_draws_within_targets():
    """Two targets that lie far apart, each without spread: the interval has no width."""
    both = pd.concat([runs(D_f=[1.0] * 4).assign(target="near"), runs(D_f=[9.0] * 4).assign(target="far")])
    d_f = compare(both).set_index("statistic").loc["D_f"]
    assert (d_f["mean"], d_f.mean_low, d_f.mean_high, d_f.low, d_f.high, d_f.n) == (5, 5, 5, 1, 9, 8)


def test_layout_of_table_3():
    """The paper has D_f = 1 and D_max = 7 for (Q, 1, 0.01)."""
    text = paper.layout_table_3(compare(runs(D_f=[2.0, 3.0, 4.0], D_max=[6.0, 7.0, 8.0])), "tiny")
    assert "at scale tiny" in text and "n = 3 runs" in text
    assert "**1**; 3 (2.05 to 3.95)" in text and "| 7; 7 (6.05 to 7.95)" in text


def test_compare_table_3_errors():
    with pytest.raises(ValueError, match="no column conv"):
        compare(runs(D_f=[1.0]).drop(columns="conv"))
    with pytest.raises(ValueError, match=r"Table 3 has no setting .*'Q', 1, 0.5"):
        compare(runs(("Q", 1, 0.5), D_f=[1.0]))


def test_citation_names_the_paper():
    for part in ("2311.15648", "Marathe, Aboli", "2023"):
        assert part in paper.CITATION
