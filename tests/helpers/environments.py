"""Fresh virtual environments with stock nnU-Net, each made in about a second.

torch and its CUDA libraries are 6 GB, so the packages of the environment that runs the tests are linked into the new
one. nnU-Net is copied, as the tests watch its files, and nnunet_ext is left out: pip installs that, as a user would.
"""

import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

PIP = ["-m", "pip", "--disable-pip-version-check"]
OFFLINE = ["--no-deps", "--no-index", "--quiet"]


@dataclass
class Environment:
    """A virtual environment; `files` and `modules` are what it had before nnunet_ext came."""

    folder: Path
    files: dict[str, str] = field(default_factory=dict)
    modules: set[str] = field(default_factory=set)

    @property
    def site_packages(self) -> Path:
        return next((self.folder / "lib").glob("python*/site-packages"))

    def script(self, name: str) -> Path:
        return self.folder / "bin" / name

    def run(
        self, program: str, *arguments: str | Path, env: dict[str, str] | None = None, fails: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run a script of this environment in a folder that holds nothing of ours, in a clean environment."""
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("nnUNet_", "NNUNET_EXT_", "PYTHON"))
        }
        elsewhere = self.folder.parent / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        done = subprocess.run(
            [str(self.script(program)), *map(str, arguments)],
            env=clean | (env or {}),
            cwd=elsewhere,
            capture_output=True,
            text=True,
            timeout=600,
        )
        output = f"{program} {arguments}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert (done.returncode != 0) == fails, output
        assert "Error processing line" not in done.stderr, output
        return done

    def python(self, code: str, *flags: str, env: dict[str, str] | None = None) -> str:
        return self.run("python", *flags, "-c", code, env=env).stdout.strip()

    def install(self, *what: str | Path) -> None:
        self.run("python", *PIP, "install", *OFFLINE, *what)

    def uninstall(self) -> None:
        self.run("python", *PIP, "uninstall", "--quiet", "--yes", "nnunet-ext")

    def modules_at_start(self) -> set[str]:
        """The modules that a bare start of Python has loaded."""
        names = self.python("import sys; names = list(sys.modules); import json; print(json.dumps(names))")
        return set(json.loads(names))

    def listing(self) -> dict[str, str]:
        """Every file with the hash of its content; links to the packages of others by their names alone.

        Compiled files are left out where others' packages, which Python compiles at any time, have them.
        """
        found = {}
        for folder, folders, files in os.walk(self.folder):
            if "__pycache__" in folders and "nnunet_ext" not in os.path.relpath(folder, self.folder):
                folders.remove("__pycache__")
            for name in [*files, *folders]:
                path = Path(folder, name)
                content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
                found[str(path.relative_to(self.folder))] = hashlib.sha256(content).hexdigest()
        return found


def new_environment(folder: Path, nnunet_editable: bool = False) -> Environment:
    """Stock nnU-Net without nnunet_ext; `nnunet_editable` installs nnU-Net with pip -e."""
    host("-m", "venv", "--without-pip", folder)
    environment = Environment(folder)
    _link_packages(environment.site_packages)
    if nnunet_editable:
        _install_editable_nnunet(environment)
    else:
        _copy_nnunet(environment)
    environment.modules = environment.modules_at_start()
    environment.files = environment.listing()
    return environment


def host(*arguments: str | Path) -> None:
    done = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def _link_packages(site_packages: Path) -> None:
    ours_or_copied = ("nnunet_ext", "_nnunet_ext", "_editable_impl_nnunet_ext", "nnunetv2", "__pycache__")
    for folder in map(Path, sys.path):
        if folder.name not in ("site-packages", "dist-packages") or not folder.is_dir():
            continue
        for entry in folder.iterdir():
            link = site_packages / entry.name
            if not entry.name.startswith(ours_or_copied) and not link.exists():
                link.symlink_to(entry)


def _nnunet() -> tuple[Path, Path]:
    """nnU-Net's package folder and dist-info folder in the environment that runs the tests."""
    info = next(Path(str(importlib.metadata.distribution("nnunetv2").locate_file(""))).glob("nnunetv2-*.dist-info"))
    package = info.parent / "nnunetv2"
    assert package.is_dir(), "nnU-Net itself is installed with pip -e here: these tests copy an ordinary install of it"
    return package, info


def _copy_nnunet(environment: Environment) -> None:
    for folder in _nnunet():
        shutil.copytree(folder, environment.site_packages / folder.name)
    for name in _nnunet_scripts():
        script = environment.script(name)
        lines = Path(sys.executable).with_name(name).read_text().splitlines(keepends=True)
        script.write_text("".join([f"#!{environment.script('python')}\n", *lines[1:]]))
        script.chmod(0o755)


def _install_editable_nnunet(environment: Environment) -> None:
    package, _ = _nnunet()
    clone = environment.folder.parent / "nnUNet_clone"
    shutil.copytree(package, clone / "nnunetv2", ignore=shutil.ignore_patterns("__pycache__"))
    scripts = "\n".join(f'{name} = "{target}"' for name, target in _nnunet_scripts().items())
    (clone / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        f'[project]\nname = "nnunetv2"\nversion = "{importlib.metadata.version("nnunetv2")}"\n'
        f"[project.scripts]\n{scripts}\n"
        '[tool.setuptools.packages.find]\ninclude = ["nnunetv2*"]\n'
    )
    environment.install("--no-build-isolation", "--editable", clone)


def _nnunet_scripts() -> dict[str, str]:
    scripts = importlib.metadata.distribution("nnunetv2").entry_points.select(group="console_scripts")
    return {script.name: script.value for script in scripts}
