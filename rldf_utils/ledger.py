"""Every claim of the paper with its test, its evidence and its verdict.

`data/paper/claims.toml` holds what is fixed; estimates, intervals, n and verdicts are read from what the notebooks wrote.
`python -m rldf_utils.ledger` prints the counts of verdicts; with `--readme` it renews README's status table.
"""

import argparse
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import ceil
from pathlib import Path

import pandas as pd
from scipy.stats import norm

from rldf_utils import stats
from rldf_utils.evidence import Evidence, cell, described, measured, number, scalar
from rldf_utils.results import DATA, RESULTS, ROOT, SCALES, write

WORDS = ("reproduced", "contradicted", "depends on the reading", "undecided", "not testable here", "ill-posed")
KINDS = ("number", "sign", "existence", "universal", "theorem", "scope", "control")
GROUPS = ("Contributions", "Theory", "Insights", "Figures", "Prose", "Tables", "Controls")  #: in the order of the page
HOW = ("verdict", "number", "cells", "at least")
TIERS = {"smoke": "smoke", "tiny": "small world", "paper": "paper"}  #: how a scale is called beside a verdict
LEVEL = 0.05  #: of the test of a row of Table 3
DISTANCES = ("D_f", "D_max", "D_min", "rho", "sigma2", "conv")  #: what Table 3 says that the paper defines
DECIDES = {"n to decide": "n = {:,.0f} would decide", "times_n": "{:,.3g} times as many would decide",
           "more": "{:,.3g} times as many would decide", "times_words": "{:,.2g} times as many words would decide",
           "images": "{:,.0f} images of each set would decide"}  # fmt: skip
#: what is read and not fixed: the columns of notebook 10's claims.csv
READ = ["id", "verdict", "scale", "paper", "estimate", "low", "high", "smallest", "n", "readings", "hinges on", "second verdict", "places"]
START, END = "<!-- verdicts -->", "<!-- /verdicts -->"


@dataclass(frozen=True)
class Claim:
    """A claim of the paper: what data/paper/claims.toml says of it, where its fields are explained."""

    id: str
    group: str
    place: str
    text: str
    kind: str
    how: str = "verdict"
    statistic: str = ""
    direction: int = 0
    smallest: float | str | None = None
    fixed: str = ""
    evidence: tuple[Evidence, ...] = ()
    second: str = ""
    second_evidence: tuple[Evidence, ...] = ()
    paper: Evidence | None = None
    unit: str = ""
    n_from: str = ""
    verdict: str = ""
    places: tuple[str, ...] = ()
    figure: str = ""
    change: str = ""
    needs: str = ""
    deviations: str = ""


def load(path: Path = DATA / "paper" / "claims.toml") -> list[Claim]:
    """The claims, in the order of `GROUPS`.

    Raises:
        ValueError: an unknown field, kind, way to judge or word; an id twice; no evidence and no verdict; an ill-posed claim
            without its two places.
    """
    claims = []
    for section in tomllib.loads(path.read_text())["section"]:
        shared = {key: value for key, value in section.items() if key != "claim"}
        for own in section["claim"]:
            claims.append(_claim(shared | own))
    ids = [claim.id for claim in claims]
    if twice := {i for i in ids if ids.count(i) > 1}:
        raise ValueError(f"{path.name}: the id {', '.join(sorted(twice))} is given twice")
    return sorted(claims, key=lambda claim: GROUPS.index(claim.group))


def _claim(told: dict) -> Claim:
    values, name = told.pop("values", {}), told.get("id", "a claim without id")
    filled = _filled(told, values) if values else told
    if unknown := set(filled) - {f.name for f in fields(Claim)}:
        raise ValueError(f"{name}: no field is called {', '.join(sorted(unknown))}")
    for key in ("evidence", "second_evidence"):
        filled[key] = tuple(Evidence(**item) if isinstance(item, dict) else Evidence.of(item) for item in filled.get(key, ()))
    filled["paper"] = Evidence(**filled["paper"]) if "paper" in filled else None
    filled["places"] = tuple(filled.get("places", ()))
    claim = Claim(**filled)
    fixed = ("", "ill-posed", "not testable here")
    for value, legal in ((claim.group, GROUPS), (claim.kind, KINDS), (claim.how, HOW), (claim.verdict, fixed)):
        if value not in legal:
            raise ValueError(f"{name}: {value!r} is not one of {', '.join(legal)}")
    if not claim.evidence and not claim.verdict:
        raise ValueError(f"{name}: give evidence, or a verdict that needs none")
    if claim.verdict == "ill-posed" and len(claim.places) != 2 and "contradictions.csv" not in {e.name for e in claim.evidence}:
        raise ValueError(f"{name}: an ill-posed claim shows the two places that disagree")
    if claim.verdict == "not testable here" and not claim.needs:
        raise ValueError(f"{name}: say what it needs")
    return claim


def _filled(value, values: dict):
    """A copy in which {names} in texts are filled."""
    if isinstance(value, dict):
        return {key: _filled(item, values) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, values) for item in value]
    return re.sub(r"\{(\w+)\}", lambda match: values[match[1]], value) if isinstance(value, str) else value


def word(verdict: str) -> str:
    """The word of a verdict, without what stands in brackets behind it."""
    return verdict.partition(" (")[0]


def over(words: Sequence[str]) -> str:
    """`stats.verdict_over` where only each reading's word is known, and not its interval."""
    ends = {"reproduced": (2, 3), "contradicted": (-3, -2), "no effect": (-0.5, 0.5), "undecided": (-2, 2)}
    return stats.verdict_over(*zip(*(ends[name] for name in words), strict=True), 1, 1)[0]


def combined(verdicts: Sequence[str]) -> str:
    """The verdict over several readings of one claim; what no test decides does not count."""
    words = [word(v) for v in verdicts]
    if len(set(words)) == 1:
        return verdicts[0]
    tested = [name for name in words if name in WORDS[:4]]
    found = "depends on the reading" if "depends on the reading" in tested else over(tested)
    return verdicts[words.index(found)] if found == "undecided" else found


def of_row(claim: Claim, row: dict, evidence: Evidence, smallest: float | None) -> str:
    """What one row says: its own word, or that of a value that was counted in full."""
    if claim.how == "at least":
        return "reproduced" if measured(row, evidence)["estimate"] >= smallest else "contradicted"
    said = row.get("verdict") or next((v for v in row.values() if isinstance(v, str) and word(v) in WORDS), "")
    more = next((text.format(number(row[key])) for key, text in DECIDES.items() if number(row.get(key)) is not None), "")
    return f"{said} ({more})" if said == "undecided" and more else said


def _extreme(rows: list[dict]) -> tuple[str, dict]:
    """Of a row of Table 3 among our runs: the verdict, and the number that is most unlikely (Bonferroni over all of them)."""
    tested = [row for row in rows if row["statistic"] in DISTANCES]
    tails = [2 * min(float(row["percentile"]), 100 - float(row["percentile"])) / 100 for row in tested]
    least = min(range(len(tested)), key=tails.__getitem__)
    if tails[least] * len(tested) < LEVEL:
        return "contradicted", tested[least]
    runs = ceil(stats.more(*norm.isf([LEVEL / len(tested) / 2, tails[least] / 2])))
    return f"undecided (one run is too few; {runs} with the same mean would decide)", tested[least]


def _against(paper: float, low: float, high: float, smallest: float) -> str:
    """Whether an interval lies within the smallest effect of a published number, wholly beyond it, or neither."""
    if paper - smallest <= low and high <= paper + smallest:
        return "reproduced"
    return "contradicted" if high < paper - smallest or low > paper + smallest else "undecided"


def _readings(rows: list[dict], verdicts: list[str]) -> str:
    """In how many readings the claim holds, by the rows' own counts; without these the rows that can be tested are the cases."""
    own = [f"{row['holds']} of {row['readings']}" if row.get("readings") else row.get("holds in", "") for row in rows]
    if all(own):
        held, readings = (sum(int(text.split(" ")[place]) for text in own) for place in (0, 2))
        return f"{held} of {readings} readings"
    words = [word(v) for v in verdicts]
    return f"{words.count('reproduced')} of {sum(name in WORDS[:4] for name in words)} cases" if len(rows) > 1 else ""


def _change(claim: Claim, verdict: str, smallest: float | None, hinge: str) -> str:
    """What would change the verdict."""
    if claim.change:
        return claim.change
    least = f" the smallest effect, {smallest:g}" if smallest is not None else " the smallest effect"
    match word(verdict):
        case "reproduced":
            return f"an interval that falls short of{least}"
        case "contradicted":
            return f"an interval on the claim's side beyond{least}"
        case "depends on the reading":
            return f"the paper saying which reading it means{f' (of {hinge} above all)' if hinge else ''}"
        case "undecided":
            return f"more runs, if the effect stays as it is{verdict[len('undecided'):]}"
        case "ill-posed":
            return "the paper saying which of the two places holds"
    return f"a run with {claim.needs}"


def judge(claim: Claim, scale: str, results: Path = RESULTS) -> dict:
    """A claim's row of the ledger: what is fixed about it, and what the notebooks found at a scale."""
    folder = results / scale
    pairs = []
    for evidence in claim.evidence:
        pairs += [(row, evidence) for row in evidence.rows(folder) if row not in [r for r, _ in pairs]]
    row, evidence = pairs[0] if pairs else ({}, Evidence(""))
    smallest, paper, verdicts = claim.smallest, None, []
    if isinstance(smallest, str):
        smallest = scalar(folder, smallest)
    if number(row.get("smallest")) is not None:
        smallest = number(row["smallest"])
    if claim.paper:
        paper = number(claim.paper.rows(DATA / "paper")[0][claim.paper.column])
    if claim.verdict == "ill-posed":
        verdict, smallest = "ill-posed", None
    elif claim.verdict:
        verdict = f"{claim.verdict} (needs {claim.needs})"
    elif not pairs:
        notebook = claim.evidence[0].notebook
        ran = (folder / notebook / "metrics.json").is_file()  # then it judges less at this scale
        verdict = f"not testable here (needs {claim.needs if ran else f'a run of {notebook}'})"
    elif claim.how == "cells":
        verdict, row = _extreme([r for r, _ in pairs])
        paper = number(row["paper"])
    elif claim.how == "number":
        found = measured(row, evidence)
        verdict = f"not testable here (needs {claim.needs})"
        if scale == "paper":
            verdict = _against(paper, found["low"], found["high"], smallest)
    else:
        verdicts = [of_row(claim, *pair, smallest) for pair in pairs]
        verdict = combined(verdicts)
    again = [of_row(claim, r, e, smallest) for e in claim.second_evidence for r in e.rows(folder)]
    places = claim.places or ((row["place"], row["against it"]) if "against it" in row else ())
    hinge = row.get("hinges on") or row.get("hinges_on") or ""
    n = scalar(folder, claim.n_from) if claim.n_from and verdicts else number(row.get("n")) or number(row.get("seeds"))
    return {
        "id": claim.id, "group": claim.group, "place": claim.place, "claim": claim.text, "kind": claim.kind, "verdict": verdict,
        "scale": "theory" if claim.kind == "theorem" or verdict == "ill-posed" else TIERS[scale],
        "statistic": row["statistic"] + ": " + claim.statistic if claim.how == "cells" and row else claim.statistic,
        "direction": {1: "larger", -1: "smaller"}.get(claim.direction, ""), "smallest": smallest, "fixed": claim.fixed,
        "paper": paper, **measured(row, evidence), "n": n, "unit": claim.unit,
        "readings": _readings([r for r, _ in pairs], verdicts) if verdicts else "", "hinges on": hinge,
        "notebook": evidence.notebook or (claim.evidence[0].notebook if claim.evidence else ""),
        "cell": cell(evidence) if pairs else "", "evidence": " | ".join(map(described, claim.evidence)),
        "second route": claim.second, "second verdict": combined(again) if again else "",
        "places": " | ".join(places), "change": _change(claim, verdict, smallest, hinge), "needs": claim.needs,
        "deviations": claim.deviations, "figure": claim.figure,
    }  # fmt: skip


def judged(scale: str, results: Path = RESULTS, claims: Sequence[Claim] | None = None) -> pd.DataFrame:
    """The ledger at a scale: one row per claim."""
    return pd.DataFrame([judge(claim, scale, results) for claim in claims or load()])


def counts(table: pd.DataFrame, by: str) -> pd.DataFrame:
    """Number of claims per verdict (rows) and value of a column (columns), without the controls."""
    ours = table[table["kind"] != "control"]
    found = pd.crosstab(ours["verdict"].map(word), ours[by])
    return found.reindex(index=[w for w in WORDS if w in found.index], columns=list(dict.fromkeys(ours[by])))


def says(table: pd.DataFrame) -> str:
    """The counts in one line: "100 claims of the paper: reproduced 40, ..."."""
    found = counts(table, "scale").sum(axis=1)
    return f"{found.sum()} claims of the paper: " + ", ".join(f"{name} {n}" for name, n in found.items())


def status(table: pd.DataFrame) -> str:
    """README's status table, as Markdown: verdicts by where the paper makes the claim."""
    found = counts(table, "group").T.rename_axis(None)
    found.loc["**all**"] = found.sum()
    return f"{found.to_markdown()}\n"


def rounded(value: float) -> str:
    """A number for reading."""
    return (f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}").replace("-", "\N{MINUS SIGN}")


def interval(row: pd.Series) -> str:
    """An estimate with its interval, or "" if there is none."""
    if pd.isna(row["estimate"]):
        return ""
    return rounded(row["estimate"]) + (f" ({rounded(row['low'])} to {rounded(row['high'])})" if pd.notna(row["low"]) else "")


def markdown(table: pd.DataFrame) -> str:
    """The ledger for reading on a code host: one table per place in the paper."""
    lines = [f"{says(table)}.", ""]
    for group, part in table.groupby("group", sort=False):
        lines += [f"## {group}", "", "| id | claim | verdict | scale | measured | holds in |", "|---|---|---|---|---|---|"]
        for _, row in part.iterrows():
            told = (row["id"], f"{row['claim']} ({row['place']})", row["verdict"], row["scale"], interval(row), row["readings"])
            lines.append(f"| {' | '.join(told)} |")
        lines.append("")
    return "\n".join(lines)


def renewed(readme: str, table: pd.DataFrame) -> str:
    """README's text with the status table between its two marks made anew.

    Raises:
        ValueError: the marks are not there, once each and in order.
    """
    before, start, rest = readme.partition(START)
    _, end, after = rest.partition(END)
    if not end or START in rest or END in after:
        raise ValueError(f"README.md needs {START} and {END}, once each and in this order")
    return f"{before}{start}\n\n{status(table)}\n{end}{after}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m rldf_utils.ledger", description=__doc__)
    parser.add_argument("scale", nargs="?", default="tiny", choices=SCALES)
    parser.add_argument("--readme", action="store_true", help="renew the status table of README.md")
    options = parser.parse_args(arguments)
    table = judged(options.scale)
    if options.readme:
        write(ROOT / "README.md", renewed((ROOT / "README.md").read_text(), table))
    print(status(table), says(table), sep="\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
