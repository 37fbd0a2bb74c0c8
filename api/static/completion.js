// An input with completions: a list of suggestions for the word at the caret, for keyboard and mouse.

const MOST = 60;

export class Completion {
  /** *suggest(text, caret)* returns {from, options: [{text, hint}]}; *chosen* is called after a choice. */
  constructor(input, list, suggest, chosen = () => {}) {
    Object.assign(this, { input, list, suggest, chosen, at: -1, options: [] });
    input.setAttribute("role", "combobox");
    input.setAttribute("aria-autocomplete", "list");
    input.setAttribute("aria-controls", list.id);
    input.setAttribute("aria-expanded", "false");
    input.addEventListener("input", () => this.open());
    input.addEventListener("focus", () => this.open());
    input.addEventListener("blur", () => this.close());
    input.addEventListener("keydown", (event) => this.key(event));
    // comes before the blur that a click causes
    list.addEventListener("mousedown", (event) => {
      event.preventDefault();
      const item = event.target.closest("li");
      if (item) this.take(Number(item.dataset.at));
    });
  }

  open() {
    const { from, options } = this.suggest(this.input.value, this.input.selectionStart ?? this.input.value.length);
    this.from = from;
    this.options = options.slice(0, MOST);
    this.at = -1;
    this.list.replaceChildren(...this.options.map(({ text, hint }, i) => {
      const item = document.createElement("li");
      item.id = `${this.list.id}-${i}`;
      item.dataset.at = i;
      item.setAttribute("role", "option");
      item.setAttribute("aria-selected", "false");
      item.textContent = text;
      if (hint) item.append(Object.assign(document.createElement("span"), { textContent: hint }));
      return item;
    }));
    this.show(this.options.length > 0);
  }

  show(yes) {
    this.list.hidden = !yes;
    this.input.setAttribute("aria-expanded", String(yes));
    if (!yes) this.input.removeAttribute("aria-activedescendant");
  }

  close() { this.show(false); this.at = -1; }

  key(event) {
    if (event.key === "Escape") { this.close(); return; }
    if (this.list.hidden) { if (event.key === "ArrowDown") { this.open(); event.preventDefault(); } return; }
    if (event.key === "ArrowDown") this.move(1);
    else if (event.key === "ArrowUp") this.move(-1);
    else if (event.key === "Enter" && this.at >= 0) this.take(this.at);
    else if (event.key === "Tab" && this.at >= 0) this.take(this.at);
    else return;
    event.preventDefault();
  }

  move(by) {
    this.at = (this.at + by + this.options.length) % this.options.length;
    [...this.list.children].forEach((item, i) => item.setAttribute("aria-selected", String(i === this.at)));
    const item = this.list.children[this.at];
    this.input.setAttribute("aria-activedescendant", item.id);
    item.scrollIntoView({ block: "nearest" });
  }

  take(i) {
    const caret = this.input.selectionStart ?? this.input.value.length;
    const text = this.options[i].text;
    const rest = this.input.value.slice(caret);
    this.input.value = `${this.input.value.slice(0, this.from)}${text} ${rest.trimStart()}`;
    const place = this.from + text.length + 1;
    this.input.setSelectionRange(place, place);
    this.close();
    this.chosen(text);
    if (document.activeElement === this.input && this.input.value.trim()) this.open();
  }
}

const TOKEN = /"[^"]*"|'[^']*'|!=|<=|>=|[=<>~(),]|[^\s=<>!~(),]+/g;
const OPERATORS = ["=", "!=", "<", "<=", ">", ">=", "~", "in"];

/** What may come next in a filter, after *text*: a field, an operator, a value of a field, or a connective. */
export function expected(text) {
  let state = "field";
  let field = null;
  let listed = false;
  for (const token of text.match(TOKEN) ?? []) {
    if (state === "field") { if (!["not", "("].includes(token.toLowerCase())) { field = token; state = "operator"; } }
    else if (state === "operator") { listed = token.toLowerCase() === "in"; state = "value"; }
    else if (state === "value") { if (token !== "(") state = "after"; }
    else if (token === "," && listed) state = "value";
    else if (["and", "or"].includes(token.toLowerCase())) { state = "field"; listed = false; }
  }
  return { state, field };
}

/** Suggestions for the filter language; *names* are {name, kind, type, choices}. */
export function filterSuggestions(names) {
  return (text, caret) => {
    const before = text.slice(0, caret);
    const word = /[^\s=<>!~(),"']*$/.exec(before)[0];
    const from = caret - word.length;
    const { state, field } = expected(before.slice(0, from));
    const known = { operator: OPERATORS, after: ["and", "or"], value: names.find((n) => n.name === field)?.choices ?? [] };
    const all = state === "field"
      ? [...names.map((n) => ({ text: n.name, hint: n.description || n.type })), { text: "not", hint: "the opposite" }]
      : known[state].map((name) => ({ text: name, hint: "" }));
    return { from, options: matching(all, word) };
  };
}

/** Suggestions of columns: every name, and the reductions of a metric. */
export function columnSuggestions(names, reductions) {
  return (text) => {
    const word = text.trim();
    const all = names.flatMap((n) => (n.kind === "metric"
      ? reductions.map((r) => ({ text: r === "last" ? n.name : `${n.name}:${r}`, hint: r === "last" ? "last value" : r }))
      : [{ text: n.name, hint: n.description || n.type }]));
    return { from: 0, options: matching(all, word) };
  };
}

function matching(options, word) {
  const small = word.toLowerCase();
  const begins = options.filter((o) => o.text.toLowerCase().startsWith(small));
  const has = options.filter((o) => !o.text.toLowerCase().startsWith(small) && o.text.toLowerCase().includes(small));
  return [...begins, ...has].filter((o) => o.text !== word);
}
