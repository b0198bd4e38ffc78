// Successive readings of /metrics, turned into rates of this moment; the past is each replica's own
// minutes, as /status has them.
//
// Behind a load balancer each reading may come from another replica. A replica is known by the
// moment its counters began, rates are taken within one replica, and what is shown is the sum of
// the replicas heard of lately.

import { byLabel, parse, total } from "./prometheus.js";

export const WINDOW_S = 3600;
const KEPT_S = 60;
const HEARD_LATELY_S = 30;

export class Figures {
  #replicas = new Map();
  #histories = new Map(); // of each replica: when it was heard of, and its minutes
  points = []; // {at, received, settled, calls, waiting}: rates a second, and a count

  // Takes a replica's minutes in, which replace those it told before.
  addHistory({ replica, minutes }, at) {
    this.#histories.set(replica, { at, minutes });
    for (const [name, heard] of this.#histories) if (heard.at < at - WINDOW_S) this.#histories.delete(name);
  }

  // Rates a second in each of the last sixty minutes, all replicas together; null where none ran.
  minutes(now) {
    const last = Math.floor(now / 60) - 1;
    const found = Array.from({ length: 60 }, (_, n) => ({ at: (last - 59 + n) * 60 }));
    for (const { minutes } of this.#histories.values()) {
      for (const minute of minutes) add(found[Math.round(Date.parse(minute.at) / 60_000) - last + 59], minute);
    }
    return found;
  }

  // Calls that brought no name within the hour, by reason; with those of since this page looked.
  get lately() {
    const rows = new Map();
    for (const { minutes } of this.#histories.values()) {
      for (const { failures } of minutes) {
        for (const [reason, n] of Object.entries(failures)) rows.set(reason, (rows.get(reason) ?? 0) + n);
      }
    }
    return rows;
  }

  // Takes one reading in; `at` is in seconds.
  add(text, at) {
    const sample = { at, ...read(parse(text)) };
    const readings = this.#replicas.get(sample.began) ?? [];
    readings.push(sample);
    while (readings[0].at < at - KEPT_S) readings.shift();
    this.#replicas.set(sample.began, readings);
    this.points.push({ at, ...this.#now(at) });
    while (this.points[0].at < at - KEPT_S) this.points.shift();
  }

  get replicas() {
    return this.#live().length;
  }

  get began() {
    return Math.min(...this.#live().map((readings) => readings.at(-1).began));
  }

  // Totals since the replicas started.
  get totals() {
    return sum(this.#live().map((readings) => readings.at(-1)));
  }

  // Failed calls by reason: within the last hour, and since the replicas started.
  get failures() {
    const rows = new Map();
    for (const [outcome, lately] of this.lately) rows.set(outcome, { outcome, count: 0, lately });
    for (const readings of this.#live()) {
      for (const [outcome, count] of readings.at(-1).outcomes) {
        const row = rows.get(outcome) ?? { outcome, count: 0, lately: 0 };
        row.count += count;
        rows.set(outcome, row);
      }
    }
    rows.delete("ok");
    const failed = [...rows.values()].filter((row) => row.count > 0 || row.lately > 0);
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

function add(point, { received, named, calls, depth }) {
  if (!point) return;
  point.received = (point.received ?? 0) + received / 60;
  point.settled = (point.settled ?? 0) + named / 60;
  point.calls = (point.calls ?? 0) + calls / 60;
  point.waiting = (point.waiting ?? 0) + depth;
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
