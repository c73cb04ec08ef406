"""One run: resolved from what was asked for, built, trained, evaluated and recorded."""
