"""Text-to-image models behind one protocol (`cache.TextToImage`).

An image depends on (model, prompt, seed, settings) alone: batches have one shape, the tail is padded, every image has
a generator of its own.
"""

import hashlib
import json
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import copy, deepcopy
from functools import cached_property, lru_cache
from math import prod
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from transformers import AutoTokenizer
from transformers.utils import logging as transformers_logging

import rldf_utils.tiny.autoencoder  # noqa: F401  stands in for AutoencoderKL; diffusers takes it only from a module that is imported
from rldf_utils import images_api, results, threads
from rldf_utils.cache import Cache, TextToImage, blank, png  # noqa: F401  notebook 4 and the sets write pictures as the cache does
from rldf_utils.grammar import Grammar
from rldf_utils.models import local, located, split, variant
from rldf_utils.results import accelerator, setting, versions
from rldf_utils.tiny import world  # its renders stand in for photographs

diffusers_logging.disable_progress_bar()
diffusers_logging.set_verbosity_error()  # it warns that the tiny models' autoencoder is not AutoencoderKL
transformers_logging.disable_progress_bar()
STEPS = {"tiny-sd-v2": 10}  #: of DPM-Solver++, where six are too few: at 6 it draws 0.92 of the base world's numbers right, at 10 0.96
NEGATIVE = "blurry, low quality, deformed, cropped, text, watermark"  #: at paper scale; the paper's list is not given


class Diffusers:
    """A Stable Diffusion of the diffusers library: a local folder, or a hub id with a pinned revision.

    Args:
        model: folder, name of a folder under data/models, or hub id, with "@" and its revision or without.
        revision: commit of the hub id; required for one, so that the images can be made again.
        steps: DPM-Solver++ multistep steps (20 in section 3.1); None takes `STEPS`, or 6.
        guidance: classifier-free guidance scale; 1 turns guidance off.
        negative: negative prompt.
        size: height and width in pixels; None takes the model's own.
        vae: replacement autoencoder, named as the model is (the paper uses the ft-MSE one); None for the model's own.
        batch: images per batch; part of the settings, since it may change the last bit.
        device: "cuda", "mps" or "cpu"; None takes `results.device`.
        dtype: "float16" or "float32"; None takes half precision on a GPU.
        checker: whether the model's safety checker looks at the images; None takes it if there is one, and says nothing of it
            in the recipe.

    Attributes:
        made: versions and device, which may change the last bit too and are written into the files; "" if `checker` is None.

    Raises:
        FileNotFoundError: no such folder, or no weights that can be loaded.
        ValueError: a hub id without a revision.
    """

    def __init__(self, model: str | Path, *, revision: str | None = None, steps: int | None = None, guidance: float = 2.0,
                 negative: str = "", size: int | None = None, vae: str | Sequence[str] | None = None, batch: int = 8,
                 device: str | None = None, dtype: str | None = None, checker: bool | None = None):  # fmt: skip
        self.source, identity = located(model, revision)
        name, after = split(model)
        steps = steps or STEPS.get(Path(model).name, 6)
        if vae:
            name_of = vae if isinstance(vae, str) else vae[0]
            self.vae, known = located(name_of, ask="VAE")
            vae = [str(self.vae.absolute()) if local(name_of) else name_of, known]  # a folder is found from everywhere
        else:
            self.vae = None
        self.batch, self.steps, self.guidance, self.negative, self.size = batch, steps, guidance, negative, size
        self.device, self.checker = device or results.device(), checker
        self.dtype = dtype or ("float32" if self.device == "cpu" else "float16")
        settings = {"steps": steps, "guidance": guidance, "size": size, "vae": vae, "batch": batch, "device": self.device}
        settings |= {key: value for key, value in (("dtype", dtype), ("checker", checker)) if value is not None}
        #: what `from_recipe` makes this model of again
        self.recipe = {"model": name, "revision": identity if local(name) else revision or after}
        self.recipe |= {"negative": negative, "settings": json.dumps(settings)}
        about = settings if vae is None else settings | {"vae": vae[1]}
        self.fingerprint = hashlib.sha256(json.dumps([identity, negative, about]).encode()).hexdigest()[:16]
        self.flagged: dict[tuple[str, int], str] = {}
        self._thread, self._reading = threading.local(), threading.Lock()
        self._embedding = lru_cache(maxsize=1024)(lambda prompt: self.pipe.encode_prompt(prompt, self.device, 1, False)[0])

    @cached_property
    def made(self) -> str:
        if self.checker is None:
            return ""
        return ", ".join([" ".join(item) for item in versions("torch", "diffusers").items()]
                         + [(accelerator(self.device) or {"GPU": self.device})["GPU"], self.dtype])  # fmt: skip

    @cached_property
    def pipe(self) -> StableDiffusionPipeline:
        """The pipeline, loaded at first use: safetensors only, DPM-Solver++."""
        dtype = getattr(torch, self.dtype)
        without = {"safety_checker": None, "requires_safety_checker": False} if self.checker is False else {}
        kind = variant(self.source, without="safety_checker" if without else "")
        pipe = StableDiffusionPipeline.from_pretrained(self.source, use_safetensors=True, dtype=dtype, variant=kind, **without)
        if self.vae:
            pipe.vae = AutoencoderKL.from_pretrained(self.vae, use_safetensors=True, dtype=dtype, variant=variant(self.vae))
        if (loaded := {pipe.unet.dtype, pipe.vae.dtype}) != {dtype}:
            raise TypeError(f"{self.source} was loaded as {loaded}, not as {dtype}: diffusers 0.40 or later knows how")
        pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
        pipe.set_progress_bar_config(disable=True)
        pipe.unet.to(memory_format=torch.channels_last)
        if self.batch > 8 and isinstance(pipe.vae, AutoencoderKL):
            pipe.vae.enable_slicing()  # 32 at once would take 13 GB
        return pipe.to(self.device)

    @property
    def hands(self) -> int:
        """Batches drawn at once: on the CPU a small model draws one on each core half as fast again as one on all of them."""
        return threads.hands(self.device) if sum(p.numel() for p in self.pipe.unet.parameters()) < 5e7 else 1

    def _pipe_of_thread(self) -> StableDiffusionPipeline:
        """The pipeline with a scheduler of the thread's own, which counts steps; the networks are shared."""
        if not hasattr(self._thread, "pipe"):
            self._thread.pipe = copy(self.pipe)
            self._thread.pipe.scheduler = deepcopy(self.pipe.scheduler)
        return self._thread.pipe

    @cached_property
    def _tokenizer(self) -> Callable:
        return AutoTokenizer.from_pretrained(self.source / "tokenizer")

    def check(self, prompts: Sequence[str]) -> None:
        """Refuse prompts that the text encoder would cut off, which would be other states with the same picture.

        Raises:
            ValueError: a prompt of too many tokens.
        """
        for prompt in dict.fromkeys(prompts):
            tokens, most = len(self._tokenizer(prompt).input_ids), self._tokenizer.model_max_length
            if tokens > most:
                raise ValueError(f"a sentence of {tokens} tokens, of which the text encoder reads {most}; shorten it: {prompt!r}")

    @torch.inference_mode()
    def __call__(self, prompts: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
        """See `TextToImage`.

        Raises:
            ValueError: too many or few, or a prompt that is too long.
            FloatingPointError: several images, and none of them finite. A single one is black, and flagged: in a long run it
                is one of many.
        """
        n = len(prompts)
        if not 0 < n <= self.batch or n != len(seeds):
            raise ValueError(f"{n} prompts and {len(seeds)} seeds; give 1 to {self.batch} of each")
        with self._reading:  # a tokenizer is not for several threads
            self.check([*prompts, self.negative])
            texts, negative = [self._embedding(p) for p in prompts], self._embedding(self.negative)
        pad = self.batch - n
        out = self._pipe_of_thread()(
            prompt_embeds=torch.cat([*texts, *[texts[-1]] * pad]),
            negative_prompt_embeds=torch.cat([negative] * self.batch),
            generator=[torch.Generator("cpu").manual_seed(int(seed)) for seed in [*seeds, *[seeds[-1]] * pad]],
            num_inference_steps=self.steps, guidance_scale=self.guidance, height=self.size, width=self.size, output_type="np",
        )  # fmt: skip
        images = (out.images[:n] * 255).round()
        broken = ~np.isfinite(images).all((1, 2, 3))
        if broken.all() and n > 1:
            raise FloatingPointError(f"{prompts[0]!r}, seed {seeds[0]}: a picture not finite in {self.dtype}, as all beside it. "
                                     "Half precision overflows in some autoencoders: RLDF_DTYPE=float32, or RLDF_VAE")  # fmt: skip
        images[broken] = 0
        unsafe = out.nsfw_content_detected or [False] * n
        for prompt, seed, image, nan, flag in zip(prompts, seeds, images, broken, unsafe, strict=False):
            if nan or flag or blank(image):
                why = f"not finite in {self.dtype}" if nan else "blackened by the model's safety checker" if flag else "of one colour"
                self.flagged[prompt, int(seed)] = why
                warnings.warn(f"a picture {why}: {prompt!r}, seed {seed}", stacklevel=2)
        return images.astype(np.uint8)


class Null:
    """A `TextToImage` that costs nothing: noise that depends on prompt and seed. For rehearsals of a large clone.

    Args:
        size: edge, pixels.
        batch: images per call.
        device: "cuda" for a rehearsal on a cluster with GPUs.
        seconds: that a call takes, in which the processor is free: a GPU's time.
    """

    def __init__(self, size: int = 8, batch: int = 64, device: str = "cpu", seconds: float = 0):
        self.size, self.batch, self.seconds, self.fingerprint = size, batch, seconds, f"null-{size}"
        settings = {"size": size, "batch": batch} | {k: v for k, v in {"device": device, "seconds": seconds}.items() if v not in ("cpu", 0)}
        self.recipe = {"model": "null", "revision": "", "negative": "", "settings": json.dumps(settings)}

    def __call__(self, prompts: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
        time.sleep(self.seconds)
        shape = self.size, self.size, 3
        keys = [f"{seed} {prompt}".encode() for prompt, seed in zip(prompts, seeds, strict=True)]
        return np.stack([np.frombuffer(hashlib.shake_128(key).digest(prod(shape)), np.uint8).reshape(shape) for key in keys])


@lru_cache(maxsize=2)
def from_recipe(model: str, revision: str, negative: str, settings: str) -> TextToImage:
    """The model that wrote this `recipe`; kept, so that a process loads it once.

    Raises:
        ValueError: a model or autoencoder that has changed since, or an environment that names another images API.
        RuntimeError: it ran on a device that is not here.
    """
    options = json.loads(settings)
    if model == "null":
        return Null(**options)
    if model == images_api.NAME:
        return images_api.OpenAIImages(**options, revision=revision)
    there = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if (kind := options["device"]) in there and not there[kind]():
        raise RuntimeError(f'this was drawn on {kind}, and torch sees no such device here. A row whose settings say "device": "cpu" '
                           'and "dtype": "float16" gives the same picture up to rounding')  # fmt: skip
    made = Diffusers(model, revision=revision, negative=negative, **options)
    vae = json.loads(made.recipe["settings"])["vae"]
    for what, holds, wanted in ((f"model folder {model}", made.recipe["revision"], revision), ("autoencoder", vae, options["vae"])):
        if holds != wanted:
            raise ValueError(f"the {what} holds {holds}; the recipe wants {wanted}: fetch that version")
    return made


def shown(scale: str, grammar: Grammar, semantics: Sequence[Mapping[str, str]], seeds: Sequence[int]) -> Sequence[np.ndarray]:
    """Pictures of semantics by every seed, uint8 (height, width, 3) each: the world's renders; at paper scale the model's pictures."""
    told = [(words, seed) for words in semantics for seed in seeds]
    if scale != "paper":
        return [world.render(*one) for one in told]
    return text_to_image(scale)([grammar.surface(grammar.encode(words)) for words, _ in told], [seed for _, seed in told])


SD_14 = "CompVis/stable-diffusion-v1-4@133a221b8aa7292a167afc5127cb63fb5005638b"  #: the paper's main model
FT_MSE = "stabilityai/sd-vae-ft-mse@31f26fdeee1355a5c34592e401dd41e45d25a493"  #: its autoencoder (section 3.1)


def text_to_image(scale: str = "tiny", model: str = "") -> Cache:
    """The cached model of a scale with its settings.

    Args:
        scale: "paper" has section 3.1's settings: DPM-Solver++, 20 steps, negative prompt, half precision, the size that the
            model was made for, and with a Stable Diffusion 1 its autoencoder; each can be changed by RLDF_STEPS, RLDF_GUIDANCE,
            RLDF_SIZE, RLDF_BATCH, RLDF_DTYPE, RLDF_VAE ("own" for the model's) and RLDF_CHECKER ("no" for no safety checker).
            The others have the model's own steps at 64 px.
        model: "" for the scale's own (tiny-sd-v1, SD 1.4), a folder, or a hub id as "owner/name@revision"; "openai-images" for
            the server that the environment names, with its own settings, see `images_api`; "null" for noise, which costs
            nothing: a rehearsal.
    """
    name = model or (setting("MODEL", SD_14) if scale == "paper" else "tiny-sd-v1")
    if name == "null":
        return Cache(Null(results.number("SIZE", 512), results.number("BATCH", 8)))
    if name == images_api.NAME:
        return Cache(images_api.OpenAIImages())
    if scale != "paper":
        return Cache(Diffusers(name))
    here = results.device(scale)
    folder, _ = located(name)
    shape = json.loads((folder / "unet" / "config.json").read_text())
    vae = setting("VAE", FT_MSE if name == SD_14 or shape.get("cross_attention_dim") == 768 else "own")
    options = {"steps": results.number("STEPS", 20), "guidance": results.number("GUIDANCE", 7.5), "batch": results.number("BATCH", 8)}
    options |= {"size": results.number("SIZE", 512) if setting("SIZE") else None, "vae": None if vae == "own" else vae}
    options |= {"dtype": results.choose("RLDF_DTYPE", setting("DTYPE"), ("", "float16", "float32")) or None}
    options |= {"checker": results.choose("RLDF_CHECKER", setting("CHECKER", "yes"), ("yes", "no")) == "yes"}
    made = Diffusers(name, negative=NEGATIVE, device=here, **options)
    print(f"diffusion model: {name}, {made.dtype}, {options}")
    results.note("drawn with", made.made)
    return Cache(from_recipe(*made.recipe.values()))  # the very one that a clone in this process draws with
