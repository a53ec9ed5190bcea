"""The names that `import flan_tune.seqio_io.registry` gives to SeqIO."""

import importlib

import pytest

from flan_tune import benchmarks, cards, errors, families
from flan_tune.data import mixing

LENGTHS = {"inputs": 400, "targets": 32}  # bytes


def test_every_card_is_a_task_in_every_setting(seqio):
  asked = {f"{one.name}_{s}" for one in benchmarks.load().tasks.values() for s in one.settings}
  names = set(seqio.TaskRegistry.names()) - asked
  wanted = {
    f"{card.name}_{setting}" for card in cards.load().tasks.values() for setting in card.settings
  }
  assert not wanted - names
  assert {name.removesuffix("_inverted") for name in names} == wanted


def test_every_card_and_mixture_is_a_mixture(seqio):
  known = cards.load()
  names = set(seqio.MixtureRegistry.names())
  assert not set(known.names()) - names
  for name in known.mixtures:
    settings = {setting for card in known.members(name) for setting in card.settings}
    assert not {f"{name}_{setting}" for setting in settings} - names


def test_a_mixture_has_the_tasks_and_rates_of_the_collection(seqio):
  """Nominal rates, inverted twins included; every member is a registered task."""
  for name in cards.load().mixtures:
    mixture = seqio.get_mixture_or_task(name)
    rates = {f"{one.task}_{one.kind}": one.rate for one in mixing.nominal(name)}
    assert {task.name: mixture.get_rate(task) for task in mixture.tasks} == pytest.approx(rates)
    assert mixture.total_rate == pytest.approx(1.0)
    assert all(seqio.TaskRegistry.get(task.name) is task for task in mixture.tasks)


def test_a_setting_suffix_keeps_one_setting(seqio):
  mixture = seqio.get_mixture_or_task("playground_fs_opt")
  assert len(mixture.tasks) == 32
  assert all(task.name.endswith("_fs_opt") for task in mixture.tasks)
  assert all(
    task.name.endswith("zs_opt_inverted") or task.name.endswith("zs_opt")
    for task in seqio.get_mixture_or_task("flan_cot_zs_opt").tasks
  )


def test_importing_the_module_again_replaces_what_it_registered(seqio):
  registry = importlib.import_module("flan_tune.seqio_io.registry")
  before = seqio.get_mixture_or_task("playground")
  names = registry.NAMES
  importlib.reload(registry)
  assert names == registry.NAMES
  assert seqio.get_mixture_or_task("playground") is not before


def test_reloaded_classes_still_know_what_is_ours(seqio):
  tasks = importlib.import_module("flan_tune.seqio_io.tasks")
  collection = importlib.import_module("flan_tune.seqio_io.collection")
  before = dict(vars(tasks))
  try:
    importlib.reload(tasks)
    assert tasks.CardTask is not before["CardTask"]
    collection.register(["playground_sentiment"])
  finally:  # the tasks that other tests read are of the old classes
    vars(tasks).update(before)


def test_another_programs_name_is_refused_and_nothing_is_changed(seqio):
  from flan_tune import seqio_io

  ours = seqio.TaskRegistry.get("playground_sentiment_zs_opt")
  foreign = seqio.Task("playground_topic_zs_opt", ours.source, ours.output_features)
  seqio.TaskRegistry.remove(foreign.name)
  seqio.TaskRegistry.add_provider(foreign.name, foreign)
  with pytest.raises(errors.UserError, match="another program's 'playground_topic_zs_opt'.*prefix"):
    seqio_io.register(["playground"])
  assert seqio.TaskRegistry.get(foreign.name) is foreign
  assert seqio.TaskRegistry.get("playground_sentiment_zs_opt") is ours
  assert "our_playground" in seqio_io.register(["playground"], prefix="our_")


def test_a_mixture_does_not_hide_another_programs_task(seqio):
  from flan_tune import seqio_io

  ours = seqio.TaskRegistry.get("playground_sentiment_zs_opt")
  seqio.TaskRegistry.add_provider(
    "playground_cot", seqio.Task("playground_cot", ours.source, ours.output_features)
  )
  with pytest.raises(errors.UserError, match="another program's 'playground_cot'"):
    seqio_io.register(["playground_cot"])


def test_naming_some_registers_those_and_their_tasks_only(seqio):
  from flan_tune import seqio_io

  vocabulary = seqio.ByteVocabulary()
  names = ["playground_cot", "playground_topic_zs_noopt", "playground_sentiment"]
  made = seqio_io.register(names, prefix="few_", vocabulary=vocabulary, long="drop")
  assert made[:2] == ("few_playground_cot", "few_playground_sentiment")
  assert len(made) == 2 + 16 + 1 + 2
  task = seqio.TaskRegistry.get("few_playground_topic_zs_noopt")
  assert task.output_features["targets"].vocabulary is vocabulary
  dataset = seqio.get_mixture_or_task("few_playground_sentiment").get_dataset(LENGTHS, seed=0)
  assert all(len(one["inputs"]) <= 400 for one in dataset.take(5).as_numpy_iterator())


@pytest.mark.parametrize(
  ("names", "settings", "message"),
  [
    (["playgruond"], {}, "did you mean 'playground'"),
    (["playground_add_things_zs_noopt"], {}, "setting: 'zs_noopt' unknown"),
    (["playground"], {"long": "cut"}, "long: 'cut' unknown"),
  ],
)
def test_a_wrong_name_or_setting_is_one_sentence(seqio, names, settings, message):
  from flan_tune import seqio_io

  with pytest.raises(errors.UserError, match=message):
    seqio_io.register(names, **settings)


def test_a_family_without_inverted_templates_has_no_inverted_task(seqio):
  from flan_tune import seqio_io

  known = cards.load().tasks.values()
  plain = next(one.name for one in known if not families.family(one.templates).inverted)
  with pytest.raises(errors.UserError, match="has no inverted templates for zs_opt"):
    seqio_io.register([f"{plain}_zs_opt_inverted"])


def test_the_default_vocabulary_is_looked_for_where_the_environment_says(
  seqio, monkeypatch, tmp_path
):
  from flan_tune.seqio_io import vocabularies

  monkeypatch.delenv("FLAN_TUNE_VOCABULARY", raising=False)
  monkeypatch.delenv("FLAN_TUNE_DATA", raising=False)
  assert vocabularies.default_path() == vocabularies.PUBLIC
  monkeypatch.setenv("FLAN_TUNE_DATA", str(tmp_path))
  assert vocabularies.default_path() == vocabularies.PUBLIC
  model = tmp_path / "t5-vocab" / "cc_all.32000" / "sentencepiece.model"
  model.parent.mkdir(parents=True)
  model.touch()
  assert vocabularies.default_path() == str(model)
  monkeypatch.setenv("FLAN_TUNE_VOCABULARY", "gs://bucket/model")
  assert vocabularies.default_path() == "gs://bucket/model"
  monkeypatch.setenv("FLAN_TUNE_VOCABULARY", str(tmp_path / "none.model"))
  with pytest.raises(errors.UserError, match="FLAN_TUNE_VOCABULARY: .*none.model' is not a file"):
    vocabularies.default_path()
