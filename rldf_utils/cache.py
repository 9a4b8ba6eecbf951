"""Pictures on disk: encoded and written on threads while the next are drawn; and the cache that counts a model's calls."""

import hashlib
import io
import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image, PngImagePlugin

from rldf_utils.progress import Bar
from rldf_utils.results import CACHE, note, write
from rldf_utils.threads import spread

THREADS = min(8, os.cpu_count() or 1)  #: that encode and write
FLAGGED: set[tuple[str, str, int]] = set()  #: (model, prompt, seed) of what was flagged in this process, for metrics.json


class TextToImage(Protocol):
    """What a search needs of a text-to-image model."""

    fingerprint: str  #: identifies model and settings; equal fingerprints give equal images
    batch: int  #: images made at once
    flagged: dict[tuple[str, int], str]  #: (prompt, seed) of images that are no pictures of their prompts -> why; may be left out
    hands: int  #: batches that may be drawn at once, one for each core; may be left out

    def __call__(self, prompts: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
        """Images, uint8 (n, height, width, 3), one for each prompt and seed; at most `batch` of them."""


def png(pixels: np.ndarray, **text: str) -> bytes:
    """uint8 (height, width, 3) as a PNG file, with text chunks for texts that are not empty; the same bytes for the same arguments."""
    info, buffer = PngImagePlugin.PngInfo(), io.BytesIO()
    for key, value in text.items():
        if value:
            info.add_text(key, value)
    Image.fromarray(pixels).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def blank(image: np.ndarray) -> bool:
    """Whether an image, (height, width, 3), is of one colour, as one that a safety checker blackened: then it shows nothing."""
    return bool((image == image[0, 0]).all())


def drawn(model: TextToImage, prompts: Sequence[str], seeds: Sequence[int]) -> Iterator[np.ndarray]:
    """The model's batches, in order: on threads of one core each where it has several `hands`, else one after the other."""
    parts = [(prompts[start : start + model.batch], seeds[start : start + model.batch]) for start in range(0, len(prompts), model.batch)]
    return spread(model, parts, min(getattr(model, "hands", 1), len(parts)))


def finished(model: TextToImage, prompts: Sequence[str], seeds: Sequence[int], finish: Callable[[int, np.ndarray, str], Any]) -> Iterator:
    """`finish` of (number, pixels, why it is flagged or "") of every image, in order, on threads while the model draws the next batch."""
    waiting, done = deque(), 0
    with ThreadPoolExecutor(THREADS) as pool:
        for images in drawn(model, prompts, seeds):
            for i, pixels in enumerate(images, done):
                why = getattr(model, "flagged", {}).get((prompts[i], int(seeds[i])), "")
                waiting.append(pool.submit(finish, i, pixels, why))
            done += len(images)
            while len(waiting) > 2 * model.batch:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class Cache:
    """A `TextToImage` that keeps every image on disk as PNG and counts calls, the currency of every comparison.

    `calls` counts the distinct images asked for since `reset`, whether or not the disk had them: what the method would
    have cost from nothing. `made` counts what the model really made. Files appear whole; a damaged one is made again.
    `flagged` has the images that are no pictures of their prompts; the files remember it, and metrics.json counts them.
    """

    def __init__(self, model: TextToImage, folder: Path = CACHE):
        self.model, self.folder = model, Path(folder) / model.fingerprint
        self.fingerprint, self.batch = model.fingerprint, model.batch
        self.made = self.damaged = 0
        self.flagged: dict[tuple[str, int], str] = {}
        self.reset()

    def reset(self) -> None:
        """Begin to count calls anew."""
        self._asked: set[tuple[str, int]] = set()

    @property
    def calls(self) -> int:
        return len(self._asked)

    def _path(self, prompt: str, seed: int) -> Path:
        key = hashlib.sha256(json.dumps([prompt, int(seed)]).encode()).hexdigest()
        return self.folder / key[:2] / f"{key}.png"

    def _read(self, path: Path) -> tuple[np.ndarray | None, str]:
        """The image, None if it must be made, and why it is flagged."""
        if not path.exists():
            return None, ""
        try:
            with Image.open(path, formats=["PNG"]) as image:
                pixels = np.asarray(image.convert("RGB"))
                if image.text.get("sha256") == hashlib.sha256(pixels.tobytes()).hexdigest():
                    return pixels, image.text.get("flagged", "")
        except (OSError, SyntaxError, ValueError, AttributeError):
            pass
        self.damaged += 1
        path.unlink(missing_ok=True)
        return None, ""

    def check(self, prompts: Sequence[str]) -> None:
        """Refuse prompts that the model cannot read to their end; see `generate.Diffusers.check`."""
        if hasattr(self.model, "check"):
            self.model.check(prompts)

    def _flag(self, prompt: str, seed: int, why: str) -> None:
        if why:
            self.flagged[prompt, int(seed)] = why
            FLAGGED.add((self.fingerprint, prompt, int(seed)))
            note("flagged pictures", len(FLAGGED))

    def count(self, prompts: Sequence[str], seeds: Sequence[int]) -> None:
        """Count these as calls; for images that were made ahead because a batch had room."""
        self._asked.update((prompt, int(seed)) for prompt, seed in zip(prompts, seeds, strict=True))

    def __call__(self, prompts: Sequence[str], seeds: Sequence[int], *, count: bool = True, progress: str | None = None) -> np.ndarray:
        """Images, uint8 (n, height, width, 3), any n; what is missing is made batch by batch and saved at once.

        Args:
            count: whether these are calls.
            progress: label of a progress bar over the images to be made; None shows none.
        """
        if count:
            self.count(prompts, seeds)
        wanted = {self._path(p, s): (p, int(s)) for p, s in zip(prompts, seeds, strict=True)}
        found = {}
        for path, key in wanted.items():
            found[path], why = self._read(path)
            self._flag(*key, why)
        missing = [path for path, pixels in found.items() if pixels is None]

        def save(i: int, pixels: np.ndarray, why: str) -> tuple[Path, np.ndarray, str]:
            digest = hashlib.sha256(pixels.tobytes()).hexdigest()
            write(missing[i], png(pixels, sha256=digest, flagged=why, made=getattr(self.model, "made", "")))
            return missing[i], pixels, why

        with Bar(total=len(missing), desc=progress, unit="image", disable=progress is None or not missing) as bar:
            for path, pixels, why in finished(self.model, *zip(*(wanted[path] for path in missing), strict=True), save) if missing else ():
                found[path] = pixels
                self._flag(*wanted[path], why)
                self.made += 1
                bar.update()
        return np.stack([found[self._path(p, s)] for p, s in zip(prompts, seeds, strict=True)])
