"""The vertical cup-to-disc ratio of fundus images."""

from nnunet_ext.evaluation.case import Mask

EPSILON = 1e-7
"""Added to the disc's diameter by REFUGE's evaluation."""


def vertical_diameter(mask: Mask) -> int:
    """The largest number of set pixels in one column, in px; holes are not counted. Empty: 0.

    Args:
        mask: (row, column).
    """
    return int(mask.sum(axis=0).max(initial=0))


def vertical_cup_to_disc_ratio(cup: Mask, disc: Mask) -> float:
    """Diameter of the cup by that of the disc, as REFUGE computes it.

    No disc: 0 if there is no cup either, else some ten million (REFUGE adds 1e-7 to the disc's diameter).
    """
    return vertical_diameter(cup) / (vertical_diameter(disc) + EPSILON)
