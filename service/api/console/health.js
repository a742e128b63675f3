// What is wrong, in words: each finding says what it is, by which numbers, and what to do.

import { clock, count, known, percent, rate, seconds } from "./show.js";

const STALE = 10;  // seconds
const SLOW = 0.3;  // seconds that a log takes to say where a topic ends
const QUIET = 1.5;  // records a second: a heartbeat comes once a second
const USUAL = 0.02, TENTH = 0.1;  // clicks an impression that can be missed; how many of the usual are none: to an idle topic the joiner writes marks

const finding = (kind, what, why) => ({ kind, what, why });

// The mean of a column over the last seconds, of what is known; null if nothing is.
function mean(samples, column, now, span) {
  const found = samples[column].filter((value, n) => known(value) && samples.time[n] > now - span);
  return found.length ? found.reduce((sum, each) => sum + each, 0) / found.length : null;
}

function stale(model, samples, now) {
  const age = model.staleness_seconds;
  if (age < STALE || model.held) return [];  // of versions that are held the guard tells
  const [examples, impressions, toJoin, toLearn] = [["examples", 20], ["impressions", 20], ["to_join", 6], ["to_learn", 6]].map(([column, span]) => mean(samples, column, now, span));
  const old = `The weights in service are ${seconds(age)} old.`;
  const passing = mean(samples, "hop_learn", now, 6) !== null;  // heartbeats, which are among the examples, come through the learner
  if (!passing && (examples > 0.2 || toLearn > 1000)) return [finding("bad", "The learner publishes nothing.", `${old} Examples come at ${rate(examples ?? 0)} a second. Is \`sml learn\` running? Its log says why it ended.`)];
  if (impressions > QUIET && toJoin > 20 * impressions) return [finding("bad", "The joiner is behind, or has stopped.", `${old} ${count(toJoin)} records wait for it. Is \`sml join\` running?`)];
  if (impressions !== null && impressions <= QUIET) return [finding("warn", "Nothing comes in.", `${old} There are no new impressions to learn from.`)];
  return [finding("warn", "The weights are stale.", `${old} No newer ones have come: examples may still wait for their clicks.`)];
}

function held(model, holds) {
  if (!model.held) return [];
  const began = holds.findLast((hold) => hold.until === null), reasons = (why) => Object.entries(why).map(([check, found]) => `${check}: ${found}`).join("; ");
  const why = reasons(model.held.why), first = began && reasons(began.why);
  const before = first && first !== why ? `It began with ${first}. Now ${why}` : why;
  return [finding("bad", `Newer versions are held${began ? ` since ${clock(began.since)}` : ""}; version ${count(model.version)} stays in service.`, `${before}. It ends by itself when quality returns; \`sml snapshots approve\` serves what was learned.`)];
}

function clicks(samples, now) {
  const [impressions, recent] = [mean(samples, "impressions", now, 60), mean(samples, "clicks", now, 60)];
  const before = samples.time.map((time, n) => n).filter((n) => samples.time[n] <= now - 60 && known(samples.impressions[n]) && known(samples.clicks[n]));
  const [shown, clicked] = ["impressions", "clicks"].map((column) => before.reduce((sum, n) => sum + samples[column][n], 0));
  if (!(impressions > 5) || recent === null || !(clicked > USUAL * shown) || recent * shown > TENTH * clicked * impressions) return [];
  return [finding("bad", "Clicks have stopped.", `${rate(impressions)} impressions a second, ${rate(recent)} clicks; before it were ${rate(impressions * clicked / shown)}. What is learned from now on is that nobody clicks.`)];
}

function slow(samples, now) {
  const hops = ["log", "join", "learn", "publish", "serve"].map((hop) => [hop, mean(samples, `hop_${hop}`, now, 20)]).filter(([, s]) => s !== null);
  const total = hops.reduce((sum, [, s]) => sum + s, 0), log = mean(samples, "log_seconds", now, 20);
  if (log > SLOW) return [finding("bad", "The log is slow.", `It takes ${seconds(log)} to say where a topic ends, and all that is written and read waits for it${total ? `: from an event to the weights that know it, ${seconds(total)}` : ""}.`)];
  if (total < 1) return [];
  const [hop, took] = hops.toSorted(([, a], [, b]) => b - a)[0];
  const what = { log: "the log takes records slowly", join: "the joiner is slow to write", learn: "the learner is slow to read and learn", publish: "versions are committed slowly", serve: "this server is slow to follow" }[hop];
  return [finding("warn", `From an event to the weights that know it: ${seconds(total)}.`, `The hop “${hop}” takes ${seconds(took)} of it: ${what}.`)];
}

function quality(learner, samples, now) {
  const found = [];
  const table = samples.table.at(-1);
  if (table > 0.97) found.push(finding("warn", "The table is full.", `${percent(table)} of its rows are occupied, and ${count(learner?.expired_rows ?? 0)} values gave way to newer ones: [table] capacity says how many there are.`));
  const calibration = mean(samples, "calibration", now, 20);
  if (learner?.examples > 2000 && calibration && (calibration < 0.8 || calibration > 1.25)) found.push(finding("warn", `Predicted are ${calibration.toFixed(2)} times the clicks that came.`, "Over the newest examples; 1 is right. Has what visitors do changed, or do clicks come late?"));
  return found;
}

function serving(samples, now, setAside) {
  const found = [];
  const failures = mean(samples, "failures", now, 20);
  if (failures > 0.2) found.push(finding("warn", `${rate(failures)} requests a second fail.`, "They are refused as wrong (422), or met an error of this server (5xx); its metrics count them by route and status."));
  const later = mean(samples, "unavailable", now, 20);
  if (later > 0.2) found.push(finding("warn", `${rate(later)} requests a second are told to come again later.`, "This server has more to answer than it can soon, or has no weights or no log; clients of ours do come again (503)."));
  const latency = mean(samples, "latency", now, 20);
  if (latency > 0.4) found.push(finding("warn", `99 % of the predictions take up to ${seconds(latency)}.`, "This server is busy, or its log slow where requests ask to be logged."));
  const fresh = (setAside ?? []).filter((each) => each.last / 1000 > now - 60);
  if (fresh.length) found.push(finding("warn", "Records are set aside.", `In the last minute, the newest: ${fresh[0].reason}. \`sml dead-letters list\` shows them.`));
  if (samples.impressions.some(known) && mean(samples, "impressions", now, 20) === null) found.push(finding("bad", "This server can't reach the log.", "It serves the weights that it has, and gets no newer ones."));
  return found;
}

export function noAnswer(since) {
  return finding("bad", "No answer comes from the server.", `${since ? `What is shown here is of ${clock(since)}. ` : ""}It is asked again every second.`);
}

export function findings({ model, samples, learner, holds, set_aside: setAside, now }) {
  if (!model) return [finding("warn", "There are no weights yet.", "Is `sml learn` running on the same log? Its first version comes as it starts.")];
  return [...held(model, holds), ...stale(model, samples, now), ...clicks(samples, now), ...slow(samples, now), ...quality(learner, samples, now), ...serving(samples, now, setAside)];
}
