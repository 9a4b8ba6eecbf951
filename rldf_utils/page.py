"""The result page: results/<scale>/index.html with the ledger, and each executed notebook as a page beside it.

Nothing on a page needs a script or an outside address. `python -m rldf_utils.page` writes the pages from what is in results/.
"""

import argparse
import base64
import io
import json
import re
import webbrowser
from functools import cache
from itertools import product
from pathlib import Path

import jinja2
import matplotlib.pyplot as plt
import nbformat
import pandas as pd
from markupsafe import Markup
from nbconvert import HTMLExporter
from PIL import Image

from rldf_utils import compare, ledger
from rldf_utils.ledger import TIERS, WORDS, word
from rldf_utils.results import RESULTS, ROOT, SCALES, sha256, write

TEMPLATE = Path(__file__).with_name("page.html")
MARKS = ("✓", "✗", "◐", "?", "–", "≠")  #: beside the words, so that colour is not needed
COLOURS = ("#66c2a4", "#fc9272", "#fdd077", "#bdbdbd", "#e3e3e3", "#c7a3dc")  #: of the words in a chart
MEANINGS = dict(zip(WORDS, (
    "the 95 % interval lies beyond the smallest effect of interest, on the claim's side",
    "it lies short of it: the effect is opposite, or too small to matter",
    "it holds under some readings of what the paper leaves open, and not under others",
    "the interval holds both; beside the word stands how many runs would decide",
    "what it needs stands beside the claim",
    "the paper says two things that cannot both be true; both places are shown",
), strict=True))  # fmt: skip
WIDTH = 240  #: of a thumbnail, pixels
COVERS = {  # a notebook's figure on the page, where it is not its first
    "01_grammar_encoding": "figure_locality", "02_environment_design": "figure_5", "03_agent_training_sweeps": "figure_readings_1",
    "04_image_search": "figure_12_3_sports", "05_noisy_diffusion_gradient": "figure_11", "07_resnet18_classification": "figure_table_2",
    "08_fid_kid_imagenet_variants": "figure_table_1", "A3_search_at_equal_cost": "figure_solved",
}  # fmt: skip


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8"))


def thumbnail(path: Path) -> str:
    """A picture as a small WebP, in a data: address."""
    with Image.open(path, formats=["PNG"]) as image:
        small = image.convert("RGB")
    small.thumbnail((WIDTH, WIDTH), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=60, method=6)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def notebook(path: Path) -> str:
    """An executed notebook as a page: nbconvert's plain cells in our template; pictures are named by the figure that they are."""
    book = nbformat.read(path, as_version=4)
    for cell in book.cells:
        names = re.findall(r"[\"'](figure_\w+)[\"']", cell.source) if cell.cell_type == "code" else []
        pictures = [output for output in cell.get("outputs", ()) if "image/png" in output.get("data", ())]
        for place, output in enumerate(pictures):
            name = names[place] if place < len(names) else "picture made by the cell above"
            output.metadata["image/png"] = output.metadata.get("image/png", {}) | {"alt": f"{name}; see the reading below it"}
    exporter = HTMLExporter(template_name="basic", exclude_anchor_links=True)
    body, _ = exporter.from_notebook_node(book)
    return _template().render(title=_title(book)[0], body=Markup(body), words=WORDS)


def _title(book: nbformat.NotebookNode) -> tuple[str, str]:
    """A notebook's title, and the line below it."""
    lines = [line for line in book.cells[0].source.splitlines() if line.strip()]
    return lines[0].lstrip("# "), lines[1] if len(lines) > 1 else ""


def _here(row: pd.Series) -> list[str]:
    """What was measured, as lines: estimate with interval, smallest effect, n, readings, the paper's number. Nothing if ill-posed."""
    if row["verdict"] == "ill-posed":
        return []
    lines = [ledger.interval(row)] * bool(ledger.interval(row))
    if lines and pd.notna(row["smallest"]):
        lines.append(f"smallest effect {row['smallest']:.3g}".replace("-", "\N{MINUS SIGN}"))
    if pd.notna(row["paper"]):
        lines.append(f"paper: {row['paper']:g}")
    if pd.notna(row["n"]) and pd.notna(row["estimate"]):
        lines.append(f"n = {ledger.rounded(row['n'])} {row['unit']}")
    if row["readings"]:
        lines.append(f"holds in {row['readings']}")
    return lines


def _more(row: pd.Series, folder: Path) -> list[tuple[str, str]]:
    """What stands folded below a claim: (term, text)."""
    file = folder / re.split("[#,]", row["evidence"])[0]
    proof = f"{row['evidence']} (sha256 {sha256(file)[:12]})" if row["evidence"] and file.is_file() else row["evidence"]
    command = f"make results/{folder.name}/{row['notebook']}/executed.ipynb" if row["notebook"] else ""
    smallest = f"; smallest effect of interest {row['smallest']:g}" if pd.notna(row["smallest"]) else ""
    test = "; ".join(part for part in (row["statistic"], row["direction"] and f"the claim says: {row['direction']}") if part) + smallest
    second = "; ".join(part for part in (row["second route"], row["second verdict"]) if part)
    told = {"test": test, "fixed": row["fixed"], "evidence": proof, "command": command, "hinges on": row["hinges on"],
            "second route": second, "would change it": row["change"], "at paper scale": row["needs"],
            "our deviations": row["deviations"]}  # fmt: skip
    return [(term, text) for term, text in told.items() if text]


def chart(table: pd.DataFrame) -> plt.Figure:
    """How many claims have which verdict, one bar per place in the paper; each part is labelled with its number."""
    found = ledger.counts(table, "group").reindex(WORDS, fill_value=0)
    figure, ax = plt.subplots(figsize=(9, 0.5 * found.shape[1] + 1.4))
    left = pd.Series(0, found.columns)
    for name, color in zip(WORDS, COLOURS, strict=True):
        bars = ax.barh(found.columns, found.loc[name], left=left, color=color, label=name, edgecolor="white")
        ax.bar_label(bars, [n or "" for n in found.loc[name]], label_type="center", fontsize=9)
        left += found.loc[name]
    ax.invert_yaxis()
    ax.set(xlabel="claims", xlim=(0, left.max() * 1.02))
    ax.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=len(WORDS) // 2, frameon=False)
    return figure


def machines(scale: str, reference: Path = compare.REFERENCE) -> list[dict]:
    """The measured runs beside the committed one, and how many of their verdicts differ from its."""
    known = json.loads(reference.read_text()).get(scale) if reference.is_file() else None
    if not known:
        return []
    committed, *others = known["runs"]
    rows = []
    for run in sorted(others, key=lambda run: run["seed"] != committed["seed"]):  # other machines first
        shared = [name for name in run["notebooks"] if name in committed["notebooks"]]
        flat = [(compare.flat(run["notebooks"][n]), compare.flat(committed["notebooks"][n])) for n in shared]
        count = [compare.differences(ours, theirs, [], texts=False)[1] for ours, theirs in flat]
        verdicts, differ = (sum(c[key] for c in count) for key in ("verdicts", "verdicts differ"))
        rows.append({"name": run["name"], "machine": run["provenance"]["machine"], "notebooks": len(shared),
                     "verdicts": verdicts, "differ": differ})  # fmt: skip
    return rows


def _book(folder: Path) -> dict:
    """A notebook's entry on the page."""
    name = folder.name
    title, line = _title(nbformat.read(folder / "executed.ipynb", as_version=4))
    own = [folder / f"{COVERS[name]}.png"] if name in COVERS else []
    figure = next((path for path in (*own, *sorted(folder.glob("figure_*.png"))) if path.is_file()), None)
    run = compare.made_here(folder)
    told = f"made here in {run['seconds']:.0f} s, {run['machine']}" if run else "as committed"
    return {"title": title, "line": line, "run": told, "link": f"{name}/executed.html", "figure": f"{name}/{figure.name}" if figure else ""}


def index(scale: str, table: pd.DataFrame, results: Path = RESULTS, compared: str = "", reference: Path = compare.REFERENCE) -> str:
    """The page of claims.

    Args:
        table: of `ledger.judged`.
        compared: what `compare` says of this run.
    """
    books = [_book(path.parent) for path in sorted((results / scale).glob("*/executed.ipynb"))]
    there = {book["link"] for book in books}
    claims = []
    for _, row in table.iterrows():
        page = f"{row['notebook']}/executed.html"
        claim = row[["id", "group", "place", "claim", "kind", "places", "notebook", "cell", "figure"]].to_dict()
        told = row["verdict"].partition(" (")[2].removesuffix(")")
        lacks = told if word(row["verdict"]) == "not testable here" else ""
        claim |= {"v": WORDS.index(word(row["verdict"])) + 1, "under": row["scale"] + f"; {told}" * bool(told and not lacks),
                  "lacks": lacks, "first": not claims or claims[-1]["figure"] != row["figure"], "here": _here(row),
                  "more": _more(row, results / scale), "link": page + f"#cell-id={row['cell']}" * bool(row["cell"])}  # fmt: skip
        if page not in there:
            claim["link"] = ""
        claims.append(claim)
    figures = dict.fromkeys(item["figure"] for item in (*claims, *books) if (results / scale / item["figure"]).is_file())
    numbers = {name: place for place, name in enumerate(figures, 1)}
    for item in (*claims, *books):
        item["f"] = numbers.get(item["figure"], 0)
    groups = {name: [c for c in claims if c["group"] == name] for name in dict.fromkeys(table["group"])}
    cells = {(c["v"], list(groups).index(c["group"]) + 1) for c in claims}
    totals = table["verdict"].map(word).value_counts()
    return _template().render(
        title=f"Does it hold? RLDF, claim by claim ({TIERS[scale]})", body="", scale=scale, tier=TIERS[scale], words=WORDS, marks=MARKS,
        meanings=MEANINGS, says=ledger.says(table), scales=ledger.counts(table, "scale"), compared=compared,
        machines=machines(scale, reference), groups=groups, books=books, totals={name: int(totals.get(name, 0)) for name in WORDS},
        thumbnails={name: Markup(thumbnail(results / scale / name)) for name in figures},
        empty=[pair for pair in product(range(1, len(WORDS) + 1), range(1, len(groups) + 1)) if pair not in cells],
    )  # fmt: skip


def save(scale: str, table: pd.DataFrame | None = None, results: Path = RESULTS) -> tuple[Path, str]:
    """Write the pages.

    Returns:
        The path of index.html, and what `compare` says of this run in its last line.
    """
    table = ledger.judged(scale, results) if table is None else table
    for path in (results / scale).glob("*/executed.ipynb"):
        write(path.with_suffix(".html"), notebook(path))
    compared = compare.report(scale, results)[0][-1]
    return write(results / scale / "index.html", index(scale, table, results, compared)), compared


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m rldf_utils.page", description=__doc__)
    parser.add_argument("scale", nargs="?", default="tiny", choices=SCALES)
    parser.add_argument("--open", action="store_true", help="show the page in a browser")
    options = parser.parse_args(arguments)
    table = ledger.judged(options.scale)
    path, compared = save(options.scale, table)
    shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    print(f"{compared} | {ledger.says(table)} | {shown}")
    if options.open:
        webbrowser.open(path.as_uri())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
