"""What tells Home Assistant of a bin: retained MQTT discovery messages, one an entity.

Topics and keys: Home Assistant's documentation of "MQTT", "MQTT Sensor", "MQTT Binary Sensor" and "MQTT
Update". One message an entity, not one a device: versions before 2024.12 know no other.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.version import __version__
from ecovision_edge.events import BinState
from ecovision_edge.sinks.update_report import INSTALL

__all__ = ["MOST_OPTIONS", "discovery_messages", "update_messages"]

MOST_OPTIONS = 100
"""Names that an entity lists as its possible states; one with more is plain text."""

# "None" is Home Assistant's word for: not known.
_STATE = "{{ value_json.state }}"
_PROBLEM = (
    "{% if value_json.state is none %}None{% elif value_json.state == 'fault' %}ON{% else %}OFF{% endif %}"
)


def discovery_messages(
    *,
    device: str,
    prefix: str,
    labels: Sequence[str],
    bins: Sequence[str],
    expire_after: int,
    discovery_prefix: str = "homeassistant",
) -> dict[str, bytes]:
    """Topics and their JSON, to be published retained, for: label, bin, probability, state, problem, model.

    Args:
        device: What the device calls itself.
        prefix: Of the sink's topics.
        labels: Classes that events may name.
        bins: Bins that events may name.
        expire_after: Seconds after which a state that nobody repeats counts as unavailable; at least 1.
        discovery_prefix: Where Home Assistant listens.
    """
    last: dict[str, JsonValue] = {"state_topic": f"{prefix}/last"}
    state: dict[str, JsonValue] = {
        "state_topic": f"{prefix}/state",
        "json_attributes_topic": f"{prefix}/state",
        "expire_after": expire_after,
    }
    entities: dict[tuple[str, str], dict[str, JsonValue]] = {
        ("sensor", "label"): {
            **last,
            **_choice(labels),
            "name": "Last label",
            "value_template": "{{ value_json.label }}",
            "json_attributes_topic": f"{prefix}/last",
            "icon": "mdi:label-outline",
        },
        ("sensor", "bin"): {
            **last,
            **_choice(bins),
            "name": "Last bin",
            "value_template": "{{ value_json.bin }}",
            "icon": "mdi:delete-outline",
        },
        ("sensor", "probability"): {
            **last,
            "name": "Probability",
            "value_template": "{{ (value_json.probability * 100) | round(1) }}",
            "unit_of_measurement": "%",
            "state_class": "measurement",
            "suggested_display_precision": 0,
            "icon": "mdi:percent-outline",
        },
        ("sensor", "state"): {
            **state,
            **_choice([s.value for s in BinState]),
            "name": "State",
            "value_template": _STATE,
            "icon": "mdi:delete-variant",
        },
        ("binary_sensor", "problem"): {
            **state,
            "name": "Problem",
            "value_template": _PROBLEM,
            "device_class": "problem",
            "entity_category": "diagnostic",
        },
        ("sensor", "model"): {
            "state_topic": f"{prefix}/state",
            "name": "Model version",
            "value_template": "{{ value_json.bundle_version | default(none) }}",
            "icon": "mdi:tag-outline",
            "entity_category": "diagnostic",
        },
    }
    return _messages(device, prefix, discovery_prefix, entities)


def update_messages(*, device: str, prefix: str, discovery_prefix: str = "homeassistant") -> dict[str, bytes]:
    """Topic and JSON, to be published retained, of an entity that shows updates and has one installed.

    Its state topic carries JSON of which Home Assistant takes documented keys alone (`UpdateReport.payload`):
    no template could pick them.

    Args:
        device: As of `discovery_messages`.
        prefix: Likewise.
        discovery_prefix: Likewise.
    """
    entity: dict[str, JsonValue] = {
        "name": "Model",
        "state_topic": f"{prefix}/update",
        "command_topic": f"{prefix}/update/install",
        "payload_install": INSTALL.decode(),
        "entity_category": "config",
    }
    return _messages(device, prefix, discovery_prefix, {("update", "update"): entity})


def _messages(
    device: str,
    prefix: str,
    discovery_prefix: str,
    entities: Mapping[tuple[str, str], Mapping[str, JsonValue]],
) -> dict[str, bytes]:
    """Return topics and JSON of entities, by component and name."""
    node = _node(device, prefix)
    shared: dict[str, JsonValue] = {
        "availability_topic": f"{prefix}/availability",
        "payload_available": "online",
        "payload_not_available": "offline",
        "qos": 1,
        "device": {
            "identifiers": [node],
            "name": device or prefix,
            "manufacturer": "ecovision-edge",
            "model": "smart bin",
            "sw_version": __version__,
        },
        "origin": {"name": "ecovision-edge", "sw_version": __version__},
    }
    return {
        f"{discovery_prefix}/{component}/{node}/{name}/config": json.dumps(
            {**shared, **entity, "unique_id": f"{node}_{name}"}, ensure_ascii=False, separators=(",", ":")
        ).encode()
        for (component, name), entity in entities.items()
    }


def _choice(names: Sequence[str]) -> dict[str, JsonValue]:
    """Keys of an entity whose states are known beforehand; Home Assistant passes over any other state."""
    unique: list[JsonValue] = list(dict.fromkeys(names))
    return {"device_class": "enum", "options": unique} if 0 < len(unique) <= MOST_OPTIONS else {}


def _node(device: str, prefix: str) -> str:
    """Return an id of letters, digits, `_` and `-`, the same after each start, and no other bin's."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "_", device).strip("_")[:40]
    digest = hashlib.sha256(f"{device} {prefix}".encode()).hexdigest()
    return f"ecovision_{readable or 'bin'}_{digest[:8]}"
