"""The pins of a Raspberry Pi's header: through gpiozero, on lgpio or on the kernel's interface (libgpiod).

`library` chooses what drives them on this system, `pulses` what makes a servo's pulses.
"""

LAST_PIN = 27
"""The last pin of the 40-pin header, numbered as gpiozero does (BCM)."""

__all__ = ["LAST_PIN"]
