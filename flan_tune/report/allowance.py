"""How much text a page may still hold: whole prompts while there is room, then their ends."""

from flan_tune.report.markup import Markup, details, element, join, text
from flan_tune.report.visible import middle_cut

_CHARACTERS = 700  # shown at once; the rest unfolds
_WHOLE = 40_000  # of one text, even when unfolded


class Allowance:
  """Bytes of HTML that examples and prompts may take, spent in the order of the page."""

  def __init__(self, size: int):
    self.left = size

  @property
  def spent(self) -> bool:
    """No room for another example."""
    return self.left <= 0

  def pre(self, value: str, *, limit: int = _CHARACTERS) -> Markup:
    """A text as it was written: shortened in the middle, and in full to unfold while there is room.

    Texts are of any direction, so each finds its own from its first letters.
    """
    if not value.strip():
      return element("em", "(nothing)")
    shown = self._block(middle_cut(value, limit))
    if len(value) <= limit:
      return shown
    whole = text(middle_cut(value, _WHOLE))
    if len(whole) > self.left:
      return join([shown, element("p", f"{len(value):,} characters in all", class_="quiet")])
    return join([shown, details(f"All {len(value):,} characters", self._block(whole))])

  def _block(self, value: str) -> Markup:
    block = element("pre", value, dir="auto")
    self.left -= len(block.encode("utf-8", "replace"))
    return block
