"""What can be asked, and how it is told what cannot."""

from flan_tune.evaluate import exams


def test_missing_data_are_told_by_the_variable_and_not_by_their_place(tmp_path, monkeypatch):
  monkeypatch.setenv("FLAN_TUNE_DATA", str(tmp_path))
  found = exams.open_exams(["winogender", "mgsm", "bbh"])
  assert not found.exams and len(found.missing) > 30
  assert all(one.path.startswith("$FLAN_TUNE_DATA/") for one in found.missing)
  assert not [one for one in found.missing if str(tmp_path) in one.how]
