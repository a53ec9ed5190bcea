"""A whole training run: joins data, model, optimiser, checkpoints, scores and report.

The modules it joins do not know each other; this one holds no algorithm of its own.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import jax

from flan_tune import (
  assembly,
  console,
  errors,
  model,
  partition,
  pretrained,
  runlog,
  scorecard,
  vocab,
)
from flan_tune import config as config_lib
from flan_tune.benchmarks.exam import Exam
from flan_tune.checkpoint import orbax_io
from flan_tune.data import feed, mixing
from flan_tune.evaluate import tuning
from flan_tune.models import registry
from flan_tune.train import hooks, loop
from flan_tune.train import step as step_lib

# Of a collection of thousands, so many missing data sets are named; the report names all.
_NAMED = 12


@dataclasses.dataclass
class Session:
  """What a training process holds while it runs; the hooks below act on it.

  Attributes:
    watched: Of whose losses every EVAL_PERIOD steps are logged.
    held_out: What is asked every EVAL_PERIOD steps.
    best: Score and step of the best checkpoint so far.
    base: Of the parameters that do not learn, as `assembly.Start` has it.
    saved: Step of the newest checkpoint.
  """

  run: config_lib.Run
  folder: pathlib.Path
  feed: feed.Feed
  model: model.Model
  log: runlog.RunLog
  progress: console.Progress
  best: tuple[float, int] | None
  base: Mapping[str, Any] | None
  saved: int | None = None
  watched: list[Exam] = dataclasses.field(default_factory=list)
  held_out: list[Exam] = dataclasses.field(default_factory=list)


def train(run: config_lib.Run, text: str) -> pathlib.Path:
  """Trains, evaluates and reports; continues where an earlier process of the same run stopped.

  Args:
    run: From `config.resolve`.
    text: The resolved configuration, stored beside the results.

  Returns:
    The run folder.

  Raises:
    UserError: Something in the configuration, the data or the folder is wrong.
    hooks.Stopped: A signal came; the state is saved.
  """
  folder = pathlib.Path(run.train.model_dir)
  plan = assembly.plan(run.data)
  vocabulary = assembly.open_vocabulary(run, plan)
  mesh = partition.make_mesh(run.train.mesh)
  partition.check_batch(run.data.batch_size, mesh)
  network = registry.build(run.model)
  tx = assembly.make_optimizer(run, network.axes)
  _check_folder(folder, vocabulary)
  initial = functools.partial(assembly.initial_params, run, network, vocabulary, mesh)
  start = assembly.starting_state(run, network, tx, mesh, initial)
  step = int(start.state.step)
  source = assembly.open_feed(run.data, plan, vocabulary, network.features, start.data)
  ready = model.Model(network, start.state.whole(), vocabulary).on(mesh, placed=True)
  held_out = scorecard.held_out_exams(run, ready)
  watched = scorecard.watched_exams(run, ready, plan)
  # Only now, so that a start with other settings leaves a run as it was, and none begun.
  if not (folder / pretrained.VOCABULARY).exists():
    (folder / pretrained.VOCABULARY).write_bytes(vocabulary.model)
  runlog.write_text(folder / "config.gin", text)
  _write_facts(folder, run, plan, start.state)
  _say_what_begins(folder, plan, start)
  with (
    runlog.RunLog(folder, restored=None if start.data is None else step) as log,
    console.Progress(run.train.steps, step) as progress,
  ):
    session = Session(run, folder, source, ready, log, progress, best=start.best, base=start.base)
    session.saved = None if start.data is None else step
    session.held_out, session.watched = held_out, watched
    progress.note("compiling")
    state = _at_the_end(session, start, tx, mesh)
  scorecard.write_data(folder, plan, source.counts)
  scorecard.finish(
    run,
    folder,
    before=lambda: session.model.with_params(initial(path=assembly.base_path(start.base))),
    after=session.model.with_params(state.whole()),
    step=int(state.step),
    best_step=session.best[1] if session.best else None,
  )
  return folder


def _check_folder(folder: pathlib.Path, vocabulary: vocab.Vocabulary) -> None:
  """The folder can be made, and the run in it, if any, has this vocabulary."""
  stored = folder / pretrained.VOCABULARY
  try:
    folder.mkdir(parents=True, exist_ok=True)
    begun = stored.read_bytes() if stored.exists() else vocabulary.model
  except OSError as error:
    raise errors.UserError(f"MODEL_DIR = {str(folder)!r}: {error.strerror}") from None
  if begun != vocabulary.model:
    raise errors.UserError(
      f"VOCABULARY: {vocabulary.name} differs from {stored}, with which this run began; use that"
      " one or a new MODEL_DIR"
    )


def _say_what_begins(folder: pathlib.Path, plan: mixing.Plan, start: assembly.Start) -> None:
  tasks = plan.task_rates()
  console.say(f"Mixture {plan.mixture}: {len(tasks)} tasks, {len(plan.components)} streams.")
  for one in plan.missing[:_NAMED]:
    console.say(f"Missing, its share goes to the others: {one.task} ({one.path}; {one.how}).")
  if len(plan.missing) > _NAMED:
    more = len(plan.missing) - _NAMED
    console.say(f"{more:,} more are missing: see flan-tune data status {plan.mixture}.")
  for task, told in list(plan.stand_ins.items())[:_NAMED]:
    console.say(f"No training split, another stands in: {task}: {told}.")
  if len(plan.stand_ins) > _NAMED:
    console.say(f"{len(plan.stand_ins) - _NAMED:,} more tasks have a stand-in: see data.json.")
  if start.data is not None:
    console.say(f"Continuing {folder} from step {int(start.state.step)}.")


def _write_facts(
  folder: pathlib.Path, run: config_lib.Run, plan: mixing.Plan, state: step_lib.TrainState
) -> None:
  count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
  runlog.write_environment(
    folder,
    devices=[device.device_kind for device in jax.devices()],
    model=registry.summary(run.model),
    parameters=count(state.whole()),
    trained_parameters=count(state.params),
  )
  scorecard.write_data(folder, plan)


def _at_the_end(session: Session, start: assembly.Start, tx: Any, mesh: Any) -> step_lib.TrainState:
  # A run that ended early has ended: its folder's best checkpoint says so.
  if _is_enough(session, step := int(start.state.step)):
    session.progress.print(f"Training has ended at step {step}: {_enough(session)}.")
    return start.state
  return _fit(session, start, tx, mesh)


def _fit(session: Session, start: assembly.Start, tx: Any, mesh: Any) -> step_lib.TrainState:
  run = session.run
  recorder = hooks.Recorder(run.train.log_period, functools.partial(_record, session))
  save = functools.partial(_save, session)
  stop = hooks.StopOnSignal(save, recorder)
  loss_fn = functools.partial(session.model.network.loss, **dataclasses.asdict(run.loss))
  period = run.evaluation.period if session.held_out or session.watched else 0
  try:
    with stop:
      return loop.fit(
        start.state,
        session.feed,
        loss_fn=loss_fn,
        tx=tx,
        mesh=mesh,
        batch_sharding=jax.sharding.NamedSharding(mesh, partition.BATCH),
        state_sharding=start.sharding,
        num_steps=run.train.steps,
        seed=run.data.seed,
        hooks=(
          recorder,
          hooks.Every(period, functools.partial(_evaluate, session), recorder),
          hooks.Every(run.train.checkpoint_period, save, recorder),
          stop,
        ),
      )
  except hooks.NonFinite as error:
    tasks = ", ".join(error.batch.tasks)
    session.log.event(error.step, "not finite", f"{error.metric}; tasks: {tasks}")
    raise errors.UserError(
      f"step {error.step}: {error.metric} is not finite, training stopped; the batch had tasks"
      f" {tasks}; the last checkpoint is good: lower LEARNING_RATE or leave a task out and start"
      " again"
    ) from None


def _record(session: Session, step: int, interval: hooks.Interval) -> None:
  means = interval.means()
  with jax.transfer_guard("allow"):
    rate = float(assembly.learning_rate(session.run)(step - 1))
  record = {
    **{name: means[name] for name in ("loss", "accuracy", "z_loss", "grad_norm")},
    "learning_rate": rate,
    "tokens_per_second": interval.fill.tokens / max(interval.seconds, 1e-9),
    "fill": interval.fill.both,
    "tokens_seen": session.feed.counts.tokens,
    "seconds": interval.seconds,
    "seconds_per_step": interval.seconds / interval.steps,
  }
  session.log.train(step, record)
  session.progress.update(step, record)


def _save(session: Session, step: int, state: step_lib.TrainState) -> None:
  if session.saved == step:
    return
  best = session.best if session.best and session.best[1] == step else None
  meta = pretrained.describe(session.model)
  if session.base:
    meta["base"] = session.base
  orbax_io.save(
    session.folder / pretrained.CHECKPOINTS,
    step,
    state._replace(frozen={}),
    documents={"data": session.feed.state(), "meta": meta},
    keep=session.run.train.keep,
    score=best[0] if best else None,
  )
  session.saved = step
  session.log.event(step, "checkpoint")


def _evaluate(session: Session, step: int, state: step_lib.TrainState) -> bool:
  """Scores the held-out tasks, and saves a checkpoint that is the best so far.

  Returns:
    Whether enough was seen: no better average for EVAL_PATIENCE evaluations.
  """
  session.progress.note("evaluating")
  ready = session.model.with_params(state.whole())
  for exam, loss, n in scorecard.watched_losses(session.run, ready, session.watched):
    session.log.evaluation(
      step, task=exam.name, group=exam.suite, held_out=False, setting=exam.setting, loss=loss, n=n
    )
  if not session.held_out:
    return False
  rows, losses = scorecard.score(session.run, ready, session.held_out)
  for row in rows:
    loss = losses.get(row["key"])
    session.log.evaluation(
      step,
      task=row["exam"],
      group=row["suite"],
      held_out=row["held_out"],
      setting=row["setting"],
      exact_match=None if row["score"] is None else row["score"] / 100,
      n=row["n"],
      **({} if loss is None else {"loss": loss}),
    )
  average = tuning.normalised(rows)
  told = "no task has a score" if average is None else f"normalised average {average:.2f}"
  session.log.event(step, "evaluated", told, average=average)
  if average is not None and (session.best is None or average > session.best[0]):
    session.best = (average, step)
    _save(session, step, state)
  ended = _is_enough(session, step)
  if ended:
    session.log.event(step, "ended early", _enough(session))
    session.progress.print(f"Step {step}: {_enough(session)}; training ends.")
  return ended


def _is_enough(session: Session, step: int) -> bool:
  evaluation, best = session.run.evaluation, session.best
  if evaluation.patience is None or best is None or not session.held_out:
    return False
  return step - best[1] >= evaluation.patience * evaluation.period


def _enough(session: Session) -> str:
  best, step = session.best or (0.0, 0)
  return f"no better average than {best:.2f} of step {step} for EVAL_PATIENCE evaluations"
