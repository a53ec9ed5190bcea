"""A page of HTML, taken apart."""

import html.parser

VOID = {"meta", "br", "wbr", "hr", "col"}


class Page(html.parser.HTMLParser):
  """Collects elements and text; raises where tags do not nest."""

  def __init__(self, source: str):
    super().__init__()
    self.open: list[str] = []
    self.elements: list[tuple[str, dict]] = []
    self.text = ""
    self.feed(source)
    self.close()
    assert not self.open

  def handle_starttag(self, tag, attrs):
    assert len(dict(attrs)) == len(attrs), f"an attribute of {tag} is there twice"
    self.elements.append((tag, dict(attrs)))
    if tag not in VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.elements.append((tag, dict(attrs)))

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.text += data

  def all(self, tag: str) -> list[dict]:
    return [attributes for name, attributes in self.elements if name == tag]

  @property
  def words(self) -> str:
    return " ".join(self.text.split())
