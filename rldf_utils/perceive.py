"""What an image shows: reading users' images safely, CLIP zero-shot over the grammar's own sentences, captions."""

import io
import stat
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import open_clip
import torch
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.utils import logging as transformers_logging

from rldf_utils import results
from rldf_utils.grammar import READ_STATES, Encoding, Grammar
from rldf_utils.inputs import inputs, sentences  # noqa: F401  notebooks take both from here
from rldf_utils.models import content, located
from rldf_utils.results import setting

transformers_logging.set_verbosity_error()  # it warns that a captioner is given no text to go on from
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = 50_000_000  #: 150 MB decoded; a larger image is refused before it is decoded
MAX_WORK = 4_000_000_000  #: pixels times passes: some 5 s
MIN_EDGE = 8  #: pixels
TURNS = dict(zip(range(2, 9), [Image.Transpose(i) for i in (0, 3, 1, 5, 4, 6, 2)], strict=True))  #: EXIF orientation -> what undoes it


class ImageError(ValueError):
    """An input that cannot be used as an image; the message says why and what to do."""


def read_image(path: str | Path) -> np.ndarray:
    """An image file as uint8 RGB (height, width, 3).

    Conversions, all on purpose: alpha is laid on white; palettes, grey, CMYK, and 16 bits a channel become 8-bit RGB; the
    colours of an embedded profile become sRGB's, unless the profile is broken, for other pixels than these, or over a
    mebibyte in a PNG; the EXIF orientation is applied where it can be read; of a multi-page file that does not move
    (TIFF, a phone's JPEG) the first page is taken. 16-bit grey that stays below 4096 holds fewer bits, as cameras and
    microscopes write them: its range is taken to be 2^n, n the bits of its largest value (at least 8), with a warning.

    Args:
        path: of the file; a "~" at its beginning is the home folder.

    Raises:
        ImageError: no image, an unknown format or kind, truncated, animated, an edge under 8 pixels, over 50 million pixels,
            16-bit colour that stays below 4096; a folder, pipe or device.
        FileNotFoundError: no such file.
    """
    name = printable(path)
    try:
        path = Path(path).expanduser()
        mode = path.stat().st_mode
    except (OSError, RuntimeError, ValueError) as error:  # not there; no such home folder; a zero byte in the name
        reason = "" if isinstance(error, FileNotFoundError) else f" ({getattr(error, 'strerror', None) or error})"
        raise FileNotFoundError(f"there is no image file {name}{reason}") from None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
        raise ImageError(f"{name} is {kind}, not an image file; name one file")
    try:
        with path.open("rb") as file:
            try:
                return _pixels(file, name)
            except ValueError as error:
                if "MAX_TEXT" not in str(error):
                    raise
                return _pixels(_without_text(file), name)
    except ImageError:
        raise
    except PermissionError as error:
        raise ImageError(f"{name} cannot be read: {error.strerror}") from None
    except Image.DecompressionBombError:
        raise ImageError(f"{name} has far too many pixels; the limit is {MAX_PIXELS:,}: scale it down first") from None
    except UnidentifiedImageError:
        raise ImageError(f"{name} is not an image of a known format ({', '.join(FORMATS)}): save it as one of them") from None
    except Exception as error:  # on damaged files Pillow raises whatever its parsers stumble over
        sound = any(word in str(error).lower() for word in ("unknown", "unsupported", "cannot handle"))
        what = f"is {'' if sound else 'damaged or truncated, or '}of a kind that Pillow cannot read"
        raise ImageError(f"{name} {what} ({printable(error)}): save it as a PNG with 8 bits a channel") from None


def printable(text: object) -> str:
    """A path, or any text, as one line that can be printed and encoded whatever bytes it holds."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text))


def _pixels(file: BinaryIO, name: str) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow, about what it repairs, and its own limit of pixels: ours is the lower one
        image = _opened(file)
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise ImageError(f"{name} has {width} x {height} pixels; the limit is {MAX_PIXELS:,}: scale it down first")
        if min(width, height) < MIN_EDGE:
            raise ImageError(f"{name} has {width} x {height} pixels; each edge needs at least {MIN_EDGE}")
        if width * height * _passes(image, file) > MAX_WORK:
            raise ImageError(f"{name} takes too long to decode, as it is coded in many passes or runs; save it as PNG")
        if image.format not in {"TIFF", "MPO"} and getattr(image, "is_animated", False):
            raise ImageError(f"{name} is animated ({image.n_frames} frames); save the one frame that you mean")
        if image.mode in {"I", "F"}:
            raise ImageError(f"{name} holds signed, float or 32-bit pixels, whose range is unknown; save it with 8 bits a channel")
        turn, profile = _turn(image), image.info.get("icc_profile")
        kind = image.tile[0].args if image.tile else ""
        kind = kind if isinstance(kind, str) else str(*kind[:1])
        negative = image.format == "TIFF" and image.tag_v2.get(ExifTags.Base.PhotometricInterpretation) == 0
        deep = image.format in {"PNG", "TIFF"} and ";16" in kind and image.mode in {"LA", "RGB", "RGBA"}
        image.load()
    if turn is not None:
        image = image.transpose(turn)
    if image.mode.startswith("I;16"):
        image = _eight_bits(image, name, 12 if kind == "I;12" else None, negative)
    elif deep:
        most = max(high for _, high in image.getextrema()[: 1 if image.mode == "LA" else 3])
        if most < 16 and (most or image.mode == "RGB"):  # black with alpha is a drawing
            raise ImageError(f"{name} holds 16-bit colour that stays below 4096, of which 8 bits keep next to nothing: "
                             "brighten it, and save it with 8 bits a channel")  # fmt: skip
    alpha = None
    if image.has_transparency_data:
        image = image.convert("LA" if image.mode in {"1", "L", "LA", "La"} else "RGBA")
        alpha, image = image.getchannel("A"), image.convert(image.mode[:-1])
    image = _srgb(image, profile)
    if alpha is not None:
        below = Image.new("RGB", image.size, "white")
        below.paste(image, mask=alpha)
        image = below
    return np.asarray(image)


def _opened(file: BinaryIO) -> Image.Image:
    """The image, nothing decoded; where Pillow knows the format but not the file, with its own reason, which it swallows."""
    try:
        return Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        file.seek(0)
        start = file.read(16)
        for opens, accepts in (Image.OPEN[name] for name in FORMATS):
            if accepts(start):
                file.seek(0)
                opens(file, "")
        raise


def _passes(image: Image.Image, file: BinaryIO) -> int:
    """How often a decoder goes over all pixels: a JPEG's scans, of which a small file can have thousands."""
    if image.format in {"JPEG", "MPO"}:
        file.seek(0)
        return sum(block.count(b"\xff\xda") for block in iter(lambda: file.read(2**20), b""))
    return 300 if image.tile and image.tile[0].codec_name == "bmp_rle" else 1  # Pillow decodes these in Python


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What turns the image as its EXIF says. The orientation alone is read, and taken away, or a TIFF would turn by itself."""
    try:
        exif = image.getexif()
        turn = exif.get(ExifTags.Base.Orientation)
        exif.clear()
        return TURNS.get(turn)
    except Exception:  # a corrupt block: nothing is known of the orientation
        return None


def _without_text(file: BinaryIO) -> io.BytesIO:
    """A PNG without its texts and its colour profile, which Pillow refuses beyond a mebibyte."""
    file.seek(0)
    kept = [file.read(8)]
    while len(head := file.read(8)) == 8:
        length = int.from_bytes(head[:4]) + 4
        if head[4:] in (b"tEXt", b"zTXt", b"iTXt", b"iCCP"):
            file.seek(length, 1)
        else:
            kept += [head, file.read(length)]
    return io.BytesIO(b"".join(kept))


def _eight_bits(image: Image.Image, name: str, bits: int | None, negative: bool) -> Image.Image:
    """16-bit grey as 8-bit grey. `bits`: how many the format says that there are; `negative`: whether 0 is white."""
    values = np.asarray(image)
    top = int(values.max())
    if bits is None:
        bits = max(8, top.bit_length()) if top < 4096 else 16
        if bits < 16:
            warnings.warn(f"{name}: 16-bit grey that stays below 4096 is read as {bits}-bit grey", stacklevel=4)
    grey = (values >> (bits - 8)).astype(np.uint8)
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = 255
    return Image.fromarray(255 - grey if negative else grey)


def _srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """RGB, by the colour profile where it is sound and for such pixels."""
    image = image.convert("RGB") if image.mode not in {"L", "CMYK", "LAB"} else image
    if profile and image.mode != "LAB":
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if not ImageCms.getProfileDescription(source).startswith("sRGB"):
                return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass
    return image.convert("RGB")


@dataclass(frozen=True)
class Percept:
    """What a perceiver saw: the likeliest word of each axis, and every word's probability."""

    encoding: Encoding
    probabilities: dict[str, np.ndarray]  #: axis -> (words,), sums to 1


class Clip:
    """An open_clip model: embeddings, and zero-shot perception over a grammar's sentences.

    Args:
        model: a folder with open_clip_config.json and its weights (a name under data/models, or a path), such a hub id with "@"
            and its revision, or the name of an architecture of open_clip's such as "ViT-L-14-quickgelu" together with `weights`.
        weights: their file.
        batch: images a forward pass; the tail is padded, so that an embedding does not depend on its neighbours.

    Attributes:
        fingerprint: of the folder; of weights in a file, of their content.
        renders_only: whether notebook A1 trained it, on renders of the small world and nothing else.

    Raises:
        FileNotFoundError, ValueError: see `models.located`.
    """

    def __init__(self, model: str | Path = "tiny-clip", weights: Path | None = None, *, batch: int = 32, device: str | None = None):
        self.device, self.batch, name, self.renders_only = device or results.device(), batch, str(model), False
        if weights is None:
            folder, self.fingerprint = located(model, ask="CLIP")
            name, self.renders_only = f"local-dir:{folder}", (folder / "training.json").is_file()
        source = weights and str(weights)
        model, _, self.preprocess = open_clip.create_model_and_transforms(name, pretrained=source, device=self.device)
        self.model, self.tokenize = model.eval(), open_clip.get_tokenizer(name)
        if weights is not None:
            self.fingerprint = content(self.model)
        self._texts: dict[tuple[str, ...], np.ndarray] = {}

    @torch.inference_mode()
    def embed_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Images, uint8 (height, width, 3) each, to unit vectors, float32 (n, d)."""
        out = []
        for start in range(0, len(images), self.batch):
            part = [self.preprocess(Image.fromarray(image)) for image in images[start : start + self.batch]]
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
        grammar.limited(READ_STATES, "reading pictures against every sentence")
        texts = self.embed_texts(grammar.sentences)
        logits = self.model.logit_scale.exp().item() * embeddings @ texts.T
        p = np.exp(logits - logits.max(1, keepdims=True)).astype(np.float64)
        p = (p / p.sum(1, keepdims=True)).reshape(-1, *grammar.shape)
        percepts = []
        for cube in p:
            marginals = {axis: cube.sum(axis=tuple(j for j in range(cube.ndim) if j != k)) for k, axis in enumerate(grammar.axes)}
            percepts.append(Percept(tuple(int(m.argmax()) for m in marginals.values()), marginals))
        return percepts


VIT_L_14 = "timm/vit_large_patch14_clip_224.openai@18d0535469bb561bf468d76c1d73aa35156c922b"  #: where open_clip has OpenAI's weights


def clip(scale: str = "tiny") -> Clip:
    """The CLIP of a scale: tiny-clip; at paper scale RLDF_CLIP, or OpenAI's ViT-L/14 (reference [5] of the paper)."""
    if scale != "paper":
        return Clip("tiny-clip")
    device = results.device(scale)
    if own := setting("CLIP"):
        return Clip(own, device=device)
    return Clip("ViT-L-14-quickgelu", located(VIT_L_14, ask="CLIP")[0] / "open_clip_model.safetensors", device=device)


class Captioner:
    """An image captioner of transformers, decoded greedily: the baseline that puts an image into words (Fig. 7).

    Args:
        model: a folder, its name under data/models, or a hub id, with "@" and its revision or without.
        revision: commit of the hub id; required for one.
        batch: images a forward pass; the tail is padded, so that a caption does not depend on its neighbours.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: a hub id without a revision.
    """

    def __init__(self, model: str | Path = "tiny-captioner", revision: str | None = None, *, batch: int = 32, device: str | None = None):
        self.device, self.batch = device or results.device(), batch
        source, self.fingerprint = located(model, revision, "CAPTIONER")
        self.processor = AutoProcessor.from_pretrained(source)
        dtype = torch.float32 if self.device == "cpu" else torch.float16
        self.model = AutoModelForImageTextToText.from_pretrained(source, use_safetensors=True, dtype=dtype)
        self.model.to(self.device).eval()

    @torch.inference_mode()
    def __call__(self, images: Sequence[np.ndarray]) -> list[str]:
        """One sentence an image, uint8 (height, width, 3) each."""
        out = []
        for start in range(0, len(images), self.batch):
            part = [Image.fromarray(image) for image in images[start : start + self.batch]]
            ready = self.processor(images=part + part[-1:] * (self.batch - len(part)), return_tensors="pt")
            ids = self.model.generate(**ready.to(self.device, self.model.dtype), max_new_tokens=31, do_sample=False)
            texts = self.processor.batch_decode(ids[: len(part)], skip_special_tokens=True)
            out += [text.strip().replace(" - ", "-") for text in texts]  # "light-skinned" is three tokens
        return out


BLIP_2 = "Salesforce/blip2-opt-2.7b@59a1ef6c1e5117b3f65523d1c6066825bcf315e3"  #: transformers 5 needs the image token that it names


def captioner(scale: str = "tiny") -> Captioner:
    """The captioner of a scale: tiny-captioner; at paper scale RLDF_CAPTIONER, or BLIP-2."""
    return Captioner(setting("CAPTIONER", BLIP_2), device=results.device(scale)) if scale == "paper" else Captioner()
