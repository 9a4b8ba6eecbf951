"""What an image shows: reading users' images safely, CLIP zero-shot over the grammar's own sentences, captions."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.utils import logging as transformers_logging

from rldf_utils.grammar import Encoding, Grammar
from rldf_utils.results import MODELS, fingerprint, located

transformers_logging.set_verbosity_error()  # it warns that a captioner is given no text to go on from
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = 50_000_000  #: 150 MB decoded; a larger image is refused before it is decoded
MIN_EDGE = 8  #: pixels


class ImageError(ValueError):
    """An input that cannot be used as an image; the message says why and what to do."""


def read_image(path: str | Path) -> np.ndarray:
    """An image file as uint8 RGB (height, width, 3).

    Conversions, all on purpose: alpha is laid on white, palettes, grey, CMYK and 16-bit grey become 8-bit RGB, the EXIF
    orientation is applied, and of a multi-page file that does not move (TIFF, a phone's JPEG) the first page is taken.

    Raises:
        ImageError: no image, an unknown format, truncated, animated, an edge under 8 pixels, over 50 million pixels.
        FileNotFoundError: no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no image file {path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit, below, is the lower one
            image = Image.open(path, formats=FORMATS)
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise ImageError(f"{path} has {width} x {height} pixels; the limit is {MAX_PIXELS:,}: scale it down first")
        if min(width, height) < MIN_EDGE:
            raise ImageError(f"{path} has {width} x {height} pixels; each edge needs at least {MIN_EDGE}")
        if getattr(image, "is_animated", False) and image.format not in {"TIFF", "MPO"}:
            raise ImageError(f"{path} is animated ({image.n_frames} frames); save the one frame that you mean")
        if image.mode in {"I", "F"}:
            raise ImageError(f"{path} holds 32-bit pixels, whose range is unknown; save it with 8 bits a channel")
        image = ImageOps.exif_transpose(image)
        if image.mode in {"I;16", "I;16B", "I;16L"}:
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.asarray(image.convert("RGB"))
    except (ImageError, FileNotFoundError):
        raise
    except Image.DecompressionBombError:
        raise ImageError(f"{path} has far too many pixels; the limit is {MAX_PIXELS:,}: scale it down first") from None
    except UnidentifiedImageError:
        raise ImageError(f"{path} is not an image of a known format ({', '.join(FORMATS)})") from None
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:
        raise ImageError(f"{path} is damaged or truncated: {error}") from None


def read_images(paths: Sequence[Path], folder: Path) -> Iterator[np.ndarray]:
    """`read_image` of every path of a folder, in order.

    Raises:
        ImageError: at the end, if there were files that are no images; all are counted and the first five named.
    """
    broken = []
    for path in paths:
        try:
            yield read_image(path)
        except ImageError as error:
            broken.append(str(error))
    if broken:
        raise ImageError(f"{len(broken)} of {len(paths)} files of {folder} cannot be read: {'; '.join(broken[:5])}")


@dataclass(frozen=True)
class Percept:
    """What a perceiver saw: the likeliest word of each axis, and every word's probability."""

    encoding: Encoding
    probabilities: dict[str, np.ndarray]  #: axis -> (words,), sums to 1


class Clip:
    """An open_clip model: embeddings, and zero-shot perception over a grammar's sentences.

    Args:
        model: a folder with open_clip_config.json and its weights (a name under data/models, or a path), or a name of
            open_clip's own such as "ViT-L-14" together with `pretrained`, such as "openai".
        batch: images a forward pass; the tail is padded, so that an embedding does not depend on its neighbours.

    Raises:
        FileNotFoundError: no such folder and no `pretrained` tag.
    """

    def __init__(self, model: str | Path = "tiny-clip", pretrained: str | None = None, *, batch: int = 32, device: str | None = None):
        self.device, self.batch = device or ("cuda" if torch.cuda.is_available() else "cpu"), batch
        name, self.fingerprint = str(model), f"{model}:{pretrained}"
        if pretrained is None:
            folder = Path(model) if Path(model).is_dir() else MODELS / name
            if not folder.is_dir():
                raise FileNotFoundError(f"there is no model folder {folder}; for open_clip's own {name} give a pretrained tag as well")
            name, self.fingerprint = f"local-dir:{folder}", fingerprint(folder)
        model, _, self.preprocess = open_clip.create_model_and_transforms(name, pretrained=pretrained, device=self.device)
        self.model, self.tokenize = model.eval(), open_clip.get_tokenizer(name)
        self._texts: dict[tuple[str, ...], np.ndarray] = {}

    @torch.inference_mode()
    def embed_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Images, uint8 (height, width, 3) each, to unit vectors, float32 (n, d)."""
        tensors = [self.preprocess(Image.fromarray(image)) for image in images]
        out = []
        for start in range(0, len(tensors), self.batch):
            part = tensors[start : start + self.batch]
            padded = torch.stack([*part, *[part[-1]] * (self.batch - len(part))]).to(self.device)
            out.append(self.model.encode_image(padded, normalize=True)[: len(part)].float().cpu().numpy())
        return np.concatenate(out)

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Texts to unit vectors, float32 (n, d); kept, since a grammar's sentences are asked for again and again."""
        key = tuple(texts)
        if key not in self._texts:
            parts = [self.tokenize(list(key[i : i + 256])).to(self.device) for i in range(0, len(key), 256)]
            self._texts[key] = np.concatenate([self.model.encode_text(p, normalize=True).float().cpu().numpy() for p in parts])
        return self._texts[key]

    def perceive(self, images: Sequence[np.ndarray], grammar: Grammar) -> list[Percept]:
        """Zero-shot classification of images over all the grammar's sentences: `read` of their embeddings."""
        return self.read(self.embed_images(images), grammar)

    def read(self, embeddings: np.ndarray, grammar: Grammar) -> list[Percept]:
        """What images show, by their embeddings (n, d); an axis's probabilities are its marginal.

        A word's probability is the sum over the sentences that hold it of softmax(scale x cosine). The encoding is the
        likeliest word of each axis.
        """
        texts = self.embed_texts([grammar.surface(state) for state in grammar.states()])
        logits = self.model.logit_scale.exp().item() * embeddings @ texts.T
        p = np.exp(logits - logits.max(1, keepdims=True)).astype(np.float64)
        p = (p / p.sum(1, keepdims=True)).reshape(-1, *grammar.shape)
        percepts = []
        for cube in p:
            marginals = {axis: cube.sum(axis=tuple(j for j in range(cube.ndim) if j != k)) for k, axis in enumerate(grammar.axes)}
            percepts.append(Percept(tuple(int(m.argmax()) for m in marginals.values()), marginals))
        return percepts


def clip(scale: str = "tiny") -> Clip:
    """The CLIP of a scale: tiny-clip, or at paper scale OpenAI's ViT-L/14 (reference [5] of the paper)."""
    return Clip("ViT-L-14-quickgelu", pretrained="openai") if scale == "paper" else Clip("tiny-clip")


class Captioner:
    """An image captioner of transformers, decoded greedily: the baseline that puts an image into words (Fig. 7).

    Args:
        model: a folder, its name under data/models, or a hub id.
        revision: commit of the hub id; required for one.
        batch: images a forward pass; the tail is padded, so that a caption does not depend on its neighbours.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: a hub id without a revision.
    """

    def __init__(self, model: str | Path = "tiny-captioner", revision: str | None = None, *, batch: int = 32, device: str | None = None):
        self.device, self.batch = device or ("cuda" if torch.cuda.is_available() else "cpu"), batch
        source, self.fingerprint = located(model, revision)
        self.processor = AutoProcessor.from_pretrained(source, revision=revision)
        dtype = torch.float16 if self.device == "cuda" else torch.float32
        self.model = AutoModelForImageTextToText.from_pretrained(source, revision=revision, use_safetensors=True, dtype=dtype)
        self.model.to(self.device).eval()

    @torch.inference_mode()
    def __call__(self, images: Sequence[np.ndarray]) -> list[str]:
        """One sentence an image, uint8 (height, width, 3) each."""
        out = []
        for start in range(0, len(images), self.batch):
            part = [Image.fromarray(image) for image in images[start : start + self.batch]]
            inputs = self.processor(images=part + part[-1:] * (self.batch - len(part)), return_tensors="pt")
            ids = self.model.generate(**inputs.to(self.device, self.model.dtype), max_new_tokens=31, do_sample=False)
            texts = self.processor.batch_decode(ids[: len(part)], skip_special_tokens=True)
            out += [text.strip().replace(" - ", "-") for text in texts]  # "light-skinned" is three tokens
        return out


BLIP_2 = ("Salesforce/blip2-opt-2.7b", "51572668da0eb669e01a189dc22abe6088589a24")


def captioner(scale: str = "tiny") -> Captioner:
    """The captioner of a scale: tiny-captioner, or BLIP-2 at paper scale."""
    return Captioner(*BLIP_2) if scale == "paper" else Captioner()
