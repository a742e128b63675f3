// How things are put on the page: as text and nodes, never as markup.

export const $ = (id) => document.getElementById(id);

export function show(id, text) {
  const node = $(id);
  if (node.textContent !== text) node.textContent = text;
}

// Make an element: properties by their names, "data-…" and "aria-…" as attributes; what follows goes into it.
export function make(tag, properties = {}, ...inside) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    name.includes("-") || name === "role" ? node.setAttribute(name, value) : (node[name] = value);
  }
  node.append(...inside);
  return node;
}

export const count = (n) => Math.round(n).toLocaleString("en");
export const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)}\u00a0%`;
export const known = (value) => value !== null && value !== undefined;
export const signed = (value, digits = 3) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;

export function rate(n) {
  return n < 10 ? n.toFixed(1) : count(n);
}

export function seconds(s) {
  const [number, unit] = s < 1 ? [Math.round(s * 1000), "ms"] : s < 120 ? [s.toFixed(s < 10 ? 1 : 0), "s"] : s < 7200 ? [Math.round(s / 60), "min"] : s < 172800 ? [Math.round(s / 3600), "h"] : [Math.round(s / 86400), "days"];
  return `${number}\u00a0${unit}`;
}

export function bytes(n) {
  return n < 1e9 ? `${(n / 1e6).toFixed(n < 1e7 ? 1 : 0)} MB` : `${(n / 1e9).toFixed(1)} GB`;
}

export const clock = (s) => new Date(1000 * s).toLocaleTimeString("en-GB");

// A table of rows; a cell is a text, or {text, className} or {node, className}; the first of a row is its header.
export function table(node, rows, head = null) {
  const cell = (content, first) => {
    const made = make(first ? "th" : "td", first ? { scope: "row" } : {});
    if (typeof content === "string") made.textContent = content;
    else Object.assign(made, { className: content.className ?? "", colSpan: content.span ?? 1 }).append(content.node ?? content.text);
    return made;
  };
  const body = make("tbody", {}, ...rows.map(({ className = "", cells }) => make("tr", { className }, ...cells.map((each, n) => cell(each, n === 0)))));
  const parts = head ? [make("thead", {}, make("tr", {}, ...head.map((text, n) => make("th", { scope: "col", className: n ? "n" : "" }, text)))), body] : [body];
  node.replaceChildren(...parts);
}

// A bar from the middle: to the right where it adds, to the left where it takes away.
export function signedBar(value, most) {
  const half = 50 * Math.min(1, Math.abs(value) / (most || 1));
  const bar = make("i", { className: value < 0 ? "down" : "up" });
  bar.style.width = `${half}%`;
  bar.style.left = `${value < 0 ? 50 - half : 50}%`;
  return { className: "signed", node: make("div", { "aria-hidden": "true" }, bar) };
}

export function shareBar(share) {
  const bar = make("i");
  bar.style.width = `${100 * share}%`;
  return { className: "share", node: make("div", { className: "track", "aria-hidden": "true" }, bar) };
}
