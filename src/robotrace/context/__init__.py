"""Who is running: policy, env, git, seed, host and trace, found without being told."""
