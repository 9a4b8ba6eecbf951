"""The clone: a balanced manifest, and the same bytes whatever kills the run."""

import errno
import hashlib
import http.server
import io
import itertools
import json
import multiprocessing
import os
import random
import shutil
import signal
import socketserver
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from PIL import Image
from tqdm import tqdm

from rldf_utils import clone, cluster, folders, generate, grammar, results, tasks

FULL = grammar.load("full")
CLASSES = pd.DataFrame({"class_id": ["1F34C", "1F436", "1F697"], "noun": ["banana", "dog", "car"]})
COUNTS = {"train": 9, "val": 4}
NULL = generate.Null(batch=4).recipe


def small(**options) -> pd.DataFrame:
    return clone.plan(CLASSES, FULL, COUNTS, NULL, **options)


def contents(folder: Path) -> dict[str, str]:
    """Every file of a folder with its sha256."""
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module", params=[0, 5], ids=["folders", "shards"])
def whole(request, tmp_path_factory):
    """(plan, contents) of a clone that nothing interrupted."""
    manifest, folder = small(shard=request.param), tmp_path_factory.mktemp("whole")
    clone.clone(manifest, folder, progress=None)
    return manifest, contents(folder)


def in_child(work, seconds: float | None = None) -> int:
    """Exit code of `work` in a forked process, negative for a signal; it is killed after so many seconds."""

    def alone():
        tqdm.set_lock(threading.RLock())  # its usual lock is shared with the child, and who is killed never lets go
        work()

    process = multiprocessing.get_context("fork").Process(target=alone)
    process.start()
    process.join(seconds)
    process.kill()
    process.join()
    return process.exitcode


# The plan.


def test_plan_has_each_image_once_and_a_row_says_all():
    manifest = small()
    assert len(manifest) == 3 * 13 and manifest["path"].is_unique and manifest["seed"].is_unique
    assert manifest.groupby(["class_id", "split"]).size().unstack().to_numpy().tolist() == [[9, 4]] * 3
    for row in manifest.itertuples():
        code = tuple(map(int, row.encoding.split("-")))
        assert row.prompt == FULL.surface(code) and FULL.decode(code)["Noun"] == row.noun
        assert row.path.split("/")[:2] == [row.split, row.class_id]
    assert manifest[tasks.RECIPE].drop_duplicates().to_dict("records") == [NULL]


def test_a_class_does_not_depend_on_the_others_and_seeds_matter():
    one = clone.plan(CLASSES[1:2], FULL, {"val": 4}, NULL)
    pd.testing.assert_frame_equal(one, small().query("class_id == '1F436' and split == 'val'").reset_index(drop=True))
    assert not set(small(seed=1)["seed"]) & set(small()["seed"])


def test_plan_refuses_a_class_twice_and_an_unknown_noun():
    with pytest.raises(ValueError, match="a class id twice .*: 1F436"):
        clone.plan(CLASSES.iloc[[0, 1, 1]], FULL, COUNTS, NULL)
    with pytest.raises(ValueError, match="no noun 'unicorn'"):
        clone.plan(CLASSES.assign(noun="unicorn"), FULL, COUNTS, NULL)


@pytest.mark.parametrize(
    "name", ["../x", "", ".", "..", "/x", "a/b", "a\\b", "a\0b", "a:b", ".a", " a", "a ", "a.", "x" * 81, "\u732b" * 27, "a\nb", 3, None]
)
def test_names_that_cannot_be_folders_are_refused(name):
    with pytest.raises(ValueError, match="cannot name a folder"):
        clone.plan(CLASSES.assign(class_id=[name, "b", "c"]), FULL, COUNTS, NULL)
    with pytest.raises(ValueError, match="cannot name a folder"):
        clone.plan(CLASSES, FULL, {name: 1}, NULL)


def test_names_that_readers_would_take_amiss_are_refused():
    with pytest.raises(ValueError, match="small and capital letters"):
        clone.plan(CLASSES.assign(class_id=["n01", "N01", "c"]), FULL, COUNTS, NULL)
    dotted = CLASSES.assign(class_id=["n01.v2", "n 01", "d\u00e9j\u00e0-vu+1"])
    with pytest.raises(ValueError, match="'n01.v2' has a dot"):
        clone.plan(dotted, FULL, COUNTS, NULL, shard=5)
    assert len(clone.plan(dotted, FULL, COUNTS, NULL)) == 39


@pytest.mark.parametrize("shard", [0, 5], ids=["folders", "shards"])
@pytest.mark.parametrize("name", ["x" * 80, "\u732b" * 26, "a b+c-d_e"])
def test_the_longest_names_are_made_and_found(name, shard, tmp_path):
    clone.clone(clone.plan(CLASSES.assign(class_id=[name, "b", "c"]), FULL, COUNTS, NULL, shard=shard), tmp_path, progress=None)
    assert clone.verify(tmp_path) == {"missing": [], "damaged": [], "extra": []}


def test_shards_mix_the_classes_and_hold_every_row_once():
    manifest = small(shard=5)
    assert sorted(manifest["path"]) == sorted(small()["path"])
    sizes = manifest.groupby("shard").size()
    assert sizes.to_dict() == {**{f"train-00000{i}.tar": 5 for i in range(5)}, "train-000005.tar": 2,
                               "val-000000.tar": 5, "val-000001.tar": 5, "val-000002.tar": 2}  # fmt: skip
    assert manifest.groupby("shard")["class_id"].nunique().max() > 1


def test_sentences_may_be_drawn_otherwise_and_are_read_back_as_words():
    def draw(words, noun, n, rng):
        return np.array([words.encode({axis: w[0] for axis, w in words.axes.items()} | {"Noun": noun, "Frequency": "two"})] * n)

    manifest = small(draw=draw)
    assert set(manifest["prompt"]) == {f"a photo of two {noun}s and no people in a forest" for noun in CLASSES["noun"]}
    words = clone.planned(manifest, FULL)
    assert list(words) == list(FULL.axes) and set(words["Frequency"]) == {"two"} and (words["Noun"] == manifest["noun"]).all()
    for row, code in zip(clone.planned(small(), FULL).to_dict("records"), small()["encoding"], strict=True):
        assert FULL.encode(row) == tuple(map(int, code.split("-")))


# The images.


def test_every_file_is_its_row(tmp_path):
    finished = clone.clone(small(), tmp_path, progress=None)
    pd.testing.assert_frame_equal(finished, clone.read(tmp_path))
    assert clone.verify(tmp_path) == {"missing": [], "damaged": [], "extra": []}
    model = generate.Null(batch=4)
    for _, row in finished.iterrows():
        data = (tmp_path / row["path"]).read_bytes()
        assert data == clone.remake(row) and hashlib.sha256(data).hexdigest() == row["sha256"]
        with Image.open(io.BytesIO(data)) as image:
            assert image.text == {"prompt": row["prompt"]}
            assert (np.asarray(image) == model([row["prompt"]], [row["seed"]])[0]).all()


def test_a_shard_holds_image_class_and_row(tmp_path):
    finished = clone.clone(small(shard=5), tmp_path, progress=None)
    assert clone.verify(tmp_path) == {"missing": [], "damaged": [], "extra": []}
    with tarfile.open(tmp_path / "val-000000.tar") as tar:
        names = tar.getnames()
        rows = finished[finished["shard"] == "val-000000.tar"]
        assert names == [p.removesuffix(".png") + end for p in rows["path"] for end in (".png", ".cls", ".json")]
        assert tar.extractfile(names[0]).read() == clone.remake(rows.iloc[0])
        assert tar.extractfile(names[1]).read().decode() == str(sorted(CLASSES["class_id"]).index(rows["class_id"].iloc[0]))


@pytest.fixture
def offline(monkeypatch, tmp_path):
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))


def same(row: pd.Series, image: Image.Image, label: int) -> bool:
    truth = np.asarray(Image.open(io.BytesIO(clone.remake(row))))
    return (np.asarray(image) == truth).all() and label == sorted(CLASSES["class_id"]).index(row["class_id"])


def test_webdataset_reads_the_shards_back(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    finished = clone.clone(small(shard=5), tmp_path, progress=None).set_index("path")
    tars = sorted(map(str, tmp_path.glob("*.tar")))
    samples = list(webdataset.WebDataset(tars, shardshuffle=False).decode("pil"))
    assert len(samples) == len(finished)
    for sample in samples:
        row = finished.loc[sample["json"].pop("path")]
        assert same(row, sample["png"], sample["cls"]) and sample["json"] == json.loads(row.drop("sha256").to_json())


def test_hugging_face_datasets_reads_both_layouts_back(tmp_path, offline):
    datasets = pytest.importorskip("datasets")
    for shard, builder in ((5, "webdataset"), (0, "imagefolder")):
        finished = clone.clone(small(shard=shard), tmp_path / builder, progress=None)
        where = {"data_files": {"val": str(tmp_path / builder / "val-*.tar")}} if shard else {"data_dir": str(tmp_path / builder / "val")}
        found = datasets.load_dataset(builder, **where, cache_dir=str(tmp_path / "cache"))["val" if shard else "train"]
        rows = finished[finished["split"] == "val"]
        assert len(found) == len(rows)
        for sample, (_, row) in zip(found, rows.iterrows(), strict=True):
            assert same(row, sample["png" if shard else "image"], sample["cls" if shard else "label"])
            assert not shard or sample["json"] == json.loads(row.drop("sha256").to_json())


def test_a_shard_with_a_wrong_class_or_row_is_made_again(tmp_path):
    clone.clone(small(shard=5), tmp_path, progress=None)
    path = tmp_path / "val-000000.tar"
    whole = path.read_bytes()
    with tarfile.open(path) as tar:
        places = [next(m.offset_data for m in tar if m.name.endswith(end)) for end in (".cls", ".json")]
    for at in places:
        path.write_bytes(whole[:at] + b"9" + whole[at + 1 :])
        assert clone.verify(tmp_path)["damaged"]
        clone.clone(small(shard=5), tmp_path, progress=None)
        assert path.read_bytes() == whole


def test_a_tiny_diffusion_clone_is_the_same_in_any_order(tmp_path):
    recipe = generate.Diffusers("tiny-sd-v1", steps=2).recipe
    manifest = clone.plan(CLASSES[:2], FULL, {"val": 3}, recipe)
    first = clone.clone(manifest, tmp_path / "a", progress=None)
    again = clone.clone(manifest[::-1].reset_index(drop=True), tmp_path / "b", progress=None)
    assert dict(zip(first["path"], first["sha256"], strict=True)) == dict(zip(again["path"], again["sha256"], strict=True))
    assert hashlib.sha256(clone.remake(first.iloc[4])).hexdigest() == first["sha256"][4]
    with pytest.raises(ValueError, match="holds .*; the recipe wants 0000"):
        clone.remake(first.iloc[0].replace(first["revision"][0], "0000"))


# Whatever stops a run.


@pytest.mark.parametrize("call", ["replace", "mkdir", "unlink", "write"])
def test_killed_at_every_file_system_step_it_ends_with_the_same_bytes(call, whole, tmp_path):
    manifest, wanted = whole
    for step in range(1000):
        folder = tmp_path / str(step)

        def work(folder=folder, step=step):
            calls = itertools.count()

            def deadly(original, after):
                def act(*arguments, **options):
                    if next(calls) == step:
                        if after:
                            original(*arguments, **options)
                        os.kill(os.getpid(), signal.SIGKILL)
                    return original(*arguments, **options)

                return act

            if call == "write":
                Path.mkdir(folder, exist_ok=True)
                Torn.limit = step
                tasks.write = folders.write = Torn.write
            else:
                owner = Path if call in ("unlink", "mkdir") else os
                setattr(owner, call, deadly(getattr(owner, call), after=step % 2))
            clone.clone(manifest, folder, progress=None)

        code = in_child(work)
        clone.clone(manifest, folder, progress=None)
        assert contents(folder) == wanted
        if code == 0:
            assert step > {"unlink": -1, "mkdir": 0}.get(call, 5), "the steps were met"
            return
        assert code == -signal.SIGKILL
    raise AssertionError("no end")


class Torn:
    """`results.write`, killed in the middle of the writing of one file."""

    limit = 0

    @classmethod
    def write(cls, path, content):
        if cls.limit == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
            (path.parent / f".{path.name}.torn0000").write_bytes(content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        cls.limit -= 1
        return results.write(path, content)


def test_killed_at_thirty_random_moments_it_ends_with_the_same_bytes(whole, tmp_path):
    manifest, wanted = whole
    quick, killed = generate.Null.__call__, 0

    def slow(self, prompts, seeds):
        time.sleep(0.01)
        return quick(self, prompts, seeds)

    def work():
        generate.Null.__call__ = slow
        clone.clone(manifest, folder, progress=None)

    for attempt in range(30):
        folder = tmp_path / str(attempt)
        killed += in_child(work, seconds=random.Random(attempt).uniform(0.005, 0.15)) == -signal.SIGKILL
        clone.clone(manifest, folder, progress=None)
        assert contents(folder) == wanted
    assert killed > 15


def test_nothing_is_made_twice(whole, tmp_path, monkeypatch):
    manifest, wanted = whole
    made, quick = [], generate.Null.__call__
    monkeypatch.setattr(generate.Null, "__call__", lambda self, prompts, seeds: made.extend(seeds) or quick(self, prompts, seeds))
    clone.clone(manifest, tmp_path, progress=None)
    assert sorted(made) == sorted(manifest["seed"])
    clone.clone(manifest, tmp_path, progress=None)
    assert len(made) == len(manifest), "a finished clone is only read"
    assert contents(tmp_path) == wanted


def test_a_damaged_or_lost_file_is_made_again(whole, tmp_path):
    manifest, wanted = whole
    clone.clone(manifest, tmp_path, progress=None)
    names = [name for name in wanted if name.endswith((".png", ".tar"))]
    (tmp_path / names[0]).write_bytes((tmp_path / names[0]).read_bytes()[: -700 if names[0].endswith(".tar") else -3])
    (tmp_path / names[1]).unlink()
    (tmp_path / "stranger.PNG").touch()
    found = clone.verify(tmp_path)
    assert (len(found["missing"]) + len(found["damaged"])) >= 2 and found["extra"] == ["stranger.PNG"]
    (tmp_path / "stranger.PNG").unlink()
    clone.clone(manifest, tmp_path, progress=None)
    assert contents(tmp_path) == wanted


def test_what_a_lost_worker_was_writing_is_swept_up(tmp_path, monkeypatch):
    def losing(function, tasks, *options):
        for task in tasks:
            yield function(task)
            (tmp_path / "train" / ".1F34C_000000.png.torn").touch()

    monkeypatch.setattr(clone.cluster, "over", losing)
    clone.clone(small(), tmp_path, progress=None)
    assert clone.verify(tmp_path)["extra"] == []


def test_another_image_than_the_manifest_says_is_an_error(tmp_path):
    finished = clone.clone(small(), tmp_path, progress=None)
    finished.assign(sha256="0" * 64).to_parquet(tmp_path / "manifest.parquet", index=False)
    with pytest.raises(ValueError, match="other bytes than its manifest says"):
        clone.clone(small(), tmp_path, progress=None)
    with pytest.raises(ValueError, match="other bytes than its manifest says"):
        clone.remake(finished.assign(sha256="0" * 64).iloc[0])


def test_a_file_comes_out_of_its_row_again_or_it_is_said_that_this_cannot_be_seen_here(tmp_path, monkeypatch):
    row = clone.clone(small(), tmp_path, progress=None).iloc[0]
    assert clone.reproduced(row, tmp_path) is True
    assert clone.reproduced(pd.Series({**row, "made": "torch 1, another GPU"}), tmp_path) is None
    on_cuda = clone.plan(CLASSES[:1], FULL, {"val": 1}, generate.Diffusers("tiny-sd-v1", device="cuda").recipe).iloc[0]
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert clone.reproduced(on_cuda, tmp_path) is None
    (tmp_path / row["path"]).write_bytes(b"another")
    assert clone.reproduced(row, tmp_path) is False


def test_a_clone_of_another_plan_steps_aside_and_comes_back(tmp_path):
    """Another seed, fewer classes, another model after a first run: never a dead end, and nothing that was made is lost."""
    folder, made = tmp_path / "clone", []
    plans = [small(), small(seed=1), small()[:13], small().assign(revision="pulled"), small(shard=5)]
    for manifest in plans:
        clone.clone(manifest, folder, progress=None)
        made.append(contents(folder))
        assert len([p for p in tmp_path.iterdir() if p.is_dir()]) == len(made), "each plan has its folder"
    for manifest, wanted in zip(plans, made, strict=True):
        clone.clone(manifest, folder, progress=None)
        assert contents(folder) == wanted and clone.verify(folder) == {"missing": [], "damaged": [], "extra": []}
    assert sum(1 for _ in tmp_path.rglob("*.png")) == sum(name.endswith(".png") for m in made for name in m)


def test_a_clone_that_is_set_aside_comes_back_with_its_plan(tmp_path):
    folder = tmp_path / "all"
    clone.set_aside(folder)
    first = clone.clone(small(), folder, progress=None)
    made = contents(folder)
    clone.set_aside(folder)
    assert not folder.exists() and [p.name for p in tmp_path.iterdir()] == [f"all-{folders.key(first)}"]
    clone.clone(small(), folder, progress=None)
    assert contents(folder) == made and [p.name for p in tmp_path.iterdir()] == ["all"], "nothing was made again"
    shutil.copytree(folder, tmp_path / f"all-{folders.key(first)}")
    clone.set_aside(folder)
    assert {p.name for p in tmp_path.iterdir()} == {f"all-{folders.key(first)}", f"all-{folders.key(first)}-2"}


def test_an_empty_folder_in_the_way_of_a_clone_or_a_second_copy_of_it_is_no_dead_end(tmp_path):
    """An empty folder is what a run leaves that was killed before it wrote its manifest."""
    folder, plans = tmp_path / "clone", [small(), small(seed=1)]
    for manifest in plans:
        clone.clone(manifest, folder, progress=None)
    folder.rename(tmp_path / f"clone-{folders.key(plans[1])}")
    folder.mkdir()
    made = sum(1 for _ in tmp_path.rglob("*.png"))
    clone.clone(plans[0], folder, progress=None)
    assert not (tmp_path / f"clone-{folders.key(plans[0])}").exists(), "it came back"
    shutil.copytree(folder, tmp_path / f"clone-{folders.key(plans[0])}")
    clone.clone(plans[1], folder, progress=None)
    assert (tmp_path / f"clone-{folders.key(plans[0])}-2").is_dir()
    assert sum(1 for _ in tmp_path.rglob("*.png")) == made + 39, "all is there, and the copy"


def test_a_linked_folder_stays_a_link(tmp_path):
    (tmp_path / "disk" / "clone").mkdir(parents=True)
    (tmp_path / "clone").symlink_to(tmp_path / "disk" / "clone")
    for seed in (0, 1, 0):
        manifest = small(seed=seed)
        manifest.attrs = {"settings": {"SEED": seed}}
        clone.clone(manifest, tmp_path / "clone", progress=None)
    assert (tmp_path / "clone").is_symlink() and len(list((tmp_path / "disk").iterdir())) == 2
    assert clone.begun(tmp_path / "clone", {"SEED": 1}).equals(clone.read(tmp_path / "disk" / f"clone-{folders.key(small(seed=1))}"))


def test_who_looks_at_a_clone_is_told_if_it_is_not_the_finished_one(tmp_path):
    folder, record = tmp_path / "clone", tmp_path / "manifest.parquet"
    finished = clone.clone(small(), folder, progress=None)
    finished.attrs = {"settings": {"INPUT": "somewhere on this machine"}}
    clone.record(finished, record)
    assert pd.read_parquet(record).attrs == {} and finished.attrs, "settings are the folder's own affair"
    finished.attrs = {}
    pd.testing.assert_frame_equal(clone.whole(folder, record), finished)
    small().to_parquet(folder / "manifest.parquet", index=False)
    with pytest.raises(ValueError, match="its run was not finished; run it again first"):
        clone.whole(folder, record)
    clone.clone(small(seed=1), folder, progress=None)
    with pytest.raises(ValueError, match="not the one of manifest.parquet"):
        clone.whole(folder, record)


def test_a_damaged_manifest_is_an_error_that_says_what_to_do(tmp_path):
    clone.clone(small(), tmp_path, progress=None)
    path = tmp_path / "manifest.parquet"
    for damaged in (path.read_bytes()[:-20], b"PAR1" + bytes(300) + b"PAR1", b""):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="manifest.parquet cannot be read: .* Bring it back from a copy, or rename"):
            clone.clone(small(), tmp_path, progress=None)


def test_the_rows_of_a_manifest_may_come_in_any_order(tmp_path):
    manifest = small(shard=5)
    shuffled = manifest.sample(frac=1, random_state=1).reset_index(drop=True)
    a, b = clone.clone(manifest, tmp_path / "a", progress=None), clone.clone(shuffled, tmp_path / "b", progress=None)
    assert a.set_index("path")["sha256"].to_dict() == b.set_index("path")["sha256"].to_dict()
    assert clone.verify(tmp_path / "b") == {"missing": [], "damaged": [], "extra": []}


def test_it_says_that_a_clone_stepped_aside(tmp_path, capsys):
    for seed in (0, 1):
        clone.clone(small(seed=seed), tmp_path / "clone")
    said = capsys.readouterr()
    assert "clone: the clone of another plan that was here lies in clone-" in said.err and said.out == ""


def test_killed_while_stepping_aside_nothing_is_lost(tmp_path):
    folder, other = tmp_path / "clone", small(seed=1)
    first = clone.clone(small(), folder, progress=None)
    for step in range(3):

        def work(step=step):
            calls, original = itertools.count(), Path.rename

            def deadly(self, target):
                if next(calls) == step // 2:
                    if step % 2:
                        original(self, target)
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(self, target)

            Path.rename = deadly
            clone.clone(other, folder, progress=None)

        assert in_child(work) == -signal.SIGKILL if step < 2 else True
        clone.clone(other, folder, progress=None)
        pd.testing.assert_frame_equal(clone.clone(small(), folder, progress=None), first)


def test_a_plan_is_read_back_by_its_settings(tmp_path):
    manifest, settings = small(), {"SEED": 0, "counts": COUNTS, "model": "abc"}
    manifest.attrs = {"settings": settings, "searches": [{"found": "dog"}]}
    assert clone.begun(tmp_path / "clone", settings) is None

    def work():
        generate.Null.__call__ = lambda self, prompts, seeds: os.kill(os.getpid(), signal.SIGKILL)
        clone.clone(manifest, tmp_path / "clone", progress=None)

    assert in_child(work) == -signal.SIGKILL
    known = clone.begun(tmp_path / "clone", settings)
    pd.testing.assert_frame_equal(known, manifest)
    assert known.attrs["searches"] == [{"found": "dog"}] and clone.begun(tmp_path / "clone", settings | {"model": "abd"}) is None
    clone.clone(small(seed=1), tmp_path / "clone", progress=None)
    assert clone.begun(tmp_path / "clone", settings) is not None, "also where it stepped aside"
    finished = clone.clone(clone.begun(tmp_path / "clone", settings), tmp_path / "clone", progress=None)
    assert clone.begun(tmp_path / "clone", settings).equals(finished)


class Prudish(generate.Null):
    """Blackens dogs, as a model with a safety checker might, on some machine."""

    made = "torch 9.9, NVIDIA A100, float16"
    flagged: dict = {}

    def __call__(self, prompts, seeds):
        images = super().__call__(prompts, seeds).copy()
        for i, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
            if "dog" in prompt:
                images[i], self.flagged[prompt, int(seed)] = 0, "blackened"
        return images


@pytest.mark.parametrize("shard", [0, 5], ids=["folders", "shards"])
def test_what_was_flagged_and_on_what_it_was_made_stays_with_the_clone(shard, tmp_path, monkeypatch):
    noted, model = {}, Prudish(batch=4)
    monkeypatch.setattr(tasks, "from_recipe", lambda *_: model)
    monkeypatch.setattr(clone, "note", noted.__setitem__)
    first = clone.clone(small(shard=shard), tmp_path / "a", progress=None)
    dogs = first["noun"] == "dog"
    assert (first["flagged"] == np.where(dogs, "blackened", "")).all() and set(first["made"]) == {Prudish.made}
    assert len(clone.usable(first)) == (~dogs).sum() and noted == {"flagged pictures, a": dogs.sum()}
    assert clone.verify(tmp_path / "a") == {"missing": [], "damaged": [], "extra": []}
    assert folders.key(first) == folders.key(small(shard=shard)), "no part of the plan"
    model.flagged.clear()
    pd.testing.assert_frame_equal(clone.clone(small(shard=shard), tmp_path / "a", progress=None), first), "the files remember"
    Path(tmp_path / "a" / "manifest.parquet").unlink()
    small(shard=shard).to_parquet(tmp_path / "a" / "manifest.parquet", index=False)
    again = clone.clone(small(shard=shard), tmp_path / "a", progress=None)
    assert (again["flagged"] == first["flagged"]).all() and again["sha256"].equals(first["sha256"])


def test_digests_outlive_a_kill_so_that_a_file_that_changed_since_is_noticed(tmp_path):
    manifest = clone.plan(CLASSES, FULL, {"train": 40}, NULL)

    def work():
        seen = clone._seen_from_here

        def deadly(folder, paths):
            seen(folder, paths)
            if any("1F697" in path for path in paths):
                os.kill(os.getpid(), signal.SIGKILL)

        clone._seen_from_here = deadly
        clone.clone(manifest, tmp_path / "clone", progress=None)

    assert in_child(work) == -signal.SIGKILL
    path = tmp_path / "clone" / manifest["path"][0]
    kept = path.read_bytes()
    path.write_bytes((tmp_path / "clone" / manifest["path"][1]).read_bytes())  # whole, but another picture
    with open(tmp_path / "clone" / clone.JOURNAL, "a") as file:
        file.write('\n[["train/1F34C/1F34C_0')  # torn
    finished = clone.clone(manifest, tmp_path / "clone", progress=None)
    assert path.read_bytes() == kept and not (tmp_path / "clone" / clone.JOURNAL).exists() and len(set(finished["sha256"])) == 120


def test_what_file_managers_leave_does_no_harm_and_stays(tmp_path):
    clone.clone(small(), tmp_path, progress=None)
    litter = [tmp_path / "train" / "1F34C" / name for name in (".DS_Store", "._1F34C_000000.png", "Thumbs.db", ".a.b")]
    for path in litter:
        path.write_bytes(b"x")
    (tmp_path / "train" / "1F34C" / "stranger.png").touch()
    assert clone.verify(tmp_path) == {"missing": [], "damaged": [], "extra": ["train/1F34C/stranger.png"]}
    clone.clone(small(), tmp_path, progress=None)
    assert all(path.exists() for path in litter)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".DS_Store").touch()
    clone.clone(small(), tmp_path / "mine", progress=None)
    (tmp_path / "yours").mkdir()
    (tmp_path / "yours" / "thesis.txt").touch()
    with pytest.raises(ValueError, match="no manifest but holds thesis.txt"):
        clone.clone(small(), tmp_path / "yours", progress=None)


def test_a_second_run_on_the_folder_says_so(tmp_path, monkeypatch):
    with folders.alone(tmp_path):
        with pytest.raises(BlockingIOError, match="another run is at work on"):
            clone.clone(small(), tmp_path, progress=None)
        assert in_child(lambda: clone.clone(small(), tmp_path, progress=None)) == 1
    clone.clone(small(), tmp_path, progress=None)
    folder, opened = tmp_path / "moved", open

    def slow(path, *mode):  # between the opening and the locking another run sets the folder aside
        file = opened(path, *mode)
        folder.rename(tmp_path / "aside")
        return file

    folder.mkdir()
    monkeypatch.setattr(folders, "open", slow, raising=False)
    with pytest.raises(BlockingIOError, match="another run is at work on"):
        with folders.alone(folder):
            pass


def test_a_full_disk_is_a_clear_error_and_what_is_done_stays_good(whole, tmp_path, monkeypatch):
    manifest, wanted = whole
    left = iter(range(5))

    def full(path, content):
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return results.write(path, content)

    for module in (tasks, folders):
        monkeypatch.setattr(module, "write", full)
    with pytest.raises(OSError, match=r"No space left on device. \d+ of 39 images were done.*stays good.*run again"):
        clone.clone(manifest, tmp_path, progress=None)
    done = {name: digest for name, digest in contents(tmp_path).items() if name.endswith((".png", ".tar"))}
    assert len(done) == 4 and done.items() <= wanted.items()
    monkeypatch.undo()
    clone.clone(manifest, tmp_path, progress=None)
    assert contents(tmp_path) == wanted


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_a_clear_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match="cannot be written: Permission denied"):
        clone.clone(small(), tmp_path / "new", progress=None)


def test_a_folder_without_a_clone_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="manifest.parquet is missing"):
        clone.verify(tmp_path)


@pytest.mark.parametrize("shard", [0, 50], ids=["folders", "shards"])
def test_on_a_cluster_that_loses_a_worker_and_a_node_the_bytes_are_the_same(shard, two_nodes, tmp_path):
    """A third node joins, works, and dies with all it has; so does a worker of another node."""
    ray = pytest.importorskip("ray")
    manifest = clone.plan(CLASSES, FULL, {"train": 600}, generate.Null(64, batch=4).recipe, shard=shard)
    clone.clone(manifest, tmp_path / "here", progress=None)
    doomed, lost = two_nodes.add_node(num_cpus=1), []

    def sabotage():
        while len(list((tmp_path / "there").rglob("*.png" if not shard else "*.tar"))) < (90 if not shard else 3):
            time.sleep(0.01)
        while not (at_work := [p for p in psutil.process_iter(["cmdline"]) if (p.info["cmdline"] or [""])[0].startswith("ray::make")]):
            pass  # between two tasks it has another name
        at_work[0].kill()
        lost.append("worker")
        time.sleep(0.3)
        two_nodes.remove_node(doomed, allow_graceful=False)
        lost.append("node")

    ray.init(two_nodes.address, log_to_driver=False)
    try:
        thread = threading.Thread(target=sabotage)
        thread.start()
        finished = clone.clone(manifest, tmp_path / "there", address=two_nodes.address, progress=None)
        in_time = tuple(lost)
        thread.join()
    finally:
        ray.shutdown()
    assert in_time == ("worker", "node"), "both were lost while the clone was made"
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    assert clone.verify(tmp_path / "there") == {"missing": [], "damaged": [], "extra": []} and finished["path"].is_unique


def test_folders_that_the_nodes_do_not_share_are_an_error(tmp_path, monkeypatch):
    """All rows would have a sha256, and no file would be there."""
    elsewhere = tmp_path / "of a node"

    def on_a_node(function, tasks, *options):
        for folder, *rest in tasks:
            assert folder.is_absolute()
            yield function((elsewhere, *rest))

    monkeypatch.setattr(clone.cluster, "over", on_a_node)
    monkeypatch.setattr(clone._seen_from_here, "__defaults__", (0.2,))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match="made on a node of the cluster, but is not in .*/mine here: the nodes must share this folder"):
        clone.clone(small(), Path("mine"), "cluster:1", progress=None)


def test_a_relative_folder_is_where_the_driver_says(two_nodes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finished = clone.clone(small(), Path("mine"), two_nodes.address, progress=None)
    assert all((tmp_path / "mine" / path).is_file() for path in finished["path"])


def test_local_is_a_ray_of_its_own_whatever_the_environment_says(two_nodes, monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")  # where nobody is
    addresses = []

    def joined(task):
        return task, ray.get_runtime_context().gcs_address

    for _, address in clone.cluster.over(joined, [0], "local"):
        addresses.append(address)
    assert addresses and addresses[0] not in ("192.0.2.1:6379", two_nodes.address)


def test_local_is_not_the_cluster_that_this_process_uses(two_nodes):
    ray = pytest.importorskip("ray")
    ray.init(two_nodes.address, log_to_driver=False)
    try:
        with pytest.raises(ValueError, match=r"this process uses one; ray.shutdown\(\) first"):
            list(cluster.over(len, ["a"], "local"))
    finally:
        ray.shutdown()


def test_after_an_error_nobody_works_on(two_nodes, tmp_path):
    ray = pytest.importorskip("ray")

    def work(task):
        if task == 0:
            raise KeyError("bad")
        time.sleep(1)
        (tmp_path / str(task)).touch()

    ray.init(two_nodes.address, log_to_driver=False)
    try:
        with pytest.raises(KeyError):
            list(cluster.over(work, range(8), two_nodes.address))
        time.sleep(5)
    finally:
        ray.shutdown()
    assert len(list(tmp_path.iterdir())) <= 2, "only what had begun"


def test_a_users_model_is_named_so_that_every_node_finds_it(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "null").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert clone._anywhere("mine") == clone._anywhere("~/mine") == str(tmp_path / "mine")
    assert [clone._anywhere(name) for name in ("null", "tiny-sd-v1", "owner/name")] == ["null", "tiny-sd-v1", "owner/name"]
    loaded = []
    monkeypatch.setattr(tasks, "from_recipe", lambda model, *rest: loaded.append(model) or generate.Null(batch=4))
    for shard in (0, 5):
        clone.clone(small(shard=shard).assign(model="mine"), Path(f"here {shard}"), progress=None)
        assert clone.verify(tmp_path / f"here {shard}") == {"missing": [], "damaged": [], "extra": []}
    assert set(loaded) == {str(tmp_path / "mine")}


@pytest.mark.parametrize(("address", "kind", "said"), [
    ("127.0.0.1:9", ConnectionError, "no Ray answers there"), ("nowhere.invalid:6379", ConnectionError, "no Ray answers there"),
    ("127.0.0.1:99999999", ConnectionError, "no Ray answers there"), ("elsewhere", ValueError, "host:port of a cluster"),
    ("127.0.0.1", ValueError, "host:port of a cluster")])  # fmt: skip
def test_an_address_where_nobody_answers_is_said_at_once(address, kind, said):
    pytest.importorskip("ray")
    begun = time.monotonic()
    with pytest.raises(kind, match=said):
        list(clone.cluster.over(len, ["a"], address))
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize("server", [http.server.BaseHTTPRequestHandler, socketserver.BaseRequestHandler])
def test_something_else_than_ray_is_said_at_once(server):
    pytest.importorskip("ray")
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), server) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        with pytest.raises(ConnectionError, match="no Ray answers there"):
            list(clone.cluster.over(len, ["a"], f"127.0.0.1:{other.server_address[1]}"))
        other.shutdown()
