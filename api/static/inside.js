// The page inside a network: all pictures show the same moment and layer, of one run or of two.
import { ask, computed, fail, follow, throttled } from "./app.js";
import { Net } from "./inside_net.js";
import { ofLayers } from "./inside_numbers.js";
import { Panel } from "./inside_panel.js";
import { Run, epochs, moments, reading } from "./inside_runs.js";

const page = document.getElementById("inside");
const runs = [...page.querySelectorAll("span.run")].map((element) => new Run(element));
const slider = document.getElementById("time");
const play = document.getElementById("play");
const painted = document.getElementById("net-measure");
const EACH_MS = 450;
const MOST_SHOWN = 60; // readings of one playing: half a minute, however long the training was
const ENDED = ["succeeded", "failed", "cancelled"];

let times = [];
let chosen = null;
let playing = null;

const choose = (layer) => { chosen = layer; move(); };
const goTo = (time) => { stop(); slider.value = reading(times, time); move(); };
const panels = [...page.querySelectorAll("section.panel")].map((section) => new Panel(section, { choose, goTo }));
const figures = [...page.querySelectorAll("figure.net")];
const nets = figures.map((figure) => new Net(figure, choose));

const view = () => ({
  runs, chosen, now: times[slider.value] ?? 0, last: Math.max(...times, ...runs.map((run) => Math.min(run.epochs, (run.step || 0) / run.each)), 1e-6),
});

/** Offer every measure for the layers' colours; keep what was chosen. */
function offer() {
  const before = painted.value;
  painted.replaceChildren(new Option("nothing", ""));
  for (const panel of panels) {
    const found = panel.measures.filter((measure) => runs.some((run) => panel.colours(run).includes(measure)));
    if (!found.length) continue;
    const group = document.createElement("optgroup");
    group.label = panel.section.querySelector("h2").textContent;
    group.append(...found.map((measure) => new Option(measure.title, `${panel.diagnostic} ${measure.name}`)));
    painted.append(group);
  }
  const values = [...painted.options].map((option) => option.value);
  painted.value = values.includes(before) && before ? before : values[1] ?? "";
}

function paint() {
  const [diagnostic, ...name] = painted.value.split(" ");
  const panel = panels.find((one) => one.diagnostic === diagnostic);
  const measure = panel?.measures.find((one) => one.name === name.join(" "));
  const scale = measure ? panel.scaleFor(measure, runs) : null;
  const { now } = view();
  nets.forEach((net, i) => net.paint((site) => (measure ? panel.valueAt(runs[i], measure, site, now) : null), scale, chosen));
}

function tell() {
  const { now } = view();
  const update = runs[0].each ? Math.round(now * runs[0].each) : 0;
  document.getElementById("moment").textContent = times.length ? `epoch ${epochs(now)}, update ${update}` : "no reading yet";
  slider.setAttribute("aria-valuetext", `epoch ${epochs(now)}`);
}

function move() {
  const present = view();
  panels.forEach((panel) => panel.move(present));
  paint();
  tell();
}

function draw() {
  const atEnd = Number(slider.value) >= Number(slider.max);
  const now = times[slider.value];
  times = moments(runs);
  slider.max = Math.max(0, times.length - 1);
  slider.value = atEnd || now === undefined ? slider.max : reading(times, now);
  for (const control of [slider, play]) control.disabled = times.length < 2;
  offer();
  const present = view();
  panels.forEach((panel) => panel.show(present));
  paint();
  tell();
}

async function readNet(figure, i) {
  const found = await computed(() => ask(figure.dataset.url));
  if (!found.layers.length) {
    figure.querySelector(".net-box").textContent = `The network cannot be drawn: ${found.reason}.`;
    return;
  }
  runs[i].layers = found.layers;
  runs[i].order();
  nets[i].show(found.layers);
  chosen ??= found.layers.find((layer) => layer.role === "normalizer")?.name ?? null;
  figure.querySelector("details .scroll").replaceChildren(ofLayers(runs[i].label, found.layers));
  draw();
}

function stop() {
  clearInterval(playing);
  playing = null;
  play.textContent = "Play";
  play.setAttribute("aria-pressed", "false");
}

function start() {
  if (Number(slider.value) >= Number(slider.max)) slider.value = 0;
  play.textContent = "Pause";
  play.setAttribute("aria-pressed", "true");
  playing = setInterval(() => {
    if (Number(slider.value) >= Number(slider.max)) { stop(); return; }
    slider.value = Number(slider.value) + Math.ceil(times.length / MOST_SHOWN); // the last one is where it ends
    move();
  }, EACH_MS);
  move();
}

play.addEventListener("click", () => (playing ? stop() : start()));
slider.addEventListener("input", () => { stop(); move(); }); // who takes it looks at one moment
painted.addEventListener("change", paint);
document.getElementById("beside").addEventListener("change", (event) => event.target.form.requestSubmit());
document.addEventListener("themechange", () => { nets.forEach((net, i) => runs[i].layers.length && net.show(runs[i].layers)); draw(); });

const load = async () => { await Promise.all(runs.map((run) => run.load())); draw(); };
load().catch((error) => fail(error.message));
figures.forEach((figure, i) => readNet(figure, i).catch((error) => fail(error.message)));

if (!ENDED.includes(page.dataset.state)) {
  const loadSoon = throttled(load, 3000);
  follow(page.dataset.events, (event, source) => {
    if (event.kind !== "progress") return;
    document.getElementById("reached").textContent = `epoch ${event.payload.epoch} of ${event.payload.epochs}`;
    if (ENDED.includes(event.payload.state)) source.close();
    loadSoon();
  });
}
