// Health at a glance: do people get their names, what is to do, the figures and their last hour.

import { html, useChanges } from "./preact.js";
import { Chart } from "./charts.js";
import { retryFailed } from "./backfill.js";
import { Badge, Empty, Note, Panel, Time } from "./parts.js";
import { OF_ACCOUNTS, age, count, plural, rate, reasonSays, whose } from "./words.js";

const LONG_WAIT_S = 60;
const KINDS = { ok: "good", attention: "warn", broken: "bad" };

export function Health({ live }) {
  useChanges(live);
  const { status, figures } = live;
  const now = figures.points.at(-1) ?? {};
  return html`
    <h2 tabindex="-1">Health</h2>
    <${Verdict} live=${live} />
    <${Tiles} status=${status} now=${now} />
    <${Charts} status=${status} figures=${figures} now=${now} />
    <div class="columns">
      <${Worst} live=${live} />
      <div class="stack">
        <${Pauses} live=${live} />
        <${Failures} figures=${figures} />
      </div>
    </div>
    <p class="foot">
      ${figures.points.length > 0 && html`
        ${plural(figures.replicas, "replica")} heard of; counted since
        ${" "}<${Time} at=${figures.began * 1000} />.`}
    </p>
  `;
}

// How bad it is, and how much there is to look at: for the badge beside the view's name.
export function needs({ status, trouble }) {
  if (!status) return { n: 0, kind: "quiet" };
  if (trouble) return { n: 1, kind: "bad" };
  const found = status.verdict.causes.filter((cause) => cause.level !== "ok");
  return { n: found.length, kind: KINDS[status.verdict.level] };
}

function Verdict({ live }) {
  const { status, trouble } = live;
  if (!status) return html`<${Waiting} trouble=${trouble} />`;
  if (trouble) {
    return html`<${Note} role="status" title=${trouble.message}>
      The figures below are the last ones known. The console keeps trying.<//>`;
  }
  const { level, sentences, causes } = status.verdict;
  const rest = sentences.length - causes.length;
  return html`
    <div class="stack" role="status">
      ${level === "ok" && html`<${Note} kind="good" title="People get their names">${sentences[0]}<//>`}
      ${causes.map((cause) => html`<${Cause} key=${cause.text} cause=${cause} />`)}
      ${level !== "ok" && rest > 0 && html`<p class="hint">${sentences.at(-1)}</p>`}
    </div>
  `;
}

function Cause({ cause }) {
  const { level, text, likely, cure, command } = cause;
  return html`
    <${Note} kind=${level === "ok" ? "quiet" : KINDS[level]} title=${text}>
      ${likely && html`<p>${likely}</p>`}
      ${cure && html`<p>${cure}</p>`}
      ${command && html`<p class="command"><code>${command}</code></p>`}
      <${Ways} cause=${cause} />
    <//>
  `;
}

// Where the console itself can do what is to do.
function Ways({ cause: { igAccountId, locationId, reason, text } }) {
  const ways = [];
  if (igAccountId) ways.push(html`<a class="way" href="#accounts/${igAccountId}">Go to the account</a>`);
  if (igAccountId && reason) {
    ways.push(html`<a class="way" href="#people?named=false&igAccountId=${igAccountId}">Show these people</a>`);
  }
  if (locationId && reason && !OF_ACCOUNTS.has(reason)) {
    ways.push(html`<button onClick=${() => retryFailed(locationId)}
      aria-label="Try the people of ${locationId} now: ${text}">Try them now</button>`);
  }
  if (text.startsWith("No account is connected")) ways.push(html`<a class="way" href="#accounts">Connect an account</a>`);
  return ways.length > 0 && html`<p class="ways">${ways}</p>`;
}

function Waiting({ trouble }) {
  if (trouble) return html`<${Note} role="status" title=${trouble.message}>The console keeps trying.<//>`;
  return html`<${Note} kind="quiet" role="status" title="One moment">Reading the figures.<//>`;
}

export function scopeName(scope, live) {
  if (scope === "app") return "All accounts";
  const igAccountId = scope.replace("account:", "");
  const connection = live.connection(igAccountId);
  const name = `${connection?.username ? "" : "Account "}${live.accountName(igAccountId)}`;
  return connection ? `${name} (${connection.locationId})` : name;
}

function Tile({ name, value, more, tone = "", href = null, children = null }) {
  return html`
    <div class="tile ${tone}">
      <dt>${href ? html`<a href=${href}>${name}</a>` : name}</dt>
      <dd class="figure">${value}</dd>
      <dd class="more">${more}</dd>
      ${children}
    </div>
  `;
}

function Tiles({ status, now }) {
  const recent = status?.recent ?? { wrote: 0, named: 0, waiting: 0, nameless: {} };
  const nameless = Object.values(recent.nameless).reduce((sum, n) => sum + n, 0);
  const known = status?.identities ?? {};
  const held = (status?.pauses ?? []).reduce((sum, pause) => sum + pause.waiting, 0);
  const said = (value) => (status ? count(value) : "–");
  return html`
    <dl class="tiles">
      <${Tile} name="Wrote in the last hour" value=${said(recent.wrote)} href="#people"
        more=${html`${rate(now.received)} messages a second now`} />
      <${Tile} name="Of these with a name" value=${said(recent.named)} tone=${status && recent.wrote && !recent.named ? "bad" : ""}
        more=${recent.wrote ? `${Math.round((100 * recent.named) / recent.wrote)} %` : "nobody to name"} />
      <${Tile} name="Without a name" value=${said(nameless)} href="#people?named=false" tone=${nameless > recent.named ? "warn" : ""}
        more=${html`in all ${count((known.pending ?? 0) + (known.failed ?? 0))}, ${count(known.failed ?? 0)} given up`} />
      <${Tile} name="Waiting" value=${said((now.waiting ?? 0) + held)} tone=${now.oldestS > LONG_WAIT_S || held ? "warn" : ""}
        more=${html`${held ? `${count(held)} for a pause to end` : `oldest ${age(now.oldestS ?? 0)}`}, ${count(now.inFlight ?? 0)} in flight`} />
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

function Charts({ status, figures, now }) {
  const minutes = figures.minutes(Date.now() / 1000);
  const points = figures.points.length ? [...minutes, { ...now, at: now.at }] : minutes;
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

// The accounts whose writers fare worst, of those who wrote within the hour.
function Worst({ live }) {
  const accounts = live.status?.recent.accounts ?? [];
  return html`
    <${Panel} title="Accounts in the last hour, the worst first">
      ${accounts.length === 0
        ? html`<${Empty}>Nobody has written within the last hour.<//>`
        : html`
          <table>
            <thead><tr><th scope="col">Account</th><th scope="col" class="number">Wrote</th><th scope="col" class="number">Named</th></tr></thead>
            <tbody>
              ${accounts.slice(0, 8).map((account) => html`
                <tr key=${account.igAccountId}>
                  <th scope="row"><a href="#accounts/${account.igAccountId}">${account.username ? `@${account.username}` : account.igAccountId}</a>
                    <small>${account.locationId ?? "not connected"}</small></th>
                  <td class="number">${count(account.wrote)}</td>
                  <td class="number ${account.named < account.wrote ? "short" : ""}">${count(account.named)}</td>
                </tr>`)}
            </tbody>
          </table>`}
    <//>
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
              <tr><th scope="col">Why</th><th scope="col" class="number">Last hour</th><th scope="col" class="number">Since the start</th></tr>
            </thead>
            <tbody>
              ${rows.map(({ outcome, count: n, lately }) => html`
                <tr key=${outcome}>
                  <th scope="row">${reasonSays(outcome)}<small>${whose(outcome)} · <code>${outcome}</code></small></th>
                  <td class="number">${count(lately)}</td>
                  <td class="number">${count(n)}</td>
                </tr>`)}
            </tbody>
          </table>`}
    <//>
  `;
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
              <li key=${pause.scope}>
                <div><b>${scopeName(pause.scope, live)}</b>
                  <small>${reasonSays(pause.reason)}${pause.waiting ? `; ${plural(pause.waiting, "person waits", "people wait")}` : ""}</small></div>
                <${Badge} kind="warn">until <${Time} at=${pause.until} /><//>
              </li>`)}
          </ul>`}
    <//>
  `;
}
