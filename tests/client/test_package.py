"""The package as a whole: what it exports, and what it does not pull in."""

import inspect
import re
import subprocess
import sys

import pytest

import tanager

HEAVY = ("numpy", "onnxruntime", "torch", "transformers", "google.rpc", "tanager_server", "tanager_export")


@pytest.mark.parametrize("name", tanager.__all__)
def test_what_is_exported_is_there_and_documented(name):
    value = getattr(tanager, name)
    if not isinstance(value, type):
        assert name == "__version__"
        return
    assert value.__doc__
    # A dataclass without a docstring gets its signature as one.
    assert not value.__doc__.startswith(f"{name}(")
    for base in value.__mro__:
        if not base.__module__.startswith("tanager."):
            continue
        for member_name, member in vars(base).items():
            if not member_name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
                assert member.__doc__, f"{name}.{member_name}"


def test_every_public_class_is_exported():
    public = {name for name, value in vars(tanager).items() if isinstance(value, type)}
    assert public == set(tanager.__all__) - {"__version__"}
    assert tanager.__all__ == sorted(tanager.__all__)


def test_both_clients_have_the_same_methods():
    def signatures(client: type) -> dict[str, list[inspect.Parameter]]:
        methods = dict(inspect.getmembers(client, inspect.isfunction))
        renamed = {"__aenter__": "__enter__", "__aexit__": "__exit__"}
        return {
            renamed.get(name, name): [
                # What is imported may come from an asynchronous iterable too.
                parameter.replace(annotation=re.sub(r" \| AsyncIterable\[\w+\]", "", str(parameter.annotation)))
                for parameter in inspect.signature(value).parameters.values()
            ]
            for name, value in methods.items()
            if name != "_call"
        }

    assert len(signatures(tanager.Client)) > 25
    assert signatures(tanager.Client) == signatures(tanager.AsyncClient)


def test_importing_pulls_in_nothing_heavy():
    program = f"import sys, tanager, tanager.cli; print([name for name in {HEAVY} if name in sys.modules])"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout == "[]\n"


def test_the_package_runs_as_the_command():
    finished = subprocess.run(
        [sys.executable, "-m", "tanager", "--version"], capture_output=True, text=True, check=True
    )
    assert finished.stdout == f"tanager {tanager.__version__}\n"
