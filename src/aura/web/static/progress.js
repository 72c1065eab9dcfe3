// Follows a job's events; after a lost connection it goes on where it was.

import { fill, words } from "./words.js";

const place = document.getElementById("progress");
const bar = document.getElementById("percent");
const now = document.getElementById("now");
const connection = document.getElementById("connection");
const steps = [...document.querySelectorAll("[data-step]")];
const PAUSE = 1500; // milliseconds before a closed connection is tried again
let source = null;
let lost = false;

function showStage(stage, percent) {
  const at = steps.findIndex((step) => step.dataset.step === stage);
  steps.forEach((step, index) => {
    const state = at < 0 || index > at ? "next" : index < at ? "done" : "now";
    step.classList.toggle("done", state === "done");
    step.classList.toggle("now", state === "now");
    step.querySelector("[data-word]").textContent = words[`step_${state}`];
    if (state === "now") step.setAttribute("aria-current", "step");
    else step.removeAttribute("aria-current");
  });
  if (percent !== undefined) bar.value = percent;
  if (at >= 0) {
    const name = steps[at].querySelector("span:nth-child(2)").textContent;
    now.textContent = `${name} · ${fill(words.percent, { percent: Math.round(bar.value) })}`;
  } else {
    now.textContent = words.waiting;
  }
}

function found() {
  if (lost) connection.textContent = words.back;
  lost = false;
}

function missed() {
  lost = true;
  connection.textContent = words.lost;
  connection.hidden = false;
  // The browser tries again by itself, but not after an answer that it takes for final.
  if (source.readyState === EventSource.CLOSED) setTimeout(look, PAUSE);
}

// What happened meanwhile may have ended the job, or erased it: the page shows either.
async function look() {
  try {
    const answer = await fetch(place.dataset.state, { cache: "no-store" });
    if (answer.status >= 500) throw new Error("not ready");
    if (!answer.ok || (await answer.json()).finished_at) location.reload();
    else follow();
  } catch {
    setTimeout(look, PAUSE);
  }
}

function follow() {
  source = new EventSource(place.dataset.events);
  source.onopen = found;
  source.onerror = missed;
  source.addEventListener("progress", (event) => {
    found();
    const { stage, percent } = JSON.parse(event.data);
    showStage(stage, percent);
  });
  source.addEventListener("slow", () => {
    connection.textContent = words.slow;
    connection.hidden = false;
  });
  source.addEventListener("queued", () => showStage(null, 0));
  for (const end of ["completed", "failed", "cancelled", "dead"]) {
    source.addEventListener(end, () => {
      source.close();
      now.textContent = words.done;
      bar.value = 100;
      location.reload();
    });
  }
}

showStage(place.dataset.stage || null);
follow();
