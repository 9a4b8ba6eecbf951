"""What a stranger installs and types: the lock, environment.yml, pyproject.toml and the Makefile agree and do what they say."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions, version
from pathlib import Path

import numpy as np
import pandas
import pyarrow.parquet
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DIRECT = [Requirement(line) for line in PROJECT["project"]["dependencies"]]
DEV = [Requirement(line) for line in PROJECT["dependency-groups"]["dev"]]
PYTHONS = ("3.11", "3.12", "3.13")
LINES = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
NOTEBOOKS = [
    "01_grammar_encoding",
    "02_environment_design",
    "03_agent_training_sweeps",
    "04_image_search",
    "05_noisy_diffusion_gradient",
    "06_imagenet100_cloning",
    "07_resnet18_classification",
    "08_fid_kid_imagenet_variants",
    "09_control",
    "A2_agent_claims",
    "A3_search_at_equal_cost",
    "A4_captions_and_encodings",
    "A5_ablation_and_memorisation",
    "10_claims_ledger",
]


@cache
def lock() -> dict[str, Requirement]:
    return {canonicalize_name(r.name): r for r in map(Requirement, LINES)}


def locked_version(requirement: Requirement) -> str:
    (pin,) = requirement.specifier
    return pin.version


def test_lock_pins_every_line_and_names_no_index():
    for line in LINES:
        assert re.fullmatch(r"[\w.-]+==[\w.+]+", line), line
    assert len(lock()) == len(LINES) > 100, "a distribution is named twice"
    names = [re.split("==", line)[0].lower() for line in LINES]
    assert names == sorted(names), "not in the order of `pip freeze`: by name, case ignored"


def cuda(name: str) -> bool:
    """Whether only PyTorch's CUDA builds need this distribution."""
    return bool(re.match("nvidia-|cuda-|triton$", name))


def test_cuda_is_left_to_pytorch():
    """PyTorch's wheels pin their CUDA libraries; a CPU build of the same version, installed first, then brings no CUDA."""
    assert not [name for name in lock() if cuda(name)]


@pytest.mark.parametrize("python", ["3.11.2", "3.12.0", "3.13.0"])
def test_lock_resolves_on_every_python_claimed(python, tmp_path):
    """3.11.2 is Debian 12's, for which some releases of 2026 are too new."""
    resolve = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python-version", python]
    done = subprocess.run([*resolve, ROOT / "requirements.txt"], cwd=tmp_path, capture_output=True, text=True)
    if re.search("error sending request|dns error|Network", done.stderr):
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr
    resolved = {canonicalize_name(Requirement(line).name) for line in done.stdout.splitlines()}
    assert {name for name in resolved if not cuda(name)} == set(lock())


@pytest.mark.parametrize("requirement", DIRECT + DEV, ids=str)
def test_lock_satisfies_pyproject(requirement):
    pin = lock()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(locked_version(pin)), f"pyproject.toml asks for {requirement}, the lock has {pin}"


def test_scipy_stays_below_1_18():
    """clean-fid 0.1.35 calls scipy.linalg.sqrtm(disp=False); SciPy 1.18 removed the argument, and every FID would be a TypeError."""
    scipy = next(r for r in DIRECT if r.name == "scipy")
    assert scipy.specifier.contains("1.17.1") and not scipy.specifier.contains("1.18.0")
    assert not scipy.specifier.contains("1.18.0rc1", prereleases=True)


def test_rays_lock_holds_what_ray_needs_beside_the_lock():
    lines = (ROOT / "requirements-ray.txt").read_text().splitlines()
    extra = {canonicalize_name(r.name): r for r in map(Requirement, lines)}
    asked = Requirement(PROJECT["project"]["optional-dependencies"]["ray"][0])
    assert asked.specifier.contains(locked_version(extra["ray"])) and not set(extra) & set(lock())
    pytest.importorskip("ray")
    needed = {canonicalize_name(r.name) for name in extra for r in map(Requirement, distribution(name).requires or []) if not r.marker}
    assert set(extra) - {"ray"} <= needed <= set(extra) | set(lock())


def test_environment_yml_agrees():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    assert conda == ["python>=3.11,<3.14", "pip"] and environment["channels"] == ["conda-forge"]
    assert pip == {"pip": ["-r requirements.txt", "-e ."]}
    assert PROJECT["project"]["requires-python"] == ">=3.11,<3.14"


def test_installed_is_what_is_locked():
    wrong = []
    for name, requirement in lock().items():
        try:
            if not requirement.specifier.contains(version(name)):  # ==2.1 accepts a local build such as 2.1+cpu
                wrong.append(f"{name} is {version(name)}, the lock says {requirement.specifier}")
        except PackageNotFoundError:
            wrong.append(f"{name} is not installed")
    assert not wrong, wrong


def test_lock_is_closed_and_holds_nothing_else():
    """Walk what pyproject.toml names, through the installed metadata: every requirement is locked at a version it accepts."""
    reached, extras, todo = set(), {}, [(r, "pyproject.toml") for r in DIRECT + DEV]
    while todo:
        requirement, needed_by = todo.pop()
        name = canonicalize_name(requirement.name)
        if cuda(name):
            continue
        assert name in lock(), f"{needed_by} needs {requirement}, which the lock lacks"
        assert requirement.specifier.contains(locked_version(lock()[name])), f"{needed_by} needs {requirement}"
        if name in reached and requirement.extras <= extras[name]:
            continue
        reached.add(name)
        extras[name] = extras.get(name, set()) | requirement.extras
        for r in map(Requirement, distribution(name).requires or []):
            settings = [{"extra": e, "python_version": v, "python_full_version": f"{v}.2"} for e in {"", *extras[name]} for v in PYTHONS]
            if r.marker is None or any(r.marker.evaluate(setting) for setting in settings):
                todo.append((r, name))
    if sys.platform == "linux":
        assert set(lock()) == reached


def test_every_import_is_a_declared_dependency():
    extras = [Requirement(line) for lines in PROJECT["project"]["optional-dependencies"].values() for line in lines]
    declared = {canonicalize_name(r.name) for r in DIRECT + extras}
    providers = packages_distributions()
    for path in (ROOT / "rldf_utils").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", None) or "rldf_utils"]
            for top in {name.split(".")[0] for name in names if isinstance(node, ast.Import | ast.ImportFrom)}:
                if top not in sys.stdlib_module_names and top != "rldf_utils":
                    assert {canonicalize_name(d) for d in providers.get(top, [top])} & declared, (
                        f"{path.name} imports {top}, pyproject.toml lacks it"
                    )


# The method and the embedded world.

#: module of the method -> what it takes of tiny
STAND_INS = {
    "ablation": {"judge", "sampling", "world"},
    "captions": {"judge", "sampling", "world"}, "cloning": {"judge", "world"}, "control": {"counting", "world"}, "env": {"world"},
    "generate": {"autoencoder", "world"}, "imagenet": {"world"},
    "outside": {"world"}, "pairs": {"counting", "world"}, "plan": {"world"}, "sliders": {"world"},
}  # fmt: skip


def taken_from_tiny(source: str) -> set[tuple[int, str]]:
    """(Line, module of `rldf_utils.tiny`) of every import of one in a module of the method, wherever it stands."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(["rldf_utils"] * bool(node.level) + [node.module] * bool(node.module))
            names = [f"{package}.{alias.name}" for alias in node.names]
        found |= {(node.lineno, (name.split(".") + [""])[2]) for name in names if re.match(r"rldf_utils\.tiny\b", name)}
    return found


@pytest.mark.parametrize(("source", "modules"), [
    ("import rldf_utils.tiny.world as w", {"world"}), ("import rldf_utils.tiny", {""}), ("from rldf_utils import grammar, tiny", {""}),
    ("from rldf_utils.tiny import judge, world", {"judge", "world"}), ("def f():\n    from rldf_utils.tiny.train import run", {"train"}),
    ("from . import tiny", {""}), ("from .tiny.judge import Judge", {"judge"}), ("from rldf_utils import grammar", set())])  # fmt: skip
def test_every_form_of_import_is_seen(source, modules):
    assert {module for _, module in taken_from_tiny(source)} == modules


def test_the_method_takes_only_stand_ins_from_tiny_and_says_which():
    taken = {}
    for path in (ROOT / "rldf_utils").glob("*.py"):
        source = path.read_text()
        for number, module in taken_from_tiny(source):
            line = source.splitlines()[number - 1]
            taken.setdefault(path.stem, set()).add(module)
            assert re.search("#.* stands? in for ", line), f"{path.name}:{number} does not say what it stands in for: {line}"
    assert taken == STAND_INS


def test_every_package_is_installed_and_no_module_has_350_lines():
    modules = list((ROOT / "rldf_utils").rglob("*.py"))
    packages = {".".join(path.relative_to(ROOT).parts[:-1]) for path in modules}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == packages == {"rldf_utils", "rldf_utils.tiny"}
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in modules}
    assert not {path: length for path, length in lengths.items() if length >= 350}


def texts():
    """Every text file that belongs to the project (not what was made or installed here), with what it says."""
    ours = ["*", ".ci/*", "rldf_utils/**/*", "tests/*", "notebooks/*", "data/*", "data/grammar/*", "data/imagenet/*", "data/models/**/*.md",
            "results/*", "results/bench/*", "results/tiny/*/*"]  # fmt: skip
    for path in sorted({path for pattern in ours for path in ROOT.glob(pattern) if path.is_file()}):
        if path != Path(__file__).resolve() and path.suffix not in {".pyc", ".nbi", ".nbc", ".png", ".npz", ".parquet"}:
            yield path.relative_to(ROOT), path.read_text(encoding="utf-8")


def test_nothing_unpickles_or_runs_foreign_code():
    hits = []
    for path, text in texts():
        if path.parts[0] == "tests":  # which look for such calls, and may pickle what they made themselves
            continue
        hits += [f"{path}: {m[0]}" for m in re.finditer(r"trust_remote_code|\bimport (cloud)?pickle|allow_pickle=True|read_pickle", text)]
        hits += [f"{path}: {m[0]}" for m in re.finditer(r"torch\.load\((?![^\n]*weights_only=True)[^\n]*", text)]
    assert not hits, hits


MACHINE = r"(?<![\w.])/(home|root|tmp|work|Users)/\w+"


def test_no_file_names_a_machine_or_an_index():
    hits = []
    for path, text in texts():
        if path.name not in ("LICENSE", "test_notebooks.py", "test_compare.py"):  # these two look for such paths, or make one up
            hits += [f"{path}: {m[0]}" for m in re.finditer(rf"{MACHINE}|--(extra-)?index-url|file://", text)]
    assert not hits, hits


def contents(path: Path) -> Iterator[bytes]:
    """What a binary file holds, unpacked."""
    match path.suffix:
        case ".npz":
            with np.load(path) as file:
                yield from (" ".join(map(str, file[name].flat)).encode() for name in file if file[name].dtype.kind in "US")
        case ".parquet":
            table = pyarrow.parquet.read_table(path)
            yield repr(table.schema.metadata).encode()
            yield from (repr(column.unique().to_pylist()).encode() for column in table.columns)
        case _:
            yield path.read_bytes()


def test_no_binary_file_names_a_machine(tmp_path):
    """Else a result can be read on the machine alone that made it."""
    paths = [p for top in ("data", "results") for p in (ROOT / top).rglob("*") if p.suffix in {".npz", ".parquet", ".png", ".safetensors"}]
    ignored = {"raw", "smoke", "paper", "context", "all", "sampled", "plain", "own", "sets", "wrong"}
    ours = [p for p in paths if not ignored & set(p.relative_to(ROOT).parts)]
    np.savez(tmp_path / "a.npz", grammar="/home/somebody/base.cfg")
    pandas.DataFrame({"model": ["/home/somebody/model"]}).to_parquet(tmp_path / "a.parquet")
    seen = {p: [m[0] for data in contents(p) for m in re.finditer(MACHINE.encode(), data)] for p in [*ours, *tmp_path.iterdir()]}
    assert all(seen.pop(p) for p in list(tmp_path.iterdir())), "the test would see one"
    assert len(ours) > 50 and not any(seen.values()), {p.name: hits for p, hits in seen.items() if hits}


def test_ci_calls_make_test():
    lines = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "set -euo pipefail" and lines[-1] == "make test" and len(lines) == 3
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


# The Makefile, run in a copy whose .venv/bin/papermill is a short shell script.

STUB = """#!/bin/sh
case "$*" in *--prepare-only*) case "$*" in *NOWHERE*) echo "Passed unknown parameter: NOWHERE" >&2 ;; esac; exit 0 ;; esac
echo "$1 $HF_HUB_OFFLINE" >> log
echo partly > "$2"
case "$1" in *${FAIL:-none}*) exit 1 ;; esac
echo whole > "$2"
echo '{}' > "$(dirname "$2")/run.json"
"""
PYTHON = """#!/bin/sh
case "$*" in *--tidy*) ;; *rldf_utils.compare*) echo "compared $3"; exit 1 ;; *rldf_utils.page*) echo "page $*" ;; esac
if [ "$2" = venv ]; then for venv; do :; done; mkdir -p "$venv/bin"; cp "$0" "$venv/bin/python"; cp "$STUB" "$venv/bin/papermill"; fi
exit 0
"""


@pytest.fixture
def checkout(tmp_path):
    """A function that runs make in a copy (its path holds a space) and returns (exit status, output, notebooks executed)."""
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    root = tmp_path / "a checkout"
    for name in ("Makefile", "pyproject.toml", "requirements.txt"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    for folder in ("notebooks", "rldf_utils", "data/grammar", "data/models", "data/paper", "data/examples", "data/imagenet", ".venv/bin"):
        (root / folder).mkdir(parents=True)
    for name in [*NOTEBOOKS, "A1_train_tiny_models"]:
        (root / "notebooks" / f"{name}.ipynb").write_text("{}")
    (root / "rldf_utils" / "env.py").write_text("")
    (root / ".venv" / ".installed").write_text(f"{root.resolve()}\n")
    for path, script in ((".venv/bin/papermill", STUB), (".venv/bin/python", PYTHON), ("stub", STUB), ("my python", PYTHON)):
        (root / path).write_text(script)
        (root / path).chmod(0o755)
    outer = {
        "CONDA_PREFIX",
        "VIRTUAL_ENV",
        "MAKEFLAGS",
        "MFLAGS",
        "MAKEOVERRIDES",
        "MAKELEVEL",
        "SCALE",
        "PARAMETERS",
        "HF_HUB_OFFLINE",
        "TRANSFORMERS_OFFLINE",
    }

    def make(*arguments, **environment):
        (root / "log").write_text("")
        clean = {key: value for key, value in os.environ.items() if key not in outer}
        run = subprocess.run(
            ["make", *arguments], cwd=root, env=clean | {"STUB": str(root / "stub")} | environment, text=True, capture_output=True
        )
        return run.returncode, run.stdout + run.stderr, [Path(line.split()[0]).stem for line in (root / "log").read_text().splitlines()]

    make.root = root
    return make


def test_dry_run_prints_the_commands_in_order(checkout):
    status, output, ran = checkout("-n", "reproduce", "SCALE=smoke")
    commands = [line.split() for line in output.splitlines() if line.startswith(".venv/bin/papermill")]
    assert status == 0 and not ran and not (checkout.root / "results").exists()
    assert [Path(command[1]).stem for command in commands] == NOTEBOOKS
    for name, command in zip(NOTEBOOKS, commands, strict=True):
        assert command[2:6] == [f"results/smoke/{name}/partial.ipynb", "-p", "SCALE", "smoke"]


@pytest.mark.parametrize("scale", ["nonsense", "", "tiny smoke"])
def test_unknown_scale_is_refused_with_the_legal_values(checkout, scale):
    status, output, ran = checkout("-n", "reproduce", f"SCALE={scale}")
    assert status != 0 and "smoke, tiny, paper" in output


def test_reproduce_twice_does_nothing_the_second_time(checkout):
    assert checkout("reproduce")[2] == NOTEBOOKS
    assert checkout("reproduce")[2] == []
    (checkout.root / "rldf_utils" / "env.py").touch()
    assert sorted(checkout("-j2", "reproduce")[2]) == sorted(NOTEBOOKS)
    (checkout.root / "results/tiny/03_agent_training_sweeps/run.json").unlink()
    assert checkout("reproduce")[2] == ["03_agent_training_sweeps", "10_claims_ledger"]


def test_a_failing_notebook_is_named_and_not_taken_for_done(checkout):
    checkout("reproduce")
    (checkout.root / "rldf_utils" / "env.py").touch()
    folder = checkout.root / "results" / "tiny" / "02_environment_design"
    status, output, ran = checkout("-k", "reproduce", FAIL="02_")
    assert status != 0 and ran == [*NOTEBOOKS[:2], *NOTEBOOKS[5:9], *NOTEBOOKS[11:13]], (
        "with -k all that does not depend on 02 still runs, and the others do not"
    )
    assert (folder / "partial.ipynb").read_text() == "partly\n" and not (folder / "executed.ipynb").exists()
    said = "notebooks/02_environment_design.ipynb failed; its partly executed copy shows the error: "
    assert f"{said}results/tiny/02_environment_design/partial.ipynb" in output.splitlines()
    assert checkout("reproduce")[2] == [*NOTEBOOKS[1:5], *NOTEBOOKS[9:11], "10_claims_ledger"], "goes on from the last finished notebook"
    assert not (folder / "partial.ipynb").exists()


def test_parameters_are_passed_on_remembered_and_refused_if_unknown(checkout):
    status, output, ran = checkout("reproduce", "PARAMETERS=-p NOWHERE 3")
    assert status != 0 and not ran and "NOWHERE" in output
    assert checkout("reproduce")[2] == NOTEBOOKS
    assert checkout("reproduce", "PARAMETERS=-p SEED 3")[2] == NOTEBOOKS, "results of other parameters are not up to date"
    assert checkout("reproduce", "PARAMETERS=-p SEED 3")[2] == []
    assert checkout("reproduce")[2] == NOTEBOOKS
    status, output, ran = checkout("reproduce", "PARAMETERS=-p SCALE paper")
    assert status != 0 and not ran


def test_only_paper_scale_may_use_the_network(checkout):
    for scale, expected in {"smoke": "1", "tiny": "1", "paper": ""}.items():
        checkout("reproduce", f"SCALE={scale}")
        assert [line.split(" ")[1] for line in (checkout.root / "log").read_text().splitlines()] == [expected] * len(NOTEBOOKS)


def test_reproduce_ends_with_the_comparison_and_compare_says_it_by_its_exit_status(checkout):
    status, output, _ = checkout("reproduce")
    assert status == 0 and output.splitlines()[-2:] == ["compared tiny", "page -m rldf_utils.page tiny"]
    assert checkout("page", "SCALE=smoke")[1].splitlines()[-1] == "page -m rldf_utils.page smoke --open"
    status, output, ran = checkout("compare", "SCALE=smoke")
    assert status != 0 and "compared smoke" in output and not ran


def test_a_committed_copy_does_not_count_as_done(checkout):
    checkout("reproduce")
    for path in checkout.root.glob("results/tiny/*/run.json"):  # which are not committed
        path.unlink()
    assert checkout("reproduce")[2] == NOTEBOOKS


def test_a_moved_checkout_renews_its_environment(checkout):
    moved = checkout.root.with_name("moved")
    checkout.root.rename(moved)
    checkout.root.symlink_to(moved)
    status, output, ran = checkout("reproduce", f"PYTHON={moved}/my python")
    assert status == 0 and "was moved" in output and ran == NOTEBOOKS
    assert "was moved" not in checkout("reproduce")[1]


def test_an_environment_whose_python_is_gone_is_renewed(checkout):
    (checkout.root / ".venv/bin/python").unlink()
    status, output, ran = checkout("reproduce", f"PYTHON={checkout.root}/my python")
    assert status == 0 and "its Python is gone" in output and ran == NOTEBOOKS


@pytest.mark.parametrize("python", ["", "/nowhere/python3", "false"])
def test_no_python_that_fits_is_said(checkout, python):
    shutil.rmtree(checkout.root / ".venv")
    status, output, _ = checkout("reproduce", f"PYTHON={python}")
    assert status != 0 and f'Python 3.11, 3.12 or 3.13 is needed, and "{python}" is none of them' in output


def test_an_active_environment_with_this_checkout_is_used(checkout):
    shutil.rmtree(checkout.root / ".venv")
    active = checkout.root.parent / "conda"
    shutil.copytree(checkout.root, active / "bin", ignore=lambda folder, names: set(names) - {"stub", "my python"})
    (active / "bin" / "stub").rename(active / "bin" / "papermill")
    (active / "bin" / "my python").rename(active / "bin" / "python")
    inside = {"CONDA_PREFIX": str(active), "PATH": f"{active / 'bin'}:{os.environ['PATH']}"}
    status, output, ran = checkout("reproduce", **inside)
    assert status == 0 and ran == NOTEBOOKS and not (checkout.root / ".venv").exists()
    (active / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")  # an environment without this checkout: .venv is made beside it
    assert checkout("-n", "reproduce", **inside)[1].count("-m venv") == 1
