"""Home Assistant's documentation of MQTT discovery, as JSON Schema.

Sources: the pages "MQTT" (Discovery messages; Single component discovery payload; Discovery payload), "MQTT
Sensor", "MQTT binary sensor" and "MQTT Update" of www.home-assistant.io/integrations, in their state of 2025,
which have the key `platform` and device-based discovery; the rules between keys also from
`validate_sensor_...` in homeassistant/components/mqtt/sensor.py and from schemas.py beside it. Home Assistant
passes over unknown keys, so a misspelt one would do nothing: here they are errors.

A message sets up one component, as its topic says; `platform` belongs into messages of a whole device alone.
"""

from __future__ import annotations

STRING = {"type": "string"}
BOOLEAN = {"type": "boolean"}
COUNT = {"type": "integer", "minimum": 0}
SUBSCRIBED = {"type": "string", "minLength": 1, "maxLength": 65535}
ICON = {"type": "string", "pattern": "^[a-z0-9-]+:[a-z0-9-]+$"}
URL = {"type": "string", "pattern": "^(https?|homeassistant)://"}
NULLABLE = {"type": ["string", "null"]}


def _map(properties, *required, **more):
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
        **more,
    }


# One of the two identifies the device; the entity's name is put after the device's, so it wants one.
DEVICE = _map(
    {
        "configuration_url": URL,
        "connections": {
            "type": "array",
            "items": {"type": "array", "items": STRING, "minItems": 2, "maxItems": 2},
        },
        "identifiers": {"anyOf": [STRING, {"type": "array", "items": STRING, "minItems": 1}]},
        **dict.fromkeys(("hw_version", "manufacturer", "model", "model_id", "name", "serial_number"), STRING),
        **dict.fromkeys(("suggested_area", "sw_version", "via_device"), STRING),
    },
    "name",
    anyOf=[{"required": ["identifiers"]}, {"required": ["connections"]}],
)
ORIGIN = _map({"name": STRING, "sw_version": STRING, "support_url": URL}, "name")
AVAILABILITY = _map(
    {
        "topic": SUBSCRIBED,
        "payload_available": STRING,
        "payload_not_available": STRING,
        "value_template": STRING,
    },
    "topic",
)

# Of both kinds of entity.
COMMON = {
    "availability": {"type": "array", "items": AVAILABILITY, "minItems": 1},
    "availability_mode": {"enum": ["all", "any", "latest"]},
    "availability_template": STRING,
    "availability_topic": SUBSCRIBED,
    "device": DEVICE,
    "enabled_by_default": BOOLEAN,
    "encoding": STRING,
    "entity_category": {"const": "diagnostic"},  # the one that sensors may have
    "entity_picture": STRING,
    "expire_after": COUNT,
    "force_update": BOOLEAN,
    "icon": ICON,
    "json_attributes_template": STRING,
    "json_attributes_topic": SUBSCRIBED,
    "name": NULLABLE,
    "object_id": STRING,
    "origin": ORIGIN,
    "payload_available": STRING,
    "payload_not_available": STRING,
    "qos": {"enum": [0, 1, 2]},
    "state_topic": SUBSCRIBED,
    "unique_id": STRING,
    "value_template": STRING,
}
RULES = [
    # One way or the other.
    {"not": {"required": ["availability", "availability_topic"]}},
    # Without an id of its own an entity comes to no device.
    {"dependentRequired": {"device": ["unique_id"]}},
]

SENSOR = _map(
    {
        **COMMON,
        # Of the documented classes the only one whose states are names; any other wants a number or a date.
        "device_class": {"enum": ["enum", None]},
        "last_reset_value_template": STRING,
        "options": {"type": "array", "items": STRING, "minItems": 1, "uniqueItems": True},
        "state_class": {"enum": ["measurement", "measurement_angle", "total", "total_increasing", None]},
        "suggested_display_precision": COUNT,
        "unit_of_measurement": NULLABLE,
    },
    "state_topic",
    allOf=[
        *RULES,
        # Options are an enum's alone, and an enum has no statistics and no unit.
        {
            "if": {"required": ["options"]},
            "then": {
                "required": ["device_class"],
                "properties": {"device_class": {"const": "enum"}},
                "not": {"anyOf": [{"required": ["state_class"]}, {"required": ["unit_of_measurement"]}]},
            },
        },
        {
            "if": {"required": ["last_reset_value_template"]},
            "then": {"required": ["state_class"], "properties": {"state_class": {"const": "total"}}},
        },
    ],
)
BINARY_CLASSES = [
    *("battery", "battery_charging", "carbon_monoxide", "cold", "connectivity", "door", "garage_door"),
    *("gas", "heat", "light", "lock", "moisture", "motion", "moving"),
    *("occupancy", "opening", "plug", "power", "presence", "problem", "running"),
    *("safety", "smoke", "sound", "tamper", "update", "vibration", "window"),
]
BINARY_SENSOR = _map(
    {
        **COMMON,
        "device_class": {"enum": [*BINARY_CLASSES, None]},
        "off_delay": COUNT,
        "payload_off": STRING,
        "payload_on": STRING,
    },
    "state_topic",
    allOf=RULES,
)

UPDATE = _map(
    {
        **{key: kind for key, kind in COMMON.items() if key not in ("expire_after", "force_update")},
        "command_topic": SUBSCRIBED,
        "device_class": {"enum": ["firmware", None]},
        "display_precision": COUNT,
        "entity_category": {"enum": ["config", "diagnostic"]},
        "latest_version_template": STRING,
        "latest_version_topic": SUBSCRIBED,
        "payload_install": STRING,
        "release_summary": STRING,
        "release_url": URL,
        "retain": BOOLEAN,
        "title": STRING,
    },
    allOf=RULES,
)
UPDATE_STATE = _map(
    {
        **dict.fromkeys(("installed_version", "latest_version", "title"), STRING),
        "release_summary": {"type": "string", "maxLength": 255},
        **dict.fromkeys(("release_url", "entity_picture"), URL),
        "in_progress": BOOLEAN,
        "update_percentage": {"type": ["number", "null"], "minimum": 0, "maximum": 100},
    }
)
"""JSON of an update entity's state topic: of a key more, or null for a text, the whole message is dropped."""

SCHEMAS = {"sensor": SENSOR, "binary_sensor": BINARY_SENSOR, "update": UPDATE}
TOPIC = r"[^+#]+/(sensor|binary_sensor|update)/(?:([a-zA-Z0-9_-]+)/)?([a-zA-Z0-9_-]+)/config"
"""`<discovery_prefix>/<component>/[<node_id>/]<object_id>/config`."""

LONGEST_STATE = 255
UNKNOWN = "None"
"""What a template gives for null: the state is then unknown."""
