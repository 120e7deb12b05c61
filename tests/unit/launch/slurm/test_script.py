"""Words for bash and for sbatch, and what the rendered script holds."""

from __future__ import annotations

import shlex

import pytest

from pytest_disagg.errors import UsageError
from pytest_disagg.launch.slurm.script import all_quoted, directive, quoted, render
from tests.unit.launch.slurm.conftest import MakeJob

HOSTILE = ["", "a 0", "a'; echo foo", "a\n0", '"', "$(x)", "`x`", "a,b", "{a}", "*", "\\", "#x", "~", "!"]


@pytest.mark.parametrize("value", HOSTILE)
def test_a_quoted_word_is_the_value(value: str) -> None:
    assert shlex.split(quoted(value)) == [value]


def test_several_words() -> None:
    assert shlex.split(all_quoted(HOSTILE)) == HOSTILE


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("--nodes=4", "--nodes=4"),
        ("--comment=two words", '"--comment=two words"'),
        ('--comment=a"b\\c', '"--comment=a\\"b\\\\c"'),
        ("--comment=#x", '"--comment=#x"'),
    ],
)
def test_an_option_for_sbatch(option: str, expected: str) -> None:
    assert directive(option) == expected


@pytest.mark.parametrize("option", ["--comment=a\nb", "--comment=hetjob", "--comment=PackJob"])
def test_what_no_directive_can_hold(option: str) -> None:
    with pytest.raises(UsageError, match="found a line break or 'hetjob'"):
        directive(option)


def test_one_pinned_srun_for_each_role(make_job: MakeJob) -> None:
    text = render(make_job({"mpi": "pmix"}))
    lines = text.splitlines()
    roles = [line.split()[1] for line in lines if line.startswith("role ")]
    assert roles == ["GEN_0", "CTX_0", "CTX_1", "DISAGG_SERVER", "BENCHMARK"]
    assert '--nodes=2 --nodelist="$(hosts 0 1)" --ntasks=8 --ntasks-per-node=4' in text
    assert text.count("--mpi=pmix") == 3
    assert text.count(" --wait=0 --kill-on-bad-exit=1 ") == 1


def test_uneven_servers_are_arbitrary(make_job: MakeJob) -> None:
    workers = {"gen": {"tensor_parallel_size": 6}, "ctx": {"tensor_parallel_size": 2}}
    text = render(make_job(worker_config=workers))
    assert '--nodes=2 --nodelist="$(hosts 0 0 0 0 1 1)" --ntasks=6 --distribution=arbitrary' in text


def test_no_container_no_install_nothing_of_them(make_job: MakeJob) -> None:
    text = render(make_job())
    for word in ("--container", "enroot", "start install", "pyxis", "start image", "stage=precheck"):
        assert word not in text


def test_pyxis_one_container_of_the_job(make_job: MakeJob) -> None:
    text = render(make_job({"container": "pyxis", "image": "a:1", "image_dir": "/images"}))
    assert 'common+=(--container-name="disagg-$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}")' in text
    assert "start image image.log" in text
    assert "docker://a:1" in text


def test_rendering_is_pure(make_job: MakeJob) -> None:
    job = make_job()
    assert render(job) == render(job)
