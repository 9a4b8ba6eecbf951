"""The currency in which search methods are compared: the distinct pictures that a method looked at."""

from collections.abc import Callable, Collection, Sequence

import numpy as np

from rldf_utils.arguments import integer


class Enough(Exception):
    """A method has used up its calls or its proposals, or was told that it is there."""


class Looks:
    """Answers a search method's proposals with rewards, and counts the pictures that it needed for them.

    The k-th look at a state shows the k-th draw of its picture, and after the last draw the first again. A call is a
    picture, (state, draw), that was not seen before; where every state has one draw, its seed is fixed and a repeated
    look is free. All methods see the same draws in the same order.

    Args:
        values: rewards, float64 (draws, states) or (states,); or a function of (state, draw), for `size` states.
        calls: most calls; the look after the last raises `Enough`, a repeat too. More than all pictures is no limit.
        proposals: most looks, repeats included, so that a method that only repeats itself ends too.
        stop: the state whose look ends the search, the terminal signal of Algorithm 1; or several groups of states, of
            each of which one must have been looked at; None gives no such signal.
        size, draws: of a function.
        spare: rewards of further pictures of every state, (pictures, states), for a method that looks again at its end;
            None has none.

    Attributes:
        states, rewards: of the calls, in order.
        proposals: looks so far.
        answer: the state that the method itself takes for the best, if it says so.

    Raises:
        ValueError: a proposal outside the grid.
        Enough: see above.
    """

    def __init__(self, values: np.ndarray | Callable[[int, int], float], calls: int, proposals: int = 20_000,
                 stop: int | Sequence[Collection[int]] | None = None, size: int = 0, draws: int = 1,
                 spare: np.ndarray | None = None):  # fmt: skip
        if not callable(values):
            table = np.atleast_2d(np.asarray(values, float))
            draws, size = table.shape
            values = lambda state, draw: float(table[draw, state])  # noqa: E731
        self._value, self.size, self.draws = values, integer("size", size, 1), integer("draws", draws, 1)
        self._calls, self._most = integer("calls", calls, 1), integer("proposals", proposals, 1)
        self._open = None if stop is None else [set(s) for s in stop] if isinstance(stop, Sequence) else [{stop}]
        self._known: dict[int, list[float]] = {}
        self._next: dict[int, int] = {}
        self.states: list[int] = []
        self.rewards: list[float] = []
        self.proposals = 0
        self.answer: int | None = None
        #: function of states: the rewards of their spare pictures, (pictures, states)
        self.again = None if spare is None else lambda states: spare[:, states]

    def __call__(self, state: int) -> float:
        """The reward that a look at a state shows."""
        if not 0 <= state < self.size:
            raise ValueError(f"state {state} is none of the grid's {self.size}")
        if self.proposals >= self._most or len(self.states) >= self._calls:
            raise Enough
        state, known = int(state), self._known.setdefault(int(state), [])
        draw = self._next.get(state, 0) % self.draws
        self.proposals += 1
        self._next[state] = draw + 1
        if draw >= len(known):
            known.append(self._value(state, draw))
            self.states.append(state)
            self.rewards.append(known[draw])
            if self._open is not None:
                self._open = [group for group in self._open if state not in group]
                if not self._open:
                    raise Enough
        return known[draw]

    def found(self) -> np.ndarray:
        """The answer after each call, (calls,) states: of the states looked at, the first of the highest mean reward."""
        sums, counts, answers, best = {}, {}, [], -np.inf
        for state, reward in zip(self.states, self.rewards, strict=True):
            sums[state], counts[state] = sums.get(state, 0.0) + reward, counts.get(state, 0) + 1
            if counts[state] > 1:
                answers.append(max(sums, key=lambda s: sums[s] / counts[s]))
            else:  # of states looked at once, only the new one can overtake
                answers.append(state if reward > best else answers[-1])
            best = sums[answers[-1]] / counts[answers[-1]]
        return np.array(answers, int)
