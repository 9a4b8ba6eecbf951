"""README: its blocks run as they stand, offline; what it says of the notebooks is so."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from test_notebooks import GUARD, NOTEBOOKS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
OWN = README[README.index("## Your own image") : README.index("**A third model")]
BLOCKS = re.findall(r"```python\n(.*?)```", OWN, re.DOTALL)
FOUND = "a photo of one football and many people in a playground"  # the example input


def test_there_is_a_block_for_each_thing_of_ones_own_and_none_is_long():
    titles = re.findall(r"^\*\*(\w+)\.\*\*", OWN, re.MULTILINE)
    assert titles == ["Image", "Vocabulary", "Model", "Reward"]
    assert len(BLOCKS) == 5 and BLOCKS[3].startswith("# my_rewards.py\n"), "the reward is a file and a search"
    assert max(len(block.splitlines()) for block in BLOCKS) <= 20


@pytest.mark.parametrize(("number", "said"), [
    (0, rf"{FOUND} \d+ diffusion calls"),
    (1, rf"672 sentences, such as a photo of two cats and no people in a park\nin the picture: {FOUND}"),
    (2, rf"{FOUND} \d+ calls"),
    (4, rf"{FOUND} \d+ diffusion calls")], ids=["image", "vocabulary", "model", "reward"])  # fmt: skip
def test_a_block_runs_as_it_stands(tmp_path, number, said):
    with Image.open(ROOT / "data" / "examples" / "3_sports.png") as image:
        image.save(tmp_path / "picture.jpg", quality=95)
    (tmp_path / "my_rewards.py").write_text(BLOCKS[3])
    (tmp_path / "sitecustomize.py").write_text(GUARD)
    (tmp_path / "block.py").write_text(BLOCKS[number])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RLDF_")}
    environment |= {"RLDF_CACHE": str(tmp_path / "cache"), "RLDF_NETWORK_LOG": str(tmp_path / "network.log"), "HF_HUB_OFFLINE": "1",
                    "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}  # fmt: skip
    ran = subprocess.run([sys.executable, "block.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert re.fullmatch(said, ran.stdout.strip()), ran.stdout
    assert not (tmp_path / "network.log").exists(), (tmp_path / "network.log").read_text()


def test_which_notebook_needs_which_is_said():
    """As their code asks for it: `results.upstream`, or the folder of another notebook."""
    needs = {}
    for path in NOTEBOOKS:
        code = "\n".join("".join(c["source"]) for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code")
        for other in set(re.findall(r'"((?:\d\d|A\d)_\w+)"', code)) - {path.stem}:
            needs.setdefault(other.split("_")[0].lstrip("0"), set()).add(path.stem.split("_")[0].lstrip("0"))
    assert needs == {"2": {"3", "5", "A2"}, "6": {"7", "8"}, "A3": {"10"}}
    assert "notebooks 3, 5 and A2 use the committed results of notebook 2, and 10 those of all; notebooks 7 and 8 need" in README


def test_the_finding_on_the_front_is_that_of_the_committed_results():
    rows = pd.read_csv(ROOT / "results" / "tiny" / "A3_search_at_equal_cost" / "table.csv")
    calls = rows.query("reward == 1 and seeds == 'fixed' and `solved by` == 'answer'").set_index("method")["ERT"]
    assert "about as many pictures as drawing sentences at random" in README and 0.9 < calls["Q"] / calls["random draw"] < 1.1
    for method in ("one axis at a time", "factored agent", "Thompson, additive", "UCB, additive"):
        assert calls["Q"] / calls[method] > 17, "about a twentieth, or less"
    assert "needs about a dozen pictures in the base world" in README and 10 < calls["factored agent"] < 15
    assert "the paper's, which needs about 250" in README and 225 < calls["Q"] < 275 and calls["encoder only"] == 1


def test_every_file_that_readme_links_is_there():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(links) > 50 and not [link for link in links if not (ROOT / link).exists()]
