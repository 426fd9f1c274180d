"""Does the world look the same when the camera comes back? Pairs by camera alone, and metrics in numpy.

A raw number means little: a frozen picture matches itself perfectly. So every figure comes with its control,
the same metric between frames that look elsewhere, at the same gap in time; what counts is the gain over it.
Source of the control: R2M-Bench, arXiv:2608.27328.
"""
