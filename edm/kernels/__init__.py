"""Kernels of our own for GPUs, in Triton: the same as functions of torch, faster.

Nothing here is imported unless `available.have_kernels` says so, as Triton is not on every machine.
"""
