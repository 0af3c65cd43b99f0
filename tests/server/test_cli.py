"""What `tanager-server` says when it was not installed whole."""

from __future__ import annotations

import subprocess
import sys

import pytest

# None in `sys.modules` makes an import fail as if the module were not there.
_RUN = "import sys; sys.modules[{module!r}] = None; from tanager_server.cli import main; sys.exit(main(['--version']))"


def run_without(module):
    command = [sys.executable, "-c", _RUN.format(module=module)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("module", ["tanager_server.engine._ranking", "tanager_server.rpc._results"])
def test_a_compiled_part_that_is_missing_is_named_with_the_mend(module):
    ended = run_without(module)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert len(ended.stderr.splitlines()) == 1
    assert "without its compiled parts" in ended.stderr
    assert "apt install g++" in ended.stderr
    assert "pip install --force-reinstall --no-cache-dir" in ended.stderr  # or pip takes what it has built without


@pytest.mark.parametrize("module", ["numpy", "onnxruntime", "hnswlib"])
def test_a_package_that_is_missing_is_named_with_the_extra_that_brings_it(module):
    ended = run_without(module)
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        f"tanager-server needs {module}: pip install 'tanager[server]' (or 'tanager[server-gpu]')"
    ]
