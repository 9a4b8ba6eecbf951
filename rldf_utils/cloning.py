"""What notebook 6 measures: who finds a class's object; how often each word of an axis stands in a set of pictures, and how evenly."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from rldf_utils import clone, detect, imagenet, plan, stats
from rldf_utils.grammar import Grammar
from rldf_utils.perceive import Clip
from rldf_utils.tiny import world  # its rules on what shows stand in for common sense; its renders for a model that obeys
from rldf_utils.tiny.judge import Judge  # below paper scale the judge stands in for eyes that had no part in the clone

LOOKS = ("Age", "Tone", "Gender")  #: of people, which need faces
HELD_OUT = 2**43  #: where the seeds of `renders` begin; no other picture has one of them


def finders(found: Mapping[str, pd.DataFrame], truth: Sequence[str], pictures: int, rng: np.random.Generator) -> pd.DataFrame:
    """How often each way to find the object is right, beside the encoder alone.

    Args:
        found: agent -> what `search.by_object` gave for the same images.
        truth: the word of each image; empty where nobody knows it, and so is the table then.
        pictures: how many there are, one per word.

    Returns:
        One row per method: right, n, share, its 95 % Wilson interval (low, high), mean calls; difference from the encoder
        alone with its 95 % paired bootstrap interval (less, more).
    """
    if not len(truth):
        columns = ("right", "n", "share", "low", "high", "calls", "difference", "less", "more")
        return pd.DataFrame(columns=columns, index=pd.Index([], name="method"), dtype=float)
    one = next(iter(found.values()))
    answers = {"encoder only": (one["perceived"], 0.0)}
    for agent, table in found.items():
        answers[f"{agent}: search only"] = table["searched"], table["calls"].mean()
        answers[f"{agent}: search, else encoder"] = table["final"], table["calls"].mean()
    answers["nearest of all pictures, no word read"] = one["nearest"], pictures
    rows, alone = {}, (one["perceived"] == np.array(truth)).to_numpy()
    for method, (words, calls) in answers.items():
        right = (words == np.array(truth)).to_numpy()
        low, high = stats.wilson(int(right.sum()), len(right))
        against = stats.effect(right, alone, rng)
        rows[method] = {"right": int(right.sum()), "n": len(right), "share": right.mean(), "low": low, "high": high, "calls": calls,
                        "difference": against["difference"], "less": against["low"], "more": against["high"]}  # fmt: skip
    return pd.DataFrame(rows).T.rename_axis("method").astype({"right": int, "n": int})


def majority(words: pd.Series | pd.DataFrame, groups: Sequence[str]) -> pd.Series | pd.DataFrame:
    """The commonest word of each group (of each column), in the groups' order; of equally common ones the first in the alphabet."""
    return words.groupby(np.asarray(groups), sort=False).agg(lambda part: part.mode()[0])


def read(embeddings: np.ndarray, clip: Clip, grammar: Grammar, nouns: Sequence[str]) -> pd.DataFrame:
    """What pictures of known nouns show, in a grammar of any size: one column per axis, one row per picture.

    Each axis in turn takes the word whose sentence is nearest to the picture, the others being what they are, until
    no axis changes: a local optimum of the cosine. A sentence that several pictures need is embedded once.

    Args:
        embeddings: of `Clip.embed_images`, (n, d).
        nouns: word of the axis Noun of each picture.
    """
    names, known = list(grammar.axes), {}
    codes = np.zeros((len(embeddings), len(names)), int)
    codes[:, names.index("Noun")] = [grammar.axes["Noun"].index(noun) for noun in nouns]
    before = None
    while before is None or (codes != before).any():
        before = codes.copy()
        for k in (k for k, axis in enumerate(names) if axis != "Noun"):
            options = np.repeat(codes[:, None], grammar.shape[k], axis=1)
            options[:, :, k] = np.arange(grammar.shape[k])
            some, place = np.unique(options.reshape(-1, len(names)), axis=0, return_inverse=True)
            rows = [tuple(row) for row in some.tolist()]
            if new := [row for row in rows if row not in known]:
                known.update(zip(new, clip.embed_texts([grammar.surface(row) for row in new]), strict=True))
            texts = np.stack([known[row] for row in rows])[place.reshape(options.shape[:2])]
            codes[:, k] = np.einsum("nwd,nd->nw", texts, embeddings).argmax(1)
    return pd.DataFrame({axis: np.array(grammar.axes[axis], object)[codes[:, k]] for k, axis in enumerate(names)})


def tally(words: pd.DataFrame, axes: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
    """Axis -> how many pictures show each of its words, (words,), among those in which it shows.

    Args:
        words: one column per axis, one row per picture; axes that it lacks are left out.
    """
    shows = [plan.visible(row) for row in words.to_dict("records")]
    found = {}
    for axis in (axis for axis in axes if axis in words):
        seen = words[axis][[axis in visible for visible in shows]]
        found[axis] = seen.value_counts().reindex(list(axes[axis]), fill_value=0).to_numpy()
    return found


def even(counts: np.ndarray) -> np.ndarray:
    """Entropy of counts (..., words) over its maximum: 1 if all words stand equally often, 0 if one does; nan without any."""
    counts = np.asarray(counts, float)
    total = counts.sum(-1, keepdims=True)
    p = np.divide(counts, total, out=np.full_like(counts, np.nan), where=total > 0)
    terms = np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), p)  # 0 log 0 is 0, nan stays
    return 0.0 - terms.sum(-1) / np.log(counts.shape[-1])


def evenness(sets: Mapping[str, pd.DataFrame], axes: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """`even` of every axis in every set of pictures: axes down, sets across."""
    return pd.DataFrame({name: {axis: float(even(counts)) for axis, counts in tally(words, axes).items()} for name, words in sets.items()})


def rows(name: str, axis: str, words: Sequence[str], counts: Sequence[int]) -> pd.DataFrame:
    """The marginal of an axis in a set: one row per word, with its count, n and share (none where n is 0)."""
    counts = np.asarray(counts)
    share = (counts / counts.sum()).round(4) if counts.sum() else np.nan
    return pd.DataFrame({"set": name, "axis": axis, "word": list(words), "count": counts, "n": counts.sum(), "share": share})


def table(sets: Mapping[str, pd.DataFrame], axes: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The marginals of sets of pictures: see `tally` and `rows`."""
    return pd.concat([rows(name, axis, axes[axis], n) for name, words in sets.items() for axis, n in tally(words, axes).items()])


def gap(ours: pd.DataFrame, other: pd.DataFrame, axes: Mapping[str, Sequence[str]], rng: np.random.Generator, paired: bool = False,
        draws: int = 1000) -> dict[str, float]:  # fmt: skip
    """Mean evenness over axes of one set of pictures minus another's, and its 95 % bootstrap interval over pictures.

    Args:
        paired: whether row i of both is of one sentence; then the same rows are drawn.
    """
    means, weights = [], None
    for words in (ours, other):
        if weights is None or not paired:
            n = len(words)
            weights = np.vstack([np.ones(n), rng.multinomial(n, np.full(n, 1 / n), size=draws)])
        shows = [plan.visible(row) for row in words.to_dict("records")]
        found = []
        for axis, legal in axes.items():
            there = np.array([axis in visible for visible in shows])
            hot = (words[axis].to_numpy()[:, None] == np.array(legal, object)) & there[:, None]
            found.append(even(weights @ hot.astype(float)))
        means.append(np.mean(found, axis=0))
    low, high = np.nanpercentile(means[0][1:] - means[1][1:], [2.5, 97.5])
    values = {"ours": means[0][0], "other": means[1][0], "effect": means[0][0] - means[1][0], "low": low, "high": high}
    return {key: float(value) for key, value in values.items()}


def outlook(words: pd.DataFrame) -> pd.DataFrame:
    """The rows that show people, with faces: where looks can be seen."""
    return words[[set(LOOKS) <= plan.visible(row) for row in words.to_dict("records")]]


def renders(words: pd.DataFrame) -> list[np.ndarray]:
    """What a model would paint that obeys every sentence: the world's own pictures, uint8 (64, 64, 3) each."""
    return [world.render(row, HELD_OUT + i) for i, row in enumerate(words.to_dict("records"))]


def seen(scale: str, images: Mapping[str, Sequence[np.ndarray]], nouns: Mapping[str, str], clip: Clip, grammar: Grammar,
         detector: detect.Detector | None = None) -> pd.DataFrame:  # fmt: skip
    """What pictures show to somebody who had no part in making them: one column per axis, one row per picture.

    Below paper scale the judge, on every axis. At paper scale the detector, if there is one, counts objects and people, and CLIP
    tells the place; without one CLIP, which made the plan too, tells all three.

    Args:
        images: class -> its pictures, uint8 (height, width, 3) each.
        nouns: class -> its noun, 'singular/plural', which CLIP is given; the judge needs none.
        grammar: whose words are told.
    """
    if scale != "paper":
        return pd.DataFrame(Judge()(np.stack([imagenet.scaled(image, world.SIZE) for part in images.values() for image in part])))
    rows = []
    for class_id, part in images.items():
        words = plan.reading(grammar, nouns[class_id])
        own = {axis: dict(zip(legal, grammar.axes[axis], strict=True)) for axis, legal in words.axes.items()}
        for row in detect.eyes(detector, clip, words)(part):
            rows.append({axis: own[axis].get(word, "") for axis, word in row.items() if axis in own})
    return pd.DataFrame(rows)


def survey(scale: str, roots: Mapping[str, Path], manifests: Mapping[str, pd.DataFrame], grammar: Grammar, nouns: Mapping[str, str],
           each: int, clip: Clip) -> dict[str, pd.DataFrame]:  # fmt: skip
    """What is `seen` in the first `each` training pictures per class of every set; below paper scale also in renders.

    Args:
        roots: set -> its folder of training pictures, one folder per class.
        manifests: those of them whose sentences are rendered too, as "<set> (renders)", row by row: a ceiling.
        grammar: of the manifests' encodings.
        nouns: class -> 'singular/plural'.
    """
    eyes, found = detect.detector(scale), {}
    for name, root in roots.items():
        found[name] = seen(scale, imagenet.first(root, nouns, each, clone.flagged(root.parent)), nouns, clip, grammar, eyes)
    for name, manifest in manifests.items() if scale != "paper" else ():
        rows = clone.usable(manifest[manifest["split"] == "train"]).groupby("class_id").head(each)
        found[f"{name} (renders)"] = seen(scale, {"": renders(clone.planned(rows, grammar))}, nouns, clip, grammar)
    return found


def claims(sets: Mapping[str, pd.DataFrame], found: pd.DataFrame, classes: tuple[int, int], axes: Mapping[str, Sequence[str]],
           rng: np.random.Generator) -> pd.DataFrame:  # fmt: skip
    """The verdicts of notebook 6, one row per claim: effect, 95 % interval, smallest effect of interest (named before the run).

    A claim holds if its interval lies wholly above the smallest effect, and is contradicted if wholly below; `times_n`: how many
    times as many inputs or pictures would decide one that is undecided, if its effect stays as it is.

    Args:
        sets: what was `seen` in each: "real", "sampled", the kinds of clone, and "<kind> (renders)" of the same sentences.
        found: of `finders`.
        classes: how many classes were found right, and of how many; of 0 where nobody knows their words.
        axes: axis -> words, of those axes that are balanced in every kind and whose words `sets` has.
    """
    told = "three pictures tell what a class shows"
    rows = [(told, classes[0] / classes[1], *stats.wilson(*classes), 0.9, "share of classes")] if classes[1] else []
    for method in (m for m in found.index if m.endswith("search, else encoder")):
        row = found.loc[method]
        what = f"the search finds what the encoder misread ({method.partition(':')[0]})"
        rows.append((what, row["difference"], row["less"], row["more"], 0.02, "share of inputs, search minus encoder alone"))
    balanced, looks = {a: axes[a] for a in ("Frequency", "Density", "Scene") if a in axes}, {a: axes[a] for a in LOOKS if a in axes}
    kinds = [kind for kind in ("context", "all") if kind in sets]
    for kind in kinds:
        if (ceiling := f"{kind} (renders)") in sets:
            effect = gap(sets[kind], sets[ceiling], balanced, rng, paired=True)
            rows.append((f"pictures keep the balance of their sentences ({kind})", *[effect[key] for key in ("effect", "low", "high")],
                         -0.05, "evenness, pictures minus renders"))  # fmt: skip
        effect = gap(sets[kind], sets["sampled"], balanced, rng)
        rows.append((f"balance by design is seen, against random sentences ({kind})", *[effect[key] for key in ("effect", "low", "high")],
                     0.02, "evenness, clone minus sampled"))  # fmt: skip
    if "all" in kinds and looks:
        for other, what in (("real", "the set that it clones"), ("sampled", "random sentences")):
            effect = gap(outlook(sets["all"]), outlook(sets[other]), looks, rng)
            rows.append((f"looks of people are more even than in {what}", *[effect[key] for key in ("effect", "low", "high")], 0.05,
                         f"evenness, clone minus {other}"))  # fmt: skip
    table = pd.DataFrame(rows, columns=["claim", "effect", "low", "high", "smallest", "measure"])
    beyond = table[["low", "high"]].sub(table["smallest"], axis=0)
    table["verdict"] = [stats.verdict(low, high, 1) for low, high in beyond.to_numpy()]
    half, off = (table["high"] - table["low"]) / 2, (table["effect"] - table["smallest"]).abs()
    table["times_n"] = pd.Series(map(stats.more, half, off)).where(table["verdict"] == "undecided")
    if not classes[1]:
        table.loc[len(table), ["claim", "verdict"]] = told, "not testable here (needs classes whose words are known: ImageNet-100)"
    if not looks:
        needs = "not testable here (needs eyes that see age, tone and gender)"
        table.loc[len(table), ["claim", "verdict"]] = "looks of people are more even than in the set that it clones", needs
    return table
