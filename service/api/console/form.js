// Try a prediction: a form made from the model's fields, with the values that the newest examples had most often.

import { ask, problem } from "./api.js";
import { explain } from "./explain.js";
import { $, count, make, percent, show } from "./show.js";

const COMPARED = 6, CHIPS = 10;
const SENT = ["categorical", "numeric", "multi"];  // the kinds of fields that a request has values of
const ITEM = /item|product|article|ad(_|$)|banner|creative|campaign|news|video/i;

let fields = [], asked = null, chosen = null, latest = 0;

const values = (field) => (field.kind === "multi" ? [] : field.values ?? []);
const id = (field) => `field-${fields.indexOf(field)}`;  // a name may be anything
const control = (field) => $(id(field));
const named = (field, ...more) => make("div", { className: "name" }, make("label", { htmlFor: id(field) }, field.name), ...more);

function choice(field) {  // a drop-down
  const options = values(field).map((value, n) => make("option", { value: `${n}` }, `${value}`));
  const select = make("select", { id: id(field) }, ...options, make("option", { value: "" }, "(missing)"));
  return make("div", {}, named(field), select);
}

function slider(field) {
  const [low, high] = field.range;
  const step = Number(((high - low) / 100).toPrecision(1)) || 1;
  const output = make("output", { htmlFor: id(field) }, `${field.typical}`);
  const input = make("input", { type: "range", id: id(field), min: low, max: high, step: "any", value: field.typical });
  input.addEventListener("input", () => { output.textContent = `${Number((Math.round(input.value / step) * step).toPrecision(6))}`; });
  return make("div", {}, named(field, output), input);
}

function chips(field) {  // of a list, any of its values
  const boxes = field.values.slice(0, CHIPS).map((value, n) => make("label", { className: "choice" }, make("input", { type: "checkbox", value: `${n}`, checked: n < 2 }), make("span", {}, `${value}`)));
  return make("fieldset", { className: "full", id: id(field) }, make("legend", {}, field.name), make("div", { className: "choices" }, ...boxes));
}

function text(field) {
  const note = field.personal ? "personal: no values are shown" : field.kind === "numeric" ? "a number" : "any value";
  return make("div", {}, named(field), make("input", { type: "text", id: id(field), placeholder: note, autocomplete: "off", spellcheck: false }));
}

function made(field) {
  if (field.kind === "numeric") return field.range && field.range[0] < field.range[1] ? slider(field) : text(field);
  if (field.kind === "multi") return field.values?.length ? chips(field) : text(field);
  return field.values?.length ? choice(field) : text(field);
}

function value(field) {  // what the form says, in the type that the examples have
  const node = control(field);
  if (node.tagName === "FIELDSET") return [...node.querySelectorAll("input:checked")].map((box) => field.values[box.value]);
  if (node.tagName === "SELECT") return node.value === "" ? undefined : field.values[node.value];
  if (node.type === "range") return Number(node.previousElementSibling.querySelector("output").textContent);
  if (node.value === "") return undefined;
  return field.kind === "numeric" && Number.isFinite(Number(node.value)) ? Number(node.value) : field.kind === "multi" ? node.value.split(/\s*,\s*/) : node.value;
}

function compared() {
  return fields.find((field) => field.name === $("compared")?.value);
}

// The request that the form stands for: one context, and a candidate for each value of the field that is compared.
function request() {
  const differs = compared();
  const context = Object.fromEntries(fields.filter((field) => field !== differs).map((field) => [field.name, value(field)]).filter(([, given]) => given !== undefined));
  const candidates = differs ? values(differs).slice(0, COMPARED).map((each) => ({ id: `${each}`, [differs.name]: each })) : [{ id: "this one" }];
  return { context, candidates };
}

function written({ context, candidates }) {
  return `{\n  "context": ${JSON.stringify(context)},\n  "candidates": [\n    ${candidates.map((each) => JSON.stringify(each)).join(",\n    ")}\n  ]\n}`;
}

// Make the form of the model's fields, once it is known what they are.
export async function prepare(movers) {
  const answer = await ask("v1/values").catch(() => null);
  if (!answer?.ok) return false;
  const found = await answer.json();
  fields = found.fields.filter((field) => SENT.includes(field.kind));
  const comparable = fields.filter((field) => values(field).length > 1);
  const first = comparable.find((field) => ITEM.test(field.name)) ?? comparable.sort((a, b) => movers.indexOf(a.name) - movers.indexOf(b.name))[0];
  const compare = make("select", { id: "compared" }, ...comparable.map((field) => make("option", { value: field.name, selected: field === first }, field.name)), make("option", { value: "" }, "nothing: one candidate"));
  const inputs = fields.map(made);
  $("inputs").replaceChildren(...(comparable.length ? [make("div", {}, make("div", { className: "name" }, make("label", { htmlFor: "compared" }, "Compare the values of")), compare)] : []), ...inputs);
  const mark = () => fields.forEach((field, n) => { inputs[n].hidden = field === compared(); });
  compare.addEventListener("change", mark);
  mark();
  show("values-note", found.examples ? `With what the newest ${count(found.examples)} examples had most often.` : "No example has told which values there are: type some.");
  $("request").value = written(request());
  if (found.examples) predict(request());
  return found.examples > 0;
}

function candidate({ id: name, probability }, n) {
  const bar = make("i");
  bar.style.width = `${100 * probability}%`;
  const radio = make("input", { type: "radio", name: "candidate", value: `${n}`, checked: n === chosen });
  radio.addEventListener("change", () => { chosen = n; why(); });
  return make("label", { className: "candidate" }, radio, make("span", { title: `${name}` }, `${name}`), make("div", { className: "track", "aria-hidden": "true" }, bar), make("b", {}, percent(probability, 2)));
}

function fail(message) {
  $("answer").classList.add("bad");
  show("answer", message);
}

async function predict(question) {
  const start = performance.now(), mine = ++latest;
  const answer = await ask("v1/predict", JSON.stringify(question)).catch(() => null);
  if (mine !== latest) return;
  if (!answer?.ok) return fail(await problem(answer));
  const body = await answer.json();
  $("answer").classList.remove("bad");
  show("answer", `version ${count(body.version)}, in ${Math.round(performance.now() - start)} ms`);
  asked = question;
  const best = body.predictions.reduce((most, each, n) => (each.probability > body.predictions[most].probability ? n : most), 0);
  chosen = Math.min(chosen ?? best, body.predictions.length - 1);
  const focused = document.activeElement?.name === "candidate";
  $("predictions").replaceChildren($("predictions").firstElementChild, ...body.predictions.map(candidate));
  if (focused) $("predictions").querySelector("input:checked")?.focus();
  await why();
}

async function why() {
  const mine = latest, { candidates, ...rest } = asked;
  const answer = await ask("v1/explain", JSON.stringify({ context: rest.context ?? {}, ...(rest.time === undefined ? {} : { time: rest.time }), candidates: [candidates[chosen]] })).catch(() => null);
  if (mine !== latest) return;
  if (!answer?.ok) return fail(await problem(answer));
  explain($("why"), (await answer.json()).explanations[0]);
}

// A whole number that is too large for JavaScript stays its text, which has the same key in the model.
const same = (_, value, found) => (Number.isInteger(value) && !Number.isSafeInteger(value) && /^-?\d+$/.test(found?.source) ? found.source : value);

let timer;
function soon() {
  clearTimeout(timer);
  timer = setTimeout(() => { const asks = request(); $("request").value = written(asks); predict(asks); }, 150);
}

$("inputs").addEventListener("input", soon);
$("try").addEventListener("submit", (event) => { event.preventDefault(); soon(); });
$("send").addEventListener("click", () => {
  try {
    const { context, candidates, time } = JSON.parse($("request").value, same);
    predict({ candidates, ...(context === undefined ? {} : { context }), ...(time === undefined ? {} : { time }) });
  } catch (error) {
    fail(`no JSON: ${error.message}`);
  }
});
