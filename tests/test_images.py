"""Class folders as people have them."""

import os
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from rldf_utils import fid, imagenet, images
from rldf_utils.images import class_folders, image_files, read_images
from rldf_utils.perceive import ImageError


@pytest.fixture
def folder(tmp_path):
    """Two classes of three pictures, clean."""
    for c in ("n01443537", "n01484850"):
        (tmp_path / "set" / c).mkdir(parents=True)
        for i, end in enumerate(("jpg", "JPEG", "png")):
            pixels = np.random.default_rng(i).integers(0, 255, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / c / f"art_{i}.{end}")
    return tmp_path / "set"


def litter(folder):
    """What lies in and beside class folders: of archives, file managers, tools and people."""
    (folder / "README.txt").write_text("what the classes mean\n")
    (folder / "n01443537" / "Thumbs.db").write_bytes(b"x")
    (folder / "n01443537" / "art_0.jpg.json").write_text("{}")
    (folder / "n01443537" / ".DS_Store").write_bytes(b"x")
    (folder / "n01443537" / "._art_0.jpg").write_bytes(b"x")
    (folder / "__MACOSX" / "n01443537").mkdir(parents=True)
    (folder / "__MACOSX" / "n01443537" / "a.jpg").write_bytes(b"x")
    (folder / ".git").mkdir()
    (folder / ".git" / "a.png").write_bytes(b"x")


def test_clean_folders_say_nothing(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files = image_files(folder)
    assert [p.relative_to(folder).as_posix() for p in files] == [
        f"{c}/art_{i}" for c in ("n01443537", "n01484850") for i in ("0.jpg", "1.JPEG", "2.png")
    ]
    assert class_folders(folder) == ["n01443537", "n01484850"]
    assert image_files(folder, ["n01484850"]) == files[3:] == image_files(folder / "n01484850")


def test_whatever_else_lies_there_is_named_once_and_changes_nothing(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(imagenet, "CACHE", tmp_path / "cache" / "images")
    files = image_files(folder)
    pixels, labels, names = imagenet.arrays(folder, 16)
    litter(folder)
    with pytest.warns(UserWarning, match="holds 2 files that are not taken for images: README.txt, n01443537/.*") as caught:
        assert image_files(folder) == files
    assert len(caught) == 1 and class_folders(folder) == names
    with pytest.warns(UserWarning, match="not taken for images"):
        assert fid.listed(folder) == files
    with pytest.warns(UserWarning, match="holds 1 files"):
        again = imagenet.arrays(folder, 16)
    assert (again[0] == pixels).all() and (again[1] == labels).all() and again[2] == names
    assert labels.tolist() == [0, 0, 0, 1, 1, 1]
    imagenet.check(folder, names)


def test_a_broken_image_is_still_an_error(folder):
    (folder / "n01443537" / "art_0.jpg").write_bytes(b"no image")
    with pytest.raises(ImageError, match="1 of 6 files"):
        list(read_images(image_files(folder), folder))


def test_many_images_are_read_by_several_processes_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "FEW", 100)
    for i in range(150):
        Image.new("RGB", (8 + i, 10), (i, 0, 0)).save(tmp_path / f"{i:03d}.png")
    state, files = torch.get_rng_state(), image_files(tmp_path)
    found = list(read_images(files, tmp_path, _first))
    assert [(red, width) for red, width, _ in found] == [(i, 8 + i) for i in range(150)]
    assert os.getpid() not in {worker for *_, worker in found} and torch.equal(torch.get_rng_state(), state)
    for i in (3, 77):
        (tmp_path / f"{i:03d}.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match="2 of 150 files of .* cannot be read: .*003.png is not an image.*077.png"):
        list(read_images(files, tmp_path, _first))


def _first(image: np.ndarray) -> tuple[int, int, int]:
    return int(image[0, 0, 0]), image.shape[1], os.getpid()


def test_a_missing_class_is_named(folder):
    with pytest.raises(FileNotFoundError, match="there is no folder .*n9"):
        image_files(folder, ["n01443537", "n9"])


def test_links_are_followed_and_a_loop_ends(folder, tmp_path):
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "n01443537").symlink_to(folder / "n01443537")
    (linked / "n01484850").mkdir()
    (linked / "n01484850" / "inside").symlink_to(folder / "n01484850")
    (linked / "n01484850" / "again").symlink_to(linked)
    (linked / "n01484850" / "other.png").symlink_to(folder / "n01443537" / "art_2.png")
    names = [p.relative_to(linked).as_posix() for p in image_files(linked)]
    assert names == [f"n01443537/art_{i}" for i in ("0.jpg", "1.JPEG", "2.png")] + [
        f"n01484850/{p}" for p in ("inside/art_0.jpg", "inside/art_1.JPEG", "inside/art_2.png", "other.png")
    ]
    assert len(fid.listed(linked)) == 7 and class_folders(linked) == ["n01443537", "n01484850"]


def test_links_to_nothing_are_counted_and_named(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(imagenet, "CACHE", tmp_path / "cache" / "images")
    (folder / "n01443537" / "gone.jpg").symlink_to(folder / "moved.jpg")
    for look in (image_files, fid.listed, lambda f: imagenet.arrays(f, 16)):
        with pytest.raises(FileNotFoundError, match="1 of 7 images of .* are links to nothing: n01443537/gone.jpg"):
            look(folder)


def test_flat_folders(folder):
    (folder / "n01443537" / "notes.txt").write_text("x")
    with pytest.warns(UserWarning, match="n01443537 holds 1 files that are not taken for images: notes.txt"):
        assert [p.name for p in image_files(folder / "n01443537")] == ["art_0.jpg", "art_1.JPEG", "art_2.png"]
