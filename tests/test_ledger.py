"""The ledger: every place of the paper has its row, every row its evidence, every word follows from numbers that a notebook wrote."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from rldf_utils import audit, evidence, ledger, paper, results
from rldf_utils.ledger import WORDS, Claim, combined, word

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"
CLAIMS = ledger.load()
HERE = [claim for claim in CLAIMS if not audit.awaited([claim])]  #: whose notebooks are there
OWN = "10_claims_ledger"  # whose results are there once it has run
FOLDERS = {path.parent.name for path in (RESULTS / "tiny").glob("*/metrics.json")}


@pytest.fixture(scope="module")
def table():
    return ledger.judged("tiny", RESULTS)


# Completeness.


def places() -> list[str]:
    """What the paper has that can be claimed, as patterns of the column `place`."""
    rows = paper.table_3()[paper.SETTING].itertuples(index=False)
    cells = [f"Table 3, row {row.agent}, reward {row.reward}, epsilon {row.epsilon:g}$" for row in rows]
    figures = [rf"Figures? (\d+ and )?{number}\b" for number in range(1, 16)]
    sections = ["section 3, Convergence", "section 3, Semantic Locality", "section 3, Intuition", "section 3, Noisy Diffusion Gradient",
                r"sections? 3\.1", "section 3.1, Image Generation", "section 4", "section 5, Limitations", "conclusion", "abstract",
                "Algorithm 1", "equations 2 to 5"]  # fmt: skip
    return [*cells, *figures, *(f"contribution {n}" for n in range(1, 5)), *(f"section 5, insight {n}" for n in range(1, 9)), *sections]


@pytest.mark.parametrize("place", places())
def test_every_place_of_the_paper_has_a_row(place):
    assert any(re.search(place, claim.place) for claim in CLAIMS)


def test_every_published_cell_of_tables_1_and_2_has_a_row(table):
    one, two = paper.table_1(), paper.table_2()
    ours = one[(one["row"] == "RLDF") & one["value"].notna()]["value"].tolist() + two["accuracy"].tolist()
    assert len(ours) == 14 and sorted(table[table["id"].str.match("T[12]-")]["paper"].dropna()) == sorted(ours)
    assert len(table[table["id"].str.match("T3-[0-9]")]) == 18


#: what the prose claims -> the row that judges it
PROSE = {
    "the start decides much": "I1", "seeds must be fixed": "I2-reached", "moving seeds give looping rewards": "I2-loops",
    "the CLIP reward sticks": "I3-stuck", "the partial-semantic reward is gradual": "I3-near", "distance misleads": "I4",
    "nine times larger: cost": "I5-cost", "nine times larger: works": "I5-works", "some tasks are easy": "I6-easy",
    "random is good in small worlds": "I7-small", "and falls behind": "I7-large", "unrealistic images penalised": "I8-rarer",
    "improves past the goal": "F10-past", "the gradient is fast": "P-gradient-fast", "sticks on plateaus": "P-gradient-plateaus",
    "diverges": "P-gradient-diverges", "captions lose": "F7", "a concept left out": "F8", "erased": "F8-erased",
    "actions": "F9", "any model": "F10-model",
    "sliders": "F13", "many domains": "F14", "a whole clone": "C1-clone", "faithful classes": "F2", "no text, no fine-tuning": "P-no-text",
    "diverse": "F1-diverse", "balanced": "P-balanced",
}  # fmt: skip
#: where the paper contradicts itself -> its row, and what its two places name
ILL_POSED = {
    1: ("T1-nearest", "FID", "KID"), 2: ("T3-random", "Table 3", "Algorithm 1"), 3: ("T3-epsilon", "0.1", "mean D_f"),
    3.5: ("I3-table", "section 5, 3", "0 arrivals"), 4: ("TH-guarantee", "for ever", "100 steps"),
    5: ("TH-encoder", "lines 5 to 23", "line 2"), 6: ("T2-baseline", "section 3.1", "Table 2"), 7: ("TH-scene", "scenes", "object"),
}  # fmt: skip


def test_every_claim_of_the_prose_has_a_row():
    assert set(PROSE.values()) <= {claim.id for claim in CLAIMS}


@pytest.mark.parametrize("number", ILL_POSED)
def test_where_the_paper_contradicts_itself_the_row_is_ill_posed_and_shows_both_places(table, number):
    name, one, other = ILL_POSED[number]
    row = table.set_index("id").loc[name]
    first, second = row["places"].split(" | ")
    assert row["verdict"] == "ill-posed" and one in first and other in second
    assert len(table[table["verdict"] == "ill-posed"]) == len(ILL_POSED)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_a_claim_says_how_it_is_tested_and_on_what_evidence(claim):
    assert len(claim.text) > 5 and claim.place and claim.needs
    if claim.verdict or claim not in HERE:
        return
    assert claim.statistic and claim.fixed, "a test that was not stated"
    for item in claim.evidence:
        if item.notebook == OWN and OWN not in FOLDERS:
            continue
        assert item.rows(RESULTS / "tiny"), f"no such row: {evidence.described(item)}"
        cells = json.loads((ROOT / "notebooks" / f"{item.notebook}.ipynb").read_text())["cells"]
        assert evidence.cell(item) in [cell["id"] for cell in cells if cell["cell_type"] == "code"]


def test_no_claim_waits_for_a_notebook():
    """A notebook that is still to come leaves its claims open; the day it comes, their rows must be there (the tests above)."""
    if waiting := audit.awaited(CLAIMS):
        pytest.skip("; ".join(f"{name} is to come, for {', '.join(ids)}" for name, ids in waiting.items()))


# Words and numbers.


def test_the_words_are_the_kits_and_no_others(table):
    assert set(table["verdict"].map(word)) <= set(WORDS)
    for verdict in table["verdict"]:
        assert re.fullmatch(r"not testable here \(needs .+\)" if verdict.startswith("not") else r"[a-z -]+( \([^()]+\))?", verdict), verdict


def test_the_committed_evidence_has_no_fault():
    assert audit.faults("tiny", RESULTS, [c for c in HERE if OWN in FOLDERS or OWN not in {e.notebook for e in c.evidence}]) == []


def by_csv(path: Path, item: evidence.Evidence) -> dict:
    """The first row that matches, by pandas, where the ledger reads with the csv module."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    for key, text in item.where.items():
        frame = frame[frame[key].str.fullmatch(re.escape(str(text)).replace(r"\*", ".*"))]
    return frame.iloc[0].to_dict()


@pytest.mark.parametrize("claim", [c for c in HERE if c.evidence and c.how != "cells"], ids=lambda claim: claim.id)
def test_numbers_are_those_that_the_notebook_wrote(table, claim):
    row, item = table.set_index("id").loc[claim.id], claim.evidence[0]
    path = RESULTS / "tiny" / item.file.partition("#")[0]
    if item.name.endswith(".json") or not path.is_file():
        return
    written = by_csv(path, item)
    names = [item.estimate] if item.estimate else [n for n in evidence.NAMED if written.get(n)]
    for ours, name in (("estimate", names[0] if names else ""), ("low", item.low), ("high", item.high)):
        assert str(row[ours]) == str(float(written[name])) if written.get(name) else pd.isna(row[ours]), (name, row[ours])
    if claim.how == "verdict" and len(claim.evidence) == 1 and len(item.rows(RESULTS / "tiny")) == 1 and not claim.verdict:
        assert word(row["verdict"]) == word(written["verdict"])


def test_a_row_of_table_3_is_judged_by_its_most_unlikely_number(table):
    rows = pd.read_csv(RESULTS / "tiny" / "03_agent_training_sweeps" / "table_3.csv")
    for (agent, reward, epsilon), part in rows.groupby(paper.SETTING):
        claim = next(c for c in CLAIMS if c.place == f"Table 3, row {agent}, reward {reward}, epsilon {epsilon:g}")
        told = table.set_index("id").loc[claim.id]
        part = part[part["statistic"].isin(ledger.DISTANCES)]
        tail = np.minimum(part["percentile"], 100 - part["percentile"]) / 50
        assert told["paper"] == part.loc[tail.idxmin(), "paper"] and told["statistic"].startswith(part.loc[tail.idxmin(), "statistic"])
        assert word(told["verdict"]) == ("contradicted" if tail.min() < 0.05 / 6 else "undecided")
        if runs := re.search(r"; (\d+) with the same mean would decide", told["verdict"]):
            sure = 2 * norm.sf(norm.isf(tail.min() / 2) * np.sqrt([int(runs[1]) - 1, int(runs[1])]))
            assert sure[1] < 0.05 / 6 <= sure[0], "so many runs, and no fewer"


def test_every_undecided_row_of_this_module_says_what_would_decide(table):
    """What the rows of other notebooks say is theirs; the committed results of 1 and A3 may be older than their n."""
    rows = table[table["id"].str.match("T3-[0-9]") & table["verdict"].str.startswith("undecided")]
    assert len(rows) and rows["verdict"].str.contains(r"\d+ with the same mean would decide").all()


def test_numbers_about_imagenet_wait_for_paper_scale(table):
    rows = table[table["id"].str.match("T1-[FK]ID|T2-(own|sample|real|generated)")]
    assert len(rows) == 14 and rows["verdict"].str.startswith("not testable here (needs ").all()


# How one word comes of several.


@pytest.mark.parametrize(("words", "verdict"), [
    (["reproduced"] * 3, "reproduced"), (["reproduced"] * 2 + ["contradicted"], "depends on the reading"),
    (["contradicted"] * 20 + ["reproduced"], "contradicted"), (["reproduced", "undecided"], "undecided"),
    (["reproduced", "reproduced", "undecided"], "reproduced"), (["contradicted", "depends on the reading"], "depends on the reading"),
    (["reproduced", "not testable here (needs a GPU)"], "reproduced"),
    (["undecided (n = 9 would decide)"], "undecided (n = 9 would decide)"),
    (["undecided (n = 9 would decide)", "contradicted"], "undecided (n = 9 would decide)")])  # fmt: skip
def test_one_word_of_several(words, verdict):
    assert combined(words) == verdict


@pytest.mark.parametrize(("low", "high", "verdict"), [(179, 182, "reproduced"), (170, 174, "contradicted"), (174, 180, "undecided")])
def test_a_published_number_at_paper_scale(tmp_path, low, high, verdict):
    claim = next(c for c in CLAIMS if c.id == "T1-FID-IN")
    path = tmp_path / "paper" / claim.evidence[0].file
    path.parent.mkdir(parents=True)
    path.write_text(f"metric,row,dataset,value,low,high,n\nFID,all-axes clone,IN,{(low + high) / 2},{low},{high},9\n")
    row = ledger.judge(claim, "paper", tmp_path)
    assert (row["paper"], row["verdict"], row["scale"]) == (180.8, verdict, "paper")


def test_what_was_not_run_is_not_testable(tmp_path):
    rows = [ledger.judge(claim, "tiny", tmp_path) for claim in CLAIMS]
    assert {word(row["verdict"]) for row in rows} == {"not testable here", "ill-posed"}
    (captions,) = (claim for claim in CLAIMS if claim.id == "F7")
    assert ledger.judge(captions, "paper", tmp_path)["verdict"] == "not testable here (needs a run of A4_captions_and_encodings)"
    folder = tmp_path / "paper" / "A4_captions_and_encodings"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text("{}")
    (folder / "claims.csv").write_text("world,verdict\nbase,not testable here (needs a judge of photographs)\n")
    assert ledger.judge(captions, "paper", tmp_path)["verdict"] == f"not testable here (needs {captions.needs})"


# Controls: the ledger could say otherwise.


def test_a_claim_known_true_and_one_known_false_come_out_so(table):
    said = table.set_index("id")["verdict"]
    assert said["CT-true"] == said["CT-caption"] == "reproduced" and said["CT-false"] == "contradicted"
    if OWN in FOLDERS:
        assert said["CT-shuffled"] == "contradicted" and said["CT-planted"] == "reproduced"


def test_planted_defects_are_found():
    defects = audit.planted("tiny", 5, np.random.default_rng(1), RESULTS)
    assert len(defects) == 5 * len(audit.DEFECTS) and defects["found"].all(), defects[~defects["found"]]


@pytest.fixture
def copy(tmp_path):
    """A notebook's results, to spoil: a function of its name that returns the folder of results."""

    def of(name: str) -> Path:
        keep = shutil.ignore_patterns("*.png", "*.ipynb", "*.npz", "*.html")
        shutil.copytree(RESULTS / "tiny" / name, tmp_path / "tiny" / name, ignore=keep)
        return tmp_path

    return of


def rewrite(path: Path, change) -> None:
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        change(row)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def named(name: str) -> list[Claim]:
    return [claim for claim in CLAIMS if claim.id == name]


@pytest.mark.parametrize(("claim", "column", "value", "fault"), [
    ("I5-cost", "verdict", "partly reproduced", "is no verdict"), ("I5-cost", "low", "-1", "says 'undecided'"),
    ("I5-cost", "smallest", "2", "says 'contradicted'"), ("I5-cost", "difference", "9", "outside its interval"),
    ("I7-reward", "holds", "2", "its readings say"), ("I5-cost", "claim", "another claim", "there is no row")])  # fmt: skip
def test_each_kind_of_fault_is_named(copy, claim, column, value, fault):
    (known,) = named(claim)
    item = known.evidence[0]
    folder = copy(item.notebook)
    before = audit.faults("tiny", folder, [known])
    (row,) = item.rows(folder / "tiny")
    rewrite(folder / "tiny" / item.file, lambda line: line.update({column: value}) if line == row else None)
    found = [line for line in audit.faults("tiny", folder, [known]) if line not in before]
    assert any(line.startswith(claim) and fault in line for line in found), found


@pytest.mark.parametrize(("change", "message"), [
    ({"kind": "guess"}, "'guess' is not one of number"), ({"group": "Rest"}, "is not one of"), ({"verdict": "true"}, "is not one of"),
    ({"wheer": 1}, "no field is called wheer"), ({"evidence": []}, "give evidence"),
    ({"verdict": "ill-posed"}, "two places"), ({"verdict": "not testable here", "needs": ""}, "say what it needs")])  # fmt: skip
def test_a_mistake_in_the_file_is_named(change, message):
    told = {"id": "X1", "group": "Prose", "place": "p", "text": "t", "kind": "sign", "needs": "n",
            "evidence": [{"file": "a/claims.csv", "where": {}}]}  # fmt: skip
    ledger._claim(dict(told))
    with pytest.raises(ValueError, match=message):
        ledger._claim(told | change)


def test_an_id_given_twice_is_refused(tmp_path):
    text = '[[section]]\ngroup = "Prose"\nplace = "p"\nkind = "sign"\nneeds = "n"\nverdict = "not testable here"\n'
    (tmp_path / "c.toml").write_text(text + '[[section.claim]]\nid = "A"\ntext = "a"\n' * 2)
    with pytest.raises(ValueError, match="the id A is given twice"):
        ledger.load(tmp_path / "c.toml")


# What is shown.


def test_the_counts_leave_out_controls(table):
    ours = table[table["kind"] != "control"]
    assert ledger.counts(table, "scale").to_numpy().sum() == ledger.counts(table, "group").to_numpy().sum() == len(ours)
    assert ledger.says(table).startswith(f"{len(ours)} claims of the paper: ")
    rows = [line for line in ledger.markdown(table).splitlines() if line.startswith("| ") and not line.startswith("| id")]
    assert [line.split(" | ")[0].removeprefix("| ") for line in rows] == table["id"].tolist()
    assert all(line.count(" | ") == 5 for line in rows)


def test_readme_shows_the_status_of_the_committed_results(table):
    readme = (ROOT / "README.md").read_text()
    assert ledger.renewed(readme, table) == readme, "renew it: python -m rldf_utils.ledger --readme"


@pytest.mark.parametrize("text", ["", ledger.START, f"{ledger.END} {ledger.START}", f"{ledger.START}{ledger.END}{ledger.END}"])
def test_a_readme_without_marks_is_refused(table, text):
    with pytest.raises(ValueError, match="once each"):
        ledger.renewed(text, table)


def test_the_file_holds_no_verdict_and_no_number_of_ours():
    """Estimates, intervals and words are read; the words of claims.toml are those that need no run."""
    text = (results.DATA / "paper" / "claims.toml").read_text()
    assert not re.search(r'verdict = "(reproduced|contradicted|undecided|depends)', text)
    assert not re.search(r"^(estimate|low|high|n) = [-\d]", text, re.MULTILINE)
