// Moments in the reader's time zone, in one form on every page: 2026-11-28 18:05.

const two = (number) => String(number).padStart(2, "0");

/** Write a moment in local time; with its seconds where events follow each other closely. */
export function moment(at, seconds = false) {
  const when = new Date(at);
  if (Number.isNaN(when.getTime())) return "–";
  const day = `${when.getFullYear()}-${two(when.getMonth() + 1)}-${two(when.getDate())}`;
  return `${day} ${two(when.getHours())}:${two(when.getMinutes())}${seconds ? `:${two(when.getSeconds())}` : ""}`;
}

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;

function localize(within) {
  for (const time of within.querySelectorAll("time[datetime]:not([title])")) {
    time.title = `${moment(time.dateTime, true)} in ${zone}`;
    time.textContent = moment(time.dateTime, "seconds" in time.dataset);
  }
}

localize(document);
// Parts of a page are replaced while it is open, and bring moments as the server wrote them
new MutationObserver((changes) => {
  const changed = changes.filter(({ addedNodes }) => [...addedNodes].some((node) => node.nodeType === Node.ELEMENT_NODE));
  for (const place of new Set(changed.map(({ target }) => target))) localize(place);
}).observe(document.body, { childList: true, subtree: true });
