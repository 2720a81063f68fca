"""The wheel with its extra `command`, in an environment that has nothing else.

Nothing is fetched: into an empty environment comes the wheel, and, as links to the
files of this one, what its metadata ask for, and what that asks for in turn.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections import defaultdict
from importlib import metadata
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import lmc

ROOT = Path(__file__).parents[2]
PYTHONPATH = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP")


def asked(distribution, extras=()):
    """Return what a distribution, with some extras, asks for on this machine."""
    found = []
    for text in distribution.requires or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(
            marker.evaluate({"extra": extra}) for extra in ("", *extras)
        ):
            found.append(requirement)
    return found


def closure(distribution, extras=(), path=None):
    """Return what has to be installed beside a distribution, by name.

    Parameters
    ----------
    distribution : importlib.metadata.Distribution
    extras : iterable of str
        Of it.
    path : list of str, optional
        Where distributions are (default: `sys.path`).

    Raises
    ------
    LookupError
        What is asked for is not here, or in another version.
    """
    found, known, waiting = {}, defaultdict(set), asked(distribution, extras)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        search = {} if path is None else {"path": path}
        here = next(iter(metadata.distributions(name=name, **search)), None)
        if here is None or not requirement.specifier.contains(here.version, True):
            raise LookupError(f"{requirement} is asked for and not here")
        found[name] = here
        for extra in {"", *requirement.extras} - known[name]:
            known[name].add(extra)
            waiting += asked(here, [extra])
    return found


class Environment:
    """A virtual environment to which distributions are linked."""

    def __init__(self, folder):
        venv.create(folder, symlinks=True)
        self.bin = folder / "bin"
        base = {"base": str(folder), "platbase": str(folder)}
        self.site = Path(sysconfig.get_path("purelib", "venv", base))
        self._linked = set()

    def install(self, wheel):
        """Install a wheel without what it asks for."""
        pip = [sys.executable, "-m", "pip", "--python", str(self.bin / "python")]
        told = [*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
        subprocess.run(told, check=True)
        [found] = self.site.glob("linear_mode_connectivity*.dist-info")
        return metadata.Distribution.at(found)

    def link(self, distributions):
        """Link the files of distributions, scripts apart, once each."""
        folders = set()
        for name in distributions.keys() - self._linked:
            # Tens of thousands of files: by strings, as paths take ten times as long.
            root = str(distributions[name].locate_file(""))
            for file in map(str, distributions[name].files):
                if file.startswith(".."):
                    continue
                target = f"{self.site}/{file}"
                if (folder := os.path.dirname(target)) not in folders:
                    os.makedirs(folder, exist_ok=True)
                    folders.add(folder)
                os.symlink(f"{root}/{file}", target)
        self._linked |= distributions.keys()

    def run(self, *command, cwd):
        """Run a program of the environment, which sees nothing of this one."""
        return subprocess.run(
            [str(self.bin / command[0]), *map(str, command[1:])],
            cwd=cwd,
            env={k: v for k, v in os.environ.items() if k not in PYTHONPATH},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def wheel(tmp_path):
    """The wheel, of a copy, as building leaves files behind."""
    pytest.importorskip("pip", reason="needs pip, to build and install the wheel")
    if Version(metadata.version("setuptools")) < Version("77"):
        pytest.skip("building needs a newer setuptools: pip install 'setuptools>=77'")
    source = tmp_path / "source"
    without = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "lmc", source / "lmc", ignore=without)
    for name in ("pyproject.toml", "pytest_lmc.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    out = tmp_path / "wheel"
    subprocess.run(
        [*pip, "--no-build-isolation", "--wheel-dir", str(out), str(source)], check=True
    )
    [found] = out.iterdir()
    return found


@pytest.fixture
def work(tmp_path):
    """A folder of somebody's own: a model's code, two checkpoints, some images."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "net.py").write_text(
        "from torch import nn\n\n\ndef net():\n    return nn.Sequential(nn.Flatten(),"
        " nn.Linear(48, 8), nn.ReLU(), nn.Linear(8, 2))\n"
    )
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        layers = nn.Flatten(), nn.Linear(48, 8), nn.ReLU(), nn.Linear(8, 2)
        save_file(nn.Sequential(*layers).state_dict(), folder / f"{name}.safetensors")
    for label, colour in (("dark", (20, 30, 40)), ("light", (200, 210, 220))):
        (folder / "images" / label).mkdir(parents=True)
        Image.new("RGB", (4, 4), colour).save(folder / "images" / label / "0.png")
    return folder


def test_the_extra_has_what_the_command_needs(wheel, work, tmp_path):
    """Without it the command says what to install, in a line; with it, it works."""
    environment = Environment(tmp_path / "environment")
    own = environment.install(wheel)
    environment.link(closure(own))
    merge = ["lmc", "merge", "a.safetensors", "b.safetensors", "--model", "net:net"]
    merge += ["--input-shape", "3,4,4", "--data", "images", "--out", "c.safetensors"]
    told = environment.run(*merge, cwd=work)
    assert told.returncode == 2 and not (work / "c.safetensors").exists()
    assert told.stderr.count("\n") == 1 and "pip install safetensors" in told.stderr

    environment.link(closure(own, ["command"]))
    told = environment.run("lmc", "--version", cwd=work)
    assert told.stdout == f"lmc {lmc.__version__}\n", told.stderr
    told = environment.run(*merge, cwd=work)
    assert told.returncode == 0, told.stderr
    assert (work / "c.safetensors").exists() and "c.safetensors" in told.stdout
    # For plots; and there is nothing that nobody has asked for.
    code = "import matplotlib.pyplot\nimport pytest"
    told = environment.run("python", "-c", code, cwd=work)
    assert told.stderr.endswith("No module named 'pytest'\n")


def stored(folder, name, version="1.0", requires=()):
    """Make a distribution of nothing but metadata."""
    place = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    place.mkdir()
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    lines = [f"Requires-Dist: {each}\n" for each in requires]
    (place / "METADATA").write_text(head + "".join(lines))
    return metadata.Distribution.at(place)


def test_what_is_asked_for_in_turn(tmp_path):
    """With extras of extras, in circles, and without what is for other machines."""
    for name, requires in (
        ("b", ["C_d[more]>=1", "none; platform_system == 'Nowhere'"]),
        ("c-d", ["b", "e; extra == 'more'", "none; extra == 'other'"]),
        ("e", ["c-d"]),
        ("f", []),
    ):
        stored(tmp_path, name, requires=requires)
    a = stored(tmp_path, "a", requires=["b<2", "f; extra == 'extra'"])
    path = [str(tmp_path)]
    assert {*closure(a, path=path)} == {"b", "c-d", "e"}
    assert {*closure(a, ["extra"], path)} == {"b", "c-d", "e", "f"}


@pytest.mark.parametrize("missing", ["gone", "b>=2"])
def test_what_is_not_here_is_named(missing, tmp_path):
    stored(tmp_path, "b")
    a = stored(tmp_path, "a", requires=[missing])
    with pytest.raises(LookupError, match=f"^{missing} is asked for and not here"):
        closure(a, path=[str(tmp_path)])
