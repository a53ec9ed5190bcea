"""The plan of the configurations that we ship reproduces Table 2 of the paper."""

import pytest

from flan_tune.plan import table2

ROWS = {row.configuration: row for row in table2.rows()}


@pytest.mark.parametrize("name", table2.PRINTED)
def test_finetuning_flops_are_those_printed_to_both_digits(name):
  assert ROWS[name].agrees
  assert abs(ROWS[name].difference) < 0.025


def test_only_one_row_is_printed_for_another_number_of_steps():
  """Flan-U-PaLM trains 30,000 steps; its figure is that of 21,000, and not by rounding."""
  others = [row for row in ROWS.values() if row.rule != row.rule_printed_steps]
  assert [row.configuration for row in others] == ["flan_u_palm_540b"]
  assert others[0].rule / others[0].printed.finetuning == pytest.approx(30 / 21, rel=0.01)


@pytest.mark.parametrize("name", ["flan_t5_xl", "flan_t5_xxl", "flan_palm_62b", "flan_palm_540b"])
def test_counting_every_matrix_comes_near_the_rule_for_large_models(name):
  """Attention and the table of logits are a small share of these."""
  assert 1.0 < ROWS[name].exact / ROWS[name].rule < 1.1
