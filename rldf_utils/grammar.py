"""The paper's context-free grammar and its encoding (section 3).

A `Grammar` is read from rules in NLTK's notation. Its *axes* are the pre-terminals with more than one word (or with the
empty word); a sentence is one word from each, and its `Encoding` is their positions: a point of the grid that the
agents walk.
"""

import operator
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from math import prod
from pathlib import Path

import nltk
import numpy as np

from rldf_utils import rules
from rldf_utils.arguments import integer
from rldf_utils.results import DATA, SCALES, choose
from rldf_utils.rules import GrammarError, forms, some
from rldf_utils.sentences import Slot, ambiguous, read

Encoding = tuple[int, ...]  #: one integer an axis, in the grammar's axis order
SHIPPED = ("smoke", "base", "photos", "large", "full", "paper", "names", "actions", "pairs")  #: grammars in data/grammar
NUMERALS = frozenset({"no", "one", "two", "three", "four", "five", "six", "many"})  #: may stand in several axes
TABLE_STATES = 2_000_000  #: most states for which a table (Q, transitions, rewards) is made
READ_STATES = 100_000  #: most sentences that CLIP compares a picture with


@dataclass(frozen=True)
class Grammar:
    """G = <T, N, S, R> with ordered axes. Build it with `load` or `from_text`. Grammars of one text are equal."""

    text: str = field(repr=False)  #: the rules, in NLTK's notation: what `from_text` makes the same grammar of
    name: str = field(compare=False)  #: what messages call it: a shipped name, or the file's
    axes: dict[str, tuple[str, ...]] = field(compare=False)  #: axis -> its words (singular forms), in encoding order
    cfg: nltk.CFG = field(repr=False, compare=False)
    template: tuple[str, ...] = field(repr=False, compare=False)  #: pre-terminals from left to right
    words: dict[str, tuple[str, ...]] = field(repr=False, compare=False)  #: pre-terminal -> terminals as the text has them

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of words on each axis."""
        return tuple(len(words) for words in self.axes.values())

    @property
    def size(self) -> int:
        """Number of states: 480 for the base world."""
        return prod(self.shape)

    def limited(self, most: int, what: str) -> "Grammar":
        """The grammar itself.

        Raises:
            GrammarError: it has more than `most` states, too many for `what`.
        """
        if self.size > most:
            raise GrammarError(
                f"the grammar {self.name} has {self.size:,} states ({' x '.join(map(str, self.shape))}); {what} takes at most {most:,}: "
                "leave out axes or words (an axis with one word is none), or take a smaller grammar such as base or large"
            )
        return self

    def states(self):
        """Every encoding, in index order."""
        return product(*map(range, self.shape))

    @cached_property
    def sentences(self) -> tuple[str, ...]:
        """Every encoding's prompt, in index order; written once."""
        return tuple(self.surface(state) for state in self.states())

    def index(self, encoding: Encoding) -> int:
        """State number of an encoding (row-major)."""
        number = 0
        for value, length in zip(self.check(encoding), self.shape, strict=True):
            number = number * length + value
        return number

    def encoding(self, index: int) -> Encoding:
        """Inverse of `index`."""
        if not hasattr(index, "__index__") or not 0 <= index < self.size:
            raise GrammarError(f"state {index} is outside 0..{self.size - 1}")
        digits, rest = [], operator.index(index)
        for length in reversed(self.shape):
            rest, digit = divmod(rest, length)
            digits.append(digit)
        return tuple(digits[::-1])

    def check(self, encoding: Encoding) -> Encoding:
        """The encoding itself, or a `GrammarError` that names the axis at fault."""
        if not hasattr(encoding, "__len__") or len(encoding) != len(self.axes):
            raise GrammarError(f"{encoding} is not one number an axis; this grammar has axes {', '.join(self.axes)}")
        for value, (axis, words) in zip(encoding, self.axes.items(), strict=True):
            if not hasattr(value, "__index__") or not 0 <= value < len(words):
                raise GrammarError(f"{axis} = {value} is outside 0..{len(words) - 1} in {encoding}")
        return tuple(map(operator.index, encoding))

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
        choices = dict.fromkeys(self.template, 0) | dict(zip(self.axes, self.check(encoding), strict=True))
        plural, sentence = False, []
        for symbol, choice in choices.items():
            word = self.words[symbol][choice]
            if number := _numeral(word):
                plural = number != "one"
            sentence.append(forms(word)[-plural])  # the last form is the plural, if there are two
        return " ".join(word for word in sentence if word)

    def parse(self, prompt: str) -> Encoding:
        """Prompt -> encoding, the inverse of `surface`.

        Raises:
            GrammarError: a word outside the vocabulary, a word out of place, or a number that disagrees.
        """
        tokens = tuple(prompt.split())
        choices, _ = read(self._slots, tokens)
        if choices is None:
            raise GrammarError(self._mistake(prompt, tokens))
        return self._encoding(choices)

    def _encoding(self, choices: Sequence[int]) -> Encoding:
        """The choices for the axes, in their order, of choices for the template."""
        chosen = dict(zip(self.template, choices, strict=True))
        return tuple(chosen[axis] for axis in self.axes)

    def _mistake(self, prompt: str, tokens: tuple[str, ...]) -> str:
        """What is wrong with a prompt that cannot be parsed."""
        choices, last = read(self._slots, tokens, agreement=False)
        if choices is not None:
            return f"{prompt!r} has the wrong number; did you mean {self.surface(self._encoding(choices))!r}?"
        known = {form for slot in self._slots for forms in slot for form in forms}
        if last < len(tokens) and not any(tokens[last:end] in known for end in range(last + 1, len(tokens) + 1)):
            return f"{tokens[last]!r} in {prompt!r} is not a word of this grammar"
        return f"{prompt!r} is not a sentence of this grammar; one that is: {self.surface((0,) * len(self.axes))!r}"

    def tree(self, prompt: str) -> nltk.Tree:
        """The prompt's parse tree; leaves are terminals as the text has them, the empty word is none."""
        choices = dict.fromkeys(self.template, 0) | dict(zip(self.axes, self.parse(prompt), strict=True))

        def grow(symbol: nltk.Nonterminal) -> nltk.Tree:
            if (name := str(symbol)) in choices:
                word = self.words[name][choices[name]]
                return nltk.Tree(name, [word] if word else [])
            return nltk.Tree(name, [grow(part) for part in self.cfg.productions(lhs=symbol)[0].rhs()])

        return grow(self.cfg.start())

    def spread(self, n: int, rng: np.random.Generator) -> list[Encoding]:
        """n encodings in which all words of an axis occur equally often, to one; how the axes are paired is random."""
        columns = [rng.permutation(np.arange(n) % size) for size in self.shape]
        return list(zip(*(column.tolist() for column in columns), strict=True))

    @cached_property
    def _slots(self) -> list[Slot]:
        """What stands where in a sentence, as `ambiguous` takes it."""
        slots = []
        for symbol in self.template:
            slot: Slot = {}, {}
            for choice, word in enumerate(self.words[symbol]):
                for plural in (False, True):
                    slot[plural][tuple(forms(word)[-plural].split())] = choice, (number != "one" if (number := _numeral(word)) else plural)
            slots.append(slot)
        return slots


def _numeral(word: str) -> str:
    """The numeral that a word is or ends in, as "with two" does; "" if it does not."""
    last = word.rpartition(" ")[2]
    return last if last in NUMERALS else ""


def load(path: str | Path = "base", nouns: Sequence[str] | None = None) -> Grammar:
    r"""Read a grammar file.

    Args:
        path: a file, or "smoke" (24 states), "base" and "photos" (480), "large" (4,320), "full" (every axis that the world draws),
            "paper" (the axes of a clone at paper scale), "names" (the object axis alone: plain class names).
        nouns: words that take the place of the file's rule for Noun, each 'word' or 'singular/plural'; a slash that is
            part of a word is written \/.

    Raises:
        GrammarError: see `from_text`; or a file over 256 KiB, that cannot be read, or is not UTF-8.
        FileNotFoundError: no such file.
    """
    name = str(path)
    path = DATA / "grammar" / f"{name}.cfg" if name in SHIPPED else Path(os.path.expanduser(name))
    if os.path.isdir(path):
        raise FileNotFoundError(f"{path} is a folder, not a grammar file")
    if not os.path.isfile(path):
        raise FileNotFoundError(f"there is no grammar file {path}; the shipped ones are {', '.join(SHIPPED)}")
    return _build(rules.from_file(path), name if name in SHIPPED else path.name, str(path), nouns)


def from_text(text: str, name: str = "given as text", nouns: Sequence[str] | None = None) -> Grammar:
    """Read a grammar from its rules, such as those of `Grammar.text`; `nouns` as of `load`, `name` for messages.

    Raises:
        GrammarError: over 256 KiB, not in NLTK's notation, rules that never end or lie more than 100 deep, an unknown
            symbol, an unused rule, an empty axis, a word twice in an axis, no single sentence shape, two encodings with
            one sentence, or nouns for a grammar without a rule for Noun.
    """
    return _build(text, name, f"grammar {name}", nouns)


def _build(text: str, name: str, where: str, nouns: Sequence[str] | None) -> Grammar:
    """The grammar of a text; `where` stands in front of messages."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if nouns is not None:
        text = rules.with_nouns(text, nouns, where)
    cfg, words, order = rules.read(text, where)
    grammar = Grammar(text, name, {symbol: tuple(forms(w)[0] for w in words[symbol]) for symbol in order}, cfg, tuple(words), words)
    try:
        pair = ambiguous(grammar._slots)
    except ValueError as error:
        raise GrammarError(f"{where}: {error}") from None
    if pair:
        one, other = map(grammar._encoding, pair)
        differ = [axis for axis, i, j in zip(order, one, other, strict=True) if i != j]
        readings = " or ".join(some(f"{axis} {grammar.decode(e)[axis]!r}" for axis in differ) for e in (one, other))
        raise GrammarError(
            f"{where}: {grammar.surface(one)!r} is the sentence of {one} and of {other}: {readings}; change one of the words"
        )
    return grammar


def for_scale(scale: str, path: str = "") -> Grammar:
    """The grammar at `path`, or if that is empty the scale's own: 24 states at "smoke", else the paper's 480; "photos" at "paper"."""
    return load(path or {"smoke": "smoke", "tiny": "base", "paper": "photos"}[choose("scale", scale, SCALES)])


def grid(shape: Sequence[int]) -> Grammar:
    """A grammar of made-up words, one axis for each number, each 2 or more: for simulations of any size."""
    axes = {f"Axis{k}": integer("words of an axis", n, least=2) for k, n in enumerate(shape)}
    rules = [f"{axis} -> " + " | ".join(f"'{axis}.{i}'" for i in range(n)) for axis, n in axes.items()]
    return from_text("\n".join([f"S -> {' '.join(axes)}", *rules]), "grid")
