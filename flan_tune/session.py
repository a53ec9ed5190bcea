"""What a training process does between steps: record, evaluate, save, know when it is enough."""

import dataclasses
import pathlib

import jax

from flan_tune import (
  assembly,
  compilation,
  console,
  efficiency,
  hosts,
  pretrained,
  runlog,
  scorecard,
)
from flan_tune import config as config_lib
from flan_tune import model as model_lib
from flan_tune.benchmarks.exam import Exam
from flan_tune.checkpoint import saver as saver_lib
from flan_tune.data import feed as feed_lib
from flan_tune.data import provenance, tokens
from flan_tune.evaluate import tuning
from flan_tune.train import breakdown, finite, norms, recorder
from flan_tune.train import step as step_lib

_METRICS = ("loss", "accuracy", "z_loss", "grad_norm")


@dataclasses.dataclass
class Session:
  """What a training process holds while it runs; the loop's hooks call its methods.

  Attributes:
    meter: Turns what was measured into rates.
    start: Where the process began.
    held_out: What is asked every EVAL_PERIOD steps.
    watched: Of whose losses every EVAL_PERIOD steps are logged.
    best: Score and step of the best checkpoint so far.
    saved: Step of the newest checkpoint.
    failed: A checkpoint could not be saved, here or on another host; the next step should be.
    watch: Looks at each step's metrics.
  """

  run: config_lib.Run
  folder: pathlib.Path
  feed: feed_lib.Feed
  model: model_lib.Model
  log: runlog.RunLog
  progress: console.Progress
  saver: saver_lib.Saver
  meter: efficiency.Meter
  start: assembly.Start
  held_out: list[Exam]
  watched: list[Exam]
  best: tuple[float, int] | None = dataclasses.field(init=False)
  saved: int | None = dataclasses.field(init=False)
  failed: bool = dataclasses.field(init=False, default=False)
  watch: finite.Watch = dataclasses.field(init=False)

  def __post_init__(self):
    self.best = self.start.best
    self.saved = None if self.start.data is None else int(self.start.state.step)
    limit, skips = self.run.train.max_skipped, self.start.skips
    self.watch = finite.Watch(limit, self.dump, event=self.skipped, state=skips)
    self._rate = assembly.learning_rate(self.run)

  def record(self, step: int, interval: recorder.Interval) -> None:
    """Logs what was measured since the last record; all hosts do so at the same steps."""
    told = hosts.everyone(
      {"tokens": self.feed.tokens_by_lane(), "save_failed": self.saver.has_failed()}
    )
    # All hosts save at the same steps, so they must all know of it.
    self.failed = any(one["save_failed"] for one in told)
    means = interval.means()
    with jax.transfer_guard("allow"):
      # The optimiser does not count steps that were left out.
      rate = float(self._rate(step - 1 - self.watch.total))
    record = {
      "steps": interval.steps,
      **{name: means.get(name) for name in _METRICS},
      "learning_rate": rate,
      "fill": interval.fill.both,
      "tokens_seen": self.feed.tokens_given(one["tokens"] for one in told),
      "seconds": interval.training_seconds,
      "seconds_per_step": interval.training_seconds / interval.steps,
      "skipped_steps": self.watch.total,
      **self.meter.record(interval),
      **{name: mean for name, mean in means.items() if name.startswith(norms.PREFIXES)},
    }
    if "loss_by_group" in interval.sums:
      record |= breakdown.of_loss(interval.sums["loss_by_group"], self.feed.groups)
    self.log.train(step, record)
    self.progress.update(step, record)

  def compiled(self, step: int, seconds: float, tally: compilation.Tally) -> None:
    """Logs how long it took to the end of the first step, and what that compiled."""
    text = f"{seconds:.1f} s, {tally.told()}"
    self.log.event(step, "compiled", text, seconds=seconds, peak=self.meter.source)

  def skipped(self, step: int, text: str) -> None:
    """Says that a step was left out, or that steps are good again."""
    self.log.event(step, "not finite", text)
    self.progress.print(f"Step {step}: {text}")

  def dump(self, step: int, metrics: finite.Metrics, batch: feed_lib.Batch) -> pathlib.Path:
    """Writes down a batch of which something was not finite."""
    return finite.write(
      self.folder / "nonfinite",
      step,
      metrics,
      rows=provenance.rows(batch, tokens.Examples(self.feed.recipe)),
      groups=self.feed.groups,
      process=hosts.number(),
    )

  def save(self, step: int, state: step_lib.TrainState) -> None:
    """Begins to save a checkpoint, once for each step."""
    if self.saved == step:
      return
    best = self.best if self.best and self.best[1] == step else None
    meta = pretrained.describe(self.model)
    if self.start.base:
      meta["base"] = self.start.base
    documents = {"data": self.feed.state(), "meta": meta, "watch": self.watch.state()}
    # Here, too, because a kill may come between a checkpoint and the mark that it is the best.
    documents["best"] = self.best and {"score": self.best[0], "step": self.best[1]}
    self.saver.save(
      step, state._replace(frozen={}), documents=documents, score=best[0] if best else None
    )
    self.saved = step
    self.log.event(step, "checkpoint")

  def save_whole(self, step: int, state: step_lib.TrainState) -> None:
    """Saves a checkpoint of a run that is about to stop; returns when its files are whole."""
    self.save(step, state)
    self.saver.wait()

  def evaluate(self, step: int, state: step_lib.TrainState) -> bool:
    """Scores the held-out tasks, and saves a checkpoint that is the best so far.

    Returns:
      Whether enough was seen: no better average for EVAL_PATIENCE evaluations.
    """
    self.progress.note("evaluating")
    ready = self.model.with_params(state.whole())
    for exam, loss, n in scorecard.watched_losses(self.run, ready, self.watched):
      self.log.evaluation(
        step, task=exam.name, group=exam.suite, held_out=False, setting=exam.setting, loss=loss, n=n
      )
    if not self.held_out:
      return False
    average = self._ask(step, ready)
    if average is not None and (self.best is None or average > self.best[0]):
      self.best = (average, step)
      self.save(step, state)
    ended = self.is_enough(step)
    if ended:
      self.log.event(step, "ended early", self.enough())
      self.progress.print(f"Step {step}: {self.enough()}; training ends.")
    return ended

  def _ask(self, step: int, ready: model_lib.Model) -> float | None:
    """Logs the scores of the held-out tasks; returns their normalised average."""
    rows, losses = scorecard.score(self.run, ready, self.held_out)
    for row in rows:
      loss = losses.get(row["key"])
      self.log.evaluation(
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
    self.log.event(step, "evaluated", told, average=average)
    return average

  def is_enough(self, step: int) -> bool:
    """Whether EVAL_PATIENCE evaluations up to `step` have brought nothing better."""
    evaluation = self.run.evaluation
    if evaluation.patience is None or self.best is None or not self.held_out:
      return False
    return step - self.best[1] >= evaluation.patience * evaluation.period

  def enough(self) -> str:
    """Why training ends early, in words."""
    best, step = self.best or (0.0, 0)
    return f"no better average than {best:.2f} of step {step} for EVAL_PATIENCE evaluations"


class Saves(recorder.Every):
  """Saves every `period` steps, and as soon as it is known that a save has failed."""

  def __init__(self, period: int, session: Session, recording: recorder.Recorder):
    """Takes `Every`'s arguments."""
    super().__init__(period, session.save, recording, kind="save")
    self._session = session

  def due(self, step: int) -> bool:
    """Whether `step` is a multiple of the period, or must be tried since a save has failed."""
    return self._session.failed or super().due(step)
