"""What `tanager-server` says when it was not installed whole."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# None in `sys.modules` makes an import fail as if the module were not there.
_RUN = "import sys; sys.modules[{module!r}] = None; from tanager_server.cli import main; sys.exit(main(['--version']))"


def test_numpy_takes_one_thread_whose_others_would_spin_on_the_cores_that_encode():
    code = (
        "import tanager_server.cli, threadpoolctl; "
        "print({pool['num_threads'] for pool in threadpoolctl.threadpool_info() if 'numpy' in pool['filepath']})"
    )
    without = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    ended = subprocess.run([sys.executable, "-c", code], env=without, capture_output=True, text=True, check=True)
    assert ended.stdout == "{1}\n"


def run_without(module):
    command = [sys.executable, "-c", _RUN.format(module=module)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("module", ["engine._ranking", "engine._terms", "engine._diversity", "rpc._results"])
def test_a_compiled_part_that_is_missing_is_named_with_the_mend(module):
    ended = run_without(f"tanager_server.{module}")
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
