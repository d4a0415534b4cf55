"""Text cells as HTML: Markdown without raw HTML, without anything that is fetched, links to the web only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from nb2pipe.codegen.render import visible
from nb2pipe.review.html import Html, escaped

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

TOP = 3
"""The level that a notebook's own first heading has in the page."""


@dataclass
class Headings:
    """The level of the heading before, so that no level is left out and the page keeps an outline."""

    last: int = field(default=TOP - 1)

    def fitted(self, level: int) -> int:
        """The level in the page of a heading of `level` in the notebook."""
        self.last = min(level + TOP - 1, self.last + 1, 6)
        return self.last


def rendered(source: str, images: Mapping[str, str], headings: Headings) -> Html:
    """The HTML of a text cell. `images` are its attachments as data URIs by name; other images become their text."""
    tokens = _parser().parse(visible(source))
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            level = headings.fitted(int(token.tag[1:])) if token.type == "heading_open" else headings.last
            token.tag = f"h{level}"
        for child in token.children or ():
            _tame(child, images)
    return Html(_parser().renderer.render(tokens, _parser().options, {}))


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable(["table", "strikethrough"])
    parser.validateLink = _is_harmless  # type: ignore[method-assign]
    return parser


def _is_harmless(url: str) -> bool:
    return url.strip().lower().startswith(("https://", "http://", "mailto:", "attachment:")) or url.startswith("#c")


def _tame(token: Any, images: Mapping[str, str]) -> None:
    """Make an image of an attachment its data, any other its text; links say no more of the page than they must."""
    if token.type == "image":
        source = unquote(str(token.attrs.get("src", "")))
        name = source.removeprefix("attachment:")
        if name in images and source != name:
            token.attrs = {"src": images[name], "alt": ""}
        else:
            label = f"[image: {token.content or source}]"
            token.type, token.content, token.children = "text", label, None
    elif token.type == "link_open":
        token.attrs = {"href": str(token.attrs["href"]), "rel": "noopener noreferrer"}


def plain(text: str) -> Html:
    """A raw cell."""
    return Html(f"<pre>{escaped(text)}</pre>")
