"""How processes of one run find each other, agree, and notice each other's end."""

import concurrent.futures
import contextlib
import queue
import random
import socket
import threading
import time

import pytest

from flan_tune import errors, hosts
from flan_tune.hosts import place, wire
from flan_tune.hosts.channel import Channel

_CLUSTER = {
  "SLURM_JOB_ID": "7",
  "SLURM_STEP_NODELIST": "node[07-08]",
  "SLURM_NTASKS": "2",
  "SLURM_PROCID": "1",
  "SLURM_LOCALID": "0",
}


@pytest.fixture(autouse=True)
def nobody_said(monkeypatch):
  for variable in ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"):
    monkeypatch.delenv(variable, raising=False)


def _free_port() -> int:
  with socket.socket() as one:
    one.bind(("127.0.0.1", 0))
    return one.getsockname()[1]


class _Run:
  """Channels of several processes, all in this one."""

  def __init__(self, processes: int, *, silence: float = 30.0, arrival: float = 20.0):
    self.port = _free_port()
    self.processes = processes
    self.settings = {"silence": silence, "arrival": arrival}
    self.ended = [queue.Queue() for _ in range(processes)]
    self.channels: list[Channel] = []

  def channel(self, process: int, **changed) -> Channel:
    seat = place.Place("127.0.0.1", self.port, changed.get("processes", self.processes), process)
    told = self.ended[process]
    one = Channel(seat, ended=lambda text, code: told.put((text, code)), **self.settings)
    self.channels.append(one)
    return one

  def all(self) -> list[Channel]:
    with concurrent.futures.ThreadPoolExecutor(self.processes) as pool:
      return list(pool.map(self.channel, range(self.processes)))

  def told(self, process: int) -> tuple[str, int | None]:
    return self.ended[process].get(timeout=10)


@pytest.fixture
def runs():
  begun = []
  yield lambda *given, **settings: begun.append(_Run(*given, **settings)) or begun[-1]
  for one in reversed([channel for run in begun for channel in run.channels]):
    if not one._loop.is_closed():
      one.close()


@contextlib.contextmanager
def _together(channels):
  with concurrent.futures.ThreadPoolExecutor(len(channels)) as pool:
    yield lambda act: list(pool.map(act, channels))


def test_everyone_hears_all_values_in_the_order_of_processes(runs):
  channels = runs(3).all()
  with _together(channels) as each:
    for turn in range(3):
      value = lambda one, turn=turn: {"of": one.place.process, "long": "x" * 100_000, "turn": turn}
      heard = each(lambda one, value=value: one.everyone(value(one)))
      assert heard == [[value(one) for one in channels]] * 3
    assert {tuple(one.names) for one in channels} == {(socket.gethostname(),) * 3}


def test_a_process_that_dies_is_named_to_all_others_at_once(runs):
  run = runs(3)
  channels = run.all()
  began = time.monotonic()
  channels[1].close()
  for process in (0, 2):
    text, code = run.told(process)
    assert "process 1 of 3) is gone: its connection was closed" in text and code is None
  assert time.monotonic() - began < 5


def test_the_first_process_is_missed_as_any_other(runs):
  run = runs(2)
  channels = run.all()
  channels[0].close()
  assert "process 0 of 2) is gone: its connection was closed" in run.told(1)[0]


def test_a_host_that_says_nothing_is_taken_for_dead_after_a_time(runs):
  """Power or network gone: nothing closes its connection."""
  run = runs(2, silence=0.6)
  with (
    concurrent.futures.ThreadPoolExecutor(1) as pool,
    contextlib.closing(socket.socket()) as mute,
  ):
    first = pool.submit(run.channel, 0)
    while mute.connect_ex(("127.0.0.1", run.port)):
      time.sleep(0.01)
    mute.sendall(wire.line({"hello": 1, "processes": 2, "name": "mute"}))
    first.result()
    text, _ = run.told(0)
  assert text == "host mute (process 1 of 2) is gone: no sign of life for 0.6 seconds"


@contextlib.contextmanager
def _first_says(run, *messages: dict):
  """A first process that reads nothing; yields the channel of the second."""
  with (
    socket.create_server(("127.0.0.1", run.port)) as server,
    concurrent.futures.ThreadPoolExecutor(1) as pool,
  ):
    second = pool.submit(run.channel, 1)
    connection, _ = server.accept()
    with connection:
      connection.sendall(b"".join(map(wire.line, messages)))
      yield second.result()


def test_silence_is_noticed_behind_a_value_that_nobody_takes(runs):
  run = runs(2, silence=0.6)
  with _first_says(run, {"welcome": ["mute", "here"]}) as second:
    threading.Thread(target=second.everyone, args=("x" * (1 << 25),), daemon=True).start()
    text, _ = run.told(1)
  assert text == "host mute (process 0 of 2) is gone: no sign of life for 0.6 seconds"


def test_a_death_right_after_the_welcome_is_told(runs):
  run = runs(2)
  with _first_says(
    run, {"welcome": ["a", "b"]}, {"ended": 0, "name": "a", "sentence": "no disk", "code": 2}
  ):
    assert run.told(1) == ("host a (process 0 of 2) has stopped: no disk", 2)


def test_what_cannot_be_sent_raises_where_it_was_said(runs):
  """And is no round in which the others wait for ever."""
  (alone,) = runs(1).all()
  with pytest.raises(TypeError, match="not JSON serializable"):
    alone.everyone({1, 2})


@pytest.mark.parametrize(
  ("find", "where"),
  [
    (lambda: 7, "from step 7"),
    (lambda: None, "from its beginning"),
    (lambda: 1 // 0, "from its last checkpoint"),
    (None, "from its last checkpoint"),  # a death before anybody could say
  ],
)
def test_the_end_says_from_where_a_run_goes_on_if_it_knows(find, where, monkeypatch):
  told = []
  monkeypatch.setattr(hosts, "_exit", lambda *said: told.append(said))
  monkeypatch.setattr(hosts, "_this", hosts._Process())
  if find:
    hosts.resumes_from(find)
  hosts._end("host a is gone", None)
  ((sentence, code),) = told
  assert f"the same command goes on {where}, on as many" in sentence and code == hosts.GONE


def test_a_fault_of_one_reaches_the_others_with_its_sentence(runs):
  run = runs(2)
  channels = run.all()
  channels[1].fail("disk full", 2)
  text, code = run.told(0)
  assert text.endswith("(process 1 of 2) has stopped: disk full") and code == 2
  assert run.ended[1].empty()


def test_leaving_is_no_death(runs):
  run = runs(2)
  channels = run.all()
  with _together(channels) as each:
    each(Channel.leave)
  assert all(told.empty() for told in run.ended)


@pytest.mark.parametrize("seed", range(4))
def test_all_stop_after_the_same_step_whenever_one_is_asked(seed, runs):
  channels = runs(3).all()
  draw = random.Random(seed)
  asker, moment = draw.randrange(3), draw.randrange(1, 30)

  def steps(one: Channel) -> int:
    pace = random.Random(one.place.process + 10 * seed)
    assert one.may_begin(1)
    step = 1
    while True:
      time.sleep(pace.random() * 0.003)
      if one.place.process == asker and step == moment:
        one.ask_to_stop()
      if not one.may_begin(step + 1):
        return step
      step += 1

  with _together(channels) as each:
    ends = each(steps)
  assert len(set(ends)) == 1 and ends[0] >= moment


@pytest.mark.parametrize(
  ("process", "processes", "found"),
  [
    (1, 2, "--process 1 .*: is there already, on host .*; give every process a number of its own"),
    (1, 3, "--processes 3 .*: process 0 was started with 2"),
  ],
)
def test_a_process_that_does_not_belong_is_refused_and_harms_nobody(
  process, processes, found, runs
):
  run = runs(2)
  channels = run.all()
  with pytest.raises(errors.UserError, match=found):
    run.channel(process, processes=processes)
  with _together(channels) as each:
    assert each(lambda one: one.everyone(1)) == [[1, 1]] * 2


def test_who_does_not_come_is_told_in_time(runs):
  run = runs(2, arrival=0.3)
  with pytest.raises(errors.UserError, match="--coordinator .*: not reached within 0.3 seconds"):
    run.channel(1)
  with pytest.raises(errors.UserError, match="--processes 2: not all have come .* 0.3 seconds"):
    run.channel(0)
  with socket.create_server(("127.0.0.1", run.port), backlog=0) as full:
    fill = [socket.socket() for _ in range(4)]
    for one in fill:
      one.setblocking(False)
      one.connect_ex(full.getsockname())
    with pytest.raises(errors.UserError, match=r"not reached within 0.3 seconds \(no answer\)"):
      run.channel(1)
    for one in fill:
      one.close()
  with socket.socket() as other:
    other.bind(("", 0))
    other.listen()
    run.port = other.getsockname()[1]
    with pytest.raises(errors.UserError, match="process 0 cannot listen there"):
      run.channel(0)


def test_alone_nothing_is_started(monkeypatch):
  monkeypatch.setattr(hosts, "Channel", None)
  with hosts.joined():
    assert (hosts.count(), hosts.number(), hosts.is_first()) == (1, 0, True)
    assert hosts.everyone({"a": 1}) == [{"a": 1}] and hosts.name_of(0) == socket.gethostname()
    assert hosts.may_begin(7)
  with pytest.raises(errors.UserError, match="comes out"), hosts.joined(processes=1, process=0):
    raise errors.UserError("comes out")


@pytest.mark.parametrize(
  ("flags", "environment", "found"),
  [
    ((None, None, None), {}, None),
    (("a:1", 2, 1), {}, ("a", 1, 2, 1, None)),
    (("[::1]:9", 2, 0), {}, ("::1", 9, 2, 0, None)),
    (("a:1", 1, 0), {}, None),
    (
      (None, None, None),
      {"JAX_COORDINATOR_ADDRESS": "b:2", "JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "3"},
      ("b", 2, 4, 3, None),
    ),
    (("a:1", 2, None), {"JAX_NUM_PROCESSES": "9", "JAX_PROCESS_ID": "0"}, ("a", 1, 2, 0, None)),
    ((None, None, None), _CLUSTER, ("node07", 61447, 2, 1, [0])),
    (("a:1", None, None), _CLUSTER, ("a", 1, 2, 1, [0])),
    ((None, None, None), _CLUSTER | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, None),
  ],
)
def test_the_place_is_found_in_flags_then_environment_then_cluster(
  monkeypatch, flags, environment, found
):
  for name, value in environment.items():
    monkeypatch.setenv(name, value)
  assert place.find(*flags) == found


@pytest.mark.parametrize(
  ("flags", "environment", "told"),
  [
    (("a:1", None, None), {}, r"--coordinator a:1: --processes \(or JAX_NUM_PROCESSES\) and --pro"),
    ((None, 2, 0), {}, r"--processes 2, --process 0: --coordinator \(or JAX_COORDINATOR_ADDRESS\)"),
    ((None, None, None), {"JAX_PROCESS_ID": "1"}, "JAX_PROCESS_ID = '1': --coordinator"),
    (("a:1", 2, 2), {}, "--process 2: processes are numbered from 0 to 1, as --processes 2"),
    (("a:1", 0, 0), {}, "--processes 0: expected a whole number of at least 1"),
    (("a:1", 2, None), {"JAX_PROCESS_ID": "-1"}, "JAX_PROCESS_ID = '-1': expected a whole number"),
    (("a", 2, 0), {}, "--coordinator a: expected HOST:PORT"),
    (("a:99999", 2, 0), {}, "--coordinator a:99999: expected HOST:PORT"),
  ],
)
def test_mistakes_about_the_place_are_one_sentence(monkeypatch, flags, environment, told):
  for name, value in environment.items():
    monkeypatch.setenv(name, value)
  with pytest.raises(errors.UserError, match=told):
    place.find(*flags)
