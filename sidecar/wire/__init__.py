"""The wire formats: how one upstream JSON shape carries text, and what else it may carry. Pure."""
