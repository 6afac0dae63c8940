"""The ways to install nnunet_ext, each in its own fresh virtual environment that all tests share."""

import shutil
from pathlib import Path

import pytest
from environments import OFFLINE, Environment, host, new_environment

REPOSITORY = Path(__file__).parents[2]
SOURCES = ["nnunet_ext", "trainers", "startup", "pyproject.toml", "README.md", "LICENSE", "CITATION.cff"]


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the package is built from, as a fresh clone has it."""
    folder = tmp_path_factory.mktemp("source") / "nnunet_ext_clone"
    folder.mkdir()
    for name in SOURCES:
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(REPOSITORY / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as `pip install .` builds it."""
    dist = tmp_path_factory.mktemp("dist")
    host("-m", "pip", "wheel", *OFFLINE, "--no-build-isolation", "--wheel-dir", dist, source)
    return next(dist.glob("*.whl"))


@pytest.fixture(scope="session")
def wheel_environment(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Environment:
    """`pip install .`, beside stock nnU-Net."""
    environment = new_environment(tmp_path_factory.mktemp("wheel") / "venv")
    environment.install(wheel)
    return environment


@pytest.fixture(scope="session")
def editable_environment(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Environment:
    """`pip install -e .`, beside stock nnU-Net."""
    environment = new_environment(tmp_path_factory.mktemp("editable") / "venv")
    environment.install("--no-build-isolation", "--editable", source)
    return environment


@pytest.fixture(scope="session")
def nnunet_editable_environment(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Environment:
    """`pip install .`, beside nnU-Net installed with `pip install -e`, as its documentation tells developers."""
    environment = new_environment(tmp_path_factory.mktemp("nnunet_editable") / "venv", nnunet_editable=True)
    environment.install(wheel)
    return environment


@pytest.fixture(scope="session")
def both_editable_environment(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Environment:
    """nnU-Net and nnunet_ext both installed with `pip install -e`."""
    environment = new_environment(tmp_path_factory.mktemp("both_editable") / "venv", nnunet_editable=True)
    environment.install("--no-build-isolation", "--editable", source)
    return environment


@pytest.fixture(params=["wheel", "editable", "nnunet_editable", "both_editable"])
def environment(request: pytest.FixtureRequest) -> Environment:
    """Each way to install, one after the other."""
    installed: Environment = request.getfixturevalue(f"{request.param}_environment")
    return installed
