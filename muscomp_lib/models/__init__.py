"""The networks and their files: configurations, weights, and the pretrained models."""
