"""Races in a world too large to draw beforehand: only what is looked at is drawn, for many races at once."""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from rldf_utils import landscape, peers
from rldf_utils.env import around, successors
from rldf_utils.generate import TextToImage
from rldf_utils.grammar import Encoding, Grammar
from rldf_utils.looks import Looks
from rldf_utils.perceive import Clip


class Studio:
    """The pictures of a world's states as they are asked for, for many races at once, so that the model's batches are full.

    A picture does not depend on what else is drawn, so neither does a race on the others.
    """

    def __init__(self, model: TextToImage, clip: Clip, grammar: Grammar, seed: int):
        self.model, self.clip, self.grammar, self.seed = model, clip, grammar, seed
        self.seen: dict[int, tuple[Encoding, np.ndarray]] = {}  #: state -> what CLIP sees in it, and its embedding
        self._ahead: dict[int, tuple[Encoding, np.ndarray]] = {}  # the same of states that no race has looked at yet
        self._changed, self._wanted, self._waiting, self._racing = threading.Condition(), set(), 0, 0
        self._failed = False

    def look(self, state: int) -> tuple[Encoding, np.ndarray]:
        """What is seen in a state's picture; only for use within a race of `run`."""
        with self._changed:
            if state in self._ahead:
                self.seen[state] = self._ahead.pop(state)
            if state not in self.seen:
                self._wanted.add(state)
                self._waiting += 1
                self._changed.notify_all()
                self._changed.wait_for(lambda: state in self.seen or self._failed)
            return self.seen[state]

    def _one(self, race: Callable[[], Looks]) -> Looks:
        try:
            return race()
        finally:
            with self._changed:
                self._racing -= 1
                self._changed.notify_all()

    def run(self, races: Sequence[Callable[[], Looks]]) -> list[Looks]:
        """What the races, functions without arguments that call `look`, return; pictures are drawn when all of them wait."""
        self._racing, self._failed = len(races), False
        with ThreadPoolExecutor(len(races)) as pool:
            running = [pool.submit(self._one, race) for race in races]
            try:
                while True:
                    with self._changed:
                        self._changed.wait_for(lambda: self._waiting == self._racing)
                        if not self._racing:
                            return [race.result() for race in running]
                        self._draw(sorted(self._wanted))
                        self._wanted, self._waiting = set(), 0
                        self._changed.notify_all()
            finally:
                with self._changed:
                    self._failed = True
                    self._changed.notify_all()

    def _draw(self, states: list[int]) -> None:
        wanted, full = len(states), len(states) + -len(states) % self.model.batch  # where a batch has room, those around are drawn along
        known = self.seen.keys() | self._ahead
        states = around(states, lambda state: successors(np.array([state]), self.grammar.shape)[0], known, full)
        prompts = [self.grammar.surface(self.grammar.encoding(state)) for state in states]
        embeddings = self.clip.embed_images(self.model(prompts, [self.seed] * len(states)))
        encodings = landscape.seen(self.clip.read(embeddings, self.grammar), prompts, getattr(self.model, "flagged", {}), self.seed)
        looks = [(state, (tuple(encoding), embedding))
                 for state, encoding, embedding in zip(states, encodings.tolist(), embeddings, strict=True)]  # fmt: skip
        self.seen.update(looks[:wanted])
        self._ahead.update(looks[wanted:])


def lazily(studio: Studio, targets: Sequence[tuple[Encoding, np.ndarray]], methods: Mapping[str, dict], seeds: Sequence[int],
           calls: int) -> pd.DataFrame:  # fmt: skip
    """Races on reward 1 in a world of which only what is looked at is drawn; a race ends at the perceived target.

    Args:
        targets: perceived encoding and embedding of every input; methods: name -> settings.

    Returns:
        One row per run: method, input (number), seed, calls, reached.
    """
    grammar, keys, races = studio.grammar, [], []
    for method, settings in methods.items():
        for number, (target, aim) in enumerate(targets):
            for seed in seeds:
                races.append(_lazy(studio, method, target, aim, seed, calls, settings))
                keys.append({"method": method, "input": number, "seed": seed})
    rows = []
    for key, look in zip(keys, studio.run(races), strict=True):
        reached = grammar.index(targets[key["input"]][0]) in look.states
        rows.append({**key, "calls": len(look.states), "reached": reached})
    return pd.DataFrame(rows)


def _lazy(studio: Studio, method: str, target: Encoding, aim: np.ndarray, seed: int, calls: int, settings: dict) -> Callable[[], Looks]:
    goal = studio.grammar.index(target)

    def value(state: int, draw: int) -> float:
        encoding, embedding = studio.look(state)
        return float(landscape.perceived(studio.grammar, [encoding], embedding[None], target, aim)[1][0])

    return lambda: peers.race(method, value, studio.grammar.shape, calls, seed, goal, goal, **settings)
