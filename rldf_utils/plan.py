"""Which sentences a clone is made of: words of every axis in given shares, and none that contradicts itself.

A sentence contradicts itself if it says what its picture cannot show, such as looks or deeds of nobody. `world.visible` knows
what shows. Its rules hold for any model, but for those of the small world's glyphs: acting people have no face there, and so
age and gender are left out of such sentences at every scale.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from rldf_utils import grammar as grammars
from rldf_utils.grammar import Grammar
from rldf_utils.results import LEGAL, choose, number
from rldf_utils.tiny import world  # its rules on what a picture can show stand in for common sense

BALANCED = ("Frequency", "Density", "Scene")  #: context axes, whose words stand equally often in both kinds of clone
#: of a context clone: as often as the real set shows them
AS_REAL = ("Weather", "Time", "Verb", "Age", "Tone", "Race", "Emotion", "Gender")
HIDING = ("Density", "Style", "Verb")  #: whose words decide which other axes show; so does Scene where `INDOORS` are
OF_PEOPLE = ("Race", "Emotion")  #: axes of people that the small world lacks
INDOORS = {"a living room", "an office", "a studio"}  #: places without weather, of the grammar "paper"


@dataclass(frozen=True)
class Sizes:
    """How much is cloned at a scale. Splits are {"train": ..., "val": ..., "test": ...}, pictures per class."""

    classes: int
    made: Mapping[str, int]  #: of every generated set
    real: Mapping[str, int]  #: of the real set, where it is painted
    others: int  #: pictures per class of each set around it, where they are painted
    read: int  #: real training pictures of which weather, time, deeds and looks are read, in all
    looked: int  #: training pictures per class of every set on which its balance is measured
    searched: int = 100  #: classes on which it is measured who finds the object; it costs no calls beyond one per word
    inputs: int = 3  #: pictures per class that the search sees


SIZES = {
    "smoke": Sizes(3, {"train": 4, "val": 2, "test": 2}, {"train": 4, "val": 2, "test": 4}, 6, 12, 4, 10),
    "tiny": Sizes(10, {"train": 60, "val": 10, "test": 5}, {"train": 60, "val": 20, "test": 100}, 100, 200, 60),
    "paper": Sizes(100, {"train": 1508, "val": 56, "test": 100}, {}, 0, 1000, 20),
}  #: the paper's are its 1,508,000, 56,000 and 100,000 for 1,000 classes


def sizes(scale: str) -> Sizes:
    """`SIZES` of a scale. At paper scale RLDF_SHARE, such as 0.01, takes that share of each class's pictures, 2 at least: a rehearsal."""
    found = SIZES[scale]
    if scale != "paper":
        return found
    made = {split: max(2, round(n * number("SHARE", 1.0))) for split, n in found.made.items()}
    return replace(found, made=made, looked=min(found.looked, made["train"]))


def kinds(scale: str, axes: str = "") -> list[str]:
    """The kinds of clone that AXES names: "context", "all", or both; "" for the scale's own."""
    default = "context" if scale == "paper" else "context all"
    return (choose("AXES", axes, LEGAL["AXES"]) or default).split()


def shares(kind: str, grammar: Grammar, real: Mapping[str, np.ndarray] = {}) -> dict[str, np.ndarray]:
    """How often each word of an axis is to stand in a clone of a kind; axes that are not named are balanced.

    Half of the people do nothing, where `real` says no other: only these have faces that show age and gender.

    Args:
        kind: "context": photo style in natural colours (their first words); number, people and place are balanced; the axes of
            `AS_REAL` as in `real`. "all": every other axis is balanced, whatever `real` says.
        real: for `AS_REAL`, what was read off the real set; what it lacks is balanced.
    """
    choose("kind", kind, ("context", "all"))
    deeds = len(grammar.axes.get("Verb", ())) - 1
    found = {"Verb": np.array([deeds] + [1.0] * deeds)} if deeds > 0 else {}
    if kind == "all":
        return found
    found |= {axis: np.eye(len(grammar.axes[axis]))[0] for axis in ("Style", "Colour") if axis in grammar.axes}
    return found | {axis: np.asarray(real[axis], float) for axis in AS_REAL if axis in real and axis in grammar.axes}


def dealt(share: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """n word numbers in which each word stands n times its share, rounded up or down (systematic sampling), shuffled."""
    order = rng.permutation(len(share))
    ends = np.cumsum(share[order])
    found = np.searchsorted(ends / ends[-1], (np.arange(n) + rng.random()) / n, side="right")
    return rng.permutation(order[np.minimum(found, len(share) - 1)])


def drawn(share: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """n word numbers, each drawn by itself: plain sampling."""
    return rng.choice(len(share), size=n, p=share / share.sum())


def sentences(grammar: Grammar, noun: str, n: int, rng: np.random.Generator, wanted: Mapping[str, np.ndarray] = {},
              how: Callable[[np.ndarray, int, np.random.Generator], np.ndarray] = dealt) -> np.ndarray:  # fmt: skip
    """n encodings of one noun, (n, axes): each axis in its shares over those sentences in which it shows, else plain.

    Axes are dealt one after the other and independently of one another. A word that would hide the noun is left out: all
    balls are one disc in silhouette.

    Args:
        noun: a word of the axis Noun, as `grammar.axes` has it.
        wanted: axis -> how often each word is to stand, (words,), adding up to anything above 0; see `shares`. Axes that are
            not named are balanced.
        how: `dealt` or `drawn`.
    """
    names, words = list(grammar.axes), grammar.axes
    usual = {a: "" if "" in words[a] else world.DEFAULTS.get(a) for a in names}
    plain = [words[a].index(usual[a]) if usual[a] in words[a] else 0 for a in names]
    codes = np.tile(np.array(plain), (n, 1))
    codes[:, names.index("Noun")] = words["Noun"].index(noun)
    first = _hiding(grammar)
    for axis in first + [a for a in names if a not in (*first, "Noun")]:
        k, share = names.index(axis), np.array(wanted.get(axis, np.ones(len(words[axis]))), float)
        keeps = np.array([axis not in HIDING or "Noun" in visible({"Noun": noun, axis: word}) for word in words[axis]])
        if axis == "Gender":
            keeps = np.array([word != "" for word in words[axis]])  # somebody is there
            share = share if (share * keeps).any() else keeps * 1.0
        rows = np.flatnonzero(shown(codes, grammar, axis))
        codes[rows, k] = how(share * keeps if (share * keeps).any() else share, len(rows), rng)
    return codes


def shown(codes: np.ndarray, grammar: Grammar, axis: str) -> np.ndarray:
    """In which sentences, (n, axes), an axis shows: bool (n,)."""
    names = list(grammar.axes)
    columns = [names.index(a) for a in (*_hiding(grammar), "Noun") if a in names]
    key = np.ravel_multi_index(tuple(codes[:, columns].T), [grammar.shape[k] for k in columns])
    _, first, place = np.unique(key, return_index=True, return_inverse=True)
    some = [{names[k]: grammar.axes[names[k]][codes[row, k]] for k in columns} for row in first]
    return np.array([axis in visible(semantics) for semantics in some], bool)[place]


def contradicts(semantics: Mapping[str, str]) -> set[str]:
    """The axes whose words a sentence says, though no picture of it can show them."""
    return {axis for axis in set(semantics) - visible(semantics) if semantics[axis] not in ("", world.DEFAULTS.get(axis))}


def visible(semantics: Mapping[str, str]) -> set[str]:
    """The axes that can be read off a picture of these semantics: `world.visible`, and those that the small world lacks.

    Nobody, "no" or "", has no race and no emotion; indoors is no weather.
    """
    nobody = semantics.get("Density", "no") in ("no", "")
    found = world.visible({**semantics, "Density": "no"} if nobody else semantics) | {"City", *OF_PEOPLE}
    return found - (set(OF_PEOPLE) if nobody else set()) - ({"Weather"} if semantics.get("Scene") in INDOORS else set())


def _hiding(grammar: Grammar) -> list[str]:
    """`HIDING`, and Scene where a grammar has places indoors."""
    also = ["Scene"] if INDOORS & set(grammar.axes.get("Scene", ())) else []
    return [axis for axis in HIDING if axis in grammar.axes] + also


def vocabulary(scale: str, nouns: list[str]) -> Grammar:
    """The grammar of a scale's clones, of these nouns, 'dog/dogs' or 'dog'."""
    return grammars.load("paper" if scale == "paper" else "full", nouns)


def reading(grammar: Grammar, noun: str) -> Grammar:
    """A grammar of the axes of `BALANCED` for one noun, 'dog/dogs', whose words CLIP tells apart: those of another in their order."""
    scenes = " | ".join(f"'{word}'" for word in grammar.axes["Scene"])
    rules = [line if not line.startswith("Scene ->") else f"Scene -> {scenes}" for line in grammars.load("large").text.splitlines()]
    return grammars.from_text("\n".join(rules), "large", [noun])


def plain_names(scale: str, nouns: list[str]) -> Grammar:
    """One sentence per noun, "a photo of one dog ...": plain class names (reference [19]) in a shape that the model knows.

    Stable Diffusion knows the bare sentence. The small world's models were only ever told who else is there and where:
    their sentence ends "and no people in a park".
    """
    names = grammars.load("names", nouns)
    if scale == "paper":
        return names
    text = names.text.replace("S -> P NP\n", "S -> P NP Rest\nRest -> 'and no people in a park'\n")
    return grammars.from_text(text, "plain names")
