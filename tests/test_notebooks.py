"""The template that every notebook keeps, and every notebook executed at SCALE=smoke with the network cut off."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from papermill.exceptions import PapermillExecutionError

from rldf_utils import results

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EXPECTED = {"01_grammar_encoding", "02_environment_design", "03_agent_training_sweeps", "04_image_search", "05_noisy_diffusion_gradient",
            "06_imagenet100_cloning", "07_resnet18_classification", "08_fid_kid_imagenet_variants", "09_control", "A1_train_tiny_models",
            "A2_agent_claims", "A3_search_at_equal_cost", "A4_captions_and_encodings", "A5_ablation_and_memorisation",
            "10_claims_ledger"}  # fmt: skip
UPSTREAM = dict.fromkeys(
    ("03_agent_training_sweeps", "04_image_search", "05_noisy_diffusion_gradient", "A2_agent_claims", "A3_search_at_equal_cost"),
    "02_environment_design",
)
UPSTREAM |= dict.fromkeys(("07_resnet18_classification", "08_fid_kid_imagenet_variants"), "06_imagenet100_cloning")
UPSTREAM["10_claims_ledger"] = "A3_search_at_equal_cost"  # and of the others what is there
SCALES = ("smoke", "tiny", "paper")
FORBIDDEN = {
    "an install in a cell": r"^\s*[!%]\s*(pip|conda)\b",
    "a device name": r"""["']cuda|\.cuda\(|["']mps["']""",
    "an absolute path": r"""["'](/(home|tmp|root|work|usr|Users|content|mnt)\b|~/|[A-Za-z]:\\)""",
    "unpickling": r"weights_only\s*=\s*False|allow_pickle\s*=\s*True|trust_remote_code|read_pickle|\bimport pickle",
}
by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def parsed(cell) -> ast.Module | None:
    """The cell as Python; None if it holds a magic or a shell line, or an error of syntax."""
    try:
        return ast.parse(cell.source)
    except SyntaxError:
        return None


def asserts(cells) -> list[ast.Assert]:
    return [node for cell in cells for node in ast.walk(parsed(cell) or ast.Module([])) if isinstance(node, ast.Assert)]


def equals_the_paper(node: ast.Assert) -> bool:
    """A comparison for equality in which a value of the paper takes part; how many values there are may be compared."""
    test = ast.unparse(node.test)
    return bool(
        re.search(r"\b(paper|reported)", re.sub(r"len\([^()]*(\([^()]*\))?[^()]*\)", "", test)) and re.search("==|close|approx", test)
    )


def code_lines(cell) -> list[str]:
    return [line for line in cell.source.splitlines() if line.strip()]


def violations(path: Path) -> list[str]:
    """Every way in which a notebook breaks the template; empty if it keeps it."""
    found = []

    def need(condition, what):
        if not condition:
            found.append(what)

    name = re.fullmatch(r"(\d\d|A\d)_[a-z0-9_]+", path.stem)
    if not name:
        return [f"file name {path.name} is not like 03_agent_training_sweeps.ipynb or A1_train_tiny_models.ipynb"]
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        return [f"not a valid notebook: {error.message}"]
    cells = notebook.cells
    if len(cells) < 8:
        return ["fewer than 8 cells: the template has more parts"]
    code = [cell for cell in cells if cell.cell_type == "code"]
    prose = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    everything = "\n".join(cell.source for cell in code)

    need(notebook.metadata.get("kernelspec", {}).get("name") == "python3", "the kernelspec is not python3")
    need(all(not cell.outputs and cell.execution_count is None for cell in code), "outputs or execution counts are stored")
    need(len(cells) <= 35, f"{len(cells)} cells, more than 35")
    need(sum(len(code_lines(cell)) for cell in code) <= 150, f"{sum(len(code_lines(cell)) for cell in code)} lines of code, more than 150")
    for index, cell in enumerate(cells):
        need(cell.source.strip(), f"cell {index} is empty")
        if cell.cell_type == "code":
            need(parsed(cell), f"cell {index} is not plain Python (magics and shell lines run in Jupyter alone)")
            need(len(code_lines(cell)) <= 14, f"cell {index} has {len(code_lines(cell))} lines, more than 14")
            wide = max(map(len, cell.source.splitlines()), default=0)
            need(wide <= 100, f"cell {index} has a line of {wide} characters, more than 100 (JupyterLab scrolls them sideways)")
    for what, pattern in FORBIDDEN.items():
        need(not re.search(pattern, everything, re.MULTILINE), what)

    kinds = [cell.cell_type for cell in cells[:5]]
    need(kinds == ["markdown", "markdown", "code", "code", "code"], f"begins {kinds}, not title, claim, parameters, imports, what follows")
    title = rf"# {name[1].lstrip('0')}\. \S.*\n+(Reproduces|Trains) \S.*"
    need(re.fullmatch(title, cells[0].source.strip()), "cell 0 is not '# number. title' and one line 'Reproduces ...'")
    for word in ("reads", "writes", "time", *SCALES):
        need(re.search(rf"\b{word}\b", cells[1].source, re.IGNORECASE), f"cell 1 does not say '{word}'")

    tagged = [index for index, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", [])]
    need(tagged == [2], f"cells tagged parameters: {tagged}, not [2]")
    found += parameter_violations(cells[2].source, path)
    need(re.search(r"^(import|from) ", cells[3].source, re.MULTILINE), "cell 3 imports nothing")
    need("version" in cells[3].source, "cell 3 does not print versions")
    need("SCALE" in cells[4].source, "cell 4 derives nothing from SCALE")
    need(cells[4].source.startswith("parameters = results.parameters(globals())\n"), "cell 4 does not check the parameters first")

    for index, cell in enumerate(cells):
        if cell.cell_type == "code" and re.search(r"\bsave_?fig(ure)?\(", cell.source):
            after = next((c.source for c in cells[index + 1 :] if c.cell_type == "markdown"), "")
            need(re.match("#{2,3} Reading ", after), f"cell {index} saves a figure; the next text is not '### Reading ...'")
    need(re.search(r"^## Paper and ours", prose, re.MULTILINE), "no section '## Paper and ours'")
    checks = [index for index, cell in enumerate(cells) if cell.cell_type == "markdown" and "## Checks" in cell.source.splitlines()]
    need(len(checks) == 1, "not exactly one section '## Checks'")
    for index in checks:
        rest = cells[index + 1 :]
        end = next((i for i, cell in enumerate(rest) if cell.cell_type == "markdown"), len(rest))
        need(4 <= len(asserts(rest[:end])) <= 8, f"{len(asserts(rest[:end]))} asserts under '## Checks', not 4 to 8")
    for node in filter(equals_the_paper, asserts(code)):
        need(False, f"an assertion that equals the paper: {ast.unparse(node)}")
    need("save_metrics(" in everything, "metrics.json is not written by save_metrics")
    need(cells[-1].cell_type == "markdown" and re.search("takeaways?", cells[-1].source, re.I), "the last cell has no takeaways")
    need(re.search(r"things to try", cells[-1].source, re.IGNORECASE), "the last cell has no things to try")
    return found


def parameter_violations(source: str, path: Path) -> list[str]:
    found = []
    lines, body = code_lines(nbformat.from_dict({"source": source})), ast.parse(source).body
    if not 1 <= len(lines) <= 9 or len(body) != len(lines):
        found.append(f"the parameters cell is not one to nine flat lines but {len(lines)}")
    for node in body:
        flat = isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None
        if not flat or not re.fullmatch(r"[A-Z][A-Z0-9_]*", node.target.id):
            found.append(f"not a typed, upper-case parameter: {ast.unparse(node)}")
            continue
        try:
            ast.literal_eval(node.value)
        except ValueError:
            found.append(f"{node.target.id} is computed; it would go stale")
    inspected = papermill.inspect_notebook(str(path))
    for parameter in inspected.values():
        if len(parameter["help"]) < 8 or parameter["inferred_type_name"] == "None":
            found.append(
                f"papermill --help-notebook cannot explain {parameter['name']}: type and a comment with its legal values are needed"
            )
    if len(inspected) != len(body):
        found.append("papermill does not see every parameter")
    scale = inspected.get("SCALE", {"help": "", "default": ""})
    if scale["default"] != '"tiny"' or not all(f'"{s}"' in scale["help"] for s in SCALES):
        found.append('SCALE is not: SCALE: str = "tiny"  # "smoke", "tiny" or "paper"')
    return found


# The template.


def test_the_notebooks_are_there():
    assert {path.stem for path in NOTEBOOKS} >= EXPECTED


@by_name
def test_notebook_keeps_the_template(path):
    assert not violations(path)


def sample() -> nbformat.NotebookNode:
    """A small notebook that keeps the template."""
    cells = [
        new_markdown_cell("# 7. A sample\n\nReproduces Table 9."),
        new_markdown_cell("**Claim.** Reads nothing, writes `metrics.json`. Time: smoke 1 s, tiny 1 s, paper 1 s."),
        new_code_cell('SCALE: str = "tiny"  # "smoke", "tiny" or "paper"\nSEED: int = 0  # any integer', metadata={"tags": ["parameters"]}),
        new_code_cell("import time\n\nfrom rldf_utils import results\n\nprint(results.versions('numpy'))"),
        new_code_cell('parameters = results.parameters(globals())\nfolder = results.folder(SCALE, "07_sample")'),
        new_code_cell('plots.save_figure(figure, folder, "figure_1")'),
        new_markdown_cell("## Reading the figure\nUp is good.\n\n## Paper and ours\n1. None."),
        new_markdown_cell("## Checks"),
        new_code_cell("\n".join(f"assert {n} < {n + 1}" for n in range(4))),
        new_code_cell("results.save_metrics(folder, {}, parameters, started=0)"),
        new_markdown_cell("**Takeaways.** None. **Things to try.** Another `SEED`."),
    ]
    return new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}})


def edit(index, old, new):
    def change(notebook):
        assert old in notebook.cells[index].source
        notebook.cells[index].source = notebook.cells[index].source.replace(old, new)

    return change


def stored_output(notebook):
    notebook.cells[3].execution_count = 1


BROKEN = {
    "outputs or execution counts": stored_output,
    "not '# number. title'": edit(0, "# 7.", "# 8."),
    "does not say 'writes'": edit(1, "writes", "makes"),
    "tagged parameters: []": lambda notebook: notebook.cells[2].metadata.clear(),
    "is computed": edit(2, "= 0", "= 3 * int(1)"),
    "not a typed": edit(2, "SEED: int", "seed: int"),
    "cannot explain SEED": edit(2, "  # any integer", ""),
    "SCALE is not": edit(2, '"smoke", "tiny" or', ""),
    "not one to nine flat lines": edit(2, "SEED", "\n".join(f"N{n}: int = 0  # any integer" for n in range(9)) + "\nSEED"),
    "more than 100": edit(4, "folder", "a = 1  # " + "a" * 93 + "\nfolder"),
    "more than 14": edit(4, "folder", "a = 1\n" * 14 + "folder"),
    "more than 35": lambda notebook: notebook.cells.extend([new_markdown_cell("a")] * 25),
    "an install in a cell": edit(4, "folder", "!pip install rldf\nfolder"),
    "a device name": edit(4, "folder =", 'device = "cuda:0"\nfolder ='),
    "an absolute path": edit(4, "folder =", 'file = "/home/me/a.png"\nfolder ='),
    "equals the paper": edit(8, "assert 0 < 1", "assert 0.7 == paper.table_3"),
    "'### Reading ...'": edit(6, "## Reading the figure", "The figure"),
    "no section '## Paper and ours'": edit(6, "## Paper and ours", "Ours"),
    "3 asserts": edit(8, "assert 0 < 1\n", ""),
    "check the parameters first": edit(4, "parameters = ", "p = "),
    "save_metrics": edit(9, "save_metrics", "write"),
    "no takeaways": edit(10, "Takeaways", "End"),
}


def test_the_template_test_accepts_a_good_notebook(tmp_path):
    nbformat.write(sample(), tmp_path / "07_sample.ipynb")
    assert violations(tmp_path / "07_sample.ipynb") == []
    nbformat.write(sample(), tmp_path / "Sample.ipynb")
    assert "file name" in violations(tmp_path / "Sample.ipynb")[0]


@pytest.mark.parametrize("fault", BROKEN)
def test_the_template_test_finds_each_fault(tmp_path, fault):
    notebook = sample()
    BROKEN[fault](notebook)
    nbformat.write(notebook, tmp_path / "07_sample.ipynb")
    found = violations(tmp_path / "07_sample.ipynb")
    assert any(fault in violation for violation in found), found


# Execution.

GUARD = '''
"""Refuses every connection that leaves this machine, and writes down that it was tried, for a library may swallow the refusal."""
import os, socket

def refuse(host, what):
    if isinstance(host, bytes):
        host = host.decode()
    if host in (None, "", "localhost", "::1", "0.0.0.0", "::", socket.gethostname()) or str(host).startswith("127."):
        return
    with open(os.environ["RLDF_NETWORK_LOG"], "a") as log:
        log.write(f"{what} {host}\\n")
    raise PermissionError(f"the tests cut the network off: {what} {host}")

def guard(owner, name, host_of):
    original = getattr(owner, name)
    def guarded(*arguments, **options):
        refuse(host_of(*arguments, **options), name)
        return original(*arguments, **options)
    setattr(owner, name, guarded)

def peer(sock, *arguments):
    return arguments[-1][0] if sock.family in (socket.AF_INET, socket.AF_INET6) else None

for name in ("connect", "connect_ex", "sendto"):
    guard(socket.socket, name, peer)
for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
    guard(socket, name, lambda host, *arguments, **options: host)
'''


@pytest.fixture(scope="session")
def workshop(tmp_path_factory):
    """A folder for results and cache, and an environment for the kernels: no settings of the user, no network."""
    folder = tmp_path_factory.mktemp("workshop")
    for name in ("guard", "elsewhere"):
        (folder / name).mkdir()
    (folder / "guard" / "sitecustomize.py").write_text(GUARD)
    (folder / "network.log").write_text("")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLDF_RESULTS", str(folder / "results"))
        patch.setenv("RLDF_CACHE", str(folder / "cache"))
        patch.setenv("RLDF_NETWORK_LOG", str(folder / "network.log"))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("TRANSFORMERS_OFFLINE", "1")
        patch.setenv("PYTHONPATH", str(folder / "guard"), prepend=os.pathsep)
        yield folder


def run(path: Path, workshop: Path) -> nbformat.NotebookNode:
    """Execute at SCALE=smoke, from a working directory that has nothing to do with the project."""
    output = workshop / f"{path.stem}.ipynb"
    elsewhere = str(workshop / "elsewhere")
    parameters = {"SCALE": "smoke"} | ({"TRAIN": "yes"} if path.stem.startswith("A1") else {})
    return papermill.execute_notebook(
        str(path), str(output), parameters, kernel_name="python3", progress_bar=False, start_timeout=300, cwd=elsewhere
    )


@pytest.fixture(scope="session")
def execute(workshop):
    """A function: executed copy of a notebook, each executed once, what it needs first."""
    done = {}

    def once(path: Path) -> nbformat.NotebookNode:
        if path not in done:
            if path.stem in UPSTREAM:
                once(path.with_stem(UPSTREAM[path.stem]))
            done[path] = run(path, workshop)
        return done[path]

    return once


def owned() -> dict[Path, tuple[int, int]]:
    """Size and time of every file that a notebook at smoke scale may read but not write."""
    files = [f for top in ("data", "notebooks", "results", "rldf_utils") for f in (ROOT / top).rglob("*") if f.is_file()]
    return {f: (f.stat().st_size, f.stat().st_mtime_ns) for f in files if "__pycache__" not in f.parts}


def test_the_guard_cuts_the_network_off(workshop):
    attempt = "import socket\nsocket.create_connection(('{}', 80), timeout=1)"
    for host in ("192.0.2.1", "example.org"):
        done = subprocess.run([sys.executable, "-c", attempt.format(host)], capture_output=True, text=True)
        assert "the tests cut the network off" in done.stderr
    assert (workshop / "network.log").read_text().split() == ["getaddrinfo", "192.0.2.1", "getaddrinfo", "example.org"]
    local = "import socket\ns = socket.create_server(('127.0.0.1', 0))\nsocket.create_connection(s.getsockname())"
    subprocess.run([sys.executable, "-c", local], check=True)
    (workshop / "network.log").write_text("")


@by_name
def test_notebook_runs_at_smoke_scale_without_network(path, execute, workshop):
    before = owned()
    executed = execute(path)
    assert owned() == before, "a notebook writes only to its results folder and the cache"
    assert (workshop / "network.log").read_text() == "", "the network was tried"
    assert not list((workshop / "elsewhere").iterdir()), "something was written to the working directory"

    outputs = [output for cell in executed.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    shown = json.dumps([output for output in outputs if output.output_type != "display_data"])
    for folder in (str(ROOT), sys.prefix, str(workshop)):
        assert folder not in shown, (
            f"an output (often a warning) names a folder of this machine: ...{shown[max(0, shown.find(folder) - 200) :][:600]}"
        )

    results = workshop / "results" / "smoke" / path.stem

    def refuse(constant):
        raise AssertionError(f"metrics.json holds {constant}")

    record = json.loads((results / "metrics.json").read_text(), parse_constant=refuse)
    assert record["parameters"]["SCALE"] == "smoke" and record["metrics"] and isinstance(record["parameters"]["SEED"], int)
    finds = ("04_image_search", "A3_search_at_equal_cost")  # they find notebook 2's pictures made, and read no file of it
    reads = {UPSTREAM[path.stem]} if path.stem in UPSTREAM and path.stem not in finds else set()
    assert {name.split("/")[0] for name in record["inputs"]} == reads, "what another notebook made is recorded by its hash"
    source = "\n".join(cell.source for cell in executed.cells if cell.cell_type == "code")
    figures = re.findall(r"save_figure\([^\n]*?[\"'](figure_\w+)[\"']", source)
    assert figures or path.stem.startswith("A"), "a notebook saves a figure"
    for figure in figures:
        assert (results / f"{figure}.png").read_bytes().startswith(b"\x89PNG"), figure


@by_name
def test_unknown_scale_is_refused_with_the_legal_values(path):
    cells = nbformat.read(path, as_version=4).cells
    space = {}
    exec(cells[2].source, space)
    space["SCALE"] = "nonsense"
    exec(cells[3].source, space)
    with pytest.raises(ValueError, match="nonsense.*smoke.*tiny.*paper"):
        exec(cells[4].source, space)


def test_missing_upstream_result_names_the_notebook_to_run(workshop, monkeypatch, tmp_path):
    monkeypatch.setenv("RLDF_RESULTS", str(tmp_path))
    with pytest.raises(PapermillExecutionError) as caught:
        run(ROOT / "notebooks" / "03_agent_training_sweeps.ipynb", workshop)
    assert caught.value.ename == "FileNotFoundError" and "02_environment_design" in caught.value.evalue


@by_name
def test_opened_first_in_a_fresh_clone_a_notebook_begins_or_says_what_to_run(path, monkeypatch, tmp_path):
    """At its default scale, with the committed results and nothing that was executed here."""
    (tmp_path / "tiny" / "02_environment_design").mkdir(parents=True)
    for name in ("landscape.npz", "roughness.csv"):
        shutil.copy(ROOT / "results" / "tiny" / "02_environment_design" / name, tmp_path / "tiny" / "02_environment_design")
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    space = {}
    for cell in nbformat.read(path, as_version=4).cells[2:5]:
        try:
            exec(cell.source, space)
        except FileNotFoundError as error:
            assert UPSTREAM[path.stem] == "06_imagenet100_cloning" and "Run first: notebooks/06_imagenet100_cloning.ipynb" in str(error)
            return
    assert UPSTREAM.get(path.stem) != "06_imagenet100_cloning"
