// A backfill of one location, request by request. It goes on while other views are looked at, and
// after a reload of this tab: what it has come to is kept with the key.

import * as api from "./api.js";
import { announce } from "./parts.js";
import { age, clock, count, plural, reasonSays } from "./words.js";

const KEY = "backfills";
const REQUEST_WITHIN_MS = 60_000;
const MOST_RETRIES = 5;
const SHOWN_NAMES = 6;

export class Run extends EventTarget {
  state = "running"; // running, done, left, stopped or failed
  total = null;
  resolved = 0;
  failed = 0;
  reasons = new Map();
  names = [];
  says = "The first 50 are being fetched …";
  left = null; // who has no fresh name at the end: {waiting, stopped, paused, waitingUntil}
  #abort = new AbortController();
  #began = Date.now();
  #ended = null;
  #failedBefore = null;

  constructor(locationId, days, includeFailed) {
    super();
    this.locationId = locationId;
    this.days = days;
    this.includeFailed = includeFailed;
  }

  // Takes up what an earlier page of this tab kept.
  static restored(kept) {
    const run = new Run(kept.locationId, kept.days, kept.includeFailed);
    const { state, total, resolved, failed, names, says, left } = kept;
    Object.assign(run, { state, total, resolved, failed, names, says, left, reasons: new Map(kept.reasons) });
    [run.#began, run.#ended, run.#failedBefore] = [kept.began, kept.ended, kept.failedBefore];
    return run;
  }

  get kept() {
    const { locationId, days, includeFailed, state, total, resolved, failed, names, says, left } = this;
    return {
      ...{ locationId, days, includeFailed, state, total, resolved, failed, names, says, left },
      ...{ reasons: [...this.reasons], began: this.#began, ended: this.#ended, failedBefore: this.#failedBefore },
    };
  }

  get done() {
    return this.resolved + this.failed;
  }

  get perSecond() {
    return this.done / Math.max(1, ((this.#ended ?? Date.now()) - this.#began) / 1000);
  }

  stop() {
    this.#abort.abort();
    this.#end("stopped", "Stopped. What was asked for already is still fetched.");
  }

  async go() {
    try {
      while (this.state === "running" && this.#take(await this.#request(this.includeFailed)));
    } catch (error) {
      if (this.state !== "running") return;
      if (!(error instanceof api.Trouble)) throw error;
      this.#end("failed", error.message);
    }
  }

  async #request(includeFailed) {
    const query = { locationId: this.locationId, days: this.days, includeFailed };
    if (includeFailed && this.#failedBefore) query.failedBefore = this.#failedBefore;
    for (let attempt = 1; ; attempt += 1) {
      try {
        const path = `messages/backfill?${new URLSearchParams(query)}`;
        const report = await api.post(path, { signal: this.#abort.signal, withinMs: REQUEST_WITHIN_MS });
        this.#failedBefore ??= report.askedAt;
        return report;
      } catch (error) {
        const mayPass = error instanceof api.Trouble && (error.status === 503 || error.status === 0);
        if (!mayPass || attempt >= MOST_RETRIES) throw error;
        this.#say(`${error.message} Trying again …`);
        await new Promise((resolve) => setTimeout(resolve, (error.retryAfterS ?? 2) * 1000));
      }
    }
  }

  // Counts a report in; tells whether there is reason to ask for more.
  #take(report) {
    if (this.state !== "running") return false;
    this.total ??= report.candidates;
    this.resolved += report.resolved;
    this.failed += report.failed;
    for (const result of report.results) this.#note(result);
    const left = report.candidates - report.resolved - report.failed;
    this.total = Math.max(this.total, this.done + left);
    if (left === 0) return this.#finish(report);
    if (report.resolved + report.failed === 0) return this.#end("failed", noProgress(report));
    return this.#say(`${count(left)} to go, about ${age(left / this.perSecond)}.`);
  }

  // Where somebody has failed, asks once more: the answer says what they wait for.
  #finish(report) {
    if (this.failed && (this.includeFailed || report.attempted)) {
      this.includeFailed = false;
      return this.#say("Looking who is left …");
    }
    const { waiting, stopped, paused, waitingUntil } = report;
    if (waiting + stopped + paused === 0) {
      return this.#end("done", this.total ? "Done: everybody has a fresh name." : "Everybody has a fresh name already.");
    }
    this.left = { waiting, stopped, paused, waitingUntil };
    return this.#end("left", leftSays(this.left));
  }

  #note({ outcome, reason, displayName }) {
    if (outcome === "resolved") this.names = [displayName, ...this.names].slice(0, SHOWN_NAMES);
    if (outcome === "failed") this.reasons.set(reason, (this.reasons.get(reason) ?? 0) + 1);
  }

  #say(text) {
    this.says = text;
    keep();
    this.dispatchEvent(new Event("change"));
    return true;
  }

  #end(state, text) {
    this.state = state;
    this.#ended = Date.now();
    announce(text);
    this.#say(text);
    return false;
  }
}

function leftSays({ waiting, stopped, paused, waitingUntil }) {
  const n = waiting + stopped + paused;
  const parts = [
    waiting && `${count(waiting)} ${waiting === 1 ? "waits" : "wait"} for a retry${waitingUntil ? ` until ${clock(waitingUntil)}` : ""}`,
    stopped && `${count(stopped)} ${stopped === 1 ? "has" : "have"} stopped`,
    paused && `${count(paused)} of a paused account`,
  ];
  return `${plural(n, "person has", "people have")} no fresh name: ${parts.filter(Boolean).join(", ")}.`;
}

function noProgress({ queued, results }) {
  const reason = results.find((result) => result.reason)?.reason;
  const why = reason ? `${reasonSays(reason)}.` : "No outcome came in time.";
  return `${why} ${plural(queued, "person stays", "people stay")} queued and will be fetched later.`;
}

export const runs = new Map();

export function start(locationId, days, includeFailed) {
  runs.get(locationId)?.stop();
  const run = new Run(locationId, days, includeFailed);
  runs.set(locationId, run);
  keep();
  run.go();
}

function keep() {
  sessionStorage.setItem(KEY, JSON.stringify([...runs.values()].map((run) => run.kept)));
}

// Goes on with what ran when this tab was reloaded.
export function resumeBackfills() {
  for (const kept of JSON.parse(sessionStorage.getItem(KEY) ?? "[]")) {
    if (runs.has(kept.locationId)) continue;
    const run = Run.restored(kept);
    runs.set(kept.locationId, run);
    if (run.state === "running") run.go();
  }
}

// Stops what runs and forgets it, as the key is forgotten.
export function forgetBackfills() {
  for (const run of runs.values()) if (run.state === "running") run.stop();
  runs.clear();
  sessionStorage.removeItem(KEY);
}
