"""A matplotlib figure as SVG inside an HTML page: small, themed by CSS, without outside references.

Figures are drawn in stand-in colours, which here become CSS variables, so that one drawing serves
light and dark pages.
"""

import io
import re
import warnings
from typing import Any

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from flan_tune.report.markup import Markup, element, text

# What a colour is for -> the stand-in drawn.  Each occurs nowhere else in matplotlib's output.
COLOURS = {
  name: f"#0a{index:02x}f1"
  for index, name in enumerate(
    (
      *("ink", "muted", "grid", "train", "held", "known", "before", "after", "chance"),
      *("fourth", "fifth", "sixth"),
    )
  )
}
# Of lines and bars side by side, in this order: the last is nearly that of chance.
SERIES = ("train", "known", "fourth", "fifth", "sixth", "held")
SETTINGS: Any = {  # matplotlib types its keys as one union of literals
  "svg.fonttype": "none",  # text stays text: small, searchable, in the reader's font
  "svg.hashsalt": "flan_tune",  # the same run gives the same bytes
  "font.family": "sans-serif",
  "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the layout is the same everywhere
  "font.size": 10.0,
  "figure.facecolor": "none",
  "axes.facecolor": "none",
  "text.color": COLOURS["ink"],
  "axes.edgecolor": COLOURS["grid"],
  "axes.labelcolor": COLOURS["muted"],
  "axes.titlecolor": COLOURS["ink"],
  "axes.titlesize": 10.5,
  "axes.titleweight": "bold",
  "axes.titlelocation": "left",
  "axes.spines.top": False,
  "axes.spines.right": False,
  "axes.grid": True,
  "axes.axisbelow": True,
  "grid.color": COLOURS["grid"],
  "grid.linewidth": 0.7,
  "xtick.color": COLOURS["grid"],
  "ytick.color": COLOURS["grid"],
  "xtick.labelcolor": COLOURS["muted"],
  "ytick.labelcolor": COLOURS["muted"],
  "legend.frameon": False,
  "text.parse_math": False,  # task names may hold dollar signs
  "text.usetex": False,
}


def svg(figure: Figure, *, prefix: str, label: str) -> Markup:
  """The figure as an inline `<svg>` that scales with its column.

  Args:
    prefix: Put before every id: two figures on one page must not share one.
    label: What the figure shows, for those who cannot see it.
  """
  buffer = io.StringIO()
  with matplotlib.rc_context(SETTINGS), warnings.catch_warnings():
    # Text stays text, so that our font lacks a letter of a task's name is no concern.
    warnings.filterwarnings("ignore", message="Glyph .* missing")
    figure_canvas = FigureCanvasSVG(figure)
    figure_canvas.print_svg(buffer, metadata={"Date": None})
  return _inlined(buffer.getvalue(), prefix, label)


def _inlined(source: str, prefix: str, label: str) -> Markup:
  box = re.findall(r'viewBox="([\d. ]+)"', source)[0]
  body = source[source.index(">", source.index("<svg")) + 1 : source.rindex("</svg>")]
  # Metadata and the style rule for "*" would reach outside: to other sites, to the whole page.
  body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
  used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', body))
  body = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", body)
  body = re.sub(r' id="', f' id="{prefix}-', body)
  body = re.sub(r"url\(#", f"url(#{prefix}-", body).replace('xlink:href="#', f'href="#{prefix}-')
  for name, colour in COLOURS.items():
    body = body.replace(colour, f"var(--{name})")
  body = re.sub(r"font-family: [^;\"]*", "font-family: inherit", body)
  body = re.sub(r' (?:d|x|y|transform)="[^"]*"', _rounded, body)
  body = re.sub(r"\s*\n\s*", "\n", body)
  body = re.sub(r"<defs>\s*</defs>", "", body)
  title = element("title", label)
  return Markup(f'<svg viewBox="{box}" role="img" aria-label="{text(label)}">{title}{body}</svg>')


def _rounded(attribute: re.Match[str]) -> str:
  """Hundredths of a point are enough, and halve the page."""
  return re.sub(r"(\d+\.\d\d)\d+", r"\1", attribute[0])
