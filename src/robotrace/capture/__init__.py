"""From a step to a sealed episode: streams, clocks, video, triggers. No network, no framework."""
