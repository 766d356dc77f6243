"""Values of the chart that differ from its own, by what they switch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import yaml

from .rendering import CHART, Manifest

VALUES: Final[Manifest] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
"""Its own."""

SECRET: Final = {"name": "model", "key": "token"}
_PEER: Final = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "web"}}}
_STRICTER: Final = {"runAsUser": 4711, "seLinuxOptions": {"level": "s0:c123,c456"}}

SWITCHES: Final[dict[str, Manifest]] = {
    "sidecar": {"mode": "sidecar"},
    "names": {"nameOverride": "proxy"},
    "full name": {"fullnameOverride": "llm"},
    "image": {
        "image": {"repository": "r.example/sidecar", "tag": "1.2", "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "registry"}],
    },
    "image by digest": {"image": {"digest": "sha256:" + "0" * 64}},
    "secret": {"upstream": {"baseUrl": "https://models.example/v1", "apiKeySecret": SECRET}},
    "environment": {
        "extraEnv": [{"name": "KEY", "valueFrom": {"secretKeyRef": SECRET}}],
        "extraEnvFrom": [{"secretRef": {"name": "keys"}}],
        "extraVolumes": [{"name": "ca", "secret": {"secretName": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca", "readOnly": True}],
    },
    "addresses": {
        "listen": {"address": "[::]", "port": 8000},
        "admin": {"address": "[::]", "port": 9000},
    },
    "pod": {
        "replicas": 3,
        "podLabels": {"team": "a"},
        "podAnnotations": {"note": "b"},
        "serviceAccountName": "c",
        "priorityClassName": "d",
        "nodeSelector": {"pool": "e"},
        "tolerations": [{"key": "f", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "terminationGracePeriodSeconds": 60,
    },
    "resources": {
        "resources": {
            "requests": {"cpu": "1", "memory": "256Mi", "ephemeral-storage": "1Mi"},
            "limits": {"memory": "1Gi"},
        }
    },
    "security": {"podSecurityContext": _STRICTER, "securityContext": _STRICTER},
    "probes": {
        "probes": {
            "startup": {"initialDelaySeconds": 1, "failureThreshold": 120},
            "readiness": {"periodSeconds": 5, "successThreshold": 2},
            "liveness": {"timeoutSeconds": 10},
        }
    },
    "no spread": {"topologySpread": {"enabled": False}},
    "hard spread": {
        "topologySpread": {
            "keys": ["kubernetes.io/hostname"],
            "whenUnsatisfiable": "DoNotSchedule",
        }
    },
    "no budget": {"podDisruptionBudget": {"enabled": False}},
    "budget in per cent": {"podDisruptionBudget": {"maxUnavailable": "20%"}},
    "service": {
        "service": {
            "type": "LoadBalancer",
            "port": 8000,
            "annotations": {"a": "b"},
            "labels": {"c": "d"},
        }
    },
    "ingress": {
        "ingress": {
            "enabled": True,
            "className": "nginx",
            "annotations": {"nginx.ingress.kubernetes.io/proxy-buffering": "off"},
            "hosts": ["llm.example.com", "*.example.org"],
            "tls": [{"secretName": "llm", "hosts": ["llm.example.com"]}],
        }
    },
    "ingress without a host": {"ingress": {"enabled": True}},
    "route": {
        "httpRoute": {
            "enabled": True,
            "annotations": {"a": "b"},
            "parentRefs": [{"name": "g"}],
            "hostnames": ["l.e"],
        }
    },
    "scaled by CPU": {
        "autoscaling": {
            "enabled": True,
            "minReplicas": 3,
            "maxReplicas": 30,
            "scaleDownStabilizationSeconds": 600,
        }
    },
    "scaled by streams": {"autoscaling": {"enabled": True, "cpu": None, "streamsInFlight": 500}},
    "scaled by both": {"autoscaling": {"enabled": True, "cpu": 50, "streamsInFlight": 500}},
    "network": {"networkPolicy": {"enabled": True}},
    "closed network": {
        "networkPolicy": {
            "enabled": True,
            "clients": [_PEER],
            "scrapers": [_PEER],
            "egress": [{"to": [_PEER], "ports": [{"port": 8000}]}],
        }
    },
    "service monitor": {
        "serviceMonitor": {"enabled": True, "labels": {"release": "p"}, "interval": "1m"}
    },
    "pod monitor": {
        "podMonitor": {
            "enabled": True,
            "labels": {"release": "p"},
            "interval": "1m",
            "selector": {"app": "a"},
        }
    },
    "pod monitor of a sidecar": {"mode": "sidecar", "podMonitor": {"enabled": True}},
    "rules": {"prometheusRule": {"enabled": True, "labels": {"release": "p"}}},
    "objective": {"prometheusRule": {"enabled": True, "objective": {"seconds": 10, "share": 0.99}}},
    "dashboard": {
        "dashboard": {
            "enabled": True,
            "labels": {"team": "a"},
            "annotations": {"folder": "LLM"},
        }
    },
    "test": {"test": {"model": "m", "apiKeySecret": SECRET}},
    "formats": {"config": "formats: formats\n", "formats": {"mine": "id: mine\n"}},
}
"""Each value is changed by one of them at least, and has an effect there."""

ADDS: Final = {
    "ingress": "Ingress",
    "route": "HTTPRoute",
    "scaled by CPU": "HorizontalPodAutoscaler",
    "network": "NetworkPolicy",
    "service monitor": "ServiceMonitor",
    "pod monitor": "PodMonitor",
    "rules": "PrometheusRule",
}
"""The kind that is rendered only with the switch."""

_WHOLE: Final = {"podSecurityContext", "securityContext"}
"""Sections of which the chart knows no keys."""


def paths(values: Manifest) -> Iterator[tuple[str, ...]]:
    """The values that ``values`` gives, as the chart's README lists them."""
    for key, value in values.items():
        if isinstance(VALUES[key], dict) and VALUES[key] and key not in _WHOLE:
            yield from ((key, inner) for inner in value)
        else:
            yield (key,)
