"""The grid of image semantics as a Gymnasium environment, `RLDF-v0`."""

import zipfile
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import spearmanr

from rldf_utils import grammar as grammars
from rldf_utils import rewards
from rldf_utils.arguments import integer, real
from rldf_utils.grammar import TABLE_STATES, Encoding, Grammar
from rldf_utils.results import choose
from rldf_utils.tiny import world  # renders stand in for a diffusion model's pictures where `render` is given none

Landscape = np.ndarray | Callable[[int], float]


def _limited(shape: tuple[int, ...]) -> None:
    integer("number of states", prod(map(int, shape)), least=1, most=TABLE_STATES)


def transition_table(shape: tuple[int, ...]) -> np.ndarray:
    """Next state of every (state, action), int32 (states, 2 x axes); action 2k steps up axis k, 2k + 1 down.

    A step over the border leaves the state as it is.

    Raises:
        ValueError: more than `grammar.TABLE_STATES` states.
    """
    _limited(shape)
    coordinates = np.stack(np.unravel_index(np.arange(np.prod(shape)), shape), 1)
    columns = []
    for axis, size in enumerate(shape):
        for step in (1, -1):
            moved = coordinates.copy()
            moved[:, axis] = np.clip(moved[:, axis] + step, 0, size - 1)
            columns.append(np.ravel_multi_index(moved.T, shape))
    return np.stack(columns, 1).astype(np.int32)


def distances(shape: tuple[int, ...], target: Encoding) -> np.ndarray:
    """L1 distance on axis indices from every state to the target, int32 (states,): steps that the shortest path has."""
    _limited(shape)
    grid = np.indices(shape).reshape(len(shape), -1)
    return np.abs(grid - np.array(target)[:, None]).sum(0).astype(np.int32)


def semantic_landscape(grammar: Grammar, target: Encoding, reward=rewards.multi_semantic) -> np.ndarray:
    """Reward of every state if every image showed exactly its prompt: the perfect landscape, float64 (states,)."""
    wanted = grammar.decode(target)
    return np.array([reward(grammar.decode(s), wanted) for s in grammar.limited(TABLE_STATES, "a landscape").states()])


def perceived_landscapes(grammar: Grammar, seen: Sequence[Encoding], embeddings: np.ndarray, target: Encoding,
                         target_embedding: np.ndarray) -> dict[int, np.ndarray]:  # fmt: skip
    """The three reward landscapes of one target as the agent gets them, through the models' eyes.

    Args:
        seen: what was perceived in every state's image, (states,) encodings in index order.
        embeddings: CLIP embeddings of the states' images, (states, d).
        target: the input's perceived encoding; `target_embedding`, (d,), its CLIP embedding.

    Returns:
        {1: multi-semantic, 2: partial-semantic, 3: CLIP}, each float64 (states,).
    """
    words, wanted = [grammar.decode(e) for e in seen], grammar.decode(target)
    found = {number: np.array([function(w, wanted) for w in words]) for number, function in rewards.SEMANTIC.items()}
    return found | {3: np.array([rewards.clip_similarity(e, target_embedding) for e in embeddings])}


def load_landscapes(path: Path, draw: int = 0) -> tuple[Grammar, np.ndarray, dict[str, Encoding], dict[str, dict[int, np.ndarray]]]:
    """What notebook 2 perceived, on whichever machine it did.

    Args:
        path: its landscape.npz.
        draw: which of the pictures of every state: 0 or 1.

    Returns:
        (grammar, seen (states, axes), input -> target, input -> the three landscapes of `perceived_landscapes`).

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, was written by another version of notebook 2, does not fit its grammar, or holds
            a NaN.
    """
    integer("draw", draw, 0, 1)
    again = "; run notebook 2 again"
    try:
        with np.load(path) as file:
            arrays = dict(file)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}{again}") from None
    except (OSError, ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read as a landscape.npz ({error}){again}") from None
    names = ("grammar_text", "grammar_name", "seen", "embeddings", "inputs", "targets", "target_embeddings")
    if missing := [name for name in names if name not in arrays]:
        raise ValueError(f"{path} has no {', '.join(missing)}: it is from another version{again}")
    grammar = grammars.from_text(str(arrays["grammar_text"]), str(arrays["grammar_name"]))
    seen, embeddings, wanted = arrays["seen"], arrays["embeddings"], arrays["target_embeddings"]
    inputs, targets = arrays["inputs"].tolist(), [tuple(t) for t in arrays["targets"].tolist()]
    if seen.shape != (2, grammar.size, len(grammar.axes)) or embeddings.shape[:2] != seen.shape[:2]:
        raise ValueError(f"{path} holds {seen.shape[1]} states, the grammar {grammar.name} has {grammar.size}{again}")
    if not (np.isfinite(embeddings).all() and np.isfinite(wanted).all()):
        raise ValueError(f"{path} holds embeddings that are not finite{again}")
    seen, embeddings = seen[draw], embeddings[draw]
    words = [tuple(s) for s in seen.tolist()]
    landscapes = {n: perceived_landscapes(grammar, words, embeddings, t, w) for n, t, w in zip(inputs, targets, wanted, strict=True)}
    return grammar, seen, dict(zip(inputs, targets, strict=True)), landscapes


def optima(values: np.ndarray, transitions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Plateaus of a landscape and the local optima among them, exactly.

    A plateau is a largest connected set of states of one value; it is a local optimum if no neighbour of it is higher.

    Args:
        values: reward of every state, (states,).
        transitions: of `transition_table`.

    Returns:
        (plateau of every state, int (states,); whether it is a local optimum, bool (plateaus,)).
    """
    size = len(values)
    level = values[transitions] == values[:, None]
    rows = np.broadcast_to(np.arange(size)[:, None], transitions.shape)[level]
    count, plateau = connected_components(coo_array((np.ones(len(rows)), (rows, transitions[level])), (size, size)), directed=False)
    maximal = np.ones(count, bool)
    maximal[plateau[(values[transitions] > values[:, None]).any(1)]] = False
    return plateau, maximal


def ascent(values: np.ndarray, transitions: np.ndarray) -> np.ndarray:
    """Where steepest ascent ends from every state, int (states,); it stops where no neighbour is higher."""
    best = transitions[np.arange(len(values)), values[transitions].argmax(1)]
    end = np.where(values[best] > values, best, np.arange(len(values)))
    while (end[end] != end).any():
        end = end[end]
    return end


def roughness(values: np.ndarray, transitions: np.ndarray, distance: np.ndarray) -> dict[str, float]:
    """How hard a landscape is to climb to the state of distance 0.

    Returns:
        values: distinct rewards; optima: local optima; on_optima: share of states on one; target_basin: share of states
        from which steepest ascent ends at the target; largest_basin: the same of the end that draws most;
        rank_correlation: Spearman's, of reward and nearness.
    """
    plateau, maximal = optima(values, transitions)
    ends = np.bincount(ascent(values, transitions), minlength=len(values)) / len(values)
    return {
        "values": len(np.unique(values)), "optima": int(maximal.sum()), "on_optima": float(maximal[plateau].mean()),
        "target_basin": float(ends[distance == 0][0]), "largest_basin": float(ends.max()),
        "rank_correlation": float(spearmanr(values, -distance).statistic),
    }  # fmt: skip


class RLDFEnv(gym.Env):
    """Image search as a gridworld (section 3, Figure 4).

    ## Description
    Every point of the grid is an encoding, that is a sentence of the grammar; its image is what the text-to-image model
    draws for the sentence. The agent walks from a random encoding towards the one that shows what the input image shows.

    ## Action Space
    `Discrete(2 x axes)`: action 2k is one step up axis k (the next word), action 2k + 1 one step down. At the border
    the state stays.

    ## Observation Space
    `Discrete(states)`: the encoding's state number, `grammar.index(encoding)`. 480 in the base world.

    ## Starting State
    Uniform over the states other than the target, or `start`, also by `reset(options={"start": encoding})`.

    ## Rewards
    The landscape's value at the state that the step leads to, plus `terminal_bonus` at the target.

    ## Episode End
    Terminated at the target, unless `stop_at_target=False` (the paper lets the search go on past the goal), and at the
    states marked `unrealistic` (section 5, insight 6). Truncated after `max_steps` steps. A step after the end walks on
    from where the episode ended, as in Gymnasium's CliffWalking; `reset` begins anew.

    ## Information
    `encoding`, its `distance` to the target (L1 on axis indices) and its `prompt`.

    ## Arguments
    - `grammar`: `Grammar` or what `grammar.load` takes, of at most two million states; "base".
    - `target`: encoding of the input image (Algorithm 1, line 2); the middle of the grid.
    - `landscape`: reward of every state: an array (states,); an array (draws, states), of which every arrival shows one
      row at random, as if the seeds of the states' images moved (section 5, insight 2); or a function of the state
      number, called at most once a state, whose exception gets a note that names the state. The perfect multi-semantic
      landscape.
    - `start`, `max_steps`, `terminal_bonus`, `stop_at_target`: see above.
    - `unrealistic`: bool (states,), states that end the episode with the reward `penalty`; none.
    - `image`: function from state number to uint8 (height, width, 3) for `render_mode="rgb_array"`; a render of the
      OpenMoji world.

    Raises:
        ValueError: a landscape of the wrong shape or with NaN; `unrealistic` of the wrong shape, or true at the target; an
            unknown render mode; a number out of range.
        GrammarError: a target or start outside the grid, or a grammar of too many states.
        ResetNeeded: a step or a picture before the first `reset`.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}

    def __init__(self, grammar: Grammar | str = "base", target: Encoding | None = None, landscape: Landscape | None = None,
                 start: Encoding | None = None, max_steps: int = 100, terminal_bonus: float = 0.0, stop_at_target: bool = True,
                 unrealistic: np.ndarray | None = None, penalty: float = -1.0,
                 image: Callable[[int], np.ndarray] | None = None, render_mode: str | None = None):  # fmt: skip
        grammar = grammar if isinstance(grammar, Grammar) else grammars.load(grammar)
        self.grammar, size = grammar.limited(TABLE_STATES, "a table of them"), grammar.size
        self.target = grammar.index(target if target is not None else tuple(n // 2 for n in grammar.shape))
        self.start = None if start is None else grammar.index(start)
        self.max_steps, self.terminal_bonus = integer("max_steps", max_steps, least=1), real("terminal_bonus", terminal_bonus)
        self.penalty = real("penalty", penalty)
        self.render_mode = choose("render_mode", render_mode, [None, *self.metadata["render_modes"]])
        self.unrealistic = np.zeros(size, bool) if unrealistic is None else np.array(unrealistic, bool)
        if self.unrealistic.shape != (size,) or self.unrealistic[self.target]:
            raise ValueError(f"unrealistic must have shape ({size},) and be false at the target, state {self.target}")
        self.transitions = transition_table(grammar.shape)
        self.distance = distances(grammar.shape, grammar.encoding(self.target))
        if landscape is None:
            landscape = semantic_landscape(grammar, grammar.encoding(self.target))
        self._landscape, self._known = landscape if callable(landscape) else None, {}
        #: reward of arriving at every state, float64 (draws, states); None if the landscape is a function
        self.rewards = None if callable(landscape) else self._table(landscape)
        #: states whose arrival ends the episode, bool (states,)
        self.ends = self.unrealistic.copy()
        self.ends[self.target] = stop_at_target
        self._image = image
        self.action_space = gym.spaces.Discrete(2 * len(grammar.shape))
        self.observation_space = gym.spaces.Discrete(size)
        self.state: int | None = None  #: before the first reset

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
        rewards = np.where(self.unrealistic, self.penalty, values)
        rewards[:, self.target] += self.terminal_bonus
        return rewards

    def _ask(self, state: int) -> float:
        """What the landscape, a function, says of a state."""
        where = f"state {state}, {self.grammar.surface(self.grammar.encoding(state))!r}"
        try:
            value = self._landscape(state)
        except Exception as error:
            error.add_note(f"raised by the landscape at {where}")
            raise
        number = value.item() if getattr(value, "ndim", None) == 0 else value
        if not isinstance(number, int | float):
            raise ValueError(f"the landscape is no number at {where}: {value!r}")
        if not np.isfinite(number):
            raise ValueError(f"the landscape is not finite at {where}: {number}")
        return float(number)

    def reward(self, state: int, draw: int = 0) -> float:
        """Reward of arriving at a state whose image is the given draw."""
        if self.rewards is not None:
            return float(self.rewards[draw, state])
        if self.unrealistic[state]:
            return self.penalty
        if state not in self._known:
            self._known[state] = self._ask(state)
        return self._known[state] + self.terminal_bonus * (state == self.target)

    def _info(self) -> dict:
        encoding = self.grammar.encoding(self.state)
        return {"encoding": encoding, "distance": int(self.distance[self.state]), "prompt": self.grammar.surface(encoding)}

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
        self.state = int(self.transitions[self.state, action])
        self.steps += 1
        draws = 1 if self.rewards is None else len(self.rewards)
        draw = int(self.np_random.random() * draws) if draws > 1 else 0
        return self.state, self.reward(self.state, draw), bool(self.ends[self.state]), self.steps >= self.max_steps, self._info()

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
