"""Which code stands behind a result: the modules that a notebook or module imports."""

import ast
import json
from functools import cache
from pathlib import Path

from ecsupport.core.paths import ROOT


def source(path: Path) -> str:
    """Python text of a module, or of all code cells of a notebook (lines starting with % or ! left out)."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    cells = (cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code")
    lines = "\n".join("".join(cell["source"]) for cell in cells).splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith(("%", "!")))


def module_file(name: str) -> Path | None:
    """File of a dotted `ecsupport` module name, or None where the name is no module of this package."""
    base = ROOT.joinpath(*name.split("."))
    return next((f for f in (base.with_suffix(".py"), base / "__init__.py") if f.is_file()), None)


def imports(path: Path) -> frozenset[str]:
    """Dotted names of the `ecsupport` modules that a file imports directly."""
    return _imports(path, path.stat().st_mtime_ns)


@cache
def _imports(path: Path, _: int) -> frozenset[str]:
    names = set()
    for node in ast.walk(ast.parse(source(path), str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(name for name in names if name.split(".")[0] == "ecsupport" and module_file(name))


def closure(path: Path) -> list[Path]:
    """Files of every `ecsupport` module that a file imports, directly or through others; sorted, without itself."""
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        for name in imports(waiting.pop()):
            file = module_file(name)
            if file and file not in found:
                found.add(file)
                waiting.append(file)
    return sorted(found - {path})
