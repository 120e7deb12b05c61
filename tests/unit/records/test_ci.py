"""What Jenkins says of a build: the fields of TensorRT-LLM's perf-sanity records, and Jenkins's own variables."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_disagg.records.ci import VARIABLES, ci_fields

TOP = "https://ci.example.com/job/LLM/job"


def pipeline(**changes: Any) -> str:
    action = {
        "parents": [{"url": "https://ci.example.com/first/", "build_number": 1}, {"url": "", "build_number": 9}],
        "trigger_info": 'by <a href="u" target="_blank">somebody</a><br/>Git Commit: 123',
    }
    action["parents"][-1]["url"] = f"{TOP}/main/job/L0_MergeRequest_PR/9/"  # type: ignore[index]
    return json.dumps(
        {"action_info": action, "github_pr_api_url": "https://api.github.com/repos/o/r/pulls/4711", **changes}
    )


def test_nothing_outside_of_a_build() -> None:
    assert ci_fields({"BUILD_ID": "3", "JOB_NAME": "x", "GIT_BRANCH": "main", "HOST_NODE_NAME": "h"}) == {}


def test_a_build_before_the_merge() -> None:
    environ = {
        "BUILD_ID": "12",
        "BUILD_URL": "https://ci.example.com/job/perf/12/",
        "JOB_NAME": "perf",
        "HOST_NODE_NAME": "agent-1",
        "gitlabCommit": "c0ffee",
        "globalVars": pipeline(),
    }
    assert ci_fields(environ) == {
        "s_host_node_name": "agent-1",
        "s_build_id": "12",
        "s_build_url": "https://ci.example.com/job/perf/12/",
        "s_job_name": "perf",
        "s_job_id": "9",
        "s_job_url": f"{TOP}/main/job/L0_MergeRequest_PR/9/",
        "s_branch": "main",
        "s_commit": "c0ffee",
        "s_artifact_url": "https://ci.example.com/job/perf/12/artifact/",
        "s_trigger_mr_user": "somebody",
        "s_trigger_mr_link": "https://github.com/o/r/pull/4711",
        "s_trigger_mr_id": "4711",
        "s_trigger_mr_commit": "c0ffee",
        "b_is_post_merge": False,
        "b_is_pr_job": True,
    }


def test_a_build_after_the_merge_is_for_no_change() -> None:
    parents = [{"url": f"{TOP}/release%2F1.0/job/L0_PostMerge/9/", "build_number": 9}]
    fields = ci_fields({"gitlabCommit": "c", "globalVars": pipeline(action_info={"parents": parents})})
    assert (fields["b_is_post_merge"], fields["b_is_pr_job"]) == (True, False)
    assert not [name for name in fields if name.startswith("s_trigger")]


@pytest.mark.parametrize(
    ("environ", "branch"),
    [
        ({"globalVars": pipeline(build_branch="release/1.0"), "BRANCH_NAME": "x"}, "release/1.0"),
        ({"globalVars": pipeline(), "BRANCH_NAME": "x"}, "main"),
        ({"BUILD_URL": "u", "BRANCH_NAME": "x", "GIT_BRANCH": "origin/y"}, "x"),
        ({"BUILD_URL": "u", "GIT_BRANCH": "origin/feature/y"}, "feature/y"),
    ],
)
def test_the_branch_comes_from_whoever_knows_it(environ: dict[str, str], branch: str) -> None:
    assert ci_fields(environ)["s_branch"] == branch


def test_a_plain_job_says_what_it_can() -> None:
    environ = {
        "BUILD_NUMBER": "5",
        "BUILD_URL": "https://ci.example.com/job/perf-PostMerge/5/",
        "JOB_URL": "https://ci.example.com/job/perf-PostMerge/",
        "GIT_COMMIT": "abc",
    }
    fields = ci_fields(environ)
    assert fields["b_is_post_merge"] is True
    assert (fields["s_job_id"], fields["s_build_id"], fields["s_commit"]) == ("5", "5", "abc")
    change = {"CHANGE_ID": "8", "CHANGE_URL": "https://forge/8", "CHANGE_AUTHOR": "me", "BUILD_URL": "u"}
    assert ci_fields(change)["s_trigger_mr_id"] == "8"


@pytest.mark.parametrize(
    "text", ["{", "[]", "null", '{"action_info": []}', '{"action_info": {"parents": [3]}}', "\x00"]
)
def test_variables_that_hold_something_else_say_nothing(text: str) -> None:
    fields = ci_fields({"globalVars": text, "gitlabCommit": "c"})
    assert fields == {"s_commit": "c", "b_is_post_merge": False, "b_is_pr_job": True}


def test_credentials_are_masked() -> None:
    parents = [{"url": "https://u:hunter2secret@ci/job/9/", "build_number": 9}]
    environ = {
        "BUILD_URL": "https://u:hunter2secret@ci/12/",
        "globalVars": pipeline(action_info={"parents": parents}),
    }
    assert "hunter2secret" not in str(ci_fields(environ))


def test_the_list_of_variables_is_complete() -> None:
    """They have to be let into containers, so each that is read must be on the list."""

    class Recording(dict[str, str]):
        asked: set[str] = set()  # noqa: RUF012 - one for the one instance

        def get(self, name: str, default: Any = None) -> Any:
            self.asked.add(name)
            return super().get(name, default)

    environ = Recording(BUILD_URL="u", CHANGE_ID="1")
    ci_fields(environ)
    assert environ.asked <= set(VARIABLES)
    assert environ.asked >= set(VARIABLES) - {"CHANGE_ID"}
