"""The check of every node before the first server starts: what it is told, and reading what it says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_disagg.config.rehearsal import ENGINE as SIMULATED
from pytest_disagg.launch.command import value_in
from pytest_disagg.launch.slurm.node_check import FAILED as FAILED
from pytest_disagg.version import __version__

if TYPE_CHECKING:  # The last act of a job script reads this module: it must not wait for the schemas.
    from pytest_disagg.config.case import Case
    from pytest_disagg.config.cluster import Cluster

PROGRAM = Path(__file__).with_name("node_check.py")


@dataclass(frozen=True)
class Wanted:
    """What :mod:`.node_check` looks at. ``readable`` is ``(what it is, path, on every node)``, else on the first alone.

    ``models_variable``: LLM_MODELS_ROOT, where the job has it, is a folder that must be readable. ``gpus`` is how many
    Slurm has to give a node, None where it is not asked for any. ``machine`` are the rules that the state of its GPUs
    is held against (:class:`pytest_disagg.config.blocks.MachineRules`), None where it is not looked at.
    """

    version: str
    token_file: str
    readable: tuple[tuple[str, str, bool], ...] = ()
    models_variable: bool = False
    gpus: int | None = None
    machine: Mapping[str, Any] | None = None

    def text(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True)
class Said:
    """One check as a node made it."""

    node: str
    check: str
    ok: bool
    found: str
    expected: str

    def __str__(self) -> str:
        return f"node {self.node}: {self.check}: found {self.found}, expected {self.expected}"


def of_cluster(cluster: Cluster, token_file: Path) -> Wanted:
    """What can be looked at without a case: what the cluster file names must be readable on its nodes."""
    paths = {
        "models_root": cluster.models_root,
        "llm_src": cluster.llm_src,
        "install.wheel": cluster.install.wheel,
        "install.source": cluster.install.source,
    }
    readable = [(what, str(path), True) for what, path in paths.items() if path is not None]
    readable += [("mounts", mount.split(":")[0], True) for mount in cluster.mounts if cluster.container == "none"]
    return Wanted(__version__, str(token_file), tuple(readable))


def of_job(case: Case, cluster: Cluster, token_file: Path, options: Iterable[str]) -> Wanted:
    """What the job of ``case`` needs; ``options`` are the ``--disagg-*`` words of its roles.

    Models are looked at only where the engine reads them, a dataset only where the client runs: on the first node.
    """
    gpus = case.gpus_per_node if cluster.gpu_request != "none" else None
    paths = [("case file", str(case.path.absolute()), True)]
    reads_models = case.engine != SIMULATED
    if reads_models:
        root = value_in(options, "models-root")
        # A model that is to be fetched need not be there yet.
        models = () if case.model_source is not None else (spec.model for spec in case.servers)
        folders = dict.fromkeys(each for each in (root, *models) if each)
        paths += [("models", path, True) for path in folders if path.startswith("/")]
    loads = (*case.clients, *(load for spec in case.servers for load in spec.clients))
    datasets = dict.fromkeys(str(load.dataset_file) for load in loads if load.dataset_file is not None)
    paths += [("dataset", path, False) for path in datasets]
    # Not needed by the last act of a job script, which reads this module too.
    from pytest_disagg.engines import registry

    rules = case.machine_rules(simulated=registry.get(case.engine).simulated(case))
    machine = None if rules is None else rules.model_dump()
    return Wanted(__version__, str(token_file), tuple(paths), reads_models, gpus, machine)


def read(lines: Iterable[str]) -> list[Said]:
    """The checks among the lines of a log; what else is there (srun's and Python's own words) is left out."""
    found: list[Said] = []
    for line in lines:
        if line.startswith('{"node": '):
            try:
                found.append(Said(**json.loads(line)))
            except (ValueError, TypeError):
                continue  # cut off in the middle of a line: its task was killed
    return found
