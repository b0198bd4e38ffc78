// A line chart of the last hour, drawn by uPlot in the page's own colours.

import { html, useEffect, useId, useRef } from "./preact.js";
import { WINDOW_S } from "./figures.js";
import { axisClock } from "./words.js";

const HEIGHT_PX = 150;
const { uPlot } = window;
const scheme = matchMedia("(prefers-color-scheme: dark)");

// `series` is [{name, color: a custom property of the style sheet, values, said, dash, fill}].
export function Chart({ title, at, series, atLeast = 1 }) {
  const id = useId();
  const box = useRef(null);
  const plot = useRef(null);
  const options = { atLeast, series };
  useEffect(() => keepDrawn(box.current, plot, options), []);
  useEffect(() => plot.current?.setData([at, ...series.map((s) => s.values)]));
  return html`
    <figure class="chart" aria-labelledby=${id}>
      <figcaption id=${id}>
        <span class="chart-title">${title}</span>
        ${series.map(
          (s) => html`<span class="legend">
            <span class="swatch ${s.dash ? "dashed" : ""}" data-color=${s.color}></span>
            ${s.name} <b>${s.said}</b>
          </span>`,
        )}
      </figcaption>
      <div class="plot" ref=${box} aria-hidden="true"></div>
    </figure>
  `;
}

// Draws the chart, and draws it again when the box is resized or the colours change.
function keepDrawn(box, plot, options) {
  const draw = () => {
    const data = plot.current?.data ?? [[], ...options.series.map(() => [])];
    plot.current?.destroy();
    plot.current = new uPlot(describe(box, options), data, box);
  };
  const resized = new ResizeObserver(() =>
    plot.current.setSize({ width: box.clientWidth, height: HEIGHT_PX }),
  );
  draw();
  resized.observe(box);
  scheme.addEventListener("change", draw);
  return () => {
    resized.disconnect();
    scheme.removeEventListener("change", draw);
    plot.current.destroy();
  };
}

/** @returns {import("uplot").Options} */
function describe(box, { atLeast, series }) {
  const style = getComputedStyle(box);
  const color = (name) => style.getPropertyValue(`--${name}`).trim();
  const axis = { stroke: color("faint"), font: `11px ${style.fontFamily}`, ticks: { show: false } };
  const grid = { stroke: color("line"), width: 1 };
  return {
    width: box.clientWidth,
    height: HEIGHT_PX,
    legend: { show: false },
    cursor: { show: false },
    padding: [8, 16, 0, 0],
    scales: { x: { range: () => lastWindow() }, y: { range: (_, __, max) => [0, roomy(max, atLeast)] } },
    axes: [
      { ...axis, grid: { show: false }, space: 45, size: 24, values: (_, at) => at.map(axisClock) },
      { ...axis, grid, space: 40, size: 40 },
    ],
    series: [{}, ...series.map((s) => line(s, color))],
  };
}

function line({ color: name, dash, fill }, color) {
  return {
    stroke: color(name),
    width: dash ? 1.5 : 2,
    dash: dash ? [4, 4] : undefined,
    fill: fill ? `${color(name)}22` : undefined,
    points: { show: false },
    spanGaps: false,
  };
}

/** @returns {[number, number]} */
function lastWindow() {
  const now = Date.now() / 1000;
  return [now - WINDOW_S, now];
}

function roomy(max, atLeast) {
  return Math.max(atLeast, (max ?? 0) * 1.15);
}
