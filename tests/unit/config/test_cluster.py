"""The cluster file: which one, which cluster, what lies over it, and what is said about its mistakes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_disagg.config.cluster import OVERRIDES, UCX_RULES, Cluster, find_file, load
from pytest_disagg.config.cluster_env import environment_of, load_rules
from pytest_disagg.errors import ConfigError, UsageError

PAGE = Path(__file__).resolve().parents[3] / "docs" / "slurm.md"
TWO = """\
clusters:
  first:
    partition: batch
    account: team
    time_limit: 1:30:00
    gpus_per_node: 4
    gpu_request: gpus-per-node
    mounts: [/data:/data:ro]
    sbatch: [--exclusive, "--comment=two words"]
    strip: --segment
    environment:
      all:
        set: {NCCL_DEBUG: INFO, LEVEL: 3}
      gen:
        unset: NCCL_DEBUG
  second:
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    return path


def problems(tmp_path: Path, text: str, environ: dict[str, str] | None = None, name: str | None = None) -> list[str]:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(path, name, environ or {})
    return [str(problem).removeprefix(f"{path}:") for problem in caught.value.problems]


def test_a_cluster_by_its_name(tmp_path: Path) -> None:
    cluster = load(write(tmp_path, TWO), "first", {})
    assert (cluster.name, cluster.partition, cluster.account, cluster.time_limit) == ("first", "batch", "team", 5400)
    assert cluster.sbatch == ("--exclusive", "--comment=two words")
    assert cluster.strip == ("--segment",)
    assert load(write(tmp_path, TWO), "second", {}).partition is None


@pytest.mark.parametrize(
    ("text", "name", "environ", "expected"),
    [
        (TWO, None, {"DISAGG_CLUSTER_NAME": "second"}, "second"),
        (f"default: second\n{TWO}", None, {}, "second"),
        (f"default: second\n{TWO}", "first", {"DISAGG_CLUSTER_NAME": "second"}, "first"),
        (TWO, None, {"SLURM_CLUSTER_NAME": "first"}, "first"),
        ("clusters:\n  only:\n", None, {"SLURM_CLUSTER_NAME": "other"}, "only"),
    ],
)
def test_which_cluster_is_meant(
    tmp_path: Path, text: str, name: str | None, environ: dict[str, str], expected: str
) -> None:
    assert load(write(tmp_path, text), name, environ).name == expected


def test_several_and_nothing_says_which(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"2 clusters \(first, second\) and nothing says which"):
        load(write(tmp_path, TWO), None, {})


def test_a_name_that_the_file_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"no cluster 'frist', expected one of first, second \(did you mean 'first'\?\)"
    ):
        load(write(tmp_path, TWO), "frist", {})
    with pytest.raises(UsageError, match="no cluster file"):
        load(None, "first", {})


def test_the_environment_lies_over_the_file(tmp_path: Path) -> None:
    environ = {
        "CLUSTER_ACCOUNT": "other",
        "CLUSTER_PARTITION": "unspecified",
        "MPI_TYPE": "pmi2",
        "DOCKER_IMAGE": "image:1",
        "CLUSTER_LLM_DATA": "/models",
        "TRTLLM_DIR": "/src",
    }
    for path, name in ((write(tmp_path, TWO), "first"), (None, None)):
        cluster = load(path, name, environ)
        assert (cluster.account, cluster.partition, cluster.mpi, cluster.image) == ("other", None, "pmi2", "image:1")
        assert (cluster.models_root, cluster.llm_src) == (Path("/models"), Path("/src"))


def test_where_the_file_is_looked_for(tmp_path: Path) -> None:
    home = tmp_path / "home"
    default = home / ".config/pytest-disagg/cluster.yaml"
    environ = {"HOME": str(home)}
    assert find_file(None, environ) is None
    default.parent.mkdir(parents=True)
    default.write_text(TWO)
    assert find_file(None, environ) == default
    named = write(tmp_path, TWO)
    assert find_file(None, {**environ, "DISAGG_CLUSTER": str(named)}) == named
    assert find_file(default, {**environ, "DISAGG_CLUSTER": str(named)}) == default
    with pytest.raises(UsageError, match="DISAGG_CLUSTER: found '/nowhere', expected a cluster file"):
        find_file(None, {"DISAGG_CLUSTER": "/nowhere"})


def test_all_mistakes_of_all_clusters_at_once(tmp_path: Path) -> None:
    text = """\
default: one
clusters:
  one:
    acount: x
    gpus_per_node: 0
    install: {wheel: /a.whl, source: /b}
    environment:
      gen: {set: {A: [1]}}
  two:
    work_dir: relative
    gpu_request: some
  three: text
"""
    found = problems(tmp_path, text)
    assert [line.split(":")[0] for line in found] == ["4", "5", "6", "8", "10", "11", "12"]
    assert "found the unknown key 'acount'" in found[0]
    assert "did you mean 'account'?" in found[0]
    assert "found wheel and source, expected one of wheel, source, tarball, command" in found[2]
    assert "an absolute path" in found[4]


@pytest.mark.parametrize("option", ["--time=6", "--time", "-t6", "-t 6"])
def test_a_time_limit_among_other_options_would_be_unknown_to_the_run(tmp_path: Path, option: str) -> None:
    (line,) = problems(tmp_path, f"clusters:\n  only:\n    sbatch: [--exclusive, {option}]\n")
    assert line == (
        f"3: clusters.only.sbatch: found {option!r}, expected time_limit, a key of its own: the limits of the run keep "
        "within it"
    )
    others = ("--time-min=5", "--tmp=9")
    assert load(write(tmp_path, f"clusters:\n  only:\n    sbatch: [{', '.join(others)}]\n"), None, {}).sbatch == others


def test_a_variable_of_the_wrong_form_is_named(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, TWO, {"CLUSTER_LLM_DATA": "relative"}, "first")
    assert line.endswith("(set by CLUSTER_LLM_DATA)")
    assert "clusters.first.models_root" in line


def test_a_container_needs_an_image(tmp_path: Path) -> None:
    text = "clusters:\n  one: {container: pyxis}\n"
    (line,) = problems(tmp_path, text)
    assert "expected an image beside it (key image, or DOCKER_IMAGE)" in line
    assert load(write(tmp_path, text), None, {"DOCKER_IMAGE": "i"}).image == "i"


def test_duplicate_keys_are_refused(tmp_path: Path) -> None:
    assert problems(tmp_path, "clusters:\n  one: {mpi: pmix, mpi: pmi2}\n")


def test_environment_by_role(tmp_path: Path) -> None:
    cluster = load(write(tmp_path, TWO), "first", {})
    gen, ctx = (environment_of(cluster, role, None) for role in ("GEN_1", "CTX_0"))
    assert (gen.unset, gen.set) == (("NCCL_DEBUG",), {"LEVEL": "3"})
    assert (ctx.unset, ctx.set) == ((), {"NCCL_DEBUG": "INFO", "LEVEL": "3"})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("oci-aga-cs-001", {"UCX_TLS": "cuda_ipc,cuda_copy,sm,self,tcp", "UCX_NET_DEVICES": "eth0"}),
        ("AWS-DFW", {"UCX_TLS": "^gdr_copy"}),
        ("elsewhere", {}),
    ],
)
def test_the_shipped_ucx_rules(name: str, expected: dict[str, str]) -> None:
    cluster = load(None, None, {}).model_copy(update={"name": name})
    change = environment_of(cluster, "BENCHMARK", load_rules(UCX_RULES))
    assert change.set["TRTLLM_PRESERVE_UCX_ENV"] == "1"
    assert {key: value for key, value in change.set.items() if key in expected} == expected
    assert set(change.unset).isdisjoint(change.set)
    assert {"UCX_TLS", "UCX_NET_DEVICES"} <= {*change.unset, *change.set}


def test_the_clusters_own_values_lie_over_the_rules(tmp_path: Path) -> None:
    text = "clusters:\n  oci-aga: {environment: {gen: {set: {UCX_TLS: rc}}}}\n"
    cluster = load(write(tmp_path, text), None, {})
    assert environment_of(cluster, "GEN_0", load_rules(UCX_RULES)).set["UCX_TLS"] == "rc"


def test_a_broken_rules_file(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("rules:\n  - cluster: x\n    enviroment: {}\n")
    with pytest.raises(ConfigError, match=r"rules.yaml:3: rules.0.enviroment: found the unknown key"):
        load_rules(path)


def test_every_key_is_documented_and_the_example_can_be_used(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    table = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    named = {word for cell in table for word in re.findall(r"`(\w+)`", cell)}
    assert set(Cluster.model_fields) - {"name"} == named
    for variable in OVERRIDES:
        assert f"`{variable}`" in text
    example = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0]
    assert load(write(tmp_path, example), None, {}).name == "oci-hsg"
    assert load(write(tmp_path, example), "old-cluster", {}).strip == ("--segment",)
