// The receiver's side of ecovision-edge's line protocol, in plain C++11: no Arduino, no heap, no clock.
//
// The protocol is described in ecovision_edge/sinks/_line.py; tests hold the two to each other. What a board has
// to add: a Bin, which moves, and a Store of some bytes that outlive a loss of power.
//
// The guarantee: an event's number is recorded before it is acted on, and a recorded number is acknowledged
// without acting. So however often a line is repeated, and whichever side starts anew, the action of an event is
// begun once. One that a loss of power interrupts is not begun again. Without a Store (size 0) a board forgets
// at each start: then the one event whose acknowledgement was under way may be acted on twice.
#ifndef ECOVISION_LINE_H
#define ECOVISION_LINE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

namespace ecovision {

static const uint8_t LINE_VERSION = 1;
static const uint8_t MAX_LINE = 127;    // bytes, newline included
static const uint8_t MAX_WORDS = 4;
static const uint32_t SILENCE_MS = 5000;  // without a line for so long, the bin goes to its fail-safe position

// CRC-16/CCITT-FALSE: polynomial 0x1021, initial value 0xFFFF, not reflected; 0x29B1 of "123456789".
inline uint16_t crc16(const uint8_t *data, size_t size) {
  uint16_t crc = 0xFFFF;
  while (size--) {
    crc ^= static_cast<uint16_t>(*data++) << 8;
    for (uint8_t i = 0; i < 8; i++) crc = (crc & 0x8000) ? static_cast<uint16_t>((crc << 1) ^ 0x1021) : crc << 1;
  }
  return crc;
}

// `digits` upper-case hexadecimal digits; false if they are none.
inline bool read_hex(const char *text, uint8_t digits, uint32_t &value) {
  value = 0;
  while (digits--) {
    const char c = *text++;
    uint8_t digit;
    if (c >= '0' && c <= '9') digit = c - '0';
    else if (c >= 'A' && c <= 'F') digit = c - 'A' + 10;
    else return false;
    value = value << 4 | digit;
  }
  return true;
}

inline char *write_hex(char *to, uint32_t value, uint8_t digits) {
  for (uint8_t i = digits; i--; value >>= 4) to[i] = "0123456789ABCDEF"[value & 15];
  return to + digits;
}

// Finds the lines that begin with '>' in a stream of bytes; all else is passed over.
class LineReader {
 public:
  uint16_t number;
  const char *kind;
  const char *words[MAX_WORDS];
  uint8_t count;

  LineReader() : number(0), kind(""), count(0), held_(0) {}

  // True if this byte ends a line: the fields hold it until the next byte.
  bool feed(char c) {
    if (c == '>') held_ = 0;
    else if (!held_) return false;
    text_[held_++] = c;
    if (c == '\n') {
      const uint8_t size = held_;
      held_ = 0;
      return parse(size);
    }
    if (held_ >= MAX_LINE) held_ = 0;
    return false;
  }

 private:
  char text_[MAX_LINE];
  uint8_t held_;

  bool parse(uint8_t size) {
    uint32_t value;
    size--;  // the newline
    if (size && text_[size - 1] == '\r') size--;
    if (size < 12 || text_[size - 5] != '*' || !read_hex(text_ + size - 4, 4, value)) return false;
    size -= 5;
    if (value != crc16(reinterpret_cast<const uint8_t *>(text_), size)) return false;
    if (!read_hex(text_ + 1, 4, value) || text_[5] != ':') return false;
    number = static_cast<uint16_t>(value);
    text_[size] = 0;
    return split(text_ + 6, text_ + size);
  }

  bool split(char *at, const char *end) {  // a NUL that came in the line is not its end
    kind = at;
    count = 0;
    while (*at >= 'A' && *at <= 'Z') at++;
    if (at == kind || at - kind > 7) return false;
    while (*at == ' ') {
      *at++ = 0;
      if (count == MAX_WORDS) return false;
      words[count++] = at;
      const char *start = at;
      while (*at > ' ' && *at < 127 && *at != '>' && *at != '<' && *at != ':' && *at != '*') at++;
      if (at == start) return false;
    }
    return at == end;
  }
};

// What outlives a loss of power.
struct Record {
  uint32_t session;
  uint16_t last;
  bool known;     // whether there is a session
  bool has_last;  // whether there is a last event in it
};

// Bytes that outlive a loss of power; size 0 if a board has none.
class Store {
 public:
  virtual uint16_t size() const = 0;
  virtual uint8_t read(uint16_t at) const = 0;
  virtual void write(uint16_t at, uint8_t value) = 0;
};

// Keeps the newest record in a ring: each slot is written once a round (an EEPROM's cell lasts some 100,000
// writes), and a write that a loss of power cuts leaves the record before it.
class Journal {
 public:
  explicit Journal(Store &store) : store_(store), slots_(0), slot_(0), count_(0) {}

  Record load() {
    slots_ = store_.size() / SLOT;
    Record newest = {0, 0, false, false};
    count_ = 0;
    for (uint16_t i = 0; i < slots_; i++) {
      uint8_t b[SLOT];
      for (uint8_t j = 0; j < SLOT; j++) b[j] = store_.read(i * SLOT + j);
      const uint32_t count = get(b, 4);
      if (get(b + 11, 2) != crc16(b, 11) || count <= count_) continue;
      count_ = count;
      slot_ = i;
      newest.session = get(b + 4, 4);
      newest.last = static_cast<uint16_t>(get(b + 8, 2));
      newest.known = true;
      newest.has_last = b[10] == 1;
    }
    return newest;
  }

  void save(const Record &record) {
    if (!slots_) return;
    slot_ = count_ ? (slot_ + 1) % slots_ : 0;
    uint8_t b[SLOT];
    put(b, ++count_, 4);
    put(b + 4, record.session, 4);
    put(b + 8, record.last, 2);
    b[10] = record.has_last;
    put(b + 11, crc16(b, 11), 2);
    for (uint8_t j = 0; j < SLOT; j++) store_.write(slot_ * SLOT + j, b[j]);
  }

 private:
  static const uint8_t SLOT = 13;  // count 4, session 4, last 2, has_last 1, CRC 2
  Store &store_;
  uint16_t slots_, slot_;
  uint32_t count_;

  static uint32_t get(const uint8_t *from, uint8_t bytes) {
    uint32_t value = 0;
    while (bytes--) value = value << 8 | from[bytes];
    return value;
  }
  static void put(uint8_t *to, uint32_t value, uint8_t bytes) {
    for (; bytes--; value >>= 8) *to++ = static_cast<uint8_t>(value);
  }
};

// What moves. None of these may wait.
class Bin {
 public:
  virtual bool knows(const char *name) const = 0;  // percent-encoded, as on the line
  virtual bool busy() const = 0;                   // still moving or holding
  virtual void act(const char *name, const char *label, uint16_t permille) = 0;
  virtual void rest() = 0;  // to the fail-safe position, now
};

// Where answers go.
class Output {
 public:
  virtual void write(const char *text, uint8_t size) = 0;
};

class Receiver {
 public:
  Receiver(Bin &bin, Store &store, Output &output)
      : bin_(bin), journal_(store), output_(output), record_(), heard_(0), greeted_(false), fault_(false),
        silent_(true) {}

  // At the board's start.
  void begin() {
    record_ = journal_.load();
    bin_.rest();
  }

  // For each byte that comes; `now` in milliseconds.
  void feed(char c, uint32_t now) {
    if (!reader_.feed(c)) return;
    heard_ = now;
    silent_ = false;
    if (!strcmp(reader_.kind, "HELLO")) hello();
    else if (!strcmp(reader_.kind, "EVENT")) event();
    else if (!strcmp(reader_.kind, "STATE")) state();
  }

  // Often; `now` in milliseconds. The difference is right when the clock wraps, too.
  void tick(uint32_t now) {
    if (silent_ || now - heard_ < SILENCE_MS) return;
    silent_ = true;
    bin_.rest();
  }

 private:
  Bin &bin_;
  Journal journal_;
  Output &output_;
  LineReader reader_;
  Record record_;
  uint32_t heard_;
  bool greeted_, fault_, silent_;

  void hello() {
    uint32_t session, last = 0;
    const char *const *w = reader_.words;
    if (reader_.count < 1 || strcmp(w[0], "1")) return answer("NAK", "version");
    const bool none = reader_.count == 3 && !strcmp(w[2], "-");
    if (reader_.count != 3 || strlen(w[1]) != 8 || !read_hex(w[1], 8, session) ||
        !(none || (strlen(w[2]) == 4 && read_hex(w[2], 4, last))))
      return answer("NAK", "form");
    if (!record_.known || record_.session != session) {  // a new sender; or it knows more than a new board
      record_.session = session;
      record_.last = static_cast<uint16_t>(last);
      record_.known = true;
      record_.has_last = !none;
      journal_.save(record_);
    }
    greeted_ = true;
    char text[7] = "1 -";
    if (record_.has_last) *write_hex(text + 2, record_.last, 4) = 0;
    answer("ACK", text);
  }

  void event() {
    const char *const *w = reader_.words;
    uint16_t permille = 0;
    bool good = reader_.count == 3 && strlen(w[2]) <= 4;
    for (const char *c = good ? w[2] : ""; *c; c++) {
      good = good && *c >= '0' && *c <= '9';
      permille = permille * 10 + (*c - '0');
    }
    if (!good || permille > 1000) return answer("NAK", "form");
    if (!greeted_) return answer("NAK", "hello");
    if (record_.has_last && record_.last == reader_.number) return answer("ACK", 0);  // done already
    if (!bin_.knows(w[0])) return answer("NAK", "bin");
    if (fault_) return answer("NAK", "fault");
    if (bin_.busy()) return answer("NAK", "busy");
    record_.last = reader_.number;
    record_.has_last = true;
    journal_.save(record_);  // before acting: once begun, an action is never begun again
    bin_.act(w[0], w[1], permille);
    answer("ACK", 0);
  }

  void state() {
    if (reader_.count != 1) return answer("NAK", "form");
    if (!greeted_) return answer("NAK", "hello");
    const bool fault = !strcmp(reader_.words[0], "fault");
    if (fault && !fault_) bin_.rest();
    fault_ = fault;
    answer("ACK", 0);
  }

  void answer(const char *what, const char *more) {
    char text[48];  // the longest is <0000:NAK HELLO version*0000
    text[0] = '<';
    char *at = write_hex(text + 1, reader_.number, 4);
    *at++ = ':';
    const char *parts[] = {what, reader_.kind, more};
    for (uint8_t i = 0; i < 3 && parts[i]; i++) {
      if (i) *at++ = ' ';
      for (const char *c = parts[i]; *c;) *at++ = *c++;
    }
    const uint16_t crc = crc16(reinterpret_cast<uint8_t *>(text), at - text);
    *at++ = '*';
    at = write_hex(at, crc, 4);
    *at++ = '\n';
    output_.write(text, static_cast<uint8_t>(at - text));
  }
};

}  // namespace ecovision

#endif
