// The page of a busy server: it tries to load the requested page again, for about a minute.
const WAIT_MS = 5000;
const MOST_TRIES = 12;

const tries = (history.state?.tries ?? 0) + 1; // of this entry of the history, over reloads
if (tries <= MOST_TRIES) {
  history.replaceState({ tries }, "");
  document.getElementById("busy").textContent = "This page is loaded again automatically in a few seconds.";
  setTimeout(() => location.reload(), WAIT_MS);
} else {
  history.replaceState(null, "");
}
