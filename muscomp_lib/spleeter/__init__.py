"""The real Spleeter: its checkpoints, and Spleeter itself in an environment of its own."""
