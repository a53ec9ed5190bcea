"""Scoring a model on tasks: prompts in, extracted answers judged, (sum, count) out."""
