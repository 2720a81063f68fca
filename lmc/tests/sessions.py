"""Sessions of pytest in processes of their own that need not import torch anew.

A server has imported it, and each session is forked from there.  The server knows none
of this project's modules: a session imports those of the folders that it is given.
"""

import multiprocessing
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess

_context = multiprocessing.get_context("forkserver")
# What takes long.  Packages with plugins are left out: pytest rewrites their asserts.
_context.set_forkserver_preload(
    ["torch", "torch._dynamo", "scipy.stats", "sklearn.datasets"]
)

# Carried out by the forked process, where nothing of this file is known.
_SESSION = """
import os
import sys

for descriptor, file in enumerate(files, 1):
    os.dup2(os.open(file, os.O_WRONLY), descriptor)
os.chdir(folder)
os.environ.clear()
os.environ.update(environment)
path = environment.get("PYTHONPATH", "").split(os.pathsep)
sys.path[:0] = [folder, *filter(None, path)]
sys.argv = ["pytest", *arguments]

import pytest

sys.exit(int(pytest.main(arguments)))
"""


def run_pytest(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> CompletedProcess[str]:
    """Run ``python -m pytest`` in a folder.

    Parameters
    ----------
    arguments
        Of its command line.
    folder
        Where it runs.
    environment
        Its variables; those of the caller are not inherited.  What torch reads while it
        is imported, such as ``OMP_NUM_THREADS``, is the caller's at the first call.

    Returns
    -------
    CompletedProcess
        As of :func:`subprocess.run`: exit status, and what was written, as text.

    Examples
    --------
    >>> run_pytest(["--version"], Path(), {}).stdout.split()[0]
    'pytest'
    """
    with tempfile.TemporaryDirectory() as outputs:
        files = [Path(outputs, name) for name in ("stdout", "stderr")]
        for file in files:
            file.touch()
        names = {
            "arguments": [*arguments],
            "folder": str(folder.absolute()),
            "environment": {**environment},
            "files": [str(file) for file in files],
        }
        process = _context.Process(target=exec, args=(_SESSION, names))
        process.start()
        process.join()
        told = [file.read_text(encoding="utf-8") for file in files]
    return CompletedProcess(names["arguments"], process.exitcode, *told)
