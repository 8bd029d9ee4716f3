"""What pyproject.toml cannot say: the wheel's tag depends on whether the C module could be compiled."""

from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel


class BdistWheel(bdist_wheel):
    """A wheel for one platform and every Python from 3.11 on (abi3), or without the module one for every platform."""

    def run(self) -> None:
        """Compile first: the module is optional, so that a failure only leaves it out."""
        self.run_command("build")
        build_ext = self.get_finalized_command("build_ext")
        if not any(Path(output).exists() for output in build_ext.get_outputs()):
            self.distribution.ext_modules = []
            self.root_is_pure = True
        super().run()


setup(cmdclass={"bdist_wheel": BdistWheel}, options={"bdist_wheel": {"py_limited_api": "cp311"}})
