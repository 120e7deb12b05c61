"""How this very session plays its test: what its run's manifest keeps, so that ``disagg rerun`` can play it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_disagg.launch.command import RESET_INI
from pytest_disagg.plugin.local import plugins_for_roles

if TYPE_CHECKING:
    import pytest

    from pytest_disagg.plugin.values import Resolved


def started(request: pytest.FixtureRequest, values: Resolved) -> dict[str, Any]:
    """The options that shape a measurement or its verdict, where case files and baselines lie, and the test."""
    config = request.config
    option: Any = config.option
    _, _, test = request.node.nodeid.partition("::")
    return {
        "options": {
            "client": values.client,
            "baseline": _text(values.baseline),
            "repeat": str(values.repeat),
            "policy": values.policy,
            "reference-branch": values.reference_branch,
            "stage-name": values.stage_name or None,
            "history": str(values.history),
            "interface": values.interface,
        },
        "require_upload": values.require_upload,
        "config_dirs": [str(path) for path in values.config_dir],
        "llm_src": _text(values.llm_src),
        "cwd": str(config.invocation_params.dir),
        "test": {
            "file": str(request.node.path),
            "name": test.partition("[")[0],
            "rootdir": str(config.rootpath),
            "inifile": _text(config.inipath),
            "import_mode": str(option.importmode),
            "override_ini": [each for each in option.override_ini or () if each not in RESET_INI],
            "confcutdir": option.confcutdir,
            "plugins": list(plugins_for_roles(config)),
        },
    }


def _text(value: object) -> str | None:
    return str(value) if value else None
