"""What more than one folder of tests needs from pytest itself."""

from __future__ import annotations

# pytest takes this from the conftests it loads at its start only, and tests/pytester is not always among those.
pytest_plugins = ["pytester"]
