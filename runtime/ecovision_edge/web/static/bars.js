// The probabilities of all classes, in the network's order, so that each class keeps its place and its colour.

const COLOURS = 12;

export const colourOf = (index) => (index < 0 ? "none" : `k${index % COLOURS}`); // none: of no class

export function percent(p) {
  if (p === null) return "–";
  return p > 0.994 && p < 1 ? ">99 %" : `${Math.round(p * 100)} %`;
}

export function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

export class Bars {
  constructor(list) {
    this.list = list;
    this.labels = [];
    this.rows = [];
  }

  setLabels(labels) {
    if (labels.join("\n") === this.labels.join("\n")) return;
    this.labels = labels;
    this.rows = labels.map((label, i) => {
      const row = element("li", colourOf(i));
      const track = element("span", "track");
      track.setAttribute("aria-hidden", "true");
      const fill = track.appendChild(element("span", "fill"));
      const value = element("span", "value", "–");
      const name = element("span", "name", label);
      name.title = label;
      row.append(name, track, value);
      return { row, fill, value };
    });
    this.list.replaceChildren(...this.rows.map((r) => r.row));
  }

  show(probabilities, top) {
    this.labels.forEach((label, i) => {
      const { row, fill, value } = this.rows[i];
      const p = probabilities[label] ?? 0;
      row.classList.toggle("top", label === top);
      fill.style.transform = `translateX(${(p - 1) * 100}%)`;
      value.textContent = percent(probabilities[label] ?? null);
    });
  }
}
