// What the page asks of its server. The key lasts as long as this tab, and goes into a header only: no page elsewhere can make a browser send it.

import { of } from "./models.js";
import { $ } from "./show.js";

const KEY = "sml-key";

export function ask(path, body) {
  const key = sessionStorage.getItem(KEY);
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  return fetch(of(path), body === undefined ? { headers } : { method: "POST", body, headers });
}

// Show the form where a key is missing, wrong, or lacks the role; return why nothing can be shown, else nothing.
export function refusal(answer) {
  const open = ![401, 403].includes(answer.status);
  $("ask").hidden = open;
  for (const link of document.querySelectorAll("nav .open")) link.hidden = !open || sessionStorage.getItem(KEY) !== null;
  if (open) return null;
  return answer.status === 403 ? "this key may not read" : sessionStorage.getItem(KEY) ? "this key is not valid" : "a key is needed";
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, $("key").value.trim());
  $("key").value = "";
});

// What an answer that is no success says.
export async function problem(answer) {
  if (!answer) return "the server can't be reached";
  if (answer.status === 403) return "this needs a key with the role predict";
  const { field, detail } = await answer.json().catch(() => ({ detail: `status ${answer.status}` }));
  return [field, detail].filter(Boolean).join(": ");
}
