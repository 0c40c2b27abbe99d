"""The report in a real browser: drawn, silent, offline, readable by keyboard, on a phone, in the dark and on paper."""

import io
import re
import shutil
import zlib

import numpy as np
import pytest
from PIL import Image

from solvable import lab
from tests.lab import hostile
from tests.lab.hostile import Hostile
from tests.lab.toy import Ceiling, Decay, SampleMean

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
DRAWN = "html[data-graphs=drawn]"
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return hostile.written(tmp_path_factory)


@pytest.fixture(scope="module")
def folder(written):
    return written.path.parent


@pytest.fixture(scope="module")
def address(written):
    return written.path.as_uri()


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def visit(browser, address):
    """Open the report with some settings; gives the page and what it said, asked for and popped up."""
    contexts = []

    def opened(wait=DRAWN, **settings):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
        contexts.append(context)
        page, noticed = context.new_page(), []
        page.on("console", lambda message: noticed.append(f"console {message.type}: {message.text}"))
        page.on("pageerror", lambda error: noticed.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (noticed.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: noticed.append(request.url))
        page.goto(address)
        page.wait_for_selector(wait, state="attached", timeout=60_000)
        return page, noticed

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def desk(visit):
    return visit()


def graphs(page):
    """What Plotly holds and has drawn, by graph: traces with their numbers, drawn traces, points and error bars."""
    return page.evaluate(
        """() => [...document.querySelectorAll('.graph')].map(place => ({
            id: place.id, label: place.getAttribute('aria-label'), title: place._fullLayout.yaxis.title.text,
            traces: place._fullData.map(one => ({
                name: one.name, x: Array.from(one.x || []), y: Array.from(one.y || []), mode: one.mode,
                error: one.error_y && one.error_y.array ? Array.from(one.error_y.array) : null,
            })),
            svg: place.querySelectorAll('svg.main-svg').length,
            drawn: place.querySelectorAll('.scatterlayer .trace').length,
            points: [...place.querySelectorAll('.scatterlayer .trace')].map(t => t.querySelectorAll('.point').length),
            bars: place.querySelectorAll('.yerror').length,
        }))"""
    )


def test_nothing_is_said_asked_for_or_popped_up(desk, address):
    page, noticed = desk
    assert noticed == [address]
    fetched = page.evaluate("() => performance.getEntriesByType('resource').map(one => one.name)")
    assert [name for name in fetched if not name.startswith(("data:", "blob:"))] == []


def test_every_graph_is_drawn_with_the_numbers_of_the_dataset(desk, folder):
    page, _ = desk
    found = graphs(page)
    assert len(found) == 7  # one a panel, and the calibration
    for graph in found:
        assert graph["svg"] >= 1
        assert graph["drawn"] == len(graph["traces"]) > 0, graph["id"]
    (ceiling,) = [graph for graph in found if [trace["name"] for trace in graph["traces"]] == ["ceiling", "simulation"]]
    data = lab.open(folder, Ceiling)
    theory, points = ceiling["traces"]
    np.testing.assert_array_equal(np.array(theory["y"])[np.isin(theory["x"], data["samples"])], data["theory_mean"])
    np.testing.assert_allclose(points["y"], data["mean"].mean("replicate"))
    np.testing.assert_allclose(points["error"], data["mean"].std("replicate", ddof=1) / np.sqrt(6))
    assert (ceiling["points"], ceiling["bars"]) == ([0, 2], 2)
    (decay,) = [graph for graph in found if graph["title"] == "loss"]
    path = lab.open(folder, Decay)
    assert [len(trace["y"]) for trace in decay["traces"] if trace["mode"] == "lines"] == [101, 101]
    np.testing.assert_array_equal(decay["traces"][0]["y"], path["theory_loss"].sel(rate=0.1))
    names = [trace["name"] for graph in found for trace in graph["traces"]]
    assert "&lt;img src=x onerror=alert(2)&gt;: simulation" in names


def test_the_tables_are_the_agreement(desk, folder):
    page, _ = desk
    rows = [row for row in lab.compare(folder, SampleMean) if not row.failed]
    table = page.get_by_role("region", name="All comparisons, the worst first (toy/mean)", include_hidden=True)
    verdicts = table.locator("tbody tr td:nth-child(2)").all_text_contents()
    assert sorted(text[2:] for text in verdicts) == sorted(
        "identity" if row.comparison.identity else row.comparison.verdict for row in rows
    )
    differing = [row for row in rows if row.comparison.agrees is False]
    assert all("differs by" in text for text in verdicts[: len(differing)])


def test_hovering_shows_the_label_and_the_numbers(visit):
    page, _ = visit()
    place = page.locator(".graph").first
    place.scroll_into_view_if_needed()
    box = place.locator(".scatterlayer .trace .point").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    label = place.locator(".hoverlayer .hovertext")
    label.wait_for()
    shown = " ".join(label.all_text_contents())
    assert re.search(r"simulation\s*samples n 4\s*sample mean 0\.\d+ ± 0\.\d+", shown), shown


def test_zooming_changes_the_range_and_a_double_click_brings_it_back(visit):
    page, _ = visit()
    place = page.locator(".graph").first
    place.scroll_into_view_if_needed()
    span = "() => document.querySelector('.graph')._fullLayout.yaxis.range.slice()"
    before = page.evaluate(span)
    box = place.locator(".nsewdrag").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 140, steps=5)
    page.mouse.up()
    page.wait_for_timeout(300)
    assert page.evaluate(span) != before
    page.mouse.dblclick(box["x"] + 50, box["y"] + 50)
    page.wait_for_timeout(500)
    assert page.evaluate(span) == pytest.approx(before)


def test_hostile_texts_are_texts(desk):
    page, _ = desk
    assert page.get_by_role("heading", name=Hostile.name, exact=True).count() == 1
    assert page.locator("iframe, main script, [onerror], [onload], [onmouseover]").count() == 0
    assert page.locator("img:not([src^='data:image/svg+xml'])").count() == 0
    assert page.locator("a[href*=evil]").count() == 0
    assert "onerror=alert(2)" in page.locator(".legend", has_text="onerror").first.text_content()
    titles = page.locator(".ytitle").all_text_contents()
    assert any("<script>alert(9)</script>" in "".join(title.split()) for title in titles), titles


def test_pictures_are_kept_for_paper(desk):
    page, _ = desk
    assert page.locator(".picture:visible").count() == 0
    page.emulate_media(media="print")
    pictures = page.locator(".picture")
    assert pictures.count() == page.locator(".picture:visible").count() > 0
    assert page.locator(".graph:visible").count() == 0
    loaded = page.evaluate(
        "() => [...document.images].map(one => one.complete && one.naturalWidth > 100 && one.alt.length > 40)"
    )
    assert all(loaded)
    width = page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1]
    page.emulate_media(media="screen")


def test_every_printed_page_has_text(visit):
    page, _ = visit()
    page.locator("summary", has_text="All").first.click()
    printed = page.pdf(format="A4")
    contents = dict(re.findall(rb"(\d+) 0 obj\n<<[^>]*/FlateDecode[^>]*>> stream\n(.*?)endstream", printed, re.S))
    pages = re.findall(rb"/Type /Page\n.*?/Contents (\d+) 0 R", printed, re.S)
    assert 4 < len(pages) == len(re.findall(rb"/Type /Page\b", printed)) < 30
    texts = [len(re.findall(rb"T[jJ]\b", zlib.decompressobj().decompress(contents[number]))) for number in pages]
    assert min(texts) > 5, texts


def test_on_paper_what_is_closed_is_left_out_and_no_heading_stands_alone(visit):
    page, _ = visit()
    page.emulate_media(media="print")
    assert page.locator("details:visible").count() == 0
    breaks = "() => [...document.querySelectorAll('h2, h3, h4')].map(one => getComputedStyle(one).breakAfter)"
    assert set(page.evaluate(breaks)) == {"avoid"}


def test_a_desktop_is_used(visit):
    page, _ = visit(viewport={"width": 1400, "height": 900})
    main = page.locator("main").bounding_box()
    assert main["width"] == 1400
    panels = page.locator(".panels", has=page.locator(".panel:nth-child(2)")).first.locator(".panel")
    first, second = (panels.nth(k).bounding_box() for k in range(2))
    assert first["y"] == second["y"]
    assert second["x"] + second["width"] > 700
    for left, right in (("Parameters", "Predictions"), ("How to reproduce it", "Where it was computed")):
        beside = [page.get_by_role("heading", name=name, exact=True).first.bounding_box() for name in (left, right)]
        assert beside[0]["y"] == beside[1]["y"]
        assert beside[0]["x"] + 500 < beside[1]["x"]
    wide = page.get_by_role("region", name="The worst comparisons", exact=False).first.locator("table").bounding_box()
    assert wide["width"] > 0.9 * main["width"]
    ems = "one => one.clientWidth / parseFloat(getComputedStyle(one).fontSize)"
    assert max(one.evaluate(ems) for one in page.locator("main p").all()) < 54  # 75 digits of a wide font


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_table_that_scrolls_shows_it_and_can_be_scrolled_by_key(visit, scheme):
    page, _ = visit(**PHONE, color_scheme=scheme)
    box = page.get_by_role("region", name="The worst comparisons", exact=False).first
    box.scroll_into_view_if_needed()
    far = box.evaluate("one => one.scrollWidth - one.clientWidth")
    assert far > 100

    def shades():
        """How far the empty strip below the caption differs at the left and the right edge from the paper."""
        taken = np.asarray(Image.open(io.BytesIO(box.screenshot())).convert("L"), dtype=float)
        paper = np.median(taken)
        return [float(np.median(abs(edge - paper))) for edge in (taken[:, 1], taken[:, -2])]

    left, right = shades()
    assert left < 2 < 20 < right
    box.evaluate("one => one.scrollLeft = one.scrollWidth / 2 - one.clientWidth / 2")
    assert min(shades()) > 20
    box.evaluate("one => one.scrollLeft = 0")
    box.focus()
    for _ in range(40):
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(20)
    assert box.evaluate("one => one.scrollLeft") > 100
    box.evaluate("one => one.scrollLeft = one.scrollWidth")
    left, right = shades()
    assert right < 2 < 20 < left


def test_the_bundle_draws_every_kind_that_figures_need(visit):
    page, noticed = visit()
    drawn = page.evaluate(
        """async () => {
            const place = document.body.appendChild(document.createElement('div'));
            const z = [[1, 2, 3], [2, 3, 4], [3, 4, 6]], contours = {coloring: 'lines'};
            await Plotly.newPlot(place, [
                {type: 'heatmap', z}, {type: 'contour', z, contours},
                {type: 'bar', y: [1, 2]}, {type: 'scatter', y: [3, 1]},
            ]);
            const found = ['.hm image', '.contourlines path', '.bars path', '.scatter path'];
            return [place._fullData.map(one => one.type), found.map(one => place.querySelectorAll(one).length)];
        }"""
    )
    assert drawn[0] == ["heatmap", "contour", "bar", "scatter"]
    assert min(drawn[1]) > 0
    assert [text for text in noticed[1:] if not text.startswith("data:")] == []


def test_without_scripts_the_pictures_stand(visit):
    page, noticed = visit(wait="main", java_script_enabled=False)
    assert page.locator(".picture:visible").count() == page.locator(".picture").count() > 0
    assert page.locator(".graph:visible").count() == 0
    assert len(noticed) == 1


def test_on_a_phone_nothing_is_wider_than_the_screen(visit):
    page, noticed = visit(**PHONE)
    assert page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]") == [390, 390]
    assert len(noticed) == 1
    for summary in page.locator("summary").all():
        summary.click()
    assert page.evaluate("() => document.documentElement.scrollWidth") == 390
    wide = "() => [...document.querySelectorAll('.graph')].filter(one => one.scrollWidth > 390).length"
    assert page.evaluate(wide) == 0
    box = page.locator(".graph").first.bounding_box()
    assert box["width"] <= 390 - 2 * 12


CONTRAST = """(selector) => {
    const channels = (text) => text.match(/[\\d.]+/g).map(Number);
    const part = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
    const behind = (one) => {
        for (; one; one = one.parentElement) {
            const c = channels(getComputedStyle(one).backgroundColor);
            if (c.length < 4 || c[3] > 0) return c;
        }
        return [255, 255, 255];
    };
    return Math.min(...[...document.querySelectorAll(selector)].map(one => {
        const style = getComputedStyle(one);
        const front = light(channels(one instanceof SVGElement ? style.fill : style.color)), back = light(behind(one));
        return (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
    }));
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out(visit, scheme):
    page, _ = visit(color_scheme=scheme)
    dark = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(255, 255, 255)") is (scheme == "light")
    texts = "p, h1, h2, h3, a, summary, th, td, caption:not(.quiet) span, code, li, dt, dd, .mark"
    assert page.evaluate(CONTRAST, texts) >= 4.5
    assert page.evaluate(CONTRAST, ".xtick text, .ytick text, .xtitle, .ytitle") >= 4.5
    if scheme == "dark":
        lines = page.evaluate(
            "() => [...document.querySelectorAll('.scatterlayer .js-line')].map(one => getComputedStyle(one).stroke)"
        )
        for line in lines:
            assert max(int(part) for part in re.findall(r"\d+", line)[:3]) > 100, line


def test_the_colours_follow_the_scheme_while_the_page_is_open(visit):
    page, noticed = visit()
    axis = "() => getComputedStyle(document.querySelector('.xtitle')).fill"
    before = page.evaluate(axis)
    page.emulate_media(color_scheme="dark")
    for _ in range(100):
        if page.evaluate(axis) != before:
            break
        page.wait_for_timeout(50)
    assert page.evaluate(axis) == "rgb(230, 232, 234)"
    assert len(noticed) == 1


def test_a_graph_can_be_kept_as_a_picture(visit):
    page, noticed = visit()
    page.locator(".graph").first.hover()
    with page.expect_download() as kept:
        page.locator(".modebar-btn[data-title^=Download]").first.click()
    assert kept.value.suggested_filename.endswith(".png")
    assert [text for text in noticed[1:] if not text.startswith(("data:", "blob:"))] == []


def test_the_keyboard_reaches_everything(visit):
    page, _ = visit()
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.textContent") == "Skip to the results"
    page.keyboard.press("Enter")
    assert page.evaluate("() => document.activeElement.id") == "experiment-1"
    reached = set()
    for _ in range(200):
        page.keyboard.press("Tab")
        label = page.evaluate(
            "() => { const one = document.activeElement; return one === document.body ? '' :"
            " one.getAttribute('aria-label') || one.textContent; }"
        )
        if not label:
            break
        reached.add(label)
    regions = page.evaluate(
        "() => [...document.querySelectorAll('.scroll')].filter(one => one.checkVisibility()).map(one => one.ariaLabel)"
    )
    assert regions
    assert set(regions) <= reached
    assert "The numbers behind the figure" in reached


def test_the_tree_of_the_screen_reader_has_names(desk):
    page, _ = desk
    for one in page.locator("[role=img], img").all():
        assert len((one.get_attribute("aria-label") or one.get_attribute("alt") or "").strip()) > 40
    for role in ("navigation", "main", "table", "columnheader", "rowheader"):
        assert page.get_by_role(role).count() > 0
    assert page.get_by_role("heading", level=1).count() == 1
