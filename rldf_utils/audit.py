"""What is wrong with the evidence of the ledger: rows that are not there, words that do not follow from their numbers."""

import csv
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from rldf_utils import stats
from rldf_utils.evidence import NAMED, Evidence, cell, described, measured, number, scalar
from rldf_utils.ledger import WORDS, Claim, load, of_row, over, word
from rldf_utils.results import RESULTS, ROOT


def awaited(claims: Iterable[Claim]) -> dict[str, list[str]]:
    """Notebook that is not there yet -> the claims that rest on it."""
    found = {}
    for claim in claims:
        for name in dict.fromkeys(evidence.notebook for evidence in claim.evidence):
            if not (ROOT / "notebooks" / f"{name}.ipynb").is_file():
                found.setdefault(name, []).append(claim.id)
    return found


def faults(scale: str, results: Path = RESULTS, claims: Sequence[Claim] | None = None) -> list[str]:
    """What is wrong with the evidence, one line each: rows that are not there, words that do not follow from their numbers."""
    claims, found = claims or load(), []
    missing = awaited(claims)
    for claim in claims:
        if claim.figure and claim.figure.split("/")[0] not in missing and not (results / scale / claim.figure).is_file():
            found.append(f"{claim.id}: there is no figure {claim.figure}")
        for evidence in (*claim.evidence, *claim.second_evidence):
            if evidence.notebook in missing:
                continue
            rows = evidence.rows(results / scale)
            if not rows:
                found.append(f"{claim.id}: there is no row {described(evidence)}")
            found += _said_twice(claim, evidence, results / scale)
            if rows and not cell(evidence):
                found.append(f"{claim.id}: no cell of {evidence.notebook} writes {evidence.name}")
            for row in rows if claim.how == "verdict" and not claim.verdict else ():
                smallest = scalar(results / scale, claim.smallest) if isinstance(claim.smallest, str) else claim.smallest
                if evidence in claim.second_evidence and isinstance(claim.smallest, str):
                    smallest = None  # in another unit
                found += [f"{claim.id}: {said} in {described(evidence)}" for said in _row_faults(claim, row, evidence, smallest)]
    return found


def _row_faults(claim: Claim, row: dict, evidence: Evidence, smallest: float | None) -> Iterator[str]:
    """What is wrong in one row: its word is none of the kit's, its interval misses the estimate, its word is not what the interval says."""
    said = of_row(claim, row, evidence, smallest)
    if word(said) not in WORDS:
        yield f"{said!r} is no verdict"
    estimate, low, high = measured(row, evidence).values()
    if None not in (estimate, low, high) and not low - 1e-9 <= estimate <= high + 1e-9:
        yield f"{estimate} lies outside its interval, {low} to {high}"
    own = row.get("chosen") or row.get("default") or said
    smallest = number(row["smallest"]) if number(row.get("smallest")) is not None else smallest
    if claim.direction and smallest is not None and low is not None and word(own) in WORDS[:4]:
        margin = claim.direction * min(smallest, 0)  # a tolerance
        follows = stats.verdict(low - margin, high - margin, claim.direction, max(smallest, 0))
        if follows != word(own):
            yield f"{own!r} is written, and {low} to {high} with a smallest effect of {smallest:g} says {follows!r}"
    if row.get("holds") and row.get("open"):
        counts = {"reproduced": "holds", "contradicted": "opposite", "no effect": "no_effect", "undecided": "open"}
        follows = over([name for name, key in counts.items() for _ in range(int(row[key]))])
        if follows != word(said):
            yield f"{said!r} is written, and its readings say {follows!r}"


def _said_twice(claim: Claim, evidence: Evidence, folder: Path) -> Iterator[str]:
    """Where a claims.csv and the metrics.json of the same notebook disagree: a row that only one has, a verdict that differs."""
    path = folder / evidence.notebook / "metrics.json"
    if evidence.name != "claims.csv" or not path.is_file():
        return
    there = Counter(_told(json.loads(path.read_text())["metrics"].get("claims", {})))
    here = Counter((row["claim"], row["verdict"]) for row in Evidence(evidence.file).rows(folder))
    for one, other, name in ((here, there, "metrics.json"), (there, here, "claims.csv")):
        for text, said in (one - other) if there else ():
            yield f"{claim.id}: {text!r}, {said!r} is not in {name} of {evidence.notebook}"


def _told(value) -> Iterator[tuple[str, str]]:
    """(claim, verdict) of every claim in nested metrics."""
    if isinstance(value, dict) and "claim" in value:
        yield value["claim"], value["verdict"]
    elif isinstance(value, dict):
        yield from ((key, item) for key, item in value.items() if isinstance(item, str))
        yield from (pair for item in value.values() for pair in _told(item))
    elif isinstance(value, list):
        yield from (pair for item in value for pair in _told(item))


DEFECTS = ("another word", "an estimate outside its interval", "a row taken out")


def planted(scale: str, number: int, rng: np.random.Generator, results: Path = RESULTS) -> pd.DataFrame:
    """Spoil rows of the evidence on purpose, in a copy, one at a time: does `faults` find it?

    Args:
        number: of rows per kind of defect, drawn from the rows of claims.csv that some claim rests on.

    Returns:
        One row per defect: kind, row, found.
    """
    judged = [claim for claim in load() if claim.how == "verdict" and not claim.verdict]
    bound = [(claim, evidence) for claim in judged for evidence in claim.evidence if evidence.name == "claims.csv"]
    rows = [(claim, e, row) for claim, e in bound for row in e.rows(results / scale) if row["verdict"] in WORDS[:2]]
    told = []
    for place in rng.permutation(len(rows))[:number]:
        claim, evidence, row = rows[place]
        for kind in DEFECTS:
            with tempfile.TemporaryDirectory() as copy:
                shutil.copytree(results / scale, Path(copy, scale), ignore=shutil.ignore_patterns("*.png", "*.ipynb", "*.html", "*.npz"))
                _spoil(Path(copy, scale, evidence.file), row, kind)
                found = set(faults(scale, Path(copy), [claim])) - set(faults(scale, results, [claim]))
            told.append({"kind": kind, "row": described(evidence), "found": any("no figure" not in line for line in found)})
    return pd.DataFrame(told, columns=["kind", "row", "found"])


def _spoil(path: Path, row: dict, kind: str) -> None:
    with open(path, newline="") as file:
        lines = list(csv.DictReader(file))
    spoilt, low, high = dict(row), float(row["low"]), float(row["high"])
    if kind == DEFECTS[0]:
        spoilt["verdict"] = WORDS[1 - WORDS.index(row["verdict"])]
    name = next(name for name in NAMED if row.get(name))
    if kind == DEFECTS[1]:
        spoilt[name] = high + max(high - low, 0.01)
    kept = [spoilt if line == row else line for line in lines if line != row or kind != DEFECTS[2]]
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerows(kept)
