// The player with what is drawn over it, and everything that leads to a moment.

import { drawBoxes, drawMap, mapAt } from "./overlay.js";
import { clock, Tracks } from "./tracks.js";
import { words } from "./words.js";

const player = document.getElementById("player");
const video = document.getElementById("video");
const still = document.getElementById("still");
const canvas = document.getElementById("drawn");
const boxesButton = document.getElementById("boxes");
const heatButton = document.getElementById("heat");
const heatMoments = document.getElementById("heat-moments");
const mapNote = document.getElementById("map-note");
const picture = video || still;
const length = JSON.parse(document.getElementById("hover").textContent).length;
let overlay = { boxes: [], maps: [] };
let position = 0;

const pressed = (button) => button !== null && button.getAttribute("aria-pressed") === "true";

const tracksPlace = document.getElementById("tracks");
const tracks = tracksPlace ? new Tracks(tracksPlace, seek, playOrPause) : null;

function seek(seconds) {
  position = Math.max(0, Math.min(seconds, length));
  if (video) video.currentTime = position;
  else showStill();
  moved();
}

function playOrPause() {
  if (!video) return;
  if (video.paused) video.play();
  else video.pause();
}

// Without the video there are only the moments that were drawn.
function showStill() {
  if (!still) return;
  const buttons = [...document.querySelectorAll("[data-still]")];
  const distance = (button) => Math.abs(Number(button.dataset.seek) - position);
  buttons.sort((one, other) => distance(one) - distance(other));
  if (buttons.length === 0) return;
  position = Number(buttons[0].dataset.seek);
  if (!still.src.endsWith(buttons[0].dataset.still)) still.src = buttons[0].dataset.still;
}

function moved() {
  if (tracks) tracks.moveTo(position);
  draw();
}

// Where the picture lies within its element, which may have bars at its sides.
function pictureRect() {
  const wide = video ? video.videoWidth : still.naturalWidth;
  const high = video ? video.videoHeight : still.naturalHeight;
  if (!wide || !high) return null;
  const scale = Math.min(picture.clientWidth / wide, picture.clientHeight / high);
  const [width, height] = [wide * scale, high * scale];
  return {
    left: picture.offsetLeft + (picture.clientWidth - width) / 2,
    top: picture.offsetTop + (picture.clientHeight - height) / 2,
    width,
    height,
  };
}

function draw() {
  if (!picture) return;
  const rect = pictureRect();
  if (!rect) return;
  const sharp = window.devicePixelRatio || 1;
  canvas.style.left = `${rect.left}px`;
  canvas.style.top = `${rect.top}px`;
  canvas.style.width = `${rect.width}px`;
  canvas.style.height = `${rect.height}px`;
  canvas.width = Math.round(rect.width * sharp);
  canvas.height = Math.round(rect.height * sharp);
  const context = canvas.getContext("2d");
  context.scale(sharp, sharp);
  const map = pressed(heatButton) ? mapAt(overlay.maps, position) : null;
  if (map) drawMap(context, map, rect.width, rect.height);
  if (pressed(boxesButton)) drawBoxes(context, overlay.boxes, position, rect.width, rect.height);
  if (mapNote) mapNote.textContent = map && !map.reliable ? words.unreliable : "";
  canvas.dataset.drawn = [map ? "map" : "", pressed(boxesButton) ? "boxes" : ""].join(" ").trim();
}

function follow() {
  position = video.currentTime;
  moved();
  if (!video.paused && !video.ended) requestAnimationFrame(follow);
}

for (const button of document.querySelectorAll(".player .toggle")) {
  button.addEventListener("click", () => {
    button.setAttribute("aria-pressed", String(!pressed(button)));
    if (button === heatButton) {
      heatMoments.hidden = !pressed(heatButton);
      // Maps belong to single moments: go to the worst one if there is none here.
      if (pressed(heatButton) && overlay.maps.length && !mapAt(overlay.maps, position)) {
        if (video) video.pause();
        seek(overlay.maps[0].at);
      }
    }
    draw();
  });
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-seek]");
  if (button) {
    if (video) video.pause();
    seek(Number(button.dataset.seek));
    player.scrollIntoView({ block: "start" });
  }
  const flip = event.target.closest("[data-flip]");
  if (flip) {
    const heat = !pressed(flip);
    flip.setAttribute("aria-pressed", String(heat));
    const figure = flip.closest("figure");
    figure.querySelector(".plain").hidden = heat;
    figure.querySelector(".heat").hidden = !heat;
  }
});

if (video) {
  video.addEventListener("play", follow);
  for (const kind of ["seeked", "timeupdate", "loadedmetadata", "pause"]) {
    video.addEventListener(kind, () => {
      position = video.currentTime;
      moved();
    });
  }
  video.addEventListener("error", () => {
    document.getElementById("cannot-play").hidden = false;
  });
} else if (still) {
  still.addEventListener("load", draw);
}
new ResizeObserver(() => moved()).observe(player);

if (picture) {
  try {
    overlay = await (await fetch(player.dataset.overlay)).json();
  } catch {
    // Without the overlay the player plays, and nothing is drawn over it.
  }
}
if (!video) showStill();
moved();
performance.mark("ready");
document.documentElement.dataset.ready = clock(position);
