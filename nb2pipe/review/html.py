"""Text as HTML: escaped, and with nothing in it that hides or reorders what stands there."""

from __future__ import annotations

import html

from nb2pipe.codegen.render import visible


class Html(str):
    """Text that is HTML already; templates put it in as it is."""

    __slots__ = ()

    def __html__(self) -> str:
        return str(self)


def escaped(text: str) -> Html:
    """`text` as HTML that shows it."""
    return Html(html.escape(visible(text)))


def element(tag: str, content: str, **attributes: str | None) -> Html:
    """An element with `content`, which is HTML; attributes that are None are left out, `class_` is the class."""
    given = "".join(f' {key.rstrip("_")}="{escaped(value)}"' for key, value in attributes.items() if value is not None)
    return Html(f"<{tag}{given}>{content}</{tag}>")
