"""RLDF end to end (Algorithm 1): one image in, no text; its encoding and new images out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rldf_utils import agents, compiled, detect, factored, outside, rewards
from rldf_utils.agents import Trajectory, run
from rldf_utils.arguments import integer, real
from rldf_utils.env import RLDFEnv, around
from rldf_utils.factored import AGAIN
from rldf_utils.generate import Cache
from rldf_utils.grammar import READ_STATES, TABLE_STATES, Encoding, Grammar, GrammarError
from rldf_utils.landscape import Reward
from rldf_utils.perceive import Clip
from rldf_utils.progress import Bar
from rldf_utils.readings import DEFAULT, Reading
from rldf_utils.results import choose

REWARDS = {1: "multi-semantic", 2: "partial-semantic", 3: "CLIP"}
AGENTS = ("Factored", *agents.AGENTS)


def read(clip: Clip, embedding: np.ndarray, grammar: Grammar, start: Encoding | None = None) -> Encoding:
    """What an image shows, by its embedding, (d,): Algorithm 1, line 2, in a grammar of any size.

    Up to 100,000 sentences it is `Clip.read`. Beyond, each axis in turn, the last one first, takes the word whose sentence
    has the highest cosine given the other words, until none changes: a local optimum of the cosine. No picture is drawn.

    Args:
        start: where that begins; None for every axis's first word.
    """
    if grammar.size <= READ_STATES:
        return clip.read(embedding[None], grammar)[0].encoding
    found, before = tuple(start or (0,) * len(grammar.shape)), None
    while found != before:
        before = found
        for k in reversed(range(len(grammar.shape))):
            options = [(*found[:k], word, *found[k + 1 :]) for word in range(grammar.shape[k])]
            found = options[int((clip.embed_texts([grammar.surface(option) for option in options]) @ embedding).argmax())]
    return found


class Feedback:
    """Diffusion feedback: the image of a state, what is seen in it, and its reward; each computed once.

    All states share one seed (section 5, insight 2: moving seeds give diverging semantics). Where a batch has room, the
    nearest states not yet made are made along; these are not counted as calls until the agent goes there.

    Args:
        detector: perceives beside CLIP, as the paper's object detectors do (section 3.1): see `detect.beside`. None for CLIP alone.

    Raises:
        ValueError: an unknown reward, a negative seed, or an image that is not uint8 (height, width, 3).
    """

    def __init__(self, model: Cache, clip: Clip, grammar: Grammar, image: np.ndarray, reward: int | Reward = 1, seed: int = 0,
                 reading: Reading = DEFAULT, detector: detect.Detector | None = None):  # fmt: skip
        if not callable(reward) and (not hasattr(reward, "__index__") or reward not in REWARDS):
            known = ", ".join(f"{k} ({v})" for k, v in REWARDS.items())
            raise ValueError(f"reward {reward!r} is not known; choose one of {known}, or give a function of (seen, target)")
        if getattr(image, "dtype", None) != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError("the image must be uint8 (height, width, 3); read a file with perceive.read_image")
        self.model, self.clip, self.grammar, self.kind, self.seed = model, clip, grammar, reward, integer("seed", seed)
        self.detector = detector
        outside.warn({"the input": image}, clip)
        (found,) = self._perceived([image])
        self.target_embedding = found[0]
        self.target = self._read(*found)  #: Algorithm 1, line 2
        self.env = RLDFEnv(grammar, self.target, self.reward, reading=reading)
        if not callable(reward):
            self.env.most = rewards.most(reward, grammar.axes, reading) + reading.bonus
        self._known: dict[int, tuple[np.ndarray, Mapping[str, str]]] = {}  # embeddings and boxed words; the pictures are on disk
        self._seen: dict[int, Encoding] = {}
        model.reset()

    def _perceived(self, images: Sequence[np.ndarray]) -> list[tuple[np.ndarray, Mapping[str, str]]]:
        """The embedding of each image, and the words that its boxes tell."""
        return list(zip(self.clip.embed_images(images), detect.read(self.detector, images, self.grammar), strict=True))

    def _read(self, embedding: np.ndarray, boxed: Mapping[str, str]) -> Encoding:
        return detect.beside(self.grammar, read(self.clip, embedding, self.grammar), boxed)

    def _look(self, state: int) -> tuple[np.ndarray, Mapping[str, str]]:
        """A state's image as `_perceived`."""
        if state not in self._known:
            states = around([state], self.env.successors, self._known, self.model.batch)
            prompts = [self.grammar.surface(self.grammar.encoding(s)) for s in states]
            images = self.model(prompts, [self.seed] * len(states), count=False)
            self._known |= zip(states, self._perceived(images), strict=True)
        self.model.count([self.grammar.surface(self.grammar.encoding(state))], [self.seed])
        return self._known[state]

    def image(self, state: int) -> np.ndarray:
        """The state's image, uint8 (height, width, 3)."""
        self._look(state)
        return self.model([self.grammar.surface(self.grammar.encoding(state))], [self.seed])[0]

    def seen(self, state: int) -> Encoding:
        """What the perceiver sees in the state's image."""
        if state not in self._seen:
            self._seen[state] = self._read(*self._look(state))
        return self._seen[state]

    def reward(self, state: int) -> float:
        """The state's reward: equation 2, 5 or 6 under the reading, or what the function says.

        A picture that the model flagged (blackened, of one colour) shows nothing: none of the words, a cosine of 0.
        """
        (embedding, _), sentence = self._look(state), self.grammar.surface(self.grammar.encoding(state))
        return self._reward(sentence, self.seed, embedding, lambda: self.seen(state))

    def _reward(self, sentence: str, seed: int, embedding: np.ndarray, seen: Callable[[], Encoding]) -> float:
        axes, reading = self.grammar.axes, self.env.reading
        shows = (sentence, seed) not in self.model.flagged
        if self.kind == 3:
            return shows * rewards.clip_similarity(embedding, self.target_embedding) + rewards.offset(3, axes, reading)
        function = self.kind if callable(self.kind) else rewards.semantic(self.kind, axes, reading)
        return function(self.grammar.decode(seen()) if shows else dict.fromkeys(axes, ""), self.grammar.decode(self.target))

    def again(self, states: Sequence[int]) -> np.ndarray:
        """Rewards of further pictures of states, each drawn with the next seeds: (`factored.AGAIN`, states)."""
        prompts = [self.grammar.surface(self.grammar.encoding(state)) for state in states] * AGAIN
        seeds = [self.seed + 1 + k for k in range(AGAIN) for _ in states]
        looks = zip(prompts, seeds, self._perceived(self.model(prompts, seeds)), strict=True)
        paid = [self._reward(prompt, seed, found[0], lambda found=found: self._read(*found)) for prompt, seed, found in looks]
        return np.array(paid).reshape(AGAIN, -1)


@dataclass
class Search:
    """What a search found."""

    feedback: Feedback
    trajectory: Trajectory
    #: the answer: the visited state of highest reward, the first of equals; of the factored agent `Factored.answer`, which
    #: a misread or lucky picture does not fool
    final: Encoding
    calls: int  #: distinct images that the agent looked at
    reached: int | None  #: step at which the target encoding was first reached, counted from 1; None if never

    def summary(self) -> dict:
        """One row of a results table."""
        surface = self.feedback.grammar.surface
        return {"perceived": surface(self.feedback.target), "final": surface(self.final),
                "best_reward": float(self.trajectory.rewards.max()), "reached": self.reached, "calls": self.calls}  # fmt: skip

    def visited(self) -> list[dict]:
        """The part of the landscape that the agent saw: one row a state, with its sentence, what was seen, and its reward."""
        surface, encoding = self.feedback.grammar.surface, self.feedback.grammar.encoding
        return [
            {"state": s, "prompt": surface(encoding(s)), "seen": surface(self.feedback.seen(s)), "reward": self.feedback.reward(s)}
            for s in sorted(set(self.trajectory.states.tolist()))
        ]

    @property
    def milestones(self) -> list[int]:
        """Steps (from 0) at which the reward exceeded all before: the story of the search (Figure 12)."""
        best, steps = -np.inf, []
        for step, reward in enumerate(self.trajectory.rewards):
            if reward > best:
                best = reward
                steps.append(step)
        return steps


def rldf(image: np.ndarray, model: Cache, clip: Clip, grammar: Grammar, *, agent: str = "Factored",
         reward: int | Reward = 1, epsilon: float = 0.1, steps: int = 2000, calls: int | None = 100, seed: int = 0,
         image_seed: int = 0, reading: Reading = DEFAULT, detector: detect.Detector | None = None,
         progress: str | None = None) -> Search:  # fmt: skip
    """Search the encoding that shows what the image shows.

    It ends when `steps` are made, `calls` pictures were looked at, or a picture pays the largest reward that there is. If
    none does, the factored agent spends the last six of 32 calls or more on further pictures of what may be its answer.

    Args:
        image: uint8 (height, width, 3), see `perceive.read_image`.
        agent: "Factored" (ours); "Q", "SARSA" or "Random" (the paper's), in a grammar of at most two million states.
        reward: 1, 2 or 3; or a function of (seen, target), each {axis: word}, which the reading's offset does not touch.
        epsilon: of the paper's agents.
        steps: at most.
        calls: at most; None for no limit, as the paper has it.
        seed: of the agent and the starts.
        image_seed: of all states' images.
        detector: perceives beside CLIP, see `Feedback`.
        progress: label of a progress bar over the calls; None shows none.

    Raises:
        ValueError: an unknown agent or reward, a number out of range, or what is no image.
        GrammarError: a grammar of too many states for one of the paper's agents.
    """
    choose("agent", agent, AGENTS)
    steps, epsilon, seed = integer("steps", steps, 1), real("epsilon", epsilon, 0, 1), integer("seed", seed)
    most = grammar.size if calls is None else integer("calls", calls, 1)
    spare = factored.spare(most) if agent == "Factored" else 0
    if agent != "Factored":
        grammar.limited(TABLE_STATES, f"a table of them, which agent {agent} needs")
    feedback = Feedback(model, clip, grammar, image, reward, integer("image_seed", image_seed), reading, detector)
    env = feedback.env
    learner = factored.make(agent, env, epsilon, seed)
    with Bar(total=min(most, grammar.size), desc=progress, unit="call", disable=progress is None) as bar:

        def ended(paid: float) -> bool:
            bar.update(model.calls - bar.n)
            return model.calls >= most - spare or (env.most is not None and paid >= env.most)

        trajectory = run(env, learner, steps, seed, ended)
    arrived = np.flatnonzero(trajectory.states == env.target)
    final, paid = int(trajectory.states[trajectory.rewards.argmax()]), trajectory.rewards.max()
    if agent == "Factored":
        final = learner.answer(feedback.again if spare and (env.most is None or paid < env.most) else None)
    return Search(feedback, trajectory, grammar.encoding(final), model.calls, int(arrived[0]) + 1 if len(arrived) else None)


def by_object(images: Sequence[np.ndarray], model: Cache, clip: Clip, grammar: Grammar, eyes: Grammar, *,
              agent: str = "Factored", steps: int = 2000, seed: int = 0, reading: Reading = DEFAULT,
              progress: str | None = None) -> pd.DataFrame:  # fmt: skip
    """Search the object axis for each image, as the paper restricts the search when it clones ImageNet (section 3.1).

    A state pays C where its picture shows the object that was read off the image (equation 3), plus what the reading adds:
    minus C under the default, so that a step costs until one is found. A search ends at the first picture that pays; the
    paper's agents begin anew at a random word whenever an episode ends. Inputs that are read as one word share a search.
    All searches look at the same pictures, one per word: they are calls once.

    Args:
        grammar: of the one axis Noun, such as `grammar.load("names")`: its sentences are drawn.
        eyes: a grammar with the same nouns and other axes besides: CLIP reads pictures against its sentences, so that
            an object is told whatever its number, company and place.
        agent: one of `AGENTS`; those of the paper with epsilon 0.1.
        progress: label of a progress bar over the pictures; None shows none.

    Returns:
        One row per image: perceived (the word read off the image); searched (the visited word whose picture paid, "" if none
        did); final (that word, or else the perceived one); nearest (of all words, the one whose picture's embedding is
        nearest to the image's, equation 6: it needs no word, and all pictures); calls (different pictures looked at).

    Raises:
        GrammarError: grammars of other axes or nouns than said above, or `eyes` of more than 100,000 states.
        ValueError: an unknown agent, steps below 1, or a negative seed.
    """
    choose("agent", agent, AGENTS)
    integer("steps", steps, least=1)
    if list(grammar.axes) != ["Noun"] or eyes.axes.get("Noun") != grammar.axes["Noun"]:
        raise GrammarError(f"the search of objects needs one axis Noun, not {', '.join(grammar.axes)}, and eyes with the same nouns")
    words, axis = grammar.axes["Noun"], list(eyes.limited(READ_STATES, "reading pictures against every sentence").axes).index("Noun")
    pictures = model(grammar.sentences, [seed] * grammar.size, progress=progress)
    drawn, inputs = clip.embed_images(pictures), clip.embed_images(images)
    shown, perceived = (np.array([percept.encoding[axis] for percept in clip.read(e, eyes)]) for e in (drawn, inputs))
    black = [(grammar.surface(state), seed) in model.flagged for state in grammar.states()]
    shown[black], drawn[black] = -1, 0  # no word, and a cosine of 0: a flagged picture shows nothing
    added, rows, walks = -rewards.C if reading.offset == "cost" else 0.0, [], {}
    for embedding, target in zip(inputs, perceived.tolist(), strict=True):
        if target not in walks:
            matches = np.array([rewards.object_indicator({"Noun": s}, {"Noun": target}) for s in shown])
            env = RLDFEnv(grammar, (target,), matches + added, reading=reading)
            walks[target] = _until_paid(env, matches > 0, agent, steps, seed + target)
        visited, paid = walks[target]
        searched = words[visited[-1]] if paid else ""
        rows.append({"perceived": words[target], "searched": searched, "final": searched or words[target],
                     "nearest": words[(drawn @ embedding).argmax()], "calls": len(np.unique(visited))})  # fmt: skip
    return pd.DataFrame(rows)


def _until_paid(env: RLDFEnv, pays: np.ndarray, agent: str, steps: int, seed: int) -> tuple[np.ndarray, bool]:
    """The states visited until one pays, `pays` being bool (states,), and whether one did; or until the factored agent has seen all."""
    learner = factored.make(agent, env, 0.1, seed)
    if agent == "Factored":
        states = run(env, learner, steps, seed, lambda _: len(learner.paid) == len(pays) or pays[list(learner.paid)].any()).states
    else:
        states = compiled.run(env, learner, steps, seed).states
    return (states[: pays[states].argmax() + 1], True) if pays[states].any() else (states, False)
