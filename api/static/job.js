// The page of one job: live curves, the log, events, artifacts, comparison with other jobs.
import { ask, at, fail, follow, throttled } from "./app.js";
import { Chart } from "./charts.js";
import { duration } from "./runs_values.js";
import { moment } from "./times.js";

const article = document.getElementById("job");
const id = article.dataset.job;
const USUAL = ["train/loss", "val/accuracy", "val/jaccard", "val/perplexity", "val/map", "val/map50", "val/content_loss", "val/style_loss", "val/loss", "train/accuracy", "train/images_per_s"];
/** Charts of the resources that the job uses; those that it has not reported are left out. */
const OF_THE_MACHINE = ["device/cpu_percent", "device/memory_bytes", "device/gpu_percent", "device/gpu_memory_bytes"];
const ENDED = ["succeeded", "failed", "cancelled"];

const charts = new Map();
const jobs = [{ id, label: "this job" }];
let known = [];
let range = null;

function show(metric) {
  if (charts.has(metric)) return;
  const ofTheMachine = OF_THE_MACHINE.includes(metric);
  const chart = new Chart(document.getElementById(ofTheMachine ? "machine" : "charts"), metric, jobs);
  chart.fromZero = ofTheMachine;
  chart.log = wantsLog(metric);
  chart.range = range;
  chart.onZoom = zoom;
  charts.set(metric, chart);
}

const wantsLog = (metric) => metric.endsWith("/loss") && document.getElementById("logscale").checked;
const reload = () => Promise.all([...charts.values()].map((chart) => chart.load()));
const reloadSoon = throttled(reload, 1000);

function zoom(to) {
  range = to;
  for (const chart of charts.values()) chart.range = range;
  reloadSoon();
}

function offer(names) {
  known = [...new Set([...known, ...names])].sort();
  for (const name of [...USUAL, ...OF_THE_MACHINE]) if (known.includes(name)) show(name);
  document.getElementById("machine-charts").hidden = !OF_THE_MACHINE.some((name) => known.includes(name));
  document.getElementById("no-curves").hidden = known.length > 0;
  const menu = document.getElementById("more");
  menu.replaceChildren(new Option("choose…", ""), ...known.filter((n) => !charts.has(n)).map((n) => new Option(n)));
}

document.getElementById("more").addEventListener("change", (event) => {
  if (event.target.value) { show(event.target.value); offer([]); reloadSoon(); }
});
document.getElementById("reset").addEventListener("click", () => zoom(null));
document.getElementById("logscale").addEventListener("change", () => {
  for (const [metric, chart] of charts) { chart.log = wantsLog(metric); chart.redraw(); }
});

// Comparison: the URL contains the jobs, so that the view can be shared.
const compared = document.getElementById("compared");
const menu = document.getElementById("compare");

function compare(other, label) {
  if (!other || jobs.some((job) => job.id === other)) return;
  jobs.push({ id: other, label });
  const item = document.createElement("li");
  const link = document.createElement("a");
  link.href = at(`/jobs/${other}`);
  link.textContent = label;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Remove";
  button.setAttribute("aria-label", `Remove ${label} from the comparison`);
  button.addEventListener("click", () => {
    jobs.splice(jobs.findIndex((job) => job.id === other), 1);
    item.remove();
    remember();
  });
  item.append(link, " ", button);
  compared.append(item);
  remember();
}

function remember() {
  compared.hidden = jobs.length < 2;
  const address = new URL(location);
  address.searchParams.delete("compare");
  for (const job of jobs.slice(1)) address.searchParams.append("compare", job.id);
  history.replaceState(null, "", address);
  reloadSoon();
}

menu.addEventListener("change", () => {
  compare(menu.value, menu.selectedOptions[0].textContent);
  menu.value = "";
});

/** Compare with the jobs of the address, in their order; name those that do not exist. */
async function restore(asked) {
  const offered = new Map([...menu.options].map((option) => [option.value, option.textContent]));
  const labels = await Promise.all(asked.map((other) => offered.get(other) ?? labelOf(other)));
  const gone = asked.filter((_, i) => labels[i] === null);
  asked.forEach((other, i) => labels[i] !== null && compare(other, labels[i]));
  const note = document.getElementById("compared-gone");
  note.hidden = gone.length === 0;
  note.textContent = `Not compared, because ${gone.length === 1 ? "it was deleted or is" : "they were deleted or are"} in a project that you cannot see: ${gone.join(", ")}.`;
}

/** The name of a job; null if it does not exist. */
async function labelOf(other) {
  try {
    const { name, id: whole } = await ask(`/v1/jobs/${encodeURIComponent(other)}`);
    return name ?? whole.slice(-12);
  } catch (error) {
    if (error.problem?.status === 404) return null;
    throw error;
  }
}

restore([...new Set(new URLSearchParams(location.search).getAll("compare"))]).catch((error) => fail(error.message));

// The log, from its end on, one piece at a time.
const log = document.getElementById("log");
const MOST_CHARACTERS = 500_000;
let offset = -65_536;
let empty = true;

/** Why the log is empty, and where to look instead: a log has only what the training printed. */
function emptyLog(ended) {
  const state = article.dataset.state;
  if (state === "queued") return "Nothing is printed before the job runs.";
  if (!ended) return "The training has printed nothing so far. The curves above show its metrics.";
  const story = [...eventRows.rows].reverse().map((tr) => [...tr.cells].map((cell) => cell.textContent).join("  ").trim());
  return ["The training printed nothing. This is what happened:", ...story].join("\n");
}

const readLog = throttled(async () => {
  const page = await ask(`/v1/jobs/${id}/logs?offset=${offset}`);
  if (empty) log.textContent = page.text ? "" : emptyLog(page.ended);
  if (page.text) {
    empty = false;
    log.append(page.text);
    if (log.textContent.length > MOST_CHARACTERS) log.textContent = log.textContent.slice(-MOST_CHARACTERS);
    if (document.getElementById("tail").checked) log.scrollTop = log.scrollHeight;
  }
  const more = page.next_offset !== page.offset && page.text;
  offset = page.next_offset;
  if (more) readLog();
}, 1000);

const readArtifacts = throttled(async () => {
  const found = await ask(`/v1/jobs/${id}/artifacts`);
  const rows = found.map((artifact) => {
    const link = document.createElement("a");
    link.href = at(`/v1/jobs/${id}/artifacts/${encodeURIComponent(artifact.name)}`);
    link.download = "";
    link.textContent = artifact.name;
    return row([link, artifact.kind, [artifact.bytes.toLocaleString()], [artifact.step ?? "–"]]);
  });
  document.getElementById("artifacts").replaceChildren(...(rows.length ? rows : [row([["queued", "running"].includes(article.dataset.state) ? "None yet." : "It has no files.", "", [""], [""]])]));
}, 2000);

function row(cells) {
  const tr = document.createElement("tr");
  for (const content of cells) {
    const td = document.createElement("td");
    if (Array.isArray(content)) { td.className = "number"; td.append(String(content[0])); } else td.append(content);
    tr.append(td);
  }
  return tr;
}

const eventRows = document.getElementById("events");
eventRows.replaceChildren();

function tell(event) {
  const details = Object.entries(event.payload).filter(([, v]) => v !== null)
    .map(([k, v]) => `${k}: ${typeof v === "object" ? JSON.stringify(v) : v}`).join(", ");
  eventRows.prepend(row([moment(event.at, true), event.kind, details]));
  if (empty) readLog(); // which tells what happened where nothing was printed
}

function progress(record) {
  const of = record.steps ? ` of ${record.steps}` : "";
  document.getElementById("progress-text").textContent =
    `epoch ${record.epoch} of ${record.epochs}, update ${record.step}${of}`;
  const bar = document.getElementById("progress");
  bar.max = record.steps || 1;
  bar.value = record.steps ? record.step : 0;
  offer(Object.keys(record.last));
  reloadSoon();
  readLog();
}

/** Tell how long the job has run, as the table of runs does. */
function tellDuration() {
  const place = document.getElementById("duration");
  const { from, to } = place.dataset;
  if (!from) return;
  const seconds = Math.max(0, (to ? Date.parse(to) : Date.now()) - Date.parse(from)) / 1000;
  place.textContent = `${duration(to ? seconds : Math.round(seconds))}${to ? "" : " so far"}`;
  if (!to) setTimeout(tellDuration, 1000);
}

tellDuration();
offer(JSON.parse(article.dataset.metrics));
reload().catch((error) => { if (error.name !== "AbortError") fail(error.message); });
readLog();
readArtifacts();
let lastSeq = 0;

follow(`/v1/jobs/${id}/events`, (event, source) => {
  if (event.kind === "progress") {
    progress(event.payload);
    // The server sends this at the end of the stream; otherwise the browser would reconnect.
    if (ENDED.includes(event.payload.state)) source.close();
    if (event.payload.state !== article.dataset.state) location.reload();
    return;
  }
  if (event.seq <= lastSeq) return;
  lastSeq = event.seq;
  tell(event);
  if (["checkpoint", "artifact", ...ENDED].includes(event.kind)) { readArtifacts(); readLog(); }
});
