"""The parts that are compiled, and the packages they lie beside; everything else is in pyproject.toml."""

import os

from pybind11.setup_helpers import Pybind11Extension
from setuptools import find_packages, setup


def compiled(module: str) -> Pybind11Extension:
    """The client, which is all that most install, does without a compiler; the server says what it lacks.

    Where TANAGER_COMPILE is set, as in the Makefile, to compile is a must.
    """
    optional = "TANAGER_COMPILE" not in os.environ
    source = f"server/{module.replace('.', '/')}.cpp"
    headers = ["server/tanager_server/engine/_native.h"]
    flags = ["-O3", "-fopenmp-simd", "-pthread", "-Wall", "-Wextra"]
    return Pybind11Extension(
        module,
        [source],
        cxx_std=17,
        depends=headers,
        extra_compile_args=flags,
        extra_link_args=["-pthread"],
        optional=optional,
    )


setup(
    packages=[name for root in ("client", "server", "export") for name in find_packages(root)],
    ext_modules=[
        compiled("tanager_server.engine._audience"),
        compiled("tanager_server.engine._diversity"),
        compiled("tanager_server.index._growth"),
        compiled("tanager_server.engine._ranking"),
        compiled("tanager_server.engine._terms"),
        compiled("tanager_server.index._search"),
        compiled("tanager_server.rpc._results"),
    ],
)
