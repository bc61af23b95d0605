"""Open every page of the built site in headless Chromium, as a reader would; ``make site-check``.

    python docs/check_site.py docs/_build/html [--pictures folder]

Each page is opened in a window of a desktop and in one of a phone, light and dark. It fails where
the console shows an error, a file is missing, another server is asked, a page is wider than the
phone, a picture is too small to be read, text in the dark is dark, or a search finds nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import sync_playwright

WINDOWS = {"desktop": (1280, 900), "phone": (390, 844)}
# Pages of which there are pictures to look at.
SHOWN = ("index", "user_guide/outliers", "comparison", "gallery/plot_production", "api")
WORDS = {"imputer": 3, "checkpoint": 1, "posterior": 5}
# A picture of a curve cannot be read below this width in pixels, nor text below this ratio.
SMALLEST_PICTURE, LEAST_CONTRAST = 300, 4.5

WIDTH = "document.documentElement.scrollWidth - window.innerWidth"
PICTURES = """[...document.querySelectorAll('article img')]
  .filter(i => i.naturalWidth > 400 && !i.closest('.sphx-glr-thumbcontainer'))
  .map(i => [i.getAttribute('src'), i.getBoundingClientRect().width, i.naturalWidth])"""
CUT = """[...document.querySelectorAll('article h1, article h2, article h3, article p')]
  .filter(e => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== 'inline')
  .map(e => e.textContent.trim().slice(0, 60))"""
CONTRAST = """(() => {
  const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number).map(v => {
    v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const a = light(getComputedStyle(document.querySelector('article p, article li')).color);
  const b = light(getComputedStyle(document.body).backgroundColor);
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); })()"""


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and prints nothing."""

    def log_message(self, *_):
        pass


def serve(folder: Path) -> tuple[ThreadingHTTPServer, str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}"


def watched(page, root: str, found: list[str]) -> None:
    """Note what a reader would not see: errors, missing files, other servers."""
    page.on("pageerror", lambda error: found.append(f"{page.url}: {error}"))
    page.on(
        "console",
        lambda told: told.type == "error" and found.append(f"{page.url}: {told.text}"),
    )
    page.on(
        "request",
        lambda asked: (
            asked.url.startswith((root, "data:", "blob:"))
            or found.append(f"{page.url}: asks {asked.url}")
        ),
    )
    page.on(
        "response",
        lambda got: got.status >= 400 and found.append(f"{page.url}: {got.status} {got.url}"),
    )


def check_page(page, window: str, scheme: str) -> list[str]:
    """What is wrong with the page that is open."""
    found = []
    if page.evaluate(WIDTH) > 1:
        found.append(f"wider than the {window} by {page.evaluate(WIDTH)} pixels")
    found += [f"cut on the {window}: {text!r}" for text in page.evaluate(CUT)]
    for source, width, natural in page.evaluate(PICTURES):
        if width < min(SMALLEST_PICTURE, natural):
            found.append(f"{source} is {width:.0f} pixels wide on the {window}")
    if page.locator("article p, article li").count():
        ratio = page.evaluate(CONTRAST)
        if ratio < LEAST_CONTRAST:
            found.append(f"contrast {ratio:.1f} of text, {scheme}")
    if page.locator("mjx-merror").count():
        found.append("a formula that cannot be set")
    if page.locator(".math").count() and not page.locator("mjx-container").count():
        found.append("formulas are not set")
    return [f"{page.url}: {what}" for what in found]


def check_search(browser, root: str) -> list[str]:
    """Search words that must be found."""
    found: list[str] = []
    page = browser.new_page()
    watched(page, root, found)
    for word, fewest in WORDS.items():
        page.goto(f"{root}/search.html?q={word}")
        try:
            page.wait_for_function(
                f"document.querySelectorAll('#search-results li').length >= {fewest}",
                timeout=20000,
            )
        except Exception:
            n = page.locator("#search-results li").count()
            found.append(f"the search for {word!r} finds {n}, expected {fewest}")
    page.close()
    return found


def check(folder: Path, pictures: Path | None, chromium: str | None) -> list[str]:
    """Everything that is wrong with a site."""
    names = sorted(
        str(path.relative_to(folder).with_suffix(""))
        for path in folder.rglob("*.html")
        if not {"_static", "_modules"} & set(path.relative_to(folder).parts)
    )
    server, root = serve(folder)
    problems: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        problems += check_search(browser, root)
        for window, (width, height) in WINDOWS.items():
            for scheme in ("light", "dark"):
                context = browser.new_context(
                    viewport={"width": width, "height": height}, color_scheme=scheme
                )
                page = context.new_page()
                watched(page, root, problems)
                for name in names:
                    page.goto(f"{root}/{name}.html", wait_until="load")
                    if page.locator(".math").count():
                        page.wait_for_timeout(300)
                    problems += check_page(page, window, scheme)
                    if pictures and name in SHOWN:
                        pictures.mkdir(parents=True, exist_ok=True)
                        path = pictures / f"{name.replace('/', '-')}-{window}-{scheme}.png"
                        page.screenshot(path=path)
                context.close()
        browser.close()
    server.shutdown()
    print(f"{len(names)} pages, {len(WINDOWS)} windows, light and dark: {len(problems)} problems")
    return problems


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--chromium", default=os.environ.get("CHROMIUM"))
    options = parser.parse_args()
    chromium = options.chromium or shutil.which("chromium") or shutil.which("google-chrome")
    problems = check(options.folder, options.pictures, chromium)
    for problem in dict.fromkeys(problems):
        print(problem)
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
