"""Table 2 of the paper: finetuning FLOPs of its ten models, from the configurations we ship.

The paper does not say how it counted.  Its figures follow from the rule of thumb with the
parameters as its tables round them and every slot of a batch as a token: see
`flops.rule_of_thumb`.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax

from flan_tune import config, flops, gin_files
from flan_tune.models import registry


@dataclasses.dataclass(frozen=True)
class Printed:
  """A row as the paper has it (Chung et al. 2022, table 2).

  Attributes:
    model: Name.
    parameters: As the rule takes them, rounded; for the three smallest those of the first T5 (60M,
      220M, 770M: Raffel et al. 2020, section 3.7), where the table says 80M, 250M and 780M.
    pretraining: FLOPs.
    finetuning: FLOPs.
    steps: Of which the finetuning FLOPs are, where that is not the number of Table 22.
  """

  model: str
  parameters: float
  pretraining: float
  finetuning: float
  steps: int | None = None


# By configuration.  Flan-U-PaLM's pretraining is printed as 2.5E+23, a tenth of PaLM's, from which
# it was made: a slip.
PRINTED = {
  "flan_t5_small": Printed("Flan-T5-Small", 60e6, 1.8e20, 2.9e18),
  "flan_t5_base": Printed("Flan-T5-Base", 220e6, 6.6e20, 9.1e18),
  "flan_t5_large": Printed("Flan-T5-Large", 770e6, 2.3e21, 2.4e19),
  "flan_t5_xl": Printed("Flan-T5-XL", 3e9, 9.0e21, 5.6e19),
  "flan_t5_xxl": Printed("Flan-T5-XXL", 11e9, 3.3e22, 7.6e19),
  "flan_palm_8b": Printed("Flan-PaLM 8B", 8e9, 3.7e22, 1.6e20),
  "flan_palm_62b": Printed("Flan-PaLM 62B", 62e9, 2.9e23, 1.2e21),
  "flan_palm_540b": Printed("Flan-PaLM 540B", 540e9, 2.5e24, 5.6e21),
  "flan_cont_palm_62b": Printed("Flan-cont-PaLM 62B", 62e9, 4.8e23, 1.8e21),
  # Its 30,000 steps give 8.0E+21; the figure is that of Flan-PaLM 540B and its 21,000.
  "flan_u_palm_540b": Printed("Flan-U-PaLM 540B", 540e9, 2.5e23, 5.6e21, steps=21_000),
}


@dataclasses.dataclass(frozen=True)
class Row:
  """A model of Table 2: what the paper prints, and what our configuration gives.

  Attributes:
    configuration: Name under `configs/experiments`.
    printed: The paper's.
    parameters: Of our network, exactly.
    steps: Of our configuration, like the next four.
    batch_size: Rows.
    inputs: Slots of a row for inputs.
    targets: Slots of a row for targets.
    rule: FLOPs by the rule with the paper's parameters and our steps, batch and lengths.
    rule_printed_steps: The same for the number of steps that the printed figure is of.
    difference: Of that from the printed figure, relative.
    exact: FLOPs counted matrix by matrix (`flops.training`), all slots.
  """

  configuration: str
  printed: Printed
  parameters: int
  steps: int
  batch_size: int
  inputs: int
  targets: int
  rule: float
  rule_printed_steps: float
  difference: float
  exact: float

  @property
  def agrees(self) -> bool:
    """Whether the printed figure is ours, rounded to its two digits."""
    return f"{self.rule_printed_steps:.1e}" == f"{self.printed.finetuning:.1e}"


def rows() -> Iterator[Row]:
  """The ten rows, in the paper's order."""
  for name, printed in PRINTED.items():
    # The places of files do not matter here, and must be given.
    places = ("MODEL_DIR", "VOCABULARY", "INITIAL_CHECKPOINT_PATH")
    unused = [f"{place}=unused" for place in places]
    run, _ = gin_files.resolve(config.Run, [f"experiments/{name}.gin"], unused)
    yield _row(name, printed, run)


def _row(name: str, printed: Printed, run: Any) -> Row:
  network = registry.build(run.model)
  work = flops.slots(network.features, run.data.batch_size, run.data.lengths)
  is_pair = network.features == "encoder_decoder"
  of_step = flops.rule_of_thumb(printed.parameters, work.tokens, encoder_decoder=is_pair)
  same = of_step * (printed.steps or run.train.steps)
  return Row(
    configuration=name,
    printed=printed,
    parameters=sum(leaf.size for leaf in jax.tree.leaves(network.shapes)),
    steps=run.train.steps,
    batch_size=run.data.batch_size,
    inputs=run.data.lengths["inputs"],
    targets=run.data.lengths["targets"],
    rule=of_step * run.train.steps,
    rule_printed_steps=same,
    difference=same / printed.finetuning - 1,
    exact=flops.training(run.model, work) * run.train.steps,
  )
