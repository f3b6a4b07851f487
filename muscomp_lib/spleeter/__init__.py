"""The real Spleeter, in an environment of its own."""
