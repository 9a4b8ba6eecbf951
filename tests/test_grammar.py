"""The grammar: exact inverses over every state, agreement in number, and files that cannot be used."""

import os
import pickle
import random
import resource
import time
from itertools import product

import numpy as np
import pytest

from rldf_utils import grammar
from rldf_utils.grammar import GrammarError
from rldf_utils.rules import FILE_BYTES

BASE, LARGE, FULL = (grammar.load(name) for name in ("base", "large", "full"))
SAMPLE = [(g, g.encoding(i)) for g in (LARGE, FULL) for i in random.Random(0).sample(range(g.size), 60)]
SMALL = "S -> A B\nA -> 'x' | 'y'\nB -> 'u' | 'v'\n"


def write(tmp_path, text: str | bytes):
    path = tmp_path / "mine.cfg"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_base_is_the_world_of_480_states():
    assert list(BASE.axes) == ["Frequency", "Noun", "Density", "Scene"]
    assert BASE.shape == (4, 6, 4, 5)
    assert BASE.size == 480


def test_large_is_nine_times_the_base():
    assert list(LARGE.axes) == list(BASE.axes)
    assert LARGE.size == 4320 == 9 * BASE.size


def test_full_searches_the_base_axes_first():
    assert list(FULL.axes)[:4] == list(BASE.axes)
    assert len(FULL.axes) == 12


@pytest.mark.parametrize("state", list(BASE.states()), ids=lambda s: "".join(map(str, s)))
def test_inverses_over_every_state(state):
    assert BASE.parse(BASE.surface(state)) == state
    assert BASE.encode(BASE.decode(state)) == state
    assert BASE.encoding(BASE.index(state)) == state


def test_states_prompts_and_indices_are_distinct_and_ordered():
    states = list(BASE.states())
    assert [BASE.index(state) for state in states] == list(range(480))
    assert len({BASE.surface(state) for state in states}) == 480


@pytest.mark.parametrize(("g", "state"), SAMPLE)
def test_inverses_on_a_sample_of_the_larger_grammars(g, state):
    assert g.parse(g.surface(state)) == state
    assert g.encode(g.decode(state)) == state
    assert g.encoding(g.index(state)) == state


@pytest.mark.parametrize(
    ("state", "prompt"),
    [
        ((0, 0, 0, 0), "a photo of one banana and no people in a forest"),
        ((1, 0, 1, 1), "a photo of two bananas and one person in a farm"),
        ((3, 5, 3, 4), "a photo of many monkeys and many people in a kitchen"),
        ((2, 4, 2, 2), "a photo of three dogs and two people in a playground"),
    ],
)
def test_number_agrees(state, prompt):
    assert BASE.surface(state) == prompt
    assert BASE.parse(prompt) == state


def test_words_of_the_full_grammar_agree_across_the_words_between():
    semantics = dict.fromkeys(FULL.axes, "") | {
        "Style": "a photo of", "Frequency": "two", "Colour": "red", "Noun": "dog", "Density": "no", "Age": "old",
        "Gender": "man", "Scene": "a park", "Time": "at night",
    }  # fmt: skip
    prompt = "a photo of two red dogs and no old men in a park at night"
    assert FULL.surface(FULL.encode(semantics)) == prompt
    assert FULL.decode(FULL.parse(prompt)) == semantics


def test_extra_spaces_do_not_matter():
    assert BASE.parse("  a photo of   one banana and no people in a  forest ") == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("a photo of one bananas and no people in a farm", "did you mean 'a photo of one banana and no people in a farm'"),
        ("a photo of two banana and no people in a farm", "did you mean 'a photo of two bananas and no people in a farm'"),
        ("a photo of two bananas and one people in a farm", "did you mean 'a photo of two bananas and one person in a farm'"),
        ("a photo of two bananas and no person in a farm", "did you mean 'a photo of two bananas and no people in a farm'"),
        ("a photo of one zebra and no people in a farm", "'zebra' in .* is not a word of this grammar"),
        ("a photo of one banana and no people in a", "'a' in .* is not a word"),
        ("a photo of banana one and no people in a farm", "is not a sentence of this grammar; one that is: 'a photo of one banana"),
        ("a photo of one banana", "is not a sentence"),
        ("a photo of three people and one banana in a farm", "is not a sentence"),
        ("a photo of one banana and three people in a farm", "is not a sentence"),
        ("A photo of one banana and no people in a farm", "'A' in .* is not a word"),
        ("", "'' is not a sentence"),
    ],
)
def test_wrong_prompts_are_refused(prompt, message):
    with pytest.raises(GrammarError, match=message):
        BASE.parse(prompt)


@pytest.mark.parametrize("index", [-1, 480, 10**9])
def test_index_outside(index):
    with pytest.raises(GrammarError, match=f"state {index} is outside 0..479"):
        BASE.encoding(index)


@pytest.mark.parametrize("use", [BASE.index, BASE.decode, BASE.surface])
@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ((4, 0, 0, 0), "Frequency = 4 is outside 0..3"),
        ((0, -1, 0, 0), "Noun = -1 is outside 0..5"),
        ((0, 0, 0, 5), "Scene = 5 is outside 0..4"),
        ((0, 0, 0), "is not one number an axis; this grammar has axes Frequency, Noun, Density, Scene"),
        ((0, 0, 0, 0, 0), "is not one number an axis"),
        (3, "3 is not one number an axis"),
        ((0, 0.5, 0, 0), "Noun = 0.5 is outside 0..5"),
        ((0, 0, 0, "1"), "Scene = 1 is outside 0..4"),
    ],
)
def test_encoding_outside(use, encoding, message):
    with pytest.raises(GrammarError, match=message):
        use(encoding)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Noun": "zebra"}, "'zebra' is not a word of Noun: 'banana', 'coin'"),
        ({"Noun": "bananas"}, "'bananas' is not a word of Noun"),
        ({"Weather": "in the rain"}, "exactly the axes Frequency, Noun, Density, Scene; wrong: Weather"),
    ],
)
def test_wrong_semantics(change, message):
    with pytest.raises(GrammarError, match=message):
        BASE.encode(BASE.decode((0, 0, 0, 0)) | change)


def test_missing_axis():
    with pytest.raises(GrammarError, match="wrong: Scene"):
        BASE.encode({"Frequency": "one", "Noun": "dog", "Density": "no"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(SMALL.replace("'y'", "'x'"), "A lists 'x' more than once", id="duplicate"),
        pytest.param(SMALL.replace("'y'", "'x/xs'"), "A lists 'x' more than once", id="duplicate-form"),
        pytest.param("S -> A B\nA ->\nB -> 'u' | 'v'\n", "A has no words", id="empty-axis"),
        pytest.param("S -> N-1 B\nN-1 -> | \nB -> 'u' | 'v'\n", "N-1 has no words", id="empty-axis-hyphen"),
        pytest.param(SMALL.replace("A B", "A B C"), "unknown symbol C; write words in quotes", id="unknown-symbol"),
        pytest.param(SMALL.replace("S -> A B", "S -> S A B"), "S -> S: a sentence would never end", id="recursion-direct"),
        pytest.param("S -> T\nT -> U B\nU -> T\nB -> 'u' | 'v'\n", "S -> T -> U -> T: a sentence would never end", id="recursion-indirect"),
        pytest.param("S -> A T\nT -> S\nA -> 'x' | 'y'\n", "S -> T -> S: a sentence would never end", id="recursion-right"),
        pytest.param(b"S -> A B\nA -> '\xe9' | 'y'\nB -> 'u' | 'v'\n", "is not UTF-8: byte 15 is 0xe9", id="latin-1"),
        pytest.param(SMALL.encode("utf-16"), "is not UTF-8: byte 0 is 0xff", id="utf-16"),
        pytest.param(SMALL + "C -> 'w'\n", "nothing leads to C", id="unused"),
        pytest.param(SMALL + "C -> D\nD -> C\n", "nothing leads to C, D", id="unused-cycle"),
        pytest.param("S = A B\n", "Unable to parse line 1: S = A B", id="no-arrow"),
        pytest.param(SMALL.replace("'v'", "'v"), "Unable to parse line 3", id="open-quote"),
        pytest.param("", "has no rules", id="empty"),
        pytest.param("\ufeff", "has no rules", id="byte-order-mark-only"),
        pytest.param("%start S\n", "has no rules", id="start-only"),
        pytest.param("S -> A\nA -> 'x' | 'y\tz'\n", "A has 'y.tz'", id="tab-in-a-word"),
        pytest.param("S -> A\nA -> 'x' | 'y\0'\n", r"A has 'y.x00'", id="nul-in-a-word"),
        pytest.param("S -> A\nA -> 'x' | '" + "y" * 1001 + "'\n", "A has a word of 1,001 characters; 1,000 are the most", id="long-word"),
        pytest.param("S -> A\nA -> 'x' | 'AC/DC/AC'\n", r"a slash that is part of a word is written \\/", id="slashes"),
        pytest.param("# a comment\n\n", "has no rules", id="comment-only"),
        pytest.param("\0\1", "Unable to parse line 1", id="binary"),
        pytest.param("S -> A | B\nA -> 'x' | 'y'\nB -> 'u' | 'v'\n", "S has 2 alternatives of symbols", id="two-shapes"),
        pytest.param("S -> A 'and' B\nA -> 'x' | 'y'\nB -> 'u' | 'v'\n", "S mixes words and symbols; give the word 'and'", id="mixed"),
        pytest.param("S -> A A\nA -> 'x' | 'y'\n", "A stands twice", id="twice"),
        pytest.param("S -> A\nA -> 'x'\n", "no rule offers a choice of words", id="no-choice"),
        pytest.param(SMALL.replace("'y'", "'y/ys/yss'"), "A has 'y/ys/yss'; write 'word' or 'singular/plural'", id="three-forms"),
        pytest.param(SMALL.replace("'y'", "'/ys'"), "A has '/ys'", id="no-singular"),
        pytest.param(SMALL.replace("'y'", "'y '"), "A has 'y '; .* single spaces", id="outer-space"),
        pytest.param(SMALL.replace("'y'", "'y  z'"), "A has 'y  z'", id="double-space"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(GrammarError, match=message) as caught:
        grammar.load(path)
    assert str(path) in str(caught.value)
    assert caught.value.__cause__ is None


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="is a folder, not a grammar file"):
        grammar.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no grammar file"):
        grammar.load(tmp_path / ("long" * 1000))
    with pytest.raises(FileNotFoundError, match="absent.cfg"):
        grammar.load(tmp_path / "absent.cfg")
    with pytest.raises(FileNotFoundError, match="no grammar file enormous; the shipped ones are smoke, base, photos, large, full, paper"):
        grammar.load("enormous")


def test_numerals_may_stand_in_two_axes(tmp_path):
    g = grammar.load(write(tmp_path, "S -> A N B M\nA -> 'one' | 'two'\nN -> 'cat/cats'\nB -> 'no' | 'one' | 'two'\nM -> 'hat/hats'\n"))
    assert g.shape == (2, 3)
    assert {g.surface(s): s for s in g.states()} == {
        "one cat no hats": (0, 0), "one cat one hat": (0, 1), "one cat two hats": (0, 2),
        "two cats no hats": (1, 0), "two cats one hat": (1, 1), "two cats two hats": (1, 2),
    }  # fmt: skip
    assert all(g.parse(g.surface(s)) == s for s in g.states())


def test_a_users_vocabulary_works_end_to_end(tmp_path):
    text = """\
    # A kitchen, with a byte order mark, an accent, an unchanging word, an empty word and words of several tokens.
    S -> Number Thing On Place When
    Number -> 'one' | 'many'
    Thing -> 'crêpe/crêpes' | 'sheep' | 'fish knife/fish knives'
    On -> 'on'
    When -> '' | 'at' 'noon'
    Place -> 'a table' | 'a table top'
    """
    g = grammar.load(write(tmp_path, "\ufeff" + text))
    assert list(g.axes) == ["Number", "Thing", "When", "Place"]
    assert g.shape == (2, 3, 2, 2)
    assert g.surface((1, 2, 1, 1)) == "many fish knives on a table top at noon"
    assert g.surface((1, 1, 0, 0)) == "many sheep on a table"
    assert all(g.parse(g.surface(s)) == s for s in g.states())
    assert g.tree("one crêpe on a table").leaves() == ["one", "crêpe/crêpes", "on", "a table"]


def test_order_of_the_file_is_the_order_of_the_axes(tmp_path):
    swapped = grammar.load(write(tmp_path, "S -> A B\nB -> 'u' | 'v' | 'w'\nA -> 'x' | 'y'\n"))
    assert (list(swapped.axes), swapped.shape) == (["B", "A"], (3, 2))
    assert swapped.surface((2, 0)) == "x w"


def test_a_word_may_stand_in_two_axes_where_no_sentence_means_two_things(tmp_path):
    g = grammar.load(write(tmp_path, "S -> F C N\nF -> 'one' | 'two'\nC -> 'orange' | 'red'\nN -> 'orange/oranges' | 'car/cars'\n"))
    assert g.parse("two orange oranges") == (1, 0, 0) and g.parse("one red car") == (0, 1, 1)
    assert all(g.parse(g.surface(s)) == s for s in g.states())


def test_the_longest_word_need_not_be_the_right_one(tmp_path):
    g = grammar.load(write(tmp_path, "S -> N L\nN -> 'hot' | 'hot dog'\nL -> 'dog house' | 'stand'\n"))
    assert {g.surface(s): s for s in g.states()} == {
        "hot dog house": (0, 0), "hot stand": (0, 1), "hot dog dog house": (1, 0), "hot dog stand": (1, 1),
    }  # fmt: skip
    assert all(g.parse(g.surface(s)) == s for s in g.states())


AMBIGUOUS = {
    "the space between": "S -> N L\nN -> 'hot' | 'hot dog'\nL -> 'dog stand' | 'stand'\n",
    "the empty word": "S -> C N\nC -> '' | 'dark'\nN -> 'horse' | 'dark horse'\n",
    "either may be empty": "S -> A B\nA -> '' | 'red'\nB -> '' | 'red'\n",
    "in the plural alone": "S -> F C N\nF -> 'one' | 'two'\nC -> '' | 'sea'\nN -> 'lion/sea lions' | 'lion cub/lions'\n",
    "across five rules": "S -> A B C D E\nA -> 'a' | 'a b'\nB -> 'b c' | 'c d'\nC -> 'd e' | 'e f'\nD -> 'f'\nE -> 'g' | 'f g'\n",
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_two_encodings_with_one_sentence_are_refused(tmp_path, name):
    """The message has the sentence and both encodings; the truth is every sentence of the same grammar, unchecked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grammar, "ambiguous", lambda slots: None)
        g = grammar.from_text(AMBIGUOUS[name])
    every = {}
    for state in g.states():
        every.setdefault(g.surface(state), []).append(state)
    wanted = {f"{sentence!r} is the sentence of {a} and of {b}" for sentence, s in every.items() for a, b in product(s, s) if a != b}
    with pytest.raises(GrammarError) as caught:
        grammar.load(write(tmp_path, AMBIGUOUS[name]))
    assert any(text in str(caught.value) for text in wanted) and wanted


def test_the_message_of_an_ambiguity_names_the_words():
    words = "N 'hot dog', L 'stand' or N 'hot', L 'dog stand'"
    with pytest.raises(GrammarError, match=rf"of \(1, 1\) and of \(0, 0\): {words}; change one of the words"):
        grammar.from_text(AMBIGUOUS["the space between"])


def test_what_would_be_ambiguous_in_the_plural_is_not_where_there_is_none():
    g = grammar.from_text(AMBIGUOUS["in the plural alone"].replace("'one' | 'two'", "'one'"))
    assert [g.surface(s) for s in g.states()] == ["one lion", "one lion cub", "one sea lion", "one sea lion cub"]
    assert all(g.parse(g.surface(s)) == s for s in g.states())


def test_random_vocabularies_are_refused_exactly_where_an_inverse_fails():
    rng, refused = random.Random(0), 0
    forms = ("", "a", "b", "a a", "a b", "b a", "b b/b a a", "a a b/a a a", "one", "two")
    for _ in range(400):
        axes = {f"A{k}": rng.sample(forms, rng.randint(2, 4)) for k in range(rng.randint(2, 4))}
        text = f"S -> {' '.join(axes)}\n" + "\n".join(f"{axis} -> " + " | ".join(map(repr, words)) for axis, words in axes.items())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(grammar, "ambiguous", lambda slots: None)
            try:
                g = grammar.from_text(text)
            except GrammarError:
                continue  # a word twice, or no choice
        unique = len({g.surface(s) for s in g.states()}) == g.size
        try:
            grammar.from_text(text)
        except GrammarError:
            refused += 1
            assert not unique, text
        else:
            assert unique and all(g.parse(g.surface(s)) == s for s in g.states()), text
    assert 100 < refused < 300


def test_a_slash_can_be_part_of_a_word(tmp_path):
    text = r"S -> F N" + "\n" + r"F -> 'one' | 'two'" + "\n" + r"N -> 'AC\/DC' | 'and\/or' | 'A\/C unit/A\/C units'" + "\n"
    g = grammar.load(write(tmp_path, text))
    assert g.axes["N"] == ("AC/DC", "and/or", "A/C unit")
    assert [g.surface((1, n)) for n in range(3)] == ["two AC/DC", "two and/or", "two A/C units"]
    assert all(g.parse(g.surface(s)) == s for s in g.states())
    assert grammar.load("names", g.words["N"]).axes["Noun"] == g.axes["N"]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace(" -> ", "\t->\t").replace(" | ", "\t|\t"),
        lambda text: text.replace(" | ", " \\\n  | "),
        lambda text: "# before\n\n" + text.replace("\n", "\n  # between\n \t \n"),
    ],
    ids=["CRLF", "CR", "byte-order-mark", "tabs", "continued-lines", "comments"],
)
def test_a_file_as_other_editors_write_it_is_the_same_grammar(tmp_path, change):
    text = (grammar.DATA / "grammar" / "base.cfg").read_text()
    g = grammar.load(write(tmp_path, change(text)))
    assert g.axes == BASE.axes and [g.surface(s) for s in g.states()] == [BASE.surface(s) for s in BASE.states()]


def test_home_is_meant_by_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path, SMALL)
    assert grammar.load("~/mine.cfg") == grammar.from_text(SMALL)


def test_a_grammar_is_its_text(tmp_path):
    for g in (BASE, FULL, grammar.load("large", ["king's crown", "dog/dogs"]), grammar.grid((3, 4))):
        again = grammar.from_text(g.text, g.name)
        assert again == g and hash(again) == hash(g) and (again.axes, again.template, again.words) == (g.axes, g.template, g.words)
        assert pickle.loads(pickle.dumps(g)) == g != grammar.from_text(SMALL)
    assert [g.name for g in (BASE, grammar.load(write(tmp_path, SMALL)), grammar.grid((2,)))] == ["base", "mine.cfg", "grid"]
    with pytest.raises(GrammarError, match="grammar mine: A has no words"):
        grammar.from_text("S -> A\nA ->\n", "mine")


def test_trees_have_the_words_as_the_file_writes_them():
    tree = FULL.tree(FULL.surface(FULL.encode(dict.fromkeys(FULL.axes, "") | {
        "Style": "a photo of", "Frequency": "two", "Noun": "dog", "Density": "no", "Gender": "man", "Scene": "a park"})))  # fmt: skip
    assert tree.leaves() == ["a photo of", "two", "dog/dogs", "and", "no", "man/men", "in", "a park"]
    assert [t.label() for t in tree.subtrees(lambda t: not len(t))] == ["Colour", "Age", "Tone", "Verb", "Weather", "Time"]
    assert str(tree[1]) == "(NP (Frequency two) (NOM (Colour ) (Noun dog/dogs)))"


def test_a_grammar_can_be_sent_to_another_process():
    copy = pickle.loads(pickle.dumps(BASE))
    assert copy.parse(copy.surface((1, 2, 3, 4))) == (1, 2, 3, 4)


def test_a_grid_has_the_shape_that_was_asked_for():
    grid = grammar.grid((3, 4, 2))
    assert (grid.shape, grid.size) == ((3, 4, 2), 24)
    assert grid.parse(grid.surface((2, 3, 1))) == (2, 3, 1)
    with pytest.raises(ValueError, match="words of an axis = 1 is not legal; choose an integer, 2 or more"):
        grammar.grid((3, 1))


@pytest.mark.parametrize("axes", [1, 2, 5, 100])
def test_any_number_of_axes_and_states(axes):
    grid = grammar.grid((9,) * (axes - 1) + (2,))
    assert len(grid.axes) == axes and grid.size == 2 * 9 ** (axes - 1)
    for index in (0, grid.size - 1, grid.size // 3):
        assert grid.index(grid.encoding(index)) == index and grid.parse(grid.surface(grid.encoding(index))) == grid.encoding(index)


def test_states_without_number_are_refused_with_the_limit_and_what_to_do():
    assert BASE.limited(480, "a table") is BASE
    with pytest.raises(GrammarError, match=r"base has 480 states \(4 x 6 x 4 x 5\); a table takes at most 479: leave out axes or words"):
        BASE.limited(479, "a table")


def test_other_nouns_take_the_place_of_the_files():
    g = grammar.load("full", ["brush/brushes", "loaf of bread/loaves of bread", "Shih-Tzu dog"])
    assert g.axes["Noun"] == ("brush", "loaf of bread", "Shih-Tzu dog") and g.axes["Scene"] == grammar.load("full").axes["Scene"]
    assert "two loaves of bread" in g.surface((1, 1, *[0] * 10))
    names = grammar.load("names", ["king's crown", "dog"])
    assert names.shape == (2,) and names.surface((0,)) == "a photo of one king's crown" and names.parse("a photo of one dog") == (1,)


@pytest.mark.parametrize(
    "rule",
    ["Noun  ->  'cat'", "Noun\t->'cat'|'cow'", "  Noun -> 'cat' \\\n   | 'cow' \\\n | 'hen'", "Noun -> 'cat'\nNoun -> 'cow'\nNoun -> 'ox'"],
    ids=["spaces", "tab", "lines", "rules"],
)
def test_nouns_are_used_however_the_rule_is_written(tmp_path, rule):
    text = f"S -> F Noun P\n# Noun -> 'no rule'\nF -> 'one' | 'two'\n{rule}\nP -> 'in' | 'on'\n"
    g = grammar.load(write(tmp_path, text), nouns=["dog/dogs", "sheep"])
    assert dict(g.axes) == {"F": ("one", "two"), "Noun": ("dog", "sheep"), "P": ("in", "on")}
    assert grammar.from_text(g.text).surface((1, 0, 1)) == "two dogs on"


@pytest.mark.parametrize(
    ("text", "nouns", "message"),
    [
        (SMALL, ["dog"], "has no rule for Noun that the given nouns could take the place of"),
        ("S -> Nouns\nNouns -> 'x' | 'y'\n", ["dog"], "has no rule for Noun"),
        (BASE.text, [], "nouns = .. is not legal; give a list of at least one word"),
        (BASE.text, "dog", "nouns = 'dog' is not legal"),
        (BASE.text, [1], "nouns = .1. is not legal"),
        (BASE.text, 3, "nouns = 3 is not legal"),
        (BASE.text, ["dog", "dog"], "Noun lists 'dog' more than once"),
        (BASE.text, ['king\'s "crown"'], "cannot be written in a rule: it has a line break, or both kinds of quotes"),
        (BASE.text, ["dog\ncat"], "cannot be written in a rule"),
        (BASE.text, ["a/b/c"], "Noun has 'a/b/c'; write 'word' or 'singular/plural'"),
    ],
)
def test_nouns_that_cannot_be_used(text, nouns, message):
    with pytest.raises(GrammarError, match=message):
        grammar.from_text(text, nouns=nouns)


def of_axes(count: int, words: str) -> str:
    names = [f"A{k}" for k in range(count)]
    return "\n".join([f"S -> {' '.join(names)}", *(f"{name} -> {words.replace('#', name)}" for name in names)])


MONSTROUS = {
    "10 MB": lambda: "S -> A\nA -> 'x' | 'y'\n" + "# nothing\n" * 10**6,
    "binary": lambda: random.Random(0).randbytes(FILE_BYTES),
    "blank": lambda: "\n" * FILE_BYTES,
    "backslashes": lambda: "S -> A\nA -> 'x'" + " | \\\n" * (FILE_BYTES // 8),
    "a word without end": lambda: "S -> A\nA -> 'x' | '" + "y" * (FILE_BYTES // 2) + "'",
    "a line without end": lambda: "S -> " + "(" * (FILE_BYTES // 2),
    "bars": lambda: "S -> A\nA -> 'x'" + "|" * (FILE_BYTES - 20),
    "one letter words": lambda: "S -> A\nA -> " + "'x' " * (FILE_BYTES // 8),
    "deep": lambda: "S -> A0\n" + "\n".join(f"A{k} -> A{k + 1}" for k in range(9000)) + "\nA9000 -> 'x' | 'y'\n",
    "wide": lambda: of_axes(5000, "'x' | 'y#'"),
    "unused": lambda: "S -> A\nA -> 'x' | 'y'\n" + "\n".join(f"A{k} -> 'z'" for k in range(9000)),
    "words that begin alike": lambda: of_axes(9, " | ".join(f"'{'a ' * n}#'" for n in range(99))),
    "words within words": lambda: of_axes(4, " | ".join(f"'{' '.join('a' * (2 * n + 1))}'" for n in range(99))),
    "many empty words": lambda: of_axes(100, "'' | 'x#' | 'x# y#'"),
    "many words": lambda: of_axes(1, " | ".join(f"'{n:x}'" for n in range(20000))),
}


@pytest.mark.parametrize("name", MONSTROUS)
def test_monstrous_files_are_read_or_refused_in_ten_seconds_and_a_gigabyte(tmp_path, name):
    content, begun, before = MONSTROUS[name](), time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        g = grammar.load(write(tmp_path, content))
    except GrammarError as error:
        assert len(str(error)) < 2500
    else:
        assert name in ("words that begin alike", "many empty words", "many words")
        state = g.encoding(g.size * 2 // 3)
        assert g.parse(g.surface(state)) == state
    assert time.process_time() - begun < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20, "kilobytes"


def test_what_cannot_be_opened(tmp_path):
    path = write(tmp_path, SMALL)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(GrammarError, match="cannot be read: Permission denied"):
        grammar.load(path)


def test_spread_encodings_hold_every_word_equally_often():
    base = grammar.load("base")
    found = np.array(base.spread(25, np.random.default_rng(0)))
    for column, size in zip(found.T, base.shape, strict=True):
        counts = np.bincount(column, minlength=size)
        assert len(counts) == size and counts.max() - counts.min() <= 1
    assert base.spread(25, np.random.default_rng(0)) != base.spread(25, np.random.default_rng(1))
