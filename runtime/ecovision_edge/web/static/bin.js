// The bin: what it is doing and why, its last events, and whether each sink delivers them.

import { element, percent } from "./bars.js";

const now = () => performance.now();
const many = (count, word) => `${count.toLocaleString("en")} ${word}`;
const plural = (count, word) => many(count, count === 1 ? word : `${word}s`);
const first = (word) => word.charAt(0).toUpperCase() + word.slice(1);
const UNUSED = {
  fault: "Not used: the bin is in fault",
  starting: "Not used yet: the bin is starting",
  empty: "No item: the network alone says",
};

export class Bin {
  // `at` finds an element by its id.
  constructor(at) {
    this.at = at;
    this.forget();
  }

  // There is none, as far as is known.
  forget() {
    this.told = null;
    this.since = 0; // by this page's clock
  }

  take(told) {
    this.told = told;
    this.since = now() - told.since_s * 1000;
    this.at("bin-events").replaceChildren(...[...told.last].reverse().map(eventRow));
    this.at("bin-sinks").replaceChildren(...told.sinks.map(sinkRow));
    this.at("bin-counts").textContent = [plural(told.events, "event"), many(told.unknowns, "unknown"), plural(told.faults, "fault")].join(", ");
    this.at("bin-no-events").hidden = told.last.length > 0;
    this.at("bin-no-sinks").hidden = told.sinks.length > 0;
  }

  // What the pill says of it, beside a camera that runs; null where all is well.
  get pill() {
    if (!this.told) return null;
    if (this.told.state === "fault") return "FAULT";
    if (this.told.problem) return "SINK";
    return this.told.state === "starting" ? "STARTING" : null;
  }

  // Why the network's answer of the moment decides nothing; empty where it may.
  get unused() {
    return UNUSED[this.told?.state] ?? "";
  }

  // What somebody should look at; why a sink fails stands beside it.
  get alarms() {
    if (!this.told) return [];
    const fault = this.told.state === "fault" ? [`Fault: ${this.told.reason}`] : [];
    return [...fault, ...this.told.sinks.filter((sink) => sink.problem).map((sink) => `Sink fails: ${sink.name}`)];
  }

  // Whether what is known is of the present; `seconds` writes a duration.
  draw(present, seconds) {
    const told = this.told;
    for (const id of ["bin", "bin-log"]) this.at(id).hidden = !told;
    const alarm = present ? this.alarms.join("\n") : "";
    this.at("alarm").hidden = !alarm;
    set(this.at("alarm"), alarm);
    if (!told) return;
    this.at("bin").dataset.state = present ? told.state : "past";
    set(this.at("bin-state"), present ? first(told.state) : `Was ${told.state}`);
    set(this.at("bin-since"), present ? `for ${seconds(now() - this.since)}` : "");
    set(this.at("bin-reason"), told.reason);
  }
}

function set(where, value) {
  if (where.textContent !== value) where.textContent = value;
}

function eventRow({ time, label, bin, probability, reason }) {
  const row = element("li", label === null ? "unknown" : "");
  row.title = reason;
  const when = time === null ? "" : new Date(time).toLocaleTimeString();
  row.append(element("span", "when", when), element("b", "", label ?? "unknown"), element("span", "where", `to ${bin}`));
  row.append(element("span", "value", percent(probability)));
  return row;
}

function sinkRow({ name, problem, waiting, delivered, dropped }) {
  const row = element("li", problem ? "failing" : "");
  const head = row.appendChild(element("p", "sink"));
  head.append(element("b", "", name), element("span", "value", [many(waiting, "queued"), many(delivered, "delivered"), many(dropped, "dropped")].join(", ")));
  if (problem) row.append(element("p", "problem", problem));
  return row;
}
