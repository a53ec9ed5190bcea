"""What a batch is made of, told for people: tasks, templates, places in the stream, and texts."""

from typing import Any

import numpy as np

from flan_tune import cards, errors, render
from flan_tune.batch import Arrays
from flan_tune.data import feed, tokens


def rows(batch: feed.Batch, examples: tokens.Examples) -> list[dict[str, Any]]:
  """A JSON object for each row of a batch, with one for each example of the row.

  Texts are those of the token ids in the batch, as the model got them.  What the batch does not
  hold (the template, the row of the data set) comes from rendering the example again, as it stands
  at its position of the stream; an example that cannot be rendered now lacks it, and says why.

  Args:
    batch: From a feed of the same recipe.
    examples: Of that recipe: `tokens.Examples(recipe)`.
  """
  return [
    {
      "row": number,
      "examples": [
        {**_made_of(position, examples), **_texts(batch.arrays, number, segment, examples)}
        for segment, position in enumerate(positions, start=1)
      ],
    }
    for number, positions in enumerate(batch.examples)
  ]


def _made_of(position: int, examples: tokens.Examples) -> dict[str, Any]:
  component = examples.recipe.components[examples.rendered.component(position)]
  card = cards.load().tasks[component.task]
  told = {
    "position": position,
    "task": component.task,
    "group": card.group,
    "kind": component.kind,
  }
  if examples.recipe.objective != tokens.INSTRUCTIONS:
    told["objective"] = examples.recipe.objective
  if card.group == cards.CORPUS:
    return told
  try:
    one = examples.rendered[position]
  except (render.BadRow, errors.UserError) as error:
    return told | {"fault": str(error)}
  return told | {"kind": one.kind, "template": one.template, "index": one.index, "shots": one.shots}


def _texts(
  arrays: Arrays, row: int, segment: int, examples: tokens.Examples
) -> dict[str, str | int]:
  """Inputs and targets of one example, decoded, with their numbers of tokens."""
  targets, weights = (arrays[f"decoder_{name}"][row] for name in ("target_tokens", "loss_weights"))
  own = _own(arrays.get("decoder_segment_ids"), row, segment, targets)
  if "encoder_input_tokens" in arrays:
    inputs = arrays["encoder_input_tokens"][row]
    inputs = inputs[_own(arrays.get("encoder_segment_ids"), row, segment, inputs)]
    targets = targets[own]
  else:  # one sequence, of which the targets have weight
    inputs, targets = targets[own & (weights == 0)], targets[own & (weights != 0)]
  sides = {"inputs": inputs, "targets": targets}
  texts = {name: examples.recipe.vocabulary.decode(ids) for name, ids in sides.items()}
  return texts | {f"{name}_tokens": len(ids) for name, ids in sides.items()}


def _own(segments: np.ndarray | None, row: int, segment: int, ids: np.ndarray) -> np.ndarray:
  return ids != 0 if segments is None else segments[row] == segment
