// The job form: converts fields to a spec and back, and shows problems beside their fields.
import { tryOut } from "./app.js";
import { marked } from "./marked.js";

export class JobForm {
  constructor(form) {
    this.form = form;
    form.addEventListener("change", (event) => {
      if (event.target.matches("[data-chooser]")) this.choose(event.target);
      if (event.target.matches("[data-list]")) showOptions(event.target);
    });
  }

  choose(select) {
    for (const part of this.form.querySelectorAll(`[data-of="${select.dataset.path}"]`)) {
      part.hidden = part.dataset.choice !== select.value;
    }
  }

  get inputs() {
    return [...this.form.querySelectorAll("[data-path]")].filter((i) => !i.closest(".choice[hidden]"));
  }

  /** The boxes of parts that a field lists by name, such as metrics. */
  get parts() {
    return [...this.form.querySelectorAll("[data-list]")];
  }

  /** The checked boxes: those of the job that was filled in keep its order, others follow. */
  chosenParts() {
    const place = ({ dataset, value }) => this.filled?.[dataset.list]?.indexOf(value) ?? -1;
    const rank = (box) => (place(box) < 0 ? Infinity : place(box));
    return this.parts.filter((box) => box.checked).sort((a, b) => (rank(a) === rank(b) ? 0 : rank(a) - rank(b)));
  }

  /** The spec without default values. Input that cannot be parsed is sent as text, so that the server explains the problem. */
  spec() {
    const spec = {};
    for (const input of this.inputs) {
      if ((isDefault(input) && !needed(input)) || isUnset(input)) continue;
      put(spec, input.dataset.path, valueOf(input));
    }
    for (const [name, part] of Object.entries(spec)) {
      if (Array.isArray(part) && this.listed(name)) spec[name] = part.filter(Boolean); // places left free
    }
    for (const box of this.chosenParts()) (spec[box.dataset.list] ??= []).push(partOf(box));
    return spec;
  }

  listed(name) {
    return this.form.querySelector(`[data-path="${name}.0.name"]`) !== null;
  }

  /** Reset everything to its default, and fill in *spec*. */
  refill(spec) {
    for (const input of [...this.form.querySelectorAll("[data-path], [data-option]")]) {
      show(input, JSON.parse(input.dataset.default));
      if (input.dataset.chooser !== undefined) this.choose(input);
    }
    this.fill(spec);
  }

  /** The names of fields that the form has an input for. */
  get names() {
    const paths = [...this.form.querySelectorAll("[data-path]")].map((input) => input.dataset.path.split(".")[0]);
    return new Set([...paths, ...this.parts.map((box) => box.dataset.list)]);
  }

  fill(spec) {
    for (const select of this.form.querySelectorAll("[data-chooser]")) {
      const whole = at(spec, select.dataset.path.split(".").slice(0, -1).join("."));
      const value = typeof whole === "string" ? whole : at(spec, select.dataset.path); // `group` is short for {kind: group}
      if (value === undefined || value === null) continue;
      // the name of a network of another library is in no list
      if (![...select.options].some((option) => option.value === value)) select.add(new Option(value));
      select.value = value;
      this.choose(select);
    }
    for (const input of this.inputs.filter((i) => i.dataset.chooser === undefined)) {
      show(input, at(spec, input.dataset.path));
    }
    const named = (list) => (spec[list] ?? []).map((part) => part.name ?? part);
    this.filled = Object.fromEntries(this.parts.map(({ dataset: { list } }) => [list, named(list)]));
    for (const box of this.parts) {
      const part = (spec[box.dataset.list] ?? []).find((named) => (named.name ?? named) === box.value);
      box.checked = part !== undefined;
      for (const input of optionsOf(box)) show(input, part?.[input.dataset.option]);
      showOptions(box);
    }
  }

  /** Show problems [{field, rule}] at their fields; return those without a field in this form. */
  complain(problems) {
    for (const input of this.form.querySelectorAll("[aria-invalid]")) {
      input.removeAttribute("aria-invalid");
    }
    for (const line of this.form.querySelectorAll(".wrong")) line.hidden = true;
    return problems.filter((problem) => !this.mark(problem));
  }

  /** The input for a field such as metrics.0.k: the option of the first metric, or else its box. */
  part(field) {
    const [list, index, option] = field.split(".");
    const ofList = (box) => box.dataset.list === list;
    const box = this.chosenParts().filter(ofList)[index] ?? this.parts.find(ofList);
    return box && (optionsOf(box).find((input) => input.dataset.option === option) ?? box);
  }

  mark({ field, rule }) {
    const input = this.inputs.find((i) => i.dataset.path === field)
      || this.inputs.find((i) => i.dataset.chooser !== undefined && i.dataset.path.split(".")[0] === field)
      || this.inputs.find((i) => field.startsWith(`${i.dataset.path}.`))
      || this.part(field);
    if (!input) return false;
    const line = input.closest(".field").querySelector(":scope > .wrong");
    input.setAttribute("aria-invalid", "true");
    input.setAttribute("aria-errormessage", line.id);
    line.replaceChildren(...marked(rule));
    line.hidden = false;
    for (let around = input.closest("details"); around; around = around.parentElement.closest("details")) around.open = true;
    return true;
  }
}

const isDefault = (input) => JSON.stringify(valueOf(input)) === JSON.stringify(JSON.parse(input.dataset.default));

/** An empty field that cannot be none has its default, and shows it. */
const isUnset = (input) => valueOf(input) === null && input.dataset.nullable === undefined;

const optionsOf = (box) => [...box.closest(".part").querySelectorAll("[data-option]")];

function showOptions(box) {
  const options = box.closest(".part").querySelector("[data-options]");
  if (options) options.hidden = !box.checked;
}

function partOf(box) {
  const changed = optionsOf(box).filter((input) => !isDefault(input) && !isUnset(input));
  const options = Object.fromEntries(changed.map((input) => [input.dataset.option, valueOf(input)]));
  return changed.length ? { name: box.value, ...options } : box.value;
}

function show(input, value) {
  if (value === undefined) return;
  if (input.type === "checkbox") input.checked = value;
  else if (input.dataset.type === "object" && value !== null) input.value = JSON.stringify(value);
  else input.value = value === null ? "" : Array.isArray(value) ? value.join(", ") : value;
}

const needed = (input) => input.dataset.path === "normalizer.kind"
  || (input.dataset.chooser !== undefined && input.value !== JSON.parse(input.dataset.default));

export function valueOf(input) {
  if (input.type === "checkbox") return input.checked;
  if (input.dataset.chooser !== undefined) return input.value;
  const text = input.value.trim();
  if (text === "") return input.dataset.type === "list" && input.dataset.nullable === undefined ? [] : null;
  if (input.dataset.type === "integer" || input.dataset.type === "number") {
    const number = Number(text);
    return Number.isFinite(number) ? number : text;
  }
  if (input.dataset.type === "list") {
    return text.split(",").map((part) => part.trim()).filter(Boolean).map((part) => (Number.isFinite(Number(part)) ? Number(part) : part));
  }
  if (input.dataset.type === "object") {
    try { return JSON.parse(text); } catch { return text; }
  }
  return text;
}

function put(spec, path, value) {
  const parts = path.split(".");
  const last = parts.pop();
  parts.forEach((part, i) => {
    spec = spec[part] ??= /^\d+$/.test(parts[i + 1] ?? last) ? [] : {};
  });
  spec[last] = value;
}

const at = (spec, path) => path.split(".").reduce((found, part) => found?.[part], spec);

/** Validate a spec on the server; return {validation} or {problems, detail}. */
export async function validate(spec) {
  try {
    return { validation: await tryOut("/v1/jobs:validate", spec) };
  } catch (error) {
    if (error.problem?.errors?.length) return { problems: error.problem.errors, detail: error.message };
    throw error;
  }
}
