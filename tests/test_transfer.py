"""Table 2: the interval over seeds and pictures, the gate, wrong names, what is trained and tested on."""

import numpy as np
import pandas as pd
import pytest

from rldf_utils import classify, clone, folders, generate, imagenet, paper, plan, results, transfer
from rldf_utils import grammar as grammars

FULL = grammars.load("full")


def values(data: transfer.Data) -> list[int]:
    return data[0][:].ravel().tolist()


def numbered(n: int, first: int, classes: int = 4) -> transfer.Data:
    """n rows that can be told from all others."""
    return np.arange(first, first + n)[:, None], np.arange(n) * classes // n


def data() -> dict:
    parts = {("real", "train"): numbered(8, 0), ("real", "own"): numbered(4, 50), ("real", "test"): numbered(8, 60)}
    parts |= {("real", "sample"): numbered(4, 70)}
    for k, kind in enumerate(("context", "all", "sampled", "plain")):
        parts |= {(kind, "train"): numbered(8, 100 * (k + 1)), (kind, "own"): numbered(4, 100 * (k + 1) + 50)}
    other = np.array([900, 901]), np.array([2, 2])
    return parts | {("wrong", split): (other[0][:, None], other[1]) for split in ("train", "own")}


def test_trainings_and_tests_hold_what_they_say():
    sets, tests = transfer.trainings(data()), transfer.tests(data())
    assert list(sets) == list(transfer.NAMES), "one order in all tables and figures"
    assert values(sets["steps"]) == [*range(100, 108), *range(8)]
    assert sorted(values(sets["wrong"])) == [100, 101, 102, 103, 106, 107, 900, 901], "class 2 alone is replaced"
    assert all((sets["wrong"][1] == 2) == (np.array(values(sets["wrong"])) >= 900))
    assert tests["steps"] is tests["context"] and values(tests["real"])[0] == 50 and values(tests[transfer.TEST])[0] == 60
    assert {test for kind in sets for test in transfer.asked(kind)} == set(tests)
    unseen = set(values(tests[transfer.TEST]))
    assert all(unseen.isdisjoint(values(part)) for part in sets.values())


def test_wrong_names_hold_as_many_pictures_as_the_clone_where_real_ones_are_few():
    parts, rng = data(), np.random.default_rng(2)
    parts |= {(kind, "train"): transfer.drawn(parts[kind, "train"], 5, rng) for kind in ("context", "all", "sampled", "plain", "real")}
    sets = transfer.trainings(parts)
    assert (sets["context"][1] == 2).sum() == 1, "one of two is left of the class with a wrong name"
    assert {kind: len(labels) for kind, (_, labels) in sets.items()} == dict.fromkeys(sets, 5) | {"steps": 10, "epochs": 10}
    assert (np.bincount(sets["wrong"][1]) == np.bincount(sets["context"][1])).all()


def test_drawn_keeps_the_order_and_takes_no_more_than_there_are():
    pixels, labels = transfer.drawn(numbered(20, 0), 5, np.random.default_rng(0))
    assert len(labels) == 5 and (np.diff(pixels[:].ravel()) > 0).all()
    assert values(transfer.drawn(numbered(3, 0), 5, np.random.default_rng(0))) == [0, 1, 2]


def test_rows_are_those_of_the_arrays_put_together():
    """Joined, taken and joined again, against NumPy; nothing is read before it is asked for."""
    (a, la), (b, lb) = numbered(6, 0), numbered(5, 100)
    x, labels = transfer.joined(transfer.taken(transfer.joined((a, la), (b, lb)), np.arange(11) % 3 > 0), (a, la))
    whole = np.concatenate([np.concatenate([a, b])[np.arange(11) % 3 > 0], a])
    assert (x[:] == whole).all() and (np.stack(list(x)) == whole).all() and len(x) == len(labels) == len(whole)
    rows = np.array([12, 0, 5, 5])
    assert (x[rows] == whole[rows]).all() and (x[3:7] == whole[3:7]).all()
    assert all(any(part is array for array in (a, b)) for part in x.parts)


def test_interval_covers_the_truth_over_new_seeds_and_new_pictures():
    """Accuracies of logit: mean + seed + picture; the interval of one draw holds the mean over all seeds and all pictures."""
    rng, covered, draws = np.random.default_rng(0), 0, 200

    def logit(seeds, pictures):
        return 1 / (1 + np.exp(-(0.5 + 0.3 * seeds[:, None] + pictures)))

    truth = logit(rng.normal(size=400), rng.normal(size=4000)).mean()
    labels = np.repeat(np.arange(4), 50)
    for _ in range(draws):
        hits = rng.random((5, 200)) < logit(rng.normal(size=5), rng.normal(size=200))
        _, low, high = transfer.effect([(1, hits, labels, "")], rng, 300)
        covered += low <= truth <= high
    assert 0.88 <= covered / draws <= 1, f"{covered} of {draws}"


def test_what_two_trainings_share_cancels():
    """One test, the same seeds: where one is right wherever the other is, the difference is exact; of two tests it is not."""
    rng = np.random.default_rng(0)
    hits, labels = rng.random((4, 200)) < 0.5, np.repeat(np.arange(4), 50)
    assert transfer.effect([(1, hits, labels, "a"), (-1, hits, labels, "a")], rng) == pytest.approx((0, 0, 0))
    _, low, high = transfer.effect([(1, hits, labels, "a"), (-1, hits, labels, "b")], rng)
    assert high - low > 0.1
    _, low, high = transfer.effect([(1, hits, labels, "a")], rng)
    assert 0.06 < (high - low) / 2 < 0.12, "1.96 root(1 / 4 / 200) = 0.07 if seeds did not share pictures"


def hits_of(shares: dict[str, float], classes: int = 4) -> tuple[dict, dict]:
    """Three seeds on 400 test pictures, right in the given shares; own validation 0.9 unless "<set> own" says other."""
    rng, labels = np.random.default_rng(1), np.repeat(np.arange(classes), 400 // classes)
    hits, truth = {}, {}
    for kind in transfer.NAMES:
        for test in transfer.asked(kind):
            share = shares.get(kind, 0.5) if test == transfer.TEST else shares.get(f"{kind} own", 0.9)
            hits["net", kind, test], truth[test] = rng.random((3, 400)) < share, labels
    return hits, truth


def answers(shares: dict[str, float]) -> pd.DataFrame:
    hits, truth = hits_of(shares)
    table = transfer.accuracies(hits, truth, np.random.default_rng(0))
    found = transfer.answers(hits, truth, list(transfer.NAMES), [0], transfer.learnt(table, 4), np.random.default_rng(0))
    return found.set_index("claim")


def test_verdicts_follow_the_effects():
    found = answers({"context": 0.7, "all": 0.3, "plain": 0.5, "sampled": 0.7, "real": 0.85, "steps": 0.85, "wrong": 0.5})
    said = found["verdict"]
    assert said["a gap from context clone to real pictures"] == "reproduced"
    assert said["context clone beats plain names"] == said["inference axes cost: context beats all axes"] == "reproduced"
    assert said["all-axes clone beats plain names"] == said["clone + real, equal epochs: better than real alone"] == "contradicted"
    assert said["wrong names cost, all classes"] == "reproduced"
    assert found.loc["context clone beats plain names", "effect"] == pytest.approx(20, abs=5)
    assert (found["low"].le(found["effect"]) & found["effect"].le(found["high"])).all()
    assert found["times_n"].notna().eq(said == "undecided").all()
    shown = transfer.side_by_side(found.reset_index())
    assert shown.index.tolist() == found.index.tolist() and shown["net, verdict"].str.startswith(tuple(said.unique())).all()
    assert shown["net"].iloc[4].startswith(f"{found['effect'].iloc[4]:+.1f} (")


def test_a_set_that_was_not_learnt_gets_no_verdict():
    """With four classes three times chance is 75 %: 0.74 of its own is not enough, 0.9 is."""
    found = answers({"plain own": 0.74, "plain": 0.1})["verdict"]
    word = found["context clone beats plain names"]
    assert word == "not testable here (needs own validation above 3 x chance: plain names)"
    assert not found["context clone beats sampled sentences"].startswith("not testable")


def test_layout_and_figure():
    hits, truth = hits_of({"context": 0.7})
    table = transfer.accuracies(hits, truth, np.random.default_rng(0))
    layout = transfer.layout(table, "tiny")
    assert layout["test"].tolist() == paper.table_2()["dataset"].tolist() and layout["paper: RLDF clone"][0] == "85.11"
    value = hits["net", "context", transfer.TEST].mean() * 100
    assert layout["tiny: context clone"][2].startswith(f"{value:.1f} (")
    transfer.overview(table, 4)
    with pytest.raises(ValueError, match="does not hold its estimate"):
        transfer.overview(table.assign(low=table["accuracy"] + 1), 4)


@pytest.fixture(scope="module")
def context() -> pd.DataFrame:
    nouns = list(FULL.axes["Noun"][:5])  # the next noun is mostly a class too
    classes = pd.DataFrame({"class_id": [f"c{k}" for k in range(5)], "noun": nouns})
    recipe = dict(model="null", revision="", negative="", settings="{}")
    return clone.plan(classes, FULL, {"train": 6, "val": 2}, recipe, draw=plan.sentences)


def test_wrong_names_change_the_noun_and_nothing_else(context):
    nouns = list(dict.fromkeys(context["noun"]))
    rows = transfer.misnamed(context.assign(sha256="x", flagged="", made="cpu"), FULL, nouns, share=0.4)
    assert list(rows) == list(context), "what a run filled in is not taken over"
    assert sorted(rows["class_id"].unique()) == ["c0", "c4"] and (rows["sha256"] == "").all()
    assert set(rows["noun"]).isdisjoint(nouns) and rows["noun"].nunique() == 2
    source = context.set_index("path").loc[rows["path"]].reset_index()
    assert rows["seed"].tolist() == source["seed"].tolist()
    before, after = clone.planned(source, FULL), clone.planned(rows, FULL)
    assert (before.drop(columns="Noun") == after.drop(columns="Noun")).all(axis=None)
    assert after["Noun"].tolist() == rows["noun"].tolist()
    assert transfer.misnamed(context, FULL, nouns, share=0.01)["class_id"].nunique() == 1, "one at least"


def test_read_knows_the_labels_of_a_folder_that_lacks_classes(tmp_path, monkeypatch):
    monkeypatch.setattr("rldf_utils.imagenet.CACHE", tmp_path / "cache" / "images")
    for split, class_id, value in (("val", "b", 10), ("test", "b", 20), ("test", "a", 30)):
        results.write(tmp_path / split / class_id / "0.png", generate.png(np.full((8, 8, 3), value, np.uint8)))
    pixels, labels = transfer.read([tmp_path / "val", tmp_path / "test"], 8, ["a", "b"])
    assert labels.tolist() == [1, 0, 1] and pixels[:][:, 0, 0, 0].tolist() == [10, 30, 20]


def test_read_leaves_out_what_a_clone_s_manifest_flags(tmp_path, monkeypatch):
    monkeypatch.setattr("rldf_utils.imagenet.CACHE", tmp_path / "cache" / "images")
    rows = pd.DataFrame({"path": [f"train/a/{i}.png" for i in range(3)], "flagged": ["", "of one colour", ""]})
    for path, value in zip(rows["path"], (10, 0, 20), strict=True):
        results.write(tmp_path / "made" / path, generate.png(np.full((8, 8, 3), value, np.uint8)))
    folders.save(rows, tmp_path / "made")
    assert transfer.read([tmp_path / "made" / "train"], 8, ["a"])[0][:][:, 0, 0, 0].tolist() == [10, 20]
    assert imagenet.first(tmp_path / "made" / "train", ["a"], 2, clone.flagged(tmp_path / "made"))["a"][1].max() == 20
    folders.save(rows.assign(flagged="refused"), tmp_path / "made")
    with pytest.raises(FileNotFoundError, match="no images beside 3 that are flagged"):
        transfer.read([tmp_path / "made" / "train"], 8, ["a"])


def test_misnamed_classes_with_fewer_pictures_show_some_twice():
    pixels = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1)
    x, labels = transfer.replaced((pixels, np.array([0, 0, 0, 1, 1])), (pixels[3:] + 10, np.zeros(2, int)))
    assert x[:].ravel().tolist() == [3, 4, 13, 13, 14] and labels.tolist() == [1, 1, 0, 0, 0]


def test_head_is_the_ridge_and_both_forms_agree():
    """scikit-learn's own on standardised features; and the dual form (n < d) gives what the primal gives."""
    rng = np.random.default_rng(0)
    x, labels = rng.normal(2, 3, (60, 20)), rng.integers(3, size=60)
    x[np.arange(60), labels] += 4
    weights = classify.head(x, labels, 3, penalty=0.1)
    z, hot = (x - x.mean(0)) / (x.std(0) + 1e-6), np.eye(3)[labels]
    theirs = np.linalg.lstsq(np.vstack([z, np.sqrt(2.0) * np.eye(20)]), np.vstack([hot - hot.mean(0), np.zeros((20, 3))]), rcond=None)[0]
    assert np.allclose(x @ weights[:-1] + weights[-1] + 1 / 3, z @ theirs + hot.mean(0))
    wide = np.hstack([x, np.zeros((60, 100))])
    assert np.allclose(classify.head(wide, labels, 3, penalty=0.1 / 6)[:20], weights[:-1])
    assert classify.accuracy(classify.decide(weights, x), labels) > 0.8
