// Code for every page: the theme, action buttons, and error messages.
import { marked } from "./marked.js";

const themeButton = document.getElementById("theme");
themeButton.addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("normlab-theme", document.documentElement.dataset.theme);
  document.dispatchEvent(new CustomEvent("themechange"));
});

// The path below which a proxy shows the service. Addresses are written as if it were empty.
const root = document.documentElement.dataset.root;
export const at = (path) => root + path;

export function fail(message) {
  const box = document.getElementById("failure");
  box.replaceChildren(...marked(message));
  box.hidden = !message;
}

const LOST = "The server does not answer; try again when it is back.";

export function connected(yes) {
  document.getElementById("disconnected").hidden = yes;
  if (yes && document.getElementById("failure").textContent === LOST) fail(""); // it is back
}

const MOST_MS = 60_000; // the server gives up then too
const BUSY = new Set(["too_busy", "too_many_requests"]); // refused before anything was done

/**
 * Call the API; throw an Error with a readable message and the problem document as `problem`.
 *
 * If the server is too busy, the request is repeated until *end*, because that is not an error.
 */
export async function ask(path, options = {}, end = performance.now() + MOST_MS) {
  let answer;
  try {
    answer = await fetch(at(path), { headers: { Accept: "application/json", ...options.headers }, ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    connected(false);
    throw new Error(LOST);
  }
  connected(true);
  if (answer.status === 401) {
    location.assign(at(`/login?next=${encodeURIComponent(location.pathname.slice(root.length) + location.search)}`));
    throw new Error("The token is no longer valid.");
  }
  const body = (answer.headers.get("content-type") || "").includes("json") ? await answer.json() : await answer.text();
  const wait_s = body.code === "too_busy" ? 0.5 : Number(answer.headers.get("Retry-After")) || 5;
  const pause = 1000 * wait_s * (1 + Math.random());
  if (BUSY.has(body.code) && performance.now() + pause < end) {
    await new Promise((goOn) => setTimeout(goOn, pause));
    return ask(path, options, end);
  }
  if (!answer.ok) {
    const error = new Error(body.detail || `The server ${answer.status < 500 ? "refused this" : "failed"} (status ${answer.status}).`);
    error.problem = body;
    throw error;
  }
  return body;
}

/** Add the project that is chosen in the form to *path*, if there is a choice. */
export function inProject(path) {
  const chosen = document.getElementById("project");
  return chosen ? `${path}?project=${encodeURIComponent(chosen.value)}` : path;
}

export function post(path, body, headers = {}) {
  return ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json", ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
}

/** Repeat the request that *asking* sends while the server is still computing; the server itself waits for the answer. */
export async function computed(asking) {
  const end = performance.now() + MOST_MS;
  for (;;) {
    const found = await asking();
    if (found.status !== "under_way") return found;
    if (performance.now() > end) throw new Error(found.detail);
    await new Promise((goOn) => setTimeout(goOn, 100));
  }
}

/** Post a request that changes nothing; repeat it while the server is still computing the answer. */
export const tryOut = (path, body) => computed(() => post(path, body));

/**
 * Follow server-sent events until `close()` is called on the returned object.
 *
 * A hidden tab closes its stream and later resumes it at the same event: browsers
 * allow only a few connections to one server, and tabs share them.
 * *after* is the number of the last event that the page knows of. Without it, events before the stream is open
 * are missed.
 */
export function follow(path, onEvent, after = null) {
  let source = null;
  let last = after;
  let ended = false;

  const shut = () => { source?.close(); source = null; };
  const stream = { close: () => { ended = true; shut(); } };
  const open = () => {
    if (ended || source || document.hidden) return;
    source = new EventSource(at(last === null ? path : `${path}?after=${last}`));
    source.onopen = () => connected(true);
    source.onerror = () => {
      if (!source) return;
      connected(false);
      // The browser reconnects after a broken stream, but not after a refused one.
      if (source.readyState === EventSource.CLOSED) { source = null; setTimeout(open, 3000); }
    };
    source.onmessage = (message) => {
      if (message.lastEventId) last = message.lastEventId;
      onEvent(JSON.parse(message.data), stream);
    };
  };

  document.addEventListener("visibilitychange", () => (document.hidden ? shut() : open()));
  addEventListener("pagehide", shut);
  addEventListener("pageshow", open);
  open();
  return stream;
}

/** Call *work* when a hidden tab becomes visible again. */
export function onReturn(work) {
  document.addEventListener("visibilitychange", () => { if (!document.hidden) work(); });
}

/** Call *work* at most once per *wait* milliseconds, and once more for the calls in between. */
export function throttled(work, wait) {
  let timer = null;
  let again = false;
  const run = async () => {
    timer = setTimeout(() => {
      timer = null;
      if (again) { again = false; run(); }
    }, wait);
    try { await work(); } catch (error) { if (error.name !== "AbortError") fail(error.message); }
  };
  return () => { if (timer) again = true; else run(); };
}

// <button data-post="/v1/..." data-confirm="..."> posts, then reloads the page; data-delete deletes.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-post], button[data-delete]");
  if (!button || (button.dataset.confirm && !confirm(button.dataset.confirm))) return;
  button.disabled = true;
  try {
    if (button.dataset.delete) await ask(button.dataset.delete, { method: "DELETE" });
    else await post(button.dataset.post);
    location.reload();
  } catch (error) {
    fail(error.message);
    button.disabled = false;
  }
});
