"""Every protocol against a plain restatement of the published script with the library that it used."""

import json
import math
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nnunet_ext.evaluation.case import Case
from nnunet_ext.evaluation.errors import CaseError, EvaluationError
from nnunet_ext.evaluation.labels import Labels
from nnunet_ext.evaluation.protocols import make
from nnunet_ext.evaluation.protocols.base import Protocol
from nnunet_ext.evaluation.protocols.transunet import EIGHT_ORGANS

from .masks import ANISOTROPIC, body, real, shifted, write

SHAPE = (24, 30, 14)
THREE = Labels({"a": (1,), "b": (2,), "c": (3,)})


def _label_map(*bodies: NDArray[np.bool_]) -> NDArray[np.uint8]:
    values = np.zeros(bodies[0].shape, dtype=np.uint8)
    for value, mask in enumerate(bodies, start=1):
        values[mask] = value
    return values


def _scores(
    protocol: Protocol,
    reference: NDArray,
    prediction: NDArray,
    spacing: tuple[float, ...] | None = ANISOTROPIC,
) -> dict[tuple[str, str], float]:
    values = protocol.score(Case(reference, prediction, spacing, protocol.labels))
    return {(value.class_, value.metric): value.value for value in values}


def _by_class(scores: dict[tuple[str, str], float], metric: str) -> list[float]:
    return [value for (_, name), value in scores.items() if name == metric]


@pytest.mark.parametrize(
    "labels",
    [
        {"background": 0, "one": 1, "two": 2, "never": 3},
        {"background": 0, "both": [1, 2], "two": 2},
        {"background": 0, "one": 1, "two": 2, "ignore": 3},
    ],
)
def test_nnunet_equals_its_summary(labels: dict[str, int | list[int]], tmp_path: Path) -> None:
    from nnunetv2.evaluation.evaluate_predictions import compute_metrics_on_folder
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    from nnunet_ext.cli import main

    for i in range(3):
        truth = _label_map(body(i), body(i + 5, part=0.1))
        if "ignore" in labels:
            truth[:5] = 3
        write(tmp_path / "ref" / f"case_{i}.nii.gz", truth, ANISOTROPIC)
        write(tmp_path / "pred" / f"case_{i}.nii.gz", _label_map(body(i + 1) & (i > 0)), ANISOTROPIC)
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels, "file_ending": ".nii.gz"}))
    folders = [str(tmp_path / "ref"), str(tmp_path / "pred")]
    assert main(["evaluate", "--protocol", "nnunet", *folders, "-np", "1"]) == 0
    ours = json.loads((tmp_path / "pred" / "evaluation_nnunet.json").read_text())

    wanted = {name: tuple(value) if isinstance(value, list) else value for name, value in labels.items()}
    ignore = wanted.pop("ignore", None)
    classes = [value for value in wanted.values() if value != 0]
    with pytest.warns(RuntimeWarning, match="empty slice") if "never" in labels else nullcontext():
        theirs = compute_metrics_on_folder(*folders, None, SimpleITKIO(), ".nii.gz", classes, ignore, 1)
    for metric in ("Dice", "IoU"):
        for name, value in wanted.items():
            if value != 0:
                _same(ours["mean"][name][metric], theirs["mean"][value][metric])
        _same(ours["foreground_mean"][metric], theirs["foreground_mean"][metric])
    for name, value in wanted.items():
        if value != 0:
            ml = math.prod(ANISOTROPIC) / 1000
            _same(
                ours["mean"][name]["volume_ref"], theirs["mean"][value]["n_ref"] * ml, 1e-6
            )  # NIfTI stores voxel edges in float32
            _same(ours["mean"][name]["volume_pred"], theirs["mean"][value]["n_pred"] * ml, 1e-6)


def _same(ours: float | None, theirs: float, relative: float = 1e-12) -> None:
    assert (math.nan if ours is None else ours) == pytest.approx(theirs, rel=relative, nan_ok=True)


def _flare_script(
    truth: NDArray, found: NDArray, spacing: tuple[float, ...], rules: bool
) -> dict[int, tuple[float, float]]:
    surface_distance = pytest.importorskip("surface_distance", reason="the oracle surface-distance is not installed")
    tolerances = [5, 3, 3, 5, 2, 2, 2, 2, 2, 3, 5, 7, 3]
    result = {}
    for i, tolerance in enumerate(tolerances, start=1):
        gt, seg = truth == i, found == i
        if not gt.any():
            result[i] = (0, 0) if seg.any() else (1, 1)
            continue
        if rules and not seg.any():
            result[i] = 0, 0
            continue
        if i in (5, 6, 10):
            z = np.where(gt)[2]
            gt, seg = gt[:, :, z.min() : z.max()], seg[:, :, z.min() : z.max()]
        if gt.size == 0:
            result[i] = math.nan, math.nan
            continue
        dice = surface_distance.compute_dice_coefficient(gt, seg)
        if (rules and dice < 0.2) or not seg.any():  # of the latter, surface-distance 0.1 dies with NumPy 2
            nsd = 0.0
        else:
            distances = surface_distance.metrics.compute_surface_distances(gt, seg, spacing)
            nsd = surface_distance.compute_surface_dice_at_tolerance(distances, tolerance)
        result[i] = round(dice, 4), round(nsd, 4)
    return result


def _flare_case() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Every organ in its own block of 12 slices; some are missed, invented, absent, hardly met or in a single slice."""
    truth, found = np.zeros((2, 24, 30, 13 * 14), dtype=np.uint8)
    for i in range(1, 14):
        block = np.s_[:, :, 14 * (i - 1) : 14 * i]
        truth[block][body(i)] = i
        found[block][body(i) if i == 1 else shifted(body(i))] = i
    truth[truth == 7] = 0  # invented
    truth[truth == 8] = found[found == 8] = 0  # absent
    found[found == 9] = 0  # missed
    found[found == 2] = 0
    found[:, :, 14:28][body(99, part=0.1) & ~body(2)] = 2
    found[:, :, 14:28][np.argwhere(body(2))[:100][0][0]] = 2  # hardly met
    single = truth == 10
    single[:, :, 14 * 9 + 7] = False
    truth[single] = 0  # one slice of an organ of which the last slice is not scored
    return truth, found


@pytest.mark.parametrize("name", ["flare22", "umamba"])
@pytest.mark.filterwarnings("ignore:.*ndimage.*:DeprecationWarning")
def test_flare22_and_umamba_equal_the_script(name: str) -> None:
    truth, found = _flare_case()
    protocol = make(name)
    scores = _scores(protocol, truth, found, (1.5, 1.5, 2.5))
    expected = _flare_script(truth, found, (1.5, 1.5, 2.5), rules=name == "flare22")
    for i, (organ, (value,)) in enumerate(protocol.labels.classes.items(), start=1):
        assert value == i
        ours = scores[organ, "Dice"], scores[organ, "NSD"]
        assert ours == pytest.approx(expected[i], abs=1e-12, nan_ok=True), organ


def test_rules_that_umamba_lacks() -> None:
    truth, found = _flare_case()
    flare, umamba = (_scores(make(name), truth, found, (1.5, 1.5, 2.5)) for name in ("flare22", "umamba"))
    differing = [key for key in flare if not (flare[key] == umamba[key] or math.isnan(flare[key] + umamba[key]))]
    assert differing == [("right kidney", "NSD")]
    assert 0 < flare["right kidney", "Dice"] < 0.2
    assert flare["right kidney", "NSD"] == 0 < umamba["right kidney", "NSD"]
    assert math.isnan(umamba["esophagus", "Dice"])
    missed = found * (found != 10)
    assert _scores(make("flare22"), truth, missed)["esophagus", "Dice"] == 0
    assert math.isnan(_scores(make("umamba"), truth, missed)["esophagus", "Dice"])


@pytest.mark.filterwarnings("ignore:.*ndimage.*:DeprecationWarning")
def test_flare22_on_a_real_label_map() -> None:
    truth, spacing = real("TotalSegmentator_examples/ct_3mm_flare13.nii.gz")
    found = shifted(truth, (1, 1, 1))
    scores = _scores(make("flare22"), truth, found, spacing)
    expected = _flare_script(truth, found, spacing, rules=True)
    assert _by_class(scores, "Dice") == pytest.approx([dice for dice, _ in expected.values()])
    assert _by_class(scores, "NSD") == pytest.approx([nsd for _, nsd in expected.values()])
    assert scores["esophagus", "Dice"] == 1  # in neither


def test_flare22_finds_organs_by_name() -> None:
    truth, found = _flare_case()
    expected = _scores(make("flare22"), truth, found)
    other = make("flare22", Labels({"IVC": (3,), "Kidney_Left": (5,), "liver": (2,)}))
    mapping = np.zeros(14, dtype=np.uint8)
    mapping[[6, 13, 1]] = 3, 5, 2
    scores = _scores(other, mapping[truth], mapping[found])
    for theirs, ours in (("inferior vena cava", "IVC"), ("left kidney", "Kidney_Left"), ("liver", "liver")):
        assert scores[ours, "NSD"] == expected[theirs, "NSD"]
    assert any("3 of the protocol's 13 organs" in note for note in other.notes)
    with pytest.raises(EvaluationError, match="no tolerance for the label 'spine'"):
        make("flare22", Labels({"spine": (1,)}))


def test_amos_with_its_tolerance() -> None:
    monai = pytest.importorskip("monai.metrics", reason="the oracle MONAI is not installed")
    import torch

    truth, found = _label_map(body(0), body(1)), _label_map(body(2), body(1))
    for tolerance in (None, 4.0):
        scores = _scores(make("amos", THREE, tolerance=tolerance), truth, found)
        one_hot = [
            torch.from_numpy(np.stack([values == i for i in range(3)]))[None].float() for values in (found, truth)
        ]
        expected = monai.compute_surface_dice(
            *one_hot, [tolerance or 1.0] * 2, spacing=ANISOTROPIC, use_subvoxels=True
        )[0]
        assert _by_class(scores, "NSD")[:2] == pytest.approx(expected.tolist(), abs=1e-5)  # float32
        assert math.isnan(scores["c", "Dice"])
        assert math.isnan(scores["c", "NSD"])
    with pytest.raises(EvaluationError, match="only amos takes --tolerance"):
        make("word", THREE, tolerance=2.0)


def _five_cases() -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    nothing = np.zeros(SHAPE, dtype=bool)
    return [(body(0), body(1)), (body(0), nothing), (nothing, body(1)), (nothing, nothing), (body(0), body(0))]


def test_transunet_equals_its_script() -> None:
    medpy = pytest.importorskip("medpy.metric.binary", reason="the oracle medpy is not installed")
    for truth, found in _five_cases():
        scores = _scores(make("transunet", Labels({"a": (1,)})), _label_map(truth), _label_map(found))
        if truth.any() and found.any():
            expected = medpy.dc(found, truth), medpy.hd95(found, truth)
        else:
            expected = (1, 0) if found.any() else (0, 0)
        assert (scores["a", "Dice"], scores["a", "HD95"]) == pytest.approx(expected)


def test_transunet_scores_eight_organs_by_name() -> None:
    thirteen = ["spleen", "right_kidney", "left_kidney", "gallbladder", "esophagus", "liver", "stomach", "aorta"]
    thirteen += ["inferior vena cava", "portal vein", "pancreas", "right adrenal", "left adrenal"]
    labels = Labels({name: (value,) for value, name in enumerate(thirteen, start=1)})
    assert [name.replace("_", " ") for name in make("transunet", labels).classes] == list(EIGHT_ORGANS)
    assert make("transunet", labels, ["all"]).classes == thirteen
    assert make("transunet", labels, ["aorta"]).classes == ["aorta"]
    assert make("transunet", THREE).classes == ["a", "b", "c"]
    with pytest.raises(EvaluationError, match="no class 'heart'"):
        make("transunet", labels, ["heart"])


def test_word_equals_its_script() -> None:
    medpy = pytest.importorskip("medpy.metric.binary", reason="the oracle medpy is not installed")
    x, y, z = ANISOTROPIC
    for truth, found in _five_cases():
        scores = _scores(make("word", Labels({"a": (1,)})), _label_map(truth), _label_map(found))
        expected = (0, 50)
        if truth.any() and found.any():  # the script's arrays are (z, y, x), its voxel edges (z, x, y)
            expected = medpy.dc(found, truth), medpy.hd95(found.T, truth.T, voxelspacing=(z, x, y))
        assert (scores["a", "Dice"], scores["a", "HD95"]) == pytest.approx(expected)


def test_volumes_need_mm() -> None:
    image = np.ones((5, 6), dtype=np.uint8)
    for name in ("flare22", "amos", "word"):
        protocol = make(name, None if name == "flare22" else THREE)
        with pytest.raises(CaseError, match="mm in volumes"):
            _scores(protocol, image, image, None)


def _fundus(disc: tuple[int, int], cup: tuple[int, int]) -> NDArray[np.uint8]:
    """Rectangles of (rows, columns) around the middle of an image, in nnU-Net's numbering."""
    image = np.zeros((60, 80), dtype=np.uint8)
    for value, (rows, columns) in ((1, disc), (2, cup)):
        image[30 - rows // 2 : 30 - rows // 2 + rows, 40 - columns // 2 : 40 - columns // 2 + columns] = value
    return image


def test_refuge_by_hand() -> None:
    truth, found = _fundus((40, 30), (10, 28)), _fundus((40, 30), (20, 14))
    protocol = make("refuge", Labels({"optic_disc": (1, 2), "optic_cup": (2,)}))
    scores = _scores(protocol, truth, found, None)
    assert scores == {
        ("optic_disc", "Dice"): 1.0,
        ("optic_cup", "Dice"): pytest.approx(2 * 140 / (280 + 280)),
        ("all", "vCDR_error"): pytest.approx(0.25),
    }
    found[25:35, 40] = 1  # a hole: the diameter is still that of another column
    assert _scores(protocol, truth, found, None)["all", "vCDR_error"] == pytest.approx(0.25)
    without = _scores(protocol, truth, np.zeros_like(truth), None)
    assert without["optic_cup", "Dice"] == 0
    assert without["all", "vCDR_error"] == pytest.approx(0.25)
    nothing = _scores(protocol, np.zeros_like(truth), np.zeros_like(truth), None)
    assert math.isnan(nothing["optic_disc", "Dice"])
    assert nothing["all", "vCDR_error"] == 0


@pytest.mark.parametrize("labels", [{"optic_disc": (1, 2), "optic_cup": (2,)}, {"rim": (1,), "Cup": (2,)}])
def test_refuge_reads_its_own_masks(labels: dict[str, tuple[int, ...]], tmp_path: Path) -> None:
    from skimage.io import imsave

    truth, found = _fundus((40, 30), (10, 28)), _fundus((38, 32), (20, 14))
    coded = np.array([255, 128, 0], dtype=np.uint8)
    paths = [tmp_path / name for name in ("truth.bmp", "found.png")]
    for path, image in zip(paths, (truth, found), strict=True):
        imsave(path, coded[image], check_contrast=False)
    own = make("refuge")
    scores = {value[:2]: value.value for value in own.score(own.load(*paths))}
    assert scores == _scores(make("refuge", Labels(labels)), truth, found, None)


def test_refuge_wants_a_cup() -> None:
    with pytest.raises(EvaluationError, match="one label named optic_cup"):
        make("refuge", THREE)
    with pytest.raises(CaseError, match="2D images"):
        _scores(make("refuge"), _label_map(body(0)), _label_map(body(0)))


@pytest.mark.parametrize("labels", [{"rim": (1,), "cup": (2,)}, {"disc": (1, 2), "cup": (2,)}])
def test_mmunet2d_against_scikit_learn(labels: dict[str, tuple[int, ...]]) -> None:
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, jaccard_score

    images = [
        (_fundus((40, 30), (10, 28)), _fundus((38, 34), (20, 14))),
        (_fundus((20, 30), (9, 9)), _fundus((30, 30), (8, 8))),
    ]
    protocol = make("mmunet2d", Labels(labels))
    names = ("pixel_accuracy", "mean_class_accuracy", "mIoU", "mIoU_without_background")

    def expected(truth: NDArray, found: NDArray) -> list[float]:
        flat = truth.ravel(), found.ravel()
        by_class = jaccard_score(*flat, average=None)
        return [accuracy_score(*flat), balanced_accuracy_score(*flat), by_class.mean(), by_class[1:].mean()]

    cases = []
    for pair in images:
        scores = _scores(protocol, *pair, None)
        assert [scores["all", name] for name in names] == pytest.approx(expected(*pair))
        cases.append(protocol.score(Case(*pair, None, protocol.labels)))
    together = expected(*(np.hstack(image) for image in zip(*images, strict=True)))
    assert protocol.pooled(cases) == pytest.approx(
        {f"dataset_{name}": value for name, value in zip(names, together, strict=True)}
    )
    assert {name for name, metric in _scores(protocol, *images[0], None) if metric == "IoU"} == {
        "background", "cup", "rim" if "rim" in labels else "disc, value 1"
    }  # fmt: skip
