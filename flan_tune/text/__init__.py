"""Pure functions on strings: answer options, few-shot prompts, row features, answer extraction."""
