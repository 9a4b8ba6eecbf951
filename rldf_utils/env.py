"""The grid of image semantics as a Gymnasium environment, `RLDF-v0`."""

from collections import deque
from collections.abc import Callable, Container, Sequence
from functools import cached_property
from math import prod

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded

from rldf_utils import grammar as grammars
from rldf_utils.arguments import integer, real
from rldf_utils.grammar import TABLE_STATES, Encoding, Grammar
from rldf_utils.landscape import number_at, perfect
from rldf_utils.readings import DEFAULT, Reading
from rldf_utils.results import choose
from rldf_utils.tiny import world  # renders stand in for a diffusion model's pictures where `render` is given none

Landscape = np.ndarray | Callable[[int], float]


def _limited(shape: tuple[int, ...]) -> None:
    integer("number of states", prod(map(int, shape)), least=1, most=TABLE_STATES)


def transition_table(shape: tuple[int, ...], reading: Reading = DEFAULT) -> np.ndarray:
    """Next state of every (state, action), int32 (states, actions).

    Action 2k is one step up axis k, action 2k + 1 down; a step over the border leaves the state as it is. Under other
    readings the step comes in opposite (border), the words lie in another order, or there is one action per word, axis
    by axis, that sets it (actions).

    Raises:
        ValueError: more than `grammar.TABLE_STATES` states.
    """
    _limited(shape)
    return successors(np.arange(np.prod(shape)), shape, reading).astype(np.int32)


def successors(states: np.ndarray, shape: tuple[int, ...], reading: Reading = DEFAULT) -> np.ndarray:
    """Next states of the given ones, (n,), after every action, int64 (n, actions); see `transition_table`."""
    words = np.stack(np.unravel_index(states, shape), 1)
    columns = []
    for axis, (size, position) in enumerate(zip(shape, reading.positions(shape), strict=True)):
        here, word_at = position[words[:, axis]], np.argsort(position)
        steps = range(size) if reading.actions == "set" else (1, -1)
        for step in steps:
            there = np.full(len(words), step) if reading.actions == "set" else word_at[_bounded(here + step, size, reading.border)]
            moved = words.copy()
            moved[:, axis] = there
            columns.append(np.ravel_multi_index(moved.T, shape))
    return np.stack(columns, 1)


def _bounded(position: np.ndarray, size: int, border: str) -> np.ndarray:
    return position % size if border == "wrap" else np.clip(position, 0, size - 1)


def distances(shape: tuple[int, ...], target: Encoding, reading: Reading = DEFAULT) -> np.ndarray:
    """L1 distance on axis indices from every state to the target, int32 (states,); under the default reading these are the
    steps of the shortest path. The reading's order of the words counts."""
    _limited(shape)
    positions, grid = reading.positions(shape), np.indices(shape).reshape(len(shape), -1)
    return sum(np.abs(p[words] - p[goal]) for p, words, goal in zip(positions, grid, target, strict=True)).astype(np.int32)


def around(states: Sequence[int], successors: Callable[[int], np.ndarray], known: Container[int], count: int) -> list[int]:
    """States, and those nearest to them that are not known: `count` in all, if there are as many."""
    found, reached, queue = list(states), set(states), deque(states)
    while queue:
        for state in successors(queue.popleft()).tolist():
            if state not in reached:
                reached.add(state)
                queue.append(state)
                if state not in known:
                    found.append(state)
                if len(found) >= count:
                    return found[:count]
    return found


class RLDFEnv(gym.Env):
    """Image search as a gridworld (section 3, Figure 4).

    ## Description
    Every point of the grid is an encoding, that is a sentence of the grammar; its image is what the text-to-image model
    draws for the sentence. The agent walks from a random encoding towards the one that shows what the input image shows.

    ## Action Space
    `Discrete(2 x axes)`: action 2k is one step up axis k (the next word), action 2k + 1 one step down. At the border
    the state stays. A reading may wrap the border, or make an action set one axis to a word: `Discrete(sum of words)`.

    ## Observation Space
    `Discrete(states)`: the encoding's state number, `grammar.index(encoding)`. 480 in the base world.

    ## Starting State
    Uniform over the states other than the target (or the reading's first state), or `start`, also by
    `reset(options={"start": encoding})`.

    ## Rewards
    The landscape's value at the state that the step leads to, plus the reading's bonus at the target.

    ## Episode End
    Terminated at the target, unless the reading goes on past the goal, and at the states marked `unrealistic` (section 5,
    insight 8). Truncated after `max_steps` steps. A step after the end walks on from where the episode ended, as in
    Gymnasium's CliffWalking; `reset` begins anew.

    ## Information
    `encoding`, its `distance` to the target (L1 on axis indices) and its `prompt`.

    ## Arguments
    - `grammar`: `Grammar` or what `grammar.load` takes; of more than two million states where the landscape is a function,
      which makes no table; "base".
    - `target`: encoding of the input image (Algorithm 1, line 2); the middle of the grid.
    - `landscape`: reward of every state: an array (states,); an array (draws, states), of which every arrival shows one
      row at random, as if the seeds of the states' images moved (section 5, insight 2); or a function of the state
      number, called at most once per state, whose exception gets a note that names the state. The perfect multi-semantic
      landscape.
    - `reading`: what the paper leaves open; `readings.DEFAULT`.
    - `start`, `max_steps`: see above; the reading's.
    - `unrealistic`: bool (states,), states that end the episode with the reward `penalty`; none.
    - `image`: function from state number to uint8 (height, width, 3) for `render_mode="rgb_array"`; a render of the
      OpenMoji world.

    Raises:
        ValueError: a landscape of the wrong shape or with NaN; `unrealistic` of the wrong shape, or true at the target; an
            unknown render mode; a number out of range.
        GrammarError: a target or start outside the grid, or a grammar of too many states for a landscape that is a table.
        ResetNeeded: a step or a picture before the first `reset`.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}

    def __init__(self, grammar: Grammar | str = "base", target: Encoding | None = None, landscape: Landscape | None = None,
                 start: Encoding | None = None, max_steps: int | None = None, reading: Reading = DEFAULT,
                 unrealistic: np.ndarray | None = None, penalty: float = -1.0,
                 image: Callable[[int], np.ndarray] | None = None, render_mode: str | None = None):  # fmt: skip
        grammar = grammar if isinstance(grammar, Grammar) else grammars.load(grammar)
        self.grammar, size = grammar if callable(landscape) else grammar.limited(TABLE_STATES, "a table of them"), grammar.size
        self.target = grammar.index(target if target is not None else tuple(n // 2 for n in grammar.shape))
        self.reading, first = reading, None if reading.start == "random" else 0
        self.start = first if start is None else grammar.index(start)
        self.max_steps = integer("max_steps", reading.episode if max_steps is None else max_steps, least=1)
        self.penalty = real("penalty", penalty)
        self.render_mode = choose("render_mode", render_mode, [None, *self.metadata["render_modes"]])
        self.unrealistic = None if unrealistic is None else np.array(unrealistic, bool)
        if unrealistic is not None and (self.unrealistic.shape != (size,) or self.unrealistic[self.target]):
            raise ValueError(f"unrealistic must have shape ({size},) and be false at the target, state {self.target}")
        goal = zip(reading.positions(grammar.shape), grammar.encoding(self.target), strict=True)
        self._gaps = [np.abs(position - position[word]).tolist() for position, word in goal]  # of each word, to the target's
        if landscape is None:
            landscape = perfect(grammar, grammar.encoding(self.target), reading=reading)
        self._landscape, self._known = landscape if callable(landscape) else None, {}
        #: reward of arriving at every state, float64 (draws, states); None if the landscape is a function
        self.rewards = None if callable(landscape) else self._table(landscape)
        #: the largest reward of a step; None if the landscape is a function, unless who made it says it
        self.most = None if self.rewards is None else float(self.rewards.max())
        self._image = image
        self.action_space = gym.spaces.Discrete(sum(grammar.shape) if reading.actions == "set" else 2 * len(grammar.shape))
        self.observation_space = gym.spaces.Discrete(size)
        self.state: int | None = None  #: before the first reset

    @cached_property
    def transitions(self) -> np.ndarray:
        """Next state of every (state, action), int32 (states, actions)."""
        return transition_table(self.grammar.shape, self.reading)

    @cached_property
    def distance(self) -> np.ndarray:
        """L1 distance of every state to the target, int32 (states,)."""
        return distances(self.grammar.shape, self.grammar.encoding(self.target), self.reading)

    @cached_property
    def ends(self) -> np.ndarray:
        """States whose arrival ends the episode, bool (states,)."""
        ends = np.zeros(self.grammar.size, bool) if self.unrealistic is None else self.unrealistic.copy()
        ends[self.target] = self.reading.end == "stop"
        return ends

    def successors(self, state: int) -> np.ndarray:
        """Next state after every action, (actions,); in a world too large for tables too."""
        if self.grammar.size <= TABLE_STATES:
            return self.transitions[state]
        return successors(np.array([state]), self.grammar.shape, self.reading)[0]

    def to_target(self, encoding: Encoding) -> int:
        """L1 distance of an encoding to the target."""
        return sum(gaps[word] for gaps, word in zip(self._gaps, encoding, strict=True))

    def _bad(self, state: int) -> bool:
        return self.unrealistic is not None and bool(self.unrealistic[state])

    def _table(self, landscape: np.ndarray) -> np.ndarray:
        size = self.grammar.size
        try:
            values = np.atleast_2d(np.asarray(landscape, np.float64))
        except (TypeError, ValueError) as error:
            raise ValueError(f"the landscape is neither an array of numbers nor a function: {error}") from None
        if values.ndim != 2 or values.shape[1] != size or not len(values):
            raise ValueError(f"the landscape has shape {np.shape(landscape)}; this grammar has {size} states")
        if not np.isfinite(values).all():
            raise ValueError(f"the landscape is not finite at states {np.flatnonzero(~np.isfinite(values).all(0))[:5].tolist()}")
        rewards = values.copy() if self.unrealistic is None else np.where(self.unrealistic, self.penalty, values)
        rewards[:, self.target] += self.reading.bonus
        return rewards

    def reward(self, state: int, draw: int = 0) -> float:
        """Reward of arriving at a state whose image is the given draw."""
        if self.rewards is not None:
            return float(self.rewards[draw, state])
        if self._bad(state):
            return self.penalty
        if state not in self._known:
            self._known[state] = number_at(self.grammar, state, self._landscape)
        return self._known[state] + self.reading.bonus * (state == self.target)

    def learning(self) -> dict[str, float]:
        """What the reading says of an agent here: alpha, gamma, and the mean of the initial Q.

        Raises:
            ValueError: an optimistic reading of a landscape that is a function, whose largest reward nobody knows.
        """
        most = 0.0 if self.reading.initial == "near zero" else self.most
        if most is None:
            raise ValueError("initial = optimistic needs the largest reward, so the landscape as an array; take initial = near zero")
        return {"alpha": self.reading.alpha, "gamma": self.reading.gamma, "initial": most / (1 - self.reading.gamma)}

    def _info(self) -> dict:
        encoding = self.grammar.encoding(self.state)
        return {"encoding": encoding, "distance": self.to_target(encoding), "prompt": self.grammar.surface(encoding)}

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        super().reset(seed=None if seed is None else integer("seed", seed))
        start = (options or {}).get("start")
        if start is not None:
            self.state = self.grammar.index(start)
        elif self.start is not None:
            self.state = self.start
        else:
            self.state = int(self.np_random.random() * (self.grammar.size - 1))
            self.state += self.state >= self.target
        self.steps = 0
        return self.state, self._info()

    def step(self, action: int):
        if self.state is None:
            raise ResetNeeded("call reset before the first step")
        if not self.action_space.contains(action):
            raise ValueError(f"action {action!r} is not one of 0..{self.action_space.n - 1}")
        self.state = int(self.successors(self.state)[action])
        self.steps += 1
        draws = 1 if self.rewards is None else len(self.rewards)
        draw = int(self.np_random.random() * draws) if draws > 1 else 0
        ended = self._bad(self.state) or (self.state == self.target and self.reading.end == "stop")
        return self.state, self.reward(self.state, draw), ended, self.steps >= self.max_steps, self._info()

    def optimal_q(self, gamma: float, tolerance: float = 1e-10) -> np.ndarray:
        """Q* by value iteration, float64 (states, actions): within `tolerance` of it in the sup-norm, for gamma < 1.

        Episodes do not truncate here: `max_steps` is a limit of the run, not of the problem.

        Raises:
            ValueError: gamma below 0, or 1 and more; a tolerance out of range; a landscape that is a function.
        """
        real("tolerance", tolerance, 1e-12, 1)
        if real("gamma", gamma, 0, 1) == 1 or self.rewards is None:
            raise ValueError("value iteration needs gamma < 1, and the landscape as an array")
        reward, goes_on = self.rewards.mean(0), gamma * ~self.ends
        value = np.zeros(self.grammar.size)
        while True:
            q = (reward + goes_on * value)[self.transitions]
            change = np.abs(q.max(1) - value).max()
            value = q.max(1)
            if change * gamma <= tolerance * (1 - gamma):
                return q

    def render(self) -> np.ndarray | None:
        if self.render_mode is None:
            gym.logger.warn("render draws nothing without a render mode; make the environment with render_mode='rgb_array'")
            return None
        if self.state is None:
            raise ResetNeeded("call reset before the first render")
        if self._image is not None:
            return self._image(self.state)
        return world.render(self.grammar.decode(self.grammar.encoding(self.state)), self.state)


gym.register("RLDF-v0", entry_point="rldf_utils.env:RLDFEnv")
