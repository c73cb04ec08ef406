"""What identifies code: hashes of the syntax trees of the core, and of each plugin with what it imports of its own."""
