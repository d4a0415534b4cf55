"""Keys, tokens and passwords that stand in cells, by what they look like: a project would carry them on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from nb2pipe.findings import Finding, finding
from nb2pipe.notebook.model import Layout, Notebook

KINDS: Mapping[str, str] = {
    "a private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----",
    "a key of AWS": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "a key of Google": r"\bAIza[\w-]{35}(?![\w-])",
    "a token of Google": r"\bya29\.[\w-]{20,}",
    "a token of GitHub": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{22,})",
    "a token of GitLab": r"\bglpat-[\w-]{20,}",
    "a token of Hugging Face": r"\bhf_[A-Za-z0-9]{30,}\b",
    "a token of Slack": r"\bxox[abeoprs]-[\w-]{10,}",
    "a key of OpenAI or Anthropic": r"\bsk-(?=[\w-]*\d)(?=[\w-]*[A-Z])[\w-]{32,}",
    "a key of Stripe": r"\b[rs]k_live_[A-Za-z0-9]{20,}",
    "a signed token (JWT)": r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}",
    "a password in a URL": r"\b[a-z][a-z0-9+.-]{0,20}://[^\s:/@'\"{}$<>]{1,100}:[^\s:/@'\"{}$<>*]{3,100}@",
}
"""What secrets of known services look like."""

LOOKS = re.compile("|".join(f"({pattern})" for pattern in KINDS.values()))
NAMED = re.compile(
    r"(?im)^[^\S\n]*(\w*(?:password|passwd|api_?key|secret_?key|access_?key|auth_?token|access_?token))[^\S\n]*"
    r"(?::[^\S\n]*str[^\S\n]*)?=[^\S\n]*(['\"])[^'\"\s{}<>]{6,}\2"
)
"""A text that is given to a name for a secret."""


def kind_of_secret(text: str) -> str | None:
    """What of a secret stands in `text`, in words; None where there is nothing that looks like one.

    >>> kind_of_secret("postgresql://reader:hunter2@db/shop")
    'a password in a URL'
    >>> kind_of_secret("postgresql://reader:{password}@db/shop")
    """
    found = LOOKS.search(text)
    return None if found is None or found.lastindex is None else list(KINDS)[found.lastindex - 1]


def secret_findings(notebook: Notebook, layout: Layout) -> Iterator[Finding]:
    """Errors for what looks like a secret in code that a project would hold, warnings for what is only called so.

    No finding holds what was found.
    """
    for cell, role in zip(notebook.cells, layout.roles, strict=True):
        if cell.kind != "code" or role == "skip":
            continue
        for found in LOOKS.finditer(cell.source):
            what = list(KINDS)[(found.lastindex or 1) - 1]
            line = cell.source.count("\n", 0, found.start()) + 1
            message = f"Here stands {what}; it would stand in the project and the compiled pipeline too."
            yield finding("secret-in-code", message, cell=cell.index, line=line)
        for found in NAMED.finditer(cell.source):
            if not LOOKS.search(found[0]):
                line = cell.source.count("\n", 0, found.start(1)) + 1
                message = f"{found[1]} is given a text here, which the project and the compiled pipeline hold too."
                yield finding("secret-in-code", message, cell=cell.index, line=line, name=found[1], severity="warning")
