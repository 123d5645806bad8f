"""An executed notebook on own images: what its text tells of the phantoms alone gives way to one sentence.

Serves every notebook. Such text stands in cells of its own, which are tagged; what is told of paper and method stays.
"""

import json
from pathlib import Path

from ecsupport.core.artefacts import replacing

OF_PHANTOMS = "of-phantoms"  # tag of a cell of text
HEAD = (
    "*Run on the images of the manifest {name}. Where the text speaks of phantoms, it does not speak of these images.*"
)
INSTEAD = (
    "*The text that belongs here was written about the phantoms and says nothing of the images of the manifest {name}. "
    "What they show stands in the outputs above.*"
)


def leave_phantoms_out(file: Path, name: str) -> None:
    """Put `INSTEAD` in place of each tagged cell of an executed notebook, and `HEAD` below its first cell's text.

    name: that of the manifest
    """
    notebook = json.loads(file.read_text(encoding="utf-8"))
    head, *others = notebook["cells"]
    if head["cell_type"] == "markdown":
        head["source"] = "".join([*head["source"], "\n\n", HEAD.format(name=name)])
    for cell in others:
        if OF_PHANTOMS in cell["metadata"].get("tags", []):
            cell["source"] = INSTEAD.format(name=name)
    with replacing(file) as path:
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
