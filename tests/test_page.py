"""The result page, looked at by a browser with the network off: what it asks for, says, shows and hides."""

import hashlib
import json
import re
import shutil
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from browser import Browser, needs_browser

from rldf_utils import compare, ledger, page
from rldf_utils.ledger import WORDS, word

ROOT = Path(__file__).resolve().parent.parent
WIDTHS = (390, 1280)
FETCHED = r"""(?:src|srcset|action|data|poster|@import|url\()\s*=?\s*["'(]?\s*(?:https?:)?//"""
OUTSIDE = re.compile(FETCHED + r"""|<link[^>]+href=["'](?!data:)|<script|<iframe""")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    it = Browser(tmp_path_factory.mktemp("profile"))
    yield it
    it.close()


@pytest.fixture(scope="module")
def table():
    return ledger.judged("tiny", ROOT / "results")


@pytest.fixture(scope="module")
def site(table, tmp_path_factory):
    """The pages of the committed results, in a folder of their own: what notebooks made, and two of their pages."""
    results = tmp_path_factory.mktemp("a site")
    for name in ("01_grammar_encoding", "A2_agent_claims"):
        shutil.copytree(ROOT / "results" / "tiny" / name, results / "tiny" / name)
    for figure in {path for path in table["figure"] if (ROOT / "results" / "tiny" / path).is_file()}:
        (results / "tiny" / figure).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / "results" / "tiny" / figure, results / "tiny" / figure)
    path, _ = page.save("tiny", table, results)
    return path


def pages(site: Path) -> list[Path]:
    return [site, *sorted(site.parent.glob("*/executed.html"))]


def test_no_page_names_an_outside_address_that_a_browser_would_fetch(site):
    assert len(pages(site)) == 3
    for path in pages(site):
        text = path.read_text()
        assert not OUTSIDE.search(text), OUTSIDE.search(text)
        assert text.count("Content-Security-Policy") == 1 and "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in text


@pytest.mark.parametrize("fault", [
    '<img src="https://example.org/a.png">', "<style>a { background: url(//example.org/a.png) }</style>", "<script>1</script>",
    '<link rel="stylesheet" href="https://example.org/a.css">', "<style>@import 'https://example.org/a.css';</style>"])  # fmt: skip
def test_the_test_would_find_an_outside_address(fault):
    assert OUTSIDE.search(fault)


def test_the_page_is_small(site):
    assert site.stat().st_size < 600_000


def test_the_template_is_installed_with_the_package():
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert page.TEMPLATE.relative_to(ROOT).as_posix() == f"rldf_utils/{data['rldf_utils'][0]}" and page.TEMPLATE.is_file()


def test_every_claim_is_on_the_page_with_its_word_and_every_link_leads_somewhere(site, table):
    text = site.read_text()
    for _, row in table.iterrows():
        (found,) = re.findall(rf'<tr role="row" class="claim v(\d)" id="{re.escape(row["id"])}">', text)
        assert WORDS[int(found) - 1] == word(row["verdict"])
    for target, anchor in re.findall(r'href="(?!data:|#)([^"#]+)(?:#([^"]*))?"', text):
        assert (site.parent / target).is_file(), target
        assert not anchor or f'id="{anchor}"' in (site.parent / target).read_text(), (target, anchor)
    for target in re.findall(r'href="#([^"]+)"', text):
        assert f'id="{target}"' in text


def test_a_claim_shows_its_test_its_evidence_with_hash_and_the_command_that_makes_it(site):
    (row,) = re.findall(r'id="I5-cost">(.*?)</tr>', site.read_text(), re.DOTALL)
    told = dict(re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>", row))
    digest = hashlib.sha256((site.parent / "A2_agent_claims" / "claims.csv").read_bytes()).hexdigest()[:12]
    assert "smallest effect of interest 0.1" in told["test"] and f"sha256 {digest}" in told["evidence"]
    assert told["command"] == "make results/tiny/A2_agent_claims/executed.ipynb" and told["would change it"] and told["at paper scale"]


def test_the_status_is_that_of_the_ledger(site, table):
    text = site.read_text()
    for name, numbers in ledger.counts(table, "scale").iterrows():
        (row,) = re.findall(rf"</span> {name}<span class=\"meaning\">[^<]+</span></th>(.*?)</tr>", text)
        assert [int(n) for n in re.findall(r"<td class=\"num\">(\d+)</td>", row)] == numbers.tolist()


@needs_browser
@pytest.mark.parametrize("width", WIDTHS)
def test_a_page_asks_for_nothing_says_nothing_and_is_no_wider_than_the_screen(site, browser, width):
    for path in pages(site):
        for dark in (False, True):
            browser.visit(path, width, dark)
            assert browser.asked() == [] and browser.said() == [], path
            assert browser.js("document.documentElement.scrollWidth") <= width, path
            ink, paper = (browser.js(f"getComputedStyle(document.body).{name}") for name in ("color", "backgroundColor"))
            assert contrast(ink, paper) > 7 and (luminance(paper) < 0.1) == dark


@needs_browser
def test_the_browser_would_see_a_request_and_an_error(site, browser, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text(site.read_text().replace("<body>", '<body><img src="https://example.org/a.png" alt=""><script>1</script>', 1))
    browser.visit(bad, 1280)
    assert browser.said(), "the policy refuses both, and the console says so"
    bad.write_text(re.sub("<meta http-equiv[^>]*>", "", bad.read_text()))
    browser.visit(bad, 1280)
    assert browser.asked() == ["https://example.org/a.png"]


def luminance(color: str) -> float:
    """Of a CSS colour "rgb(r, g, b)" (WCAG 2)."""
    parts = [int(n) / 255 for n in re.findall(r"\d+", color)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


SHOWN = "[...document.querySelectorAll('tr.claim')].filter(row => row.getClientRects().length).map(row => row.id)"


@needs_browser
def test_the_filters_show_what_they_say_by_mouse_and_by_keyboard(site, browser, table):
    browser.visit(site, 1280)
    words, groups = table["verdict"].map(word), list(dict.fromkeys(table["group"]))
    assert sorted(browser.js(SHOWN)) == sorted(table["id"])
    for place, name in enumerate(WORDS, 1):
        browser.js(f"document.getElementById('w{place}').click()")
        for number, group in enumerate(["", *groups]):
            browser.js(f"document.getElementById('g{number}').click()")
            expected = table["id"][(words == name) & (table["group"] == group if group else True)]
            assert sorted(browser.js(SHOWN)) == sorted(expected), (name, group)
            assert bool(browser.js("document.querySelector('.none').getClientRects().length")) == (not len(expected))
            heads = browser.js("[...document.querySelectorAll('tr.group')].filter(row => row.getClientRects().length).length")
            assert heads == table.loc[expected.index, "group"].nunique() or group, "no group without a claim"
    status = browser.js("[...document.querySelectorAll('.plain tbody tr')].every(row => row.getClientRects().length)")
    assert status is True, "the filters leave the status alone"
    browser.visit(site, 1280)
    browser.js("document.getElementById('w0').focus()")
    for kind in ("rawKeyDown", "keyUp"):
        browser("Input.dispatchKeyEvent", type=kind, key="ArrowRight", code="ArrowRight", windowsVirtualKeyCode=39)
    assert sorted(browser.js(SHOWN)) == sorted(table["id"][words == WORDS[0]])


@needs_browser
def test_the_words_can_be_read_in_both_schemes(site, browser):
    for dark in (False, True):
        browser.visit(site, 1280, dark)
        paper = browser.js("getComputedStyle(document.body).backgroundColor")
        for selector in (*(f".v{n} .word" for n in range(1, 7)), ".soft", "a[href^='0']", "summary"):
            ink = browser.js(f"getComputedStyle(document.querySelector({json.dumps(selector)})).color")
            assert contrast(ink, paper) >= 4.5, (selector, dark, ink, paper)


@needs_browser
def test_a_screen_reader_finds_headings_a_table_and_names(site, browser):
    for width in WIDTHS:
        browser.visit(site, width)
        nodes = browser("Accessibility.getFullAXTree")["nodes"]
        seen = [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes if not n["ignored"]]
        roles = Counter(role for role, _ in seen)
        assert roles["table"] >= 2 and roles["radio"] == 2 + len(WORDS) + len(ledger.GROUPS) and roles["main"] == 1
        assert roles["columnheader"] >= 4 and not [role for role, name in seen if role in ("link", "radio", "image") and not name]
    book = pages(site)[1]
    browser.visit(book, 1280)
    assert browser.js("[...document.images].every(i => i.alt && !i.alt.startsWith('No description'))") is True
    assert browser.js("[...document.images].every(i => i.naturalWidth > 0)") is True


def test_the_measured_runs_are_those_of_the_reference():
    rows = page.machines("tiny")
    known = json.loads(compare.REFERENCE.read_text())["tiny"]["runs"]
    told = [run["name"] for other in (False, True) for run in known[1:] if (run["seed"] != known[0]["seed"]) == other]
    assert [row["name"] for row in rows] == told and all(0 <= r["differ"] <= r["verdicts"] for r in rows), "machines, then seeds"
    assert page.machines("smoke") == []


def test_the_last_line_says_what_compare_says_the_counts_and_where_the_page_is(table, site, monkeypatch, capsys):
    monkeypatch.setattr(page.ledger, "judged", lambda scale: table)
    monkeypatch.setattr(page, "save", lambda scale, table: (ROOT / "results" / "tiny" / "index.html", "AGREES with the committed run"))
    assert page.main([]) == 0
    assert capsys.readouterr().out == f"AGREES with the committed run | {ledger.says(table)} | results/tiny/index.html\n"


def test_the_smallest_effect_stands_beside_what_was_measured_and_nothing_beside_what_is_ill_posed(table):
    rows = table.set_index("id")
    assert "smallest effect 0.1" in page._here(rows.loc["I5-cost"])
    bad = rows[rows["verdict"] == "ill-posed"]
    assert bad["estimate"].notna().any() and not any(page._here(row) for _, row in bad.iterrows())
