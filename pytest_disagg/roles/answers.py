"""What the accuracy tasks of a run say: findings for its gate, its points, and the lines that people see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_disagg.config.accuracy_tasks import VARIABLE
from pytest_disagg.roles.accuracy import STAGE, Evaluation
from pytest_disagg.roles.session import RoleSession
from pytest_disagg.rundir.state import Failure
from pytest_disagg.topology.problems import problem
from pytest_disagg.verdict.accuracy import SAID, compare
from pytest_disagg.verdict.gate import Finding, GateResult

POINT = "accuracy"
"""The label of the scores among the points of a run; with ``<server>/`` before it where there are several."""
_WORST = ("insufficient-history", "pass", "invalid", "failed")


@dataclass(frozen=True)
class Answers:
    """``metrics`` and ``words`` are by label. ``word`` is the verdict of a run that measured nothing else."""

    evaluations: tuple[Evaluation, ...]
    gate: GateResult
    lines: tuple[str, ...]
    metrics: dict[str, dict[str, float]]
    words: dict[str, str]

    @property
    def word(self) -> str:
        return max(self.words.values(), key=_WORST.index, default="insufficient-history")

    @property
    def wrong(self) -> bool:
        """Whether the deployment answers wrongly or could not be asked: then its speed means nothing."""
        return self.gate.kind == "functional"

    def fields(self, key: tuple[int, int]) -> dict[str, float]:
        """The scores that belong to the records of the load at (server index, load index)."""
        return {f"d_{score.name}": score.value for each in self.evaluations if each.of(key) for score in each.scores}

    def failure(self, role: str, finding: Finding) -> Failure | None:
        """The cause that a finding of these is; None for a finding of something else."""
        if finding not in self.gate.findings:
            return None
        evidence = next((each.evidence for each in self.evaluations if each.problem == finding), ())
        return Failure(role, finding.kind, STAGE, finding.text, evidence=evidence)


def answers_of(session: RoleSession, evaluations: Sequence[Evaluation]) -> Answers:
    """Compare every score with its limits in the case file."""
    findings: list[Finding] = []
    lines: list[str] = []
    metrics: dict[str, dict[str, float]] = {}
    words: dict[str, str] = {}
    several = len({each.server_index for each in evaluations}) > 1
    for each in evaluations:
        label = f"{each.spec.name}/{POINT}" if several and each.spec else POINT
        compared = compare(each.task, each.scores, lambda key: _where(session, key))
        own = [each.problem] if each.problem else list(compared.findings)
        kinds = {finding.kind for finding in own}
        word = "failed" if "functional" in kinds else "invalid" if kinds else "pass"
        if not own and not compared.limits:
            word = "insufficient-history"
        findings += own
        lines += [*compared.lines, *([_cut(each)] if each.cut else [])]
        metrics.setdefault(label, {}).update({score.name: score.value for score in each.scores})
        words[label] = max(word, words.get(label, word), key=_WORST.index)
    return Answers(tuple(evaluations), GateResult(tuple(findings)), tuple(lines), metrics, words)


def _cut(each: Evaluation) -> str:
    asked = next((score.samples for score in each.scores), None)
    return f"{SAID}{each.task.name}: {asked} of its {each.cut} samples were asked"


def _where(session: RoleSession, key: str) -> str:
    if key.startswith(VARIABLE):
        return key
    found = problem(session.case, key, "", "")
    line = "" if found.line is None else f":{found.line}"
    return f"{session.case.path}{line}: {key}"
