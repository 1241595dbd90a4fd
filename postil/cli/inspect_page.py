"""The page of `postil inspect --html`: one file, no script, nothing loaded from elsewhere, everything escaped.

States differ in colour (blue and orange, which every kind of colour-blindness keeps apart) and in line: trained tokens
are underlined, left out ones struck through.
"""

from collections.abc import Sequence
from html import escape
from pathlib import PurePath

from postil.data.inspection import ShownRow, ShownToken
from postil.language import current_language, say
from postil.problems import Problem

_STYLE = """
:root { color-scheme: light dark; --ground: #fbfbf9; --ink: #1d1f23; --soft: #6b6f76; --line: #d9d9d4;
  --trained: #cfe3ff; --trained-line: #0b57c2; --cut: #ffe2bf; --cut-line: #b25400; }
@media (prefers-color-scheme: dark) { :root { --ground: #1b1c1f; --ink: #e6e6e3; --soft: #9a9ea6; --line: #3a3c40;
  --trained: #16345e; --trained-line: #7db3ff; --cut: #4d2f0c; --cut-line: #ffb466; } }
body { margin: 2.5rem auto; padding: 0 1.25rem; max-width: 72rem; background: var(--ground); color: var(--ink);
  font: 15px/1.6 system-ui, "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif; }
h1 { font-size: 1.25rem; } h2 { font-size: 1rem; margin: 2rem 0 .4rem; }
p { margin: 0 0 .3rem; } .soft { color: var(--soft); }
.legend { position: sticky; top: 0; background: var(--ground); padding: .6rem 0; border-bottom: 1px solid var(--line); }
.tokens { font: 14px/2.1 ui-monospace, "SF Mono", Consolas, "Noto Sans Mono CJK SC", monospace; white-space: pre-wrap;
  overflow-wrap: anywhere; border: 1px solid var(--line); border-radius: 6px; padding: .7rem .9rem; margin: .5rem 0; }
.t { border-radius: 2px; padding: .15em 0; border-right: 1px solid var(--line); }
.trained { background: var(--trained); border-bottom: 2px solid var(--trained-line); }
.ignored { color: var(--soft); }
.cut { background: var(--cut); text-decoration: line-through; text-decoration-color: var(--cut-line); }
.control { border: 1px solid currentColor; border-radius: 4px; padding: 0 .25em; font-size: .9em; }
.b { opacity: .45; }
"""
_BLANKS = {" ": "·", "\t": "→", "\u3000": "□", "\n": "↵\n", "\r": "␍"}


def inspection_page(
    title: str, summary: Sequence[str], rows: Sequence[ShownRow], problems: Sequence[Problem] = ()
) -> str:
    """The whole page in the current language.

    Args:
        title: the file that was looked at; places do not say it again.
        summary: sentences above the rows.
        problems: rows that cannot train.
    """
    known_file = PurePath(title).name
    heading = escape(say("cli.inspect.page_title", file=title))
    lines = "".join(f"<p>{escape(line)}</p>" for line in summary)
    refused = "".join(f"<p>{escape(f'{p.place.in_words(p.column, known_file)}  {p.message}')}</p>" for p in problems)
    body = "".join(_section(row, known_file) for row in rows)
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        f'<!doctype html>\n<html lang="{current_language()}"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{heading}</title><style>{_STYLE}</style></head>"
        f"<body><h1>{heading}</h1>{lines}{refused}{_legend()}{body}</body></html>\n"
    )


def _legend() -> str:
    states = "  ".join(
        f'<span class="t {state}">{escape(say(f"cli.inspect.{state}"))}</span>'
        for state in ("trained", "ignored", "cut")
    )
    control = f'<span class="t control">{escape(say("cli.inspect.control"))}</span>'
    return f'<p class="legend">{states}  {control}  <span class="soft">{escape(say("cli.inspect.blanks"))}</span></p>'


def row_heading(row: ShownRow, known_file: str) -> str:
    """Which row it is, and what became of its tokens.

    Args:
        known_file: the file that need not be said.
    """
    part = row.part if row.examples else "too_long"
    values = {"place": row.place.in_words(known_file=known_file), "left_out": num_left_out(row)}
    return say(f"cli.inspect.part.{part}", tokens=row.num_tokens, trained=row.num_trained, **values)


def num_left_out(row: ShownRow) -> int:
    """Tokens of a row that are in no example."""
    return sum(len(token.ids) for token in row.left_out)


def _section(row: ShownRow, known_file: str) -> str:
    parts = [f"<h2>{escape(row_heading(row, known_file))}</h2>"]
    for number, example in enumerate(row.examples, start=1):
        if len(row.examples) > 1:
            said = say("cli.inspect.example", number=number, count=len(row.examples))
            parts.append(f'<p class="soft">{escape(said)}</p>')
        parts.append(_tokens(example))
    if row.left_out:
        said = say("cli.inspect.left_out", tokens=num_left_out(row)) if row.examples else ""
        parts.append(f'<p class="soft">{escape(said)}</p>{_tokens(row.left_out)}')
    return f"<section>{''.join(parts)}</section>"


def _tokens(tokens: Sequence[ShownToken]) -> str:
    return f'<div class="tokens">{"".join(map(_token, tokens))}</div>'


def _token(token: ShownToken) -> str:
    kind = f"t {token.state}" + (" control" if token.is_control else "")
    text = "".join(f'<span class="b">{_BLANKS[c]}</span>' if c in _BLANKS else escape(_shown(c)) for c in token.text)
    return f'<span class="{kind}" title="{" ".join(map(str, token.ids))}">{text}</span>'


def _shown(character: str) -> str:
    """Characters that cannot be seen, or that turn the order of others, by their number."""
    return character if character.isprintable() or character == "\ufffd" else f"\\u{ord(character):04x}"
