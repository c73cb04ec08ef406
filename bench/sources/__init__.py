"""Hashes that identify code: of the syntax trees of the core, and of each plugin with the modules that it imports."""
