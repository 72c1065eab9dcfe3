// Draws face boxes and heat over the picture; places are fractions of its width and height.

const NEAR_BOX = 0.6; // seconds between a sampled face and the position
const NEAR_MAP = 0.35; // seconds between a map and the position
const HEAT = [255, 120, 30];
const HALF = 0.5; // the outlined part reaches this share of the strongest place

export function mapAt(maps, time) {
  const near = maps.filter((map) => Math.abs(map.at - time) <= NEAR_MAP);
  near.sort((one, other) => Math.abs(one.at - time) - Math.abs(other.at - time));
  return near[0] || null;
}

export function drawBoxes(context, boxes, time, width, height) {
  for (const [person, box] of boxesAt(boxes, time)) {
    const [left, top, right, bottom] = box;
    const rect = [left * width, top * height, (right - left) * width, (bottom - top) * height];
    // Black below white is seen on any picture.
    twice(context, () => context.strokeRect(...rect));
    context.font = "600 13px Inter, sans-serif";
    const label = String(person);
    const wide = context.measureText(label).width + 10;
    context.fillStyle = "rgba(0, 0, 0, 0.75)";
    context.fillRect(rect[0], Math.max(0, rect[1] - 20), wide, 18);
    context.fillStyle = "#fff";
    context.fillText(label, rect[0] + 5, Math.max(13, rect[1] - 6.5));
  }
}

// The face of each person at a time, between the two nearest sampled ones.
function boxesAt(boxes, time) {
  const around = new Map();
  let low = 0;
  let high = boxes.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (boxes[middle][0] < time - NEAR_BOX) low = middle + 1;
    else high = middle;
  }
  for (let index = low; index < boxes.length && boxes[index][0] <= time + NEAR_BOX; index += 1) {
    const [at, person, box] = boxes[index];
    const pair = around.get(person) || {};
    if (at <= time) pair.before = { at, box };
    else if (!pair.after) pair.after = { at, box };
    around.set(person, pair);
  }
  return [...around].map(([person, { before, after }]) => {
    if (!before || !after) return [person, (before || after).box];
    const share = (time - before.at) / (after.at - before.at);
    return [person, before.box.map((value, side) => value + share * (after.box[side] - value))];
  });
}

export function drawMap(context, map, width, height) {
  const rows = map.cells.length;
  const columns = map.cells[0].length;
  const strongest = Math.max(...map.cells.flat());
  const [first, second, , last] = map.corners.map(([x, y]) => [x * width, y * height]);
  context.save();
  // Cells to the picture: the face's square may be turned.
  context.transform(
    (second[0] - first[0]) / columns, (second[1] - first[1]) / columns,
    (last[0] - first[0]) / rows, (last[1] - first[1]) / rows,
    first[0], first[1],
  );
  if (strongest > 0) {
    const small = new OffscreenCanvas(columns, rows);
    const pixels = new ImageData(columns, rows);
    map.cells.flat().forEach((value, index) => {
      pixels.data.set([...HEAT, 205 * Math.max(0, value / strongest)], 4 * index);
    });
    small.getContext("2d").putImageData(pixels, 0, 0);
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    context.drawImage(small, 0, 0);
  }
  const outline = new Path2D();
  outline.rect(0, 0, columns, rows);
  const line = strongest > 0 ? halfLine(map.cells, HALF * strongest) : new Path2D();
  context.restore();
  const matrix = new DOMMatrix([
    (second[0] - first[0]) / columns, (second[1] - first[1]) / columns,
    (last[0] - first[0]) / rows, (last[1] - first[1]) / rows,
    first[0], first[1],
  ]);
  for (const path of [outline, line]) {
    const placed = new Path2D();
    placed.addPath(path, matrix);
    twice(context, () => context.stroke(placed));
  }
}

// The border between cells that reach a value and those that don't.
function halfLine(cells, value) {
  const path = new Path2D();
  const inside = (row, column) => (cells[row]?.[column] ?? -Infinity) >= value;
  const edge = (x0, y0, x1, y1) => {
    path.moveTo(x0, y0);
    path.lineTo(x1, y1);
  };
  cells.forEach((row, y) => row.forEach((_, x) => {
    if (!inside(y, x)) return;
    if (!inside(y - 1, x)) edge(x, y, x + 1, y);
    if (!inside(y + 1, x)) edge(x, y + 1, x + 1, y + 1);
    if (!inside(y, x - 1)) edge(x, y, x, y + 1);
    if (!inside(y, x + 1)) edge(x + 1, y, x + 1, y + 1);
  }));
  return path;
}

function twice(context, stroke) {
  context.lineWidth = 4;
  context.strokeStyle = "rgba(0, 0, 0, 0.65)";
  stroke();
  context.lineWidth = 1.6;
  context.strokeStyle = "#fff";
  stroke();
}
