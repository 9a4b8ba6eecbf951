"""The images API against a server on the loopback address, which draws, fails, refuses, lies and spies."""

import base64
import io
import itertools
import json
import logging
import re
import shutil
import subprocess
import sys
import threading
import time
import tomllib
import traceback
import zlib
from collections import deque
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distribution

import numpy as np
import pandas as pd
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

from rldf_utils import clone, generate, grammar, perceive, results, search
from rldf_utils.images_api import OpenAIImages, OverBudget, ServerError, refused
from rldf_utils.tiny import world

pytest.importorskip("openai", reason="the openai client is not installed: make api")
KEY = "sk-loopback-0123456789abcdef"
WIDTH, HEIGHT = 16, 12
FILE = "file:" + "///etc/hostname"
VARIABLES = ("URL", "MODEL", "KEY", "PRICE", "BUDGET", "SIZE", "SEEDS", "BODY")


def paint(prompt, seed):
    return np.random.default_rng([*prompt.encode(), seed]).integers(1, 256, (HEIGHT, WIDTH, 3), np.uint8)


def file_of(pixels, kind="PNG", mode="RGB", **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def send(self, status, content, **headers):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json", "Content-Length": str(len(data))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        (self.server.faults.popleft() if self.server.faults else drawn)(self, body)

    def do_GET(self):
        self.server.fetched.append((self.path, dict(self.headers)))
        (self.server.at_address.popleft() if self.server.at_address else lambda h: h.send(200, h.server.file))(self)


def drawn(handler, body):
    """One picture as the protocol has it, in base64 or by its address; without a seed each draw is another one."""
    seed = body.get("seed", 10**6 + next(handler.server.draws))
    data = handler.server.encode(handler.server.paint(body["prompt"], seed))
    if handler.server.by_address:
        handler.server.file = data
        address = handler.server.by_address.format(port=handler.server.server_port)
        return handler.send(200, {"created": 1, "data": [{"url": address}]})
    handler.send(200, {"created": 1, "data": [{"b64_json": base64.b64encode(data).decode()}]})


def answered(status, content, **headers):
    return lambda handler, body: handler.send(status, content, **headers)


def failed(status, code="", message="no", **headers):
    return answered(status, {"error": {"message": message, "code": code, "type": "x", "param": None}}, **headers)


def holding(data):
    return answered(200, {"data": [{"b64_json": base64.b64encode(data).decode()}]})


def late(handler, body):
    handler.server.done.wait(20)


def dripping(handler, body):
    handler.send_response(200)
    handler.end_headers()
    for _ in range(60):
        if not handler.server.done.wait(0.05):
            handler.wfile.write(b" ")


def stalled(handler, body):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"data"')
    handler.server.done.wait(20)


def cut_off(handler, body):
    handler.send(200, b'{"data"', Content_Length="1000")


def hung_up(handler, body):
    handler.close_connection = True


@pytest.fixture
def api(monkeypatch):
    """The server, with the environment that names it: pictures of 16 x 12 pixels, seeds taken, no price."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.faults, server.at_address, server.asked, server.fetched, server.draws = deque(), deque(), [], [], itertools.count()
    server.paint, server.encode, server.by_address, server.done = paint, file_of, "", threading.Event()
    server.handle_error = lambda *_: None  # clients that were too impatient
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    values = (f"http://127.0.0.1:{server.server_port}/v1/", "tiny-sd-v1", KEY, "0", None, f"{WIDTH}x{HEIGHT}", "yes", None)
    settings(monkeypatch, **dict(zip(VARIABLES, values, strict=True)))
    monkeypatch.setattr(OpenAIImages, "spent", Decimal(0))
    monkeypatch.setattr(OpenAIImages, "requests", 0)
    yield server
    server.done.set()
    server.shutdown()
    thread.join()
    server.server_close()


def settings(monkeypatch, **values):
    for name, value in values.items():
        monkeypatch.delenv(f"RLDF_IMAGES_{name}", raising=False)
        if value is not None:
            monkeypatch.setenv(f"RLDF_IMAGES_{name}", value)


@pytest.fixture
def model(api):
    """A client of the server, which notes how long it would have slept."""
    slept = []
    made = OpenAIImages(timeout=5, sleep=slept.append)
    made.slept = slept
    return made


# What is asked and what comes back.


def test_a_request_is_the_protocols_and_holds_the_seed_and_the_users_fields(api, model, monkeypatch):
    assert model(["a dog", "a cat"], [3, 4]).tobytes() == np.stack([paint("a dog", 3), paint("a cat", 4)]).tobytes()
    path, headers, body = api.asked[0]
    assert path == "/v1/images/generations" and headers["authorization"] == f"Bearer {KEY}"
    assert body == {"prompt": "a dog", "model": "tiny-sd-v1", "n": 1, "size": "16x12", "seed": 3}
    settings(monkeypatch, SEEDS="no", BODY='{"quality": "low", "steps": 4}')
    OpenAIImages()(["a dog"], [3])
    assert api.asked[-1][2] == {"prompt": "a dog", "model": "tiny-sd-v1", "n": 1, "size": "16x12", "quality": "low", "steps": 4}


@pytest.mark.parametrize("address", ["", "http://127.0.0.1:{port}/a.png?signature=x"], ids=["base64", "address"])
def test_pictures_come_in_base64_or_by_an_address_which_never_sees_the_key(api, model, address):
    api.by_address = address
    assert (model(["a dog"], [3])[0] == paint("a dog", 3)).all()
    assert len(api.fetched) == bool(address) and KEY not in repr(api.fetched)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_other_formats_are_read(api, model, kind):
    api.encode = lambda pixels: file_of(pixels, kind, quality=95)
    with Image.open(io.BytesIO(file_of(paint("a dog", 3), kind, quality=95))) as image:
        assert (model(["a dog"], [3])[0] == np.asarray(image)).all()


def test_transparency_is_laid_on_white(api, model):
    clear = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    clear[0, 0] = 9, 8, 7, 255
    api.encode = lambda pixels: file_of(clear, mode="RGBA")
    picture = model(["a dog"], [3])[0]
    assert picture[0, 0].tolist() == [9, 8, 7] and (picture.reshape(-1, 3)[1:] == 255).all()


def test_without_seeds_the_seed_numbers_the_draw(api, monkeypatch, tmp_path):
    settings(monkeypatch, SEEDS=None)
    cache = generate.Cache(OpenAIImages(), tmp_path)
    first, other = cache(["a dog", "a dog"], [0, 1])
    assert len(api.asked) == 2 and (first != other).any() and "seed" not in api.asked[0][2]
    again = generate.Cache(OpenAIImages(), tmp_path)(["a dog", "a dog"], [1, 0])
    assert len(api.asked) == 2 and (again == np.stack([other, first])).all(), "the same (prompt, seed) is answered from the disk"


def test_the_fingerprint_tells_settings_apart_but_not_keys_and_prices(model, monkeypatch):
    prints = [model.fingerprint]
    for change in ({"MODEL": "b"}, {"URL": "http://127.0.0.1:1/v1"}, {"SIZE": "12x16"}, {"SEEDS": "no"}, {"BODY": '{"quality": "low"}'}):
        settings(monkeypatch, **change)
        prints.append(OpenAIImages().fingerprint)
    assert len(set(prints)) == 6
    for change in ({"KEY": "another"}, {"PRICE": "0.1", "BUDGET": "5"}):
        settings(monkeypatch, **change)
        assert OpenAIImages().fingerprint == prints[-1]


# It fits the kit.


def test_a_search_through_the_api_is_the_search_with_the_model(api, monkeypatch, tmp_path):
    direct, clip, base = generate.Cache(generate.Diffusers("tiny-sd-v1"), tmp_path), perceive.Clip("tiny-clip"), grammar.load("base")
    image = world.render({"Frequency": "three", "Noun": "dog", "Density": "one", "Scene": "a street"}, 2**31 + 5)
    expected = search.rldf(image, direct, clip, base, seed=3)
    api.paint = lambda prompt, seed: direct([prompt], [seed], count=False)[0]
    settings(monkeypatch, SIZE="64x64")
    monkeypatch.setattr(generate.Cache.__init__, "__defaults__", (tmp_path / "api",))
    through = generate.text_to_image("tiny", "openai-images")
    found = search.rldf(image, through, clip, base, seed=3)
    assert found.final == expected.final and found.summary() == expected.summary()
    assert found.trajectory.states.tolist() == expected.trajectory.states.tolist()
    assert found.trajectory.rewards.tolist() == expected.trajectory.rewards.tolist()
    assert len(api.asked) == found.calls == through.made >= 2, "one request per call: no neighbours are made ahead"
    assert {path.read_bytes() for path in (tmp_path / "api").rglob("*.png")} <= {path.read_bytes() for path in tmp_path.rglob("*.png")}
    search.rldf(image, generate.text_to_image("tiny", "openai-images"), clip, base, seed=3)
    assert len(api.asked) == found.calls, "a second search asks for nothing"


@pytest.mark.parametrize("reward", [1, 3])
def test_a_search_goes_on_where_pictures_are_refused(api, monkeypatch, tmp_path, reward):
    clip, base = perceive.Clip("tiny-clip"), grammar.load("base")
    target = {"Frequency": "three", "Noun": "dog", "Density": "one", "Scene": "a street"}
    api.paint = lambda prompt, seed: world.render(base.decode(base.parse(prompt)), seed) * np.uint8("farm" not in prompt)
    settings(monkeypatch, SIZE="64x64")
    through = generate.Cache(OpenAIImages(), tmp_path)
    with pytest.warns(UserWarning, match="refused to draw 'a photo of .* farm', seed 0"):
        found = search.rldf(world.render(target, 2**31 + 5), through, clip, base, agent="Q", reward=reward, calls=60, seed=3)
    assert 0 < len(through.model.flagged) < found.calls and all("farm" in prompt for prompt, _ in through.model.flagged)
    assert base.decode(found.final)["Scene"] != "a farm"


def clone_of(api, folder, recipe):
    classes = pd.DataFrame({"class_id": ["n01"], "noun": ["dog"]})
    return clone.clone(clone.plan(classes, grammar.load("full"), {"val": 3}, recipe), folder, progress=None)


def test_a_clone_is_made_through_the_api_and_refused_through_another_one(api, model, monkeypatch, tmp_path):
    manifest = clone_of(api, tmp_path / "clone", model.recipe)
    for row in manifest.to_dict("records"):
        assert (perceive.read_image(tmp_path / "clone" / row["path"]) == paint(row["prompt"], row["seed"])).all()
    assert clone.remake(manifest.iloc[0]) == (tmp_path / "clone" / manifest["path"].iloc[0]).read_bytes()
    assert generate.from_recipe(**model.recipe).fingerprint == model.fingerprint
    settings(monkeypatch, SIZE="12x16", SEEDS="no")
    generate.from_recipe.cache_clear()
    assert generate.from_recipe(**model.recipe).fingerprint == model.fingerprint, "a recipe has settings of its own"
    settings(monkeypatch, MODEL="another")
    generate.from_recipe.cache_clear()
    with pytest.raises(ValueError, match="the recipe is of another server or model: set RLDF_IMAGES_URL and RLDF_IMAGES_MODEL"):
        clone.remake(manifest.iloc[0])


# Failures that pass.


@pytest.mark.parametrize(
    "fault",
    [failed(429), failed(500), failed(503), failed(408), answered(502, b"<html>"), hung_up, cut_off, answered(200, b'{"data": [{"b64'),
     answered(200, b"[]"), answered(200, {"data": [5]}), answered(200, {"data": [{"b64_json": 7}]}), answered(200, {"created": 1}),
     holding(file_of(paint("a", 1))[:-60]), holding(b"GIF89a"), answered(200, {"data": [{"b64_json": "a!"}]}),
     answered(200, b"[" * 10**5)],
    ids=["429", "500", "503", "408", "502 in HTML", "hung up", "cut off", "broken JSON", "a list", "a number", "base64 is a number",
         "no data", "truncated picture", "another format", "broken base64", "deep JSON"],
)  # fmt: skip
def test_what_passes_is_tried_again(api, model, fault):
    api.faults.extend([fault, fault])
    assert (model(["a dog"], [3])[0] == paint("a dog", 3)).all()
    assert len(api.asked) == 3 and not model.flagged
    assert [0.5 <= model.slept[0] <= 1, 1 <= model.slept[1] <= 2] == [True, True]


@pytest.mark.parametrize("fault", [late, dripping, stalled])
def test_a_server_that_is_late_is_asked_again(api, fault):
    api.faults.append(fault)
    started = time.monotonic()
    model = OpenAIImages(timeout=0.4, sleep=lambda seconds: None)
    assert (model(["a dog"], [3])[0] == paint("a dog", 3)).all() and time.monotonic() - started < 15
    api.faults.extend([fault] * 2)
    with pytest.raises(ServerError, match="no picture in 2 attempts: the images API .* 0.4 s.*run again later"):
        OpenAIImages(timeout=0.4, sleep=lambda seconds: None, attempts=2)(["a dog"], [3])


def test_attempts_end_and_the_pauses_between_them_double(api, model):
    api.faults.extend([failed(500, message="boiler broke")] * 20)
    model.attempts = 9
    with pytest.raises(ServerError, match=r"no picture in 9 attempts: the images API answered 500 \('boiler broke'\)"):
        model(["a dog"], [3])
    limits = [1, 2, 4, 8, 16, 32, 60, 60]
    assert len(api.asked) == 9 and len(model.slept) == 8
    assert all(limit / 2 <= pause <= limit for pause, limit in zip(model.slept, limits, strict=True))
    assert len({pause / limit for pause, limit in zip(model.slept, limits, strict=True)}) == 8, "with jitter"


def test_retry_after_is_kept_to(api, model):
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    api.faults.extend(failed(429, Retry_After=value) for value in ("7", date, "soon", "nan", "-3"))
    model(["a dog"], [3])
    assert model.slept[0] == 7 and 90 < model.slept[1] <= 100
    assert all(limit / 2 <= pause <= limit for pause, limit in zip(model.slept[2:], (4, 8, 16), strict=True)), "nonsense is no wish"


def test_a_server_that_asks_for_a_long_pause_ends_the_run(api, model):
    api.faults.append(failed(429, Retry_After="86400"))
    with pytest.raises(ServerError, match="asks to wait 86,400 s: run again then"):
        model(["a dog"], [3])
    assert model.slept == []


@pytest.mark.parametrize("fault", [lambda h: h.send(404, b""), lambda h: h.send(200, b"not a picture")], ids=["404", "no picture"])
def test_an_address_that_fails_is_tried_again(api, model, fault):
    api.by_address = "http://127.0.0.1:{port}/a.png"
    api.at_address.append(fault)
    assert (model(["a dog"], [3])[0] == paint("a dog", 3)).all() and len(api.fetched) == 2 and len(model.slept) == 1


# Failures that stay.


@pytest.mark.parametrize(
    ("fault", "text"),
    [(failed(401, message=f"wrong key {KEY[:12]}"), "answered 401: set RLDF_IMAGES_KEY"),
     (failed(404, "model_not_found", "dall-e-2 is gone"), r"answered 404 \('dall-e-2 is gone'\): mend RLDF_IMAGES_URL, _MODEL"),
     (failed(400, message="size must be 512x512"), r"answered 400 \('size must be 512x512'\): mend RLDF_IMAGES_URL, _MODEL, _SIZE"),
     (failed(429, "insufficient_quota"), "no money left .insufficient_quota.: top it up"),
     (answered(307, b"", Location="http://127.0.0.1:9/"), "answered 307"),
     (holding(file_of(np.zeros((8, 8, 3), np.uint8))), "the picture has 8 x 8 pixels, not 16 x 12 as asked for: set RLDF_IMAGES_SIZE"),
     (holding(file_of(np.ones((WIDTH, HEIGHT, 3), np.uint8))), "has 12 x 16 pixels, not 16 x 12"),
     (answered(200, {"data": [{"b64_json": "AAAA"}] * 2}), "one picture was asked for, and the images API drew 2"),
     (answered(200, b" " * 2**21), "sends over 1,050,880 bytes, more than a picture of this size needs"),
     (answered(200, {"data": [{"url": FILE}]}), "does not begin with https:// or http://"),
     (answered(200, {"data": [{"url": 5}]}), "does not begin with https:// or http://")],
    ids=["401", "404", "400", "no money", "redirect", "another size", "on its side", "two pictures", "long answer", "file", "number"],
)  # fmt: skip
def test_what_stays_is_an_error_at_once_that_says_what_to_do(api, model, fault, text):
    api.faults.append(fault)
    with pytest.raises(ServerError, match=text) as caught:
        model(["a dog"], [3])
    assert len(api.asked) == 1 and model.slept == [] and KEY[:12] not in str(caught.value)


def bomb(width, height):
    """A PNG file of a few hundred bytes that says it is enormous, or of the right size with far more rows than it says."""

    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\2\0\0\0"
    rows = zlib.compress(bytes(50_000_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("size", "text"), [((60_000, 60_000), "far too many pixels"), ((10_000, 10_000), "has 10000 x 10000 pixels")])
def test_an_image_bomb_is_refused_before_it_is_decoded(api, model, size, text):
    api.faults.append(holding(bomb(*size)))
    started = time.process_time()
    with pytest.raises(ServerError, match=text):
        model(["a dog"], [3])
    assert time.process_time() - started < 1


def test_of_a_picture_no_more_is_decoded_than_its_size(api, model):
    api.faults.append(holding(bomb(WIDTH, HEIGHT)))
    with pytest.warns(UserWarning, match="refused"):  # its rows are black
        assert model(["a dog"], [3]).shape == (1, HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("target", [FILE, "http://127.0.0.1:{port}/elsewhere.png"])
def test_an_address_that_redirects_is_not_followed(api, model, target):
    api.by_address = "http://127.0.0.1:{port}/a.png"
    api.at_address.extend([lambda h: h.send(302, b"", Location=target.format(port=api.server_port))] * 9)
    with pytest.raises(ServerError, match="the picture's address answered 302"):
        model(["a dog"], [3])
    assert {path for path, _ in api.fetched} == {"/a.png"} and len(api.asked) == 1, "the picture is not drawn again for that"


def test_a_server_of_https_cannot_send_to_plain_http(api, model):
    model._url = "https://images.example/v1"
    api.by_address = "http://127.0.0.1:{port}/a.png"
    with pytest.raises(ServerError, match="does not begin with https://:"):
        model(["a dog"], [3])
    assert not api.fetched


# Refusals.


@pytest.mark.parametrize(
    "fault",
    [failed(400, "content_policy_violation"), failed(400, "moderation_blocked"), failed(400, "contentFilter"),
     failed(400, message="Your request was rejected as a result of our safety system."), answered(200, {"data": []}),
     answered(200, {"data": None}), answered(200, {"data": [{"b64_json": None}]}),
     holding(file_of(np.zeros((HEIGHT, WIDTH, 3), np.uint8)))],
    ids=["policy", "moderation", "filter", "by its words", "empty", "null", "empty entry", "black"],
)  # fmt: skip
def test_a_refusal_is_black_told_and_known_again_in_the_cache(api, model, fault, tmp_path):
    api.faults.append(fault)
    cache = generate.Cache(model, tmp_path)
    with pytest.warns(UserWarning, match="refused to draw 'a gun', seed 3: the picture is black; take another seed"):
        pictures = cache(["a gun", "a dog"], [3, 4])
    assert model.flagged == {("a gun", 3): "refused"} and model.slept == []
    assert refused(pictures).tolist() == [True, False] and pictures.shape == (2, HEIGHT, WIDTH, 3) and not pictures[0].any()
    later = OpenAIImages()
    cache = generate.Cache(later, tmp_path)
    assert refused(cache(["a gun", "a dog"], [3, 4])).tolist() == [True, False] and len(api.asked) == 2
    assert cache.flagged == {("a gun", 3): "refused"}, "the file remembers"


# Cost.


def test_what_a_run_may_cost_is_said_before_and_kept_to(api, monkeypatch, capsys, tmp_path):
    settings(monkeypatch, PRICE="0.02", BUDGET="0.07")
    cache = generate.Cache(OpenAIImages(), tmp_path)
    assert "openai-images: at most 3 images x 0.02 = 0.06" in capsys.readouterr().err and not api.asked
    cache(["a", "b"], [0, 0])
    said = "'d', seed 5 is not drawn: 3 requests cost 0.06, and one more would exceed RLDF_IMAGES_BUDGET=0.07.*set more and run again"
    with pytest.raises(OverBudget, match=said):
        cache(["c", "d"], [5, 5])
    assert len(api.asked) == 3
    assert (cache(["b", "c", "a"], [0, 5, 0])[2] == paint("a", 0)).all(), "what was drawn is in the cache and costs nothing"
    settings(monkeypatch, BUDGET="0.10")
    more = generate.Cache(OpenAIImages(), tmp_path)
    assert "at most 2 images x 0.02 = 0.04" in capsys.readouterr().err, "one count for a process"
    more(["d", "e"], [5, 5])
    with pytest.raises(OverBudget, match="5 requests cost 0.10"):
        more(["f"], [5])
    assert len(api.asked) == 5


def test_an_error_costs_nothing_and_whatever_may_have_been_drawn_does(api, monkeypatch):
    settings(monkeypatch, PRICE="1", BUDGET="4")
    model = OpenAIImages(timeout=1.5, sleep=lambda seconds: None)
    api.faults.extend([failed(500), failed(429), late, answered(200, b"{"), failed(400, "moderation_blocked"), drawn, drawn])
    with pytest.warns(UserWarning, match="refused"):
        model(["a"], [0])
    assert (OpenAIImages.requests, OpenAIImages.spent) == (2, 2)
    model(["b", "c"], [0, 0])
    with pytest.raises(OverBudget, match="4 requests cost 4"):
        model(["d"], [0])
    assert len(api.asked) == 7


def test_retries_stop_at_the_budget_too(api, monkeypatch):
    settings(monkeypatch, PRICE="1", BUDGET="2")
    api.faults.extend([answered(200, b"{")] * 9)
    with pytest.raises(OverBudget, match="2 requests cost 2"):
        OpenAIImages(sleep=lambda seconds: None)(["a"], [0])
    assert len(api.asked) == 2


# The environment, and its key.


@pytest.mark.parametrize(
    ("values", "text"),
    [({"URL": None}, "lacks RLDF_IMAGES_URL: the server's address"), ({"MODEL": " "}, "lacks RLDF_IMAGES_MODEL"),
     ({"PRICE": None}, "lacks RLDF_IMAGES_PRICE: the price of one picture, 0 for a server of your own"),
     ({"PRICE": "0.1"}, "lacks RLDF_IMAGES_BUDGET"), ({"PRICE": "free"}, "RLDF_IMAGES_PRICE=free must be a plain number such as 0.04"),
     ({"PRICE": "-1"}, "must be a plain number"), ({"PRICE": "1", "BUDGET": "inf"}, "RLDF_IMAGES_BUDGET=inf must be a plain number"),
     ({"SIZE": "big"}, "RLDF_IMAGES_SIZE=big is no size"), ({"SIZE": "4x4"}, "each of 8 to 4096"), ({"SIZE": "64x5000"}, "4096"),
     ({"SEEDS": "maybe"}, "RLDF_IMAGES_SEEDS = 'maybe' is not known; choose one of 'no', 'yes'"),
     ({"BODY": "quality=low"}, "RLDF_IMAGES_BODY must be JSON"), ({"BODY": '{"n": 4}'}, "without the key and model, n, prompt"),
     ({"BODY": json.dumps({"token": KEY})}, "RLDF_IMAGES_BODY must be JSON"),
     ({"URL": "ftp://host/v1"}, "RLDF_IMAGES_URL must be http"), ({"URL": "127.0.0.1:80/v1"}, "RLDF_IMAGES_URL must be http"),
     ({"URL": f"https://me:{KEY}@host/v1"}, "no user, password or query"), ({"URL": f"https://host/v1?key={KEY}"}, "no user"),
     ({"URL": "http://[::1/v1"}, "RLDF_IMAGES_URL must be http"),
     ({"URL": "http://192.0.2.1/v1"}, "would carry the key unencrypted"), ({"KEY": "sk é"}, "plain ASCII without blanks"),
     ({"URL": "https://api.openai.com/v1", "KEY": None}, "lacks RLDF_IMAGES_KEY, which OpenAI's server wants")],
)  # fmt: skip
def test_an_environment_that_makes_no_sense_is_an_error_that_names_the_variable(api, monkeypatch, values, text):
    settings(monkeypatch, **values)
    with pytest.raises(ValueError, match=text) as caught:
        OpenAIImages()
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("prompt", ["", "dog " * 8001])
def test_a_prompt_has_a_length(api, model, prompt):
    with pytest.raises(ValueError, match="1 to 32,000 characters"):
        model([prompt], [0])
    assert not api.asked


@pytest.mark.parametrize(
    ("url", "sent"),
    [("https://api.openai.com/v1", KEY), ("https://eu.api.openai.com/v1", KEY), ("https://api.openai.com.example/v1", "none"),
     ("https://notapi.openai.com/v1", "none"), ("http://127.0.0.1/v1", "none")],
)  # fmt: skip
def test_the_key_and_account_of_openai_go_to_openai_alone(api, monkeypatch, url, sent):
    settings(monkeypatch, URL=url, KEY=None)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_ORG_ID", "my-organisation")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "my-project")
    client = OpenAIImages()._client
    assert client.api_key == sent and str(client.base_url) == f"{url}/"
    assert ("my-organisation" in repr(client.default_headers)) == ("my-project" in repr(client.default_headers)) == (sent == KEY)


def test_the_account_of_openai_is_not_on_the_wire_to_others(api, monkeypatch):
    settings(monkeypatch, KEY=None)
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, f"secret-{name}")
    OpenAIImages()(["a dog"], [3])
    assert "secret-" not in repr(api.asked) and api.asked[0][1]["authorization"] == "Bearer none"


def test_the_key_is_nowhere(api, monkeypatch, tmp_path, caplog, capsys, recwarn):
    """Not in files, logs, output, warnings, exceptions, names and recipes, even if the server says it."""
    caplog.set_level(logging.DEBUG)
    settings(monkeypatch, PRICE="1", BUDGET="9")
    model = OpenAIImages(timeout=1.5, sleep=lambda seconds: None, attempts=1)
    cache, said = generate.Cache(model, tmp_path / "cache"), []
    echo = f"your key {KEY} at http://127.0.0.1:{api.server_port}/v1 is bad"
    api.faults.append(failed(400, "moderation_blocked", echo))
    cache(["a gun", "a dog"], [0, 0])
    clone_of(api, tmp_path / "clone", model.recipe)
    faults = [failed(400, message=echo), failed(500, KEY, echo), failed(401, message=echo), failed(429, Retry_After="999", message=echo),
              answered(502, echo.encode()), answered(200, echo.encode()), holding(KEY.encode()), late, hung_up]  # fmt: skip
    for fault in faults * 2:
        api.faults.append(fault)
        with pytest.raises((ServerError, OverBudget)) as caught:
            cache([f"prompt {len(said)}"], [0])
        api.faults.clear()
        said.append("".join(traceback.format_exception(caught.value)))
    assert any("RLDF_IMAGES_KEY" in text for text in said) and "OverBudget" in said[-1], "the server's words were quoted; all were tried"
    texts = [*said, caplog.text, *capsys.readouterr(), *(str(w.message) for w in recwarn), repr(model), model.fingerprint, model.terms]
    texts += [json.dumps(model.recipe), pd.read_parquet(tmp_path / "clone" / "manifest.parquet").to_json()]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 6 and len(caplog.records) > 20 and len(recwarn) == 1
    assert not [text for text in texts if KEY in text]
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    address = f"127.0.0.1:{api.server_port}"
    assert not [text for text in [*said, *texts[-3:]] if address in text or "tiny-sd-v1" in text], "nor is the server, or its model"


# The extra.


def test_without_the_client_the_error_says_what_to_install(api, monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ModuleNotFoundError, match="make api, or pip install -r requirements-api.txt"):
        generate.text_to_image("tiny", "openai-images")


def test_the_lock_of_the_extra_holds_what_the_client_needs_beside_the_lock():
    locked, extra = (
        {canonicalize_name(r.name): r for r in map(Requirement, re.findall(r"^[\w.-]+==.*", (results.ROOT / name).read_text(), re.M))}
        for name in ("requirements.txt", "requirements-api.txt")
    )
    asked = tomllib.loads((results.ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["api"]
    pins = {name: next(iter(r.specifier)).version for name, r in (locked | extra).items()}
    assert all(r.specifier.contains(pins[r.name]) for r in map(Requirement, asked)) and not set(extra) & set(locked)
    needed = {r.name: r for name in extra for r in map(Requirement, distribution(name).requires or []) if not r.marker}
    assert set(extra) - {"openai"} <= set(map(canonicalize_name, needed)) <= set(extra) | set(locked)
    assert all(r.specifier.contains(pins[canonicalize_name(name)]) for name, r in needed.items())


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
@pytest.mark.parametrize("target", ["api", "test"])
def test_make_installs_the_extra_also_for_the_tests(target):
    done = subprocess.run(["make", "-n", "-B", target, f"PYTHON={sys.executable}"], cwd=results.ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count("pip install -r requirements-api.txt") == 1
