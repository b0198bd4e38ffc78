// Names for everybody of a location who wrote lately and has none, request by request.

import { html, useChanges, useState } from "./preact.js";
import * as api from "./api.js";
import { Badge, Empty, Field, announce } from "./parts.js";
import { age, count, plural, rate, reasonSays } from "./words.js";

const REQUEST_WITHIN_MS = 60_000;
const MOST_RETRIES = 5;
const SHOWN_NAMES = 6;

// A backfill of one location; it goes on while other views are looked at.
class Run extends EventTarget {
  state = "running"; // running, done, stopped or failed
  total = null;
  resolved = 0;
  failed = 0;
  reasons = new Map();
  names = [];
  says = "The first 50 are being fetched …";
  #abort = new AbortController();
  #began = Date.now();
  #ended = null;

  constructor(locationId, days, includeFailed) {
    super();
    this.path = `messages/backfill?${new URLSearchParams({ locationId, days, includeFailed })}`;
    this.#go();
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

  async #go() {
    try {
      while (this.state === "running" && this.#take(await this.#request()));
    } catch (error) {
      if (this.state !== "running") return;
      if (!(error instanceof api.Trouble)) throw error;
      this.#end("failed", error.message);
    }
  }

  async #request() {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await api.post(this.path, { signal: this.#abort.signal, withinMs: REQUEST_WITHIN_MS });
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
    if (left === 0) return this.#end("done", this.total ? "Done." : "Everybody has a fresh name already.");
    if (report.resolved + report.failed === 0) return this.#end("failed", noProgress(report));
    return this.#say(`${count(left)} to go, about ${age(left / this.perSecond)}.`);
  }

  #note({ outcome, reason, displayName }) {
    if (outcome === "resolved") this.names = [displayName, ...this.names].slice(0, SHOWN_NAMES);
    if (outcome === "failed") this.reasons.set(reason, (this.reasons.get(reason) ?? 0) + 1);
  }

  #say(text) {
    this.says = text;
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

function noProgress({ queued, results }) {
  const reason = results.find((result) => result.reason)?.reason;
  const why = reason ? `${reasonSays(reason)}.` : "No outcome came in time.";
  return `${why} ${plural(queued, "person stays", "people stay")} queued and will be fetched later.`;
}

const runs = new Map();
const NOT_RUN = new EventTarget();

export function Backfill({ live }) {
  useChanges(live);
  const [days, setDays] = useState(7);
  const [includeFailed, setIncludeFailed] = useState(false);
  const places = Object.entries(Object.groupBy(live.connections ?? [], (c) => c.locationId));
  const isValid = Number.isInteger(days) && days >= 1 && days <= 90;
  return html`
    <h2 tabindex="-1">Backfill</h2>
    <p class="lead">Fetches the names of everybody who wrote within some days and has no fresh one,
      most recent first, within the budget and after live messages.</p>
    <form class="options" onSubmit=${(event) => event.preventDefault()}>
      <${Field} label="Days" hint=${isValid ? null : "1 to 90"}>
        <input type="number" min="1" max="90" value=${days} aria-invalid=${isValid ? null : "true"}
          onInput=${(event) => setDays(event.target.valueAsNumber)} />
      <//>
      <label class="check">
        <input type="checkbox" checked=${includeFailed} onChange=${(event) => setIncludeFailed(event.target.checked)} />
        People whose fetch has failed too
      </label>
    </form>
    ${live.connections === null
      ? html`<${Empty}>The locations can't be read right now.<//>`
      : places.length === 0
        ? html`<${Empty}>No account is connected yet, so there is no location.<//>`
        : html`<ul class="cards">${places.map(([locationId, accounts]) => html`
            <${Place} key=${locationId} locationId=${locationId} accounts=${accounts.length}
              live=${live} isValid=${isValid} onStart=${() => {
                runs.set(locationId, new Run(locationId, days, includeFailed));
                live.changed();
              }} />`)}</ul>`}
  `;
}

const STATES = {
  running: { kind: "quiet", says: "Running" },
  done: { kind: "good", says: "Done" },
  stopped: { kind: "warn", says: "Stopped" },
  failed: { kind: "bad", says: "Did not get on" },
};

function Place({ locationId, accounts, isValid, onStart }) {
  const run = runs.get(locationId);
  useChanges(run ?? NOT_RUN);
  const isRunning = run?.state === "running";
  return html`
    <li class="panel place">
      <header class="panel-head">
        <h3>${locationId}</h3>
        ${run && html`<${Badge} kind=${STATES[run.state].kind}>${STATES[run.state].says}<//>`}
      </header>
      <p class="hint">${plural(accounts, "account")}</p>
      ${run && html`<${Progress} run=${run} locationId=${locationId} />`}
      <footer class="actions">
        ${isRunning
          ? html`<button key="stop" onClick=${() => run.stop()} aria-label="Stop ${locationId}">Stop</button>`
          : html`<button key="start" class="primary" disabled=${!isValid} onClick=${onStart}
              aria-label="Start ${locationId}">${run ? "Start again" : "Start"}</button>`}
      </footer>
    </li>
  `;
}

function Progress({ run, locationId }) {
  const { done, total, resolved, failed } = run;
  return html`
    <progress max=${total || 1} value=${total === null ? (run.state === "running" ? undefined : 0) : total === 0 ? 1 : done}
      aria-label="Backfill of ${locationId}"></progress>
    <p class="progress-line">
      <b>${count(done)} of ${total === null ? "…" : count(total)}</b>
      <span>${count(resolved)} named, ${count(failed)} failed, ${rate(run.perSecond)} a second</span>
    </p>
    <p>${run.says}</p>
    ${run.names.length > 0 && html`<p class="names">${run.names.map((name) => html`<span>${name}</span>`)}</p>`}
    ${run.reasons.size > 0 && html`
      <ul class="plain">${[...run.reasons].map(([reason, n]) => html`<li>${count(n)} × ${reasonSays(reason)}</li>`)}</ul>`}
  `;
}
