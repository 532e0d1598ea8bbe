// The last results as a strip of blocks: colour is the class, height the score, and in words how often each was seen.

import { colourOf, element, percent } from "./bars.js";

const NONE = -1; // no class

export class History {
  constructor(strip, counts, from, to) {
    this.strip = strip;
    this.counts = counts;
    this.from = from;
    this.to = to;
    this.most = 60;
    this.clear();
  }

  clear() {
    this.past = [];
    this.strip.replaceChildren();
    this.summary(false);
  }

  add(results, labels) {
    for (const [, said, score, time, tray] of results) {
      const label = said ?? tray; // nothing was classified: why
      const index = said === null ? NONE : labels.indexOf(said);
      this.past.push({ label, index, time });
      const block = element("span", `block ${colourOf(index)}`);
      block.title = `${new Date(time * 1000).toLocaleTimeString()} ${label}${said === null ? "" : ` ${percent(score)}`}`;
      block.append(element("i", ""));
      block.firstChild.style.height = `${Math.max(8, (score ?? 0) * 100)}%`;
      this.strip.append(block);
    }
    while (this.past.length > this.most) {
      this.past.shift();
      this.strip.firstChild.remove();
    }
  }

  // In words; now and then, for it changes with each result.
  summary(live) {
    const seen = new Map();
    for (const { label, index } of this.past) {
      const key = `${index} ${label}`; // a class may be called as an empty tray is
      const entry = seen.get(key) ?? { label, index, count: 0 };
      entry.count++;
      seen.set(key, entry);
    }
    const sorted = [...seen.values()].sort((a, b) => b.count - a.count || a.index - b.index);
    this.counts.replaceChildren(
      ...sorted.map(({ label, index, count }) => {
        const part = element("span", colourOf(index));
        part.append(element("i", ""), `${label} ${count}`);
        return part;
      }),
    );
    const words = sorted.map(({ label, count }) => `${label} ${count}`).join(", ");
    this.strip.setAttribute("aria-label", words ? `Last ${this.past.length} results: ${words}` : "No results yet");
    const clock = (past) => (past ? new Date(past.time * 1000).toLocaleTimeString() : "");
    this.from.textContent = clock(this.past[0]);
    this.to.textContent = live ? "now" : clock(this.past.at(-1));
  }
}
