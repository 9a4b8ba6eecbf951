"""An open-vocabulary detector at paper scale: the perceiver beside CLIP in a search, and the judge of what CLIP rewarded elsewhere.

It names and counts what can be boxed, objects and people; places and weather it does not see. OWL-ViT (Minderer et al., 2022) and
OWLv2 are meant, whose queries are independent of one another.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.ops import batched_nms, box_convert
from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

from rldf_utils import results
from rldf_utils.cache import blank
from rldf_utils.grammar import Encoding, Grammar
from rldf_utils.models import located, variant
from rldf_utils.perceive import Clip
from rldf_utils.rules import forms

AXES = ("Noun", "Frequency", "Density")  #: what boxes tell: of what, how many, how many people
NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
PERSON = "person"
OWL_V2 = "google/owlv2-base-patch16-ensemble@cfd3195ba4ea9592eec887ded089f4c08eff231d"


class Detector:
    """A zero-shot detector of transformers.

    Args:
        model: a folder, or a hub id with "@" and its revision.
        threshold: least score of a box, 0 to 1; 0.1 is what the models' authors show.
        overlap: intersection over union from which of two boxes of one word the weaker goes.
        batch: images a forward pass; the tail is padded, so that boxes do not depend on the neighbours.

    Raises:
        FileNotFoundError, ValueError: see `models.located`.
    """

    def __init__(self, model: str | Path, *, threshold: float = 0.1, overlap: float = 0.5, batch: int = 8, device: str | None = None):
        self.threshold, self.overlap, self.batch, self.device = threshold, overlap, batch, device or results.device()
        folder, self.fingerprint = located(model, ask="DETECTOR")
        options = {"use_safetensors": True, "dtype": torch.float32, "variant": variant(folder)}
        self.processor = AutoProcessor.from_pretrained(folder)
        self.model = AutoModelForZeroShotObjectDetection.from_pretrained(folder, **options).to(self.device).eval()

    @torch.inference_mode()
    def __call__(self, images: Sequence[np.ndarray], words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """How many boxes of each word there are in each image, int (n, words), and the best one's score, float (n, words).

        A box belongs to the word that it scores highest for. An image of one colour has no boxes.

        Args:
            images: uint8 (height, width, 3) each.
        """
        counts, scores = np.zeros((len(images), len(words)), int), np.zeros((len(images), len(words)))
        texts = [f"a photo of a {word}" for word in words]
        for start in range(0, len(images), self.batch):
            part = [Image.fromarray(image) for image in images[start : start + self.batch]]
            part += part[-1:] * (self.batch - len(part))
            ready = self.processor(text=[texts] * self.batch, images=part, return_tensors="pt", truncation=True).to(self.device)
            found = self.model(**ready)
            for k, image in enumerate(images[start : start + self.batch], start):
                if blank(image):
                    continue
                best, word = found.logits[k - start].sigmoid().max(-1)
                here = best >= self.threshold
                boxes = box_convert(found.pred_boxes[k - start][here], "cxcywh", "xyxy")
                kept = batched_nms(boxes, best[here], word[here], self.overlap)
                counts[k] = np.bincount(word[here][kept].cpu(), minlength=len(words))
                np.maximum.at(scores[k], word[here].cpu().numpy(), best[here].cpu().numpy())
        return counts, scores


def detector(scale: str) -> Detector | None:
    """The detector of a scale: at paper scale RLDF_DETECTOR, or OWLv2, and metrics.json has its content; None below, or by "none"."""
    if scale != "paper" or (own := results.setting("DETECTOR", OWL_V2)) == "none":
        return None
    found = Detector(own, device=results.device(scale))
    results.note("detector", found.fingerprint)
    return found


def number(count: int, words: Sequence[str]) -> str:
    """The word of an axis for a number: its numeral, or "many" beyond the axis's numerals; "" if the axis has neither."""
    known = {n: word for n, word in enumerate(NUMBERS) if word in words}
    return known.get(count, "many" if "many" in words and count > max(known, default=0) else "")


def read(found: Detector | None, images: Sequence[np.ndarray], grammar: Grammar) -> list[dict[str, str]]:
    """The words of `AXES` that boxes show, one row per image; Noun is the best-scored one, "" where none is found.

    A blank image shows none: not even that there is nobody. Without a detector nothing is told.
    """
    if found is None:
        return [{}] * len(images)
    nouns = [forms(word)[0] for word in grammar.words.get("Noun", ())]  # a single one is no axis
    counts, scores = found(images, [*nouns, PERSON])
    best = scores[:, : len(nouns)].argmax(1) if nouns else np.zeros(len(images), int)
    rows = []
    for k, (noun, image) in enumerate(zip(best, images, strict=True)):
        there = bool(nouns) and counts[k, noun] > 0
        objects = int(counts[k, noun]) if there else 0
        row = {"Noun": nouns[noun] if there else "", "Frequency": number(objects, grammar.axes.get("Frequency", ()))}
        row["Density"] = number(int(counts[k, -1]), grammar.axes.get("Density", ()))
        row = dict.fromkeys(row, "") if blank(image) else row
        rows.append({axis: word for axis, word in row.items() if axis in grammar.axes})
    return rows


def beside(grammar: Grammar, encoding: Encoding, boxed: Mapping[str, str]) -> Encoding:
    """What CLIP read, with the words of `read` in place of its own where boxes tell one."""
    return grammar.encode(grammar.decode(encoding) | {axis: word for axis, word in boxed.items() if word})


def eyes(found: Detector | None, clip: Clip, grammar: Grammar) -> Callable[[Sequence[np.ndarray]], list[Mapping[str, str]]]:
    """What pictures show, on all the grammar's axes: what boxes tell by the detector, if there is one, and all else by CLIP.

    A blank one shows "" everywhere.
    """

    def look(images: Sequence[np.ndarray]) -> list[Mapping[str, str]]:
        told = [dict.fromkeys(grammar.axes, "") if blank(image) else grammar.decode(percept.encoding)
                for image, percept in zip(images, clip.perceive(images, grammar), strict=True)]  # fmt: skip
        return [one | more for one, more in zip(told, read(found, images, grammar), strict=True)]

    return look
