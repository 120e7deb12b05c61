"""``python -m pytest_disagg.machine.holding REQUEST -- COMMAND...``: a rank below a launcher, its node's clocks locked.

Where a launcher starts a server's ranks, no role of ours runs on the nodes beside the first. There the first rank of a
node has the clocks of its GPUs locked and becomes COMMAND; they are given back when that is gone. All other ranks are
COMMAND at once. REQUEST is JSON: ``command``, ``gpu_mhz``, ``memory_mhz`` and ``timeout_s`` of a :class:`Lock`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from pytest_disagg.errors import DisaggError
from pytest_disagg.machine.clocks import Lock
from pytest_disagg.machine.smi import mine, read
from pytest_disagg.process.child import GIVES_BACK

POLL_S = 0.05


def main(words: Sequence[str]) -> NoReturn:
    """Lock where that is this rank's part, then be the command."""
    request, _, *command = words
    if locks(os.environ):
        try:
            lock(json.loads(request), os.environ)
        except (DisaggError, OSError) as error:
            sys.exit(f"clocks: node {os.environ.get('SLURMD_NODENAME', '')}: {error}")
    os.execvp(command[0], command)


def locks(environ: Mapping[str, str]) -> bool:
    """Whether this is the first rank of a node that is not the leader's: there the role itself locks."""
    return environ.get("SLURM_LOCALID") == "0" and environ.get("SLURM_PROCID", "0") != "0"


def lock(asked: Mapping[str, Any], environ: Mapping[str, str]) -> None:
    """Have the clocks of this node's GPUs locked for as long as this process, or what it becomes, lives.

    Raises:
        DisaggError: there is no GPU, or the clocks cannot be locked.
    """
    gpus = mine(read(asked["timeout_s"]) or (), environ)
    if not gpus:
        raise DisaggError("there is no NVIDIA GPU whose clocks could be locked")
    run, name = Path(environ["DISAGG_RUN_DIR"]), f"{environ['DISAGG_SERVING_TYPE']}.{environ['SLURM_PROCID']}.clocks"
    answer = run / "config" / f"{name}.json"
    wanted = Lock(
        command=tuple(asked["command"]),
        uuids=tuple(gpu.uuid for gpu in gpus),
        gpu_mhz=asked["gpu_mhz"],
        memory_mhz=asked["memory_mhz"],
        timeout_s=asked["timeout_s"],
        answer=answer,
    )
    request = answer.with_suffix(".request.json")
    answer.parent.mkdir(parents=True, exist_ok=True)
    request.write_text(wanted.to_json(), encoding="utf-8")
    reader, writer = os.pipe()
    with (run / "logs" / f"{name}.log").open("ab") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "pytest_disagg.machine.clocks", str(request)],
            stdin=reader,
            stdout=log,
            stderr=log,
            env={**environ, GIVES_BACK: "1"},
            start_new_session=True,
        )
    os.close(reader)
    # Its end is what the keeper waits for, so it has to outlive exec.
    os.set_inheritable(writer, True)
    while not answer.exists():
        if keeper.poll() is not None and not answer.exists():
            raise DisaggError(f"their keeper ended with exit code {keeper.returncode}, log {name}.log")
        time.sleep(POLL_S)
    said = json.loads(answer.read_text(encoding="utf-8"))
    if not said["locked"]:
        raise DisaggError(str(said["error"]))


if __name__ == "__main__":
    main(sys.argv[1:])
