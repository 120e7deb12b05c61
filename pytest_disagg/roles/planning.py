"""Stage ``plan``: what a run knows before it measures (manifest, baseline, names of points). Bad input fails here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_disagg.config.case import Case, LoadSpec, ServerSpec
from pytest_disagg.errors import ConfigError, Problem
from pytest_disagg.records.manifest import collect
from pytest_disagg.records.points import group
from pytest_disagg.records.record import Identity, build
from pytest_disagg.roles.accuracy import check as check_accuracy
from pytest_disagg.roles.judging import RunHistory, grounds_of
from pytest_disagg.roles.load import check_loads
from pytest_disagg.roles.session import RoleSession
from pytest_disagg.rundir.files import to_json, write_text
from pytest_disagg.topology.layout import layouts
from pytest_disagg.topology.placement import place
from pytest_disagg.verdict.decide import Grounds


@dataclass(frozen=True)
class Planned:
    """``point_names`` maps (server index, load index) to the name of that load in tables, properties and baselines.

    ``grounds`` is what the run is judged by, ``baseline_words`` says which baseline file was chosen and why.
    """

    manifest: Mapping[str, Any]
    point_names: Mapping[tuple[int, int], str]
    grounds: Grounds
    baseline_words: str

    @classmethod
    def of(cls, session: RoleSession, *, checked: bool = True) -> Planned:
        """Collect it. Without ``checked`` it is what a run that never got this far can still say about itself.

        Raises:
            ConfigError: the baseline file, accepted.yaml, a dataset, the ``verdict`` block or what an accuracy task
                needs is missing or broken, or the client cannot send a load; an hour of GPUs later would be too late
                to say so.
            RunError: lm_eval is not installed, and the case has accuracy tasks.
        """
        options = session.options
        if checked:
            _check_datasets(session.case)
            check_loads(session)
            check_accuracy(session)
        manifest = collect(session.case, run_id=options.run_id, role=session.role, started=options.started)
        manifest["client"] = {"name": options.client.name, "version": options.client.version()}
        grounds, words = Grounds(), ""
        if checked and not session.case.rehearsal:
            grounds, words = grounds_of(session, manifest["gpu"]["type"])
        return cls(manifest, point_names(session.case), grounds, words)

    @property
    def history_notes(self) -> list[str]:
        """What a person should know about how the history was read."""
        history = self.grounds.history
        return history.notes if isinstance(history, RunHistory) else []

    @property
    def remeasure(self) -> int:
        """How often a suspected load may be measured again."""
        return self.grounds.policy_for({}).remeasure

    @property
    def gpu(self) -> str:
        return str(self.manifest["gpu"]["type"])

    def properties(self, session: RoleSession) -> dict[str, str]:
        """Identity of the run for junit."""
        return {
            "config_digest": session.case.digest,
            "git_sha": str(self.manifest["git"]["config"].get("sha", "")),
            "engine": session.case.engine,
            "gpu": self.gpu,
            "run_dir": str(session.rundir.path),
        }


def _check_datasets(case: Case) -> None:
    """A dataset that the case names and that is not there is an error, never random prompts under the same name.

    Raises:
        ConfigError: each missing file.
    """
    loads = (*case.clients, *(load for spec in case.servers for load in spec.clients))
    named = dict.fromkeys(load.dataset_file for load in loads if load.dataset_file is not None)
    missing = [
        Problem(
            case.path, None, "dataset_file", f"{path}, which is not there", "a file, here or below --disagg-models-root"
        )
        for path in named
        if not path.is_file()
    ]
    if missing:
        raise ConfigError(missing)


def write_plan(session: RoleSession) -> None:
    """``plan.json``: placement, roles and limits, for people."""
    plan = {
        "servers": layouts(session.case, place(session.case)),
        "roles": list(session.case.roles),
        "deadlines": session.limits.as_dict(),
        "notes": list(session.case.notes),
    }
    write_text(session.rundir.plan, to_json(plan))


def point_names(case: Case) -> dict[tuple[int, int], str]:
    """The name of each load that is to be measured, as :mod:`pytest_disagg.records.points` gives it to its records."""
    deployments: list[tuple[ServerSpec | None, tuple[LoadSpec, ...]]] = [
        (spec, spec.clients or case.clients) for spec in case.servers
    ]
    if case.id.runtime == "disagg":
        deployments = [(None, case.clients)]
    nobody = Identity(run_id="", created_ms=0)
    skeletons = {
        (index, position): build(case, spec, load, metrics={}, identity=nobody, repeat=position)
        for index, (spec, loads) in enumerate(deployments)
        for position, load in enumerate(loads)
        if not load.only_run_accuracy
    }
    points = group(list(skeletons.values()))
    return {
        key: next(point.label for point in points if skeleton in point.records) for key, skeleton in skeletons.items()
    }
