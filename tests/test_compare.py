"""`make compare` sees what differs, and nothing else; its reference is the committed run."""

import json
import re
from pathlib import Path

import pytest

from rldf_utils import compare, results

ROOT = Path(__file__).resolve().parent.parent


def test_flat_names_every_leaf_once():
    nested = {"a": {"b": 1, "c": [2, 3]}, "claims": [{"claim": "x", "d": 1}, {"claim": "y", "d": 2}], "rows": [{"s": "q"}, {"s": "q"}]}
    assert compare.flat(nested) == {"a / b": 1, "a / c / 0": 2, "a / c / 1": 3, "claims / x / claim": "x", "claims / x / d": 1,
                                    "claims / y / claim": "y", "claims / y / d": 2, "rows / 0 / s": "q", "rows / 1 / s": "q"}  # fmt: skip


def test_kinds_and_texts_of_another_seed():
    assert [compare.kind(v) for v in (1, 0.5, True, "one dog", "reproduced for 4 of 6", "in 90% of the classes")] == [
        "numbers", "numbers", "texts", "texts", "verdicts", "verdicts"]  # fmt: skip
    assert compare.differences({"final": "one dog"}, {"final": "two dogs"}, [])[1]["texts differ"] == 1
    assert compare.differences({"final": "one dog"}, {"final": "two dogs"}, [], texts=False)[0] == []


def test_tolerance_is_three_times_the_largest_measured_difference():
    others = [{"a": 1.2}, {"a": 0.9}, {"b": 5.0}]
    assert compare.tolerance("a", {"a": 1.0}, others) == pytest.approx(0.6)
    assert compare.tolerance("a", {"a": 2.0}, []) == pytest.approx(2e-6), "without a spread, the last digits of single precision"
    assert compare.tolerance("a", {"a": 0.00831}, []) == pytest.approx(1.01e-5), "or the last digit of a rounded number"
    assert compare.tolerance("a", {"a": 480}, []) == pytest.approx(4.8e-4), "a count is exact"


@pytest.mark.parametrize(("ours", "lines"), [
    ({"v": "reproduced", "x": 1.29, "n": 3}, 0),
    ({"v": "reproduced", "x": 1.31, "n": 3}, 1),
    ({"v": "reproduced", "x": 1.0, "n": 4}, 1),
    ({"v": "contradicted", "x": 1.0, "n": 3}, 1),
    ({"v": True, "x": 1.0, "n": 3}, 1),
    ({"x": 1.0, "n": 3}, 1),
    ({"v": "reproduced", "x": 1.0, "n": 3, "new": 0}, 1),
    ({"v": "contradicted", "x": 9, "n": 4}, 3),
])  # fmt: skip
def test_each_kind_of_difference_is_a_line(ours, lines):
    committed, others = {"v": "reproduced", "x": 1.0, "n": 3}, [{"v": "undecided", "x": 1.1, "n": 3}]
    found, count = compare.differences(ours, committed, others)
    assert len(found) == lines == sum(count[f"{kind} differ"] for kind in compare.KINDS)
    if ours.get("v") == "contradicted":
        assert "'reproduced' -> 'contradicted'; it differed in 1 of 1 measured runs too" in found[0]


def test_what_another_processor_said_too_is_told_but_not_counted():
    """At the same seed: some verdicts hang on the last digits. At another seed every change counts."""
    committed, others = {"v": "undecided"}, [{"v": "undecided"}, {"v": "contradicted"}]
    found, count = compare.differences({"v": "contradicted"}, committed, others)
    assert found == ["v: 'undecided' -> 'contradicted', as on another processor that was measured"] and count["verdicts differ"] == 0
    assert compare.differences({"v": "reproduced"}, committed, others)[1]["verdicts differ"] == 1
    assert compare.differences({"v": "contradicted"}, committed, others, texts=False)[1]["verdicts differ"] == 1


@pytest.fixture
def made(tmp_path):
    """A function that makes a run of two notebooks and reports on it; the first one is the committed run."""

    def run(x, verdict, seed=0, name=None):
        for notebook in ("01_a", "02_b"):
            folder = tmp_path / "tiny" / notebook
            folder.mkdir(parents=True, exist_ok=True)
            results.save_metrics(folder, {"x": x, "verdict": verdict}, {"SCALE": "tiny", "SEED": seed}, started=0)
        if name:
            compare.add("tiny", name, tmp_path, tmp_path / "reference.json")
        lines, agrees = compare.report("tiny", tmp_path, tmp_path / "reference.json")
        return "\n".join(lines), agrees

    run(1.0, "reproduced", name="another processor")
    run(1.4, "reproduced", seed=3, name="seed 3")
    run(1.1, "reproduced", name="committed")
    run.folder = tmp_path / "tiny"
    return run


def test_an_equal_run_agrees(made):
    said, agrees = made(1.1, "reproduced")
    assert agrees and said.endswith("AGREES with the committed run: 2 verdicts, 0 texts, 2 numbers")
    assert [r["name"] for r in json.loads((made.folder.parent / "reference.json").read_text())["tiny"]["runs"]][0] == "committed"


def test_a_verdict_or_a_number_that_differs_is_named(made):
    said, agrees = made(1.1, "contradicted")
    assert not agrees and "verdict: 'reproduced' -> 'contradicted'" in said and "DIFFERS from the committed run: 2 of 2 verdicts" in said
    assert made(1.35, "reproduced")[1], "another processor made a difference of 0.1, so 0.25 may be"
    said, agrees = made(1.45, "reproduced")
    assert not agrees and "x: 1.1 -> 1.45 (tolerance 0.3)" in said


def test_another_seed_is_held_against_other_seeds(made):
    assert made(1.9, "reproduced", seed=7)[1] and not made(2.1, "reproduced", seed=7)[1]


def test_what_was_not_run_here_is_not_compared_with_itself(made):
    (made.folder / "01_a" / "run.json").unlink()  # as in a fresh clone
    lines, agrees = compare.report("tiny", made.folder.parent, made.folder.parent / "reference.json")
    assert not agrees and "not run here: 01_a" in lines[-3] and lines[-1].startswith("INCOMPLETE: 1 of 2")
    (made.folder / "02_b" / "metrics.json").write_text("{}\n")  # pulled over what was made here
    assert compare.report("tiny", made.folder.parent, made.folder.parent / "reference.json")[0][-1].startswith("INCOMPLETE: 2 of 2")


def test_other_versions_are_named(made):
    path = made.folder.parent / "reference.json"
    known = json.loads(path.read_text())
    known["tiny"]["runs"][0]["provenance"]["versions"]["numpy"] = "1.0"
    path.write_text(json.dumps(known))
    assert "packages   numpy 1.0 -> " in made(1.1, "reproduced")[0]


def test_the_reference_is_the_committed_run():
    first = json.loads(compare.REFERENCE.read_text())["tiny"]["runs"][0]
    for notebook, metrics in first["notebooks"].items():
        record = json.loads((ROOT / "results" / "tiny" / notebook / "metrics.json").read_text())
        if compare.made_here(ROOT / "results" / "tiny" / notebook) is None:  # else it is a run of this machine
            assert record["metrics"] == metrics, notebook


def stated(text: str) -> float:
    """The seconds that a time such as "tiny 3 min" or "40 s" says."""
    number, unit = re.search(r"(\d+) (s|min)\b", text).groups()
    return float(number) * {"s": 1, "min": 60}[unit]


@pytest.mark.parametrize("name", sorted(json.loads((ROOT / "results" / "reference.json").read_text())["tiny"]["runs"][0]["seconds"]))
def test_stated_times_are_those_of_the_committed_run_within_a_factor_of_two(name):
    took = json.loads((ROOT / "results" / "reference.json").read_text())["tiny"]["runs"][0]["seconds"][name]
    cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())["cells"]
    [said] = re.findall(r"\btiny (\d+ (?:s|min))", "".join(cells[1]["source"]))
    [row] = re.findall(rf"^\|.*\]\(notebooks/{name}\.ipynb\).*$", (ROOT / "README.md").read_text(), re.M)
    for text in (said, row.rsplit("|", 2)[1]):
        assert took / 2 <= stated(text) <= 2 * took, f"{name} took {took} s, and {text.strip()} is said"


def test_the_reference_has_other_seeds_and_another_processor():
    first, *others = json.loads(compare.REFERENCE.read_text())["tiny"]["runs"]
    assert len({run["seed"] for run in others} - {first["seed"]}) >= 3
    assert any(run["seed"] == first["seed"] and run["provenance"]["machine"] != first["provenance"]["machine"] for run in others)


def test_tidy_keeps_results_and_warnings_and_drops_what_differs_between_runs(tmp_path):
    cell = {"cell_type": "code", "id": "a", "source": [], "execution_count": 1, "metadata": {"papermill": {"duration": 3}, "tags": ["x"]}}
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": "1\n"},
        {"output_type": "stream", "name": "stderr", "text": "states:  10%|#   | 48/480 [00:01<00:10, 40 image/s]\r\n"},
        {"output_type": "stream", "name": "stdout", "text": ["2\n"]},
        {"output_type": "stream", "name": "stderr", "text": "/tmp/ipykernel_7/3.py:1: UserWarning: a guess\n  search()\n"},
        {"output_type": "display_data", "data": {"text/plain": "x"}, "metadata": {}},
        {"output_type": "display_data", "metadata": {},
         "data": {"text/plain": "VBox(...)", "application/vnd.jupyter.widget-view+json": {"model_id": "7"}}},
    ]  # fmt: skip
    injected = {"cell_type": "code", "id": "1f", "source": [], "execution_count": 2, "outputs": [],
                "metadata": {"tags": ["injected-parameters"]}}  # fmt: skip
    metadata = {
        "kernelspec": {"name": "python3"},
        "language_info": {"name": "python", "version": "3.12.1"},
        "papermill": {"start_time": "now"},
    }
    path = tmp_path / "a.ipynb"
    path.write_text(
        json.dumps({"cells": [cell | {"outputs": outputs}, injected], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})
    )
    compare.tidy(path)
    once = path.read_bytes()
    read = json.loads(once)
    assert read["metadata"] == {"kernelspec": {"name": "python3"}, "language_info": {"name": "python"}}
    assert read["cells"][0]["metadata"] == {"tags": ["x"]} and read["cells"][1]["id"] == "injected-parameters"
    texts = [(o.get("name"), o.get("text")) for o in read["cells"][0]["outputs"]]
    assert texts == [("stdout", ["1\n", "2\n"]), ("stderr", ["UserWarning: a guess\n"]), (None, None), (None, None)]
    assert [list(o["data"]) for o in read["cells"][0]["outputs"][2:]] == [["text/plain"], ["text/plain"]]
    compare.tidy(path)
    assert path.read_bytes() == once


def test_notebooks_that_were_not_run_here_keep_what_the_run_of_that_name_had(made, tmp_path):
    (made.folder / "02_b" / "run.json").unlink()
    (made.folder / "02_b" / "metrics.json").unlink()
    results.save_metrics(made.folder / "01_a", {"x": 7.0, "verdict": "undecided"}, {"SCALE": "tiny", "SEED": 0}, started=0)
    compare.add("tiny", "committed", tmp_path, tmp_path / "reference.json")
    first = json.loads((tmp_path / "reference.json").read_text())["tiny"]["runs"][0]
    assert first["name"] == "committed" and {n: m["x"] for n, m in first["notebooks"].items()} == {"01_a": 7.0, "02_b": 1.1}
