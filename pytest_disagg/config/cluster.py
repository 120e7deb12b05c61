"""The cluster file: how this site's Slurm is asked for nodes, what a node needs, and each role's environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError, model_validator

from pytest_disagg.config import yaml
from pytest_disagg.config.blocks import OurBlock, Seconds
from pytest_disagg.config.fields import Count, JobTime, Section, Word, unexpected
from pytest_disagg.config.text import did_you_mean, one_of, shown
from pytest_disagg.config.validate import Report, explain
from pytest_disagg.config.yaml import Key
from pytest_disagg.errors import ConfigError, UsageError

FILE_VARIABLE = "DISAGG_CLUSTER"
NAME_VARIABLE = "DISAGG_CLUSTER_NAME"
DEFAULT_FILE = Path(".config/pytest-disagg/cluster.yaml")
"""Below the home directory."""

OVERRIDES = {
    "CLUSTER_ACCOUNT": "account",
    "CLUSTER_PARTITION": "partition",
    "MPI_TYPE": "mpi",
    "DOCKER_IMAGE": "image",
    "CLUSTER_LLM_DATA": "models_root",
    "TRTLLM_DIR": "llm_src",
}
"""Environment variable -> key of a cluster that it lies over."""

UCX_RULES = Path(__file__).with_name("data") / "ucx.yaml"

UNSPECIFIED = "unspecified"
"""The partition of a site whose Slurm chooses one by itself; the word of TensorRT-LLM's pipelines."""


def _one_line(value: Any) -> Any:
    if isinstance(value, str) and "\n" in value:
        raise unexpected("one line of text")
    return value


def _path(value: Any) -> Any:
    if not isinstance(value, str) or not value.strip():
        raise unexpected("a path")
    return Path(value).expanduser()


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise unexpected("an absolute path (every node has to find it)", shown(str(path)))
    return path


def _rules(value: Any) -> Any:
    return None if value == "none" else _absolute(_path(value))


def _options(value: Any) -> Any:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) and item.strip() for item in items):
        raise unexpected("a list of options, each one word, such as --exclusive or --qos=high")
    return tuple(items)


def _without_time(options: tuple[str, ...]) -> tuple[str, ...]:
    for option in options:
        if option.partition("=")[0] == "--time" or (option.startswith("-t") and not option.startswith("--")):
            raise unexpected("time_limit, a key of its own: the limits of the run keep within it", shown(option))
    return options


def _variables(value: Any) -> Any:
    if not isinstance(value, dict):
        raise unexpected("a mapping of variables")
    for name, text in value.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise unexpected("names of environment variables", shown(name))
        if isinstance(text, bool) or not isinstance(text, (str, int, float)):
            raise unexpected("text or a number as the value of each variable", f"{name}: {shown(text)}")
    return {name: str(text) for name, text in value.items()}


def _names(value: Any) -> Any:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) and item.isidentifier() for item in items):
        raise unexpected("a list of names of environment variables")
    return tuple(items)


Line = Annotated[Word, BeforeValidator(_one_line)]
SharedPath = Annotated[Path, BeforeValidator(_path), AfterValidator(_absolute)]
Options = Annotated[tuple[Line, ...], BeforeValidator(_options)]
Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
Variables = Annotated[dict[str, str], BeforeValidator(_variables)]


class EnvironmentPart(OurBlock):
    """Variables that are removed first, then those that are set."""

    unset: Names = ()
    set: Variables = Field(default_factory=dict)


Part = Annotated[EnvironmentPart, Section]


class RoleEnvironments(OurBlock):
    """``all`` is for every role, ``worker`` for CTX, GEN and aggregated servers; the more exact one wins."""

    all: Part = EnvironmentPart()
    worker: Part = EnvironmentPart()
    ctx: Part = EnvironmentPart()
    gen: Part = EnvironmentPart()
    coordinator: Part = EnvironmentPart()
    benchmark: Part = EnvironmentPart()


class Install(OurBlock):
    """What a node needs before pytest starts there; nothing where nodes see the environment of ``disagg``."""

    wheel: SharedPath | None = Field(default=None, description="a wheel to install on every node")
    source: SharedPath | None = Field(default=None, description="a source tree to install on every node")
    tarball: Line | None = Field(default=None, description="a tarball to unpack on every node: a path or a URL")
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = Field(default=None, description="of the tarball")
    command: Options | None = Field(default=None, description="a command, word by word, run once on every node")
    timeout_s: Seconds = 1800

    @model_validator(mode="after")
    def _one_of_them(self) -> Install:
        given = [name for name in ("wheel", "source", "tarball", "command") if getattr(self, name) is not None]
        if len(given) > 1:
            raise unexpected("one of wheel, source, tarball, command", " and ".join(given))
        if self.sha256 is not None and self.tarball is None:
            raise unexpected("tarball beside sha256", "sha256 alone")
        return self

    @property
    def needed(self) -> bool:
        return any((self.wheel, self.source, self.tarball, self.command))


class Cluster(OurBlock):
    """One named cluster. ``name`` is its key in the file."""

    name: str = ""
    partition: Line | None = None
    account: Line | None = None
    time_limit: JobTime = Field(default=None, description="Slurm's time limit of a job; default: what the case needs")
    gpus_per_node: Count | None = Field(
        default=None, description="GPUs of a node; a case that asks for more is refused"
    )
    gpu_request: Literal["gres", "gpus-per-node", "none"] = "gres"
    container: Literal["none", "pyxis", "apptainer"] = "none"
    image: Line | None = None
    image_dir: SharedPath | None = Field(
        default=None, description="where the image is kept as a file, imported once (pyxis/enroot)"
    )
    mounts: Options = ()
    container_env: Names = ()
    mpi: Line | None = Field(default=None, description="srun --mpi of servers; default: Slurm's own")
    sbatch: Annotated[Options, AfterValidator(_without_time)] = ()
    srun: Options = ()
    strip: Options = Field(default=(), description="options that this Slurm does not know, such as --segment")
    environment: Annotated[RoleEnvironments, Section] = RoleEnvironments()
    environment_rules: Annotated[Path | None, BeforeValidator(_rules)] = Field(
        default=UCX_RULES, description="rules by cluster name; default: the shipped UCX rules; none: no rules"
    )
    work_dir: SharedPath | None = Field(default=None, description="shared by all nodes; run directories go there")
    history: SharedPath | None = Field(default=None, description="records of earlier runs, shared by all nodes")
    models_root: SharedPath | None = None
    llm_src: SharedPath | None = None
    interface: Line | None = Field(
        default=None, description="interface, name or address that servers bind on each node"
    )
    install: Annotated[Install, Section] = Install()
    python: Line | None = Field(default=None, description="the Python on the nodes; default: the one disagg runs with")
    requeue: bool = Field(default=False, strict=True)


class ClusterFile(OurBlock):
    """``clusters`` by name; ``default`` is meant where nobody says which."""

    default: Line | None = None
    clusters: Annotated[dict[str, Any], Field(min_length=1)]


def find_file(option: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The cluster file: ``option`` (--cluster), else DISAGG_CLUSTER, else the one in the home directory, else None.

    Raises:
        UsageError: a named file is not there.
    """
    for source, named in (("--cluster", option), (FILE_VARIABLE, environ.get(FILE_VARIABLE))):
        if named:
            path = Path(named)
            if not path.is_file():
                raise UsageError(f"{source}: found {str(path)!r}, expected a cluster file")
            return path
    path = Path(environ.get("HOME") or Path.home()) / DEFAULT_FILE
    return path if path.is_file() else None


def load(path: Path | None, name: str | None, environ: Mapping[str, str]) -> Cluster:
    """The cluster ``name`` of the file (default: DISAGG_CLUSTER_NAME, the file's ``default``, Slurm's own name for the
    cluster, the only one there is), with the variables of :data:`OVERRIDES` over it. Without a file: all defaults.

    Raises:
        ConfigError: every problem of the file, of all its clusters.
        UsageError: a name that the file does not have, or several clusters and nothing that says which.
    """
    name = name or environ.get(NAME_VARIABLE) or None
    set_by: dict[Key, str] = {(field,): variable for variable, field in OVERRIDES.items() if environ.get(variable)}
    over = {str(field): environ[variable] for (field,), variable in set_by.items()}
    if path is None:
        if name is not None:
            raise UsageError(f"cluster {name!r}: no cluster file (--cluster, {FILE_VARIABLE}, ~/{DEFAULT_FILE})")
        report = Report(None, set_by)
        return _finished(report, (), _cluster(report, (), over))
    document = yaml.load(path)
    report = Report(document, {})
    file = _valid(ClusterFile, document.data, report, ())
    if file is None:
        raise ConfigError(report.problems)
    chosen = _choose(file, name, path, environ)
    prefix: Key = ("clusters", chosen)
    report = Report(document, {(*prefix, *field): variable for field, variable in set_by.items()})
    contents = {**file.clusters, chosen: _over(file.clusters[chosen], over)}
    found = {each: _cluster(report, ("clusters", each), content) for each, content in contents.items()}
    return _finished(report, prefix, found[chosen])


def _choose(file: ClusterFile, name: str | None, path: Path, environ: Mapping[str, str]) -> str:
    known = list(file.clusters)
    chosen = name or file.default
    if chosen is None:
        own = environ.get("SLURM_CLUSTER_NAME")
        chosen = own if own in known else known[0] if len(known) == 1 else None
    if chosen is None:
        raise UsageError(
            f"{path}: {len(known)} clusters ({', '.join(known)}) and nothing says which: give --cluster-name, "
            f"{NAME_VARIABLE}, or a default in the file"
        )
    if chosen not in known:
        hint = did_you_mean(chosen, known)
        raise UsageError(f"{path}: no cluster {chosen!r}, expected {one_of(known)}" + (f" ({hint})" if hint else ""))
    return chosen


def _over(content: Any, over: Mapping[str, str]) -> Any:
    return {**(content or {}), **over} if content is None or isinstance(content, dict) else content


def _cluster(report: Report, prefix: Key, content: Any) -> Cluster | None:
    """The cluster at ``prefix`` of the file; None where it has problems (they are in the report)."""
    if content is not None and not isinstance(content, dict):
        report.add(prefix, shown(content), "a mapping")
        return None
    if "name" in (content or {}):
        report.add((*prefix, "name"), "the key 'name'", "none: a cluster's name is its key")
        return None
    return _valid(Cluster, {**(content or {}), "name": str(prefix[-1]) if prefix else ""}, report, prefix)


def _finished(report: Report, prefix: Key, cluster: Cluster | None) -> Cluster:
    if cluster is not None and cluster.container != "none" and cluster.image is None:
        report.add((*prefix, "container"), f"{cluster.container!r}", "an image beside it (key image, or DOCKER_IMAGE)")
    if report.problems or cluster is None:
        raise ConfigError(sorted(report.problems, key=lambda problem: problem.line or 0))
    return cluster.model_copy(update={"partition": None}) if cluster.partition == UNSPECIFIED else cluster


_Model = TypeVar("_Model", bound=BaseModel)


def _valid(model: type[_Model], data: Mapping[str, Any], report: Report, prefix: Key) -> _Model | None:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            key, found, expected, hint = explain(detail, model)
            report.add((*prefix, *key), found, expected, hint)
    return None
