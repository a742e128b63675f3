// The console: asks once a second how it goes, and shows it.

import { ask, problem, refusal } from "./api.js";
import { CalibrationChart, TimeChart } from "./charts.js";
import { experiment } from "./experiment.js";
import { prepare } from "./form.js";
import { findings, noAnswer } from "./health.js";
import { choose, of } from "./models.js";
import { $, bytes, clock, count, known, make, percent, rate, seconds, shareBar, show, table } from "./show.js";

const EVERY = 1000;  // ms between looks
const MOST = 3000;  // samples that the page keeps; then it asks for them anew, thinned
let samples = null, prepared = false, asking = false, nextForm = 0, nextModels = 0;
let range = 600, now = 0;  // seconds; the server's clock

const loss = (v) => v.toFixed(4);
const charts = [
  new TimeChart("quality", {
    title: "Log loss over the newest examples", format: loss, fromZero: false, height: 210,
    series: [
      { label: "model", column: "log_loss", colour: "blue", width: 2.2 },
      { label: "click rate alone", column: "base_rate_log_loss", colour: "grey", dash: [6, 4] },
      { label: "wide term alone", column: "wide_log_loss", colour: "amber", dash: [2, 3], optional: true },
      { label: "best possible", column: "best_log_loss", colour: "green", dash: [9, 3], optional: true },
    ],
  }),
  new TimeChart("freshness", {
    title: "Freshness", format: seconds,
    series: [
      { label: "age of the weights", column: "staleness", colour: "blue" },
      ...["log", "join", "learn", "publish", "serve"].map((hop, n) => ({ label: hop, column: `hop_${hop}`, colour: ["green", "amber", "violet", "red", "grey"][n], optional: true, width: 1.3 })),
    ],
  }),
  new TimeChart("throughput", {
    title: "Records a second", format: rate, smooth: true,
    series: [
      { label: "impressions", column: "impressions", colour: "blue", dash: [6, 4] },
      { label: "clicks", column: "clicks", colour: "green" },
      { label: "examples", column: "examples", colour: "amber", dash: [2, 3], optional: true },
      { label: "learned and served", column: "learned", colour: "violet" },
    ],
  }),
  new TimeChart("lag", {
    title: "Waiting in the log, records", format: count,
    series: [
      { label: "to be joined", column: "to_join", colour: "amber", optional: true },
      { label: "to be learned", column: "to_learn", colour: "violet" },
    ],
  }),
  new TimeChart("serving", {
    title: "Predictions a second", format: rate, smooth: true,
    series: [
      { label: "answers", column: "answers", colour: "blue" },
      { label: "failed requests", column: "failures", colour: "red", dash: [2, 3] },
      { label: "told to come again", column: "unavailable", colour: "grey", dash: [2, 3] },
    ],
  }),
];
const calibration = new CalibrationChart("calibration", { title: "Calibration", note: "twentieths of the examples", format: (v) => percent(v) });

function state(text, kind) {
  show("state", text);
  $("state").className = `pill ${kind}`;
}

function keep(found) {
  if (samples) for (const [name, values] of Object.entries(found)) samples[name].push(...values);
  else samples = found;
}

function tiles({ model, learner }) {
  show("loss", known(learner?.log_loss) ? loss(learner.log_loss) : "–");
  const gain = learner?.base_rate_log_loss ? 1 - learner.log_loss / learner.base_rate_log_loss : null;
  show("gain", gain === null ? (learner?.examples ? "no clicks among the newest examples" : "waiting for examples") : `${percent(Math.abs(gain))} ${gain < 0 ? "above" : "below"} the click rate alone${known(learner.auc) ? ` · AUC ${learner.auc.toFixed(3)}` : ""}`);
  show("age", seconds(model.staleness_seconds));
  show("through", model.trained_through === null ? "nothing learned yet" : `through ${new Date(model.trained_through).toISOString().slice(0, 19).replace("T", " ")} UTC`);
  show("examples", count(model.examples));
  show("pace", `${rate(samples.learned.at(-1) ?? 0)} a second`);
  show("answers", `${rate(samples.answers.at(-1) ?? 0)}/s`);
  const latency = samples.latency.findLast(known);
  show("latency", latency ? `99 % within ${seconds(latency)}` : "nobody has asked yet");
  show("version", count(model.version));
  show("digest", `digest ${model.digest.slice(0, 16)}`);
}

function shares(id, parts) {
  const rows = Object.entries(parts ?? {}), total = rows.reduce((sum, [, size]) => sum + size, 0), most = Math.max(...rows.map(([, size]) => size), 1e-9);
  const cells = rows.map(([name, size]) => ({ cells: [name, shareBar(size / most), { className: "n", text: size.toFixed(3) }, ...(id === "terms" ? [{ className: "n soft", text: percent(size / total, 0) }] : [])] }));
  inside(id, cells, "It is not known before the first examples.");
}

function inside(id, rows, nothing, head = null) {
  if (!rows.length) return $(id).replaceChildren(make("p", { className: "note" }, nothing));
  if ($(id).firstElementChild?.tagName !== "TABLE") $(id).replaceChildren(make("table"));
  table($(id).firstElementChild, rows, head);
}

function events({ holds, set_aside: letters }) {
  const shown = holds.toReversed().map(({ version, since, until, why }) => ({ cells: [count(version), { className: "soft", text: `${clock(since)} – ${until === null ? "now" : clock(until)}` }, { text: Object.entries(why).map(([check, found]) => `${check}: ${found}`).join("; ") }] }));
  inside("holds", shown, "None since this server started.");
  const rows = (letters ?? []).slice(0, 12).map(({ stage, reason, kind, count: n, last }) => ({ cells: [reason || kind, { className: "soft", text: stage }, { className: "n", text: count(n) }, { className: "n soft", text: clock(last / 1000) }] }));
  inside("letters", rows, letters === null ? "This server can't read them." : "None.");
}

function arms({ model, arms: said }) {
  $("arms-card").hidden = !model.arms?.length;
  if (!model.arms?.length) return;
  show("experiment", `Experiment ${model.experiment}: who answers whom, and how good each is`);
  const rows = model.arms.map(({ arm, role, share, stale }) => ({ cells: [arm, { className: "soft", text: stale ? `${role}, stale` : role }, shareBar(share), { className: "n", text: percent(share, 0) }, { className: "n", text: known(said[arm]?.log_loss) ? loss(said[arm].log_loss) : "–" }, { className: "n", text: known(said[arm]?.auc) ? said[arm].auc.toFixed(3) : "–" }] }));
  inside("arms", rows, "", ["arm", "role", "share", "", "log loss", "AUC"]);
  $("experiments").hidden = false;
  experiment(model.experiment).catch(() => {});
}

function describe({ model, log }) {
  const { network, hidden, skip, embedding } = model.network;
  show("network", `${network} ${hidden.join("-")}, skip ${skip}, embeddings of ${embedding}, table of ${count(model.table.capacity)} rows`);
  if ($("fields").rows.length !== model.fields.length) table($("fields"), model.fields.map((field) => ({ cells: [field.name, { className: "kind n", text: field.kind }] })));
  show("log", log ? `log ${bytes(log.bytes)}, records kept for ${log.seconds === null ? "ever" : seconds(log.seconds)}, weights until two newer snapshots` : "");
}

function warn(found) {
  const items = found.map(({ kind, what, why }) => make("li", { className: kind }, make("b", {}, what), " ", make("span", {}, why)));
  if ($("findings").textContent !== items.map((item) => item.textContent).join("")) $("findings").replaceChildren(...items);
}

function unknown(text, kind, found = []) {  // what was found before may no longer be so
  state(text, kind);
  warn(found);
}

function draw() {
  if (!document.hidden) for (const chart of charts) chart.update(samples, now, range);
}

async function form({ learner }) {  // once there is an example, the form has values to choose from
  if (prepared || asking || Date.now() < nextForm) return;
  asking = true;
  nextForm = Date.now() + 5000;
  const touched = $("inputs").childElementCount > 0 && $("inputs").contains(document.activeElement);
  if (!touched) prepared = await prepare(Object.keys(learner?.fields ?? {})).catch(() => false);
  asking = false;
}

for (const id of ["model", "experiments"]) $(id).href = of($(id).getAttribute("href"));

async function models() {
  const answer = await ask("v1/models");
  if (answer.ok) choose((await answer.json()).models);
}

async function look() {
  if (Date.now() > nextModels) {
    nextModels = Date.now() + 5000;
    await models();
  }
  const answer = await ask(`v1/history?since=${samples?.time.at(-1) ?? 0}`);
  const refused = refusal(answer);
  if (refused) return unknown(refused, "warn");
  if (!answer.ok) return unknown(await problem(answer), "bad");
  const found = await answer.json();
  keep(found.samples);
  now = found.now;
  draw();
  if (samples.time.length > MOST) samples = null;
  const seen = { ...found, samples: samples ?? found.samples };
  warn(findings(seen));
  events(found);
  if (!found.model) return state("no weights yet", "warn");
  const { model } = found;
  const stale = model.staleness_seconds >= 10 && model.examples > 0;
  state(model.held ? "newer versions are held" : !model.caught_up ? "catching up" : stale ? "stale" : "ready", model.held || !model.caught_up || stale ? "warn" : "good");
  if (samples) tiles(found);
  calibration.update(found.learner?.curve ?? []);
  shares("terms", found.learner?.terms);
  shares("movers", found.learner?.fields);
  arms(found);
  describe(found);
  form(found);
}

$("range").addEventListener("change", (event) => {
  range = Number(event.target.value);
  if (samples) draw();
});

for (;;) {
  await look().catch(() => unknown("out of reach", "bad", [noAnswer(now)]));
  await new Promise((done) => setTimeout(done, EVERY));
}
