"""One-call ways into RoboTrace: a rollout, a file, a dataset. Each imports what it needs when it is called."""
