// A smart bin for ecovision-edge: one servo that turns a chute, or one flap servo a bin.
//
// Computer: ecovision-edge ... serial:///dev/ttyACM0?baud=115200
// Board: any with Servo.h; one with EEPROM.h also keeps its promise over a loss of power (see ecovision_line.h).
// Before anything was said, in a fault, and 5 s after the computer fell silent, each servo is at its rest angle:
// let that be the position in which an item falls into the fail-safe bin.
#include <Servo.h>

#include "ecovision_line.h"

#if defined(__AVR__) || defined(ECOVISION_EEPROM)
#include <EEPROM.h>
#define ECOVISION_EEPROM 1
#endif

// ---- What to change -------------------------------------------------------------------------------------------

struct Place {
  const char *bin;  // as on the line: percent-encoded, so "metal%20cans" for a bin called "metal cans"
  uint8_t servo;    // index into SERVOS
  uint8_t angle;    // degrees, 0 to 180
};

struct Motor {
  uint8_t pin;
  uint8_t rest;  // degrees
};

// One turning chute. With a flap for each bin, give each one a servo of its own here.
static const Motor SERVOS[] = {{9, 90}};
static const Place PLACES[] = {{"paper", 0, 20}, {"glass", 0, 55}, {"plastic", 0, 125}, {"residual", 0, 90}};

static const unsigned long BAUD = 115200;
static const unsigned long TRAVEL_MS = 600;  // for the longest turn
static const unsigned long HOLD_MS = 2000;   // at the bin, from its arrival

// ---------------------------------------------------------------------------------------------------------------

static const uint8_t SERVO_COUNT = sizeof(SERVOS) / sizeof(SERVOS[0]);
static const uint8_t PLACE_COUNT = sizeof(PLACES) / sizeof(PLACES[0]);

class ServoBin : public ecovision::Bin {
 public:
  void begin() {
    for (uint8_t i = 0; i < SERVO_COUNT; i++) {
      servos_[i].write(SERVOS[i].rest);  // before attach: it moves there and nowhere else
      servos_[i].attach(SERVOS[i].pin);
    }
  }

  bool knows(const char *name) const { return find(name) < PLACE_COUNT; }
  bool busy() const { return phase_ != IDLE; }

  void act(const char *name, const char *, uint16_t) {
    const Place &place = PLACES[find(name)];
    servos_[place.servo].write(place.angle);
    enter(AWAY);
  }

  void rest() {
    for (uint8_t i = 0; i < SERVO_COUNT; i++) servos_[i].write(SERVOS[i].rest);
    enter(BACK);
  }

  void tick() {
    const unsigned long since = millis() - began_;
    if (phase_ == AWAY && since >= TRAVEL_MS + HOLD_MS) rest();
    else if (phase_ == BACK && since >= TRAVEL_MS) phase_ = IDLE;
  }

 private:
  enum Phase { IDLE, AWAY, BACK };
  Servo servos_[SERVO_COUNT];
  Phase phase_ = IDLE;
  unsigned long began_ = 0;

  void enter(Phase phase) {
    phase_ = phase;
    began_ = millis();
  }

  static uint8_t find(const char *name) {
    uint8_t i = 0;
    while (i < PLACE_COUNT && strcmp(PLACES[i].bin, name)) i++;
    return i;
  }
};

class BoardStore : public ecovision::Store {
 public:
#ifdef ECOVISION_EEPROM
  uint16_t size() const { return EEPROM.length(); }
  uint8_t read(uint16_t at) const { return EEPROM.read(at); }
  void write(uint16_t at, uint8_t value) { EEPROM.update(at, value); }
#else
  uint16_t size() const { return 0; }
  uint8_t read(uint16_t) const { return 0; }
  void write(uint16_t, uint8_t) {}
#endif
};

class SerialOutput : public ecovision::Output {
 public:
  void write(const char *text, uint8_t size) { Serial.write(reinterpret_cast<const uint8_t *>(text), size); }
};

static ServoBin bin;
static BoardStore store;
static SerialOutput output;
static ecovision::Receiver receiver(bin, store, output);

void setup() {
  bin.begin();
  Serial.begin(BAUD);
  receiver.begin();
}

void loop() {
  while (Serial.available() > 0) receiver.feed(static_cast<char>(Serial.read()), millis());
  receiver.tick(millis());
  bin.tick();
}
