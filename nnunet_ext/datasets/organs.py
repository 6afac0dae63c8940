"""Names of organs, one spelling for all data sets, and where organs lie to each other."""

from typing import NamedTuple

FLARE = (
    "liver",
    "right kidney",
    "spleen",
    "pancreas",
    "aorta",
    "inferior vena cava",
    "right adrenal gland",
    "left adrenal gland",
    "gallbladder",
    "esophagus",
    "stomach",
    "duodenum",
    "left kidney",
)
"""FLARE22's order, which U-Mamba and LKM-UNet also use for AMOS MR."""
AMOS = (
    "spleen",
    "right kidney",
    "left kidney",
    "gallbladder",
    "esophagus",
    "liver",
    "stomach",
    "aorta",
    "inferior vena cava",
    "pancreas",
    "right adrenal gland",
    "left adrenal gland",
    "duodenum",
    "bladder",
    "prostate/uterus",
)
BTCV = (
    "spleen",
    "right kidney",
    "left kidney",
    "gallbladder",
    "esophagus",
    "liver",
    "stomach",
    "aorta",
    "inferior vena cava",
    "portal and splenic vein",
    "pancreas",
    "right adrenal gland",
    "left adrenal gland",
)
WORD = (
    "liver",
    "spleen",
    "left kidney",
    "right kidney",
    "stomach",
    "gallbladder",
    "esophagus",
    "pancreas",
    "duodenum",
    "colon",
    "intestine",
    "adrenal glands",
    "rectum",
    "bladder",
    "left femur head",
    "right femur head",
)


class Relation(NamedTuple):
    """The centre of `first` lies further along an axis than the centre of `second`."""

    first: str
    words: str
    second: str
    axis: int
    """Of the patient: 0 to the right, 1 to the front, 2 upwards."""


RELATIONS = (
    *(
        Relation(first, "to the right of", second, 0)
        for first, second in (
            ("liver", "spleen"),
            ("liver", "stomach"),
            ("right kidney", "left kidney"),
            ("right adrenal gland", "left adrenal gland"),
            ("gallbladder", "stomach"),
            ("inferior vena cava", "aorta"),
            ("right femur head", "left femur head"),
        )
    ),
    *(
        Relation(first, "in front of", second, 1)
        for first, second in (
            ("stomach", "left kidney"),
            ("stomach", "aorta"),
            ("pancreas", "left kidney"),
            ("pancreas", "right kidney"),
            ("gallbladder", "right kidney"),
            ("bladder", "rectum"),
        )
    ),
    *(
        Relation(first, "above", second, 2)
        for first, second in (
            ("right adrenal gland", "right kidney"),
            ("left adrenal gland", "left kidney"),
            ("esophagus", "duodenum"),
            ("liver", "bladder"),
            ("spleen", "bladder"),
            ("stomach", "bladder"),
        )
    ),
)
"""What holds for nearly every patient. One that does not hold proves nothing; most of an axis do."""
