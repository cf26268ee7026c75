"""The check of how the manual looks finds what looks wrong. ``make docs-check`` looks at all pages."""

from __future__ import annotations

from pathlib import Path

from docs_support import load

FAULTY = """<!doctype html><meta name="viewport" content="width=device-width">
<article>
<div style="width: 2000px">wide</div>
<div class="table-wrapper" style="overflow-x: auto; width: 300px"><table><tr><td><div style="width: 400px">cut
</div></td></tr></table></div>
<p style="width: 4em; overflow-wrap: anywhere">incomprehensibilities</p>
<pre style="width: 30px; overflow-x: auto">program</pre>
<p style="color: #999">hardly</p>
<svg viewBox="0 0 100 20" style="width: 50px"><text font-size="12" y="15">tiny</text></svg>
<img src="chart.svg" style="width: 100px">
</article>"""


def test_what_looks_wrong_is_found(chromium: str, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(FAULTY)
    (tmp_path / "chart.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 40"><text style="font-size: 12px">a</text></svg>'
    )
    faults = load("look").look(chromium, ["page"], tmp_path / "pictures", tmp_path)
    found = [fault.what for fault in faults if fault.width == 1440]
    assert found[0].endswith("px wider than the window")
    assert found[1].startswith("a table has to be moved sideways: cut")
    assert found[2:] == [
        "code has to be moved sideways: program",
        "a name breaks in the middle: incomprehensibilities",
        "text in a figure has 3.0 px",
        "faint, light: hardly",
        "faint, dark: hardly",
    ]
    assert not [fault for fault in faults if fault.width < 1440 and "table" in fault.what]
    pictures = sorted(path.relative_to(tmp_path).as_posix() for path in (tmp_path / "pictures").rglob("*.png"))
    assert pictures == [
        f"pictures/{each}/page.png"
        for each in sorted(f"{width}-{scheme}" for width in (390, 768, 1440) for scheme in ("light", "dark"))
    ]
