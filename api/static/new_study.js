// New study: axes over a base job, and a preview from the server with every change.
import { at, fail, inProject, post, throttled, tryOut } from "./app.js";
import { uploading } from "./code_upload.js";
import { JobForm } from "./form.js";
import { reading, write } from "./form_yaml.js";
import { marked } from "./marked.js";
import { counted } from "./numbers.js";

const element = document.getElementById("form");
const form = new JobForm(element);
const axes = document.getElementById("axes");
const preview = document.getElementById("preview");
const given = JSON.parse(document.getElementById("spec").textContent);
const SHOWN_REFUSALS = 10;
const SHOWN = ["name", "base", "axes", "seeds", "reuse"];
let kept = {}; // what the form has no inputs for: exclude, search, decide, ...
let keptOfBase = {};
let count = 0;
let asked = 0; // only the latest answer is shown: an earlier one is of another study

function addAxis(path, values = "", linked = false) {
  const row = document.getElementById("axis").content.cloneNode(true).firstElementChild;
  count += 1;
  for (const label of row.querySelectorAll("[data-for]")) {
    const part = row.querySelector(`[data-part="${label.dataset.for}"]`);
    part.id = `axis-${count}-${label.dataset.for}`;
    label.htmlFor = part.id;
  }
  const part = (name) => row.querySelector(`[data-part="${name}"]`);
  if (path) {
    if (![...part("path").options].some((o) => o.value === path)) part("path").add(new Option(path));
    part("path").value = path;
  }
  part("values").value = values;
  part("linked").checked = linked;
  part("remove").setAttribute("aria-label", `Remove axis ${count}`);
  part("remove").addEventListener("click", () => { row.remove(); check(); });
  axes.append(row);
  return row;
}

/** Convert text to values: as JSON if possible, otherwise split at commas; `group+proxy` is short for an object. */
export function values(text) {
  let found;
  try { found = JSON.parse(`[${text}]`); } catch {
    found = text.split(",").map((part) => part.trim()).filter(Boolean).map(scalar);
  }
  return found.map((v) => (typeof v === "string" && v.endsWith("+proxy") ? { kind: v.slice(0, -6), proxy: true } : v));
}

function scalar(text) {
  if (["true", "false", "null"].includes(text)) return JSON.parse(text);
  return Number.isFinite(Number(text)) ? Number(text) : text;
}

/** Write *found* so that `values` can read it: in short form if that loses nothing, otherwise as JSON. */
function written(found) {
  const isProxied = ({ kind, proxy, ...others }) => kind && proxy === true && !Object.keys(others).length;
  const short = found.map((v) => (v !== null && typeof v === "object" && isProxied(v) ? `${v.kind}+proxy` : v)).join(", ");
  return JSON.stringify(values(short)) === JSON.stringify(found) ? short : found.map((v) => JSON.stringify(v)).join(", ");
}

function study() {
  const found = [];
  for (const row of axes.children) {
    const part = (name) => row.querySelector(`[data-part="${name}"]`);
    const axis = { [part("path").value]: values(part("values").value) };
    if (part("linked").checked && found.length) Object.assign(found.at(-1), axis);
    else found.push(axis);
  }
  const seedsText = document.getElementById("study-seeds").value;
  const seeds = values(seedsText);
  const base = form.spec();
  if (found.some((axis) => "normalizer" in axis)) delete base.normalizer; // each cell has that of the axis
  const spec = {
    name: document.getElementById("study-name").value.trim(),
    base: { ...base, ...keptOfBase },
    axes: found,
    seeds: seeds.length === 1 && !seedsText.includes(",") ? seeds[0] : seeds,
    ...kept,
  };
  if (!document.getElementById("study-reuse").checked) spec.reuse = false;
  return spec;
}

function complain(problems) {
  for (const line of element.querySelectorAll(".wrong")) line.hidden = true;
  for (const input of element.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  const base = problems.filter((p) => p.field.startsWith("base."));
  const rest = form.complain(base.map((p) => ({ ...p, field: p.field.slice(5) })));
  for (const { field, rule } of problems) {
    const row = [...axes.children].find((r) => field.startsWith(`axes.${r.querySelector("select").value}`));
    const place = row || element.querySelector(`#study-${field.split(".")[0]}`)?.closest(".field");
    if (!place || field.startsWith("base.")) continue;
    const line = place.querySelector(".wrong");
    line.replaceChildren(...marked(rule));
    line.hidden = false;
    place.querySelector("input").setAttribute("aria-invalid", "true");
  }
  return rest;
}

function line(text, name = "p", kind = "") {
  const p = document.createElement(name);
  p.append(...marked(text));
  p.className = kind;
  return p;
}

const check = throttled(async () => {
  const mine = asked += 1;
  preview.setAttribute("aria-busy", "true"); // what it says is of an earlier study
  const spec = study();
  document.getElementById("json").textContent = JSON.stringify(spec, null, 2);
  await write(spec);
  const button = document.getElementById("submit");
  try {
    const found = await tryOut(inProject("/v1/studies:preview"), spec);
    if (mine !== asked) return;
    preview.removeAttribute("aria-busy");
    complain([]);
    button.disabled = found.refused_cells > 0;
    preview.replaceChildren(
      line(`${counted(found.cells, "cell")}, ${counted(found.epochs, "epoch")} to train`),
      ...(found.reusable ? [line(`${counted(found.reusable, "cell")} already computed`)] : []),
      line(`Run one after another: ${found.estimate}`),
      ...(found.packs ? [line(packs(found))] : []),
      ...found.pack_obstacles.map((one) => line(`${counted(one.cells, "cell")} ${one.alone ? "alone" : "in separate packs"} because of ${one.field}: ${one.rule}`)),
      ...idleRules(found),
      ...refusals(found),
    );
  } catch (error) {
    if (mine !== asked) return;
    preview.removeAttribute("aria-busy");
    if (!error.problem?.errors) {
      preview.replaceChildren(line(`Not known: ${error.message} The next change tries again.`, "p", "quiet"));
      throw error;
    }
    complain(error.problem.errors);
    button.disabled = true;
    const ul = document.createElement("ul");
    ul.append(...error.problem.errors.map(({ field, rule }) => line(`${field}: ${rule}`, "li", "wrong")));
    preview.replaceChildren(line("Please correct:"), ul);
  }
}, 500);

function packs({packed, alone, packs, pack_gain: gain}) {
  const faster = gain ? `, about ${gain} times as fast` : "; how much faster is not known yet";
  return `${packed} of ${counted(packed + alone, "cell")} in ${counted(packs, "pack")}${faster}`;
}

function idleRules({ idle_rules: rules }) {
  const told = rules.slice(0, SHOWN_REFUSALS).map((rule) => line(`Warning: no cell matches the rule \`${JSON.stringify(rule)}\` of exclude.`));
  return rules.length > SHOWN_REFUSALS ? [...told, line(`${rules.length} such rules in all.`)] : told;
}

function refusals({refused, refused_cells: all}) {
  if (!all) return [];
  const ul = document.createElement("ul");
  ul.append(...refused.slice(0, SHOWN_REFUSALS).map((r) => line(
    `${Object.entries(r.coordinates).map(([k, v]) => `${k} = ${JSON.stringify(v)}`).join(", ")}: ${r.problems.map((p) => p.rule).join("; ")}`, "li", "wrong")));
  return [line(`${counted(all, "cell")} would be refused${all > SHOWN_REFUSALS ? `, such as` : ""}:`), ul];
}

/** Reset the form to its defaults, and fill in a whole study. */
function fill(spec) {
  document.getElementById("study-name").value = spec.name ?? "";
  document.getElementById("study-seeds").value = seedsOf(spec.seeds ?? [0]);
  document.getElementById("study-reuse").checked = spec.reuse ?? true;
  form.refill(spec.base ?? {});
  axes.replaceChildren();
  for (const axis of spec.axes ?? []) Object.entries(axis).forEach(([path, v], i) => addAxis(path, written(v), i > 0));
  keep(spec);
}

/** One seed as a list is not a number of seeds. */
const seedsOf = (seeds) => (seeds.every((seed, i) => seed === i) ? String(seeds.length) : seeds.length === 1 ? `${seeds[0]},` : seeds.join(", "));

/** Keep what the form does not show, and say so. */
function keep(spec) {
  const without = (value) => value === null || value === undefined || (Array.isArray(value) && !value.length);
  const others = (from, shown) => Object.fromEntries(Object.entries(from ?? {}).filter(([name, value]) => !shown(name) && !without(value)));
  kept = others(spec, (name) => SHOWN.includes(name));
  keptOfBase = others(spec.base, (name) => form.names.has(name));
  const names = [...Object.keys(kept), ...Object.keys(keptOfBase).map((name) => `base.${name}`)];
  const note = document.getElementById("kept");
  note.hidden = !names.length;
  note.textContent = `These fields are kept; change them in the YAML: ${names.join(", ")}.`;
}

if (given) {
  fill({ ...given, name: document.getElementById("preset").value ? given.name : `${given.name} (copy)` });
} else {
  addAxis("normalizer", "batch, group, group+proxy");
  addAxis("batch_size", "32, 8, 2");
}
reading({ refill: fill }, check);
uploading(form, check);
document.getElementById("preset").addEventListener("change", ({ target }) => {
  location.assign(at(`/studies/new${target.value ? `?${target.value.replace(/=(.*)/, (_, name) => `=${encodeURIComponent(name)}`)}` : ""}`));
});
document.getElementById("add-axis").addEventListener("click", () => { addAxis().querySelector("select").focus(); check(); });
element.addEventListener("input", check);
element.addEventListener("change", check);
element.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = document.getElementById("submit");
  button.disabled = true;
  try {
    const made = await post(inProject("/v1/studies"), study());
    location.assign(at(`/studies/${made.id}`));
  } catch (error) {
    complain(error.problem?.errors || []);
    fail(error.message);
    button.disabled = false;
  }
});
check();
