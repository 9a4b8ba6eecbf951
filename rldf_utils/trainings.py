"""Table 2's long runs: every training is kept when it ends, gone on with when it was killed, and has a core of its own on a CPU."""

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from rldf_utils import classify, fid, threads
from rldf_utils.progress import Bar
from rldf_utils.results import CACHE, sha256, write
from rldf_utils.transfer import Data, asked, joined


def identity(data: Data) -> str:
    """Digits that name pictures and labels. An array that is mapped goes by its file's name, as `imagenet.arrays` names it by content."""
    x, labels = joined(data)
    digest = hashlib.sha256(x.where.tobytes() + labels.tobytes())
    for part in x.parts:
        digest.update(Path(part.filename).name.encode() if isinstance(part, np.memmap) else part.tobytes())
    return digest.hexdigest()[:16]


def done(sets: Mapping[str, Data], tests: Mapping[str, Data], classes: int, recipes: Mapping[str, classify.Recipe],
         seeds: Sequence[int], device: str = "cpu") -> Iterator[tuple[str, dict[str, np.ndarray]]]:  # fmt: skip
    """Every set is `trained` on with every seed: (set, which pictures of its tests are right), set by set.

    On a CPU each training has one core, and as many run at once as torch uses cores: the numbers do not depend on how many.
    """
    runs = [(kind, seed) for kind in sets for seed in seeds]
    hands = threads.hands(device)

    def one(kind: str, seed: int) -> dict[str, np.ndarray]:
        return trained(kind, sets, tests, classes, recipes[kind], seed, device, progress=hands == 1)

    found = Bar(threads.spread(one, runs, hands), desc="trainings", unit="training", total=len(runs), disable=hands == 1)
    yield from zip((kind for kind, _ in runs), found, strict=True)


def trained(kind: str, sets: Mapping[str, Data], tests: Mapping[str, Data], classes: int, recipe: classify.Recipe, seed: int,
            device: str = "cpu", progress: bool = False) -> dict[str, np.ndarray]:  # fmt: skip
    """Which pictures a ResNet-18 trained on one of the sets gets right: test -> bool (pictures,), for the tests `asked`.

    It is kept, a file a training, under a key of pictures, labels, recipe, seed and `classify`; a training that was killed is
    gone on with.
    """
    names, code = asked(kind), sha256(Path(classify.__file__))
    key = repr((recipe, seed, classes, device, torch.__version__, code, *map(identity, (sets[kind], *(tests[name] for name in names)))))
    path = CACHE.parent / "trainings" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    checkpoint = path.with_suffix(".pt")
    if not path.exists():
        told = f"{kind}, seed {seed}" if progress else None
        net = classify.train(*sets[kind], classes, recipe, seed, told, device, checkpoint)
        file = io.BytesIO()
        np.savez_compressed(file, **{name: classify.predict(net, tests[name][0], recipe.size) == tests[name][1] for name in names})
        write(path, file.getbuffer())
    checkpoint.unlink(missing_ok=True)
    with np.load(path) as kept:
        return {name: kept[name] for name in names}


def embedded(data: Data, network: fid.Network) -> Data:
    """A set's features for its pictures; they are kept, and mapped from disk."""
    path = CACHE.parent / "features" / f"{network.weights}-{identity(data)}.npy"
    if not path.exists():
        file = io.BytesIO()
        np.save(file, fid.features(data[0], network))
        write(path, file.getbuffer())
    return np.load(path, mmap_mode="r"), data[1]
