"""Benchmarks: cards, and exams made of them."""

from flan_tune.benchmarks.exam import Exam, Question
from flan_tune.benchmarks.library import Library, load
from flan_tune.benchmarks.opening import open_exam

__all__ = ["Exam", "Library", "Question", "load", "open_exam"]
