// What pages do beyond what they do without a script: they keep what is live fresh, say times in the visitor's own zone,
// copy a secret, and choose all rows at once.
"use strict";

const LIVE_EVERY = 10000;

function sayLocalTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const here = new Date(time.dateTime).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
    time.title = `${time.title || time.textContent} (here: ${here})`;
  }
}

// Loads the page again and takes its live parts over, unless the visitor is in the middle of something there. What can't
// be loaded is said: a page that only looks fresh is worse than none.
async function refresh() {
  const parts = [...document.querySelectorAll("[data-live]")];
  const selection = getSelection();
  const isBusy = (part) =>
    part.contains(document.activeElement) || (!selection.isCollapsed && selection.containsNode(part, true));
  if (document.hidden || parts.length === 0) return;
  const answer = await fetch(location.href, { redirect: "error" }).catch(() => null);
  sayWhetherFresh(answer?.ok);
  if (!answer?.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of parts) {
    const other = fresh.querySelector(`[data-live="${part.dataset.live}"]`);
    if (!other || isBusy(part)) continue;
    sayLocalTimes(other);
    part.replaceWith(other);
  }
}

let freshAt = new Date();

function sayWhetherFresh(isFresh) {
  document.getElementById("stale")?.remove();
  if (isFresh) {
    freshAt = new Date();
    return;
  }
  const said = document.createElement("p");
  said.id = "stale";
  said.className = "fault";
  said.setAttribute("role", "status");
  said.textContent = `This page is as it was at ${freshAt.toLocaleTimeString()}: it can't be loaded again. You may have to sign in again.`;
  document.querySelector("main").prepend(said);
}

function offerCopying() {
  for (const button of document.querySelectorAll("[data-copy]")) {
    if (!navigator.clipboard) continue;
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = "Copied";
    });
  }
}

function offerAll() {
  for (const all of document.querySelectorAll("[data-all]")) {
    all.hidden = false;
    all.addEventListener("change", () => {
      for (const box of document.querySelectorAll(`input[name="${all.dataset.all}"]`)) box.checked = all.checked;
    });
  }
}

// `/` goes to the first field of a search, as in other consoles.
document.addEventListener("keydown", (event) => {
  const isTyping = event.target.closest("input, select, textarea");
  const field = document.querySelector("[role=search] input, [role=search] select");
  if (event.key !== "/" || isTyping || !field || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  field.focus();
});

sayLocalTimes(document);
offerCopying();
offerAll();
document.querySelector(".fault[tabindex]")?.focus();
setInterval(refresh, LIVE_EVERY);
