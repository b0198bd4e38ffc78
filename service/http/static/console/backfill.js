// Names for everybody of a location who wrote lately and has none.

import { html, useChanges, useState } from "./preact.js";
import { Badge, Empty, Field } from "./parts.js";
import { runs, start } from "./backfill-run.js";
import { count, plural, rate, reasonSays } from "./words.js";

const NOT_RUN = new EventTarget();
const MOST_SHOWN = 60;
const USUAL_DAYS = 7;

export { forgetBackfills, resumeBackfills } from "./backfill-run.js";

// Tries those of a location again who failed, and shows how it gets on.
export function retryFailed(locationId) {
  start(locationId, USUAL_DAYS, true);
  location.hash = "backfill";
}

export function Backfill({ live }) {
  useChanges(live);
  const [days, setDays] = useState(USUAL_DAYS);
  const [includeFailed, setIncludeFailed] = useState(false);
  const [wanted, setWanted] = useState("");
  const places = placesOf(live.connections ?? []);
  const fitting = places.filter(({ name }) => name.toLowerCase().includes(wanted.trim().toLowerCase()));
  const isValid = Number.isInteger(days) && days >= 1 && days <= 90;
  const begin = (locationId, everybody = includeFailed) => {
    start(locationId, days, everybody);
    live.changed();
  };
  return html`
    <h2 tabindex="-1">Backfill</h2>
    <p class="lead">Fetches the names of everybody who wrote within some days and has no fresh one,
      most recent first, within the budget and after live messages.</p>
    <form class="options" onSubmit=${(event) => event.preventDefault()}>
      <${Field} label="Days" hint=${isValid ? null : "1 to 90"}>
        <input type="number" min="1" max="90" value=${days} aria-invalid=${isValid ? null : "true"}
          onInput=${(event) => setDays(event.target.valueAsNumber)} />
      <//>
      ${places.length > 6 && html`
        <${Field} label="Location"><input type="search" value=${wanted} onInput=${(event) => setWanted(event.target.value)} /><//>`}
      <label class="check">
        <input type="checkbox" checked=${includeFailed} onChange=${(event) => setIncludeFailed(event.target.checked)} />
        People whose fetch has failed too
      </label>
    </form>
    ${live.connections === null
      ? html`<${Empty}>The locations can't be read right now.<//>`
      : places.length === 0
        ? html`<${Empty}>No account is connected yet, so there is no location.<//>`
        : html`<ul class="cards">${fitting.slice(0, MOST_SHOWN).map(({ name, accounts }) => html`
            <${Place} key=${name} locationId=${name} accounts=${accounts} isValid=${isValid} onStart=${begin} />`)}</ul>`}
  `;
}

// Locations with their number of accounts; those with a run come first.
function placesOf(connections) {
  const counts = new Map();
  for (const { locationId } of connections) counts.set(locationId, (counts.get(locationId) ?? 0) + 1);
  return [...counts]
    .map(([name, accounts]) => ({ name, accounts }))
    .sort((a, b) => Number(runs.has(b.name)) - Number(runs.has(a.name)) || a.name.localeCompare(b.name));
}

const STATES = {
  running: { kind: "quiet", says: "Running" },
  done: { kind: "good", says: "Done" },
  left: { kind: "warn", says: "Some are left" },
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
          : html`
            ${run?.left && run.left.waiting + run.left.stopped > 0 && html`
              <button key="retry" class="primary" onClick=${() => onStart(locationId, true)} aria-label="Try those of ${locationId} now">Try them now</button>`}
            <button key="start" class=${run?.left ? "" : "primary"} disabled=${!isValid} onClick=${() => onStart(locationId)}
              aria-label="Start ${locationId}">${run ? "Start again" : "Start"}</button>`}
        ${run?.left && html`<a class="way" href="#people?named=false&locationId=${encodeURIComponent(locationId)}">Show them</a>`}
      </footer>
    </li>
  `;
}

function Progress({ run, locationId }) {
  const { done, total, resolved, failed } = run;
  return html`
    <progress max=${total || 1} value=${total === null ? (run.state === "running" ? undefined : 0) : total === 0 ? (run.left ? 0 : 1) : done}
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
