// One diagnostic on the page inside a network: its pictures for each run, and its numbers as a table.
import { readable } from "./charts.js";
import { band, curves, level, stacked } from "./inside_areas.js";
import { HeatMap, valueAt } from "./inside_heat.js";
import { ofMatrix, table } from "./inside_numbers.js";
import { Scale } from "./inside_scales.js";

const quiet = (text) => Object.assign(document.createElement("p"), { className: "quiet", textContent: text });
const last = (matrix) => matrix?.values[0].at(-1) ?? null;

export class Panel {
  /** *section* is rendered by the server; *moves*: choose(layer) and goTo(epoch). */
  constructor(section, moves) {
    this.section = section;
    this.moves = moves;
    this.diagnostic = section.dataset.diagnostic;
    this.form = section.dataset.form;
    this.figures = [...section.querySelectorAll("figure")];
    this.select = section.querySelector("select.measure");
    this.measures = [...section.querySelectorAll("select.measure option, span.measure")].map((one) => ({
      name: one.value ?? one.dataset.value, title: one.textContent, scale: one.dataset.scale,
    }));
    this.stacks = [...section.querySelectorAll("template.stack")].map((one) => ({
      title: one.dataset.title,
      terms: [...one.content.querySelectorAll("i")].map((i) => ({ measure: i.dataset.measure, title: i.textContent })),
    }));
    this.select?.addEventListener("change", () => this.rebuild());
    this.numbers = section.querySelector("details.numbers");
    this.numbers?.addEventListener("toggle", () => this.tabulate());
    this.heats = [];
    this.charts = [];
  }

  get measure() {
    return this.measures.find((one) => one.name === (this.select?.value ?? one.name));
  }

  scaleFor(measure, runs) {
    const values = runs.flatMap((run) => run.matrix(this.diagnostic, measure.name)?.values.flat() ?? []);
    return new Scale(measure.scale, values);
  }

  /** Show *view*: {runs, now, chosen, last}. */
  show(view) {
    this.view = view;
    this.section.hidden = !view.runs.some((run) => run.has(this.diagnostic));
    if (!this.section.hidden) this.rebuild();
  }

  rebuild() {
    this.charts.forEach((chart) => chart.remove());
    this.charts = [];
    if (this.form === "layers") this.layers();
    else this.figures.forEach((figure, i) => this.drawn(figure.querySelector(".areas"), this.view.runs[i]));
    if (this.form !== "layers") level(this.charts);
    this.tabulate();
  }

  /** Move to another moment or layer, without drawing again what stays the same. */
  move(view) {
    const other = view.chosen !== this.view?.chosen;
    this.view = view;
    if (this.section.hidden) return;
    if (this.form === "layers") this.layers(other);
    this.charts.forEach((chart) => chart.at(view.now));
  }

  layers(anew = true) {
    const { runs } = this.view;
    const { measure } = this;
    const scale = this.scaleFor(measure, runs);
    const stack = this.stacks.find((one) => one.terms.some((term) => term.measure === measure.name));
    if (anew) { this.charts.forEach((chart) => chart.remove()); this.charts = []; }
    const shown = runs.map((run, i) => this.layersOf(run, i, measure, scale, stack)).filter(Boolean);
    if (stack) this.level(shown);
    if (!anew || !stack) return;
    runs.forEach((run, i) => this.areasOf(run, i, stack));
    level(this.charts);
  }

  layersOf(run, i, measure, scale, stack) {
    const matrix = run.matrix(this.diagnostic, measure.name);
    const box = this.figures[i].querySelector(".picture");
    if (!matrix) {
      box.replaceChildren(quiet("This run did not measure it."));
      this.heats[i] = null;
      return null;
    }
    const say = (text) => { this.figures[i].querySelector(".readout").textContent = text; };
    this.heats[i] ??= new HeatMap(box, { say, ...this.moves });
    const terms = stack?.terms.map((term) => ({ ...term, matrix: run.matrix(this.diagnostic, term.measure) })).filter((term) => term.matrix);
    const { now, chosen, last: end } = this.view;
    this.heats[i].show({ matrix, scale, title: `${measure.title}, ${run.label}`, now, chosen, last: end, terms: terms?.length ? terms : null });
    return this.heats[i];
  }

  /** Give the bars of runs side by side the same scale. */
  level(heats) {
    if (heats.length < 2) return;
    const ceiling = Math.max(...heats.map((heat) => heat.most()));
    heats.forEach((heat) => { heat.ceiling = ceiling; heat.draw(); });
  }

  areasOf(run, i, stack) {
    const found = stack.terms.map((term) => ({ ...term, matrix: run.matrix(this.diagnostic, term.measure) })).filter((term) => term.matrix);
    if (!found.length || found[0].matrix.times.length < 2) return;
    const { sites, times } = found[0].matrix;
    const site = sites.includes(this.view.chosen) ? this.view.chosen : sites[0];
    const terms = found.map(({ title, matrix }) => ({ title, values: matrix.values[matrix.sites.indexOf(site)] }));
    const title = `${site === "all" ? "mean over all layers" : site}, ${stack.title}`;
    const chart = stacked(this.figures[i].querySelector(".areas"), title, times, terms);
    chart.at(this.view.now);
    this.charts.push(chart);
  }

  drawn(box, run) {
    box.replaceChildren();
    if (!run.has(this.diagnostic)) { box.append(quiet("This run did not measure it.")); return; }
    const chart = { bands: () => this.bands(box, run), ablation: () => this.ablation(box, run), line: () => this.line(box, run), numbers: () => null }[this.form]();
    if (chart) this.charts.push(chart);
    if (this.form === "numbers") box.append(this.facts(run));
  }

  bands(box, run) {
    const [low, high] = ["low", "high"].map((end) => run.matrix(this.diagnostic, `${this.measure.name}_${end}`));
    if (!low || !high) return null;
    const chart = band(box, this.measure.title, low.times, low.values[0], high.values[0]);
    chart.at(this.view.now);
    return chart;
  }

  ablation(box, run) {
    const record = run.finding("ablation");
    if (!record) return null;
    const titles = { zero: "clamped to 0", mean: "clamped to their mean" };
    const lines = Object.entries(record).map(([clamp, one]) => ({ label: titles[clamp] ?? clamp, x: one.fractions, y: one.mean }));
    return curves(box, "Accuracy, mean over three orders", "share of channels clamped", lines);
  }

  line(box, run) {
    const points = [...run.matrices.values()].filter((m) => m.diagnostic === this.diagnostic && m.measure.startsWith("rise_"))
      .map((m) => ({ size: Number(m.measure.slice(5)), rise: last(m) })).sort((a, b) => b.size - a.size);
    if (!points.length) return null;
    const x = points.map((one) => 1 / one.size);
    const [slope, intercept] = ["slope", "intercept"].map((name) => last(run.matrix(this.diagnostic, name)));
    const fitted = { label: "least-squares line", x, y: x.map((at) => intercept + slope * at) };
    return curves(box, "Rise of the loss", "1 / M", [{ label: "rise", x, y: points.map((one) => one.rise) }, fitted], true);
  }

  facts(run) {
    const found = [...run.matrices.values()].filter((m) => m.diagnostic === this.diagnostic);
    const title = (name) => this.measures.find((one) => one.name === name)?.title ?? name.replace(/^rise_/, "rise at M = ");
    return table(run.label, ["measure", "at the end"], found.map((m) => [title(m.measure), readable(last(m))]));
  }

  tabulate() {
    if (!this.numbers?.open || !this.view) return;
    this.numbers.querySelector(".scroll").replaceChildren(...this.view.runs.flatMap((run) => this.tables(run)));
  }

  tables(run) {
    if (this.form === "layers") {
      const matrix = run.matrix(this.diagnostic, this.measure.name);
      return matrix ? [ofMatrix(`${this.measure.title}, ${run.label}`, matrix)] : [];
    }
    if (this.form === "ablation") {
      return Object.entries(run.finding("ablation") ?? {}).map(([clamp, one]) => table(
        `Accuracy of ${run.label}, channels clamped to ${clamp}`, ["order", ...one.fractions.map((f) => `${Math.round(100 * f)} %`)],
        [...one.accuracies.map((row, i) => [String(i + 1), ...row.map(readable)]), ["mean", ...one.mean.map(readable)]],
      ));
    }
    const found = [...run.matrices.values()].filter((m) => m.diagnostic === this.diagnostic && m.times.length > 1);
    if (!found.length) return [this.facts(run)];
    const rows = { times: found[0].times, sites: found.map((m) => m.measure), values: found.map((m) => m.values[0]) };
    return [ofMatrix(run.label, rows)];
  }

  /** What the network's layers can be coloured by: [measure, matrix of each run]. */
  colours(run) {
    return this.form === "layers" ? this.measures.filter((one) => run.matrix(this.diagnostic, one.name)) : [];
  }

  valueAt(run, measure, site, now) {
    const matrix = run.matrix(this.diagnostic, measure.name);
    return matrix ? valueAt(matrix, site, now) ?? null : null;
  }
}
