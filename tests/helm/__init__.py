"""The chart: it renders what Kubernetes takes, and refuses what it does not."""
