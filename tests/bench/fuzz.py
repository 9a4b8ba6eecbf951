"""Spoilt images, grammars and parameters through the public functions: `make fuzz`.

Every case must end in a right result, or in an error that the kit itself raises, within 10 s and 1 GiB. The cases follow
from the seed. What is counted as a fault: any other exception, an exception that comes out of a library, a wrong result,
more time or more memory.
"""

import io
import os
import random
import resource
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the libraries are loaded: a spoilt model name is not asked for outside
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")

import nbformat  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from tqdm import tqdm  # noqa: E402

from rldf_utils import agents, env, grammar, perceive, readings, results  # noqa: E402

SECONDS, MEMORY = 10, 2**30  #: at most, a case; bytes
OURS = (ValueError, OSError)  # ImageError and GrammarError are ValueErrors, FileNotFoundError and PermissionError OSErrors
COUNTS = {"images": 10_000, "grammars": 2_000, "parameters": 500}
PACKAGE = str(results.ROOT / "rldf_utils")


def outcome(run: Callable[[], object]) -> tuple[str, str]:
    """("right" | "refused" | "fault", what was said) of one case."""
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    try:
        with warnings.catch_warnings(), redirect_stdout(None):
            warnings.simplefilter("ignore")
            run()
        found = "right", ""
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raised_in = traceback.extract_tb(error.__traceback__)[-1].filename
        ours = isinstance(error, OURS) and raised_in.startswith(PACKAGE) and str(error)
        found = ("refused", type(error).__name__) if ours else ("fault", f"{said[:300]} ({Path(raised_in).name})")
    if (seconds := time.monotonic() - begun) > SECONDS:
        found = "fault", f"took {seconds:.0f} s: {found[1]}"
    unit = 1 if sys.platform == "darwin" else 1024
    if (grown := (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit) > MEMORY:
        found = "fault", f"took {grown / 2**30:.1f} GiB: {found[1]}"
    return found


# Images.


def whole_images() -> dict[str, bytes]:
    """A small file of every format and mode that is read."""
    pixels = np.random.default_rng(0).integers(0, 255, (24, 32, 4), np.uint8)
    colour, files = Image.fromarray(pixels[..., :3]), {}
    exif = Image.Exif()
    exif[0x0112], exif[0x011A], exif[0x010E] = 6, 72.0, "a picture"
    alpha, grey = Image.fromarray(pixels), Image.fromarray(pixels[..., 0])
    for kind, image, options in [
        ("png", colour, {}), ("png", alpha, {}), ("png", colour.quantize(16), {"transparency": 3}), ("png", colour.convert("1"), {}),
        ("png", Image.fromarray(pixels[..., 0].astype(np.uint16) * 257), {}), ("jpeg", colour, {"exif": exif}),
        ("jpeg", colour.convert("CMYK"), {}), ("jpeg", colour, {"progressive": True}), ("webp", colour, {}),
        ("webp", alpha, {"lossless": True}), ("bmp", colour, {}), ("gif", colour, {}), ("tiff", colour, {}), ("tiff", grey, {}),
        ("gif", colour, {"save_all": True, "append_images": [colour.rotate(90)]}), ("tiff", colour, {"compression": "tiff_lzw"}),
        ("tiff", Image.fromarray(pixels[..., 0].astype(np.float32)), {}),
    ]:  # fmt: skip
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        files[f"{len(files)}.{kind}"] = buffer.getvalue()
    return files


def spoil(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """One to three faults: bits turned, bytes overwritten, cut, doubled, a part of another file, sizes and chunks with right checksums."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at, n = rng.randrange(len(out) + 1), rng.choice([1, 2, 4, 16, 200])
        match rng.randrange(7):
            case 0 if out:
                out[min(at, len(out) - 1)] ^= 1 << rng.randrange(8)
            case 1:
                out[at : at + n] = rng.randbytes(n)
            case 2:
                del out[at:]
            case 3:
                out[at:at] = out[at : at + n] * rng.choice([1, 2, 50])
            case 4:
                other = rng.choice(others)
                start = rng.randrange(len(other))
                out[at : at + n] = other[start : start + n]
            case 5:
                extreme = rng.choice([0, 1, 7, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1])
                out[at : at + 4] = struct.pack(rng.choice("<>") + "I", extreme)
            case 6 if out.startswith(b"\x89PNG"):
                kind = rng.choice([b"IHDR", b"PLTE", b"tRNS", b"iCCP", b"tEXt", b"eXIf", b"acTL", b"gAMA"])
                body = kind + rng.choice([rng.randbytes(n), b"a\0\0" + zlib.compress(bytes(n * 10_000)), out[16:29]])
                out[33:33] = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return bytes(out)


def images(rng: random.Random, n: int, folder: Path) -> Iterator[Callable]:
    files = whole_images()
    for number in range(n):
        name = rng.choice(list(files))
        path = folder / rng.choice([name, f"{number}", "odd $name$ \u00e4\u4e2d.JPG", f" {name}"])
        data = spoil(files[name], rng, list(files.values())) if number >= len(files) else list(files.values())[number]

        def run(path=path, data=data):
            path.write_bytes(data)
            pixels = perceive.read_image(path)
            height, width, _ = pixels.shape
            wrong = pixels.dtype != np.uint8 or pixels.ndim != 3 or min(height, width) < perceive.MIN_EDGE
            assert not wrong and pixels.shape[2] == 3 and height * width <= perceive.MAX_PIXELS, pixels.shape

        yield run


# Grammars.


def spoil_text(text: str, rng: random.Random) -> str:
    """One or two faults in a grammar's text: lines and words dropped, doubled, swapped, and characters that people type."""
    lines = text.splitlines()
    for _ in range(rng.randint(1, 2)):
        i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
        words = lines[i].split(" | ")
        k = rng.randrange(len(words))
        match rng.randrange(9):
            case 0:
                lines[i] = ""
            case 1:
                lines.insert(j, lines[i])
            case 2:
                lines[i], lines[j] = lines[j], lines[i]
            case 3:
                words[k] = rng.choice(
                    ["''", "'a b'", "'a/b'", "'a//b'", "'one'", '"dog"', "Noun", "'dog/dogs'", "'\u4e2d'", "''dog'", "dog", "' '"]
                )
                lines[i] = " | ".join(words)
            case 4:
                lines[i] = lines[i].replace(
                    rng.choice(["->", "'", " ", "|", "/"]), rng.choice(["", "->", "\u2192", '"', "\t", "||", "-", "'"]), 1
                )
            case 5:
                at = rng.randrange(len(lines[i]) + 1)
                character = rng.choice(["#", "%", "\\", "[0.5]", "\x00", "\u200b", "$", "*", "?", ":", "\r", "  "])
                lines[i] = lines[i][:at] + character + lines[i][at:]
            case 6:
                lines[i] = " | ".join(words[k:] + [f"'w{m}'" for m in range(rng.choice([1, 3, 40]))])
            case 7:
                head = lines[i].split(" ")[0]
                lines.append(rng.choice([f"{head} -> {head}", f"X{j} -> {head} X{j}", f"{head} -> 'x'", "S -> S", f"{head} ->"]))
            case 8:
                lines[i] = lines[i].replace("Noun", rng.choice(["Noun Noun", "Frequency", "S", ""]))
    return rng.choice(["\n", "\r\n", "\n\n"]).join(lines)


def grammars(rng: random.Random, n: int, folder: Path) -> Iterator[Callable]:
    texts = [(results.DATA / "grammar" / f"{name}.cfg").read_text() for name in grammar.SHIPPED]
    for number in range(n):
        text = spoil_text(rng.choice(texts), rng) if number >= len(texts) else texts[number]

        def run(text=text, seed=number):
            (folder / "mine.cfg").write_text(text, newline="")
            made = grammar.load(folder / "mine.cfg")
            chosen = random.Random(seed)
            for state in (tuple(chosen.randrange(size) for size in made.shape) for _ in range(3)):
                assert made.parse(made.surface(state)) == state and made.encode(made.decode(state)) == state, (state, made.surface(state))

        yield run


# Parameters.

VALUES = (
    -1, 0, 1, 3, 7, 101, 10**12, 2**63, 1.5, float("nan"), float("inf"), True, None, "", "x", "tiny", "smoke", "base", "full",
    "../../etc", "~/no", "a@b", "owner/name", "owner/name@", "\x00", "$x$", "no" * 3000, [], [1], {}, "3", "Q", "yes", "no", "cifar",
)  # fmt: skip
CALLS = {
    "agents.QLearning": lambda v: agents.QLearning(6, 4, **v), "agents.Sarsa": lambda v: agents.Sarsa(6, 4, **v),
    "env.RLDFEnv": lambda v: env.RLDFEnv("smoke", **v), "grammar.for_scale": lambda v: grammar.for_scale(**({"scale": "tiny"} | v)),
    "readings.Reading": lambda v: readings.Reading(**v),
}  # fmt: skip
ARGUMENTS = {
    "agents.QLearning": ("epsilon", "alpha", "gamma", "seed", "omega"), "agents.Sarsa": ("epsilon", "alpha", "gamma", "seed"),
    "env.RLDFEnv": ("target", "start", "max_steps", "penalty", "render_mode"),
    "grammar.for_scale": ("scale", "path"), "readings.Reading": tuple(readings.LEVELS),
}  # fmt: skip


def parameters(rng: random.Random, n: int, folder: Path) -> Iterator[Callable]:
    """Half through a notebook's first five cells, as papermill and JupyterLab run them, half through functions."""
    books = [nbformat.read(path, as_version=4).cells[2:5] for path in sorted((results.ROOT / "notebooks").glob("*.ipynb"))]
    landscape = Path("tiny", "02_environment_design", "landscape.npz")  # what notebooks 3 and A2 read
    results.write(folder / landscape, (results.ROOT / "results" / landscape).read_bytes())
    results.RESULTS = folder
    for number in range(n):
        if number % 2:
            name = rng.choice(list(CALLS))
            chosen = {a: rng.choice(VALUES) for a in rng.sample(ARGUMENTS[name], rng.randint(1, 2))}
            yield lambda name=name, chosen=chosen: CALLS[name](chosen)
            continue
        cells, space = rng.choice(books), {}
        exec(cells[0].source, space)
        names = list(space["__annotations__"])
        space |= {a: rng.choice(VALUES) for a in rng.sample(names, rng.randint(1, 2))}

        def run(cells=cells, space=space):
            threads = torch.get_num_threads()
            try:
                for cell in cells[1:]:
                    exec(cell.source, space)
            finally:
                torch.set_num_threads(threads)  # which notebook A1 sets

        yield run


KINDS = {"images": images, "grammars": grammars, "parameters": parameters}


def fuzz(kind: str, n: int, seed: int = 0, progress: bool = False) -> pd.DataFrame:
    """One row per case: kind, outcome, said, seconds."""
    rng, rows = random.Random(f"{kind} {seed}"), []
    with tempfile.TemporaryDirectory() as folder:
        for run in tqdm(KINDS[kind](rng, n, Path(folder)), total=n, desc=kind, disable=not progress, mininterval=2):
            begun = time.monotonic()
            found, said = outcome(run)
            rows.append({"kind": kind, "outcome": found, "said": said, "seconds": time.monotonic() - begun})
    return pd.DataFrame(rows)


def main() -> None:
    out = results.RESULTS / "bench"
    cases = pd.concat([fuzz(kind, n, progress=True) for kind, n in COUNTS.items()], ignore_index=True)
    summary = cases.pivot_table(index="kind", columns="outcome", aggfunc="size", fill_value=0)
    summary = summary.reindex(index=list(KINDS), columns=["right", "refused", "fault"], fill_value=0)
    summary["longest, s"] = cases.groupby("kind")["seconds"].max().round(2)
    faults = Counter(cases[cases["outcome"] == "fault"]["said"])
    listed = "".join(f"- {n} x {said}\n" for said, n in faults.most_common(20))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    text = f"{__doc__}\n{summary.to_markdown()}\n\nPeak memory of all, PyTorch and the tiny CLIP included: {peak:.1f} GiB\n\n{listed}"
    results.write(out / "fuzz.md", text + f"\n{results.provenance()['machine']}\n")
    print(text)
    raise SystemExit(bool(faults))


if __name__ == "__main__":
    main()
