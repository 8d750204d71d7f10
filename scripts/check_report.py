"""Drives a report's gallery in headless Chromium: order, enlarging, overlays, dots; light, dark and 400 pixels wide.

    pip install playwright
    python scripts/check_report.py RUN/report.html [FOLDER_FOR_SCREENSHOTS]

A page of 2,000 cases: `cargo test --workspace --test cli -- --ignored report_of_2000 --nocapture` says where it is.
Uses the system's Chromium if there is one (`CHROMIUM` names another), else Playwright's. Prints the page's size and the time
until its load event, which must be below 60 MB and 2 s.
"""

import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

SIZES = {"light": (1200, 900), "dark": (1200, 900), "narrow": (400, 800)}


def main() -> None:
    report = Path(sys.argv[1]).resolve()
    shots = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    size = report.stat().st_size
    print(f"{size / 1e6:.1f} MB")
    assert size < 60e6
    browser = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for name, (width, height) in SIZES.items():
            scheme = "dark" if name == "dark" else "light"
            context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
            page = context.new_page()
            faults, requests = [], []
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on("console", lambda message: message.type == "error" and faults.append(message.text))
            page.on("request", lambda request: requests.append(request.url))
            page.goto(report.as_uri(), wait_until="load")
            load = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
            print(f"{name}: load event after {load:.0f} ms, {page.locator('.card').count()} cases")
            assert load < 2000
            check(page)
            if shots:
                shots.mkdir(parents=True, exist_ok=True)
                screenshots(page, shots / name)
            foreign = [url for url in requests if not url.startswith(("file:", "data:"))]
            assert not faults and not foreign, (faults, foreign)
            context.close()
        chromium.close()
    print("ok")


def check(page: Page) -> None:
    def scores() -> list[float]:
        return [float(text) for text in page.locator(".card b").all_text_contents()]

    def names() -> list[str]:
        return page.locator(".card .name").all_text_contents()

    # Order.
    worst = scores()
    assert worst == sorted(worst), worst[:5]
    page.select_option("#order", "best")
    best = scores()
    assert best == sorted(best, reverse=True) and sorted(best) == worst
    page.select_option("#order", "name")
    collated = page.evaluate("(names) => names.sort(new Intl.Collator('en', { numeric: true }).compare)", names())
    assert names() == collated
    page.select_option("#order", "large")
    areas = page.evaluate("""() => {
        const cases = JSON.parse(document.getElementById('cases').textContent);
        return [...document.querySelectorAll('.card')].map((card) => cases[card.dataset.number].truth);
    }""")
    assert areas == sorted(areas, reverse=True)
    page.select_option("#order", "worst")

    # Pictures are loaded as they come into view.
    first = page.locator(".card").first
    first.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('.card img')?.naturalWidth > 0")

    # Overlays.
    layer = first.locator(".layer.prediction")
    assert layer.is_visible()
    page.uncheck("#show-prediction")
    assert not layer.is_visible() and first.locator(".layer.truth").is_visible()
    page.check("#show-prediction")
    page.locator("#colour-prediction").evaluate(
        "(input) => { input.value = '#0000ff'; input.dispatchEvent(new Event('input')); }"
    )
    assert layer.evaluate("(layer) => getComputedStyle(layer).backgroundColor") == "rgb(0, 0, 255)"

    # Enlarged, by a click, and its neighbours by keys.
    first.click()
    viewer = page.locator("#viewer")
    assert viewer.is_visible() and viewer.locator("h3").inner_text() == names()[0]
    page.wait_for_function("document.querySelector('#viewer img')?.naturalWidth > 0")
    assert viewer.locator(".frame").bounding_box()["width"] > first.bounding_box()["width"]
    if len(worst) > 1:
        page.keyboard.press("ArrowRight")
        assert viewer.locator("h3").inner_text() == names()[1]
        page.keyboard.press("ArrowLeft")
    page.keyboard.press("Escape")
    assert not viewer.is_visible()

    # A dot names its case and opens it.
    dot = page.locator("circle[data-case]").first
    name = dot.get_attribute("data-case")
    assert name in dot.locator("title").text_content()
    dot.dispatch_event("click")
    assert viewer.locator("h3").inner_text() == name
    page.keyboard.press("Escape")

    # Nothing is wider than the page.
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"


def screenshots(page: Page, prefix: Path) -> None:
    page.locator(".controls").evaluate("(controls) => controls.parentElement.scrollIntoView()")
    page.wait_for_timeout(500)
    page.screenshot(path=f"{prefix}_gallery.png")
    page.locator(".card").first.click()
    page.wait_for_timeout(300)
    page.screenshot(path=f"{prefix}_enlarged.png")
    page.keyboard.press("Escape")
    if page.locator(".card").count() <= 200:
        page.screenshot(path=f"{prefix}_page.png", full_page=True)


if __name__ == "__main__":
    main()
