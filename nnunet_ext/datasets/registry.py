"""The benchmarks that there are: the one list that the command, its documentation and the tests read."""

from nnunet_ext.datasets.acdc import ACDC
from nnunet_ext.datasets.amos22 import AMOS22_CT, AMOS22_MR, AMOS22_MR13
from nnunet_ext.datasets.atlas2023 import ATLAS2023
from nnunet_ext.datasets.flare22 import FLARE22
from nnunet_ext.datasets.images_masks import IMAGES_MASKS
from nnunet_ext.datasets.refuge2 import REFUGE2
from nnunet_ext.datasets.synapse import SYNAPSE
from nnunet_ext.datasets.word import WORD

BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        FLARE22,
        AMOS22_CT,
        AMOS22_MR,
        AMOS22_MR13,
        SYNAPSE,
        REFUGE2,
        ACDC,
        WORD,
        ATLAS2023,
        IMAGES_MASKS,
    )
}
