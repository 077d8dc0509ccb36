"""Scripts of this folder as modules of each other: they are programs, so their names have no suffix that `import` looks for."""

import importlib.machinery
import importlib.util
import pathlib
import sys


def load(name):
    known_as = f"script_{name}"  # the standard library has a `profile` too
    loader = importlib.machinery.SourceFileLoader(known_as, str(pathlib.Path(__file__).with_name(name)))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(known_as, loader))
    sys.modules[known_as] = module  # where dataclasses look their module up
    loader.exec_module(module)
    return module
