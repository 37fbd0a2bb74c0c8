// The table of a study: each row with its interval, its cells without a value, and its jobs.
import { at } from "./app.js";
import { marks, measured, readable } from "./charts.js";
import { bytesOf } from "./numbers.js";

const MOST_ROWS = 500;

export const mean = (row) => (row.half_text ? `${row.mean_text} ± ${row.half_text}` : row.mean_text || "–");
export const without = (row) => Object.entries(row.without).map(([why, count]) => `${count} ${why}`).join(", ");

const TO_COME = ["queued", "running", "missing"];

/** Why none of *rows* has a value. */
export function whyNone(rows) {
  const all = {};
  for (const row of rows) for (const [why, count] of Object.entries(row.without)) all[why] = (all[why] ?? 0) + count;
  if (TO_COME.some((why) => all[why])) return "No cell has reported this metric yet. Results appear here as jobs end.";
  const ofPack = all.packed ? " Times and memory of a job in a pack are those of the whole pack." : "";
  return `No cell has a value of this metric: ${without({ without: all })}.${ofPack}`;
}

/** Write a number in the unit of the row's mean, and with as many decimals as it has. */
export function like(row, value) {
  if (value === null || !row.mean_text) return readable(value);
  const [mean, unit = ""] = row.mean_text.split(" ");
  const inUnit = value / bytesOf(unit);
  const decimals = (mean.split(".")[1] || "").length;
  const short = mean.includes("e") ? readable(inUnit) : (Number(inUnit.toFixed(decimals)) || 0).toFixed(decimals); // -0 is 0
  return unit ? `${short} ${unit}` : short;
}

export function make(name, text = "", kind = "") {
  const element = document.createElement(name);
  element.textContent = text;
  if (kind) element.className = kind;
  return element;
}

/** The numbers of a path with as many digits as distinguish them: from the label to its text. */
export function shorter(rows, path) {
  const numbers = new Map(rows.filter((row) => typeof row.coordinates[path] === "number").map((row) => [row.labels[path], row.coordinates[path]]));
  const texts = marks([...numbers.values()]);
  return new Map(new Set(texts).size < texts.length ? [] : [...numbers.keys()].map((label, i) => [label, texts[i]]));
}

export function fill(table) {
  const head = make("tr");
  const shown = table.group_by;
  const texts = new Map(shown.map((path) => [path, shorter(table.rows, path)]));
  for (const name of [...shown, "mean", "low", "high", "sd", "n", "without a value", "jobs by seed"]) {
    const th = make("th", name, shown.includes(name) || /^(jobs|without)/.test(name) ? "" : "number");
    th.scope = "col";
    head.append(th);
  }
  const body = make("tbody");
  body.append(...table.rows.slice(0, MOST_ROWS).map((row) => tableRow(row, texts, table.metric)));
  const thead = make("thead");
  thead.append(head);
  const kind = { t: "Student's t", bootstrap: "bootstrap" }[table.interval];
  const caption = make("caption", `Mean over seeds; ± half, low and high: the ${+(100 * table.confidence).toFixed(10)} % interval (${kind}), whatever the charts show around a mean.`);
  document.getElementById("table").replaceChildren(caption, thead, body);
  const left = table.rows.length - MOST_ROWS;
  document.getElementById("table-left").textContent = left > 0 ? `The first ${MOST_ROWS} of ${table.rows.length} rows. The exports contain all rows.` : "";
}

function tableRow(row, texts, metric) {
  const tr = make("tr");
  const named = [...texts].map(([path, short]) => make("td", short.get(row.labels[path]) ?? row.labels[path]));
  tr.append(...named, make("td", mean(row), "number"));
  for (const name of ["low", "high"]) tr.append(make("td", like(row, row[name]), "number"));
  tr.append(make("td", measured(metric, row.sd), "number"));
  tr.append(make("td", row.n, "number"), make("td", without(row)));
  const jobs = make("td");
  for (const [seed, job] of Object.entries(row.jobs)) {
    const link = make("a", `${seed}`);
    link.href = at(`/jobs/${job}`);
    link.title = row.states[seed] || "";
    link.setAttribute("aria-label", `Job of seed ${seed}: ${row.states[seed] || "not run"}`);
    jobs.append(link, " ");
  }
  tr.append(jobs);
  return tr;
}
