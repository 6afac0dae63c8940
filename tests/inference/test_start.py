"""What a prediction does not import."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from models import write_model
from tiny import tiny_plans

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_the_parser_needs_no_torch(run: Run) -> None:
    code = (
        "import sys; from nnunet_ext import cli; cli._parser(); print({'torch', 'numpy', 'pandas'} & set(sys.modules))"
    )
    assert run(sys.executable, "-c", code).stdout == "set()\n"


def test_our_trainers_are_found_without_importing_nnunets_others(run: Run, tmp_path: Path) -> None:
    model = write_model(tmp_path, *tiny_plans(), trainer="nnUNetTrainerLKMUNetNoMamba")
    code = (
        "import sys; from pathlib import Path; from nnunet_ext.inference.loading import load\n"
        "predictor = load(Path(sys.argv[1]), device='cpu'); print(type(predictor.network).__name__)\n"
        "print({'timm', 'torchvision'} & set(sys.modules))"
    )
    done = run(sys.executable, "-c", code, model)
    assert done.stdout == "LKMUNet\nset()\n", done.stderr


def test_a_users_trainer_is_found_as_nnunet_finds_it(run: Run, tmp_path: Path) -> None:
    model = write_model(tmp_path, *tiny_plans(), trainer="nnUNetTrainerLKMUNetNoMamba")
    own = tmp_path / "own"
    own.mkdir()
    (own / "own_trainers.py").write_text(
        "from nnunet_ext import trainers\n"
        "class nnUNetTrainerLKMUNetNoMamba(trainers.nnUNetTrainerLKMUNetNoMamba):\n"
        "    @classmethod\n"
        "    def build_network_architecture(cls, plans_manager, *rest, **more):\n"
        "        raise RuntimeError('the user has another one')\n"
    )
    code = (
        "import sys; from pathlib import Path; from nnunet_ext.inference.loading import load\n"
        "load(Path(sys.argv[1]), device='cpu')"
    )
    done = run(sys.executable, "-c", code, model, env={"nnUNet_extTrainer": str(own)})
    assert "the user has another one" in done.stderr
