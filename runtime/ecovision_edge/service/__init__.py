"""`ecovision-edge run` as a systemd service: its unit, its environment, and what it tells systemd."""

from ecovision_edge.service.credentials import refuse_credentials
from ecovision_edge.service.environment import (
    environment_file,
    environment_path,
    parse_environment,
    service_environment,
)
from ecovision_edge.service.needs import ServiceNeeds, service_needs
from ecovision_edge.service.notify import sd_notify, watchdog_interval
from ecovision_edge.service.unit import (
    STATE_FOLDER,
    UNIT_NAME,
    ServiceOptions,
    foreign_folders,
    quote_argument,
    service_unit,
)

__all__ = [
    "STATE_FOLDER",
    "UNIT_NAME",
    "ServiceNeeds",
    "ServiceOptions",
    "environment_file",
    "environment_path",
    "foreign_folders",
    "parse_environment",
    "quote_argument",
    "refuse_credentials",
    "sd_notify",
    "service_environment",
    "service_needs",
    "service_unit",
    "watchdog_interval",
]
