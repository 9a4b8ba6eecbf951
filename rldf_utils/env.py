"""The grid of image semantics as a Gymnasium environment, `RLDF-v0`."""

from collections.abc import Callable, Sequence

import gymnasium as gym
import numpy as np

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
    return {
        1: np.array([rewards.multi_semantic(w, wanted) for w in words]),
        2: np.array([rewards.partial_semantic(w, wanted) for w in words]),
        3: np.array([rewards.clip_similarity(e, target_embedding) for e in embeddings]),
    }


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
    Terminated at the target, unless `stop_at_target=False` (the paper lets the search go on past the goal). Truncated
    after `max_steps` steps.

    ## Information
    `encoding`, its `distance` to the target (L1 on axis indices) and its `prompt`.

    ## Arguments
    - `grammar`: `Grammar` or what `grammar.load` takes; "base".
    - `target`: encoding of the input image (Algorithm 1, line 2); the middle of the grid.
    - `landscape`: reward of every state, an array (states,) or a function of the state number, called at most once a
      state; the perfect multi-semantic landscape.
    - `start`, `max_steps`, `terminal_bonus`, `stop_at_target`: see above.
    - `image`: function from state number to uint8 (height, width, 3) for `render_mode="rgb_array"`; a render of the
      OpenMoji world.

    Raises:
        ValueError: a landscape of the wrong shape or with NaN.
        GrammarError: a target or start outside the grid.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}

    def __init__(self, grammar: Grammar | str = "base", target: Encoding | None = None, landscape: Landscape | None = None,
                 start: Encoding | None = None, max_steps: int = 100, terminal_bonus: float = 0.0, stop_at_target: bool = True,
                 image: Callable[[int], np.ndarray] | None = None, render_mode: str | None = None):  # fmt: skip
        self.grammar = grammar if isinstance(grammar, Grammar) else grammars.load(grammar)
        shape = self.grammar.shape
        self.target = self.grammar.index(target if target is not None else tuple(n // 2 for n in shape))
        self.start = None if start is None else self.grammar.index(start)
        self.transitions = transition_table(shape)
        self.distance = distances(shape, self.grammar.encoding(self.target))
        if landscape is None:
            landscape = semantic_landscape(self.grammar, self.grammar.encoding(self.target))
        if not callable(landscape):
            landscape = np.asarray(landscape, np.float64)
            if landscape.shape != (self.grammar.size,):
                raise ValueError(f"the landscape has shape {landscape.shape}; this grammar has {self.grammar.size} states")
            if not np.isfinite(landscape).all():
                raise ValueError(f"the landscape is not finite at states {np.flatnonzero(~np.isfinite(landscape))[:5].tolist()}")
        self._landscape, self._known = landscape, {}
        self.max_steps, self.terminal_bonus, self.stop_at_target = max_steps, terminal_bonus, stop_at_target
        self._image = image or (lambda state: world.render(self.grammar.decode(self.grammar.encoding(state)), state))
        self.render_mode = render_mode
        self.action_space = gym.spaces.Discrete(2 * len(shape))
        self.observation_space = gym.spaces.Discrete(self.grammar.size)

    def reward(self, state: int) -> float:
        """Reward of arriving at a state."""
        if callable(self._landscape):
            if state not in self._known:
                self._known[state] = float(self._landscape(state))
            value = self._known[state]
            if not np.isfinite(value):
                raise ValueError(f"the landscape is not finite at state {state}: {value}")
        else:
            value = float(self._landscape[state])
        return value + self.terminal_bonus * (state == self.target)

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
            self.state = int(self.np_random.integers(self.grammar.size - 1))
            self.state += self.state >= self.target
        self.steps = 0
        return self.state, self._info()

    def step(self, action: int):
        if not self.action_space.contains(action):
            raise ValueError(f"action {action!r} is not one of 0..{self.action_space.n - 1}")
        self.state = int(self.transitions[self.state, action])
        self.steps += 1
        terminated = self.stop_at_target and self.state == self.target
        return self.state, self.reward(self.state), terminated, self.steps >= self.max_steps, self._info()

    def render(self) -> np.ndarray | None:
        return self._image(self.state) if self.render_mode == "rgb_array" else None


gym.register("RLDF-v0", entry_point="rldf_utils.env:RLDFEnv")
