// What the experiment between the arms has shown: first whether it may be believed, then each arm beside control.

import { ask } from "./api.js";
import { $, clock, count, make, table } from "./show.js";

const EVERY = 10000;  // ms between looks at its report
let next = 0;

const NAMES = { click_rate: "click rate", value_per_impression: "value", auc: "AUC", log_loss: "log loss" };
const COLOURS = { better: "good", worse: "bad", different: "warn", undecided: "soft" };
const uplift = (share) => `${share < 0 ? "−" : "+"}${Math.abs(100 * share).toFixed(2)}\u00a0%`;

function of({ arm, measure, relative, verdict }) {
  const [estimate, low, high] = relative ?? [];
  const found = relative ? `${uplift(estimate)}  (${uplift(low)} to ${uplift(high)})` : "–";
  return { cells: [arm, { className: "soft", text: NAMES[measure] ?? measure }, { className: "n", text: found }, { className: COLOURS[verdict], text: verdict }] };
}

function draw({ reported_at: at, report }) {
  const seen = report.arms.map(({ arm, impressions, clicks }) => `${arm} ${count(impressions)} impressions, ${count(clicks)} clicks`).join("; ");
  const broken = report.guard_rails.filter(({ fine }) => !fine);
  const rails = broken.map(({ name, found }) => make("li", { className: "bad" }, make("b", {}, name), " ", make("span", {}, found)));
  const parts = [make("p", { className: "note" }, `${seen}. Counted until ${clock(at / 1000)}; the intervals hold at every look.`)];
  if (rails.length) parts.push(make("p", {}, "A guard rail fails: don't believe the uplift."), make("ul", { className: "rails" }, ...rails));
  if (report.uplifts.length) {
    const rows = make("table");
    table(rows, report.uplifts.map(of), ["arm", "measure", `beside ${report.control}`, ""]);
    parts.push(rows);
  } else {
    parts.push(make("p", { className: "note" }, "No uplift is shown before an arm and control have units and clicks enough."));
  }
  $("report").replaceChildren(...parts);
}

// Show the report of an experiment, if one is kept where this server runs.
export async function experiment(name) {
  if (Date.now() < next) return;
  next = Date.now() + EVERY;
  const answer = await ask("v1/experiments");
  const kept = answer.ok ? (await answer.json()).experiments.find(({ report }) => report.experiment === name) : undefined;
  $("report-card").hidden = !kept;
  if (kept) draw(kept);
}
