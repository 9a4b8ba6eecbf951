"""The grammar: exact inverses over every state, agreement in number, and files that cannot be used."""

import pickle
import random

import pytest

from rldf_utils import grammar
from rldf_utils.grammar import GrammarError

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
        ((0, 0, 0), "has 3 numbers; this grammar has axes Frequency, Noun, Density, Scene"),
        ((0, 0, 0, 0, 0), "has 5 numbers"),
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
        pytest.param(SMALL.replace("'v'", "'x'"), "'x' is in two axes, A and B", id="two-axes"),
        pytest.param(SMALL.replace("'v'", "'w/x'"), "'x' is in two axes, A and B", id="two-axes-plural"),
        pytest.param(SMALL.replace("A B", "A B C"), "unknown symbol C; write words in quotes", id="unknown-symbol"),
        pytest.param(SMALL.replace("S -> A B", "S -> S A B"), "left recursion S -> S", id="recursion-direct"),
        pytest.param("S -> T\nT -> U B\nU -> T\nB -> 'u' | 'v'\n", "left recursion T -> U -> T", id="recursion-indirect"),
        pytest.param("S -> A T\nT -> S\nA -> 'x' | 'y'\n", "A stands twice in a sentence", id="recursion-right"),
        pytest.param(b"S -> A B\nA -> '\xe9' | 'y'\nB -> 'u' | 'v'\n", "is not UTF-8: byte 15 is 0xe9", id="latin-1"),
        pytest.param(SMALL.encode("utf-16"), "is not UTF-8: byte 0 is 0xff", id="utf-16"),
        pytest.param(SMALL + "C -> 'w'\n", "nothing leads to C", id="unused"),
        pytest.param(SMALL + "C -> D\nD -> C\n", "nothing leads to C, D", id="unused-cycle"),
        pytest.param("S = A B\n", "Unable to parse line 1: S = A B", id="no-arrow"),
        pytest.param(SMALL.replace("'v'", "'v"), "Unable to parse line 3", id="open-quote"),
        pytest.param("", "has no rules", id="empty"),
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
    with pytest.raises(FileNotFoundError, match="absent.cfg"):
        grammar.load(tmp_path / "absent.cfg")
    with pytest.raises(FileNotFoundError, match="no grammar file enormous; the shipped ones are smoke, base, large, full"):
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


def test_a_grammar_can_be_sent_to_another_process():
    copy = pickle.loads(pickle.dumps(BASE))
    assert copy.parse(copy.surface((1, 2, 3, 4))) == (1, 2, 3, 4)


def test_a_grid_has_the_shape_that_was_asked_for():
    grid = grammar.grid((3, 4, 2))
    assert (grid.shape, grid.size) == ((3, 4, 2), 24)
    assert grid.parse(grid.surface((2, 3, 1))) == (2, 3, 1)


def test_other_nouns_take_the_place_of_the_files():
    g = grammar.load("full", ["brush/brushes", "loaf of bread/loaves of bread", "Shih-Tzu dog"])
    assert g.axes["Noun"] == ("brush", "loaf of bread", "Shih-Tzu dog") and g.axes["Scene"] == grammar.load("full").axes["Scene"]
    assert "two loaves of bread" in g.surface((1, 1, *[0] * 10))
    names = grammar.load("names", ["king's crown", "dog"])
    assert names.shape == (2,) and names.surface((0,)) == "a photo of one king's crown" and names.parse("a photo of one dog") == (1,)
