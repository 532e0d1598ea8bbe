// Reads the MJPEG stream part by part. An <img> would do that too, but it never tells how old its picture is, nor
// that none comes any more.

const RETRY_MS = 1500;

export class Stream {
  // onPicture(bitmap, ageMs) for each picture of the present; onProblem(text) when there is no stream.
  constructor(onPicture, onProblem) {
    this.onPicture = onPicture;
    this.onProblem = onProblem;
    this.abort = null;
    this.decoding = false;
    this.next = null;
  }

  start() {
    if (!this.abort) {
      this.abort = new AbortController();
      this.run(this.abort.signal);
    }
  }

  stop() {
    this.abort?.abort();
    this.abort = this.next = null;
  }

  restart() {
    this.stop();
    this.start();
  }

  async run(signal) {
    while (!signal.aborted) {
      try {
        const response = await fetch("/stream.mjpg", { signal, cache: "no-store" });
        if (response.status === 401) {
          location.reload(); // the token was changed: the page that asks for it comes
          return;
        }
        if (response.ok) await this.read(response.body.getReader(), signal);
        else this.onProblem((await response.text()).trim());
      } catch {
        // Gone, or stopped; the event stream says which.
      }
      if (!signal.aborted) await new Promise((done) => setTimeout(done, RETRY_MS));
    }
  }

  async read(reader, signal) {
    let buffer = new Uint8Array(0);
    for (;;) {
      const { done, value } = await reader.read();
      if (done || signal.aborted) return;
      const grown = new Uint8Array(buffer.length + value.length);
      grown.set(buffer);
      grown.set(value, buffer.length);
      buffer = this.parts(grown, signal);
    }
  }

  // Takes the whole parts out of the buffer and returns what is left.
  parts(buffer, signal) {
    for (;;) {
      const end = endOfHead(buffer);
      if (end < 0) return buffer;
      const head = headers(buffer.subarray(0, end));
      const after = end + Number(head["content-length"]);
      if (buffer.length < after) return buffer;
      if (head["x-live"] === "1") {
        this.show(new Blob([buffer.subarray(end, after)], { type: "image/jpeg" }), Number(head["x-age-ms"]), signal);
      }
      buffer = buffer.slice(after);
    }
  }

  // Decodes one at a time; what comes meanwhile waits, and only the newest of it.
  async show(blob, ageMs, signal) {
    const came = performance.now();
    if (this.decoding) {
      this.next = [blob, ageMs, signal];
      return;
    }
    this.decoding = true;
    try {
      const bitmap = await createImageBitmap(blob);
      if (!signal.aborted) this.onPicture(bitmap, ageMs + performance.now() - came);
      bitmap.close();
    } catch {
      // Not a picture; the next one may be.
    }
    this.decoding = false;
    if (this.next) {
      const next = this.next;
      this.next = null;
      this.show(...next);
    }
  }
}

function endOfHead(buffer) {
  const limit = Math.min(buffer.length, 2048);
  for (let i = 0; i + 3 < limit; i++) {
    if (buffer[i] === 13 && buffer[i + 1] === 10 && buffer[i + 2] === 13 && buffer[i + 3] === 10) return i + 4;
  }
  return -1;
}

function headers(bytes) {
  const found = {};
  for (const line of new TextDecoder().decode(bytes).split("\r\n")) {
    const colon = line.indexOf(":");
    if (colon > 0) found[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
  }
  return found;
}
