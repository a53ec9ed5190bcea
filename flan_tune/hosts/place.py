"""Which process of how many this is: by flags, environment variables, or what a cluster sets."""

import os
from typing import NamedTuple

from jax._src import clusters  # the only way to its detection that starts nothing

from flan_tune import errors

_VARIABLES = {
  "coordinator": "JAX_COORDINATOR_ADDRESS",
  "processes": "JAX_NUM_PROCESSES",
  "process": "JAX_PROCESS_ID",
}


class Place(NamedTuple):
  """A process's place in a run.

  Attributes:
    host: Where process 0 listens.
    port: Likewise.
    processes: How many there are.
    process: Which one this is.
    devices: Numbers of this machine's devices that are its own; None for all.
  """

  host: str
  port: int
  processes: int
  process: int
  devices: list[int] | None = None


def find(coordinator: str | None, processes: int | None, process: int | None) -> Place | None:
  """The place of this process; None where it is alone.

  What a flag does not say, an environment variable may, or else SLURM, Open MPI, a TPU pod or GKE.

  Raises:
    UserError: A part of it is missing, or makes no sense.
  """
  flags = {"coordinator": coordinator, "processes": processes, "process": process}
  said = {name: (f"--{name} {flag}", str(flag)) for name, flag in flags.items() if flag is not None}
  for name, variable in _VARIABLES.items():
    if value := os.environ.get(variable):
      said.setdefault(name, (f"{variable} = {value!r}", value))
  devices = None
  if len(said) < len(flags):
    cluster, devices = _cluster()
    said = cluster | said
  alone = "coordinator" not in said and said.get("processes", ("", ""))[1] == "1"
  if not said or (alone and said.get("process", ("", "0"))[1] == "0"):
    return None
  lacking = [name for name in flags if name not in said]
  if lacking:
    missing = " and ".join(f"--{name} (or {_VARIABLES[name]})" for name in lacking)
    raise errors.UserError(
      f"{', '.join(told for told, _ in said.values())}: {missing} must be given, too, where"
      " several hosts take part"
    )
  host, port = _address(*said["coordinator"])
  processes, process = _number(*said["processes"], least=1), _number(*said["process"], least=0)
  if process >= processes:
    raise errors.UserError(
      f"{said['process'][0]}: processes are numbered from 0 to {processes - 1}, as"
      f" {said['processes'][0]}"
    )
  return Place(host, port, processes, process, devices) if processes > 1 else None


def _cluster() -> tuple[dict[str, tuple[str, str]], list[int] | None]:
  """What the cluster says, if there is one and it has started several processes."""
  # Without an index of its pod, Kubernetes says nothing of processes, and asking it takes time.
  in_job = "JOB_COMPLETION_INDEX" in os.environ
  for kind in clusters.ClusterEnv._cluster_types:
    if kind.opt_in_only_method or (kind.name == "k8s" and not in_job) or not kind.is_env_present():
      continue
    if (count := kind.get_process_count()) == 1:
      break
    local = kind.get_local_process_id()
    port = os.environ.get("JAX_COORDINATOR_PORT")
    address = kind.get_coordinator_address(timeout_secs=60, override_coordinator_port=port)
    found = {"coordinator": address, "processes": count, "process": kind.get_process_id()}
    told = {name: (f"{kind.name}'s {name} {value}", str(value)) for name, value in found.items()}
    return told, None if local is None else [local]
  return {}, None


def _address(told: str, value: str) -> tuple[str, int]:
  host, _, port = value.rpartition(":")
  if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
    raise errors.UserError(f"{told}: expected HOST:PORT, where process 0 listens")
  return host.strip("[]"), int(port)


def _number(told: str, value: str, *, least: int) -> int:
  if not value.isdecimal() or int(value) < least:
    raise errors.UserError(f"{told}: expected a whole number of at least {least}")
  return int(value)
