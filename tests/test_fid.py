"""FID and KID: closed forms against clean-fid, torchmetrics and the definitions."""

import hashlib
import warnings

import numpy as np
import pytest
import torch
from cleanfid import fid as cleanfid
from PIL import Image
from scipy.linalg import sqrtm
from torchmetrics.image.fid import FrechetInceptionDistance

from rldf_utils import fid, imagenet
from rldf_utils.perceive import ImageError


def pair(seed: int, n: int = 0, m: int = 0, d: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of features like a network's: positive, correlated, of different means."""
    rng = np.random.default_rng(seed)
    d = d or int(rng.integers(2, 48))
    n, m = n or int(rng.integers(d + 2, 200)), m or int(rng.integers(d + 2, 200))
    mix = rng.normal(size=(d, d)) / d**0.5
    x, y = (np.maximum(rng.normal(size=(k, d)) @ mix + rng.normal(size=d), 0) + 0.1 * rng.normal(size=(k, d)) for k in (n, m))
    return x, y


def by_clean_fid(x, y):
    return cleanfid.frechet_distance(x.mean(0), np.cov(x, rowvar=False), y.mean(0), np.cov(y, rowvar=False))


def by_torchmetrics(x, y):
    class Given(torch.nn.Module):
        num_features = x.shape[1]

        def forward(self, features):
            return features

    metric = FrechetInceptionDistance(feature=Given()).set_dtype(torch.float64)
    metric.update(torch.from_numpy(x), real=True)
    metric.update(torch.from_numpy(y), real=False)
    return float(metric.compute())


@pytest.mark.parametrize("seed", range(100))
def test_frechet_is_clean_fid_s_and_torchmetrics(seed):
    x, y = pair(seed)
    value = fid.frechet(x, y)
    assert value == pytest.approx(by_clean_fid(x, y), rel=1e-6)
    assert value == pytest.approx(by_torchmetrics(x, y), rel=1e-6)


@pytest.mark.parametrize("n, m", [(20, 30), (20, 300), (300, 20), (64, 64), (65, 65)])
def test_frechet_with_fewer_images_than_features(n, m):
    """The definition by a symmetric square root, which is exact for singular covariances too."""
    x, y = pair(0, n, m, 64)
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    values, vectors = np.linalg.eigh(a)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ b @ root).clip(0)).sum()
    wanted = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a) + np.trace(b) - 2 * cross
    assert fid.frechet(x, y) == pytest.approx(wanted, rel=1e-6)


def test_frechet_of_gaussians_in_one_dimension():
    x, y = np.array([[0.0], [2.0]]), np.array([[5.0], [5.0 + 18**0.5]])
    mean = (1 - (5 + 18**0.5 / 2)) ** 2
    assert fid.frechet(x, y) == pytest.approx(mean + (2**0.5 - 3) ** 2)


@pytest.mark.parametrize("seed", range(20))
def test_frechet_of_a_set_to_itself_is_zero(seed):
    x, _ = pair(seed, n=40, d=64)
    assert abs(fid.frechet(x, x)) <= 1e-10
    assert abs(fid.frechet(x, x[::-1])) <= 1e-10, "the order of the images does not matter"


def test_frechet_with_constant_and_doubled_features():
    x, y = pair(3, 200, 150, 20)
    x, y = (np.concatenate([z, np.zeros((len(z), 1)), z[:, :2]], axis=1) for z in (x, y))
    root = sqrtm(np.cov(x, rowvar=False) @ np.cov(y, rowvar=False)).real
    wanted = ((x.mean(0) - y.mean(0)) ** 2).sum() + x.var(0, ddof=1).sum() + y.var(0, ddof=1).sum() - 2 * np.trace(root)
    assert fid.frechet(x, y) == pytest.approx(wanted, rel=1e-5)


def direct_kid(x, y):
    """The definition, pair by pair."""
    d = x.shape[1]
    k = lambda a, b: (float(a @ b) / d + 1) ** 3  # noqa: E731
    xx = np.mean([k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
    yy = np.mean([k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j])
    return xx + yy - 2 * np.mean([k(a, b) for a in x for b in y])


@pytest.mark.parametrize("seed", range(100))
def test_kernel_is_the_direct_formula_and_its_interval_the_jackknife(seed):
    rng = np.random.default_rng(seed)
    x, y = pair(seed, int(rng.integers(3, 12)), int(rng.integers(3, 12)))
    value, low, high = fid.kernel(x, y)
    assert value == pytest.approx(direct_kid(x, y), rel=1e-9, abs=1e-12)
    if seed < 10:
        parts = [[direct_kid(np.delete(x, i, 0), y) for i in range(len(x))], [direct_kid(x, np.delete(y, i, 0)) for i in range(len(y))]]
        error = 1.96 * sum((len(p) - 1) * np.var(p) for p in parts) ** 0.5
        assert (low, high) == pytest.approx((value - error, value + error), rel=1e-6)


def test_clean_fid_s_subsets_tend_to_kernel():
    x, y = pair(5, 300, 300, 16)
    np.random.seed(0)
    value, low, high = fid.kernel(x, y)
    assert low < cleanfid.kernel_distance(x, y, num_subsets=400, max_subset_size=150) < high and low > 0


def test_kernel_is_unbiased_where_frechet_is_not():
    """Two samples of one distribution: KID's interval holds 0, FID is far above it and falls with n."""
    x, y = pair(7, 4000, 4000, 32)
    same, other = x[:2000], x[2000:]
    value, low, high = fid.kernel(same, other)
    assert low < 0 < high
    curve = fid.bias_curve(same[:300], other[:300], np.random.default_rng(0))
    assert curve["fid"].is_monotonic_decreasing and curve["n"].iloc[-1] == 300 and (curve["fid"] > 5 * curve["spread"])[:-1].all()
    assert abs(fid.extrapolated(curve)) < 0.2 * curve["fid"].iloc[-1]


@pytest.mark.parametrize("function", [fid.frechet, fid.kernel])
def test_bad_features_are_refused(function):
    x, y = pair(0, 10, 10, 4)
    with pytest.raises(ValueError, match="at least 2 images"):
        function(x[:1], y)
    with pytest.raises(ValueError, match="one dimension"):
        function(x[:, :3], y)
    with pytest.raises(ValueError, match="NaN"):
        function(x * np.nan, y)


# Folders.


@pytest.fixture
def folders(tmp_path):
    table = imagenet.classes("tiny").iloc[:2]
    return [imagenet.folder("smoke", "IN", split, table, tmp_path, 3) for split in ("train", "val")]


@pytest.fixture(scope="module")
def net():
    return fid.network("tiny")


def test_features_of_a_folder_are_those_of_its_images(folders, net, monkeypatch, tmp_path):
    monkeypatch.setattr(fid, "CACHE", tmp_path / "cache" / "images")
    pixels, _, _ = imagenet.arrays(folders[0], 64)
    with pytest.warns(UserWarning, match="6 images for 1280 features; FID is mostly bias"):
        ours = fid.features(fid.survey(folders[0]), net)
    assert ours.shape == (6, 1280) and np.allclose(ours, fid.features(list(pixels), net), atol=1e-4)
    calls = []
    monkeypatch.setattr(fid, "_extract", lambda *_: calls.append(1))
    with pytest.warns(UserWarning, match="mostly bias"):
        assert (fid.features(fid.survey(folders[0]), net) == ours).all() and not calls, "extracted once"


def test_the_feature_network_knows_its_weights(net):
    assert net.name == "EfficientNet-Lite0" and len(net.weights) == 8
    with pytest.raises(ValueError, match="is not the file with sha256 f58cb9b6ec32"):
        fid._approved(b"forged", fid.INCEPTION, "somewhere")
    assert fid._approved(b"a", hashlib.sha256(b"a").hexdigest(), "somewhere") == b"a"


def test_distance_says_what_stands_beside_it(folders, net):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        row = fid.distance(*map(fid.survey, folders), net, np.random.default_rng(0), draws=4)
    assert row["fid"] > 0 and row["kid_low"] < row["kid"] < row["kid_high"] and row["network"] == "EfficientNet-Lite0"
    assert row["images"] == "n = 6; 64 x 64 px; png" and row["n"] == row["n_other"] == 6


def test_a_folder_to_itself_is_refused(folders, net):
    with pytest.raises(ValueError, match="both sets are the folder"):
        fid.distance(fid.survey(folders[0]), fid.survey(folders[0]), net, np.random.default_rng(0))


def test_broken_images_are_named_and_counted(folders):
    first = sorted(folders[0].rglob("*.png"))[0]
    first.write_bytes(first.read_bytes()[:-400])
    (first.parent / "notes.jpg").write_text("no image")
    for look in (fid.survey, lambda folder: imagenet.arrays(folder, 64)):
        with pytest.raises(ImageError, match=rf"2 of 7 files of .* cannot be read: .*{first.name} is damaged.*notes.jpg is not an image"):
            look(folders[0])


def test_mixed_sizes_and_grey_are_said(folders):
    paths = sorted(folders[0].rglob("*.png"))
    Image.new("L", (20, 30), 128).save(paths[0])
    Image.new("RGB", (90, 80), "red").save(paths[1].with_suffix(".jpg"))
    assert str(fid.survey(folders[0])) == "n = 7, 1 of them grey; 20 x 30 to 90 x 80 px; jpeg/png"


def test_too_few_images_or_no_folder(tmp_path):
    with pytest.raises(ValueError, match="has 0 images; a distance needs at least 2"):
        fid.survey(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder"):
        fid.survey(tmp_path / "none")
