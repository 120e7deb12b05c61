"""What slurm_run does in one task of a step, in order: install, prepare, meet, run, check, say how it ended."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import shlex
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from pytest_disagg.wrapper import coverage, diagnose, exitcodes, perf
from pytest_disagg.wrapper.barrier import TIMEOUT_S, TIMEOUT_VARIABLE, Barrier
from pytest_disagg.wrapper.command import Command, interpret
from pytest_disagg.wrapper.console import WrapperError, say
from pytest_disagg.wrapper.environment import (
    clear_mpi,
    clears_mpi,
    name_the_run,
    prepend_library_path,
    settle_transport,
)
from pytest_disagg.wrapper.gitconfig import use_own_config
from pytest_disagg.wrapper.junit import Junit, path_in_text, path_in_words
from pytest_disagg.wrapper.package import GENERIC_PLACEHOLDER, PLACEHOLDER, Package
from pytest_disagg.wrapper.placeholders import fill, given_values
from pytest_disagg.wrapper.places import Places
from pytest_disagg.wrapper.redaction import redacted_environment
from pytest_disagg.wrapper.roles import HEARTBEAT_TIMEOUT_S, HEARTBEAT_VARIABLE, RoleFiles, Stillness, Watch, code_of
from pytest_disagg.wrapper.shellwords import CommandError, split
from pytest_disagg.wrapper.step import OWNERS, Step, seconds
from pytest_disagg.wrapper.stopping import Stopped, Stopping
from pytest_disagg.wrapper.supervise import TICK_S, Ended, Supervisor
from pytest_disagg.wrapper.waiting import wait_until

COMMAND = "pytestCommand"
GRACE_VARIABLE, GRACE_S = "DISAGG_STOP_GRACE_S", 10.0
LAUNCHER = "tensorrt_llm/llmapi/trtllm-llmapi-launch"
GPU_PARAMETERS = Path("/proc/driver/nvidia/params")


class Task:
    """One task. ``run`` in the inner process; ``lost`` in the outer one, where the inner one ended without a word."""

    supervisor: Supervisor

    def __init__(self, environ: dict[str, str], step: Step) -> None:
        self.environ = environ
        self.step = step
        self.places = Places(environ)
        self.files = RoleFiles(step)
        self.barrier = Barrier(step)
        self.junit = Junit(step, self.places.cwd, asked_junit(environ))

    def run(self, stopping: Stopping) -> int:
        """Play the task to its end; the exit code."""
        try:
            return self.all(stopping)
        except WrapperError as error:
            stopping.noted_only = True  # What is said now is said to its end.
            return self.failed(str(error), error.exit_code)
        except Stopped as error:
            stopping.noted_only = True
            return self.stopped(error)

    def all(self, stopping: Stopping) -> int:
        say(f"slurm_run: {self.step.title}, {self.step.key}, python {platform.python_version()}")
        self.supervisor = Supervisor(stopping, seconds(self.environ, GRACE_VARIABLE, GRACE_S))
        with tempfile.TemporaryDirectory(prefix="slurm_run.") as private:
            command = self.prepare(Path(private))
            self.barrier.meet(seconds(self.environ, TIMEOUT_VARIABLE, TIMEOUT_S), stopping)
            code = self.play(command)
        say(f"Rank{self.step.rank} Final Slurm run finished execution with exit code {code}")
        return code

    # Before the command

    def prepare(self, private: Path) -> Command:
        """Everything up to the barrier; the command as it will be started."""
        text = self.environ.get(COMMAND, "")
        if not text.strip():
            raise CommandError(f"{COMMAND} is not set: it holds the command of this step")
        split(text, COMMAND)  # A command that can never run is found before anything is installed.
        if self.step.leader_only and not self.files.known:
            raise CommandError("DISAGG_RANKS=leader: DISAGG_RUN_DIR is not set, where ranks find their leader")
        self.files.make()
        use_own_config(self.environ, private)
        self.install()
        self.look_at_gpus()
        self.allow_launcher()
        self.places.check()
        return self.finished_command(text)

    def install(self) -> None:
        """In the run step where no role is set; steps with a role had an install step of their own before them."""
        stage = self.environ.get("stageName", "")
        if stage and ("Disagg" in stage) != bool(self.step.role):
            role = f"DISAGG_SERVING_TYPE is {self.step.role}" if self.step.role else "DISAGG_SERVING_TYPE is not set"
            does = "nothing is installed here" if self.step.role else "this step installs"
            say(f"stage {stage}: its name says otherwise, but {role}: {does}")
        if self.step.role:
            return
        script = self.environ.get("installScript", "")
        if not script:
            # Only here: HTTP, TLS and tar would cost every rank of every other step a tenth of a second.
            from pytest_disagg.wrapper.installing import install

            install(self.environ, self.step, self.supervisor)
            return
        say(f"install: {script}")
        ended = self.supervisor.run((script,), env=self.environ, cwd=self.places.resource)
        if ended.asked_by is not None:
            raise Stopped(ended.asked_by)
        if ended.code != 0:
            raise WrapperError(f"installScript {script}: {ended}", ended.code)

    def look_at_gpus(self) -> None:
        """GB200 nodes: how the driver maps GPU memory, which has explained slow nodes before."""
        if "GB200" not in self.environ.get("stageName", "") or self.step.local_id != 0:
            return
        try:
            lines = GPU_PARAMETERS.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            say(f"coherent GPU mapping: cannot read {GPU_PARAMETERS}: {error.strerror}")
            return
        found = [line for line in lines if "Coherent" in line]
        say("coherent GPU mapping: " + ("; ".join(found) or f"{GPU_PARAMETERS} does not mention it"))

    def allow_launcher(self) -> None:
        """A tarball may have lost the executable bit of TensorRT-LLM's launcher."""
        launcher = None if self.places.llm_src is None else self.places.llm_src / LAUNCHER
        if launcher is not None and launcher.is_file() and not os.access(str(launcher), os.X_OK):
            with contextlib.suppress(PermissionError):
                launcher.chmod(launcher.stat().st_mode | 0o111)

    def finished_command(self, text: str) -> Command:
        """The command with library path, placeholders and coverage file, without what must not reach it."""
        package = Package(self.environ)
        name_the_run(self.environ, self.step)
        libraries = package.library_folder()
        if libraries is not None:
            prepend_library_path(self.environ, libraries)
        settle_transport(self.environ)
        template = Path(self.environ[coverage.VARIABLE]) if self.environ.get(coverage.VARIABLE) else None
        known = {PLACEHOLDER: package.required_location, GENERIC_PLACEHOLDER: package.required_location}
        command = fill(
            interpret(text, self.environ, COMMAND),
            known,
            given_values(self.environ),
            all_must_occur=self.step.role in OWNERS,
        )
        if template is not None:
            location, stopping = package.required_location, self.supervisor.stopping
            copy = coverage.prepare(template, self.step, location, self.environ, stopping)
            command = coverage.point_to(command, template, copy)
        if clears_mpi(self.step):
            # Only now: ${SLURM_LOCALID} in the command has been filled in.
            assigned = {name: command.env[name] for name in command.assigned}
            env = dict(command.env)
            cleared = clear_mpi(env)
            say(f"cleared {len(cleared)} variables of Slurm and MPI")
            command = dataclasses.replace(command, env={**env, **assigned})
        self.show(command, package)
        return command

    def show(self, command: Command, package: Package) -> None:
        if self.step.local_id == 0:
            location = package.location()
            say(f"{package.name}: {'not installed' if location is None else location}")
            say(f"Library Path:\n{command.env.get('LD_LIBRARY_PATH', '')}")
            for line in redacted_environment(command.env):
                say(line)
        say(f"Rank{self.step.rank} in {self.places.cwd}, full command: {' '.join(map(shlex.quote, command.argv))}")

    # The command

    def play(self, command: Command) -> int:
        heartbeat_s = seconds(self.environ, HEARTBEAT_VARIABLE, HEARTBEAT_TIMEOUT_S)
        if self.step.leader_only and self.step.rank > 0:
            return self.follow(heartbeat_s)
        watch = Watch(self.files, self.step, heartbeat_s)
        blame: list[str] = []

        def say_so(ended: Ended) -> None:
            # Slurm signals every process of the step, so the command may be gone before this one was told.
            told = ended.asked_by is not None or ended.code == exitcodes.SIGTERM_CODE
            found = watch.first_to_blame() if told else ""
            blame.append(found)
            self.files.write_ended(dataclasses.replace(ended, reason=found or ended.reason))

        ended = self.supervisor.run(command.argv, env=command.env, cwd=self.places.cwd, tick=watch.tick, ended=say_so)
        if blame[0]:
            ended = dataclasses.replace(ended, reason=blame[0])
        code = exitcodes.of_command(ended, run_over=self.files.over())
        say(f"Rank{self.step.rank} Pytest finished execution with exit code {code}: {ended}")
        if ended.asked_by is None:
            if ended.code == diagnose.PYTEST_USAGE_ERROR:
                diagnose.usage_error(self.places.cwd, command.env, self.run_after)
            checked = self.check_perf(command)
        else:
            checked = perf.PerfCodes()
        if code != 0 and not self.junit.written and (self.step.rank == 0 or ended.asked_by is None):
            verb = "was not started" if not ended.started else "ended without a report"
            self.write_junit(f"the command {verb}: {ended}", f"command: {' '.join(map(shlex.quote, command.argv))}")
        return exitcodes.merged(code, checked.check, checked.report)

    def check_perf(self, command: Command) -> perf.PerfCodes:
        if not perf.wanted(self.step, self.environ):
            return perf.PerfCodes()
        codes = perf.check_and_report(command.env, self.places.llm_src, self.places.cwd, self.run_after)
        say(f"Rank{self.step.rank} Perf report finished execution with exit code {codes.report}")
        say(f"Rank{self.step.rank} Perf check finished execution with exit code {codes.check or codes.report}")
        return codes

    def run_after(self, argv: tuple[str, ...], env: Mapping[str, str]) -> Ended:
        ended = self.supervisor.run(argv, env=env, cwd=self.places.cwd)
        if ended.asked_by is not None:
            raise Stopped(ended.asked_by)
        return ended

    def follow(self, heartbeat_s: float) -> int:
        """A rank that runs no pytest: beat, wait for rank 0's end, end as it did."""
        say(f"Rank{self.step.rank} waits for rank 0, which runs the command")
        path = self.files.beat_path(0)
        beat = None if path is None else Stillness(path, heartbeat_s)
        tick_at = time.monotonic()

        def ended() -> bool:
            nonlocal tick_at
            if self.files.exit_of(0) is not None:
                return True
            if time.monotonic() < tick_at:
                return False
            tick_at = time.monotonic() + TICK_S
            self.files.beat()
            still = None if beat is None else beat.still_for()
            if still is not None:
                raise WrapperError(f"rank 0 of this step vanished: its beat stood still for {still:.0f} s")
            return False

        while not wait_until(ended, 3600.0, self.supervisor.stopping):
            continue
        code = self.leader_code()
        self.files.write_exit(code, None, "rank 0 has ended")
        return code

    def leader_code(self) -> int:
        code = code_of(self.files.exit_of(0) or {})
        return 0 if code == exitcodes.SIGTERM_CODE and self.files.over() else code

    # Bad endings

    def failed(self, message: str, code: int) -> int:
        """The command was not started, or this rank gave up; everybody who waits for this rank is told."""
        say(f"slurm_run: {self.step.title}: {message}")
        with contextlib.suppress(WrapperError):
            self.barrier.give_up(message.splitlines()[0])
        self.files.write_exit(code, None, message.splitlines()[0])
        if not self.junit.written:
            self.write_junit(message.splitlines()[0], message)
        return code

    def stopped(self, error: Stopped) -> int:
        """A signal outside of the command. No failure once the run is over, or once rank 0 has ended well."""
        leader = self.files.exit_of(0) if self.step.rank > 0 else None
        over = self.files.over() or (leader is not None and code_of(leader) == 0)
        say(f"slurm_run: {self.step.title}: {error}{', the run is over' if over else ''}")
        self.files.write_exit(None, error.number, str(error))
        if over:
            return 0
        if self.step.rank == 0 and not self.junit.written:
            self.write_junit(f"{error} before its command was done", "")
        return 128 + error.number

    def lost(self, code: int) -> None:
        """The inner process ended without having said how: killed, or by an error of ours (its traceback is above)."""
        killed = code > 128
        message = f"slurm_run itself {'was killed' if killed else 'failed'}"
        say(f"slurm_run: {self.step.title}: {message}: exit code {code}")
        self.files.write_exit(None if killed else code, code - 128 if killed else None, message)
        if not self.junit.written:
            self.write_junit(f"{message}: exit code {code}", "")

    def write_junit(self, message: str, details: str) -> None:
        path = self.junit.write_error(message, details, self.environ)
        say(f"junit: {'no file is known for it' if path is None else f'wrote {path}'}")


def asked_junit(environ: Mapping[str, str]) -> Path | None:
    """The junit file that the command asks for, as far as it can be known before anything is installed."""
    text = environ.get(COMMAND, "")
    try:
        return path_in_words(interpret(text, environ, COMMAND).argv)
    except CommandError:
        return path_in_text(text)
