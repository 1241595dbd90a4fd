"""Calm HTML for notebooks and for pages of their own: escaped, in light and dark."""

from collections.abc import Sequence
from html import escape

_STYLE = """
.postil { font: 15px/1.6 system-ui, "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif; color: inherit; }
.postil p { margin: 0 0 .5rem; }
.postil table { border-collapse: collapse; width: 100%; table-layout: fixed; margin-top: .8rem; }
.postil th, .postil td { text-align: left; vertical-align: top; padding: .55rem .9rem .55rem 0; white-space: pre-wrap;
  overflow-wrap: anywhere; border: 0; border-bottom: 1px solid rgb(127 127 127 / .3); background: none; }
.postil th { font-weight: 600; opacity: .65; }
"""
_PAGE_STYLE = """
:root { color-scheme: light dark; background: #fbfbf9; color: #1d1f23; }
@media (prefers-color-scheme: dark) { :root { background: #1b1c1f; color: #e6e6e3; } }
body { margin: 2.5rem auto; padding: 0 1.25rem; max-width: 72rem; }
h1 { font-size: 1.25rem; font-weight: 600; }
"""


def html_table(headers: Sequence[str], rows: Sequence[Sequence[str]], lines: Sequence[str] = ()) -> str:
    """Lines of text above a table; every cell is escaped.

    Args:
        headers: one per column.
        rows: cells in the order of `headers`.
        lines: paragraphs above the table.
    """
    paragraphs = "".join(f"<p>{escape(line)}</p>" for line in lines)
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in headers)
    body = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if rows else ""
    return f'<div class="postil"><style>{_STYLE}</style>{paragraphs}{table}</div>'


def html_page(title: str, body: str, language: str) -> str:
    """A page that stands alone: no script, nothing loaded from elsewhere.

    Args:
        title: heading and title; escaped.
        body: HTML, such as `html_table`'s.
        language: "en" or "zh".
    """
    return (
        f'<!doctype html>\n<html lang="{escape(language)}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_PAGE_STYLE}</style></head>"
        f'<body class="postil"><h1>{escape(title)}</h1>{body}</body></html>\n'
    )
