"""A plan's architecture for tests."""

from typing import Any

from tests.plans import topology, unet_arguments


def architecture(spacing: tuple[float, ...], patch: tuple[int, ...], **sizes: Any) -> dict[str, Any]:
    """As nnU-Net's plans have it, operators by their names."""
    arguments = unet_arguments(spacing, patch, **sizes)
    return {
        "arch_kwargs": {
            name: f"{value.__module__}.{value.__name__}" if isinstance(value, type) else value
            for name, value in arguments.items()
        },
        "_kw_requires_import": ("conv_op", "norm_op", "dropout_op", "nonlin"),
    }


def padded(spacing: tuple[float, ...], patch: tuple[int, ...]) -> tuple[int, ...]:
    """The patch of that topology."""
    return topology(spacing, patch)[2]
