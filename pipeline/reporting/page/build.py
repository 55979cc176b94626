"""Makes a page from templates: one HTML file that contains its styles, its script and its data.

Everything that a template prints is escaped, because titles, labels and queries are texts of strangers. A content
policy in the page forbids all requests except those for files beside it, and all scripts except its own.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import files
from pipeline.nouns import counted

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).with_name("templates")
SCRIPTS = ("tables.js", "queries.js", "detail.js", "stories.js")
"""The scripts in the order of the page. `detail.js` uses what `queries.js` defines."""

GENERATOR = "tr-detr-pipeline"
"""The generator that a page names. Only a file with it may be overwritten."""

UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
"""Characters that could end a script block → their JSON escapes, which cannot."""


def write(path: Path, template: str, context: Mapping[str, Any], data: Mapping[str, Any] | None = None) -> None:
    """Write a page. data: the data for its script. Raises PipelineError if the file cannot be written."""
    text = render(template, context, data)
    with files.atomic(path) as file:
        file.write(text)


def render(template: str, context: Mapping[str, Any], data: Mapping[str, Any] | None = None) -> str:
    """Return the text of a page. The arguments are those of `write`."""
    from markupsafe import Markup

    script = "\n".join((TEMPLATES / name).read_text("utf-8") for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        environment()
        .get_template(template)
        .render(
            **context,
            style=Markup((TEMPLATES / "page.css").read_text("utf-8")),  # noqa: S704 - a file of this package
            script=Markup(script),  # noqa: S704 - files of this package
            script_digest=digest,
            generator=GENERATOR,
            data=Markup(as_json(data)) if data is not None else "",  # noqa: S704 - escaped by `as_json`
        )
    )


def is_page(path: Path) -> bool:
    """Tell whether a file is a page that was made here."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return f'<meta name="generator" content="{GENERATOR}">' in file.read(2000)
    except OSError:
        return False


@cache
def environment() -> Environment:
    """Return the environment of this package's templates. Every value is escaped, and an unknown name in a template is
    an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"number": number, "signed": signed, "count": count, "counted": counted}
    return made


def as_json(data: Mapping[str, Any]) -> str:
    """Return JSON that is safe in a script block of a page, whatever its texts are."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character, escaped in UNSAFE.items():
        text = text.replace(character, escaped)
    return text


def number(value: float | None, decimals: int = 2) -> str:
    """Return a number as text, with a minus sign that is as wide as a plus, or a dash for None."""
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return "–"
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")


def signed(value: float | None, decimals: int = 2) -> str:
    """Return a difference as text with its sign. Zero has no sign."""
    text = number(value, decimals)
    return f"+{text}" if value and text[0] not in "−–" and float(text) else text


def count(value: int) -> str:
    """Return a whole number as text, with a comma between thousands."""
    return f"{value:,}"
