// The table of a comparison: fields that differ, the mean over seeds, and the paired difference from the reference.
import { at } from "./app.js";
import { colour } from "./charts.js";
import { counted } from "./not_finite.js";
import { mean } from "./runs_values.js";
import { like } from "./study_table.js";

function make(tag, content = "", kind = "") {
  const element = document.createElement(tag);
  element.textContent = content;
  element.className = kind;
  return element;
}

export const said = (value) => (value === null || value === undefined ? "–" : typeof value === "object" ? JSON.stringify(value) : String(value));

/** The fields that differ: first those that distinguish the rows, then those that every row has, then options of some kinds. */
export function toldFirst({ differing, telling }) {
  const others = Object.keys(differing).filter((path) => !telling.includes(path));
  const isWhole = (path) => differing[path].every((value) => value !== null && value !== undefined);
  return [...telling, ...others.filter(isWhole), ...others.filter((path) => !isWhole(path))];
}

/** Write a p as papers do: three decimals, or less than 0.001. */
const shownP = (p) => (p === null ? "–" : p < 0.001 ? "< 0.001" : p.toFixed(3));

function difference(found) {
  if (!found) return ["–", "–", "–"];
  const sign = parseFloat(found.mean_text) > 0 ? "+" : "";
  const interval = found.low === null ? "–" : `${like(found, found.low)} to ${like(found, found.high)}`;
  const left = counted(Object.values(found.excluded));
  return [`${sign}${found.mean_text} (${[`n = ${found.n}`, left].filter(Boolean).join(", ")})`, interval, shownP(found.p_adjusted)];
}

/** Fill *table* from the comparison; *hues[i]* is the {hue, ink} of group i, *choose(job)* makes a reference. */
export function fill(table, found, hues, choose) {
  const fields = { first: found.telling, last: toldFirst(found).slice(found.telling.length) };
  const head = make("tr");
  const names = ["reference", "runs by seed", ...fields.first, found.metric, "difference", "95 % interval", "p", "", ...fields.last];
  const numbers = [found.metric, "difference", "95 % interval", "p"];
  head.append(...names.map((name) => { const th = make(name ? "th" : "td", name, numbers.includes(name) ? "number" : ""); if (name) th.scope = "col"; return th; }));
  const thead = make("thead");
  thead.append(head);
  const body = make("tbody");
  body.append(...found.groups.map((group, i) => line(found, group, i, fields, hues[i], choose)));
  table.replaceChildren(thead, body);
}

function line(found, group, i, fields, hue, choose) {
  const row = make("tr", "", i === found.reference ? "reference" : "");
  const pick = make("td");
  const radio = document.createElement("input");
  Object.assign(radio, { type: "radio", name: "reference", checked: i === found.reference });
  radio.setAttribute("aria-label", `Compare with ${group.label}`);
  radio.addEventListener("change", () => choose(group.jobs[0]));
  pick.append(radio);
  const [by, interval, p] = difference(group.difference);
  const states = Object.entries(group.states).filter(([state]) => state !== "succeeded").map(([state, n]) => `${n} ${state}`);
  const value = (path) => make("td", said(found.differing[path][i]));
  const repeated = group.repeated ? [`${group.repeated} repeated: the newest of a seed counts`] : [];
  row.append(
    pick, runs(found, i, hue), ...fields.first.map(value),
    make("td", group.mean ? mean(group.mean) : counted(Object.values(group.excluded)) || "–", "number"),
    make("td", by, "number"), make("td", interval, "number"), make("td", p, "number"),
    make("td", [group.why, ...states, ...repeated].filter(Boolean).join("; "), "quiet small"), ...fields.last.map(value),
  );
  return row;
}

function runs(found, i, { hue, ink }) {
  const cell = make("td");
  const swatch = make("span", "", `swatch ${ink ? "" : ["", "dashed", "dotted"][Math.floor(hue / 8) % 3]}`);
  swatch.style.color = ink ?? colour(hue);
  cell.append(swatch);
  const mine = found.runs.filter((run) => run.group === i).sort((a, b) => a.seed - b.seed);
  for (const run of mine.slice(0, 12)) {
    const link = make("a", run.name ?? run.study_name ?? run.id.slice(-6));
    if (mine.length > 1) link.textContent = run.seed;
    link.href = at(`/jobs/${run.id}`);
    link.title = `${run.name ?? run.id}, seed ${run.seed}, ${run.state}${run.study_name ? `, of ${run.study_name}` : ""}`;
    if (mine.length > 1) link.setAttribute("aria-label", `Run of seed ${run.seed}`);
    cell.append(link, " ");
  }
  if (mine.length > 12) cell.append(`and ${mine.length - 12} more`);
  return cell;
}
