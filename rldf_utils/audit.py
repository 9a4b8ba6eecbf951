"""What is wrong with the evidence of the ledger: rows that are not there, words that do not follow from their numbers."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rldf_utils import stats
from rldf_utils.evidence import Evidence, cell, described, measured, number, scalar
from rldf_utils.ledger import WORDS, Claim, load, of_row, over, word
from rldf_utils.results import RESULTS, ROOT


def awaited(claims: Iterable[Claim]) -> dict[str, list[str]]:
    """Notebook that is not there yet -> the claims that rest on it."""
    found = {}
    for claim in claims:
        for evidence in claim.evidence:
            if not (ROOT / "notebooks" / f"{evidence.notebook}.ipynb").is_file():
                found.setdefault(evidence.notebook, []).append(claim.id)
    return found


def faults(scale: str, results: Path = RESULTS, claims: Sequence[Claim] | None = None) -> list[str]:
    """What is wrong with the evidence, one line each: rows that are not there, words that do not follow from their numbers."""
    claims, found = claims or load(), []
    missing = awaited(claims)
    for claim in claims:
        if claim.figure and not (results / scale / claim.figure).is_file():
            found.append(f"{claim.id}: there is no figure {claim.figure}")
        for evidence in (*claim.evidence, *claim.second_evidence):
            if evidence.notebook in missing:
                continue
            rows = evidence.rows(results / scale)
            if not rows:
                found.append(f"{claim.id}: there is no row {described(evidence)}")
            if rows and not cell(evidence):
                found.append(f"{claim.id}: no cell of {evidence.notebook} writes {evidence.name}")
            for row in rows if claim.how == "verdict" and not claim.verdict else ():
                smallest = scalar(results / scale, claim.smallest) if isinstance(claim.smallest, str) else claim.smallest
                if evidence in claim.second_evidence and isinstance(claim.smallest, str):
                    smallest = None  # in another unit
                found += [f"{claim.id}: {said} in {described(evidence)}" for said in _row_faults(claim, row, evidence, smallest)]
                found += _said_twice(claim, row, evidence, results / scale)
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


def _said_twice(claim: Claim, row: dict, evidence: Evidence, folder: Path) -> Iterator[str]:
    """A row of claims.csv whose verdict is not the one that the same notebook's metrics.json has of the claim."""
    path = folder / evidence.notebook / "metrics.json"
    if evidence.name == "claims.csv" and path.is_file():
        words = {said for text, said in _told(json.loads(path.read_text())["metrics"]) if text == row["claim"]}
        if words and row["verdict"] not in words:
            yield f"{claim.id}: {row['verdict']!r} in {described(evidence)}, and {', '.join(sorted(words))} in metrics.json"


def _told(value) -> Iterator[tuple[str, str]]:
    """(claim, verdict) of every claim in nested metrics."""
    if isinstance(value, dict):
        if "claim" in value and "verdict" in value:
            yield value["claim"], value["verdict"]
        yield from ((key, item) for key, item in value.items() if isinstance(item, str))
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _told(item)
