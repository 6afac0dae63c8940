"""The metrics, one function each: definition, unit, and what it is where a mask is empty.

Masks are boolean arrays of one shape, the reference first. NaN means undefined. A protocol may have its own rule for
masks that are empty, as published evaluations do; then the protocol says so and the metric is not asked.
"""
