"""What installing leaves on the disk and in every start of Python, and that uninstalling takes it away again."""

import ast
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from environments import Environment, new_environment

pytestmark = pytest.mark.slow

LOOK_UP = (
    "import os, sys\n"
    "from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find\n"
    "for os.environ['nnUNet_extTrainer'] in sys.argv[1:]:\n"
    "    print('FOUND', find('nnUNetTrainer_1epoch').__name__)\n"
    "    try:\n"
    "        find('nnUNetTrainerLKMUNet')\n"
    "    except RuntimeError as error:\n"
    "        print(error)\n"
)


def test_a_start_of_python_loads_nothing_but_our_two_modules(environment: Environment) -> None:
    assert environment.modules_at_start() - environment.modules == {"nnunet_ext", "nnunet_ext._startup"}


def test_importing_the_package_and_its_command_is_light(wheel_environment: Environment) -> None:
    code = (
        "import sys, nnunet_ext, nnunet_ext.trainers, nnunet_ext.cli\n"
        "print({'torch', 'numpy', 'nnunetv2', 'numba', 'rich'} & set(sys.modules) or 'light')"
    )
    assert wheel_environment.python(code) == "light"


def test_nothing_of_nnunet_is_touched(environment: Environment) -> None:
    after = environment.listing()
    changed = {path for path, content in environment.files.items() if after.get(path) != content}
    added = {path for path in after.keys() - environment.files.keys() if "__pycache__" not in path}
    assert changed == set()
    own = re.compile(r"bin/nnunet-ext|lib/[^/]+/site-packages/_?nnunet_ext")
    assert {path for path in added if not own.match(path)} == set()


def test_wheel_holds_the_package_the_trainers_and_the_start_up_files_only(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {
        "nnunet_ext",
        "nnunet_ext.pth",
        "nnunet_ext.start",
    }
    assert {"nnunet_ext/trainers/__init__.py", "nnunet_ext/trainers/lkm_unet.py", "nnunet_ext/py.typed"} <= set(names)
    assert "nnunet_ext/benchmark/Snakefile" in names
    # nnU-Net imports whatever lies in the folder that the variable names.
    assert [name for name in names if "/_nnunet_ext/" in name] == ["nnunet_ext/_nnunet_ext/nnunet_ext_trainers.py"]


def test_source_archive_builds_the_same_wheel(source: Path, wheel: Path, tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path, source]
    done = subprocess.run(build, capture_output=True, text=True)  # an archive first, then a wheel from the archive
    assert done.returncode == 0, done.stdout + done.stderr
    rebuilt = zipfile.ZipFile(next(tmp_path.glob("*.whl")))
    assert list(tmp_path.glob("nnunet_ext-*.tar.gz"))
    assert {entry.filename: entry.CRC for entry in rebuilt.infolist()} == {
        entry.filename: entry.CRC for entry in zipfile.ZipFile(wheel).infolist()
    }


def test_start_file_follows_pep_829_and_does_what_the_pth_line_does(wheel_environment: Environment) -> None:
    """Python 3.15 runs `.start` files and ignores the import lines of the `.pth` file of the same stem."""
    text = (wheel_environment.site_packages / "nnunet_ext.start").read_text(encoding="utf-8")
    entries = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert len(entries) == 1
    name = r"[^\W\d]\w*(\.[^\W\d]\w*)*"
    assert re.fullmatch(rf"{name}:{name}", entries[0])
    code = (
        f"import os, sys, pkgutil; sys.path.append({str(wheel_environment.site_packages)!r})\n"
        f"print(os.environ.get('nnUNet_extTrainer')); pkgutil.resolve_name({entries[0]!r})()\n"
        "print(os.environ.get('nnUNet_extTrainer'))"
    )
    folder = wheel_environment.run("nnunet-ext", "path").stdout.strip()
    assert wheel_environment.python(code, "-S").splitlines() == ["None", folder]

    line = (wheel_environment.site_packages / "nnunet_ext.pth").read_text(encoding="utf-8").strip()
    assert line.startswith("import nnunet_ext._startup")  # Python runs a line only if it starts so
    call = ast.parse(line).body[-1]
    assert ast.unparse(call) == f"{entries[0].replace(':', '.')}()"


def test_uninstalling_leaves_nothing_and_nnunet_works(
    wheel: Path, wheel_environment: Environment, tmp_path: Path
) -> None:
    environment = new_environment(tmp_path / "venv")
    environment.install(wheel)
    environment.python("from nnunet_ext.trainers import nnUNetTrainerLKMUNet")
    environment.uninstall()
    assert environment.listing() == environment.files
    assert environment.modules_at_start() == environment.modules
    # Nor does it disturb that the variable still names our folder, inherited from an environment that has us.
    inherited = wheel_environment.run("nnunet-ext", "path").stdout.strip()
    output = environment.run("python", "-c", LOOK_UP, "", inherited).stdout
    assert output.count("FOUND nnUNetTrainer_1epoch") == 2
    assert output.count("Could not find requested nnunet trainer nnUNetTrainerLKMUNet") == 2


def test_uninstalling_after_use_leaves_nothing(wheel: Path, tmp_path: Path) -> None:
    environment = new_environment(tmp_path / "venv")
    environment.install(wheel)
    scan = (
        "import torch\nfrom nnunet_ext.ops import selective_scan\n"
        "u, A, B = torch.rand(1, 2, 8), -torch.rand(2, 4), torch.rand(1, 4, 8)\n"
        "selective_scan(u, u, A, B, B, backend='numba')\n"
    )
    environment.python(scan, env={"HOME": str(tmp_path / "home")})  # compiles kernels, and keeps them somewhere
    environment.uninstall()
    assert environment.listing() == environment.files


def test_uninstalling_an_editable_install_leaves_nothing(source: Path, tmp_path: Path) -> None:
    environment = new_environment(tmp_path / "venv")
    environment.install("--no-build-isolation", "--editable", source)
    environment.python("import nnunet_ext.trainers")
    environment.uninstall()
    assert environment.listing() == environment.files
    assert environment.modules_at_start() == environment.modules


def test_a_newer_wheel_replaces_the_old_one(wheel: Path, tmp_path: Path) -> None:
    environment = new_environment(tmp_path / "venv")
    environment.install(wheel)
    once = environment.listing()
    environment.install("--force-reinstall", wheel)
    environment.uninstall()
    assert once != environment.files
    assert environment.listing() == environment.files


def test_opting_out_leaves_the_variable_alone(wheel_environment: Environment) -> None:
    code = "import os, json; print(json.dumps(os.environ.get('nnUNet_extTrainer')))"
    seen = [
        json.loads(wheel_environment.python(code, env={"NNUNET_EXT_NO_AUTOREGISTER": value} | own))
        for value, own in [("1", {}), ("1", {"nnUNet_extTrainer": "/mine"}), ("0", {}), ("", {})]
    ]
    folder = wheel_environment.run("nnunet-ext", "path").stdout.strip()
    assert seen == [None, "/mine", folder, folder]
    assert os.path.isdir(folder)
