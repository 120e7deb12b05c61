"""A case's models are there before its servers start: fetched once, by one role, while the others wait."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from pytest_disagg.config.blocks import ModelSource
from pytest_disagg.config.case import ServerSpec
from pytest_disagg.engines.models import model_folder
from pytest_disagg.errors import DisaggError
from pytest_disagg.models.request import (
    Fetched,
    FetchError,
    FetchRequest,
    check_origin,
    in_words,
    read_holder,
    size_of,
)
from pytest_disagg.process.child import Child
from pytest_disagg.roles.requests import site_of
from pytest_disagg.roles.rules import unfit
from pytest_disagg.roles.session import RoleSession
from pytest_disagg.rundir.files import read_json, tail_lines, write_text
from pytest_disagg.rundir.layout import safe_name
from pytest_disagg.rundir.writer import node_name
from pytest_disagg.topology.placement import place

KEY = "timeouts.prepare_s"
GRACE_S = 3.0
LOOK_S = 1.0
"""How often a folder that grows is measured."""
ALONE = "BENCHMARK"


def have_models(session: RoleSession, specs: Iterable[ServerSpec]) -> dict[str, Any]:
    """Have the models of ``specs`` in the models root; what was done for each, by its name, for the manifest.

    Of a models root that all nodes share one role fetches, and the others wait for the folder; of one that each node
    has for itself every role fetches, one of a node after the other.

    Raises:
        RunError: a model could not be fetched (``infrastructure``), or not within ``timeouts.prepare_s``.
    """
    source, case = session.case.model_source, session.case
    if source is None:
        return {}
    ends_at = time.monotonic() + session.limits.prepare_s
    done: dict[str, Any] = {}
    for model, spec in {spec.model: spec for spec in specs}.items():
        request = _request(session, source, model)
        _check_scope(session, source, spec)
        fetcher = case.roles[0] if case.roles else ALONE
        if request.target.is_dir():
            found = Fetched(False)
        elif source.scope == "cluster" and session.role != fetcher:
            found = _wait_for(session, request, fetcher, ends_at)
        else:
            found = _fetch(session, request, model, ends_at)
        try:
            check_origin(request)
        except FetchError as error:
            raise unfit(str(error)) from error
        done[model] = {**request.source, "folder": str(request.target), **asdict(found)}
    return done


def _request(session: RoleSession, source: ModelSource, model: str) -> FetchRequest:
    target = model_folder(session.case, model, site_of(session))
    if target is None:
        raise unfit(
            f"the case says where model {model} comes from (model:) and nothing says where it goes: found neither "
            "--disagg-models-root nor LLM_MODELS_ROOT, expected one of them"
        )

    def filled(text: str) -> str:
        return text.replace("{model}", model).replace("{revision}", source.revision)

    return FetchRequest(
        target=target,
        who=f"{session.role} of run {session.options.run_id} on {node_name()}",
        node=safe_name(node_name()),
        result=session.rundir.config(session.role) / f"fetched.{safe_name(model)}.json",
        repo=None if source.repo is None else filled(source.repo),
        revision=source.revision,
        command=tuple(filled(word) for word in source.command or ()),
        exclude=source.exclude,
        token_file=source.token_file,
    )


def _check_scope(session: RoleSession, source: ModelSource, spec: ServerSpec) -> None:
    """A node where nothing of ours runs cannot be given a model."""
    case = session.case
    if source.scope == "cluster" or session.options.engine.on_every_node(case, spec):
        return
    nodes = max(len(server.nodes) for server in place(case).servers if server.spec == spec)
    if nodes > 1:
        raise unfit(
            f"model.scope: node: server {spec.name} has {nodes} nodes and engine {case.engine} starts it from the "
            "first one alone; expected a models root that all of them see (scope: cluster)"
        )


def _fetch(session: RoleSession, request: FetchRequest, model: str, ends_at: float) -> Fetched:
    """Fetch it in a process of its own; whatever ends this role ends that one."""
    folder = request.result.parent
    folder.mkdir(parents=True, exist_ok=True)
    asked, log = folder / f"fetch.{safe_name(model)}.json", session.rundir.log(f"{session.role}.prepare")
    write_text(asked, request.to_json())
    argv = (sys.executable, "-m", "pytest_disagg.models.fetch", str(asked))
    try:
        child = Child.start(argv, name=f"fetch of {model}", log=log, grace_s=GRACE_S)
    except DisaggError as error:
        raise unfit(str(error)) from error
    session.log(f"model {model}: not in {request.target.parent}, fetching {request.source_words}, log {log}")
    growth = _Growth(request)

    def look() -> tuple[dict[str, Any] | None, str]:
        ended = child.poll()
        if (answer := read_json(request.result)) is not None:
            return answer, ""
        if ended is not None:
            raise unfit(f"the fetch of model {model} ended without a word: {ended}", tail_lines(log))
        session.progress = growth.words()
        return None, session.progress

    try:
        answer = session.wait(
            look,
            what=f"model {model} ({request.source_words})",
            limit_s=_left_s(ends_at),
            key=f"left of {KEY}",
            kind="infrastructure",
        )
    finally:
        session.progress = ""
        child.stop()
    if "error" in answer:
        raise unfit(str(answer["error"]), tail_lines(log))
    found = Fetched.from_dict(answer)
    if found.fetched:
        session.say(f"model {model}: {in_words(found.size)} from {request.source_words} in {found.seconds:.1f} s")
    return found


def _wait_for(session: RoleSession, request: FetchRequest, fetcher: str, ends_at: float) -> Fetched:
    """Another role of this run fetches it for all nodes."""

    def look() -> tuple[bool | None, str]:
        state = session.monitor.states.get(fetcher)
        seen = "not started" if state is None else state.progress or f"{state.state} in stage {state.stage}"
        return (True if request.target.is_dir() else None), f"{fetcher}: {seen}"

    session.wait(
        look,
        what=f"{request.target}, which {fetcher} fetches",
        limit_s=_left_s(ends_at),
        key=f"left of {KEY}",
        kind="infrastructure",
    )
    return Fetched(False)


class _Growth:
    """How far a fetch is: by whom, and how many bytes there are. Looked at now and then only."""

    def __init__(self, request: FetchRequest) -> None:
        self._request = request
        self._next = 0.0
        self._words = ""

    def words(self) -> str:
        if time.monotonic() >= self._next:
            holder = read_holder(self._request.holder)
            name = self._request.target.name
            if holder is None:
                self._words = f"model {name}: its fetch begins"
            else:
                who, folder = holder
                self._words = f"model {name}: {in_words(size_of(folder))} so far, fetched by {who}"
            self._next = time.monotonic() + LOOK_S
        return self._words


def _left_s(ends_at: float) -> float:
    """Seconds until then, as an error may quote them: all models of a role share the stage's limit."""
    return round(max(0.0, ends_at - time.monotonic()), 1)
