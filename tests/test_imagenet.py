"""ImageNet-100 and its stand-ins: the paper's list, the sets of Table 1, and reading folders."""

import numpy as np
import pytest
import skimage
from PIL import Image
from torchvision.datasets import ImageFolder

from rldf_utils import grammar, imagenet, images, outside, perceive
from rldf_utils.tiny import world

AMBIGUOUS = {"bonnet", "wing", "reel", "chime", "iron", "pirate", "mortarboard", "boxer", "papillon", "tub"}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setattr(imagenet, "CACHE", tmp_path / "cache" / "images")


def test_the_paper_s_hundred_classes():
    table = imagenet.classes("paper")
    assert len(table) == 100 and table["class_id"].is_unique and table["noun"].is_unique
    assert table["class_id"].str.fullmatch(r"n\d{8}").all() and table["class_id"].is_monotonic_increasing
    assert set(table["label"][table["ambiguous"]]) == AMBIGUOUS
    pairs = dict(zip(table["label"], table["class_id"], strict=True))
    assert pairs["robin"] == "n01558993" and pairs["stinkhorn"] == "n13040303" and pairs["boxer"] == "n02108089"
    for row in table[table["ambiguous"]].itertuples():
        assert row.noun.split("/")[0].lower() != row.label, "an ambiguous name has a name of our own"


@pytest.mark.parametrize("name", ["names", "full"])
def test_the_nouns_fit_the_grammars(name):
    words = grammar.load(name, imagenet.classes("paper")["noun"])
    assert len(words.axes["Noun"]) == 100
    for state in (0, words.size // 3, words.size - 1):
        assert words.parse(words.surface(words.encoding(state))) == words.encoding(state)


def test_the_stand_in_classes_are_the_world_s_nouns_in_the_order_of_their_ids():
    table = imagenet.classes("tiny")
    assert len(table) == 100 and table["class_id"].is_monotonic_increasing
    assert set(table["label"]) == set(world.nouns()) and not table["ambiguous"].any()


def make_folders(root, names):
    for name in names:
        (root / name).mkdir(parents=True)


def test_another_imagenet_100_is_refused_with_the_difference(tmp_path):
    wanted = list(imagenet.classes("paper")["class_id"])
    make_folders(tmp_path / "other", wanted[:8] + [f"n9999{i:04d}" for i in range(92)])
    with pytest.raises(ValueError, match=r"has 8 of the 100. Missing 92: n0\d+, .*instead 92 others: n99990000, .*imagenet100.csv"):
        imagenet.check(tmp_path / "other", wanted)
    make_folders(tmp_path / "whole", [*wanted, "n99990000"])
    imagenet.check(tmp_path / "whole", wanted)
    with pytest.raises(FileNotFoundError, match="put the set there"):
        imagenet.check(tmp_path / "none", wanted)
    make_folders(tmp_path, ["val"])
    for i in range(3):
        (tmp_path / "val" / f"ILSVRC2012_val_0000000{i}.JPEG").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"val has 3 files and no class folders.*ImageNet\('.*', split='val'\) sorts it"):
        imagenet.check(tmp_path / "val", wanted)


@pytest.mark.parametrize("name", imagenet.SETS)
def test_a_stand_in_set_is_the_same_for_ever_and_varied(name):
    pictures = [imagenet.picture(name, "dog", np.random.default_rng(i)) for i in range(12)]
    assert all(p.shape == (64, 64, 3) and p.dtype == np.uint8 for p in pictures)
    assert len({p.tobytes() for p in pictures}) == 12
    assert (imagenet.picture(name, "dog", np.random.default_rng(3)) == pictures[3]).all()


def test_the_sets_differ_as_their_names_say():
    def mean(name, noun="dog"):
        return np.stack([imagenet.picture(name, noun, np.random.default_rng(i)) for i in range(20)]).astype(float)

    photos, sketches = mean("IN"), mean("Sketch")
    assert sketches.std(-1).mean() < 0.2 * photos.std(-1).mean(), "line drawings have hardly any colour"
    assert (mean("Im-O", "dog") == mean("Im-O", "banana")).all(), "Im-O shows none of the nouns"
    assert not set(imagenet.OTHERS) & {glyph for glyph, _ in world.nouns().values()}
    hard = mean("Im-A")
    assert all((h != p).mean() > 0.05 for h, p in zip(hard, photos, strict=True)), "each is another picture than the photo"
    with pytest.raises(ValueError, match="set = 'ImageNet-V2' is not known"):
        imagenet.picture("ImageNet-V2", "dog", np.random.default_rng(0))


def test_arrays_are_imagefolder_s_in_imagefolder_s_order(tmp_path):
    table = imagenet.classes("tiny").iloc[[70, 3, 40]]
    folder = imagenet.folder("tiny", "IN", "val", table, tmp_path, 2)
    pixels, labels, names = imagenet.arrays(folder, 64)
    theirs = ImageFolder(folder)
    assert names == theirs.classes and labels.tolist() == theirs.targets
    assert all((np.asarray(theirs[i][0]) == pixels[i]).all() for i in range(6))
    assert isinstance(pixels, np.memmap) and not pixels.flags.writeable
    some, few, _ = imagenet.arrays(folder, 32, classes=names[1:])
    assert some.shape == (4, 32, 32, 3) and few.tolist() == [0, 0, 1, 1]


def test_arrays_are_read_once_and_anew_after_a_change(tmp_path, monkeypatch):
    folder = imagenet.folder("tiny", "IN", "val", imagenet.classes("tiny").iloc[:2], tmp_path, 2)
    first, _, _ = imagenet.arrays(folder, 64)
    reads = []
    real = images.read_image
    monkeypatch.setattr(images, "read_image", lambda path: reads.append(path) or real(path))
    imagenet.arrays(folder, 64)
    assert not reads
    sorted(folder.rglob("*.png"))[0].unlink()
    assert len(imagenet.arrays(folder, 64)[0]) == 3 and len(reads) == 3


def test_scaling_keeps_the_middle_of_the_shorter_side():
    image = np.zeros((20, 60, 3), np.uint8)
    image[:, 20:40] = 200
    assert abs(imagenet.scaled(image, 10)[:, 1:-1].astype(int) - 200).max() < 4


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no images in folders named by class"):
        imagenet.arrays(tmp_path, 64)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        imagenet.arrays(tmp_path / "none", 64)


def test_a_folder_without_images_is_no_class_and_a_class_without_is_an_error(tmp_path):
    folder = imagenet.folder("tiny", "IN", "val", imagenet.classes("tiny").iloc[:2], tmp_path, 2)
    names = imagenet.class_folders(folder)
    make_folders(folder, ["docs", "1"])
    (folder / "docs" / "licence.pdf").write_bytes(b"x")
    with pytest.warns(UserWarning, match="val holds 1 files that are not taken for images: docs/licence.pdf"):
        _, labels, found = imagenet.arrays(folder, 16)
    assert found == names and labels.tolist() == [0, 0, 1, 1]
    with pytest.raises(FileNotFoundError, match="val has no images of 1 classes: 1$"):
        imagenet.arrays(folder, 16, [*names, "1"])


def test_imagenet_s_odd_files(tmp_path):
    """It holds a PNG named .JPEG and JPEGs in CMYK, which every reader of it must take."""
    (tmp_path / "n02105855").mkdir()
    Image.new("RGB", (20, 20), (9, 99, 199)).save(tmp_path / "n02105855" / "n02105855_2933.JPEG", "PNG")
    Image.new("CMYK", (20, 20), (0, 255, 255, 0)).save(tmp_path / "n02105855" / "n02105855_3000.JPEG", "JPEG", quality=95)
    Image.new("L", (20, 20), 50).save(tmp_path / "n02105855" / "n02105855_4000.JPEG", "JPEG")
    pixels, _, _ = imagenet.arrays(tmp_path, 16)
    assert np.abs(pixels.astype(int).mean((1, 2)) - [(9, 99, 199), (255, 0, 0), (50, 50, 50)]).max() <= 4


def test_at_paper_scale_the_users_folder_is_checked(tmp_path, monkeypatch):
    monkeypatch.setattr(imagenet, "DATA", tmp_path)
    with pytest.raises(FileNotFoundError, match="imagenet100/train is missing"):
        imagenet.folder("paper", "IN", "train", imagenet.classes("tiny"), tmp_path, 1)
    make_folders(tmp_path / "raw" / "imagenet-o", ["n00000001"])
    assert imagenet.folder("paper", "Im-O", "val", imagenet.classes("tiny"), tmp_path, 1).name == "imagenet-o"


def test_the_first_pictures_of_each_class_are_inputs_and_one_is_enough(tmp_path):
    table = imagenet.classes("tiny").iloc[[3, 40]]
    root = imagenet.folder("tiny", "IN", "train", table, tmp_path, 4)
    found = imagenet.first(root, table["class_id"], 3)
    assert list(found) == list(table["class_id"]) and [len(part) for part in found.values()] == [3, 3]
    same = zip(imagenet.inputs("tiny", table, 3), [image for part in found.values() for image in part], strict=True)
    assert all((a == b).all() for a, b in same), "those of a class that is cloned are files, the same ones"
    assert [len(part) for part in imagenet.first(root, table["class_id"], 9).values()] == [4, 4]
    (root / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no images of 1 classes: empty"):
        imagenet.first(root, ["empty"], 3)


def test_the_real_set_has_three_splits_and_the_others_one(tmp_path, monkeypatch):
    table = imagenet.classes("tiny").iloc[:2]
    real = imagenet.sets("tiny", table, tmp_path, {"train": 3, "val": 1, "test": 2}, 1)
    assert {split: len(list(path.rglob("*.png"))) for split, path in real.items()} == {"train": 6, "val": 2, "test": 4}
    assert {name: len(list((tmp_path / name / "all").rglob("*.png"))) for name in imagenet.SETS if name != "IN"} == dict.fromkeys(
        ("Sketch", "Im-R", "Im-A", "Im-O"), 2
    )
    pixels = [p.read_bytes() for path in real.values() for p in path.rglob("*.png")]
    assert len(set(pixels)) == 12, "no picture is in two splits"
    monkeypatch.setattr(imagenet, "DATA", tmp_path)
    for part in ("imagenet100/train", "imagenet100/val"):  # the sets around it are notebook 8's business
        make_folders(tmp_path / "raw" / part, table["class_id"])
    paper = imagenet.sets("paper", table, tmp_path, {}, 0)
    assert [paper[split].name for split in ("train", "val", "test")] == ["train", "val", "val"], "ImageNet keeps its test labels"


def test_rows_are_taken_evenly():
    table = imagenet.classes("tiny")
    assert imagenet.evenly(table, 100).equals(table)
    assert imagenet.evenly(table, 3)["class_id"].tolist() == table["class_id"].iloc[[0, 49, 99]].tolist()


# A folder of one's own.


@pytest.fixture
def own(tmp_path):
    """Two classes of the small world and one of noise, in the formats that such folders hold."""
    rng, root = np.random.default_rng(5), tmp_path / "mine"
    make_folders(root, ["Hunde", "a car", "noise"])
    for i in range(3):
        dog, car = (Image.fromarray(imagenet.picture("IN", noun, np.random.default_rng(i))) for noun in ("dog", "car"))
        if i == 0:
            exif = Image.Exif()
            exif[274] = 6  # to be turned by a quarter to the right
            dog.rotate(90, expand=True).save(root / "Hunde" / f"{i}.JPEG", quality=95, exif=exif)
            car.convert("L").save(root / "a car" / f"{i}.png")
        else:
            dog.convert("CMYK").save(root / "Hunde" / f"{i}.JPG", "JPEG", quality=95)
            car.resize((300, 300)).save(root / "a car" / f"{i}.jpeg", quality=90)
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(root / "noise" / f"{i}.png")
    (root / "a car" / "notes.txt").write_text("x")
    return root


@pytest.mark.filterwarnings("ignore:a car holds 1 files")
def test_a_folder_of_one_s_own_is_read_as_people_keep_them(own):
    table = imagenet.own_classes(str(own))
    assert table["class_id"].tolist() == table["label"].tolist() == ["Hunde", "a car", "noise"]
    assert imagenet.sets("tiny", table, own, {}, 0, str(own)) == {"train": own}
    inputs = imagenet.first(own, table["class_id"], 3)
    turned = imagenet.picture("IN", "dog", np.random.default_rng(0)).astype(int)
    assert abs(inputs["Hunde"][0] - turned).mean() < 8, "turned as its EXIF says"
    assert abs(inputs["Hunde"][1] - imagenet.picture("IN", "dog", np.random.default_rng(1)).astype(int)).mean() < 25, "CMYK"
    assert (inputs["a car"][0].std(-1) == 0).all() and inputs["a car"][1].shape == (300, 300, 3)
    for folder in (own / "none", own / "a car"):
        with pytest.raises(FileNotFoundError, match="INPUT = .* is no folder that holds one folder of pictures per class"):
            imagenet.own_classes(str(folder))
    (own / "car (2)").mkdir()
    with pytest.raises(ValueError, match=r"the class of INPUT = .*mine' 'car \(2\)' cannot name a folder: use text"):
        imagenet.own_classes(str(own))


@pytest.mark.filterwarnings("ignore:a car holds 1 files")
def test_a_class_unlike_anything_known_is_warned_of(own):
    table, clip = imagenet.own_classes(str(own)), perceive.Clip("tiny-clip")
    inputs = imagenet.first(own, table["class_id"], 3)
    with pytest.warns(outside.OutsideWarning, match="the class noise looks unlike the small world's pictures") as caught:
        assert imagenet.unlike(inputs, clip) == ["noise"]
    assert len(caught) == 1
    photos = [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea()]
    with pytest.warns(outside.OutsideWarning, match="the class photos"):
        assert imagenet.unlike({"photos": photos}, clip) == ["photos"]
    clip.renders_only = False
    assert imagenet.unlike(inputs, clip) == []


def test_no_class_of_the_small_world_is_warned_of():
    table, clip = imagenet.evenly(imagenet.classes("tiny"), 12), perceive.Clip("tiny-clip")
    for name in ("IN", "Sketch", "Im-R"):
        inputs = {n: [imagenet.picture(name, n.split("/")[0], np.random.default_rng([7, i])) for i in range(3)] for n in table["noun"]}
        assert imagenet.unlike(inputs, clip) == [], name
