"""Sentences of a grammar: reading them, and whether one can be read in two ways.

A sentence is one word from each slot, left to right. What a word looks like depends on the number that holds where it
stands (singular or plural), and a numeral changes the number for what follows.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence

Forms = dict[tuple[str, ...], tuple[int, bool]]  #: a word's tokens -> (which word of the slot, whether plural holds after it)
Slot = tuple[Forms, Forms]  #: what the words look like where singular holds, and where plural holds
PAIRS = 300_000  #: most pairs of readings that are followed; the shipped grammars need fewer than a hundred


def read(slots: Sequence[Slot], tokens: Sequence[str], agreement: bool = True) -> tuple[list[int] | None, int]:
    """The choices, a word number for each slot, that give a sentence; None if none do; and how many tokens could be read.

    Args:
        agreement: whether words must be in the number that holds; without it, both forms are read.
    """
    tokens, furthest = tuple(tokens), 0
    reached: dict[tuple[int, bool], tuple | None] = {(0, False): None}  # (tokens read, plural) -> choices, the last one first
    for slot in slots:
        following = {}
        for (start, plural), chain in reached.items():
            for forms in (slot[plural],) if agreement else slot:
                for end in range(start, min(len(tokens), start + max(map(len, forms))) + 1):
                    if found := forms.get(tokens[start:end]):
                        following[end, found[1]] = found[0], chain
        reached = following
        furthest = max([furthest, *(end for end, _ in reached)])
    chain = next((chain for (end, _), chain in reached.items() if end == len(tokens)), None)
    return chain and _choices(chain), furthest


def _choices(chain: tuple | None) -> list[int]:
    """(last, (the one before, ...)) as a list, first to last."""
    found = []
    while chain:
        choice, chain = chain
        found.append(choice)
    return found[::-1]


def ambiguous(slots: Sequence[Slot]) -> tuple[list[int], list[int]] | None:
    """Two different readings (a word number for each slot) of one sentence; None if every sentence has one reading.

    Two readings of a sentence agree up to some slot; there one takes a word with which the word of the other begins.
    From then on the reading that is behind takes words that fit the tokens by which the other is ahead, until both end
    together. Such a pair is known by the two slots, the two numbers, and the tokens between: part of one word. So there
    are few pairs, and each is followed once.

    Raises:
        ValueError: more than `PAIRS` pairs, as of hundreds of slots whose words may all be empty.
    """
    end, ordered, known, queue = len(slots), {}, set(), deque()

    def push(ahead, behind, rest):
        """A reading is (slot, plural, choices as a linked list); `rest`: the tokens that only the first one has."""
        if not rest and behind[0] > ahead[0]:
            ahead, behind = behind, ahead
        pair = (*ahead[:2], *behind[:2], rest)
        if pair not in known:
            known.add(pair)
            queue.append((ahead, behind, rest))

    same: dict[bool, tuple | None] = {False: None}  # before any choice differs: number -> choices that lead to it
    for k, slot in enumerate(slots):
        following = {}
        for plural, chain in same.items():
            for tokens, (choice, after) in slot[plural].items():
                following.setdefault(after, (choice, chain))
                for cut in range(len(tokens)):
                    if other := slot[plural].get(tokens[:cut]):
                        push((k + 1, after, (choice, chain)), (k + 1, other[1], (other[0], chain)), tokens[cut:])
        same = following
    while queue:
        if len(known) > PAIRS:
            raise ValueError("too many words are empty or begin with one another to see whether a sentence can mean two things")
        ahead, behind, rest = queue.popleft()
        j, plural, chain = behind
        if not rest and ahead[0] == j and (j == end or ahead[1] == plural):
            return tuple(_choices(chain) + [0] * (end - j) for _, _, chain in (behind, ahead))
        if j == end:
            continue
        words = slots[j][plural]
        for cut in range(len(rest) + 1):
            if rest[:cut] in words:
                choice, after = words[rest[:cut]]
                push(ahead, (j + 1, after, (choice, chain)), rest[cut:])
        if (j, plural) not in ordered:
            ordered[j, plural] = sorted(words)
        longer = ordered[j, plural]
        for i in range(bisect_right(longer, rest), len(longer)):
            if longer[i][: len(rest)] != rest:
                break
            choice, after = words[longer[i]]
            push((j + 1, after, (choice, chain)), ahead, longer[i][len(rest) :])
    return None
