// What was measured inside the runs of the page: matrices by measure, and the time of readings in epochs.
import { ask } from "./app.js";
import { whole } from "./not_finite.js";

export class Run {
  constructor(element) {
    this.id = element.dataset.id;
    this.label = element.dataset.label;
    this.url = element.dataset.inside;
    this.epochs = Number(element.dataset.epochs);
    this.layers = [];
    this.matrices = new Map();
    this.findings = [];
  }

  async load() {
    const found = await ask(this.url);
    const each = found.steps_per_epoch || 1;
    this.findings = found.findings.map((one) => ({ ...one, record: whole(one.record) }));
    this.step = found.step;
    this.each = each;
    this.matrices = new Map(found.matrices.map((matrix) => {
      const times = matrix.steps.map((step) => step / each);
      return [`${matrix.diagnostic} ${matrix.measure}`, { ...whole(matrix), times }];
    }));
    this.order();
  }

  /** Put the layers of every matrix into the order of the network, once that is known. */
  order() {
    const places = new Map(this.layers.map((layer, i) => [layer.name, i]));
    const place = (site) => places.get(site) ?? (site === "all" ? -1 : 1e6);
    for (const matrix of this.matrices.values()) {
      const order = matrix.sites.map((_, i) => i).sort((a, b) => place(matrix.sites[a]) - place(matrix.sites[b]));
      matrix.sites = order.map((i) => matrix.sites[i]);
      matrix.values = order.map((i) => matrix.values[i]);
    }
  }

  matrix(diagnostic, measure) {
    return this.matrices.get(`${diagnostic} ${measure}`);
  }

  finding(name) {
    return this.findings.filter((one) => one.name === name).at(-1)?.record;
  }

  has(diagnostic) {
    return Boolean(this.finding(diagnostic)) || [...this.matrices.values()].some((m) => m.diagnostic === diagnostic);
  }
}

/** The place of the last reading that is not after *time*; the first one before all readings. */
export function reading(times, time) {
  let found = 0;
  for (let i = 0; i < times.length; i += 1) if (times[i] <= time + 1e-9) found = i;
  return found;
}

/** The moments that the slider stops at: once per epoch as a rule, of all runs together. */
export function moments(runs) {
  const all = runs.flatMap((run) => [...run.matrices.values()]).filter((m) => m.times.length > 1);
  const slow = all.filter((m) => m.diagnostic !== "effective_step");
  const times = (slow.length ? slow : all).flatMap((m) => m.times);
  return [...new Set(times.map((time) => +time.toFixed(6)))].sort((a, b) => a - b);
}

/** An epoch for people: a whole number if it is one, otherwise two digits. */
export function epochs(time) {
  return Number.isInteger(+time.toFixed(4)) ? String(Math.round(time)) : time.toFixed(2);
}
