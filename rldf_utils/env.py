"""The grid of image semantics as a Gymnasium environment, `RLDF-v0`."""

from collections.abc import Callable, Sequence
from pathlib import Path

import gymnasium as gym
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import spearmanr

from rldf_utils import grammar as grammars
from rldf_utils import rewards, world
from rldf_utils.grammar import Encoding, Grammar

Landscape = np.ndarray | Callable[[int], float]


def transition_table(shape: tuple[int, ...]) -> np.ndarray:
    """Next state of every (state, action), int32 (states, 2 x axes); action 2k steps up axis k, 2k + 1 down.

    A step over the border leaves the state as it is.
    """
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
    grid = np.indices(shape).reshape(len(shape), -1)
    return np.abs(grid - np.array(target)[:, None]).sum(0).astype(np.int32)


def semantic_landscape(grammar: Grammar, target: Encoding, reward=rewards.multi_semantic) -> np.ndarray:
    """Reward of every state if every image showed exactly its prompt: the perfect landscape, float64 (states,)."""
    wanted = grammar.decode(target)
    return np.array([reward(grammar.decode(state), wanted) for state in grammar.states()])


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
    """What notebook 2 perceived.

    Args:
        path: its landscape.npz.
        draw: which of the pictures of every state: 0 or 1.

    Returns:
        (grammar, seen (states, axes), input -> target, input -> the three landscapes of `perceived_landscapes`).

    Raises:
        ValueError: the file was written by another version of notebook 2, or does not fit its grammar, or holds a NaN.
    """
    again = "; run notebook 2 again"
    with np.load(path) as file:
        if missing := {"grammar", "seen", "embeddings", "inputs", "targets", "target_embeddings"} - set(file):
            raise ValueError(f"{path} has no {', '.join(sorted(missing))}: it is from another version{again}")
        grammar, seen, embeddings = grammars.load(str(file["grammar"])), file["seen"][draw], file["embeddings"][draw]
        inputs, targets = file["inputs"].tolist(), [tuple(t) for t in file["targets"].tolist()]
        wanted = file["target_embeddings"]
    if seen.shape != (grammar.size, len(grammar.axes)) or len(embeddings) != grammar.size:
        raise ValueError(f"{path} holds {len(seen)} states, the grammar {grammar.path.name} has {grammar.size}{again}")
    if not (np.isfinite(embeddings).all() and np.isfinite(wanted).all()):
        raise ValueError(f"{path} holds embeddings that are not finite{again}")
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
    states marked `unrealistic` (section 5, insight 6). Truncated after `max_steps` steps.

    ## Information
    `encoding`, its `distance` to the target (L1 on axis indices) and its `prompt`.

    ## Arguments
    - `grammar`: `Grammar` or what `grammar.load` takes; "base".
    - `target`: encoding of the input image (Algorithm 1, line 2); the middle of the grid.
    - `landscape`: reward of every state: an array (states,); an array (draws, states), of which every arrival shows one
      row at random, as if the seeds of the states' images moved (section 5, insight 2); or a function of the state
      number, called at most once a state. The perfect multi-semantic landscape.
    - `start`, `max_steps`, `terminal_bonus`, `stop_at_target`: see above.
    - `unrealistic`: bool (states,), states that end the episode with the reward `penalty`; none.
    - `image`: function from state number to uint8 (height, width, 3) for `render_mode="rgb_array"`; a render of the
      OpenMoji world.

    Raises:
        ValueError: a landscape of the wrong shape or with NaN; `unrealistic` of the wrong shape, or true at the target.
        GrammarError: a target or start outside the grid.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}

    def __init__(self, grammar: Grammar | str = "base", target: Encoding | None = None, landscape: Landscape | None = None,
                 start: Encoding | None = None, max_steps: int = 100, terminal_bonus: float = 0.0, stop_at_target: bool = True,
                 unrealistic: np.ndarray | None = None, penalty: float = -1.0,
                 image: Callable[[int], np.ndarray] | None = None, render_mode: str | None = None):  # fmt: skip
        self.grammar = grammar if isinstance(grammar, Grammar) else grammars.load(grammar)
        shape = self.grammar.shape
        self.target = self.grammar.index(target if target is not None else tuple(n // 2 for n in shape))
        self.start = None if start is None else self.grammar.index(start)
        self.transitions = transition_table(shape)
        self.distance = distances(shape, self.grammar.encoding(self.target))
        if landscape is None:
            landscape = semantic_landscape(self.grammar, self.grammar.encoding(self.target))
        size = self.grammar.size
        unrealistic = np.zeros(size, bool) if unrealistic is None else np.asarray(unrealistic)
        if unrealistic.shape != (size,) or unrealistic[self.target]:
            raise ValueError(f"unrealistic must have shape ({size},) and be false at the target, state {self.target}")
        self._landscape, self._known = landscape if callable(landscape) else None, {}
        #: reward of arriving at every state, float64 (draws, states); None if the landscape is a function
        self.rewards = None
        if not callable(landscape):
            landscape = np.asarray(landscape, np.float64)
            if landscape.ndim not in (1, 2) or landscape.shape[-1] != size or not landscape.size:
                raise ValueError(f"the landscape has shape {landscape.shape}; this grammar has {size} states")
            landscape = np.atleast_2d(landscape)
            if not np.isfinite(landscape).all():
                raise ValueError(f"the landscape is not finite at states {np.flatnonzero(~np.isfinite(landscape).all(0))[:5].tolist()}")
            self.rewards = np.where(unrealistic, penalty, landscape)
            self.rewards[:, self.target] += terminal_bonus
        #: states whose arrival ends the episode, bool (states,)
        self.ends = unrealistic.copy()
        self.ends[self.target] = stop_at_target
        self.max_steps, self.terminal_bonus, self.penalty, self.unrealistic = max_steps, terminal_bonus, penalty, unrealistic
        self._image = image or (lambda state: world.render(self.grammar.decode(self.grammar.encoding(state)), state))
        self.render_mode = render_mode
        self.action_space = gym.spaces.Discrete(2 * len(shape))
        self.observation_space = gym.spaces.Discrete(self.grammar.size)

    def reward(self, state: int, draw: int = 0) -> float:
        """Reward of arriving at a state whose image is the given draw."""
        if self.rewards is not None:
            return float(self.rewards[draw, state])
        if self.unrealistic[state]:
            return self.penalty
        if state not in self._known:
            self._known[state] = float(self._landscape(state))
        if not np.isfinite(self._known[state]):
            raise ValueError(f"the landscape is not finite at state {state}: {self._known[state]}")
        return self._known[state] + self.terminal_bonus * (state == self.target)

    def _info(self) -> dict:
        encoding = self.grammar.encoding(self.state)
        return {"encoding": encoding, "distance": int(self.distance[self.state]), "prompt": self.grammar.surface(encoding)}

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        super().reset(seed=seed)
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
        if not self.action_space.contains(action):
            raise ValueError(f"action {action!r} is not one of 0..{self.action_space.n - 1}")
        self.state = int(self.transitions[self.state, action])
        self.steps += 1
        draws = 1 if self.rewards is None else len(self.rewards)
        draw = int(self.np_random.random() * draws) if draws > 1 else 0
        return self.state, self.reward(self.state, draw), bool(self.ends[self.state]), self.steps >= self.max_steps, self._info()

    def optimal_q(self, gamma: float, tolerance: float = 1e-10) -> np.ndarray:
        """Q* by value iteration, float64 (states, actions): within `tolerance` of it in the sup-norm, for gamma < 1.

        The rewards must be an array. Episodes do not truncate here: `max_steps` is a limit of the run, not of the problem.
        """
        reward, goes_on = self.rewards.mean(0), gamma * ~self.ends
        value = np.zeros(self.grammar.size)
        while True:
            q = (reward + goes_on * value)[self.transitions]
            change = np.abs(q.max(1) - value).max()
            value = q.max(1)
            if change * gamma <= tolerance * (1 - gamma):
                return q

    def render(self) -> np.ndarray | None:
        return self._image(self.state) if self.render_mode == "rgb_array" else None


gym.register("RLDF-v0", entry_point="rldf_utils.env:RLDFEnv")
