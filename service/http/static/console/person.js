// One person: who it is, where they wrote, what has become of the fetches, and what can be done.

import { html, useChanges, useEffect, useState } from "./preact.js";
import * as api from "./api.js";
import { Badge, Dialog, Empty, Note, Picture, Time, announce } from "./parts.js";
import { STATES } from "./people-list.js";
import { OF_ACCOUNTS, cure, isForEver, plural, reasonSays } from "./words.js";

const ID = /^[0-9]{1,32}$/;

// `asked` is an id or an @name; a name may be that of several ids.
export function Person({ live, asked }) {
  const [found, setFound] = useState(ID.test(asked) ? [asked] : null);
  const [trouble, setTrouble] = useState(null);
  useEffect(() => {
    if (found) return;
    findByName(asked).then(setFound, (error) => {
      if (!(error instanceof api.Trouble)) throw error;
      live.refused(error);
      setTrouble(error);
    });
  }, []);
  return html`
    <div class="view-head">
      <h2 tabindex="-1">People</h2>
      <a class="way" href="#people">All people</a>
    </div>
    ${trouble && html`<${Note} role="alert" title=${trouble.message} />`}
    ${found?.map((igUserId) => html`<${OfId} key=${igUserId} live=${live} igUserId=${igUserId} />`)}
    ${found?.length === 0 && html`<${Empty}>No known user has the name or id ${asked}.<//>`}
    ${!found && !trouble && html`<${Empty}>Looking for ${asked} …<//>`}
  `;
}

async function findByName(asked) {
  const wanted = asked.startsWith("@") ? asked : `@${asked}`;
  const { people } = await api.get(`people?${new URLSearchParams({ q: wanted, limit: "200" })}`);
  const isWanted = ({ username }) => `@${username}`.toLowerCase() === wanted.toLowerCase();
  return people.filter(isWanted).map((person) => person.igUserId);
}

// What is known of a person: with accounts and the next try if they have written, else the identity.
async function read(igUserId) {
  const { people } = await api.get(`people?${new URLSearchParams({ q: igUserId, limit: "200" })}`);
  const person = people.find((each) => each.igUserId === igUserId);
  return person ?? { ...(await api.get(`users/${igUserId}`)), accounts: [], nextAttemptAt: null };
}

function OfId({ live, igUserId }) {
  useChanges(live); // the card keeps up while it is looked at
  const [person, setPerson] = useState(null);
  const [trouble, setTrouble] = useState(null);
  const [refreshed, setRefreshed] = useState(null);
  const [busy, setBusy] = useState("");
  const [asks, setAsks] = useState(false);
  const [erased, setErased] = useState(false);
  const attempt = async (work) => {
    try {
      await work();
      setTrouble(null);
    } catch (error) {
      if (!(error instanceof api.Trouble)) throw error;
      live.refused(error);
      setTrouble(error);
    }
  };
  useEffect(() => {
    if (!busy && !erased) attempt(async () => setPerson(await read(igUserId)));
  }, [live.updatedAt]);
  const refresh = async () => {
    setBusy("refresh");
    await attempt(async () => {
      const fresh = await api.post(`users/${igUserId}/refresh`);
      const now = await read(igUserId);
      setPerson(now);
      setRefreshed(fresh);
      announce(`${fresh.displayName}: ${STATES[fresh.state].says}`);
    });
    setBusy("");
  };
  const erase = async () => {
    setAsks(false);
    setBusy("erase");
    await attempt(async () => {
      await api.erase(`users/${igUserId}`);
      setErased(true);
      announce("Erased.");
    });
    setBusy("");
  };
  if (erased) return html`<${Note} kind="good" role="status" title="Erased">Nothing is held about ${igUserId} any more.<//>`;
  const said = refreshed && person && afterRefresh(person, refreshed, live);
  return html`
    ${trouble && html`<${Note} role="alert" title=${trouble.message}>${trouble.status === 404
      ? "Only people who have written can be refreshed." : "The console tries again."}<//>`}
    ${said && html`<${Note} kind=${said.kind} role="status" title=${said.title}>${said.text}<//>`}
    ${person
      ? html`<${Card} person=${person} live=${live} busy=${busy} onRefresh=${refresh} onErase=${() => setAsks(true)} />`
      : !trouble && html`<${Empty}>Looking ${igUserId} up …<//>`}
    ${asks && html`<${EraseDialog} identity=${person} onClose=${() => setAsks(false)} onErase=${erase} />`}
  `;
}

// What a refresh came to; during a pause Meta was not asked at all.
function afterRefresh(person, fresh, live) {
  if (fresh.state === "resolved" && !fresh.stale) return { kind: "good", title: "Meta was asked: the name is fresh." };
  if (OF_ACCOUNTS.has(fresh.reason)) {
    const until = pauseOf(person, live)?.until;
    const when = until && !isForEver(until) ? html` until <${Time} at=${until} />` : "";
    return {
      kind: "warn",
      title: `Meta was not asked: ${lowerFirst(reasonSays(fresh.reason))}.`,
      text: html`Calls are paused${when}; the fetch is made as soon as they go on. ${cure(fresh.reason)}`,
    };
  }
  if (fresh.reason) return { kind: "warn", title: `Meta was asked: ${lowerFirst(reasonSays(fresh.reason))}.` };
  return { kind: "quiet", title: "Meta has not answered yet; the fetch goes on." };
}

function lowerFirst(text) {
  return text.startsWith("Meta") ? text : text[0].toLowerCase() + text.slice(1);
}

// The pause that holds a person's fetch back, if one does.
function pauseOf(person, live) {
  const scopes = new Set(["app", ...person.accounts.map((account) => `account:${account.igAccountId}`)]);
  return live.status?.pauses.find((pause) => scopes.has(pause.scope));
}

function Card({ person, live, busy, onRefresh, onErase }) {
  const { kind, says } = STATES[person.state];
  return html`
    <article class="panel person" aria-busy=${busy ? "true" : null}>
      <header class="who">
        <${Picture} identity=${person} />
        <div class="who-text">
          <h3>${person.displayName}</h3>
          ${person.name && person.name !== person.displayName && html`<p>${person.name}</p>`}
          <p class="id">${person.igUserId}</p>
        </div>
        <div class="badges">
          <${Badge} kind=${kind}>${says}<//>
          ${person.stale && html`<${Badge} kind="warn">Expired<//>`}
          ${person.source === "conversation" && html`<${Badge} kind="quiet">Name from the conversation<//>`}
        </div>
      </header>
      <div class="story">${story(person, live).map((sentence) => html`<p>${sentence}</p>`)}</div>
      <${Facts} person=${person} live=${live} />
      <footer class="actions">
        <button class="primary" onClick=${onRefresh} disabled=${Boolean(busy) || person.state === "unknown"}>
          ${busy === "refresh" ? "Asking Meta …" : "Refresh"}
        </button>
        <button class="danger" onClick=${onErase} disabled=${Boolean(busy)}>Erase …</button>
      </footer>
    </article>
  `;
}

function Facts({ person, live }) {
  const none = person.lastFetchedAt ? "none since the last success" : "none";
  return html`
    <dl class="facts">
      <div class="wide"><dt>Wrote to</dt><dd>${person.accounts.length === 0 ? "nobody" : html`
        <ul>${person.accounts.map((account) => html`<li key=${account.igAccountId}>
          <a href="#accounts/${account.igAccountId}">${live.accountName(account.igAccountId)}</a>
          ${" "}(${account.locationId ?? "not connected"}), <${Moment} at=${account.lastMessageAt} /></li>`)}</ul>`}</dd></div>
      <div><dt>Last fetched</dt><dd><${Moment} at=${person.lastFetchedAt} none="never" /></dd></div>
      <div><dt>Last failure</dt><dd><${Moment} at=${person.lastFailedAt} none=${none} /></dd></div>
      <div><dt>Next try</dt><dd><${NextTry} person=${person} live=${live} /></dd></div>
      <div><dt>Tries used</dt><dd><${Tries} used=${person.failCount} of=${live.context.maxFailures} /></dd></div>
    </dl>
  `;
}

function Moment({ at, none }) {
  if (!at) return none;
  return html`<${Time} at=${at} /> <small>(<${Time} at=${at} isRelative />)</small>`;
}

function NextTry({ person, live }) {
  const { nextAttemptAt: next, state, stale, reason } = person;
  if (state === "unknown") return "none: nobody to ask about";
  if (next) return new Date(next) > new Date() ? html`<${Moment} at=${next} />` : "any moment now";
  if (OF_ACCOUNTS.has(reason)) {
    const until = pauseOf(person, live)?.until;
    return until && !isForEver(until) ? html`<${Moment} at=${until} />` : "once the account can be called again";
  }
  if (state === "resolved" && !stale) return "when it has expired and they write or are looked up";
  return state === "resolved" ? "when they write or are looked up" : "after a refresh";
}

function Tries({ used, of }) {
  const dots = of <= 10 ? Array.from({ length: of }, (_, n) => n < used) : [];
  return html`
    <span class="tries">
      <span aria-hidden="true">${dots.map((isUsed) => html`<i class=${isUsed ? "used" : ""}></i>`)}</span>
      ${used} of ${of}
    </span>
  `;
}

// What has become of a person, in sentences.
function story(person, live) {
  const { state, stale, reason, failCount } = person;
  if (state === "unknown") return ["Nobody with this id has written yet, so nothing is held."];
  if (person.source === "conversation" && !stale) {
    return [`${reasonSays(reason ?? "refused")}; the conversation gave the username, and no picture.`];
  }
  if (state === "resolved" && !stale) return ["The name is fresh."];
  const known = state === "resolved" ? ["The name was fetched earlier and has expired; it is shown until a new one comes."] : [];
  if (OF_ACCOUNTS.has(reason)) return [...known, `${reasonSays(reason)}; the fetch waits until that is over and nothing is lost.`];
  if (failCount === 0) return [...known, state === "resolved" ? "A new fetch has been queued." : "The first fetch is on its way."];
  return [...known, tried(person, live.context), ...after(person, live.context)];
}

function tried({ failCount, reason, nextAttemptAt: next }, { maxFailures }) {
  const used = `${failCount} of ${plural(maxFailures, "try", "tries")} used`;
  const says = reasonSays(reason ?? "upstream_error");
  if (!next) return html`${says}; ${used}, so the service has stopped trying.`;
  if (new Date(next) <= new Date()) return html`${says}; next try any moment; ${used}.`;
  return html`${says}; next try <${Time} at=${next} />; ${used}.`;
}

function after({ reason, failCount }, { maxFailures }) {
  if (reason === "consent_required") return ["Writing gives consent: their next message is tried at once."];
  return failCount >= maxFailures ? ["Refresh asks Meta again and sets the count to 0."] : [];
}

function EraseDialog({ identity, onClose, onErase }) {
  return html`
    <${Dialog} title="Erase ${identity.displayName}?" onClose=${onClose}>
      <p>Everything held about <b class="id">${identity.igUserId}</b> goes: name, picture, failures,
        and that they ever wrote. This can't be undone.</p>
      <p>If they write again, they are fetched like anybody new.</p>
      <div class="actions">
        <button onClick=${onClose}>Keep</button>
        <button class="danger solid" onClick=${onErase}>Erase for good</button>
      </div>
    <//>
  `;
}
