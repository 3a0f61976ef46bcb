"""A document as one HTML file: no script, no network, light and dark, for a screen and for paper.

Its own policy forbids everything but its style sheet and the pictures that it holds as data. Every text is escaped, and
what is invisible in it (terminal escapes, directions) is shown by its number. A picture is an image, not part of the
page, so that nothing in it could run even if it got there.
"""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

from markupsafe import Markup

from launch.escape import visible
from orchestrator import page
from orchestrator.document import canvas
from orchestrator.document.blocks import Document

#: The template and its style sheet.
_PARTS = Path(__file__).parent / "layout"

#: Wider figures are shown at their own size, in a box that scrolls.
WIDEST = 1150


def render(document: Document) -> str:
    """The page as text."""
    style = (_PARTS / "document.css").read_text(encoding="utf-8")
    environment = page.templates(_PARTS, finalize=_shown)
    environment.filters["kind"] = lambda block: type(block).__name__
    environment.filters["picture"] = _picture
    return environment.get_template("document.html.jinja").render(
        document=document,
        widest=WIDEST,
        style=Markup(style),
        style_hash=page.hashed(style),
    )


def _shown(value: Any) -> Any:
    """What the template puts into the page."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _picture(svg: str) -> str:
    """The address of a picture that the page itself holds."""
    return f"data:image/svg+xml;base64,{b64encode(canvas.for_page(svg).encode()).decode()}"
