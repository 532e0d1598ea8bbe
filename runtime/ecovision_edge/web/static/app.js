// The live page. Everything it shows is either of the present, or says that it is not.

import { Bars, colourOf, percent } from "./bars.js";
import { Bin } from "./bin.js";
import { History } from "./history.js";
import { Stream } from "./stream.js";

const at = (id) => document.getElementById(id);
const now = () => performance.now();
const title = document.body.dataset.title;
const WORDS = {
  CONNECTING: ["Connecting", "Connecting"],
  LOST: ["No connection", "Connection lost"],
  STARTING: ["Starting", "Starting"],
  RUNNING: ["Running", "No picture"],
  STALLED: ["Stalled", "Stalled"],
  RECONNECTING: ["Reconnecting", "Reconnecting"],
  FAILED: ["Failed", "Camera lost"],
  ENDED: ["Ended", "Ended"],
  FAULT: ["Fault", "Fault"],
  SINK: ["Sink fails", "Sink fails"],
};
// What the tray shows where the network is not asked.
const TRAY = { empty: "Empty", unknown: "Not learnt yet", covered: "Covered", strange: "Another tray", waiting: "Waiting" };
const SPOKEN_EVERY_MS = 4000;
const FIGURES_EVERY_MS = 500;

const bars = new Bars(at("bars"));
const history = new History(at("strip"), at("history-counts"), at("strip-from"), at("strip-to"));
const bin = new Bin(at);
const canvas = at("picture");
const stream = new Stream(onPicture, (text) => (streamProblem = text));

let events = null;
let connected = false;
let everConnected = false;
let lastWord = now(); // when the server last said anything
let settings = { stale_s: 5, heartbeat_s: 5, labels: [] };
let health = null;
let result = null;
let capturedAt = null; // of the newest frame the server told of, by this page's clock
let pictureAt = -Infinity; // capture of the picture on the screen
let streamProblem = "";
let spoken = { text: "", label: "", state: "", at: -Infinity };
let figures = { live: null, at: -Infinity };

// What comes from the server.

function connect() {
  events?.close();
  lastWord = now();
  events = new EventSource("/events");
  const on = (name, act) =>
    events.addEventListener(name, (e) => {
      lastWord = now();
      act(JSON.parse(e.data));
      draw();
    });
  on("hello", (hello) => {
    settings = hello;
    connected = everConnected = true;
    history.most = hello.history;
    history.clear();
    bin.forget();
    health = result = null;
    if (hello.labels.length) bars.setLabels(hello.labels);
    drawModel(hello.bundle);
    stream.restart();
  });
  on("alive", () => {});
  on("health", (h) => {
    health = h;
    if (h.last_age_s !== null) capturedAt = Math.max(capturedAt ?? -Infinity, now() - h.last_age_s * 1000);
  });
  on("bundle", drawModel);
  on("bin", (told) => bin.take(told));
  on("result", (r) => {
    result = r;
    capturedAt = now() - r.frame_age_ms;
    if (r.probabilities) bars.setLabels(Object.keys(r.probabilities));
    bars.show(r.probabilities ?? {}, r.label);
    history.add(r.past, bars.labels);
  });
  events.onerror = () => {
    connected = false;
    stream.stop();
    draw();
  };
}

function onPicture(bitmap, ageMs) {
  if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
    document.documentElement.style.setProperty("--aspect", bitmap.width / bitmap.height);
  }
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  const first = now() - pictureAt > settings.stale_s * 1000;
  pictureAt = now() - ageMs;
  streamProblem = "";
  if (first) draw();
}

// What of it is shown.

function state() {
  if (!connected) return everConnected ? "LOST" : "CONNECTING";
  if (!health) return "CONNECTING";
  return health.state === "RUNNING" && !health.live && !result ? "STARTING" : health.state;
}

function reasonOf(state) {
  if (state === "LOST") return "This page hears nothing from the device. It keeps trying.";
  if (state === "STARTING") return health.reason || "Waiting for the first frame";
  if (state === "RUNNING") return "";
  return health?.reason ?? "";
}

function draw() {
  const s = state();
  const fresh = (t) => t !== null && now() - t < settings.stale_s * 1000;
  const live = s === "RUNNING" && health.live && fresh(capturedAt);
  const pictured = live && fresh(pictureAt);
  const age = capturedAt === null ? "" : `${seconds(now() - capturedAt)} ago`;

  // A camera that runs is not all: the bin may be blind all the same.
  const whole = s === "RUNNING" ? (bin.pill ?? s) : s;
  at("pill").dataset.state = whole;
  text("pill-text", WORDS[whole][0]);
  document.title = live && whole === s ? title : `${WORDS[whole][0]} - ${title}`;
  bin.draw(connected, seconds);

  at("veil").hidden = pictured;
  at("frame").classList.toggle("dark", !pictured);
  if (!pictured) {
    text("veil-title", WORDS[s][1]);
    text("veil-reason", s === "RUNNING" ? streamProblem : reasonOf(s));
    text("veil-age", live || !age ? "" : `Last frame ${age}`);
  }
  attribute(canvas, "aria-label", pictured ? "Live picture of the camera" : `No live picture: ${WORDS[s][1]}`);

  document.body.classList.toggle("past-page", !live || bin.unused !== "");
  drawAnswer(live, age);
  if (live !== figures.live || now() - figures.at > FIGURES_EVERY_MS) {
    figures = { live, at: now() };
    drawFigures(live);
    history.summary(live);
  }
  speak(whole, live);
}

// Which bundle answers; null is a lone model file.
function drawModel(bundle) {
  at("model").hidden = !bundle;
  text("model", bundle ? `${bundle.name} ${bundle.version}` : "");
  attribute(at("model"), "title", bundle ? `Model: ${bundle.name}, version ${bundle.version}, id ${bundle.id}` : "");
}

function drawAnswer(live, age) {
  at("answer").classList.toggle("past", !live || bin.unused !== "");
  at("answer").classList.toggle("unsure", Boolean(result?.label) && result.score < 0.5);
  if (!result) return;
  const asked = result.label !== null;
  text("label", asked ? result.label : TRAY[result.tray] ?? result.tray);
  text("score", asked ? percent(result.score) : "");
  at("label-swatch").className = asked ? `swatch ${colourOf(bars.labels.indexOf(result.label))}` : "swatch none";
  const unsure = result.score < 0.5 ? "Unsure: more likely something else" : "The network sees";
  const said = asked ? bin.unused || unsure : "No item: the network is not asked";
  text("caption", live ? said : `Last answer, ${age}`);
}

function drawFigures(live) {
  const ms = (value) => (value === undefined || value === null ? ["–"] : [value.toFixed(value < 9.95 ? 1 : 0), "ms"]);
  const number = (value) => [value === undefined || value === null ? "–" : value.toLocaleString("en")];
  const shown = live ? result : null;
  figure("fact-age", ms(shown?.frame_age_ms));
  figure("fact-prepare", ms(shown?.timings_ms?.prepare));
  figure("fact-infer", ms(shown?.timings_ms?.infer));
  figure("fact-rate", typeof shown?.fps === "number" ? [shown.fps.toFixed(1), "fps"] : ["–"]);
  figure("fact-dropped", number(result?.dropped));
  figure("fact-reconnects", number(health?.reconnects));
}

// A screen reader hears of a new state at once, of new labels now and then.
function speak(s, live) {
  const label = live && result && !bin.unused ? result.label ?? "" : "";
  const news = s !== spoken.state || (label !== spoken.label && now() - spoken.at > SPOKEN_EVERY_MS);
  if (!news) return;
  spoken = { state: s, label, at: now() };
  text("spoken", label ? `${label}, ${percent(result.score)}` : [WORDS[s][0], reasonOf(s)].filter(Boolean).join(": "));
}

function seconds(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 120) return `${s} s`;
  return s < 7200 ? `${Math.floor(s / 60)} min` : `${Math.floor(s / 3600)} h`;
}

function text(id, value) {
  const where = at(id);
  if (where.textContent !== value) where.textContent = value;
}

function attribute(where, name, value) {
  if (where.getAttribute(name) !== value) where.setAttribute(name, value);
}

function figure(id, [value, unit]) {
  const shown = unit ? `${value} ${unit}` : value;
  if (at(id).textContent === shown) return;
  at(id).replaceChildren(value);
  if (unit) {
    const small = document.createElement("small");
    small.textContent = ` ${unit}`;
    at(id).append(small);
  }
}

// The clock: things grow old without a word from the server.

setInterval(() => {
  if (document.hidden) return;
  const silent = now() - lastWord > (2 * settings.heartbeat_s + 1) * 1000;
  if (silent || events.readyState === EventSource.CLOSED) {
    if (silent) connected = false;
    if (now() - lastWord > 2000) connect();
  }
  draw();
}, 250);

// Nobody looks at a hidden page: it asks for nothing, and the device encodes nothing for it.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    events.close();
    stream.stop();
    connected = false;
  } else {
    everConnected = false;
    connect();
  }
});

connect();
draw();
