"use strict";
// Zooms the chart and reads out its values. Text from the tracks is set as textContent only.
const { span, steps, tracks } = JSON.parse(document.getElementById("data").textContent);
const chart = document.querySelector(".chart");
const find = (selector) => chart.querySelector(selector);
const scroller = find(".scroller"), canvas = find(".canvas"), cursor = find(".cursor"), range = find(".range");
const readout = find(".readout"), values = chart.querySelectorAll(".legend .value");
const [startS, endS] = span;
const SEGMENT_PX = 80, MARK_PX = 80, DRAG_PX = 6;
const longest = Math.max(1, ...tracks.map((segments) => segments.length));
let zoom = 1, draggedFrom = null;

const mostZoom = () => Math.max(1, (longest * SEGMENT_PX) / scroller.clientWidth);
const shareAt = (event) => {
  const box = canvas.getBoundingClientRect();
  return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
};

function clock(seconds) {
  const tenths = Math.round(Math.abs(seconds) * 10), whole = Math.floor(tenths / 10);
  const two = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  const head = hours ? `${hours}:${two(minutes)}` : `${minutes}`;
  return (seconds < 0 ? "-" : "") + `${head}:${two(whole % 60)}` + (tenths % 10 ? `.${tenths % 10}` : "");
}

// Show `share` of the time (0 to 1) at `atPx` from the left, `next` times as wide as the whole.
function zoomTo(next, share, atPx) {
  zoom = Math.min(mostZoom(), Math.max(1, next));
  canvas.style.setProperty("--zoom", zoom);
  scroller.scrollLeft = share * scroller.clientWidth * zoom - atPx;
  drawMarks();
}

function zoomBy(factor, atPx = scroller.clientWidth / 2) {
  zoomTo(factor ? zoom * factor : 1, (scroller.scrollLeft + atPx) / (scroller.clientWidth * zoom), atPx);
}

function drawMarks() {
  const room = Math.max(1, (scroller.clientWidth * zoom) / MARK_PX), length = endS - startS;
  const step = steps.find((candidate) => length / candidate <= room) ?? length / room;
  const marks = [];
  for (let n = Math.ceil(startS / step - 1e-9); n * step <= endS + 1e-9; n++) {
    const mark = document.createElement("span");
    mark.className = "mark";
    mark.style.setProperty("--t", (n * step - startS) / length);
    mark.textContent = clock(n * step);
    marks.push(mark);
  }
  canvas.querySelectorAll(".mark").forEach((mark) => mark.remove());
  canvas.prepend(...marks);
}

function readOut(share) {
  const second = startS + share * (endS - startS);
  cursor.hidden = readout.hidden = false;
  cursor.style.setProperty("--t", share);
  readout.textContent = `At ${clock(second)}`;
  tracks.forEach((segments, number) => {
    const found = segments.find(([start, end]) => start <= second && second < end);
    const [, , score, motion, flags] = found ?? [];
    const said = [score == null ? "no score" : score.toFixed(1), `motion ${(motion ?? 0).toFixed(1)}`, ...(flags ?? [])];
    values[number].textContent = found ? said.join(", ") : "–";
  });
}

function select(to) {
  range.hidden = false;
  range.style.setProperty("--t", Math.min(draggedFrom, to));
  range.style.setProperty("--end", Math.max(draggedFrom, to));
}

canvas.addEventListener("pointerdown", (event) => {
  if (event.pointerType === "mouse" && event.button === 0 && !event.target.closest("a")) draggedFrom = shareAt(event);
});
canvas.addEventListener("pointermove", (event) => {
  const share = shareAt(event);
  readOut(share);
  if (draggedFrom !== null) select(share);
});
window.addEventListener("pointerup", (event) => {
  if (draggedFrom === null) return;
  const from = Math.min(draggedFrom, shareAt(event)), width = Math.abs(draggedFrom - shareAt(event));
  draggedFrom = null;
  range.hidden = true;
  if (width * canvas.clientWidth > DRAG_PX) zoomTo(1 / width, from, 0);
});
canvas.addEventListener("dblclick", () => zoomBy(0));
scroller.addEventListener("wheel", (event) => {
  if (!event.ctrlKey) return;
  event.preventDefault();
  zoomBy(event.deltaY < 0 ? 1.25 : 0.8, event.clientX - scroller.getBoundingClientRect().left);
}, { passive: false });
scroller.addEventListener("keydown", (event) => {
  const factor = { "+": 2, "=": 2, "-": 0.5, "0": 0 }[event.key];
  if (factor !== undefined && !event.ctrlKey && !event.metaKey) zoomBy(factor);
});
chart.querySelectorAll("[data-zoom]").forEach((button) => {
  button.addEventListener("click", () => zoomBy(Number(button.dataset.zoom)));
});
window.addEventListener("resize", () => zoomBy(1));
find(".tools").hidden = find(".keys").hidden = false;
drawMarks();
