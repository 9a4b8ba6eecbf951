"""What a found encoding is good for: searches judged on fresh pictures (Figures 9 and 10), and diversity at a place (Figure 1)."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.spatial.distance import pdist

from rldf_utils import landscape, peers, plan, plots, stats
from rldf_utils.captions import NOT_HERE, shows  # noqa: F401  notebook 9 takes both from here
from rldf_utils.generate import Cache
from rldf_utils.grammar import Grammar
from rldf_utils.looks import Enough, Looks
from rldf_utils.studio import Studio
from rldf_utils.tiny import counting, world  # known sprites stand in for a detector, renders for photographs

Semantics = Mapping[str, str]
CONDITIONS = ("one sentence", "inference axes")  #: of `sets`
FRESH = 2**40  #: where the seeds of fresh pictures begin
SUCCESS = 0.8  #: smallest effects of interest, named before the run: least share of right pictures for what works
LOSS = 0.05  #: most that may be lost, a share of the pictures
NARROW = 0.1  #: of diversity, a share of the renders' spread


def inputs(grammar: Grammar, n: int, rng: np.random.Generator, **fixed: Sequence[str]) -> list[dict[str, str]]:
    """Semantics of n inputs, all words of an axis equally often; `fixed`: axis -> the words to take in turn instead."""
    found = [grammar.decode(encoding) for encoding in grammar.spread(n, rng)]
    return [words | {axis: legal[k % len(legal)] for axis, legal in fixed.items()} for k, words in enumerate(found)]


def raced(images: Sequence[np.ndarray], studio: Studio, method: str, calls: int, seed: int = 0) -> pd.DataFrame:
    """What a method of `peers` finds under reward 1: one row per image, with perceived and found (sentences) and calls.

    All searches run at once: the model's batches are full then, which is several times faster. As in `search.rldf`, a search ends when a
    picture pays the largest reward that there is, or with its last call.
    """
    clip, grammar = studio.clip, studio.grammar
    aims = clip.embed_images(images)
    targets = [percept.encoding for percept in clip.read(aims, grammar)]

    def race(k: int) -> Looks:
        shown = []

        def value(state: int, draw: int) -> float:
            if targets[k] in shown:
                raise Enough
            seen, embedding = studio.look(state)
            shown.append(seen)
            return float(landscape.perceived(grammar, [seen], embedding[None], targets[k], aims[k])[1][0])

        return peers.race(method, value, grammar.shape, calls, seed + k, grammar.index(targets[k]))

    looks = studio.run([partial(race, k) for k in range(len(images))])
    found = [look.found()[-1] if look.answer is None else look.answer for look in looks]
    return pd.DataFrame({"perceived": [grammar.surface(target) for target in targets],
                         "found": [grammar.surface(grammar.encoding(int(state))) for state in found],
                         "calls": [len(look.states) for look in looks]})  # fmt: skip


def fresh(model: Cache, sentences: Sequence[str], draws: int, progress: str | None = None) -> np.ndarray:
    """Pictures with seeds that no search used, (sentences, draws, height, width, 3); equal sentences have equal pictures."""
    pictures = model([s for s in sentences for _ in range(draws)], [FRESH + k for _ in sentences for k in range(draws)], progress=progress)
    return pictures.reshape(len(sentences), draws, *pictures.shape[1:])


def all_shown(seen: Sequence[Semantics], wanted: Sequence[Semantics]) -> np.ndarray:
    """Which pictures show every axis of the inputs that they are to resemble, bool (inputs, draws); `seen`: input by input."""
    draws = len(seen) // len(wanted)
    return np.array([all(shows(eye, wanted[k // draws]).values()) for k, eye in enumerate(seen)]).reshape(len(wanted), draws)


def share(right: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """Mean of (inputs, draws), n pictures, and its 95 % interval by a bootstrap over inputs and draws, or `stats.doubted`."""
    low, high = stats.doubted(*stats.nested(right.astype(float), rng), right.size)
    return {"share": float(right.mean()), "low": max(0.0, low), "high": min(1.0, high), "n": right.size}


def compared(ours: np.ndarray, other: np.ndarray, rng: np.random.Generator, claim: str, least: float = -LOSS) -> dict:
    """The claim that ours, (inputs, draws), is right more often than the other, by `least` at least; 95 % interval over the inputs."""
    found = stats.effect(ours.mean(1), other.mean(1), rng)
    low, high = stats.doubted(found["low"], found["high"], ours.size)
    return _row(claim, found["difference"], low, high, least, ours.size)


def above(right: np.ndarray, least: float, rng: np.random.Generator, claim: str) -> dict:
    """The claim that a share of (inputs, draws) is at least so large."""
    found = share(right, rng)
    return _row(claim, found["share"], found["low"], found["high"], least, found["n"])


def _row(claim: str, effect: float, low: float, high: float, least: float, n: int) -> dict:
    """A claim that an effect is at least so large, with its verdict, and the n that would decide what is undecided."""
    word = stats.verdict(low - least, high - least, 1)
    return {"claim": claim, "effect": effect, "low": low, "high": high, "smallest": least, "n": n, "verdict": word,
            "n to decide": stats.enough(word, n, low, high, effect - least)}  # fmt: skip


def varied(grammar: Grammar, words: Semantics, n: int, rng: np.random.Generator) -> list[dict[str, str]]:
    """n sentences that say the same on the axes of `words` and differ on all others, the inference axes, as far as these show."""
    fixed = {axis: np.eye(len(grammar.axes[axis]))[grammar.axes[axis].index(word)] for axis, word in words.items()}
    return [grammar.decode(code) for code in plan.sentences(grammar, words["Noun"], n, rng, plan.shares("all", grammar) | fixed)]


def layouts(pictures: Sequence[np.ndarray], sentences: Sequence[Semantics]) -> int:
    """How many different layouts pictures have: where objects and people stand and how large, by the world's known sprites."""
    return len({tuple(sorted(one[:4] for one in counting.find(*both))) for both in zip(pictures, sentences, strict=True)})


def diversity(pictures: Sequence[np.ndarray], features: np.ndarray, told: Sequence[Semantics], seen: Sequence[Semantics],
              axes: Sequence[str]) -> dict[str, float]:  # fmt: skip
    """Of pictures of one encoding: how many show its words (right), their mean pairwise distance (spread), their layouts.

    Args:
        features: (pictures, d).
        told, seen: each picture's sentence, and what the judge sees.
        axes: the encoding's; `right` looks at these only.
    """
    right = [all(ok for axis, ok in shows(eye, words).items() if axis in axes) for words, eye in zip(told, seen, strict=True)]
    return {"right": float(np.mean(right)), "spread": float(pdist(features).mean()), "layouts": layouts(pictures, told)}


def sets(grammar: Grammar, core: Semantics, plain: Semantics, n: int, model: Cache, rng: np.random.Generator, first: int) -> dict:
    """condition -> (n sentences, their pictures): one sentence, and with inference axes; and renders of both, seeds from `first` on.

    Args:
        core: words of the searched axes; plain: of all axes.
    """
    found = {}
    for condition, told in zip(CONDITIONS, ([{**plain, **core}] * n, varied(grammar, core, n, rng)), strict=True):
        prompts = [grammar.surface(grammar.encode(words)) for words in told]
        found[condition] = told, model(prompts, [FRESH + k for k in range(n)])
        if world.draws(grammar.axes):
            found[f"{condition} (renders)"] = told, renders(told, first)
    return found


def diverse(measured: pd.DataFrame, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Means with 95 % bootstrap intervals over encodings; and the claims of Figure 1 with verdicts.

    Args:
        measured: one row per condition and encoding, with the columns of `diversity`; the conditions are "one sentence" and
            "inference axes", each also as "... (renders)"; n: pictures.
    """
    rows, tables = [], {key: measured.pivot(index="encoding", columns="condition", values=key) for key in ("right", "spread", "layouts")}
    for condition in tables["right"].columns:
        row = {"condition": condition, "n": int(measured.query("condition == @condition")["n"].sum())}
        for key, table in tables.items():
            column = table[condition].to_numpy()
            row[key] = column.mean()
            row[f"{key}_low"], row[f"{key}_high"] = stats.interval(column, rng, statistic=lambda drawn: drawn.mean(-1))
        rows.append(row)
    found = pd.DataFrame(rows)
    n, spread = int(found["n"].min()), tables["spread"]
    claims = []
    for claim, one, two, key, smallest in (
        ("inference axes make pictures of an encoding more diverse", "inference axes", "one sentence", "spread", NARROW),
        ("they cost no more than 5 % of its words", "inference axes", "one sentence", "right", -LOSS),
        ("pictures are as diverse as renders, one sentence", "one sentence", "one sentence (renders)", "spread", -NARROW),
        ("pictures are as diverse as renders, inference axes", "inference axes", "inference axes (renders)", "spread", -NARROW),
    ):
        unit = spread["inference axes (renders)"].mean() if key == "spread" else 1.0
        effect = stats.effect(tables[key][one] / unit, tables[key][two] / unit, rng)
        claims.append(_row(claim, effect["difference"], effect["low"], effect["high"], smallest, n))
    return found, pd.DataFrame(claims)


def trade_off(found: pd.DataFrame) -> plt.Figure:
    """Quality against diversity: the share of pictures that show the encoding's words, and their spread; 95 % intervals.

    `found`: the first table of `diverse`.
    """
    figure, axes = plt.subplots(1, 2, figsize=(7.6, 2.9), sharey=True)
    panels = {"spread": "mean pairwise distance\n(EfficientNet-Lite0 features)", "layouts": "different layouts"}
    for ax, (key, label) in zip(axes, panels.items(), strict=True):
        for row in found.to_dict("records"):
            bars = [[[max(row[k] - row[f"{k}_low"], 0)], [max(row[f"{k}_high"] - row[k], 0)]] for k in (key, "right")]
            colour = "#0072b2" if row["condition"].startswith("one") else "#d55e00"
            look = {"fmt": "s", "mfc": "white"} if row["condition"].endswith("(renders)") else {"fmt": "o"}
            ax.errorbar(row[key], row["right"], xerr=bars[0], yerr=bars[1], color=colour, label=row["condition"], **look)
        ax.set_xlabel(label)
        ax.set_xlim(left=0)
    axes[0].set(ylabel="share of pictures that show\nthe encoding's words", ylim=(0, 1.05))
    axes[0].legend(fontsize=8, loc="lower left")
    return figure


def beside(rows: Mapping[str, Sequence[Sequence[np.ndarray]]], titles: Sequence[str] = ()) -> plt.Figure:
    """One row per text, which stands over it, and its blocks of pictures side by side; `titles`: of the blocks, over the first row."""
    widths = [w for block in next(iter(rows.values())) for w in [1.0] * len(block) + [0.3]][:-1]
    margins = {"wspace": 0.06, "hspace": 0.3, "left": 0.01, "right": 0.99, "bottom": 0.01}
    figure, axes = plt.subplots(len(rows), len(widths), figsize=(1.05 * sum(widths), 1.45 * len(rows)), width_ratios=widths, squeeze=False,
                                layout="none", gridspec_kw=margins)  # fmt: skip
    for ax in axes.flat:
        ax.axis("off")
    for number, (line, (text, blocks)) in enumerate(zip(axes, rows.items(), strict=True)):
        place = 0
        for k, block in enumerate(blocks):
            line[place].text(0, 1.06, text if k == 0 else "", transform=line[place].transAxes, fontsize=8)
            if titles and not number:
                line[place].text(0, 1.24, titles[k], transform=line[place].transAxes, fontsize=9, weight="bold")
            for ax, picture in zip(line[place:], block, strict=False):
                plots.picture(ax, picture)
            place += len(block) + 1
    return figure


def deeds(seen: Sequence[Semantics], wanted: Sequence[Semantics]) -> np.ndarray:
    """Which fresh pictures show the input's verb, bool (inputs, draws); `seen`: input by input."""
    draws = len(seen) // len(wanted)
    return np.array([shows(eye, wanted[k // draws])["Verb"] for k, eye in enumerate(seen)]).reshape(len(wanted), draws)


def by_verb(right: np.ndarray, wanted: Sequence[Semantics]) -> pd.DataFrame:
    """Of `deeds`: one row per verb with right, n, share, 95 % Wilson interval."""
    counts = pd.DataFrame({"verb": [words["Verb"] for words in wanted], "right": right.sum(1), "n": right.shape[1]})
    table = counts.groupby("verb", sort=False).sum()
    ends = [stats.wilson(int(k), int(n)) for k, n in zip(table["right"], table["n"], strict=True)]
    return table.assign(share=table["right"] / table["n"], low=[low for low, _ in ends], high=[high for _, high in ends]).reset_index()


def plugged(found: Mapping[str, pd.DataFrame], models: Mapping[str, Cache], eyes: Callable, wanted: Sequence[Semantics], draws: int,
            rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:  # fmt: skip
    """Every model's answers drawn by every model: the table of feedback and painter, and the claims of Figure 10 with verdicts.

    Args:
        found: model whose feedback was searched -> of `raced`, for the same inputs.
    """
    right, rows = {}, []
    for feedback, answers in found.items():
        for painter, model in models.items():
            pictures = fresh(model, answers["found"], draws, f"{feedback}'s answers by {painter}")
            right[feedback, painter] = all_shown(eyes(np.concatenate(pictures)), wanted)
            rows.append({"feedback": feedback, "drawn by": painter, **share(right[feedback, painter], rng)})
    one, *others = found
    claims = [above(right[name, name], SUCCESS, rng, f"the search succeeds with {name} alone") for name in found]
    claims += [compared(right[two, painter], right[one, painter], rng, f"{two}'s feedback is as good as {one}'s, drawn by {painter}")
               for two in others for painter in models]  # fmt: skip
    return pd.DataFrame(rows), pd.DataFrame(claims)


def asked(grammar: Grammar, words: Sequence[Semantics], first: int, model: Cache | None = None) -> tuple[list[str], np.ndarray]:
    """The sentences of semantics, and inputs that show them: `renders`, or what a model draws (paper scale), seeds from `first` on."""
    told = [grammar.surface(grammar.encode(row)) for row in words]
    return told, model(told, range(first, first + len(told))) if model else renders(words, first)


def renders(words: Sequence[Semantics], first: int) -> np.ndarray:
    """Pictures of the world itself, uint8 (n, 64, 64, 3), seeds from `first` on."""
    return np.stack([world.render(row, first + k) for k, row in enumerate(words)])
