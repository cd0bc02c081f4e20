"""The measurements. Each module has ``measure(contestant, **size)``; see ``plan.py``."""
