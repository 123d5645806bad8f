"""Imported at the start of every Python of the environment: holds it, and names it by its own path, not by a link.

So `make clean` sees the process, and a link that is led elsewhere changes nothing for it. What it compiles lies in the
environment: a shell, or a container, that forbids bytecode beside sources would double the time of every start.
"""

import fcntl
import os
import sys


def _own(path: str) -> str:
    return _real + path[len(_link) :] if path.startswith(_link + os.sep) else path


def mend_path() -> None:
    """Lead `sys.path` through no link; called again where `site` adds the environment by its own path too."""
    sys.path[:] = dict.fromkeys(map(_own, sys.path))


try:
    _link, _real = sys.prefix, os.path.realpath(sys.prefix)
    sys.prefix = sys.exec_prefix = _real
    sys.executable = _own(sys.executable)
    sys.pycache_prefix, sys.dont_write_bytecode = os.path.join(_real, "bytecode"), False  # noqa: PTH118 as below
    _held = os.open(os.path.join(_real, "made-by-workflow-environment"), os.O_RDONLY)  # noqa: PTH118 pathlib starts slowly
    fcntl.flock(_held, fcntl.LOCK_SH | fcntl.LOCK_NB)
except Exception:
    pass  # a process without a hold is better than none
