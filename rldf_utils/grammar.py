"""The paper's context-free grammar and its encoding (section 3).

A `Grammar` is read from a file of rules in NLTK's notation. Its *axes* are the pre-terminals with more than one word
(or with the empty word); a sentence is one word from each, and its `Encoding` is their positions: a point of the
grid that the agents walk.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from math import prod
from pathlib import Path

import nltk
import numpy as np
import pandas as pd

from rldf_utils.results import DATA

Encoding = tuple[int, ...]  #: one integer an axis, in the grammar's axis order
SHIPPED = ("smoke", "base", "large", "full", "names")  #: grammars in data/grammar
NUMERALS = frozenset({"no", "one", "two", "three", "four", "five", "six", "many"})  #: may stand in several axes


class GrammarError(ValueError):
    """A grammar file or a sentence that cannot be used; the message says what and where."""


def _forms(word: str) -> tuple[str, str]:
    """'dog/dogs' -> ('dog', 'dogs'); 'sheep' -> ('sheep', 'sheep')."""
    singular, _, plural = word.partition("/")
    return singular, plural or singular


@dataclass(frozen=True)
class Grammar:
    """G = <T, N, S, R> with ordered axes. Build it with `load`."""

    cfg: nltk.CFG
    axes: dict[str, tuple[str, ...]]  #: axis -> its words (singular forms), in encoding order
    template: tuple[str, ...] = field(repr=False)  #: pre-terminals from left to right
    words: dict[str, tuple[str, ...]] = field(repr=False)  #: pre-terminal -> terminals as written in the file
    path: Path = field(repr=False)  #: the file

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of words on each axis."""
        return tuple(len(words) for words in self.axes.values())

    @property
    def size(self) -> int:
        """Number of states: 480 for the base world."""
        return prod(self.shape)

    def states(self):
        """Every encoding, in index order."""
        return product(*map(range, self.shape))

    def index(self, encoding: Encoding) -> int:
        """State number of an encoding (row-major)."""
        return int(np.ravel_multi_index(self.check(encoding), self.shape))

    def encoding(self, index: int) -> Encoding:
        """Inverse of `index`."""
        if not 0 <= index < self.size:
            raise GrammarError(f"state {index} is outside 0..{self.size - 1}")
        return tuple(int(i) for i in np.unravel_index(index, self.shape))

    def check(self, encoding: Encoding) -> Encoding:
        """The encoding itself, or a `GrammarError` that names the axis at fault."""
        if len(encoding) != len(self.axes):
            raise GrammarError(f"{encoding} has {len(encoding)} numbers; this grammar has axes {', '.join(self.axes)}")
        for value, (axis, words) in zip(encoding, self.axes.items(), strict=True):
            if not 0 <= value < len(words):
                raise GrammarError(f"{axis} = {value} is outside 0..{len(words) - 1} in {encoding}")
        return tuple(encoding)

    def decode(self, encoding: Encoding) -> dict[str, str]:
        """Encoding -> semantics, {axis: word}."""
        return {axis: words[i] for i, (axis, words) in zip(self.check(encoding), self.axes.items(), strict=True)}

    def encode(self, semantics: dict[str, str]) -> Encoding:
        """Semantics -> encoding, the inverse of `decode`."""
        wrong = set(semantics) ^ set(self.axes)
        if wrong:
            raise GrammarError(f"semantics must name exactly the axes {', '.join(self.axes)}; wrong: {', '.join(sorted(wrong))}")
        for axis, word in semantics.items():
            if word not in self.axes[axis]:
                raise GrammarError(f"{word!r} is not a word of {axis}: {', '.join(map(repr, self.axes[axis]))}")
        return tuple(words.index(semantics[axis]) for axis, words in self.axes.items())

    def surface(self, encoding: Encoding) -> str:
        """Encoding -> prompt. A word with two forms agrees with the last numeral before it."""
        semantics = self.decode(encoding)
        plural, sentence = False, []
        for symbol in self.template:
            if symbol in semantics:
                word = self.words[symbol][self.axes[symbol].index(semantics[symbol])]
            else:
                word = self.words[symbol][0]
            if word in NUMERALS:
                plural = word != "one"
            sentence.append(_forms(word)[plural])
        return " ".join(word for word in sentence if word)

    def parse(self, prompt: str) -> Encoding:
        """Prompt -> encoding, the inverse of `surface`.

        Raises:
            GrammarError: a word outside the vocabulary, a word out of place, or a number that disagrees.
        """
        tree = self.tree(prompt)
        found = {}
        for subtree in tree.subtrees(lambda t: t.label() in self.axes):
            found[subtree.label()] = _forms(" ".join(subtree.leaves()))[0]
        encoding = self.encode(found)
        if self.surface(encoding) != " ".join(prompt.split()):
            raise GrammarError(f"{prompt!r} has the wrong number; did you mean {self.surface(encoding)!r}?")
        return encoding

    def tree(self, prompt: str) -> nltk.Tree:
        """The prompt's parse tree; leaves are terminals as the file writes them."""
        tokens = self._tokens(prompt)
        tree = next(nltk.EarleyChartParser(self.cfg).parse(tokens), None)
        if tree is None:
            raise GrammarError(f"{prompt!r} is not a sentence of this grammar; one that is: {self.surface((0,) * len(self.axes))!r}")
        return tree

    @cached_property
    def _by_form(self) -> dict[str, str]:
        return {form: word for words in self.words.values() for word in words for form in _forms(word) if form}

    def _tokens(self, prompt: str) -> list[str]:
        """Longest match, left to right: 'a photo of one dog' -> ['a photo of', 'one', 'dog/dogs']."""
        rest, tokens = prompt.split(), []
        while rest:
            for length in range(len(rest), 0, -1):
                if (form := " ".join(rest[:length])) in self._by_form:
                    tokens.append(self._by_form[form])
                    rest = rest[length:]
                    break
            else:
                raise GrammarError(f"{rest[0]!r} in {prompt!r} is not a word of this grammar")
        return tokens


def _left_recursive(cfg: nltk.CFG) -> list[str]:
    """A cycle of non-terminals, each reached from the one before in leftmost place; empty if there is none."""

    def walk(symbol, path):
        if symbol in path:
            return [*path[path.index(symbol) :], symbol]
        for rule in cfg.productions(lhs=symbol):
            if rule.rhs() and isinstance(rule.rhs()[0], nltk.Nonterminal):
                if cycle := walk(rule.rhs()[0], [*path, symbol]):
                    return cycle
        return []

    return [str(symbol) for symbol in walk(cfg.start(), [])]


def load(path: str | Path = "base", nouns: Sequence[str] | None = None) -> Grammar:
    """Read a grammar file.

    Args:
        path: a file, or "smoke" (24 states), "base" (480), "large" (4,320), "full" (every axis that the world draws),
            "names" (the object axis alone: plain class names).
        nouns: words that take the place of the file's Noun rule, each 'word' or 'singular/plural'.

    Raises:
        GrammarError: not UTF-8, not in NLTK's notation, left recursion, an unknown symbol, an unused rule, an empty
            axis, a duplicate word, a word in two axes, or no single sentence shape.
        FileNotFoundError: no such file.
    """
    path = DATA / "grammar" / f"{path}.cfg" if str(path) in SHIPPED else Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no grammar file {path}; the shipped ones are {', '.join(SHIPPED)}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise GrammarError(f"{path} is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}") from None
    if nouns is not None:
        text = re.sub(r"^Noun -> .*$", lambda _: "Noun -> " + " | ".join(map(repr, nouns)), text, flags=re.MULTILINE)
    if not re.search(r"^[^\S\n]*[^\s#%]", text, re.MULTILINE):
        raise GrammarError(f"{path} has no rules")
    if empty := re.search(r"^\s*(\S+)\s*->[\s|]*$", text, re.MULTILINE):
        raise GrammarError(f"{path}: {empty[1]} has no words; give it at least one")
    try:
        cfg = nltk.CFG.fromstring(text)
    except ValueError as error:
        raise GrammarError(f"{path}: {error}") from None
    if cycle := _left_recursive(cfg):
        raise GrammarError(f"{path}: left recursion {' -> '.join(cycle)}; a sentence would never end")
    return _build(cfg, path)


def for_scale(scale: str, path: str = "") -> Grammar:
    """The grammar at `path`, or if that is empty the scale's own: 24 states at "smoke", else the paper's 480."""
    return load(path or ("smoke" if scale == "smoke" else "base"))


def grid(shape: Sequence[int]) -> Grammar:
    """A grammar of made-up words, one axis for each number: for simulations of any size."""
    axes = [f"Axis{k}" for k in range(len(shape))]
    rules = [f"{axis} -> " + " | ".join(f"'{axis}.{i}'" for i in range(n)) for axis, n in zip(axes, shape, strict=True)]
    return _build(nltk.CFG.fromstring("\n".join([f"S -> {' '.join(axes)}", *rules])), Path("grid"))


def locality(embeddings: np.ndarray, grammar: Grammar, rng: np.random.Generator, draws: int = 1000) -> pd.DataFrame:
    """Semantic locality of each axis (section 3): are words that stand side by side more alike than any two words?

    Args:
        embeddings: unit vectors of all states, (*grammar.shape, d).
        rng: draws the bootstrap samples.

    Returns:
        One row an axis: mean cosine of states one step apart (neighbours) and of all pairs on the axis (all_pairs),
        the other axes being equal; their difference (gain) with a 95 % bootstrap interval (low, high) over the states
        of the other axes.
    """
    rows = []
    for k, (axis, words) in enumerate(grammar.axes.items()):
        lines = np.moveaxis(embeddings, k, -2).reshape(-1, len(words), embeddings.shape[-1])
        cosines = lines @ lines.swapaxes(1, 2)
        near = cosines.diagonal(1, 1, 2).mean(1)
        every = cosines[:, *np.triu_indices(len(words), 1)].mean(1)
        gains = (near - every)[rng.integers(len(lines), size=(draws, len(lines)))].mean(1)
        low, high = np.percentile(gains, [2.5, 97.5])
        rows.append({"axis": axis, "words": len(words), "neighbours": near.mean(), "all_pairs": every.mean(),
                     "gain": (near - every).mean(), "low": low, "high": high})  # fmt: skip
    return pd.DataFrame(rows)


def _build(cfg: nltk.CFG, path: Path) -> Grammar:
    rules: dict[str, list[tuple]] = {}
    for rule in cfg.productions():
        rules.setdefault(str(rule.lhs()), []).append(rule.rhs())
    words, template, reached = {}, [], set()

    def expand(symbol: str) -> None:
        reached.add(symbol)
        if symbol not in rules:
            raise GrammarError(f"{path}: unknown symbol {symbol}; write words in quotes, or give {symbol} a rule")
        if any(isinstance(part, nltk.Nonterminal) for rhs in rules[symbol] for part in rhs):
            if len(rules[symbol]) > 1:
                raise GrammarError(f"{path}: {symbol} has {len(rules[symbol])} alternatives of symbols; only words may be alternatives")
            for part in rules[symbol][0]:
                if not isinstance(part, nltk.Nonterminal):
                    raise GrammarError(f"{path}: {symbol} mixes words and symbols; give the word {part!r} a symbol of its own")
                expand(str(part))
        else:
            if symbol in template:
                raise GrammarError(f"{path}: {symbol} stands twice in a sentence; give the second its own name")
            template.append(symbol)
            words[symbol] = tuple(" ".join(rhs) for rhs in rules[symbol])

    expand(str(cfg.start()))
    if unused := set(rules) - reached:
        raise GrammarError(f"{path}: nothing leads to {', '.join(sorted(unused))}")
    seen: dict[str, str] = {}
    for symbol, listed in words.items():
        for word in listed:
            if word.count("/") > 1 or any(form != " ".join(form.split()) for form in _forms(word)) or (word and "" in word.split("/")):
                raise GrammarError(f"{path}: {symbol} has {word!r}; write 'word' or 'singular/plural', with single spaces inside")
        forms = [form for word in listed for form in dict.fromkeys(_forms(word))]
        if duplicates := {form for form in forms if forms.count(form) > 1}:
            raise GrammarError(f"{path}: {symbol} lists {', '.join(sorted(map(repr, duplicates)))} more than once")
        for form in forms:
            if form and form in seen and form not in NUMERALS:
                raise GrammarError(f"{path}: {form!r} is in two axes, {seen[form]} and {symbol}; a sentence could mean two things")
            seen[form] = symbol
    # The order of the file is the order of the axes.
    order = [symbol for symbol in rules if symbol in words and (len(words[symbol]) > 1)]
    if not order:
        raise GrammarError(f"{path}: no rule offers a choice of words, so there is nothing to search")
    axes = {symbol: tuple(_forms(word)[0] for word in words[symbol]) for symbol in order}
    # A word is one token, whatever its spaces; an empty word is none: the parser sees it as an empty rule.
    productions = [
        nltk.Production(rule.lhs(), [word for word in (" ".join(rule.rhs()),) if word] if str(rule.lhs()) in words else rule.rhs())
        for rule in cfg.productions()
    ]
    return Grammar(nltk.CFG(cfg.start(), productions), axes, tuple(template), words, path)
