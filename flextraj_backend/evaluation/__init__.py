"""Metrics of generated videos: no torch, no weights; every figure's formula stands in its docstring."""
