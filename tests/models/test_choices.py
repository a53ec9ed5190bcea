"""Choices that all families share are checked when a configuration is made."""

import pytest

from flan_tune import errors
from flan_tune.models import palm, t5


@pytest.mark.parametrize("config", [t5.T5Config, palm.PaLMConfig])
@pytest.mark.parametrize("field", ["dtype", "param_dtype"])
@pytest.mark.parametrize("name", ["float16", "fp16"])
def test_float16_is_refused_with_the_reason(config, field, name):
  with pytest.raises(
    errors.UserError, match=f"^{config.__name__}.{field}: '{name}' .*65504.*bfloat16"
  ):
    config(**{field: name})


def test_a_type_that_is_none_is_refused_with_those_there_are():
  with pytest.raises(errors.UserError, match="'float46' unknown.*bfloat16, float32"):
    t5.T5Config(dtype="float46")
