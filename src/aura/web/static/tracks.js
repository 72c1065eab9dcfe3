// The lanes: pointing tells values, pressing or the keyboard goes there, the playhead follows.

import { fill, words } from "./words.js";

const STEP = 1; // seconds for an arrow key
const STRIDE = 10; // seconds for Page Up and Page Down
const NEAR = 0.012; // share of the length within which a point belongs to a place

export function clock(seconds) {
  const tenths = Math.round(seconds * 10);
  const minutes = Math.floor(tenths / 600);
  const whole = String(Math.floor((tenths % 600) / 10)).padStart(2, "0");
  return `${minutes}:${whole}.${tenths % 10}`;
}

export class Tracks {
  constructor(place, seek, playOrPause) {
    this.place = place;
    this.data = JSON.parse(document.getElementById("hover").textContent);
    this.playhead = document.getElementById("playhead");
    this.pointer = document.getElementById("pointer");
    this.tip = document.getElementById("tip");
    this.seek = seek;
    this.playOrPause = playOrPause;
    this.position = 0;
    place.addEventListener("pointermove", (event) => this.point(event));
    place.addEventListener("pointerleave", () => this.leave());
    place.addEventListener("pointerdown", (event) => this.press(event));
    this.playhead.addEventListener("keydown", (event) => this.key(event));
  }

  // The part of the place that is time: all lanes share its left and right.
  axis() {
    const plot = this.place.querySelector(".plot").getBoundingClientRect();
    const place = this.place.getBoundingClientRect();
    return { left: plot.left - place.left, width: plot.width, page: plot.left };
  }

  timeOf(event) {
    const { page, width } = this.axis();
    const share = (event.clientX - page) / width;
    return share < -0.01 || share > 1.01 ? null : this.data.length * Math.min(1, Math.max(0, share));
  }

  point(event) {
    const time = this.timeOf(event);
    if (time === null) {
      this.leave();
      return;
    }
    if (event.buttons & 1) this.seek(time);
    const { left, width } = this.axis();
    const x = left + (width * time) / this.data.length;
    this.pointer.hidden = this.tip.hidden = false;
    this.pointer.style.left = `${x}px`;
    this.tip.textContent = this.valuesAt(time).join("\n");
    const right = x + this.tip.offsetWidth + 16 > this.place.clientWidth;
    this.tip.style.left = `${right ? Math.max(0, x - this.tip.offsetWidth - 10) : x + 10}px`;
  }

  leave() {
    this.pointer.hidden = this.tip.hidden = true;
  }

  press(event) {
    const time = this.timeOf(event);
    if (event.button !== 0 || time === null) return;
    this.seek(time);
    this.playhead.focus({ preventScroll: true });
    event.preventDefault();
  }

  key(event) {
    const steps = {
      ArrowRight: STEP, ArrowUp: STEP, ArrowLeft: -STEP, ArrowDown: -STEP,
      PageUp: STRIDE, PageDown: -STRIDE,
    };
    if (event.key in steps) this.seek(this.position + steps[event.key]);
    else if (event.key === "Home") this.seek(0);
    else if (event.key === "End") this.seek(this.data.length);
    else if (event.key === " " || event.key === "Enter") this.playOrPause();
    else return;
    event.preventDefault();
  }

  moveTo(time) {
    this.position = time;
    const { left, width } = this.axis();
    this.playhead.style.left = `${left + (width * Math.min(time, this.data.length)) / this.data.length}px`;
    const told = fill(words.position, { time: clock(time), end: clock(this.data.length) });
    this.playhead.setAttribute("aria-valuenow", time.toFixed(1));
    this.playhead.setAttribute("aria-valuetext", [told, ...this.valuesAt(time).slice(1)].join(", "));
  }

  valuesAt(time) {
    const several = new Set(this.data.lanes.map((lane) => lane.group)).size > 1;
    const lines = [clock(time)];
    for (const { label, group, points } of this.data.lanes) {
      const value = nearest(points, time, Math.max(1, NEAR * this.data.length));
      if (value !== null) {
        const shown = value.toFixed(2).replace(".", words.decimal);
        lines.push(`${several ? `${group}, ` : ""}${label} ${shown}`);
      }
    }
    return lines;
  }
}

function nearest(points, time, within) {
  let best = null;
  let distance = within;
  for (const [at, score] of points) {
    if (Math.abs(at - time) <= distance) {
      distance = Math.abs(at - time);
      best = score;
    }
  }
  return best;
}
