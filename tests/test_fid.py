"""FID and KID: closed forms against clean-fid, torchmetrics and the definitions."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from cleanfid import fid as cleanfid
from PIL import Image
from scipy.linalg import sqrtm
from scipy.stats import t as student
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
        error = sum((len(p) - 1) * np.var(p) for p in parts) ** 0.5 * student.ppf(0.975, len(x) + len(y) - 2)
        assert (low, high) == pytest.approx((value - error, value + error), rel=1e-6)


def test_clean_fid_s_subsets_tend_to_kernel():
    x, y = pair(5, 300, 300, 16)
    np.random.seed(0)
    value, low, high = fid.kernel(x, y)
    assert low < cleanfid.kernel_distance(x, y, num_subsets=400, max_subset_size=150) < high and low > 0


@pytest.mark.parametrize("block", [7, 700, 2048, 5000])
def test_kernel_s_blocks_add_up_to_the_whole(block):
    x, y = pair(3, min(3000, 300 * block), 2500, 8)
    for other in (y, x):
        whole = (x @ other.T / 8 + 1) ** 3
        for ours, wanted in zip(fid._sums(x, other, block), (whole.sum(1), whole.sum(0)), strict=True):
            assert ours == pytest.approx(wanted, rel=1e-12)


def test_kernel_is_the_whole_s_to_1e_12():
    x, y = pair(3, 3000, 2800, 8)
    xx, yy, xy = ((a @ b.T / 8 + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    n, m = len(x), len(y)
    whole = (xx.sum() - xx.trace()) / (n * (n - 1)) + (yy.sum() - yy.trace()) / (m * (m - 1)) - 2 * xy.mean()
    assert fid.kernel(x, y).value == pytest.approx(whole, rel=1e-12)


def test_kernel_of_40_000_images_needs_no_memory_for_their_pairs():
    """In a process that may take 1 GB more than it has; the three kernel matrices would take 38."""
    code = """
import resource
import numpy as np
from rldf_utils import fid
x, y = (np.random.default_rng(seed).normal(size=(40_000, 16)).astype(np.float32) for seed in (0, 1))
fid.kernel(x[:50], y[:50])  # BLAS has its buffers
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 10**9,) * 2)
print(fid.kernel(x, y).value)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    assert run.returncode == 0 and abs(float(run.stdout)) < 1e-3, run.stderr[-500:]


# The jackknife, on Gaussians whose FID is known.


def gaussians(case: str, d: int) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Roots of two covariances, the shift of each coordinate, and the true FID by the definition."""
    fading = np.diag(1 / np.arange(1, d + 1))  # principal components fade so, or quicker
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(d, d)))[0]
    one, other, shift = {"same": (fading, fading, 0.0), "near": (fading, 1.2 * fading, 0.05),
                         "far": (fading, turn @ fading @ turn.T, 0.1), "white": (np.eye(d), 1.5 * np.eye(d), 0.2)}[case]  # fmt: skip
    a, b = np.linalg.cholesky(one), np.linalg.cholesky(other)
    true = d * shift**2 + np.trace(one + other) - 2 * np.sqrt(np.linalg.eigvalsh(a.T @ other @ a)).sum()
    return a, b, shift, true


def coverage(case: str, n: int, d: int, runs: int) -> tuple[float, float]:
    """Share of runs whose interval holds the true FID; mean error of the value, in units of the mean half interval."""
    a, b, shift, true = gaussians(case, d)
    rng, found = np.random.default_rng(n), []
    for _ in range(runs):
        found.append(tuple(fid.jackknife(fid.frechet, rng.normal(size=(n, d)) @ a.T, rng.normal(size=(n, d)) @ b.T + shift)))
    value, low, high = np.array(found).T
    assert (low <= value).all() and (value <= high).all()
    return ((low <= true) & (true <= high)).mean(), (value.mean() - true) / (high - low).mean() * 2


@pytest.mark.parametrize("n", [200, 500])
def test_the_jackknife_s_interval_holds_the_true_fid_as_often_as_it_says(n):
    """Of 1,000 runs per case it held it in 99.2, 97.2, 95.2 and 97.8 % at n = 200, in 99.1, 96.5, 94.6 and 96.7 % at n = 500.

    The value is off by no more than a tenth of half the interval.
    """
    runs = 100
    shares, errors = zip(*(coverage(case, n, 64, runs) for case in ("same", "near", "far", "white")), strict=True)
    assert 0.92 <= np.mean(shares) <= 0.99 and min(shares) >= 0.9, shares
    assert max(map(abs, errors)) < 0.2, errors


def test_with_fewer_images_than_features_no_interval_holds_the_true_fid():
    """Two halves of one distribution in 1,280 dimensions, n = 500: true FID 0; as it is and by the jackknife far above."""
    rng = np.random.default_rng(0)
    for _ in range(2):
        x, y = rng.normal(size=(2, 500, 1280))
        value, low, high = fid.jackknife(fid.frechet, x, y, groups=4)
        assert 0 < low and value > 100 and fid.frechet(x, y) > 500


def test_two_halves_of_one_distribution_are_at_distance_0_on_components_of_a_third():
    x, y = pair(7, 1000, 1500, 128)
    ours, other, third = y[:500], y[500:1000], y[1000:]
    basis = fid.components(third, 32)
    value, low, high = fid.jackknife(fid.frechet, ours @ basis, other @ basis)
    assert low < 0 < high and fid.frechet(ours @ basis, other @ basis) > high, "as it is, FID is mostly bias"
    assert fid.kernel(ours, other).value == pytest.approx(0, abs=fid.kernel(ours, other).half)
    away, away_low, _ = fid.jackknife(fid.frechet, x[:500] @ basis, ours @ basis)
    assert away_low > high


def test_the_jackknife_is_its_definition():
    """On a statistic of two numbers a set: means of squares, whose bias is known."""
    x, y = pair(11, 40, 60, 2)
    square = lambda x, y: float(((x.mean(0) - y.mean(0)) ** 2).sum())  # noqa: E731
    estimate = fid.jackknife(square, x, y, groups=20)
    parts = [[square(x[np.arange(40) % 20 != g], y) for g in range(20)], [square(x, y[np.arange(60) % 20 != g]) for g in range(20)]]
    value = square(x, y) - sum(19 * (np.mean(part) - square(x, y)) for part in parts)
    error = sum(19 * np.var(part) for part in parts) ** 0.5
    assert tuple(estimate) == pytest.approx((value, value - 2.024394 * error, value + 2.024394 * error), rel=1e-5), "t of 38 degrees"
    by_image = fid.jackknife(square, x, y[:40], groups=40)
    unbiased = square(x, y[:40]) - x.var(0, ddof=1).sum() / 40 - y[:40].var(0, ddof=1).sum() / 40
    assert by_image.value == pytest.approx(unbiased), "leaving out one image at a time takes the bias off a square to the last digit"


def test_the_difference_of_two_estimates_leaves_what_they_share_out_of_both_at_once():
    x, y = pair(12, 100, 100, 3)
    z = y + 0.05 * np.random.default_rng(0).normal(size=y.shape)
    to_y, to_z = fid.jackknife(fid.frechet, x, y, ("x", "y")), fid.jackknife(fid.frechet, x, z, ("x", "z"))
    difference = to_y - to_z
    assert difference.value == pytest.approx(to_y.value - to_z.value)
    shared = to_y.shifts["x"] - to_z.shifts["x"]
    parts = (shared, to_y.shifts["y"], to_z.shifts["z"])
    assert difference.half == pytest.approx(student.ppf(0.975, 57) * sum(19 * p.var() for p in parts) ** 0.5)
    unpaired = fid.jackknife(fid.frechet, x, y, ("x", "y")) - fid.jackknife(fid.frechet, x, z, ("another x", "z"))
    assert difference.half < unpaired.half
    assert tuple(to_y - to_y) == (0, 0, 0)


def test_a_set_has_no_distance_to_itself_and_groups_are_filled():
    x, y = pair(0, 10, 10, 4)
    for distance in (fid.kernel, lambda *given: fid.jackknife(fid.frechet, *given, groups=5)):
        with pytest.raises(ValueError, match="both sets are 'IN'; a set's distance to itself is 0"):
            distance(x, y, ("IN", "IN"))
    with pytest.raises(ValueError, match="10 and 10 images do not fill 20 groups"):
        fid.jackknife(fid.frechet, x, y)


def test_components_are_the_directions_of_most_variance():
    x, y = pair(1, 200, 150, 12)
    basis = fid.components(x, 5)
    values, vectors = np.linalg.eigh(np.cov(x.T))
    assert basis.T @ basis == pytest.approx(np.eye(5), abs=1e-12) and (x @ basis).var(0, ddof=1) == pytest.approx(values[::-1][:5])
    assert abs((basis * vectors[:, ::-1][:, :5]).sum(0)) == pytest.approx(np.ones(5))
    assert fid.frechet(x @ basis, y @ basis) < fid.frechet(x, y)
    for count in (0, 13):
        with pytest.raises(ValueError, match=f"a reference of 200 images with 12 features has no {count} components"):
            fid.components(x, count)


@pytest.mark.parametrize("function", [fid.frechet, fid.kernel])
def test_bad_features_are_refused(function):
    x, y = pair(0, 10, 10, 4)
    with pytest.raises(ValueError, match="at least [23] images"):
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


def test_without_a_network_it_says_where_the_weights_go(monkeypatch, tmp_path):
    monkeypatch.setattr(fid, "CACHE", tmp_path / "images")
    monkeypatch.setattr(fid, "inception_url", (tmp_path / "none.pt").as_uri())
    monkeypatch.setattr(fid.results, "device", lambda scale: "cpu")
    with pytest.raises(ConnectionError, match=r"none.pt cannot be fetched .*put it at .*inception-2015-12-05.pt"):
        fid.network("paper")


@pytest.fixture
def looked(net, monkeypatch, tmp_path):
    """A folder's survey; what is kept is kept in the test's own folder."""
    monkeypatch.setattr(fid, "CACHE", tmp_path / "cache" / "images")
    return lambda folder: fid.survey(fid.listed(folder), net)


def test_features_of_a_folder_are_those_of_its_images(folders, net, looked, monkeypatch):
    with pytest.warns(fid.FewImages, match="train: 6 images for 1280 features; FID is mostly bias"):
        ours = looked(folders[0])
    pixels = [np.asarray(Image.open(file)) for file in sorted(folders[0].rglob("*.png"))]
    assert ours.features.shape == (6, 1280) and (ours.features == fid.features(pixels, net)).all()
    assert str(ours) == "n = 6; 64 x 64 px; png"
    monkeypatch.setattr(fid, "read_images", None)
    with pytest.warns(fid.FewImages, match="mostly bias"):
        again = looked(folders[0])
    assert again == ours and (again.features == ours.features).all(), "read once"


def test_the_feature_network_knows_its_weights(net):
    assert net.name == "EfficientNet-Lite0" and len(net.weights) == 8
    with pytest.raises(ValueError, match="is not the file with sha256 f58cb9b6ec32"):
        fid._approved(b"forged", fid.INCEPTION, "somewhere")
    assert fid._approved(b"a", hashlib.sha256(b"a").hexdigest(), "somewhere") == b"a"


def test_broken_images_are_named_and_counted(folders, looked):
    first = sorted(folders[0].rglob("*.png"))[0]
    first.write_bytes(first.read_bytes()[:-400])
    (first.parent / "notes.jpg").write_text("no image")
    for look in (looked, lambda folder: imagenet.arrays(folder, 64)):
        with pytest.raises(ImageError, match=rf"2 of 7 files of .* cannot be read: .*{first.name} is damaged.*notes.jpg is not an image"):
            look(folders[0])


@pytest.mark.filterwarnings("ignore::rldf_utils.fid.FewImages")
def test_mixed_sizes_and_grey_are_said(folders, looked):
    paths = sorted(folders[0].rglob("*.png"))
    Image.new("L", (20, 30), 128).save(paths[0])
    Image.new("RGB", (90, 80), "red").save(paths[1].with_suffix(".jpg"))
    assert str(looked(folders[0])) == str(looked(folders[0])) == "n = 7, 1 of them grey; 20 x 30 to 90 x 80 px; jpeg/png"


def test_too_few_images_or_no_folder(tmp_path):
    with pytest.raises(ValueError, match="has 0 images; a distance needs at least 2"):
        fid.listed(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder"):
        fid.listed(tmp_path / "none")
