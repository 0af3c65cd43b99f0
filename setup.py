"""The parts that are compiled, and the packages they lie beside; everything else is in pyproject.toml."""

from pybind11.setup_helpers import Pybind11Extension
from setuptools import find_packages, setup

setup(
    packages=[name for root in ("client", "server", "export") for name in find_packages(root)],
    ext_modules=[
        Pybind11Extension(
            "tanager_server.engine._ranking",
            ["server/tanager_server/engine/_ranking.cpp"],
            cxx_std=17,
            extra_compile_args=["-O3", "-fopenmp-simd"],
            optional=True,  # the client, which is all that most install, needs no compiler; the server says what it lacks
        )
    ],
)
