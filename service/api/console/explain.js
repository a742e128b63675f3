// Why a candidate is predicted as it is: the terms of its logit, as bars that add up, and what each field gives.

import { make, percent, signed, signedBar, table } from "./show.js";

const sum = (numbers) => numbers.reduce((total, each) => total + each, 0);

function terms({ bias, wide, skip, cross = [], main, branch = 0 }) {
  const layers = (name, values) => values.map((value, n) => [`${name} ${n + 1}`, value]);
  return [["bias", bias], ["wide, all fields", sum(Object.values(wide))], ...layers("skip term of layer", skip), ...layers("skip term of cross layer", cross), ["main path", main], ["branch", branch]].filter(([, value]) => value !== 0);
}

function bars(rows, total = null) {
  const most = Math.max(...rows.map(([, value]) => Math.abs(value)), 1e-9);
  const row = ([name, value], className = "") => ({ className, cells: [name, signedBar(value, most), { className: "n", text: signed(value) }] });
  const made = make("table", { className: "bars" });
  table(made, [...rows.map((each) => row(each)), ...(total ? [{ className: "sum", cells: [total[0], { className: "n", text: total[1], span: 2 }] }] : [])]);
  return made;
}

export function explain(node, explained) {
  const fields = Object.keys(explained.wide).map((name) => [name, explained.wide[name] + explained.deep[name]]);
  fields.sort(([, a], [, b]) => Math.abs(b) - Math.abs(a));
  node.replaceChildren(
    make("p", { className: "note" }, "The logit of ", make("bdi", {}, `${explained.id}`), " is a sum:"),
    bars(terms(explained), ["logit", `${signed(explained.logit)} → ${percent(explained.probability, 2)}`]),
    make("p", { className: "note" }, "What each field gives, against a value never seen (they act together, so these do not add up):"),
    bars(fields.slice(0, 12)),
  );
}
