// Charts by uPlot, each with a legend that is text: its newest values, or those under the cursor, which the arrow keys move.

import { $, clock, known, make } from "./show.js";

const resolved = (name) => {  // canvas does not know light-dark()
  const probe = document.body.appendChild(make("i", { hidden: true }));
  probe.style.color = `var(--${name})`;
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
};
const colours = {};
const paint = (name) => (colours[name] ??= resolved(name));
const dark = matchMedia("(prefers-color-scheme: dark)");
const FONT = "12px system-ui, sans-serif";

function swatch({ colour: name, dash = [] }) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const line = document.createElementNS(svg.namespaceURI, "line");
  for (const [key, value] of Object.entries({ x1: 1, x2: 19, y1: 5, y2: 5, stroke: `var(--${name})`, "stroke-dasharray": dash.join(" ") })) line.setAttribute(key, value);
  line.style.stroke = `var(--${name})`;
  svg.setAttribute("viewBox", "0 0 20 10");
  svg.setAttribute("aria-hidden", "true");
  svg.append(line);
  return svg;
}

// The mean of each value and the four before it, of what is known: ten seconds.
function means(values) {
  return values.map((value, n) => {
    const near = values.slice(Math.max(0, n - 4), n + 1).filter(known);
    return known(value) ? near.reduce((sum, each) => sum + each, 0) / near.length : null;
  });
}

class Plot {
  constructor(id, title, series, format, height) {
    this.series = series;
    this.format = format;
    this.title = title;
    this.now = make("span", { className: "now" });
    this.box = make("div", { className: "plot", tabIndex: 0, role: "img", "aria-label": title });
    this.values = series.map(() => make("b", {}, "–"));
    const items = series.map((each, n) => make("li", {}, swatch(each), `${each.label} `, this.values[n]));
    $(id).replaceChildren(make("figcaption", {}, make("h3", {}, title), " ", this.now), this.box, make("ul", { className: "legend" }, ...items));
    this.height = height;
    new ResizeObserver(() => this.plot?.setSize(this.size())).observe(this.box);
    dark.addEventListener("change", () => { for (const name of Object.keys(colours)) delete colours[name]; this.plot?.redraw(); });
    this.box.addEventListener("keydown", (event) => this.step(event));
    this.box.addEventListener("blur", () => this.plot?.setCursor({ left: -10, top: -10 }));
  }

  size() {
    return { width: Math.max(200, this.box.clientWidth), height: this.height };
  }

  axis(more) {
    return { stroke: () => paint("soft"), font: FONT, grid: { stroke: () => paint("line"), width: 1 }, ticks: { show: false }, ...more };
  }

  line({ colour: name, dash, width = 1.8, points = false }) {
    const stroke = () => paint(name);
    return { stroke, width, dash, spanGaps: false, points: { show: points, size: 6, stroke, fill: stroke } };
  }

  step(event) {  // the arrow keys move the cursor
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (!move || !this.plot?.data[0].length) return;
    event.preventDefault();
    const [min, max] = [this.plot.scales.x.min, this.plot.scales.x.max];
    const inside = this.plot.data[0].map((x, n) => [x, n]).filter(([x]) => x >= min && x <= max).map(([, n]) => n);
    if (!inside.length) return;
    const at = this.plot.cursor.idx ?? inside.at(-1) + (move < 0 ? 1 : 0);
    const next = Math.min(inside.at(-1), Math.max(inside[0], at + move));
    this.plot.setCursor({ left: this.plot.valToPos(this.plot.data[0][next], "x"), top: 10 });
  }

  // Show the values of one index in the legend; without one the newest.
  tell(index) {
    this.series.forEach((each, n) => {
      const values = this.plot.data[n + 1];
      const value = known(index) ? values[index] : values.at(-1);
      const text = known(value) ? (each.format ?? this.format)(value) : "–";
      if (this.values[n].textContent !== text) this.values[n].textContent = text;
      this.values[n].parentElement.hidden = Boolean(each.optional) && !values.some(known);
    });
    const said = this.series.map((each, n) => `${each.label} ${this.values[n].textContent}`).filter((_, n) => !this.values[n].parentElement.hidden);
    const label = `${this.title}: ${said.join(", ")}. Arrow keys go through the values.`;
    if (this.box.getAttribute("aria-label") !== label) this.box.setAttribute("aria-label", label);
  }
}

// Lines over time.
export class TimeChart extends Plot {
  constructor(id, { title, series, format, fromZero = true, smooth = false, height = 170 }) {
    super(id, title, series, format, height);
    this.fromZero = fromZero;
    this.smooth = smooth;
  }

  update(samples, now, span) {
    const data = [samples.time, ...this.series.map(({ column }) => (this.smooth ? means(samples[column]) : samples[column]))];
    this.end = now;
    this.start = Math.max(now - span, Math.min(samples.time[0] ?? now, now - 60));
    if (this.plot) this.plot.setData(data);
    else this.plot = new uPlot(this.options(), data, this.box);
    this.tell(this.plot.cursor.idx);
  }

  options() {
    const range = (_, low, high) => {
      if (!known(low)) return [0, 1];
      const pad = (high - low) * 0.08 || Math.abs(high) * 0.1 || 1;
      return this.fromZero ? [0, high + pad] : [Math.max(0, low - pad), high + pad];
    };
    return {
      ...this.size(), legend: { show: false }, padding: [8, 24, 0, 0],  // a time at the right end is centred there
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
      scales: { x: { time: true, range: () => [this.start, this.end] }, y: { range } },
      axes: [this.axis({ size: 30, space: 70, values: (_, splits) => splits.map((s) => clock(s).slice(0, this.end - this.start > 700 ? 5 : 8)), grid: { show: false } }), this.axis({ size: 58, space: 34, values: (_, splits) => splits.map((v) => this.format(v)) })],
      series: [{}, ...this.series.map((each) => this.line(each))],
      hooks: { setCursor: [(plot) => {
        const at = plot.cursor.idx;
        this.now.textContent = known(at) && plot.cursor.left >= 0 ? clock(plot.data[0][at]) : "";
        this.tell(plot.cursor.left >= 0 ? at : null);
      }] },
    };
  }
}

// Click rates by predictions, beside the diagonal, where both are equal.
export class CalibrationChart extends Plot {
  constructor(id, { title, note, format }) {
    super(id, title, [{ label: "click rate", colour: "blue", points: true }, { label: "as predicted", colour: "grey", dash: [4, 4], width: 1.2 }], format, 210);
    this.now.textContent = note;
  }

  update(curve) {
    const groups = curve.filter(([p], n) => n === 0 || p > curve[n - 1][0]);
    const data = [groups.map(([p]) => p), groups.map(([, clicked]) => clicked), groups.map(([p]) => p)];
    if (this.plot) this.plot.setData(data);
    else this.plot = new uPlot(this.options(), data, this.box);
    this.tell(this.plot.cursor.left >= 0 ? this.plot.cursor.idx : null);
  }

  options() {
    const whole = (_, low, high) => [0, known(high) ? high * 1.06 || 1 : 1];
    const values = (_, splits) => splits.map((v) => this.format(v));
    return {
      ...this.size(), legend: { show: false }, padding: [8, 14, 0, 0], cursor: { y: false, drag: { x: false, y: false }, points: { size: 8 } },
      scales: { x: { time: false, range: whole }, y: { range: whole } },
      axes: [this.axis({ size: 30, space: 60, values, grid: { show: false } }), this.axis({ size: 58, space: 34, values })],
      series: [{}, ...this.series.map((each) => this.line(each))],
      hooks: { setCursor: [(plot) => this.tell(plot.cursor.left >= 0 ? plot.cursor.idx : null)] },
    };
  }
}
