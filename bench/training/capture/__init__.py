"""Captures a method's update once and replays it: as a CUDA graph on a GPU, as a list of operations on a CPU."""
