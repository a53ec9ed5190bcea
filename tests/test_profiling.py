"""Traces of chosen steps: taken when due, closed whatever happens, mistakes told in a sentence."""

import gzip
import json

import jax
import jax.numpy as jnp
import pytest

from flan_tune import errors, profiling


@pytest.mark.parametrize(
  ("text", "told"),
  [
    ("7:5", "7:5: ends before it begins; did you mean 5:7?"),
    ("5:11", "5:11: the run ends at step 10; choose earlier steps or raise TRAIN_STEPS"),
    ("0:2", "0:2: steps count from 1"),
    ("two", "two: expected FIRST:LAST"),
    ("-1:4", "-1:4: expected FIRST:LAST"),
    ("1:2:3", "1:2:3: expected FIRST:LAST"),
  ],
)
def test_mistakes_are_sentences(text, told):
  with pytest.raises(errors.UserError) as caught:
    profiling.steps(text, num_steps=10)
  assert str(caught.value).startswith(f"--profile={told}")


def test_one_step_may_be_named_alone():
  assert profiling.steps("4", num_steps=4) == (4, 4)


def test_steps_that_are_done_cannot_be_traced(tmp_path):
  with pytest.raises(errors.UserError, match="goes on after step 6; choose steps from 7"):
    profiling.Profile(profiling.Steps(6, 8), start=6, folder=tmp_path, say=print)


@jax.jit
def add(x):
  return x + 1


def run(folder, chosen, *, start=0, end=6, fails_after=None) -> list[str]:
  """What is said in a loop of steps `start` + 1 to `end`."""
  said, x = [], jnp.zeros(())
  profile = profiling.Profile(chosen, start=start, folder=folder, say=said.append)
  with profile:
    for step in range(start + 1, end + 1):
      with jax.profiler.StepTraceAnnotation("train", step_num=step):
        x = add(x)
      if profile.due(step) or step == end:
        profile(step, None, {"loss": (x, x)}, None)
      if step == fails_after:
        raise InterruptedError
  return said


def traced(folder) -> list[int]:
  """Numbers of the steps in a trace."""
  (path,) = folder.rglob("*.trace.json.gz")
  events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
  return sorted(int(event["args"]["step_num"]) for event in events if event.get("name") == "train")


@pytest.mark.parametrize(("start", "chosen"), [(0, (2, 4)), (0, (1, 2)), (3, (4, 6))])
def test_exactly_the_chosen_steps_are_in_the_trace(tmp_path, start, chosen):
  (said,) = run(tmp_path / "profile", profiling.Steps(*chosen), start=start)
  assert traced(tmp_path) == list(range(chosen[0], chosen[1] + 1))
  assert f"steps {chosen[0]} to {chosen[1]}: {tmp_path}" in said and "perfetto" in said


def test_a_stop_in_between_still_closes_the_trace(tmp_path):
  with pytest.raises(InterruptedError):
    run(tmp_path / "profile", profiling.Steps(2, 5), fails_after=3)
  assert traced(tmp_path) == [2, 3]
  run(tmp_path / "again", profiling.Steps(2, 2))  # another may begin
  assert traced(tmp_path / "again") == [2]


def test_a_folder_that_cannot_be_made_stops_no_training(tmp_path):
  (tmp_path / "profile").write_text("a file")
  (said,) = run(tmp_path / "profile", profiling.Steps(2, 3))
  assert "no trace is taken" in said


def test_without_the_flag_nothing_is_traced(tmp_path):
  profile = profiling.of_flag(None, tmp_path, begun=3, last=9, say=pytest.fail)
  with profile:
    assert not any(map(profile.due, range(4, 10)))
    profile(9, None, {}, None)  # as every hook is called after the last step
  assert not list(tmp_path.iterdir())


def test_the_flag_is_read_with_the_run_in_view(tmp_path):
  said = []
  with profiling.of_flag("4:5", tmp_path, begun=3, last=5, say=said.append):
    add(jnp.zeros(()))
  assert "cut short" in said[0] and list((tmp_path / "profile").rglob("*.xplane.pb"))
  with pytest.raises(errors.UserError, match="from 4"):
    profiling.of_flag("3:4", tmp_path, begun=3, last=5)
  with pytest.raises(errors.UserError, match="ends at step 5"):
    profiling.of_flag("4:6", tmp_path, begun=3, last=5)
  with pytest.raises(errors.UserError, match="has ended at step 5; raise TRAIN_STEPS"):
    profiling.of_flag("4:5", tmp_path, begun=5, last=5)
