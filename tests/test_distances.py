"""Table 1: its layout, the paper's claims as paired differences, the order of the sets, the figures."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from rldf_utils import distances, fid, stats

ROWS, COLUMNS = ("context clone", "all-axes clone", "sampled sentences", "plain names"), ("IN", "Sketch", "Im-R", "Im-A", "Im-O")
SMALLEST = {"FID": 4.0, "KID": 0.01}
PLACES = {"context clone": 1.0, "all-axes clone": 5.0, "sampled sentences": 2.0, "plain names": 9.0, "held-out real": 0.0}


def estimate(value: float, spread: float, *names: str) -> fid.Estimate:
    """A value whose interval is the wider the larger the spread; shifts of one name are the same in all estimates."""
    return fid.Estimate(value, {name: spread * np.linspace(-1, 1, 20) * (-1) ** len(name) for name in names})


def found(spread: float = 0.01) -> dict:
    """Distances that grow with the row's place and with the column's number; KID a hundredth of FID."""
    return {(metric, row, column): estimate(unit * (place + 20 * number), unit * spread, row, column)
            for metric, unit in (("FID", 1.0), ("KID", 0.01)) for row, place in PLACES.items()
            for number, column in enumerate(COLUMNS)}  # fmt: skip


def table(spread: float = 0.01) -> pd.DataFrame:
    classic = {(row, column): 100.0 for row in PLACES for column in COLUMNS}
    return distances.tidy(found(spread), classic, 500)


def test_the_table_has_one_line_per_number_and_the_classic_fid_no_interval():
    lines = table()
    assert lines["metric"].value_counts().to_dict() == {"FID": 25, "KID": 25, "classic FID": 25} and set(lines["n"]) == {500}
    measured = lines[lines["metric"] != "classic FID"]
    assert (measured["low"] < measured["value"]).all() and (measured["value"] < measured["high"]).all()
    assert lines[lines["metric"] == "classic FID"][["low", "high"]].isna().all(axis=None)


def test_the_layout_sets_ours_under_the_paper_s():
    shown = distances.layout(table(), {"classic FID": "FID, all", "FID": "FID, 64 components", "KID": "KID"})
    assert list(shown.columns) == ["distance", "row", *COLUMNS]
    assert list(dict.fromkeys(shown["distance"])) == ["FID, paper", "FID, all", "FID, 64 components", "KID, paper", "KID"]
    cells = shown.set_index(["distance", "row"])
    assert cells.loc[("FID, paper", "RLDF")].tolist() == ["180.8", "255.3", "227.5", "303.7", "264.1"]
    assert cells.loc[("FID, paper", "Gen [19]")].tolist() == ["NR", "210", "190", "NR", "NR"]
    assert cells.loc[("FID, all", "plain names"), "Sketch"] == "100.0" and ("KID, paper", "Gen [19]") not in cells.index
    value, low, high = found()["KID", "plain names", "Sketch"]
    assert cells.loc[("KID", "plain names"), "Sketch"] == f"{value:.3f} ({low:.3f} to {high:.3f})"


@pytest.mark.parametrize("rows, number, ours", [(ROWS, 17, "all-axes clone"), (("context clone", "plain names"), 9, "context clone"),
                                                (("all-axes clone",), 6, "all-axes clone")])  # fmt: skip
def test_claims_are_about_the_rows_that_were_made(rows, number, ours):
    questions = distances.claims(rows, COLUMNS)
    assert len(questions) == number and questions["claim"].is_unique
    used = {row for row, _ in (*questions["farther"], *questions["nearer"])}
    assert used == {*rows, distances.HELD_OUT}
    assert f"held-out real: nearer to Sketch than {ours}" in set(questions["claim"])
    pairs = zip(questions["farther"], questions["nearer"], strict=True)
    assert all((one[0] == other[0]) != (one[1] == other[1]) for one, other in pairs), "a pair shares its row or its column"


def test_answers_are_paired_differences_with_the_paper_s_beside_them():
    questions, measured = distances.claims(ROWS, COLUMNS), found()
    answers = distances.answers(measured, questions, SMALLEST, 500).set_index(["claim", "metric"])
    assert len(answers) == 2 * len(questions)
    to_r = answers.loc[("context clone: nearer to IN than to Im-R", "FID")]
    difference, low, high = measured["FID", "context clone", "Im-R"] - measured["FID", "context clone", "IN"]
    assert (to_r["difference"], to_r["low"], to_r["high"]) == (difference, low, high) and difference == pytest.approx(40)
    assert to_r["paper"] == pytest.approx(227.5 - 180.8) and to_r["verdict"] == "reproduced" and pd.isna(to_r["images"])
    assert answers.loc[("all-axes clone: nearer to IN than to Im-O", "KID"), "paper"] == pytest.approx(0.06 - 0.08)
    assert answers.loc[("plain names: nearer to Sketch than all-axes clone", "FID"), "paper"] == pytest.approx(255.3 - 210)
    assert answers.loc[("held-out real: nearer to Im-R than all-axes clone", "FID"), "paper"] == pytest.approx(227.5 - 225)
    assert answers.loc[("plain names: nearer to Im-R than all-axes clone", "FID"), "verdict"] == "contradicted"
    cost = answers.xs("inference axes cost: all-axes clone farther from IN than context clone")
    assert cost["paper"].isna().all(), "the paper has one clone"
    assert cost.loc["FID", "difference"] == pytest.approx(4) and cost.loc["FID", "verdict"] == "undecided"


def test_as_many_images_as_would_decide():
    """Half the interval falls with the root of n: four times the images for half of it."""
    questions = distances.claims(("context clone",), COLUMNS)
    answers = distances.answers(found(2.0), questions, SMALLEST, 500)
    open_ones = answers[answers["verdict"] == "undecided"]
    assert len(open_ones) > 3 and answers["images"].isna().equals(answers["verdict"] != "undecided")
    assert open_ones["images"].max() == distances.MANY, "an effect as small as the smallest of interest is never decided"
    for row in open_ones[open_ones["images"] < distances.MANY].itertuples():
        shrink = (500 / row.images) ** 0.5
        ends = [row.difference + (end - row.difference) * shrink for end in (row.low, row.high)]
        assert stats.verdict(*ends, 1, SMALLEST[row.metric] - 1e-9) != "undecided", row
        assert stats.verdict(*(row.difference + (end - row.difference) * shrink * 1.01 for end in (row.low, row.high)), 1,
                             SMALLEST[row.metric]) == "undecided"  # fmt: skip
    read = distances.side_by_side(answers)
    assert list(read.index) == list(questions["claim"]) and read["FID, verdict"].str.contains(r"undecided \(n = [\d,]+\)").any()
    assert read.loc["context clone: nearer to IN than to Im-O", ["FID, paper", "KID, paper"]].tolist() == ["83.3", "-0.02"]


def test_a_claim_of_parts_holds_if_all_do():
    assert distances.every(["reproduced", "reproduced"]) == "reproduced"
    assert distances.every(["reproduced", "undecided"]) == "undecided"
    assert distances.every(["undecided", "contradicted", "reproduced"]) == "contradicted"


def test_whether_fid_and_kid_put_the_sets_in_one_order():
    measured = found()
    order = distances.orders(measured, "context clone", COLUMNS, SMALLEST)
    assert len(order) == 10 and set(order["agree"]) == {"yes"} and order.loc[0, "FID"] == "Sketch"
    measured["KID", "context clone", "IN"] = estimate(0.5, 0.0001, "context clone", "IN")
    measured["FID", "context clone", "Im-A"] = estimate(41.0, 0.01, "context clone", "Im-A")  # as far as Im-R, but for less than matters
    order = distances.orders(measured, "context clone", COLUMNS, SMALLEST).set_index("pair")
    assert order.loc["IN, Sketch", ["FID", "KID", "agree"]].tolist() == ["Sketch", "IN", "no"]
    assert order.loc["Im-R, Im-A", ["FID", "KID", "agree"]].tolist() == ["open", "Im-A", "open"]


def test_the_figure_draws_the_table(request):
    lines = table(0.5)
    figure = distances.overview(lines)
    request.addfinalizer(lambda: plt.close(figure))
    assert tuple(figure.get_size_inches() <= (9, 4)) == (True, True)
    for ax, metric in zip(figure.axes, distances.METRICS, strict=True):
        part = lines[lines["metric"] == metric]
        assert [bars.get_label() for bars in ax.containers] == list(PLACES)
        for bars, (row, cells) in zip(ax.containers, part.groupby("row", sort=False), strict=True):
            points, _, (whiskers,) = bars
            assert points.get_ydata() == pytest.approx(cells["value"]) and points.get_color() == distances.COLOURS[row]
            ends = np.array([segment[:, 1] for segment in whiskers.get_segments()])
            assert ends == pytest.approx(cells[["low", "high"]].to_numpy())
        assert [text.get_text() for text in ax.get_xticklabels()] == list(COLUMNS)


def test_an_interval_that_does_not_hold_its_value_is_not_drawn():
    lines = table()
    lines.loc[lines["metric"] == "FID", "high"] = lines["value"] - 1
    with pytest.raises(ValueError, match="negative"):
        distances.overview(lines)
    plt.close("all")


def test_the_control_is_0_where_fid_as_it_is_is_not(request):
    x, y = np.random.default_rng(0).normal(size=(2, 400, 100))
    basis = np.eye(100)[:, :20]
    lines = distances.control(x, y, basis, [100, 400])
    assert lines["n"].tolist() == [100, 400] and (lines["low"] < 0).all() and (lines["high"] > 0).all()
    assert (lines["raw"] > lines["high"]).all() and (lines["classic"] > 3 * lines["raw"]).all() and lines["classic"].is_monotonic_decreasing
    assert lines.loc[1, "classic"] == fid.frechet(x, y)
    figure = distances.control_figure(lines, 20)
    request.addfinalizer(lambda: plt.close(figure))
    assert len(figure.axes[0].get_legend().get_texts()) == 3 and figure.axes[0].get_ylim()[0] <= lines["low"].min()
