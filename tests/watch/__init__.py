"""What watches the sidecar: rules, alerts and dashboard, before Prometheus' own programs."""
