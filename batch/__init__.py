"""The notebooks without a browser: one after the other, or as a campaign of jobs on a cluster."""
