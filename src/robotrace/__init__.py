"""RoboTrace: observability for robots that learn."""
