// The page of one kind of normalizer: its inputs, outputs and gradients as points.
import { ask, computed, throttled } from "./app.js";
import { table } from "./inside_numbers.js";
import { Scatter } from "./normalizer_points.js";
import { readable } from "./charts.js";

const form = document.getElementById("sample");
const readout = document.getElementById("sample-readout");
const say = (text) => { readout.textContent = text; };
const pictures = {
  forward: new Scatter(document.getElementById("forward"), "input x", "output y", say),
  backward: new Scatter(document.getElementById("backward"), "gradient of y", "gradient of x", say),
};
let found = null;

/** The options that differ from what the page was rendered with, as JSON. */
function options() {
  const given = {};
  for (const field of form.querySelectorAll("[data-option]")) {
    const text = field.value.trim();
    if (text === field.dataset.default) continue;
    given[field.dataset.option] = field.dataset.kind === "text" ? text : JSON.parse(text || "null");
  }
  return JSON.stringify(given);
}

function query() {
  const asked = new URLSearchParams({ options: options() });
  for (const name of ["samples", "side", "before", "shift", "scale"]) asked.set(name, form.elements[name].value);
  return asked;
}

/** The sample or channel that colours each value. */
function groups() {
  const [, channels, positions] = found.shape;
  const by = form.elements.by.value;
  return found.x.map((_, i) => (by === "sample" ? Math.floor(i / (channels * positions)) : Math.floor(i / positions) % channels));
}

function draw() {
  if (!found?.x.length) return;
  const of = groups();
  const name = found.what === "weights" ? "filter" : form.elements.by.value;
  const behind = form.elements.mode.value === "evaluated" && found.evaluated.length ? found.evaluated : found.y;
  pictures.forward.show(found.x, behind, of, name);
  pictures.backward.show(found.dy, found.dx, of, name);
  tabulate(of, name, behind);
}

function tabulate(of, name, behind) {
  const moments = (values, group) => {
    const own = values.filter((_, i) => of[i] === group);
    const mean = own.reduce((a, b) => a + b, 0) / own.length;
    return [mean, Math.sqrt(own.reduce((a, b) => a + (b - mean) ** 2, 0) / own.length)].map(readable);
  };
  const rows = [...new Set(of)].map((group) => [`${name} ${group}`, ...moments(found.x, group), ...moments(behind, group), ...moments(found.dy, group), ...moments(found.dx, group)]);
  const head = [name, ...["x", "y", "gradient of y", "gradient of x"].flatMap((what) => [`${what}: mean`, "deviation"])];
  document.getElementById("moments").replaceChildren(table(`Mean and deviation by ${name}`, head, rows));
}

const refresh = throttled(async () => {
  const problem = document.getElementById("sample-problem");
  try {
    found = await computed(() => ask(`${form.dataset.url}?${query()}`));
    problem.textContent = found.reason ? `There is nothing to draw: ${found.reason}` : "";
    say("");
  } catch (error) {
    const rules = error.problem?.errors?.map((one) => `${one.field}: ${one.rule}`).join("; ");
    say("");
    problem.textContent = rules || (error instanceof SyntaxError ? "This is not a number, true or false; leave it empty for none." : error.message);
    return;
  }
  if (found.doc) document.getElementById("doc").textContent = found.doc;
  document.getElementById("doc").closest("details").hidden = !found.doc;
  form.elements.by.disabled = found.what === "weights";
  draw();
}, 400);

form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", (event) => (["by", "mode"].includes(event.target.name) ? draw() : refresh()));
document.addEventListener("themechange", draw);
refresh();
