// Successive readings of /metrics, turned into rates over the last five minutes.
//
// Behind a load balancer each reading may come from another replica. A replica is known by the
// moment its counters began, rates are taken within one replica, and what is shown is the sum of
// the replicas heard of lately.

import { byLabel, parse, total } from "./prometheus.js";

export const WINDOW_S = 300;
const HEARD_LATELY_S = 30;

export class Figures {
  #replicas = new Map();
  points = []; // {at, received, settled, calls, waiting}: rates a second, and a count

  // Takes one reading in; `at` is in seconds.
  add(text, at) {
    const sample = { at, ...read(parse(text)) };
    const readings = this.#replicas.get(sample.began) ?? [];
    readings.push(sample);
    while (readings[0].at < at - WINDOW_S) readings.shift();
    this.#replicas.set(sample.began, readings);
    this.points.push({ at, ...this.#now(at) });
    while (this.points[0].at < at - WINDOW_S) this.points.shift();
  }

  get replicas() {
    return this.#live().length;
  }

  get began() {
    return Math.min(...this.#live().map((readings) => readings.at(-1).began));
  }

  // How long this page has been reading, as far as the window goes.
  get watchedS() {
    return this.points.length ? this.points.at(-1).at - this.points[0].at : 0;
  }

  // Totals since the replicas started.
  get totals() {
    return sum(this.#live().map((readings) => readings.at(-1)));
  }

  // Failed calls by reason: since the start, and within the window.
  get failures() {
    const rows = new Map();
    for (const readings of this.#live()) {
      for (const [outcome, count] of Object.entries(readings.at(-1).outcomes)) {
        const row = rows.get(outcome) ?? { outcome, count: 0, lately: 0 };
        row.count += count;
        row.lately += count - (readings[0].outcomes[outcome] ?? 0);
        rows.set(outcome, row);
      }
    }
    rows.delete("ok");
    const failed = [...rows.values()].filter((row) => row.count > 0);
    return failed.sort((a, b) => b.lately - a.lately || b.count - a.count);
  }

  #live() {
    const newest = this.points.at(-1)?.at ?? 0;
    return [...this.#replicas.values()].filter((r) => r.at(-1).at >= newest - HEARD_LATELY_S);
  }

  #now(at) {
    const heard = [...this.#replicas.values()].filter((r) => r.at(-1).at >= at - HEARD_LATELY_S);
    return sum(heard.map(rates));
  }
}

function read(series) {
  const began = series.get("instagram_contacts_created")?.[0]?.value ?? 0;
  return {
    began,
    received: total(series, "instagram_contacts_total"),
    settled: total(series, "instagram_settled_total", (l) => l.outcome === "resolved"),
    calls: total(series, "instagram_graph_calls_total"),
    waiting: total(series, "instagram_queue_depth"),
    oldestS: total(series, "instagram_queue_oldest_seconds"),
    inFlight: total(series, "instagram_in_flight"),
    outcomes: byLabel(series, "instagram_graph_calls_total", "outcome"),
  };
}

// A second, over about the last ten: one reading apart would flicker.
function rates(readings) {
  const last = readings.at(-1);
  const first = readings.find((r) => r.at >= last.at - 10) ?? last;
  const spanS = last.at - first.at;
  const rate = (name) => (spanS > 0 ? Math.max(0, last[name] - first[name]) / spanS : null);
  return {
    received: rate("received"),
    settled: rate("settled"),
    calls: rate("calls"),
    waiting: last.waiting,
    oldestS: last.oldestS,
    inFlight: last.inFlight,
  };
}

function sum(rows) {
  const result = {};
  for (const row of rows) {
    for (const [name, value] of Object.entries(row)) {
      if (typeof value === "number") result[name] = combine(name, result[name] ?? 0, value);
    }
  }
  return result;
}

function combine(name, a, b) {
  return name === "oldestS" ? Math.max(a, b) : a + b;
}
