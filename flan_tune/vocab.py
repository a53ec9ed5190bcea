"""Text to token ids and back, by a SentencePiece model, with the ids T5 gives a meaning.

Ids: 0 padding (and decoder start), 1 end of sequence, then the model's pieces, then sentinels
`<extra_id_0>` ... downwards from the last id, where T5 and SeqIO put them
(seqio: seqio/vocabularies.py, SentencePieceVocabulary).
"""

import hashlib
import os
import pathlib
from collections.abc import Iterable, Sequence

import sentencepiece

from flan_tune.errors import UserError

PAD_ID = 0
EOS_ID = 1
_UNKNOWN_TEXT = "\N{DOUBLE QUESTION MARK}"  # how SentencePiece writes an unknown piece
_DATA_FIELDS = {1, 2, 3}  # of a SentencePiece model: pieces, how it was trained, normalisation


class Vocabulary:
  """A SentencePiece model and T5's special ids.

  It travels to worker processes as the model's bytes, so they need no access to the file.

  Args:
    model: The file, or its contents.
    extra_ids: How many sentinels follow the pieces; T5 has 100.
    name: What to call the vocabulary in error messages; the path if that is what `model` is.

  Raises:
    UserError: No such file, not a complete SentencePiece model, or one with other ids of padding
      and end of sequence.
  """

  pad_id = PAD_ID
  eos_id = EOS_ID

  def __init__(
    self, model: str | os.PathLike[str] | bytes, *, extra_ids: int = 100, name: str | None = None
  ):
    self.name = name or ("vocabulary" if isinstance(model, bytes) else os.fspath(model))
    self.model = model if isinstance(model, bytes) else _contents(pathlib.Path(model))
    self.extra_ids = extra_ids
    self._processor = _processor(self.model, self.name)
    self.num_pieces = self._processor.get_piece_size()
    self.unk_id = self._processor.unk_id()

  def __reduce__(self):
    return _rebuilt, (self.model, self.extra_ids, self.name)

  @classmethod
  def from_bytes(cls, model: bytes, *, extra_ids: int = 100, name: str | None = None):
    """The same vocabulary in another process, from `Vocabulary.model`."""
    return cls(bytes(model), extra_ids=extra_ids, name=name)

  @property
  def size(self) -> int:
    """Pieces and sentinels: 32,100 for T5, whose models round their tables up to 32,128."""
    return self.num_pieces + self.extra_ids

  @property
  def fingerprint(self) -> str:
    """SHA-256 of the model, in hexadecimal."""
    return hashlib.sha256(self.model).hexdigest()

  def extra_id(self, number: int) -> int:
    """The id of sentinel `<extra_id_number>`; number 0 has the highest."""
    if not 0 <= number < self.extra_ids:
      raise ValueError(f"sentinel {number} of a vocabulary with {self.extra_ids}")
    return self.size - 1 - number

  def encode(self, text: str) -> list[int]:
    """Ids of a text, without end of sequence.  Sentinels are ids, not text, and not recognised."""
    return self._processor.encode(text)

  def encode_batch(self, texts: Sequence[str], *, num_threads: int = 1) -> list[list[int]]:
    """Ids of several texts: a third faster than one by one, on one thread."""
    return self._processor.encode(list(texts), num_threads=num_threads)

  def decode(self, ids: Iterable[int]) -> str:
    """Text of the ids before the first end of sequence, without padding.

    Ids beyond `size`, which a model's rounded table may produce, read as unknown pieces.
    """
    parts: list[str] = []
    run: list[int] = []
    for token in map(int, ids):
      if token == self.eos_id:
        break
      if self.num_pieces <= token < self.size:
        parts += [self._processor.decode(run), f"<extra_id_{self.size - 1 - token}>"]
        run = []
      elif token != self.pad_id:
        run.append(token if 0 <= token < self.num_pieces else self.unk_id)
    parts.append(self._processor.decode(run))
    return " ".join(part for part in parts if part) if len(parts) > 1 else parts[0]

  def can_encode(self, text: str) -> bool:
    """Whether the text survives: no unknown piece, and decoding gives it back unchanged.

    T5's own vocabulary loses `{`, `}`, `<`, tabs, newlines and doubled spaces.
    """
    ids = self.encode(text)
    return self.unk_id not in ids and self._processor.decode(ids) == text

  def require(self, pieces: Iterable[str], where: str) -> None:
    """Raises UserError unless each of `pieces` survives inside a text.

    Args:
      pieces: Strings that must not be lost, such as a newline or a brace.
      where: Who needs them: file and key.
    """
    # Between letters, because SentencePiece may strip white space at the ends of a text.
    lost = [piece for piece in pieces if not self.can_encode(f"a{piece}a")]
    if lost:
      shown = ", ".join(repr(piece) for piece in lost)
      raise UserError(
        f"{where}: needs {shown}, which vocabulary {self.name} cannot represent; "
        "use a vocabulary trained with them, or wording without them"
      )


def _rebuilt(model: bytes, extra_ids: int, name: str) -> Vocabulary:
  return Vocabulary(model, extra_ids=extra_ids, name=name)


def _contents(path: pathlib.Path) -> bytes:
  try:
    return path.read_bytes()
  except OSError as error:
    raise UserError(f"{path}: cannot read this vocabulary: {error.strerror}") from None


def _processor(model: bytes, name: str) -> sentencepiece.SentencePieceProcessor:
  processor = sentencepiece.SentencePieceProcessor()
  try:
    complete = _fields(model) >= _DATA_FIELDS
    processor.LoadFromSerializedProto(model)
  except (RuntimeError, ValueError):
    complete = False
  if not complete:
    raise UserError(f"{name}: not a complete SentencePiece model ({len(model)} bytes)")
  ids = processor.pad_id(), processor.eos_id()
  if ids != (PAD_ID, EOS_ID):
    raise UserError(
      f"{name}: this SentencePiece model has padding {ids[0]} and end of sequence {ids[1]}; "
      f"T5 needs {PAD_ID} and {EOS_ID} (train it with --pad_id=0 --eos_id=1 --unk_id=2)"
    )
  return processor


def _fields(model: bytes) -> set[int]:
  """Numbers of the top-level fields of a protocol buffer.

  SentencePiece takes a file cut off between two pieces for a smaller vocabulary; such a file lacks
  the fields after the pieces.

  Raises:
    ValueError: Not a sequence of length-delimited fields.
  """
  fields, place = set(), 0
  while place < len(model):
    tag, place = _varint(model, place)
    if tag & 7 != 2:  # wire type 2: length-delimited, as all fields of a SentencePiece model are
      raise ValueError(f"field of wire type {tag & 7}")
    length, place = _varint(model, place)
    fields.add(tag >> 3)
    place += length
  return fields


def _varint(data: bytes, place: int) -> tuple[int, int]:
  value = shift = 0
  while place < len(data):
    byte = data[place]
    place += 1
    value |= (byte & 127) << shift
    if byte < 128:
      return value, place
    shift += 7
  raise ValueError("cut off inside a number")
