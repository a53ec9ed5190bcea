"""A whole training run: joins data, model, optimiser, checkpoints, scores and report.

The modules it joins do not know each other; this one holds no algorithm of its own.
"""

import contextlib
import errno
import functools
import os
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

from flan_tune import (
  assembly,
  compilation,
  console,
  determinism,
  efficiency,
  errors,
  hosts,
  model,
  partition,
  pretrained,
  profiling,
  run_lock,
  runlog,
  scorecard,
  vocab,
)
from flan_tune import config as config_lib
from flan_tune import session as session_lib
from flan_tune.checkpoint import orbax_io, saver
from flan_tune.data import feed, mixing
from flan_tune.models import registry
from flan_tune.train import clock as clock_lib
from flan_tune.train import finite, loop, recorder, stopping
from flan_tune.train import step as step_lib

# What a system says of a disk that is full, broken, gone, or may not be written.
_DISK = {
  getattr(errno, name)
  for name in ("EACCES", "EDQUOT", "EFBIG", "EIO", "ENOENT", "ENOSPC", "EPERM", "EROFS", "ESTALE")
}
# Of a collection of thousands, so many missing data sets are named; the report names all.
_NAMED = 12


class Parts(NamedTuple):
  """What a run is put together from before anything of it is read or computed."""

  run: config_lib.Run
  folder: pathlib.Path
  plan: mixing.Plan
  vocabulary: vocab.Vocabulary
  mesh: jax.sharding.Mesh
  network: Any
  tx: Any

  def initial(self, **options: Any) -> Any:
    """Parameters before tuning; takes `assembly.initial_params`'s options."""
    return assembly.initial_params(self.run, self.network, self.vocabulary, self.mesh, **options)

  def starting_state(self) -> assembly.Start:
    """The state of the last good checkpoint, or the first one."""
    return assembly.starting_state(self.run, self.network, self.tx, self.mesh, self.initial)


def train(
  run: config_lib.Run, text: str, *, profile: str | None = None, precompile: bool = False
) -> pathlib.Path:
  """Trains, evaluates and reports; continues where an earlier process of the same run stopped.

  Of several processes (`hosts.start`) each calls this with the same arguments.

  Args:
    run: From `gin_files.resolve`.
    text: The resolved configuration, stored beside the results.
    profile: Steps to trace, as in "100:104".
    precompile: Compile the step, keep it in the run folder, and end there.

  Returns:
    The run folder.

  Raises:
    UserError: Something in the configuration, the data or the folder is wrong.
    stopping.Stopped: A signal came; the state is saved.
  """
  if run.train.deterministic:
    determinism.require()
  folder = pathlib.Path(run.train.model_dir)
  plan = assembly.plan(run.data)
  vocabulary = assembly.open_vocabulary(run, plan)
  mesh = partition.make_mesh(run.train.mesh, dcn=run.train.dcn_mesh)
  network = registry.build(run.model)
  assembly.check_mesh(run, network, mesh)
  tx = assembly.make_optimizer(run, network.axes)
  parts = Parts(run, folder, plan, vocabulary, mesh, network, tx)
  _check_folder(folder, vocabulary)
  with _one_voice(), run_lock.hold(folder), _plain_words(folder):
    if run.train.compilation_cache:
      compilation.keep(folder / "compiled", say=console.say)
    if precompile:
      _precompile(parts)
      return folder
    return _train(parts, text, profile)


def _train(parts: Parts, text: str, profile: str | None) -> pathlib.Path:
  run, folder = parts.run, parts.folder
  checkpoints = folder / pretrained.CHECKPOINTS
  hosts.resumes_from(lambda: max(orbax_io.steps(checkpoints), default=None))
  start = parts.starting_state()
  step = int(start.state.step)
  tracing = profiling.of_flag(profile, folder, begun=step, last=run.train.steps, say=console.say)
  ready = model.Model(parts.network, start.state.whole(), parts.vocabulary)
  ready = ready.on(parts.mesh, placed=True)
  judged = {
    "held_out": scorecard.held_out_exams(run, ready),
    "watched": scorecard.watched_exams(run, ready, parts.plan),
  }
  source = _open_feed(parts, start)
  # Only now, so that a start with other settings leaves a run as it was, and none begun.
  if hosts.is_first():
    _write_facts(parts, text, start.state)
  _say_what_begins(parts, start)
  with (
    _open_log(folder, None if start.data is None else step) as log,
    console.Progress(run.train.steps, step) as progress,
    _open_saver(run, checkpoints) as saving,
  ):
    meter = _meter(parts, start.state)
    session = session_lib.Session(
      run, folder, source, ready, log, progress, saving, meter, start, **judged
    )
    state = _at_the_end(session, parts, tracing)
  return _finish(session, parts, state)


def _open_feed(parts: Parts, start: assembly.Start) -> feed.Feed:
  rows = partition.rows_of(parts.mesh, parts.run.data.batch_size)
  features = parts.network.features
  return assembly.open_feed(
    parts.run.data, parts.plan, parts.vocabulary, features, start.data, rows
  )


def _open_saver(run: config_lib.Run, folder: pathlib.Path) -> saver.Saver:
  return saver.Saver(
    folder,
    keep=run.train.keep,
    keep_every=run.train.keep_every,
    background=run.train.async_checkpoints,
  )


def _finish(session: session_lib.Session, parts: Parts, state: step_lib.TrainState) -> pathlib.Path:
  base = assembly.base_path(session.start.base)
  counts = session.feed.total_counts()
  if hosts.is_first():
    scorecard.write_data(parts.folder, parts.plan, counts)
  scorecard.finish(
    parts.run,
    parts.folder,
    before=lambda: session.model.with_params(parts.initial(path=base)),
    after=session.model.with_params(state.whole()),
    step=int(state.step),
    best_step=session.best[1] if session.best else None,
  )
  return parts.folder


@contextlib.contextmanager
def _one_voice() -> Iterator[None]:
  """Of several processes only the first is heard; errors of all are."""
  if hosts.is_first():
    yield
    return
  with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
    yield


@contextlib.contextmanager
def _plain_words(folder: pathlib.Path) -> Iterator[None]:
  """Tells in a sentence what keeps the run's folder from being written."""
  try:
    yield
  except BrokenPipeError:  # of the terminal's, not of the folder
    raise
  except OSError as error:
    path = pathlib.Path(error.filename) if isinstance(error.filename, str) else pathlib.Path("/")
    if error.errno not in _DISK or not path.absolute().is_relative_to(folder.absolute()):
      raise
    raise errors.UserError(
      f"{path}: {error.strerror}; what was saved is kept, and the same command goes on when the"
      " folder can be written"
    ) from None


def _open_log(folder: pathlib.Path, restored: int | None) -> runlog.RunLog:
  return runlog.RunLog(folder, restored=restored) if hosts.is_first() else runlog.Unwritten()


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


def _say_what_begins(parts: Parts, start: assembly.Start) -> None:
  plan, folder = parts.plan, parts.folder
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
  if parts.mesh.size > 1:
    sizes = ", ".join(f"{name}={size}" for name, size in parts.mesh.shape.items())
    of = "" if hosts.count() == 1 else f" of {hosts.count()} hosts"
    console.say(f"{parts.mesh.size} devices{of} as {sizes}.")
  if start.data is not None:
    console.say(f"Continuing {folder} from step {int(start.state.step)}.")


def _write_facts(parts: Parts, text: str, state: step_lib.TrainState) -> None:
  folder = parts.folder
  if not (folder / pretrained.VOCABULARY).exists():
    runlog.write_bytes(folder / pretrained.VOCABULARY, parts.vocabulary.model)
  runlog.write_text(folder / "config.gin", text)
  runlog.write_environment(
    folder,
    devices=[device.device_kind for device in jax.devices()],
    hosts=hosts.count(),
    model=registry.summary(parts.run.model),
    parameters=_count(state.whole()),
    trained_parameters=_count(state.params),
  )
  scorecard.write_data(folder, parts.plan)


def _count(tree: Any) -> int:
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _meter(parts: Parts, state: step_lib.TrainState) -> efficiency.Meter:
  return efficiency.Meter(
    parts.run.model,
    batch_size=parts.run.data.batch_size,
    peak=efficiency.peak(parts.run.train.peak_flops),
    trained_share=_count(state.params) / _count(state.whole()),
  )


def _at_the_end(session: session_lib.Session, parts: Parts, tracing: Any) -> step_lib.TrainState:
  start = session.start
  # A run that ended early has ended: its folder's best checkpoint says so.
  if session.is_enough(step := int(start.state.step)):
    session.progress.print(f"Training has ended at step {step}: {session.enough()}.")
    return start.state
  session.progress.note("compiling")
  return _fit(session, parts, tracing)


def _precompile(parts: Parts) -> None:
  run, mesh = parts.run, parts.mesh
  shapes, sharding = assembly.state_shapes(run, parts.network, parts.tx, mesh)
  placed = lambda one, where: jax.ShapeDtypeStruct(one.shape, one.dtype, sharding=where)
  num_groups = len(feed.groups_of(parts.plan.components)[0])
  console.say("Compiling the training step.")
  settings = assembly.step_settings(run, parts.network, parts.tx, num_groups)
  program = compilation.precompile(
    loop.compiled_step(sharding, **settings),
    jax.tree.map(placed, shapes, sharding),
    assembly.batch_shapes(run, parts.network.features),
    mesh=mesh,
    batch_sharding=jax.sharding.NamedSharding(mesh, partition.BATCH),
  )
  console.say(program.told())


def _fit(session: session_lib.Session, parts: Parts, tracing: Any) -> step_lib.TrainState:
  run, start = parts.run, session.start
  timer = clock_lib.Clock()
  recording = recorder.Recorder(
    run.train.log_period, session.record, watch=session.watch, clock=timer
  )
  stop = stopping.StopOnSignal(session.save_whole, recording, start=int(start.state.step))
  sharding = jax.sharding.NamedSharding(parts.mesh, partition.BATCH)
  try:
    with stop, tracing, compilation.Tally() as tally:
      state = loop.fit(
        start.state,
        session.feed,
        **assembly.step_settings(run, parts.network, parts.tx, len(session.feed.groups)),
        mesh=parts.mesh,
        batch_sharding=sharding,
        state_sharding=start.sharding,
        num_steps=run.train.steps,
        put=functools.partial(partition.put, batch_size=run.data.batch_size),
        clock=timer,
        hooks=(tracing, *_hooks(session, recording, tally), stop),
      )
      session.saver.wait()  # a signal does not cut the last save short, either
      stop.settle(int(state.step))
      return state
  except finite.NonFinite as error:
    session.log.event(error.step, "not finite", str(error))
    raise errors.UserError(
      f"{error}; lower LEARNING_RATE, or leave a task out (WITHOUT), and start again from the last"
      " checkpoint or an earlier one"
    ) from None
  finally:
    session.log.spent(timer.take())


def _hooks(
  session: session_lib.Session, recording: recorder.Recorder, tally: compilation.Tally
) -> list[loop.Hook]:
  run = session.run
  period = run.evaluation.period if session.held_out or session.watched else 0
  return [
    recorder.Once(lambda step: session.compiled(step, recording.clock.age, tally)),
    recording,
    recorder.Every(period, session.evaluate, recording),
    session_lib.Saves(run.train.checkpoint_period, session, recording),
  ]
