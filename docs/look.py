"""Make a picture of every page of the built manual, narrow and wide, light and dark, and report what looks wrong.

    .venv/bin/python docs/look.py                          all pages, into docs/_build/pictures
    .venv/bin/python docs/look.py index howto/failover     these pages
    .venv/bin/python docs/look.py --no-pictures            only the report

A person looks at the pictures. The script itself finds what can be measured: a page that is wider than the window,
a table or code that has to be moved sideways on a wide window, a name that breaks in the middle, small text in figures,
and text that is hardly darker or lighter than what is behind it. It ends with 1 if it found something.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from browser import Tab, tab

HTML = Path(__file__).parent / "_build" / "html"
PICTURES = Path(__file__).parent / "_build" / "pictures"
WIDTHS = (390, 768, 1440)
SCHEMES = ("light", "dark")
WITHOUT_PROSE = ("genindex", "py-modindex", "search")
SMALLEST = 11.0
"""The least size of text in a figure, in CSS pixels."""
HIGHEST = 18_000
"""A page that is higher, in pixels, is a page to split."""

FAINT = """
(() => {
  // Relative luminance and contrast as in WCAG 2.1, whose least for text is 4.5.
  const numbers = color => color.match(/[\\d.]+/g).map(Number);
  const luminance = color => color.slice(0, 3).map(each => each / 255)
    .map(each => each <= 0.03928 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4)
    .reduce((sum, each, index) => sum + each * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = element => {
    for (let each = element; each; each = each.parentElement) {
      const color = numbers(getComputedStyle(each).backgroundColor);
      if (color.length == 3) return color;
    }
    return [255, 255, 255];
  };
  const faint = new Set();
  const walker = document.createTreeWalker(document.querySelector("article"), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, text = walker.currentNode.data.trim();
    if (!text || !element.checkVisibility({visibilityProperty: true}) || element.closest("script, style")) continue;
    const style = getComputedStyle(element);
    const [dark, light] = [luminance(numbers(element.closest("svg") ? style.fill : style.color)),
                           luminance(behind(element))].sort((one, other) => one - other);
    if ((light + 0.05) / (dark + 0.05) < 4.5) faint.add(text.slice(0, 30));
  }
  return [...faint];
})()
"""
"""Texts with too little contrast."""

MEASURE = """
(() => {
  const wrapped = [];
  const broken = (node) => {
    // A name may break after a separator and before a capital letter, not in the middle of a word.
    for (const match of node.data.matchAll(/[A-Z]*[a-z0-9]{2,}|[A-Z]{3,}/g)) {
      const range = document.createRange();
      range.setStart(node, match.index);
      range.setEnd(node, match.index + match[0].length);
      const tops = new Set([...range.getClientRects()].map(each => Math.round(each.top)));
      if (tops.size > 1) wrapped.push(match[0]);
    }
  };
  const walker = document.createTreeWalker(document.querySelector("article"), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    if (walker.currentNode.parentElement.closest("td, th, h1, h2, h3, p, li, dt, dd")) broken(walker.currentNode);
  }
  const small = [...document.querySelectorAll("article svg text")].map(text => {
    const matrix = text.getScreenCTM();
    return Math.hypot(matrix.b, matrix.d) * parseFloat(getComputedStyle(text).fontSize);
  });
  return {
    overflow: document.scrollingElement.scrollWidth - innerWidth,
    height: document.scrollingElement.scrollHeight,
    tables: [...document.querySelectorAll(".table-wrapper")]
      .filter(each => each.scrollWidth > each.clientWidth + 1)
      .map(each => `${each.querySelector("th, td").innerText} (${each.scrollWidth - each.clientWidth} px)`),
    code: [...document.querySelectorAll("article pre")]
      .filter(each => each.scrollWidth > each.clientWidth + 1)
      .map(each => each.innerText.split("\\n").reduce((one, other) => other.length > one.length ? other : one)),
    wrapped: wrapped,
    svg_text: small.length ? Math.min(...small) : null,
    images: [...document.querySelectorAll("article img")]
      .map(each => ({source: each.src, width: each.clientWidth})),
  };
})()
"""


@dataclass(frozen=True)
class Fault:
    """What looks wrong on a page at a width."""

    page: str
    width: int
    what: str

    def __str__(self) -> str:
        return f"{self.page} at {self.width} px: {self.what}"


def pages(html: Path = HTML) -> list[str]:
    """The names of all pages that people write."""
    found = (str(path.relative_to(html).with_suffix("")) for path in html.rglob("*.html") if "_" not in path.parts[0])
    return sorted(name for name in found if name not in WITHOUT_PROSE)


def size(shown: Tab, width: int, scheme: str) -> None:
    """Set the window, and what the reader's system prefers."""
    shown.call(
        "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < WIDTHS[1]
    )
    shown.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])


def measure(shown: Tab, page: str, width: int) -> Iterator[Fault]:
    """What can be measured on the page that the tab shows."""
    found: dict[str, Any] = shown.evaluate(MEASURE)
    if found["overflow"] > 0:
        yield Fault(page, width, f"the page is {found['overflow']} px wider than the window")
    if found["height"] > HIGHEST:
        yield Fault(page, width, f"the page is {found['height']} px high")
    if width >= WIDTHS[-1]:
        for table in found["tables"]:
            yield Fault(page, width, f"a table has to be moved sideways: {table}")
    if width >= WIDTHS[1]:
        for line in found["code"]:
            yield Fault(page, width, f"code has to be moved sideways: {line.strip()}")
    for name in found["wrapped"]:
        yield Fault(page, width, f"a name breaks in the middle: {name}")
    sizes = [found["svg_text"]] if found["svg_text"] is not None else []
    sizes += [smallest_text(image["source"], image["width"]) for image in found["images"]]
    if sizes and min(sizes) < SMALLEST:
        yield Fault(page, width, f"text in a figure has {min(sizes):.1f} px")


def smallest_text(source: str, width: float) -> float:
    """The size of the smallest text of an SVG file that is shown so wide."""
    text = Path(source.removeprefix("file://")).read_text()
    box = re.search(r'viewBox="[\d.-]+ [\d.-]+ ([\d.]+)', text)
    assert box is not None, source
    # The shorthand "font: 12px ..." is what matplotlib writes.
    sizes = [float(each) for each in re.findall(r"font(?:-size)?[=:] ?\"?([\d.]+)px", text)]
    return min(sizes, default=SMALLEST) * width / float(box[1])


def look(chromium: str, names: list[str], pictures: Path | None, html: Path = HTML) -> list[Fault]:
    """Show the pages at every width, keep pictures of them if ``pictures`` is given, and tell the faults."""
    faults: list[Fault] = []
    with tempfile.TemporaryDirectory() as profile, tab(chromium, "about:blank", Path(profile)) as shown:
        for width in WIDTHS:
            # Colours are those of all widths.
            colours = width == WIDTHS[-1]
            for scheme in SCHEMES if pictures or colours else SCHEMES[:1]:
                size(shown, width, scheme)
                for name in names:
                    shown.open((html / f"{name}.html").as_uri())
                    if scheme == SCHEMES[0]:
                        faults += measure(shown, name, width)
                    if colours:
                        faults += (Fault(name, width, f"faint, {scheme}: {text}") for text in shown.evaluate(FAINT))
                    if pictures:
                        height = min(shown.evaluate("document.scrollingElement.scrollHeight"), HIGHEST)
                        path = pictures / f"{width}-{scheme}" / f"{name.replace('/', '-')}.png"
                        path.parent.mkdir(parents=True, exist_ok=True)
                        path.write_bytes(shown.picture(height))
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(description="Make pictures of the built manual, and report what looks wrong.")
    parser.add_argument("pages", nargs="*", help="such as howto/failover; all of them if none is given")
    parser.add_argument("--no-pictures", action="store_true", help="only report")
    arguments = parser.parse_args()
    names, pictures = arguments.pages or pages(), None if arguments.no_pictures else PICTURES
    chromium = shutil.which("chromium")
    if chromium is None:
        print("there is no Chromium: make browser", file=sys.stderr)
        return 2
    faults = look(chromium, names, pictures)
    for fault in faults:
        print(fault)
    print(f"{len(names)} pages, {len(faults)} faults" + (f"; the pictures are in {pictures}" if pictures else ""))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
