"""Look at the report in a headless Chromium at the width of a phone and of a desk: nothing overflows, is missing or runs.

Needs chromium and chromedriver (Debian: apt-get install chromium-driver). Screenshots of every screenful go beside the page.
"""

import argparse
import shutil
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from selenium import webdriver  # pyright: ignore[reportMissingImports]

WIDTHS = {"phone": (390, 844), "desk": (1280, 900)}
SCREENS = 12
# The page itself has no script; this one is the browser's.
FACTS = """
const wide = [...document.querySelectorAll("body *")].filter(e => {
  if (e.closest(".scroll, pre, p, svg, math")) return false;
  const box = e.getBoundingClientRect();
  return box.width > 0 && (box.right > innerWidth + 1 || box.left < -1);
});
const ids = new Set([...document.querySelectorAll("[id]")].map(e => e.id));
const links = [...document.querySelectorAll("a[href^='#']")];
return {
  overflow: document.documentElement.scrollWidth - innerWidth,
  wide: wide.slice(0, 5).map(e => e.tagName + " " + (e.id || e.textContent.slice(0, 40))),
  pictures: document.images.length,
  missing: [...document.images].filter(i => !i.complete || i.naturalWidth === 0 || !i.alt).length,
  dangling: links.filter(a => !ids.has(decodeURIComponent(a.hash.slice(1)))).length,
  links: links.length,
  formulas: document.querySelectorAll("math").length,
  flat: [...document.querySelectorAll("math")].filter(m => m.checkVisibility() && m.getBoundingClientRect().height < 3).length,
  scripts: document.scripts.length,
  requests: performance.getEntriesByType("resource").filter(r => !r.name.startsWith("data:")).length,
  smallest: Math.min(...[...document.querySelectorAll("p, li, td, figcaption, a")].map(e => parseFloat(getComputedStyle(e).fontSize))),
  height: document.documentElement.scrollHeight,
};
"""


def browser() -> webdriver.Chrome:
    """Start a headless Chromium that asks nobody for anything."""
    options = webdriver.ChromeOptions()
    quiet = ("gpu", "quic", "background-networking", "component-update", "sync", "dev-shm-usage")
    for argument in (
        "headless=new",
        "no-sandbox",
        "no-first-run",
        "hide-scrollbars",
        *(f"disable-{it}" for it in quiet),
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # Named here, or Selenium would ask the network for others.
    driver, chromium = shutil.which("chromedriver"), shutil.which("chromium") or shutil.which("google-chrome")
    if driver is None or chromium is None:
        sys.exit("error: no browser: install chromium and chromedriver")
    options.binary_location = chromium
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))


def main() -> None:
    """Check the page at every width; exit with 1 if something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path, nargs="?", default=Path("build/report/index.html"))
    page: Path = parser.parse_args().page.resolve()
    if not page.is_file():
        sys.exit(f"error: page = {page}: must be a report; make it with: make report")
    driver = browser()
    table = Table("width", "overflow", "pictures", "formulas", "links", "smallest type", "messages", box=None)
    problems: list[str] = []
    for name, (width, height) in WIDTHS.items():
        # A window is never narrower than 500; the screen that is emulated may be.
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": name == "phone"}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        driver.get(page.as_uri())
        found = driver.execute_script(FACTS)
        messages = [entry["message"] for entry in driver.get_log("browser")]
        table.add_row(
            f"{name}, {width}",
            str(found["overflow"]),
            f"{found['pictures'] - found['missing']}/{found['pictures']}",
            f"{found['formulas'] - found['flat']}/{found['formulas']}",
            f"{found['links'] - found['dangling']}/{found['links']}",
            f"{found['smallest']:.1f} px",
            str(len(messages)),
        )
        wrong = {
            key: found[key] for key in ("missing", "dangling", "flat", "scripts", "requests", "wide") if found[key]
        }
        if found["overflow"] > 0:
            wrong["overflow"] = found["overflow"]
        problems += [f"{name}: {key} = {value}" for key, value in wrong.items()] + [f"{name}: {m}" for m in messages]
        for screen in range(SCREENS):
            driver.execute_script(f"scrollTo(0, {screen * (height - 60)})")
            driver.save_screenshot(str(page.with_name(f"{name}-{screen + 1:02d}.png")))
    driver.quit()
    console = Console()
    console.print(table)
    for problem in problems:
        console.print(f"[red]{problem}", highlight=False)
    console.print(f"wrote {SCREENS} screens at each width beside {page}", highlight=False)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
