"""What the pages of an evaluation are written with: one style, a document, tables."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1b1f24;--soft:#5b6672;--line:#d5dae0;
--card:#f5f7f9;--warn:#8a4b00;--warnpaper:#fff4e0;--link:#0b5cad}
@media (prefers-color-scheme:dark){:root{--paper:#14171a;--ink:#e7eaee;--soft:#9aa5b1;
--line:#333a42;--card:#1d2227;--warn:#ffc46b;--warnpaper:#33260f;--link:#7ab8ff}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:72rem;padding:2rem 1.25rem 4rem;background:var(--paper);
color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 .25rem;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:2.5rem 0 .5rem;padding-top:.5rem;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:1.5rem 0 .25rem}
p{max-width:46rem;margin:.4rem 0}
a{color:var(--link)}
.soft,caption{color:var(--soft)}
.note{border-left:4px solid var(--line);background:var(--card);padding:.6rem .9rem;margin:1rem 0;
max-width:none}
.warn{border-color:var(--warn);background:var(--warnpaper)}
dl.facts{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem;margin:1rem 0}
dl.facts dt{color:var(--soft)}
dl.facts dd{margin:0;overflow-wrap:anywhere}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.75rem;
margin:1.25rem 0}
.card{background:var(--card);border-radius:.5rem;padding:.7rem .9rem}
.card b{display:block;font-size:1.6rem;line-height:1.2;font-variant-numeric:tabular-nums}
.card span{color:var(--soft);font-size:.85rem;display:block}
.scroll{overflow-x:auto}
table{border-collapse:collapse;margin:.75rem 0;font-size:.9rem;font-variant-numeric:tabular-nums}
caption{text-align:left;padding-bottom:.35rem;font-size:.85rem}
th,td{text-align:left;padding:.3rem .9rem .3rem 0;border-bottom:1px solid var(--line);
vertical-align:top;white-space:nowrap}
td.wrap,th.wrap{white-space:normal;min-width:11rem}
th{font-weight:600}
thead th{border-bottom-width:2px}
td small{color:var(--soft)}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(19rem,1fr));gap:1.25rem}
figure{margin:0}
figure.wide{max-width:48rem}
figcaption{font-weight:600;font-size:.95rem}
svg{width:100%;height:auto;color:var(--ink)}
svg text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,sans-serif !important}
ul{padding-left:1.2rem;max-width:60rem}
li{overflow-wrap:anywhere}
@media print{:root{--paper:#fff;--ink:#000;--soft:#444;--line:#bbb;--card:#f3f3f3;
--warn:#8a4b00;--warnpaper:#fff}body{max-width:none;padding:0;font-size:11px}
h2{break-after:avoid}figure,.card,tr,.note{break-inside:avoid}.scroll{overflow:visible}
.plots{grid-template-columns:repeat(2,1fr)}td.wrap,th.wrap{min-width:0}th,td{white-space:normal}}
"""


def document(title: str, parts: Iterable[str]) -> str:
    """A page with Aura's style; no script, nothing fetched."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> str:
    """Rows of ready HTML under plain headings; the first column may wrap."""
    titles = "".join(
        f"<th{_wrap(index)} scope=col>{escape(one)}</th>" for index, one in enumerate(head)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{_wrap(index)}>{cell}</td>" for index, cell in enumerate(row))
        + "</tr>\n"
        for row in rows
    )
    told = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll"><table>{told}<thead><tr>{titles}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>"
    )


def _wrap(index: int) -> str:
    return "" if index else ' class="wrap"'
