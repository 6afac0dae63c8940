"""The model card, and that its commands and citations are right."""

import json
import re
import shlex
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from nnunet_ext import architectures, cli
from nnunet_ext.sharing import citations

DOCS = Path(__file__).resolve().parents[2] / "docs"


def _card(model: Path, out: Path, *options: str) -> str:
    assert cli.main(["export", str(model), str(out), *options]) == 0
    return next(out.rglob("README.md")).read_text(encoding="utf-8")


def test_says_what_it_is_how_good_and_what_may_be_done_with_it(model: Path, tmp_path: Path) -> None:
    card = _card(model, tmp_path / "out", "--licence", "CC-BY-4.0")
    assert card.startswith("---\nlibrary_name: nnunetv2\npipeline_tag: image-segmentation\nlicense: cc-by-4.0\n")
    assert "| Dice | fold 0 | fold 1 | mean |" in card
    assert "| foreground | 0.800 | 0.900 | 0.850 |" in card
    assert "| mean of the labels | 0.800 | 0.900 | 0.850 |" in card
    assert "| cases | 1 | 1 |  |" in card
    assert "- of the model: CC-BY-4.0\n- of the data that it was trained on: CC-BY-SA 4.0\n" in card
    assert "MRI as `CASE_0000.nii.gz`" in card
    assert f"nnunetv2 {version('nnunetv2')}, torch {torch.__version__.partition('+')[0]}" in card
    assert "@article{isensee2021nnunet," in card
    assert "nnunet-ext==" not in card  # nnU-Net's own network needs no package of ours
    commands = [shlex.split(line) for line in card.splitlines() if line.startswith("nnUNetv2_predict ")]
    assert commands[0][commands[0].index("-f") :] == ["-f", "0", "1"]
    assert commands[0][commands[0].index("-d") + 1] == "Dataset999_Tiny"


def test_an_export_of_an_export_still_knows_the_number_of_cases(model: Path, tmp_path: Path) -> None:
    _card(model, tmp_path / "first")
    once = next((tmp_path / "first").rglob("plans.json")).parent
    assert "| cases | 1 | 1 |  |" in _card(once, tmp_path / "second")
    file = once / "fold_0" / "validation" / "summary.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "number_of_cases": None}))
    assert "| cases | - | 1 |  |" in _card(once, tmp_path / "third")


def test_options_for_the_licence_of_the_data(model: Path, tmp_path: Path) -> None:
    card = _card(model, tmp_path / "out", "--data-licence", "ask | <b>us</b>", "--licence", "Our Terms 1")
    assert "license: other\nlicense_name: our-terms-1\n" in card
    assert "trained on: ask \\| &lt;b>us&lt;/b>" in card


def test_a_fold_of_all_cases_says_that_its_figures_say_little(model: Path, tmp_path: Path) -> None:
    (model / "fold_0").rename(model / "fold_all")
    card = _card(model, tmp_path / "out", "--folds", "all")
    assert "Fold `all` was validated on the cases that it was trained on" in card
    assert " -f all" in card


def test_a_model_that_was_not_validated(model: Path, tmp_path: Path) -> None:
    for file in model.glob("fold_*/validation/summary.json"):
        file.unlink()
    assert "Not validated" in _card(model, tmp_path / "out")


def test_a_network_of_ours_is_installed_and_cited(model: Path, tmp_path: Path) -> None:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from nnunet_ext.trainers import nnUNetTrainerLKMUNet_50epochs as Trainer

    manager = PlansManager(str(model / "plans.json"))
    network = Trainer.build_network_architecture(manager, manager.get_configuration("3d_fullres"), 1, 2)
    file = model / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(file, weights_only=False)
    torch.save(checkpoint | {"network_weights": network.state_dict(), "trainer_name": Trainer.__name__}, file)
    card = _card(model, tmp_path / "out", "--folds", "0")
    assert "LKM-UNet as its paper describes it" in card
    assert "pip install nnunet-ext==" in card
    assert "@inproceedings{wang2024lkmunet," in card
    assert "-tr nnUNetTrainerLKMUNet_50epochs" in card


@pytest.mark.parametrize(
    "page", ["README.md", *sorted(f"networks/{file.name}" for file in (DOCS / "networks").glob("*.md"))]
)
def test_entries_are_those_of_the_documentation(page: str) -> None:
    (documented,) = re.findall(r"```bibtex\n(.*?)\n```", (DOCS / page).read_text(), re.DOTALL)
    known = citations.entries()
    for entry in re.split(r"\n\n(?=@)", documented):
        assert known[entry.partition("{")[2].partition(",")[0]] == entry


def test_every_network_has_its_paper() -> None:
    assert set(citations.PAPERS) == set(architectures.__all__)
    for name in architectures.__all__:
        assert len(citations.of_network(f"nnunet_ext.architectures.{name}")) > 1
