"""The container options of a job, with stand-ins for pyxis and enroot: what they get, and what their failures do."""

from __future__ import annotations

from pathlib import Path

from tests.slurm.jobs import ONE_NODE, Job, Project

SRUN = """\
#!/bin/bash
# Takes the options that pyxis adds to srun, notes them, and fails the first start of CTX_0 as pyxis is known to.
kept=() container=()
for word in "$@"; do
    case $word in --container-*|--no-container-*) container+=("$word") ;; *) kept+=("$word") ;; esac
done
printf '%s\\n' "${container[@]}" >"{notes}/options"
case $DISAGG_SERVING_TYPE in
CTX_0)
    if mkdir "{notes}/failed" 2>/dev/null; then
        echo "slurmstepd: error: pyxis: couldn't join mount namespace: No such file or directory" >&2
        exit 1
    fi
    ;;
esac
exec /usr/bin/srun "${kept[@]}"
"""
ENROOT = """\
#!/bin/sh
[ "$1 $2" = "import --output" ] || exit 2
echo "$4" >>"{notes}/imported"
echo image >"$3"
"""


def stand_ins(project: Project, notes: Path, **programs: str) -> dict[str, str]:
    """An environment in which these programs are found first."""
    folder = project.folder / "bin"
    folder.mkdir()
    notes.mkdir()
    for name, text in programs.items():
        (folder / name).write_text(text.replace("{notes}", str(notes)))
        (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:{project.env['PATH']}"}


def test_pyxis(project: Project) -> None:
    notes = project.folder / "notes"
    env = stand_ins(project, notes, srun=SRUN, enroot=ENROOT)
    images = project.folder / "images"
    project.case("job", **ONE_NODE)
    project.cluster(container="pyxis", image="registry/image:tag", image_dir=str(images), container_env=["MINE"])
    for _ in range(2):
        command = project.disagg("run", "cases/job.yaml", "--config-dir=cases", "--junitxml=r.xml", env=env)
        job = Job(project, command, project.job_id(command))
        assert command.end() == 0, job.said()
    # The image was imported once, the failed start was repeated once, and every step named one container of the job.
    assert (notes / "imported").read_text() == "docker://registry/image:tag\n"
    first = (project.work_dir / "jobs").glob("2*-*/slurm_*.log")
    assert sum("once more" in path.read_text() for path in first) == 1
    options = (notes / "options").read_text().splitlines()
    (image,) = images.glob("*.sqsh")
    assert f"--container-image={image}" in options
    assert f"--container-name=disagg-{job.job_id}.0" in options
    (crossing,) = (option for option in options if option.startswith("--container-env="))
    assert {"pytestCommand", "DISAGG_SERVING_TYPE", "MINE"} <= set(crossing.partition("=")[2].split(","))
    (mounts,) = (option for option in options if option.startswith("--container-mounts="))
    assert f"{project.work_dir}:{project.work_dir}" in mounts.partition("=")[2].split(",")


def test_an_image_that_cannot_be_imported(project: Project) -> None:
    notes = project.folder / "notes"
    env = stand_ins(project, notes, srun=SRUN, enroot="#!/bin/sh\necho '[ERROR] URL returned error: 401'\nexit 22\n")
    project.cluster(container="pyxis", image="registry/image:tag", image_dir=str(project.folder / "images"))
    command = project.disagg("run", "cases/job.yaml", "--config-dir=cases", "--junitxml=r.xml", env=env)
    job = Job(project, command, project.job_id(command))
    assert command.end() == 8, job.said()
    junit = project.junit()
    assert junit.headline.startswith("infrastructure: image failed in stage launch: the image step failed")
    assert "URL returned error: 401" in junit.text
    job.assert_nothing_left()
