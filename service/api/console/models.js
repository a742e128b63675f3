// Which of the server's models the page shows: the one that its address names, else the first.

import { $, make } from "./show.js";

const SHOWN = new URLSearchParams(location.search).get("model");
let named = "";

// A path of the API, as the model has it.
export function of(path) {
  return SHOWN && path.startsWith("v1/") && path !== "v1/models" ? `v1/models/${encodeURIComponent(SHOWN)}/${path.slice(3)}` : path;
}

// Name the models, where there are several, and lead to each.
export function choose(models) {
  if (named === (named = JSON.stringify(models))) return;
  $("models").hidden = models.length < 2;
  const links = models.map(({ name, ready, reason }, n) => {
    const current = name === SHOWN || (!SHOWN && n === 0);
    return make("a", { href: `?model=${encodeURIComponent(name)}`, className: ready ? "" : "warn", title: reason ?? "", ...(current ? { "aria-current": "page" } : {}) }, name);
  });
  $("models").replaceChildren(...links);
}
