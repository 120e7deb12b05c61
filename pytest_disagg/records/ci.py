"""What Jenkins says of a build, as fields of a record: who built what, for which change, before or after its merge.

Variables and fields are those of TensorRT-LLM's perf-sanity pipeline (``get_job_info`` of its open_search_db_utils.py):
its ``globalVars`` is JSON that names the pipeline which started this build. Where it says nothing, Jenkins's own
variables do: those of any build, of its git plugin, and of multibranch pipelines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pytest_disagg.redact import redact_data

VARIABLES = (
    "BUILD_ID",
    "BUILD_NUMBER",
    "BUILD_URL",
    "JOB_NAME",
    "JOB_URL",
    "HOST_NODE_NAME",
    "globalVars",
    "gitlabCommit",
    "GIT_COMMIT",
    "GIT_BRANCH",
    "BRANCH_NAME",
    "CHANGE_ID",
    "CHANGE_URL",
    "CHANGE_AUTHOR",
)
"""All that is read here: what has to reach the process that writes records."""

_MARKS = ("BUILD_URL", "globalVars", "gitlabCommit")
"""Variables that nobody but such a pipeline sets; ``BUILD_ID`` alone says little."""
_POST_MERGE = "PostMerge"
_PULL = re.compile(r"/pulls/(\d+)")
_BRANCH = re.compile(r"/job/LLM/job/([^/]+)/job/")
_USER = re.compile(r'target="_blank">([^<]+)</a><br/>Git Commit:')


def ci_fields(environ: Mapping[str, str]) -> dict[str, Any]:
    """The fields of the build that this environment belongs to; none outside of one. What is unknown is left out.

    ``s_job_url`` and ``s_job_id`` are those of the pipeline at the top, ``s_build_url`` and ``s_build_id`` of this
    build. A build is ``b_is_post_merge`` where ``PostMerge`` occurs in ``s_job_url``, else ``b_is_pr_job``; only the
    latter has a change (``s_trigger_mr_*``). Credentials in URLs are masked.
    """
    if not any(environ.get(name) for name in _MARKS):
        return {}
    pipeline = _object(environ.get("globalVars", ""))
    action = _mapping(pipeline.get("action_info"))
    job_url, job_id = _job(action, environ)
    commit = environ.get("gitlabCommit") or environ.get("GIT_COMMIT", "")
    build_url = environ.get("BUILD_URL", "")
    post_merge = _POST_MERGE in job_url
    fields = {
        "s_host_node_name": environ.get("HOST_NODE_NAME", ""),
        "s_build_id": environ.get("BUILD_ID") or environ.get("BUILD_NUMBER", ""),
        "s_build_url": build_url,
        "s_job_name": environ.get("JOB_NAME", ""),
        "s_job_id": job_id,
        "s_job_url": job_url,
        "s_branch": _branch(pipeline, job_url, environ),
        "s_commit": commit,
        "s_artifact_url": f"{build_url.rstrip('/')}/artifact/" if build_url else "",
        **({} if post_merge else _change(pipeline, action, commit, environ)),
    }
    known = {name: redact_data(value) for name, value in fields.items() if value}
    return {**known, "b_is_post_merge": post_merge, "b_is_pr_job": not post_merge}


def _job(action: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[str, str]:
    """URL and number of the build at the top: the last parent, else this one."""
    parents = action.get("parents")
    last = _mapping(parents[-1]) if isinstance(parents, list) and parents else {}
    if last:
        return _text(last.get("url")), _text(last.get("build_number"))
    return environ.get("JOB_URL") or environ.get("BUILD_URL", ""), environ.get("BUILD_NUMBER", "")


def _branch(pipeline: Mapping[str, Any], job_url: str, environ: Mapping[str, str]) -> str:
    if isinstance(pipeline.get("build_branch"), str):
        return str(pipeline["build_branch"])
    if found := _BRANCH.search(job_url):
        return found[1]
    return environ.get("BRANCH_NAME") or environ.get("GIT_BRANCH", "").removeprefix("origin/")


def _change(
    pipeline: Mapping[str, Any], action: Mapping[str, Any], commit: str, environ: Mapping[str, str]
) -> dict[str, str]:
    """The pull request that a build before the merge is for; empty where it is for none."""
    api_url = _text(pipeline.get("github_pr_api_url"))
    if found := _PULL.search(api_url):
        user = _USER.search(_text(action.get("trigger_info")))
        link = api_url.replace("api.github.com/repos/", "github.com/").replace("/pulls/", "/pull/")
        return {
            "s_trigger_mr_id": found[1],
            "s_trigger_mr_link": link,
            "s_trigger_mr_user": user[1] if user else "",
            "s_trigger_mr_commit": commit,
        }
    if not environ.get("CHANGE_ID"):
        return {}
    return {
        "s_trigger_mr_id": environ["CHANGE_ID"],
        "s_trigger_mr_link": environ.get("CHANGE_URL", ""),
        "s_trigger_mr_user": environ.get("CHANGE_AUTHOR", ""),
        "s_trigger_mr_commit": commit,
    }


def _object(text: str) -> Mapping[str, Any]:
    """A JSON object; what is none says nothing, as in the pipeline that sets it."""
    try:
        return _mapping(json.loads(text)) if text else {}
    except ValueError:
        return {}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
