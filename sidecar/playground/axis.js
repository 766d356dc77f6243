/**
 * The time axis: when either side had what, drawn as two strips and told in a table.
 *
 * It is drawn anew for each frame while a run lasts, at a fixed height: nothing else moves.
 */

const SVG = "http://www.w3.org/2000/svg";
const MARKS = {
  first_byte: "first byte",
  first_reasoning: "first reasoning",
  first_status: "first status",
  first_visible: "first visible token",
  done: "done",
};
const SIDES = ["model", "client"];
const TOP = { model: 22, client: 66 };
const STRIP = 14;
const EDGE = 10; // pixels beside the strips
const APART = 19; // pixels between two numbers; the line of each stands where its time is
const MAX_STRETCHES = 400; // of one side: what alternates more often is no picture any more

export class Axis {
  /** Draws in `svg`, and writes the rows of the table's body `rows`. */
  constructor(svg, rows) {
    this.svg = svg;
    this.cells = {};
    for (const [index, [name, label]] of Object.entries(MARKS).entries()) {
      const row = rows.insertRow();
      const head = document.createElement("th");
      head.scope = "row";
      const both = document.createElement("div");
      both.append(element("span", "number", index + 1), element("span", "", label));
      head.append(both);
      row.append(head);
      for (const side of SIDES) {
        const cell = row.insertCell();
        cell.id = `${side}-${name}`;
        this.cells[cell.id] = cell;
      }
    }
    new ResizeObserver(() => this.draw()).observe(svg);
    this.reset();
  }

  /** Begins anew: nothing has happened on either side. */
  reset() {
    this.times = {};
    this.stretches = { model: [], client: [] };
    this.started = performance.now();
    this.running = false;
    for (const cell of Object.values(this.cells)) cell.textContent = "–";
    this.draw();
  }

  /** The request is on its way. */
  start() {
    this.reset();
    this.running = true;
    const frame = () => {
      this.draw();
      if (this.running) requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  /** Both sides are done. */
  stop() {
    this.running = false;
    this.draw();
  }

  /** `name` has happened on `side`, if it had not before. */
  mark(side, name) {
    const id = `${side}-${name}`;
    if (this.has(side, name)) return;
    this.times[id] = this.elapsed();
    this.cells[id].textContent = seconds(this.times[id]);
    if (name === "done") this.paint(side, null);
  }

  /** Whether it has. */
  has(side, name) {
    return `${side}-${name}` in this.times;
  }

  /** From now on `side` is at `kind`: a channel, `status`, or null for nothing. */
  paint(side, kind) {
    const stretches = this.stretches[side];
    const last = stretches.at(-1);
    if (last?.kind === kind || stretches.length >= MAX_STRETCHES) return;
    const now = this.elapsed();
    if (last) last.end = now;
    stretches.push({ kind, start: now, end: null });
  }

  elapsed() {
    return performance.now() - this.started;
  }

  /** The marks of `side` in the order of their times. */
  happened(side) {
    return Object.keys(MARKS)
      .map((name, index) => ({ number: index + 1, time: this.times[`${side}-${name}`] }))
      .filter(({ time }) => time !== undefined)
      .sort((a, b) => a.time - b.time);
  }

  draw() {
    const ends = Object.values(this.times);
    const now = this.running ? this.elapsed() : Math.max(0, ...ends);
    const scale = Math.max(1000, now * 1.04);
    const width = Math.max(0, this.svg.clientWidth - 2 * EDGE);
    const at = (time) => EDGE + (width * time) / scale;
    const parts = [];
    for (const side of SIDES) {
      const y = TOP[side];
      parts.push(shape("text", { x: EDGE, y: y - 7, class: "side" }, side));
      parts.push(shape("rect", { x: EDGE, y, width, height: STRIP, rx: 3, class: "track" }));
      for (const { kind, start, end } of this.stretches[side]) {
        if (kind === null) continue;
        const long = Math.max(0, at(end ?? now) - at(start));
        parts.push(shape("rect", { x: at(start), y, width: long, height: STRIP, class: kind }));
      }
      let free = 0;
      for (const { number, time } of this.happened(side)) {
        const x = Math.max(at(time), free);
        free = x + APART;
        parts.push(shape("line", { x1: at(time), x2: at(time), y1: y - 3, y2: y + STRIP + 3 }));
        parts.push(shape("circle", { cx: x, cy: y + STRIP / 2, r: 8 }));
        parts.push(shape("text", { x, y: y + STRIP / 2 + 4, class: "n" }, number));
      }
    }
    const step = [250, 500, 1000, 2000, 5000, 10000, 30000, 60000].find((s) => scale / s < 6);
    for (let tick = 0; tick <= scale; tick += step ?? 120000) {
      parts.push(shape("line", { x1: at(tick), x2: at(tick), y1: 88, y2: 93, class: "tick" }));
      parts.push(shape("text", { x: at(tick), y: 107, class: "tick" }, `${tick / 1000} s`));
    }
    this.svg.replaceChildren(...parts);
  }
}

/** Milliseconds as a person reads them. */
export function seconds(time) {
  return `${(time / 1000).toFixed(2)} s`;
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function shape(tag, attributes, text = "") {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== "") made.textContent = text;
  return made;
}
