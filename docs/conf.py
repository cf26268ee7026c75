"""Sphinx configuration. ``make docs`` builds with warnings as errors."""

from __future__ import annotations

import os
import re
import sys
from enum import Enum
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import generate  # noqa: E402

import stomplistener  # noqa: E402

project = "stomplistener"
author = "The stomplistener maintainers"
copyright = "the stomplistener maintainers"
release = version = stomplistener.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "measured"]
html_theme = "furo"
html_title = f"stomplistener {release}"
html_static_path = ["_static"]
html_css_files = ["pictures.css"]
html_search_scorer = str(HERE / "scorer.js")
html_show_sphinx = False
html_logo = html_favicon = "_static/logo.svg"
_REPOSITORY = "https://github.com/stomplistener/stomplistener"
_CARD = {"color-card-border": "var(--color-background-border)"}
html_theme_options = {
    "source_repository": f"{_REPOSITORY}/",
    "source_branch": "main",
    "source_directory": "docs/",
    # A second mark beside the title of a page would leave it too little room on a phone.
    "top_of_page_buttons": ["view"],
    # The colour of the logo, light enough to be read on black.
    "light_css_variables": {"color-brand-primary": "#14627a", "color-brand-content": "#14627a", **_CARD},
    "dark_css_variables": {"color-brand-primary": "#6cc0da", "color-brand-content": "#6cc0da", **_CARD},
    "footer_icons": [{"name": "GitHub", "url": _REPOSITORY, "html": "GitHub", "class": ""}],
}

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True}
napoleon_use_rtype = False
napoleon_use_ivar = True
# Counted with the modules of types, which are not shown.
maximum_signature_line_length = 110
copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True

# Names that live elsewhere: the standard library, names that are only used in signatures, and type variables.
nitpick_ignore_regex = [
    (
        r"py:.*",
        r"(os|ssl|collections|concurrent|contextlib|threading|types|typing|random|enum|socket|logging|dataclasses|pathlib|re)\..*",
    ),
    (r"py:.*", r"(Callable|Iterable|Iterator|Mapping|Sequence|Collection|Any|Self|Literal|Future|SSLContext)"),
    (r"py:.*", r"(datetime|decimal|uuid)\..*"),
    (r"py:.*", r"SQLiteInbox|TestClient"),
    (r"py:.*", r"(TracebackType|optional|ImproperlyConfigured|T|[a-z_.]*\.H|[a-z_.]*\.T|Random)"),
    # What napoleon takes for a type in a list of arguments.
    (r"py:class", r".*(,| ).*"),
    (r"py:.*", r"flask\..*"),
    # Told by the help of its command, and by docstrings.
    (r"py:.*", r"stomplistener\.worker\..*"),
    (r"py:.*", r"twisted\..*|Awaitable|(\w+\.)*LoopTransaction"),
    # Aliases that a signature spells out.
    (
        r"py:.*",
        r"(stomplistener\.)?(\w+\.)*(AnyListener|Body|StrHeaders|Direction|Item|Settler|Hook)",
    ),
    # What the text of the call describes: the options of send(), what batch() returns, what ack() takes.
    (r"py:class", r"stomplistener\.(options\.SendOptions|connection\.Batch|message\.InTransaction)"),
]

if os.environ.get("STOMPLISTENER_DOCS_INTERSPHINX"):
    # Only where the network is there: a build must not depend on another site.
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {"python": ("https://docs.python.org/3", None)}


def _named(_app: Any, _what: str, _name: str, _object: Any, _options: Any, signature: str, result: str) -> Any:
    """A function as a default, by its name, and an object as "...": the signature cannot be parsed otherwise."""
    if signature is None:
        return None
    return re.sub(r"<(factory|object object)>", "...", re.sub(r"<function (\w+)>", r"\1", signature)), result


def _find(app: Any, _env: Any, node: Any, content: Any) -> Any:
    """Find a public name that is written without its module, or by another module than the one it is described in."""
    if node.get("refdomain") != "py":
        return None
    domain = app.env.get_domain("py")
    name = node["reftarget"].rpartition(".")[2]
    for module in ("stomplistener", "stomplistener.protocol", "stomplistener.failover", "stomplistener.transport"):
        if f"{module}.{name}" in domain.objects and name[:1].isupper():
            arguments = (app.env, node["refdoc"], app.builder, node["reftype"], f"{module}.{name}", node, content)
            return domain.resolve_xref(*arguments)
    return None


def _no_type(_app: Any, what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Napoleon takes what stands before a colon in the text of a property for its type: put it back."""
    if what not in ("property", "attribute", "data"):
        return
    for number, line in enumerate(lines):
        if line.startswith(":type: "):
            del lines[number]
            lines[0] = f"{line.removeprefix(':type: ')}: {lines[0]}"
            break


_MODULE = re.compile(r"\b(?:[a-z_]+\.)+(?=[A-Z])")


def _short_types(_app: Any, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Show the types of attributes as signatures show types: without their modules."""
    for number, line in enumerate(lines):
        if line.startswith(":vartype "):
            lines[number] = _MODULE.sub(r"~\g<0>", line)


def _says_enough(_app: Any, _what: str, name: str, member: Any, _skip: bool, options: Any) -> bool | None:
    """Keep the values of an enum and properties, whose names say what they are.

    Other members without a text are fields, which the signature of the class or its section on attributes tells.
    """
    if isinstance(member, (Enum, property)) and not name.startswith("_"):
        return name in (options.exclude_members or ())
    return None


_CODE = re.compile(r'(?<=<span class="pre">)[^<]+|(?<=<h1>|<em>)stomplistener\.[^<]+')
_UNBROKEN = 16
"""Letters of a name that fits into a column of a table on a phone."""
_SEPARATOR = re.compile(r"(?<=\w)([_./:,=(-]+)(?=[\w{])|(?<=[a-z])()(?=[A-Z])")


_TABLE = re.compile(r"<table\b.*?</table>", re.DOTALL)


def _labelled(table: re.Match[str]) -> str:
    """A table whose cells know the heads of their columns: a phone shows each row by itself, with these labels."""
    heads = [re.sub("<[^>]+>", "", head) for head in re.findall(r"<th\b.*?</th>", table[0], re.DOTALL)]

    def row(cells: re.Match[str]) -> str:
        labels = iter(heads)
        return re.sub("<td", lambda _: f'<td data-label="{next(labels, "")}"', cells[0])

    return re.sub(r"<tr\b.*?</tr>", row, table[0], flags=re.DOTALL)


def _may_break(_app: Any, _page: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    """Let a long name in a line of text break after separators and before capital letters, and nowhere else."""

    def breaking(code: re.Match[str]) -> str:
        return _SEPARATOR.sub(r"\g<1><wbr>", code[0]) if len(code[0]) > _UNBROKEN else code[0]

    if "body" in context:
        body = _CODE.sub(breaking, _TABLE.sub(_labelled, context["body"]))
        context["body"] = re.sub('(?=<span class="sig-name|<em class="sig-param)', "<wbr>", body)


def setup(app: Any) -> None:
    generate.write_all(HERE / "_build" / "generated")
    app.connect("autodoc-process-signature", _named)
    app.connect("missing-reference", _find)
    app.connect("autodoc-process-docstring", _no_type, priority=900)
    app.connect("autodoc-process-docstring", _short_types, priority=900)
    app.connect("autodoc-skip-member", _says_enough)
    app.connect("html-page-context", _may_break)
