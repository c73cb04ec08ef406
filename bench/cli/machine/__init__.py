"""The commands that look at the machine: what a training step costs on it, and what is right or wrong about it."""
