"""What a claim rests on: rows of the tables and metrics that notebooks wrote."""

import csv
import json
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from rldf_utils.results import ROOT

NAMED = ("difference", "effect", "ratio of calls", "value", "accuracy", "share", "median")  #: columns of an estimate


@dataclass(frozen=True)
class Evidence:
    """Rows of a csv, or of a part of a metrics.json, under results/<scale>; or a column of one of the paper's tables."""

    file: str  #: "notebook/name.csv", or "notebook/metrics.json#part/of it"
    where: dict = field(default_factory=dict)  #: column -> text; * stands for any
    column: str = ""  #: of a published number
    estimate: str = ""  #: column, where it has none of the usual names
    low: str = "low"
    high: str = "high"

    @classmethod
    def of(cls, text: str) -> "Evidence":
        """From "notebook: claim", the rows of its claims.csv with that claim."""
        notebook, _, claim = text.partition(": ")
        return cls(f"{notebook}/claims.csv", {"claim": claim})

    @property
    def notebook(self) -> str:
        return self.file.split("/")[0]

    @property
    def name(self) -> str:
        return self.file.split("#")[0].split("/")[-1]

    def rows(self, folder: Path) -> list[dict]:
        """The rows of the file below a folder that match; none if there is no such file."""
        path, _, part = self.file.partition("#")
        if not (folder / path).is_file():
            return []
        if path.endswith(".csv"):
            with open(folder / path, newline="") as file:
                found = list(csv.DictReader(file))
        else:
            value = inside(json.loads((folder / path).read_text()), part)
            if isinstance(value, dict):
                value = [{"name": key, **(item if isinstance(item, dict) else {"value": item})} for key, item in value.items()]
            found = value if isinstance(value, list) else []
        return [row for row in found if all(fnmatchcase(str(row.get(key, "")), str(text)) for key, text in self.where.items())]


def inside(value, part: str):
    """What stands in nested dicts under a path such as "metrics/claims"; None if nothing does."""
    for key in part.split("/"):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def number(value) -> float | None:
    """A number of a table's cell, or None."""
    try:
        return float(value) if value not in (None, "") else None
    except (TypeError, ValueError):
        return None


def measured(row: dict, evidence: Evidence) -> dict[str, float | None]:
    """estimate, low and high of a row."""
    column = evidence.estimate or next((name for name in NAMED if number(row.get(name)) is not None), "")
    estimate = number(row.get(column))
    if estimate is None and number(row.get("found")) is not None:  # a count among n; its interval is of the share
        estimate = number(row["found"]) / number(row["n"])
    return {"estimate": estimate, "low": number(row.get(evidence.low)), "high": number(row.get(evidence.high))}


def described(evidence: Evidence) -> str:
    """Evidence as a line: "notebook/claims.csv, claim: ..."."""
    return ", ".join([evidence.file, *(f"{key}: {value}" for key, value in evidence.where.items())])


def scalar(folder: Path, path: str) -> float | None:
    """The number under "notebook/metrics.json#part/of it"."""
    file, _, part = path.partition("#")
    return number(inside(json.loads((folder / file).read_text()), part)) if (folder / file).is_file() else None


@cache
def _cells(notebook: str) -> tuple[tuple[str, str], ...]:
    path = ROOT / "notebooks" / f"{notebook}.ipynb"
    cells = json.loads(path.read_text())["cells"] if path.is_file() else []
    return tuple((c["id"], "".join(c["source"])) for c in cells if c["cell_type"] == "code")


def cell(evidence: Evidence) -> str:
    """The id of the notebook's cell that writes the evidence; "" if there is none."""
    mark = "save_metrics(" if evidence.name == "metrics.json" else f'"{evidence.name}"'
    return next((name for name, source in _cells(evidence.notebook) if mark in source), "")
