"""Text-to-image models behind one protocol, and the cache that counts their calls.

An image depends on (model, prompt, seed, settings) alone: batches have one shape, the tail is padded, every image has
a generator of its own.
"""

import hashlib
import io
import json
import warnings
from collections.abc import Sequence
from functools import cached_property, lru_cache
from math import prod
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from PIL import Image, PngImagePlugin
from tqdm import tqdm
from transformers.utils import logging as transformers_logging

import rldf_utils.tiny.autoencoder  # noqa: F401  stands in for AutoencoderKL; diffusers takes it only from a module that is imported
from rldf_utils import images_api
from rldf_utils.results import CACHE, located, write

diffusers_logging.disable_progress_bar()
diffusers_logging.set_verbosity_error()  # it warns that the tiny models' autoencoder is not AutoencoderKL
transformers_logging.disable_progress_bar()
STEPS = {"tiny-sd-v2": 10}  #: of DPM-Solver++, where six are too few: at 6 it draws 0.92 of the base world's numbers right, at 10 0.96
NEGATIVE = "blurry, low quality, deformed, cropped, text, watermark"  #: at paper scale; the paper's list is not given


class TextToImage(Protocol):
    """What a search needs of a text-to-image model."""

    fingerprint: str  #: identifies model and settings; equal fingerprints give equal images
    batch: int  #: images made at once

    def __call__(self, prompts: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
        """Images, uint8 (n, height, width, 3), one for each prompt and seed; at most `batch` of them."""


class Diffusers:
    """A Stable Diffusion of the diffusers library: a local folder, or a hub id with a pinned revision.

    Args:
        model: folder, name of a folder under data/models, or hub id.
        revision: commit of the hub id; required for one, so that the images can be made again.
        steps: DPM-Solver++ multistep steps (20 in section 3.1); None takes `STEPS`, or 6.
        guidance: classifier-free guidance scale; 1 turns guidance off.
        negative: negative prompt.
        size: height and width in pixels; None takes the model's own.
        vae: replacement autoencoder's hub id and revision (the paper uses the ft-MSE one).
        batch: images a batch; part of the settings, since it may change the last bit.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: a hub id without a revision.
    """

    def __init__(self, model: str | Path, *, revision: str | None = None, steps: int | None = None, guidance: float = 2.0,
                 negative: str = "", size: int | None = None, vae: tuple[str, str] | None = None, batch: int = 8,
                 device: str | None = None):  # fmt: skip
        self.source, identity = located(model, revision)
        local = isinstance(self.source, Path)
        self.revision, self.vae, self.batch = None if local else revision, vae, batch
        steps = steps or STEPS.get(Path(model).name, 6)
        self.steps, self.guidance, self.negative, self.size = steps, guidance, negative, size
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        settings = {"steps": steps, "guidance": guidance, "size": size, "vae": vae, "batch": batch, "device": self.device}
        #: what `from_recipe` makes this model of again
        self.recipe = {"model": str(model), "revision": identity if local else revision}
        self.recipe |= {"negative": negative, "settings": json.dumps(settings)}
        self.fingerprint = hashlib.sha256(json.dumps([identity, negative, settings]).encode()).hexdigest()[:16]
        self.flagged: list[tuple[str, int]] = []  #: (prompt, seed) of images that the model's own safety checker blackened
        self._embedding = lru_cache(maxsize=1024)(lambda prompt: self.pipe.encode_prompt(prompt, self.device, 1, False)[0])

    @cached_property
    def pipe(self) -> StableDiffusionPipeline:
        """The pipeline, loaded at first use: safetensors only, DPM-Solver++, fp16 on a GPU."""
        pipe = StableDiffusionPipeline.from_pretrained(
            self.source, revision=self.revision, use_safetensors=True, dtype=torch.float16 if self.device == "cuda" else torch.float32
        )
        if self.vae:
            pipe.vae = AutoencoderKL.from_pretrained(self.vae[0], revision=self.vae[1], use_safetensors=True, dtype=pipe.unet.dtype)
        pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
        pipe.set_progress_bar_config(disable=True)
        if self.device == "cpu":
            pipe.unet.to(memory_format=torch.channels_last)
        return pipe.to(self.device)

    @torch.inference_mode()
    def __call__(self, prompts: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
        n = len(prompts)
        if not 0 < n <= self.batch or n != len(seeds):
            raise ValueError(f"{n} prompts and {len(seeds)} seeds; give 1 to {self.batch} of each")
        pad = self.batch - n
        prompts, seeds = [*prompts, *[prompts[-1]] * pad], [*seeds, *[seeds[-1]] * pad]
        out = self.pipe(
            prompt_embeds=torch.cat([self._embedding(p) for p in prompts]),
            negative_prompt_embeds=torch.cat([self._embedding(self.negative)] * self.batch),
            generator=[torch.Generator("cpu").manual_seed(int(seed)) for seed in seeds],
            num_inference_steps=self.steps, guidance_scale=self.guidance, height=self.size, width=self.size, output_type="np",
        )  # fmt: skip
        for prompt, seed, flag in zip(prompts[:n], seeds, out.nsfw_content_detected or (), strict=False):
            if flag:
                self.flagged.append((prompt, int(seed)))
                warnings.warn(f"the model's safety checker blackened {prompt!r}, seed {seed}", stacklevel=2)
        return (out.images[:n] * 255).round().astype(np.uint8)


class Null:
    """A `TextToImage` that costs nothing: noise that depends on prompt and seed. For rehearsals of a large clone.

    Args:
        size: edge, pixels.
        batch: images a call.
    """

    def __init__(self, size: int = 8, batch: int = 64):
        self.size, self.batch, self.fingerprint = size, batch, f"null-{size}"
        self.recipe = {"model": "null", "revision": "", "negative": "", "settings": json.dumps({"size": size, "batch": batch})}

    def __call__(self, prompts: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
        shape = self.size, self.size, 3
        keys = [f"{seed} {prompt}".encode() for prompt, seed in zip(prompts, seeds, strict=True)]
        return np.stack([np.frombuffer(hashlib.shake_128(key).digest(prod(shape)), np.uint8).reshape(shape) for key in keys])


@lru_cache(maxsize=2)
def from_recipe(model: str, revision: str, negative: str, settings: str) -> TextToImage:
    """The model that wrote this `recipe`; kept, so that a process loads it once.

    Raises:
        ValueError: a model folder that has changed since, or an environment that names another images API.
    """
    options = json.loads(settings)
    if model == "null":
        return Null(**options)
    if model == images_api.NAME:
        return images_api.OpenAIImages(**options, revision=revision)
    made = Diffusers(model, revision=revision, negative=negative, **options)
    if made.recipe["revision"] != revision:
        raise ValueError(f"the model folder {model} holds {made.recipe['revision']}; the recipe wants {revision}: fetch that version")
    return made


def png(pixels: np.ndarray, **text: str) -> bytes:
    """uint8 (height, width, 3) as a PNG file, with text chunks; the same bytes for the same arguments."""
    info, buffer = PngImagePlugin.PngInfo(), io.BytesIO()
    for key, value in text.items():
        info.add_text(key, value)
    Image.fromarray(pixels).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


class Cache:
    """A `TextToImage` that keeps every image on disk as PNG and counts calls, the currency of every comparison.

    `calls` counts the distinct images asked for since `reset`, whether or not the disk had them: what the method would
    have cost from nothing. `made` counts what the model really made. Files appear whole; a damaged one is made again.
    """

    def __init__(self, model: TextToImage, folder: Path = CACHE):
        self.model, self.folder = model, Path(folder) / model.fingerprint
        self.fingerprint, self.batch = model.fingerprint, model.batch
        self.made = self.damaged = 0
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

    def _read(self, path: Path) -> np.ndarray | None:
        if not path.exists():
            return None
        try:
            with Image.open(path, formats=["PNG"]) as image:
                pixels = np.asarray(image.convert("RGB"))
                if image.text.get("sha256") == hashlib.sha256(pixels.tobytes()).hexdigest():
                    return pixels
        except (OSError, SyntaxError, ValueError, AttributeError):
            pass
        self.damaged += 1
        path.unlink(missing_ok=True)
        return None

    def _write(self, path: Path, pixels: np.ndarray) -> None:
        write(path, png(pixels, sha256=hashlib.sha256(pixels.tobytes()).hexdigest()))

    def count(self, prompts: Sequence[str], seeds: Sequence[int]) -> None:
        """Count these as calls; for images that were made ahead because a batch had room."""
        self._asked.update((prompt, int(seed)) for prompt, seed in zip(prompts, seeds, strict=True))

    def __call__(self, prompts: Sequence[str], seeds: Sequence[int], *, count: bool = True, progress: str | None = None) -> np.ndarray:
        """Images, uint8 (n, height, width, 3), any n; what is missing is made batch by batch and saved at once.

        Args:
            count: whether these are calls.
            progress: label of a progress bar over the images to be made; None shows none.
        """
        paths = [self._path(p, s) for p, s in zip(prompts, seeds, strict=True)]
        if count:
            self.count(prompts, seeds)
        found = {path: self._read(path) for path in dict.fromkeys(paths)}
        missing = [i for path, i in {path: i for i, path in enumerate(paths)}.items() if found[path] is None]
        with tqdm(total=len(missing), desc=progress, unit="image", mininterval=2, disable=progress is None or not missing) as bar:
            for start in range(0, len(missing), self.batch):
                part = missing[start : start + self.batch]
                for i, pixels in zip(part, self.model([prompts[i] for i in part], [seeds[i] for i in part]), strict=True):
                    self._write(paths[i], pixels)
                    found[paths[i]] = pixels
                self.made += len(part)
                bar.update(len(part))
        return np.stack([found[path] for path in paths])


SD_14 = "CompVis/stable-diffusion-v1-4@133a221b8aa7292a167afc5127cb63fb5005638b"  #: the paper's main model
FT_MSE = ("stabilityai/sd-vae-ft-mse", "31f26fdeee1355a5c34592e401dd41e45d25a493")  #: its autoencoder (section 3.1)


def text_to_image(scale: str = "tiny", model: str = "") -> Cache:
    """The cached model of a scale with its settings.

    Args:
        scale: "paper" has section 3.1's settings: DPM-Solver++, 20 steps, 512 px, fp16, negative prompt; the others the
            model's own steps at 64 px.
        model: "" for the scale's own (tiny-sd-v1, SD 1.4), a folder, a hub id as "owner/name@revision", or "openai-images" for
            the server that the environment names, with its own settings, see `images_api`.
    """
    if model == images_api.NAME:
        return Cache(images_api.OpenAIImages())
    name, _, revision = (model or (SD_14 if scale == "paper" else "tiny-sd-v1")).partition("@")
    if scale != "paper":
        return Cache(Diffusers(name, revision=revision or None))
    return Cache(Diffusers(name, revision=revision or None, steps=20, guidance=7.5, negative=NEGATIVE, size=512, vae=FT_MSE))
