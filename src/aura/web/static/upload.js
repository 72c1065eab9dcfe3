// Sends a video or an address, shows how far it is, and goes on to the job's page.

import { fill, words } from "./words.js";

const form = document.getElementById("upload");
const drop = document.getElementById("drop");
const chooser = document.getElementById("file");
const sending = document.getElementById("sending");
const bar = document.getElementById("sent");
const status = document.getElementById("sending-words");
const trouble = document.getElementById("trouble");
const troubleWords = document.getElementById("trouble-words");
const again = document.getElementById("again");
let request = null;
let retry = null;

function newKey() {
  // `crypto.randomUUID` exists only behind TLS or on localhost.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (one) => one.toString(16).padStart(2, "0")).join("");
}

function options() {
  return {
    explain: true,
    keep_media: form.elements.keep.checked,
    faces: form.elements.all_faces.checked ? "all" : "single",
  };
}

function show(part) {
  drop.hidden = part !== drop;
  sending.hidden = part !== sending;
  document.getElementById("options").hidden = part !== drop;
}

function fail(why, tryAgain) {
  retry = tryAgain;
  again.hidden = !tryAgain;
  troubleWords.textContent = why;
  trouble.hidden = false;
  show(drop);
}

function reason(answer) {
  try {
    return JSON.parse(answer.responseText).detail || words.not_sent;
  } catch {
    return words.not_sent;
  }
}

// One request under one key: sent again after a lost answer, it makes no second job.
function post(body, key, headers, onProgress) {
  return new Promise((resolve, reject) => {
    request = new XMLHttpRequest();
    request.open("POST", "/analyze-video");
    request.setRequestHeader("Idempotency-Key", key);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => {
      if (event.lengthComputable) onProgress(event.loaded / event.total);
    };
    request.onload = () => {
      if (request.status === 401) location.assign("/sign-in?next=/");
      else if (request.status === 202) resolve(JSON.parse(request.responseText).job_id);
      else reject({ why: fill(words.failed, { why: reason(request) }), again: request.status >= 500 });
    };
    request.onerror = () => reject({ why: words.lost, again: true });
    request.onabort = () => reject({ stopped: true });
    request.send(body);
  });
}

async function sendFiles(files, keys = files.map(newKey)) {
  const limit = Number(form.dataset.max);
  const large = files.find((file) => file.size > limit);
  if (large) {
    fail(fill(words.too_large, { name: large.name, size: form.dataset.maxText }), null);
    return;
  }
  const chosen = options();
  trouble.hidden = true;
  bar.value = 0;
  show(sending);
  sending.querySelector("h2").focus();
  let job = null;
  for (const [index, file] of files.entries()) {
    const body = new FormData();
    for (const [name, value] of Object.entries(chosen)) body.append(name, String(value));
    body.append("file", file, file.name);
    const before = files.length > 1 ? fill(words.several, { done: index, total: files.length }) + ". " : "";
    const progress = (share) => {
      bar.value = 100 * share;
      const percent = Math.floor(100 * share);
      status.textContent = before +
        (share < 1 ? fill(words.sending, { name: file.name, percent }) : words.checking);
    };
    progress(0);
    try {
      job = await post(body, keys[index], {}, progress);
    } catch (error) {
      if (error.stopped) show(drop);
      else fail(error.why, error.again ? () => sendFiles(files.slice(index), keys.slice(index)) : null);
      return;
    }
  }
  location.assign(files.length > 1 ? "/history" : `/results/${job}`);
}

async function sendAddress(address, key = newKey()) {
  const wish = { video_url: address, ...options() };
  trouble.hidden = true;
  try {
    const job = await post(JSON.stringify(wish), key, { "Content-Type": "application/json" }, () => {});
    location.assign(`/results/${job}`);
  } catch (error) {
    fail(error.why, error.again ? () => sendAddress(address, key) : null);
  }
}

chooser.addEventListener("change", () => {
  if (chooser.files.length) sendFiles([...chooser.files]);
});
for (const kind of ["dragenter", "dragover"]) {
  drop.addEventListener(kind, () => drop.classList.add("over"));
}
for (const kind of ["dragleave", "drop"]) {
  drop.addEventListener(kind, () => drop.classList.remove("over"));
}
// A file dropped beside the field must not replace the page.
for (const kind of ["dragover", "drop"]) {
  window.addEventListener(kind, (event) => {
    if (event.target !== chooser) event.preventDefault();
  });
}
form.addEventListener("submit", (event) => event.preventDefault());
document.getElementById("stop").addEventListener("click", () => request && request.abort());
again.addEventListener("click", () => retry && retry());
document.getElementById("by-link").addEventListener("submit", (event) => {
  event.preventDefault();
  sendAddress(event.target.elements.address.value.trim());
});
// Back from a result: the same file can be chosen again.
window.addEventListener("pageshow", () => {
  form.reset();
  show(drop);
});
