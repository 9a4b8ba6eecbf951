"""The rules of a grammar: a text in NLTK's notation, checked so that every sentence has one shape."""

import os
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import nltk

FILE_BYTES = 2**18  #: largest grammar file
SYMBOLS, DEPTH, LETTERS = 100, 100, 1_000  #: most symbols in a sentence, rules inside rules, characters in a word


class GrammarError(ValueError):
    """A grammar or a sentence that cannot be used; the message says what and where."""


@lru_cache(2**16)
def forms(word: str) -> tuple[str, ...]:
    r"""'dog/dogs' -> ('dog', 'dogs'); 'sheep' -> ('sheep',); 'AC\/DC' -> ('AC/DC',)."""
    return tuple(form.replace(r"\/", "/") for form in re.split(r"(?<!\\)/", word))


def some(names: Iterable[str]) -> str:
    """The first five names, and how many more there are."""
    names = list(names)
    return ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")


def from_file(path: Path) -> str:
    """The text of a grammar file.

    Raises:
        GrammarError: it is over 256 KiB, cannot be read, or is not UTF-8.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(FILE_BYTES + 1)
    except OSError as error:
        raise GrammarError(f"{path} cannot be read: {os.strerror(error.errno)}") from None
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise GrammarError(f"{path} is not UTF-8: byte {error.start} is {content[error.start]:#04x}") from None


def with_nouns(text: str, nouns: Sequence[str], where: str) -> str:
    """The text with one rule for Noun in place of its own, which may go over several lines and have several parts.

    Raises:
        GrammarError: the text has no rule for Noun, or a noun cannot be written in one.
    """
    if isinstance(nouns, str) or not hasattr(nouns, "__len__") or not len(nouns) or not all(isinstance(noun, str) for noun in nouns):
        raise GrammarError(f"nouns = {nouns!r} is not legal; give a list of at least one word, each 'word' or 'singular/plural'")
    if unusable := [noun for noun in nouns if re.search(r"[\r\n]", noun) or {"'", '"'} <= set(noun)]:
        raise GrammarError(f"the noun {unusable[0]!r} cannot be written in a rule: it has a line break, or both kinds of quotes")
    rule = "Noun -> " + " | ".join(f'"{noun}"' if "'" in noun else f"'{noun}'" for noun in nouns)
    rules = iter([rule])
    own = re.compile(r"^[^\S\n]*Noun[^\S\n]+->(?:.*\\[^\S\n]*\n)*.*$", re.MULTILINE)
    if not own.search(text):
        raise GrammarError(f"{where} has no rule for Noun that the given nouns could take the place of")
    return own.sub(lambda _: next(rules, ""), text)


def read(text: str, where: str) -> tuple[nltk.CFG, dict[str, tuple[str, ...]], list[str]]:
    """The rules of a text; `where` stands in front of messages.

    Returns:
        (the grammar; pre-terminal -> its words as written, in the order of a sentence; the axes in the order of the text).

    Raises:
        GrammarError: see `grammar.from_text`.
    """

    def need(condition, message: str) -> None:
        if not condition:
            raise GrammarError(f"{where}: {message}")

    need(len(text) <= FILE_BYTES, f"more than {FILE_BYTES:,} characters are no grammar, or too large a one")
    need(re.search(r"^[^\S\n]*[^\s#%]", text, re.MULTILINE), "it has no rules")
    try:
        start, productions = nltk.grammar.read_grammar(text, nltk.grammar.standard_nonterm_parser)
    except ValueError as error:
        line, _, reason = str(error).partition("\n")  # "Unable to parse line 3: its text", which can be long
        raise GrammarError(f"{where}: {line[:200]} {reason[:200]}") from None
    rules: dict[str, list[tuple]] = {}
    for rule in productions:
        rules.setdefault(str(rule.lhs()), []).append(rule.rhs())
    words: dict[str, tuple[str, ...]] = {}
    above: dict[str, None] = {}  # the symbols that are being expanded
    reached: set[str] = set()

    def expand(symbol: str) -> None:
        need(symbol not in above, f"{' -> '.join([*above, symbol])}: a sentence would never end")
        need(len(above) < DEPTH, f"rules lie more than {DEPTH} deep, from {some(above)}")
        need(symbol in rules, f"unknown symbol {symbol}; write words in quotes, or give {symbol} a rule")
        need(symbol not in reached, f"{symbol} stands twice in a sentence; give the second its own name")
        reached.add(symbol)
        if any(isinstance(part, nltk.Nonterminal) for rhs in rules[symbol] for part in rhs):
            need(len(rules[symbol]) == 1, f"{symbol} has {len(rules[symbol])} alternatives of symbols; only words may be alternatives")
            above[symbol] = None
            for part in rules[symbol][0]:
                need(isinstance(part, nltk.Nonterminal), f"{symbol} mixes words and symbols; give the word {part!r} a symbol of its own")
                expand(str(part))
            del above[symbol]
        else:
            need(any(rules[symbol]), f"{symbol} has no words; give it at least one")
            words[symbol] = tuple(" ".join(rhs) for rhs in rules[symbol])
            need(len(words) <= SYMBOLS, f"a sentence has more than {SYMBOLS:,} symbols")

    expand(str(start))
    need(rules.keys() <= reached, f"nothing leads to {some(sorted(rules.keys() - reached))}")
    for symbol, listed in words.items():
        seen: set[str] = set()
        for word in listed:
            need(len(word) <= LETTERS, f"{symbol} has a word of {len(word):,} characters; {LETTERS:,} are the most")
            spelled = forms(word)
            legal = len(spelled) <= 2 and all(form == " ".join(form.split()) for form in spelled) and (not word or all(spelled))
            hint = r"write 'word' or 'singular/plural', with single spaces inside; a slash that is part of a word is written \/"
            need(legal and not re.search(r"[\x00-\x1f\x7f-\x9f]", word), f"{symbol} has {word!r}; {hint}")
            need(seen.isdisjoint(spelled), f"{symbol} lists {', '.join(map(repr, seen.intersection(spelled)))} more than once")
            seen.update(spelled)
    axes = [symbol for symbol in rules if len(words.get(symbol, ())) > 1]
    need(axes, "no rule offers a choice of words, so there is nothing to search")
    return nltk.CFG(start, productions, calculate_leftcorners=False), words, axes
