"""The page's look.  Plots use the same variables, so that they follow the light or dark theme."""

# Paper and ink, for every page that we write.
LIGHT = "--paper: #ffffff; --panel: #f5f7f9; --ink: #1c2128; --muted: #57606a; --grid: #d5dbe1;"
DARK = "--paper: #14181d; --panel: #1c2229; --ink: #e4e8ec; --muted: #a0aab4; --grid: #38424c;"
_LIGHT = f"""
  {LIGHT}
  --train: #1f5fbf; --held: #b4440e; --known: #0f766e;
  --before: #a3b4c8; --after: #1f5fbf; --chance: #c2410c;
  --fourth: #7c3aed; --fifth: #a1770a; --sixth: #be185d;
  --good: #1a7f37; --bad: #b42318; --warn: #fff4d6; --warn-edge: #d4a017;
"""
_DARK = f"""
  {DARK}
  --train: #6ea8fe; --held: #f59e6c; --known: #4fd1b5;
  --before: #566577; --after: #6ea8fe; --chance: #fb923c;
  --fourth: #b79cff; --fifth: #e0c050; --sixth: #f58bc0;
  --good: #56d364; --bad: #ff8f85; --warn: #3a2f12; --warn-edge: #b8901f;
"""

FACTS = """dl.facts {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(215px, 1fr)); gap: 10px 22px;
  margin: 18px 0; padding: 16px 18px; background: var(--panel); border-radius: 8px;
}
dl.facts div { min-width: 0; }
dt { color: var(--muted); font-size: 0.8rem; }
dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
"""


def base(light: str, dark: str) -> str:
  """How every page begins: the variables of both themes, and the letters."""
  return f"""
:root {{ color-scheme: light dark; {light} }}
@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}
* {{ box-sizing: border-box; }}
body {{
  margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif;
}}
"""


CSS = f"""{base(_LIGHT, _DARK)}
header, main, footer {{ max-width: 1040px; margin: 0 auto; padding: 0 20px; }}
header {{ padding-top: 28px; }}
h1 {{ font-size: 1.7rem; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }}
h2 {{
  font-size: 1.25rem; margin: 44px 0 10px; padding-top: 6px; border-top: 1px solid var(--grid);
}}
h3 {{ font-size: 1rem; margin: 26px 0 6px; }}
p {{ margin: 8px 0; max-width: 72ch; }}
a {{ color: var(--train); }}
.quiet {{ color: var(--muted); font-size: 0.9rem; }}
nav ul {{
  list-style: none; display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 14px 0; padding: 0;
}}
nav li {{ margin: 0; }}
{FACTS}.headlines {{ display: flex; flex-wrap: wrap; gap: 12px; margin: 18px 0; }}
.headline {{
  flex: 1 1 200px; max-width: 320px; padding: 12px 16px; border: 1px solid var(--grid);
  border-radius: 8px;
}}
.headline strong {{ display: block; font-size: 1.55rem; line-height: 1.3; }}
.headline span {{ display: block; color: var(--muted); font-size: 0.85rem; }}
ul.notices {{
  list-style: none; margin: 18px 0; padding: 10px 16px; background: var(--warn);
  border-left: 4px solid var(--warn-edge); border-radius: 4px;
}}
figure {{ margin: 16px 0; }}
figure .canvas {{ overflow-x: auto; }}
svg {{ display: block; width: 100%; min-width: 560px; height: auto; }}
svg * {{ stroke-linejoin: round; stroke-linecap: butt; }}
figcaption {{ color: var(--muted); font-size: 0.88rem; max-width: 90ch; }}
.scroll {{ overflow-x: auto; margin: 12px 0; }}
table {{ border-collapse: collapse; width: 100%; font-size: 0.88rem; }}
caption {{ text-align: left; color: var(--muted); padding: 4px 0; }}
th, td {{ padding: 3px 10px; text-align: start; vertical-align: top; }}
th:first-child, td:first-child {{ padding-left: 4px; }}
thead th {{ border-bottom: 2px solid var(--grid); white-space: nowrap; }}
tbody th {{ font-weight: 400; min-width: 11em; }}
tbody th.number {{ min-width: 0; }}
tbody tr + tr > * {{ border-top: 1px solid var(--grid); }}
th.group {{ padding-top: 16px; font-weight: 650; }}
thead .number, tbody .number {{
  text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap;
}}
.up {{ color: var(--good); }}
.down {{ color: var(--bad); }}
.track {{
  position: relative; display: inline-block; width: 130px; height: 0.8em; background: var(--panel);
}}
.track i {{ position: absolute; inset: 0 auto 0 0; background: var(--after); }}
.track b {{ position: absolute; top: -2px; bottom: -2px; width: 2px; background: var(--chance); }}
details {{ margin: 8px 0; }}
summary {{ cursor: pointer; padding: 4px 0; overflow-wrap: anywhere; }}
details.example {{ border: 1px solid var(--grid); border-radius: 6px; padding: 4px 14px; }}
details.example dl {{ margin: 6px 0 12px; }}
details.example dt {{ margin-top: 10px; }}
pre {{
  margin: 2px 0; padding: 10px 12px; background: var(--panel); border-radius: 6px;
  font: 0.84rem/1.5 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  white-space: pre-wrap; overflow-wrap: anywhere;
}}
footer {{ margin-top: 48px; padding-bottom: 32px; color: var(--muted); font-size: 0.85rem; }}
:focus-visible {{ outline: 2px solid var(--train); outline-offset: 2px; }}
@media print {{
  html {{ font-size: 11px; }}
  nav {{ display: none; }}
  header, main, footer {{ max-width: none; padding: 0; }}
  .scroll, figure .canvas {{ overflow: visible; }}
  svg {{ min-width: 0; }}
  figure, tr, .headline, details.example {{ break-inside: avoid; }}
  h2, h3, summary {{ break-after: avoid; }}
  details:not(.example)::details-content {{ content-visibility: visible; block-size: auto; }}
  * {{ print-color-adjust: exact; -webkit-print-color-adjust: exact; }}
}}
"""
