// Health at a glance: what needs somebody, the figures, their last five minutes, and what failed.

import { html, useChanges } from "./preact.js";
import { Chart } from "./charts.js";
import { Badge, Empty, Note, Panel, Time } from "./parts.js";
import { REASONS, age, count, cure, plural, rate, reasonSays, said } from "./words.js";

const LONG_WAIT_S = 60;

export function Health({ live }) {
  useChanges(live);
  const { status, figures } = live;
  const now = figures.points.at(-1) ?? {};
  return html`
    <h2 tabindex="-1">Health</h2>
    <${Verdict} live=${live} now=${now} />
    <${Tiles} status=${status} totals=${figures.totals} now=${now} />
    <${Charts} status=${status} points=${figures.points} now=${now} />
    <div class="columns">
      <${Failures} figures=${figures} />
      <${Pauses} live=${live} />
    </div>
    <p class="foot">
      ${figures.points.length > 0 && html`
        ${plural(figures.replicas, "replica")} heard of; counted since
        ${" "}<${Time} at=${figures.began * 1000} />.`}
    </p>
  `;
}

// Everything that somebody should know or do, the worst first.
export function needs({ status, connections, trouble }, now) {
  if (!status) return [];
  if (trouble) return [{ kind: "bad", title: trouble.message, text: LAST_KNOWN }];
  const found = [];
  if (status.postgres !== "ok") found.push(postgresAway(status.intake));
  if (status.intake.state === "unavailable") found.push(BROKER_AWAY);
  for (const pause of status.pauses) found.push({ kind: isOnItsOwn(pause) ? "warn" : "bad", pause });
  if (now.oldestS > LONG_WAIT_S) found.push(longWait(status, now));
  if (connections?.length === 0) found.push(NO_ACCOUNT);
  return found;
}

const LAST_KNOWN = "The figures below are the last ones known. The console keeps trying.";
const BROKER_AWAY = {
  kind: "bad",
  title: "The broker does not answer",
  text: "Deliveries are answered with 503, and Meta sends them again. Check that what INTAKE_URL names is up and can be reached.",
};
const NO_ACCOUNT = {
  kind: "warn",
  title: "No account is connected yet",
  text: "Connect one under Accounts; names follow as people write.",
};

function postgresAway({ kind }) {
  const deliveries = kind === "postgres"
    ? "Lookups and deliveries are answered with 503, and Meta sends the deliveries again."
    : "Lookups are answered with 503; deliveries wait in the broker.";
  const todo = "Check that the database is up and can be reached; the service goes on by itself.";
  return { kind: "bad", title: "PostgreSQL does not answer", text: `${deliveries} ${todo}` };
}

function isOnItsOwn({ reason }) {
  return reason === "throttled" || reason === "outage";
}

function isOfToken({ reason }) {
  return reason === "token_invalid" || reason === "permission";
}

function longWait({ budget }, { waiting, oldestS }) {
  return {
    kind: "warn",
    title: `Somebody has been waiting for ${age(oldestS)}`,
    text: `${plural(waiting, "person waits", "people wait")}; the budget allows ${rate(budget.perSecond)} calls a second, so this takes about ${age(waiting / budget.perSecond)}.`,
  };
}

function Verdict({ live, now }) {
  const { status } = live;
  if (!status) return html`<${Waiting} trouble=${live.trouble} />`;
  const found = needs(live, now);
  if (found.length === 0) {
    return html`<${Note} kind="good" role="status" title="All is well">
      Deliveries are taken in, and names come as people write.
    <//>`;
  }
  return html`
    <div class="stack" role="status">
      ${found.map(({ kind, title, text, pause }) =>
        pause
          ? html`<${Note} kind=${kind} title=${pauseTitle(pause, live)}>
              ${until(pause)} ${cure(pause.reason)}${" "}
              ${isOfToken(pause) && html`<a href="#accounts">Go to Accounts</a>`}
            <//>`
          : html`<${Note} kind=${kind} title=${title}>${text}<//>`,
      )}
    </div>
  `;
}

function Waiting({ trouble }) {
  if (trouble) return html`<${Note} role="status" title=${trouble.message}>The console keeps trying.<//>`;
  return html`<${Note} kind="quiet" role="status" title="One moment">Reading the figures.<//>`;
}

function pauseTitle({ scope, reason }, live) {
  return `${scopeName(scope, live)}: ${lowerFirst(reasonSays(reason))}`;
}

function lowerFirst(text) {
  return text.startsWith("Meta") ? text : text[0].toLowerCase() + text.slice(1);
}

export function scopeName(scope, live) {
  if (scope === "app") return "All accounts";
  const igAccountId = scope.replace("account:", "");
  const location = live.location(igAccountId);
  return location ? `Account ${igAccountId} (${location})` : `Account ${igAccountId}`;
}

function until({ until: at }) {
  return html`Paused until <${Time} at=${at} />.`;
}

function Tile({ name, value, more, tone = "", children = null }) {
  return html`
    <div class="tile ${tone}">
      <dt>${name}</dt>
      <dd class="figure">${value}</dd>
      <dd class="more">${more}</dd>
      ${children}
    </div>
  `;
}

function Tiles({ status, totals, now }) {
  const known = status?.identities ?? {};
  const nameless = (known.pending ?? 0) + (known.failed ?? 0);
  return html`
    <dl class="tiles">
      <${Tile} name="Received" value=${status ? count(totals.received ?? 0) : "–"}
        more=${html`${rate(now.received)} a second`} />
      <${Tile} name="Names known" value=${status ? count(known.resolved) : "–"}
        more=${html`${rate(now.settled)} a second`} />
      <${Tile} name="Without a name" value=${status ? count(nameless) : "–"}
        more=${html`${count(known.failed ?? 0)} given up`} />
      <${Tile} name="Waiting" value=${status ? count(now.waiting ?? 0) : "–"}
        tone=${now.oldestS > LONG_WAIT_S ? "warn" : ""}
        more=${html`oldest ${age(now.oldestS ?? 0)}, ${count(now.inFlight ?? 0)} in flight`} />
      <${Budget} status=${status} calls=${now.calls} />
    </dl>
  `;
}

function Budget({ status, calls }) {
  const perSecond = status?.budget.perSecond ?? 0;
  const used = perSecond && calls !== undefined ? Math.min(1, calls / perSecond) : 0;
  const pace = status?.budget.pace ?? 1;
  const slowed = pace < 1 ? `, slowed to ${Math.round(pace * 100)} %` : "";
  return html`
    <${Tile} name="Budget used" value=${status ? `${Math.round(used * 100)} %` : "–"}
      tone=${pace < 1 ? "warn" : ""}
      more=${html`${rate(calls)} of ${rate(perSecond)} calls a second${slowed}`}>
      <dd class="gauge"><meter min="0" max="1" value=${used} aria-label="Budget used"></meter></dd>
    <//>
  `;
}

function Charts({ status, points, now }) {
  const at = points.map((p) => p.at);
  const values = (name) => points.map((p) => p[name] ?? null);
  const budget = status?.budget.perSecond ?? 1;
  return html`
    <div class="charts">
      <${Chart} title="Received and named, a second" at=${at} series=${[
        { name: "received", color: "series-1", values: values("received"), said: rate(now.received), fill: true },
        { name: "named", color: "series-2", values: values("settled"), said: rate(now.settled) },
      ]} />
      <${Chart} title="Graph calls a second" at=${at} series=${[
        { name: "calls", color: "series-1", values: values("calls"), said: rate(now.calls), fill: true },
        { name: "budget", color: "series-3", values: points.map(() => budget), said: rate(budget), dash: true },
      ]} />
      <${Chart} title="Queue" at=${at} atLeast=${5} series=${[
        { name: "waiting", color: "series-1", values: values("waiting"), said: count(now.waiting ?? 0), fill: true },
      ]} />
    </div>
  `;
}

function Failures({ figures }) {
  const rows = figures.failures;
  return html`
    <${Panel} title="Calls that brought no name">
      ${rows.length === 0
        ? html`<${Empty}>None so far.<//>`
        : html`
          <table>
            <thead>
              <tr><th scope="col">Why</th><th scope="col" class="number">${lately(figures)}</th><th scope="col" class="number">Since the start</th></tr>
            </thead>
            <tbody>
              ${rows.map(({ outcome, count: n, lately }) => html`
                <tr>
                  <th scope="row">${reasonSays(outcome)}<small>${whose(outcome)} · <code>${outcome}</code></small></th>
                  <td class="number">${count(lately)}</td>
                  <td class="number">${count(n)}</td>
                </tr>`)}
            </tbody>
          </table>`}
    <//>
  `;
}

// How far back "lately" goes: five minutes at most, less if the page was opened since.
function lately({ watchedS }) {
  const minutes = Math.max(1, Math.round(watchedS / 60));
  return minutes === 1 ? "Last minute" : `Last ${minutes} min`;
}

function whose(outcome) {
  const owner = said(REASONS, outcome)?.whose ?? "the person";
  return owner === "nobody" ? "tried again" : `concerns ${owner}`;
}

function Pauses({ live }) {
  const pauses = live.status?.pauses ?? [];
  return html`
    <${Panel} title="Pauses">
      ${pauses.length === 0
        ? html`<${Empty}>Nothing is paused.<//>`
        : html`
          <ul class="rows">
            ${pauses.map((pause) => html`
              <li>
                <div><b>${scopeName(pause.scope, live)}</b><small>${reasonSays(pause.reason)}</small></div>
                <${Badge} kind="warn">until <${Time} at=${pause.until} /><//>
              </li>`)}
          </ul>`}
    <//>
  `;
}
